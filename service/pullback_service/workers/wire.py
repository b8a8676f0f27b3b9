"""The HTTP process's end of a worker's socket: calls go, replies come back in the same order."""

from __future__ import annotations

import array
import asyncio
import json
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from typing_extensions import override

from pullback_service.workers.frames import GREETING, REPLY, GarbledReply, ReplyHead, unpack_reply_head


class Frame(NamedTuple):
    """A reply as it came; `body` is empty where the memory for answers holds it."""

    head: ReplyHead
    server_timing: bytes
    body: bytes


class Wire(asyncio.Protocol):
    """The bytes of one worker. One that says more than it was asked, or nonsense, is heard no more."""

    def __init__(self, connection: socket.socket, max_answer_bytes: int) -> None:
        loop = asyncio.get_running_loop()
        self.greeting: asyncio.Future[dict[str, str]] = loop.create_future()
        """The fences around the worker, once it takes calls."""
        self._loop = loop
        self._connection = connection
        self._max_answer_bytes = max_answer_bytes
        self._received = b""
        self._expected: deque[asyncio.Future[Frame]] = deque()
        self._unclaimed: Frame | None = None
        self._end: Exception | None = None

    @classmethod
    async def over(cls, connection: socket.socket, max_answer_bytes: int) -> Wire:
        """The wire over a connected socket, which is closed with it."""
        connection.setblocking(False)
        wire = cls(connection, max_answer_bytes)
        await asyncio.get_running_loop().create_connection(lambda: wire, sock=connection)
        return wire

    def send(self, pieces: Sequence[bytes], descriptors: Sequence[int], replies: int) -> list[asyncio.Future[Frame]]:
        """Send calls, with descriptors beside; what will hold the reply to each. Raises ConnectionError.

        The first piece goes at once, as must what has descriptors.
        """
        if self._end is not None:
            raise self._end
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            sent = self._connection.sendmsg(pieces, beside)
        except BlockingIOError:
            sent = 0
        if sent < len(pieces[0]):  # the socket holds more than a worker between two calls leaves unread
            raise GarbledReply("a worker does not read its calls")
        if sent < sum(map(len, pieces)):
            self._transport.write(b"".join(pieces)[sent:])
        futures: list[asyncio.Future[Frame]] = [self._loop.create_future() for _ in range(replies)]
        self._expected.extend(futures)
        return futures

    def expect_again(self) -> asyncio.Future[Frame]:
        """What will hold the next reply, in place of what nobody waits for any more. Raises ConnectionError."""
        future: asyncio.Future[Frame] = self._loop.create_future()
        if self._unclaimed is not None:
            future.set_result(self._unclaimed)
            self._unclaimed = None
        elif self._end is not None:
            raise self._end
        else:
            self._expected[0] = future
        return future

    @property
    def has_sent_all(self) -> bool:
        """Whether the worker can have read all that was sent."""
        return not self._transport.get_write_buffer_size()

    @property
    def is_silent(self) -> bool:
        """Whether nothing of the reply that comes next is here."""
        return not self._received

    def close(self) -> None:
        """Hear no more of it."""
        self._finish(ConnectionResetError("the worker was left"))

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(exc if isinstance(exc, ConnectionError) else ConnectionResetError("the worker ended"))

    @override
    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            while self._received and self._take():
                pass
        except ConnectionError as error:
            self._finish(error)
        except ValueError as error:
            self._finish(GarbledReply(f"a worker sent what is no greeting: {error}"))

    def _take(self) -> bool:
        """Whether a whole message was there, and is dealt with."""
        return self._take_reply() if self.greeting.done() else self._take_greeting()

    def _take_greeting(self) -> bool:
        if len(self._received) < GREETING.size:
            return False
        (size,) = GREETING.unpack_from(self._received)
        end = GREETING.size + size
        if len(self._received) < end:
            return False
        self.greeting.set_result(json.loads(self._received[GREETING.size : end]))
        self._received = self._received[end:]
        return True

    def _take_reply(self) -> bool:
        if not self._expected:
            raise GarbledReply("a worker says what it was not asked")
        if len(self._received) < REPLY.size:
            return False
        head = unpack_reply_head(self._received, self._max_answer_bytes)
        body_at = REPLY.size + head.timing_size
        end = body_at + (0 if head.is_shared else head.body_size)
        if len(self._received) < end:
            return False
        frame = Frame(head, self._received[REPLY.size : body_at], self._received[body_at:end])
        self._received = self._received[end:]
        future = self._expected.popleft()
        if future.cancelled():  # whoever waited may come back for it
            self._unclaimed = frame
        elif not future.done():
            future.set_result(frame)
        return True

    def _finish(self, error: Exception) -> None:
        """Whoever waits is told of the error, as are all who come later."""
        if self._end is None:
            self._end = error
            self._transport.close()
            waiting: list[asyncio.Future[Any]] = [self.greeting, *self._expected]
            for future in waiting:
                if not future.done():
                    future.set_exception(error)
                    future.exception()  # it may be that nobody waits for it any more
            self._expected.clear()
