"""What crosses between the HTTP process and a worker on a byte stream: sizes first, then the parts.

A worker greets once, when it can take calls; then replies follow calls. Large bodies do not cross: the HTTP process
makes every memory file, those for answers too, and sends their descriptors with a call. Whatever a worker sends is
checked: it may have been taken over by the request that it runs.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from pullback_schemas.problems import problem_classes
from pullback_service.forms import Forms
from pullback_service.workers.base import NEEDS_DEVICE, NEEDS_ISOLATION, NEEDS_ROOM, Call, Reply
from pullback_service.workers.shared import INLINE_BYTES, SharedBytes

GREETING = struct.Struct("!H")
BATCH = struct.Struct("!BBB")
CALL = struct.Struct("!BBBQ")
REPLY = struct.Struct("!HBHQ32sQ")
NOTE = struct.Struct("!I32s")
"""At the start of the memory for answers, so that it outlives the worker: the call's number, its graph's digest."""

DIGEST_BYTES = 32
MAX_REFUSED = 64
DESCRIPTORS = 2
STATUSES = {NEEDS_ISOLATION, NEEDS_DEVICE, NEEDS_ROOM, 200, *(kind.status for kind in problem_classes().values())}

_BODY_IS_SHARED = 1
_HAS_ANSWER_MEMORY = 1
_IS_SHARED, _IS_LAST, _RIDES = 1, 2, 4


class GarbledReply(ConnectionError):
    """A worker does not speak as one does; it is not to be trusted with another call."""


class BatchHead(NamedTuple):
    """How many calls come together, how many digests before them, and whether a memory file for answers does."""

    calls: int
    refused_count: int
    has_answer_memory: bool


def pack_batch(calls: int, refused: Sequence[bytes], *, has_answer_memory: bool) -> bytes:
    """What stands before calls that come together. `refused`: digests of the graphs that their caller may not run."""
    return b"".join([BATCH.pack(calls, len(refused), _HAS_ANSWER_MEMORY * has_answer_memory), *refused])


def unpack_batch(data: bytes) -> BatchHead:
    """What begins with `data`."""
    calls, refused_count, flags = BATCH.unpack_from(data)
    return BatchHead(calls, refused_count, bool(flags & _HAS_ANSWER_MEMORY))


class CallHead(NamedTuple):
    """The sizes of a call's parts, and whether a memory file has the body."""

    operation_size: int
    body_is_shared: bool
    forms: Forms
    body_size: int


def pack_call(call: Call) -> bytes:
    """A call but for its body."""
    operation = call.operation.encode()
    flags = _BODY_IS_SHARED * isinstance(call.body, SharedBytes)
    return CALL.pack(len(operation), flags, call.forms.pack(), len(call.body)) + operation


def unpack_call_head(data: bytes) -> CallHead:
    """The head of a call."""
    operation_size, flags, forms, body_size = CALL.unpack(data)
    return CallHead(operation_size, bool(flags & _BODY_IS_SHARED), Forms.unpack(forms), body_size)


def pack_reply_head(reply: Reply, timing_size: int, *, is_shared: bool, is_last: bool) -> bytes:
    """The head of a reply."""
    flags = _IS_SHARED * is_shared | _IS_LAST * is_last | _RIDES * reply.rides
    return REPLY.pack(reply.status, flags, timing_size, reply.size, reply.graph, reply.device_bytes)


class ReplyHead(NamedTuple):
    """The status of a reply and the sizes of its parts. After the last one the worker ends."""

    status: int
    is_shared: bool
    is_last: bool
    rides: bool
    timing_size: int
    body_size: int
    graph: bytes
    device_bytes: int


def unpack_reply_head(data: bytes, max_shared: int) -> ReplyHead:
    """The head of a reply that begins with `data`. Raises GarbledReply when it cannot be one."""
    status, flags, timing_size, body_size, graph, device_bytes = REPLY.unpack_from(data)
    is_shared = bool(flags & _IS_SHARED)
    if status not in STATUSES or body_size > (max_shared if is_shared else INLINE_BYTES):
        raise GarbledReply("a worker sent what is no reply")
    is_last, rides = bool(flags & _IS_LAST), bool(flags & _RIDES)
    return ReplyHead(status, is_shared, is_last, rides, timing_size, body_size, graph, device_bytes)
