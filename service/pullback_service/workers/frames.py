"""What crosses between the HTTP process and a worker on a byte stream: sizes first, then the parts.

A worker greets once, when it can take calls; then replies follow calls. Large bodies do not cross: the HTTP process
makes every memory file, those for answers too, and sends their descriptors with a call. Whatever a worker sends is
checked: it may have been taken over by the request that it runs.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pullback_schemas.problems import problem_classes
from pullback_service.forms import Forms
from pullback_service.workers.base import NEEDS_DEVICE, NEEDS_ISOLATION, Call, Reply
from pullback_service.workers.shared import INLINE_BYTES, SharedBytes

GREETING = struct.Struct("!H")
CALL = struct.Struct("!BBBBQ")
REPLY = struct.Struct("!HBHQ")
NOTE = struct.Struct("!I32s")
"""At the start of the memory for answers, so that it outlives the worker: the call's number, its graph's digest."""

DIGEST_BYTES = 32
MAX_REFUSED = 64
DESCRIPTORS = 2
STATUSES = {NEEDS_ISOLATION, NEEDS_DEVICE, 200, *(kind.status for kind in problem_classes().values())}

_BODY_IS_SHARED, _HAS_ANSWER_MEMORY = 1, 2
_IS_SHARED, _IS_LAST = 1, 2


class GarbledReply(ConnectionError):
    """A worker does not speak as one does; it is not to be trusted with another call."""


@dataclass(frozen=True, slots=True)
class CallHead:
    """The sizes of a call's parts, and which descriptors come with it: the body's first."""

    operation_size: int
    refused_count: int
    body_is_shared: bool
    has_answer_memory: bool
    forms: Forms
    body_size: int

    @property
    def inline_size(self) -> int:
        """How many bytes follow the head."""
        inline = 0 if self.body_is_shared else self.body_size
        return self.operation_size + self.refused_count * DIGEST_BYTES + inline


def pack_call(call: Call, refused: Sequence[bytes], *, has_answer_memory: bool) -> bytes:
    """A call but for its body. `refused`: digests of the graphs that this caller may not run."""
    operation = call.operation.encode()
    flags = _BODY_IS_SHARED * isinstance(call.body, SharedBytes) | _HAS_ANSWER_MEMORY * has_answer_memory
    head = CALL.pack(len(operation), len(refused), flags, call.forms.pack(), len(call.body))
    return b"".join([head, operation, *refused])


def unpack_call_head(data: bytes) -> CallHead:
    """The head of a call that begins with `data`."""
    operation_size, refused_count, flags, forms, body_size = CALL.unpack_from(data)
    return CallHead(
        operation_size,
        refused_count,
        bool(flags & _BODY_IS_SHARED),
        bool(flags & _HAS_ANSWER_MEMORY),
        Forms.unpack(forms),
        body_size,
    )


def pack_reply_head(reply: Reply, timing_size: int, *, is_shared: bool, is_last: bool) -> bytes:
    """The head of a reply."""
    flags = _IS_SHARED * is_shared | _IS_LAST * is_last
    return REPLY.pack(reply.status, flags, timing_size, reply.size)


class ReplyHead(NamedTuple):
    """The status of a reply and the sizes of its parts. After the last one the worker ends."""

    status: int
    is_shared: bool
    is_last: bool
    timing_size: int
    body_size: int


def unpack_reply_head(data: bytes, max_shared: int) -> ReplyHead:
    """The head of a reply. Raises GarbledReply when it cannot be one."""
    status, flags, timing_size, body_size = REPLY.unpack(data)
    is_shared = bool(flags & _IS_SHARED)
    if status not in STATUSES or body_size > (max_shared if is_shared else INLINE_BYTES):
        raise GarbledReply("a worker sent what is no reply")
    return ReplyHead(status, is_shared, bool(flags & _IS_LAST), timing_size, body_size)
