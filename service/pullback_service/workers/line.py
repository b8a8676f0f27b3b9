"""The worker's end of its socket: calls come, replies go."""

from __future__ import annotations

import array
import json
import os
from socket import CMSG_SPACE, socket

from pullback_service.workers.base import Call, Reply
from pullback_service.workers.frames import (
    CALL,
    DESCRIPTORS,
    DIGEST_BYTES,
    GREETING,
    NOTE,
    CallHead,
    pack_reply_head,
    unpack_call_head,
)
from pullback_service.workers.shared import INLINE_BYTES, SharedBytes

ONE_PIECE = 2**16
_ANCILLARY = CMSG_SPACE(DESCRIPTORS * array.array("i").itemsize)


class Line:
    """One call at a time, each answered before the next is read."""

    def __init__(self, connection: socket) -> None:
        self._connection = connection
        self._answers: SharedBytes | None = None
        self._number = 0
        self.refused: frozenset[bytes] = frozenset()

    def greet(self, fences: dict[str, str]) -> None:
        """Say that calls are welcome, and which fences stand."""
        text = json.dumps(fences).encode()
        self._connection.sendall(GREETING.pack(len(text)) + text)

    def receive(self) -> Call | None:
        """The next call, None when the HTTP process is gone. A small one takes a single system call."""
        start, ancillary, _, _ = self._connection.recvmsg(ONE_PIECE, _ANCILLARY)
        descriptors = array.array("i")
        for _, _, data in ancillary:
            descriptors.frombytes(data)
        whole = self._complete(start, CALL.size)
        if not whole:
            return None
        head = unpack_call_head(whole)
        whole = self._complete(whole, CALL.size + head.inline_size)
        if not whole:
            return None
        self._number += 1
        return self._read(head, whole, list(descriptors))

    def _read(self, head: CallHead, whole: bytes, descriptors: list[int]) -> Call:
        digests_at = CALL.size + head.operation_size
        body_at = digests_at + head.refused_count * DIGEST_BYTES
        operation = whole[CALL.size : digests_at].decode()
        digests = range(digests_at, body_at, DIGEST_BYTES)
        self.refused = frozenset(whole[at : at + DIGEST_BYTES] for at in digests)
        body = SharedBytes(descriptors.pop(0), head.body_size) if head.body_is_shared else whole[body_at:]
        if head.has_answer_memory:
            self._answers = SharedBytes(descriptors.pop(0), 0)
        return Call(operation, body, head.forms)

    def note(self, digest: bytes) -> None:
        """Leave word of the graph that runs from now on, for the case that it ends this process."""
        if self._answers is not None:
            os.pwrite(self._answers.descriptor, NOTE.pack(self._number, digest), 0)

    def reply(self, reply: Reply, *, is_last: bool) -> None:
        """Send a reply whole, a small one in one piece: every piece wakes the HTTP process."""
        timing = reply.server_timing.encode()
        is_shared = reply.size > INLINE_BYTES
        header = pack_reply_head(reply, len(timing), is_shared=is_shared, is_last=is_last) + timing
        if is_shared:
            self._share(reply)
        self._connection.sendall(header if is_shared else header + reply.body)

    def _share(self, reply: Reply) -> None:
        """Write a large body, piece by piece, into the memory file for answers."""
        assert self._answers is not None
        os.lseek(self._answers.descriptor, NOTE.size, os.SEEK_SET)
        pieces = [reply.body] if reply.pieces is None else reply.pieces
        pieces.reverse()
        while pieces:
            self._answers.append(pieces.pop())
        self._answers = None

    def _complete(self, start: bytes, size: int) -> bytes:
        """`start` and what follows it, `size` bytes in all, since calls never overlap; nothing when nobody is there."""
        pieces, missing = [start], size - len(start)
        while missing > 0:
            piece = self._connection.recv(max(ONE_PIECE, missing)) if start else b""
            if not piece:
                return b""
            pieces.append(piece)
            missing -= len(piece)
        return start if len(pieces) == 1 else b"".join(pieces)
