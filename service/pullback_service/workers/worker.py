"""A worker as the HTTP process sees it: a socket to talk over, and a pidfd to watch and kill by."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pullback_schemas.problems import Busy
from pullback_service.workers.base import NEEDS_DEVICE, NEEDS_ISOLATION, Answer, Call, Reply
from pullback_service.workers.devices import read_device
from pullback_service.workers.frames import (
    GREETING,
    NOTE,
    REPLY,
    GarbledReply,
    ReplyHead,
    pack_call,
    unpack_reply_head,
)
from pullback_service.workers.isolation import read_isolation
from pullback_service.workers.shared import SharedBytes

LOST = (ConnectionError, asyncio.IncompleteReadError)
"""What it looks like when a worker ends in the middle of something."""

NATIVE_ERRORS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP}
TOLD_IN_S = 2


@dataclass(eq=False)
class Worker:
    """A live worker process. The pidfd stands for this very process, even after its pid is given to another."""

    pid: int
    pidfd: int
    ending: asyncio.Future[int]
    """The signal that ended it, 0 for none; told by the fork server."""
    connection: socket.socket
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    max_answer_bytes: int
    gpus: Sequence[str] = ()
    """The devices that it may name for a call."""
    fences: dict[str, str] = field(default_factory=dict)
    served: int = 0
    is_leaving: bool = False
    """It said that it ends after its last reply."""
    is_computing: bool = False
    """It has its call, and has not begun to reply: whoever awaits that may go away and come back."""
    _answers: SharedBytes | None = None
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def greet(self) -> None:
        """Await that it can take calls. Raises one of LOST when it ends before."""
        (size,) = GREETING.unpack(await self.reader.readexactly(GREETING.size))
        self.fences = json.loads(await self.reader.readexactly(size))

    async def exchange(self, call: Call, refused: Sequence[bytes] = ()) -> Reply:
        """Send a call, await its reply. Raises one of LOST when the process has ended or cannot be trusted."""
        self.served += 1
        self._send(call, refused)
        await self.writer.drain()
        self.is_computing = True
        return await self._receive()

    async def finish(self) -> None:
        """Await the reply to a call that nobody waits for any more. Raises as `exchange`."""
        reply = await self._receive()
        if reply.shared is not None:
            reply.shared.memory.close()

    async def _receive(self) -> Reply:
        head = unpack_reply_head(await self.reader.readexactly(REPLY.size), self.max_answer_bytes)
        self.is_computing = False
        rest = await self.reader.readexactly(head.timing_size + (0 if head.is_shared else head.body_size))
        server_timing, body = rest[: head.timing_size].decode("ascii", "replace"), rest[head.timing_size :]
        if not (server_timing.isascii() and server_timing.isprintable()):
            raise GarbledReply("a worker sent what is no header")
        self.is_leaving = head.is_last
        shared = self._shared_answer(head) if head.is_shared else None
        if self.writer.transport.get_write_buffer_size():
            raise GarbledReply("a worker answered before it had read the call")
        if head.status == NEEDS_ISOLATION:
            read_isolation(body)
        elif head.status == NEEDS_DEVICE:
            read_device(body, self.gpus)
        return Reply(head.status, body, server_timing, shared)

    def _send(self, call: Call, refused: Sequence[bytes]) -> None:
        descriptors = [call.body.descriptor] if isinstance(call.body, SharedBytes) else []
        has_answer_memory = self._answers is None
        if self._answers is None:
            self._answers = _answer_memory()
            descriptors.append(self._answers.descriptor)
        head = pack_call(call, refused, has_answer_memory=has_answer_memory)
        inline = b"" if isinstance(call.body, SharedBytes) else call.body
        if not descriptors:
            self.writer.writelines([head, inline])
            return
        try:
            sent = socket.send_fds(self.connection, [head], descriptors)
        except BlockingIOError:
            sent = 0
        if sent != len(head):  # the socket holds more than a worker between two calls leaves unread
            raise GarbledReply("a worker does not read its calls")
        self.writer.write(inline)

    def _shared_answer(self, head: ReplyHead) -> Answer:
        """The answer in the memory file, which the worker can no longer change: it will answer others meanwhile."""
        memory, self._answers = self._answers, None
        assert memory is not None
        try:
            memory.seal()
        except OSError as error:
            raise GarbledReply(f"a worker holds on to its answer: {error}") from None
        size = NOTE.size + head.body_size
        if os.fstat(memory.descriptor).st_size != size:
            raise GarbledReply("a worker lies about the size of its answer")
        return Answer(memory.sized(size), NOTE.size)

    async def killer(self) -> bytes | None:
        """The digest of the graph whose run ended this process by a native error; None if it was something else."""
        try:
            async with asyncio.timeout(TOLD_IN_S):
                cause = await asyncio.shield(self.ending)
        except TimeoutError:
            return None
        if cause not in NATIVE_ERRORS or self._answers is None:
            return None
        note = os.pread(self._answers.descriptor, NOTE.size, 0)
        number, digest = NOTE.unpack(note) if len(note) == NOTE.size else (0, b"")
        return digest if number == self.served else None

    def watch(self, on_exit: Callable[[Worker], None]) -> None:
        """Call `on_exit` as soon as the process ends, for whatever reason."""
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(self.pidfd)
            os.close(self.pidfd)
            self._ended.set()
            on_exit(self)

        loop.add_reader(self.pidfd, ended)

    @property
    def has_ended(self) -> bool:
        """Whether the process is known to have ended."""
        return self._ended.is_set()

    def kill(self) -> None:
        """End the process, whatever it does, and hear no more of it."""
        self.writer.close()
        if not self.has_ended:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    async def ended(self) -> None:
        """Await the end of the process."""
        await self._ended.wait()


def _answer_memory() -> SharedBytes:
    try:
        return SharedBytes.empty()
    except OSError as error:
        raise Busy(f"There is no room for an answer now: {error.strerror}.", hint="Try again soon.") from None
