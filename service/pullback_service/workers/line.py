"""The worker's end of its socket: calls come, replies go."""

from __future__ import annotations

import array
import json
import os
import time
from collections.abc import Sequence
from socket import CMSG_SPACE, MSG_DONTWAIT, socket
from typing import Any

from pullback_service.workers.base import Call, Reply
from pullback_service.workers.frames import (
    BATCH,
    CALL,
    DESCRIPTORS,
    DIGEST_BYTES,
    GREETING,
    NOTE,
    pack_reply_head,
    unpack_batch,
    unpack_call_head,
)
from pullback_service.workers.shared import INLINE_BYTES, SharedBytes

AWAKE_S = 3e-4
"""How long a worker stays awake after a single reply, giving way to whoever else wants the processor.

After many at once it sleeps: where calls wait for one another, they do not wait for it to be woken.
"""

ONE_PIECE = 2**16
_ANCILLARY = CMSG_SPACE(DESCRIPTORS * array.array("i").itemsize)


class Line:
    """Calls that come together, answered before the next are read."""

    def __init__(self, connection: socket) -> None:
        self._connection = connection
        self._answers: SharedBytes | None = None
        self._number = 0
        self._awake_s = AWAKE_S
        self._received, self._at = b"", 0
        self.refused: frozenset[bytes] = frozenset()

    def greet(self, fences: dict[str, str]) -> None:
        """Say that calls are welcome, and which fences stand."""
        text = json.dumps(fences).encode()
        self._connection.sendall(GREETING.pack(len(text)) + text)

    def receive(self) -> list[Call] | None:
        """The calls that came together, None when the HTTP process is gone. Small ones take a single system call."""
        start, ancillary, _, _ = self._arrived()
        descriptors = array.array("i")
        for _, _, data in ancillary:
            descriptors.frombytes(data)
        self._received, self._at = start, 0
        try:
            return self._calls(list(descriptors)) if start else None
        finally:
            self._received = b""

    def _arrived(self) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
        """What comes next. For a moment it is looked for again and again: to be woken takes the kernel longer."""
        end = time.perf_counter() + self._awake_s
        while time.perf_counter() < end:
            try:
                return self._connection.recvmsg(ONE_PIECE, _ANCILLARY, MSG_DONTWAIT)
            except BlockingIOError:
                os.sched_yield()
        return self._connection.recvmsg(ONE_PIECE, _ANCILLARY)

    def _calls(self, descriptors: list[int]) -> list[Call] | None:
        self._number += 1
        head = unpack_batch(self._next(BATCH.size))
        self.refused = frozenset(self._next(DIGEST_BYTES) for _ in range(head.refused_count))
        calls = [self._call(descriptors) for _ in range(head.calls)]
        if head.has_answer_memory:
            self._answers = SharedBytes(descriptors.pop(0), 0)
        return calls

    def _call(self, descriptors: list[int]) -> Call:
        head = unpack_call_head(self._next(CALL.size))
        operation = self._next(head.operation_size).decode()
        if head.body_is_shared:
            return Call(operation, SharedBytes(descriptors.pop(0), head.body_size), head.forms)
        return Call(operation, self._next(head.body_size), head.forms)

    def note(self, digest: bytes) -> None:
        """Leave word of the graph that runs from now on, for the case that it ends this process."""
        if self._answers is not None:
            os.pwrite(self._answers.descriptor, NOTE.pack(self._number, digest), 0)

    def reply(self, replies: Sequence[Reply], *, is_last: bool) -> None:
        """Send replies whole, small ones in one piece: every piece wakes the HTTP process."""
        pieces: list[bytes] = []
        for number, reply in enumerate(replies, 1):
            timing = reply.server_timing.encode()
            is_shared = reply.size > INLINE_BYTES
            ends = is_last and number == len(replies)
            pieces += [pack_reply_head(reply, len(timing), is_shared=is_shared, is_last=ends), timing]
            if is_shared:
                self._share(reply)
            else:
                pieces.append(reply.body)
        self._awake_s = AWAKE_S if len(replies) == 1 else 0.0
        self._connection.sendall(b"".join(pieces))

    def _share(self, reply: Reply) -> None:
        """Write a large body, piece by piece, into the memory file for answers."""
        assert self._answers is not None
        os.lseek(self._answers.descriptor, NOTE.size, os.SEEK_SET)
        pieces = [reply.body] if reply.pieces is None else reply.pieces
        pieces.reverse()
        while pieces:
            self._answers.append(pieces.pop())
        self._answers = None

    def _next(self, size: int) -> bytes:
        """The next bytes of what came, and still comes: calls never overlap, so all of it belongs to this batch.

        Raises ConnectionError when nobody is there any more.
        """
        end = self._at + size
        if end > len(self._received):
            pieces, missing = [self._received[self._at :]], end - len(self._received)
            while missing > 0:
                piece = self._connection.recv(max(ONE_PIECE, missing))
                if not piece:
                    raise ConnectionResetError("the HTTP process is gone")
                pieces.append(piece)
                missing -= len(piece)
            self._received, self._at, end = b"".join(pieces), 0, size
        part = self._received[self._at : end]
        self._at = end
        return part
