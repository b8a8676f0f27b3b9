"""A worker as the HTTP process sees it: a socket to talk over, and a pidfd to watch and kill by."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from pullback_schemas.problems import Busy
from pullback_service.workers.base import NEEDS_DEVICE, NEEDS_ISOLATION, Answer, Call, Reply
from pullback_service.workers.devices import read_device
from pullback_service.workers.frames import DIGEST_BYTES, NOTE, GarbledReply, ReplyHead, pack_batch, pack_call
from pullback_service.workers.isolation import read_isolation
from pullback_service.workers.shared import SharedBytes
from pullback_service.workers.wire import Frame, Wire

LOST = (ConnectionError,)
"""What it looks like when a worker ends in the middle of something."""

NO_GRAPH = bytes(DIGEST_BYTES)
_PHASE = rb"[a-z_]{1,32};dur=[0-9]{1,9}\.[0-9]{4}"
TIMINGS = re.compile(rb"(?:%b(?:, %b){0,31})?" % (_PHASE, _PHASE)).fullmatch
"""What a worker may tell of its phases: it stands in a header, and is added up."""

SHARED = 16
"""Texts that are remembered: calls that were answered together have the same."""

NATIVE_ERRORS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP}
KILLERS: dict[int, str] = {signal.SIGKILL: "SIGKILL: when memory ends, the kernel ends the largest worker"}
TOLD_IN_S = 2

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Worker:
    """A live worker process. The pidfd stands for this very process, even after its pid is given to another."""

    pid: int
    pidfd: int
    ending: asyncio.Future[int]
    """The signal that ended it, 0 for none; told by the fork server."""
    wire: Wire
    gpus: Sequence[str] = ()
    """The devices that it may name for a call."""
    fences: dict[str, str] = field(default_factory=dict)
    served: int = 0
    device_bytes: int = 0
    """What it holds of a GPU's memory, as it said last."""
    is_leaving: bool = False
    """It said that it ends after its last reply."""
    _waiting: list[asyncio.Future[Frame]] = field(default_factory=list)
    _answers: SharedBytes | None = None
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def greet(self) -> None:
        """Await that it can take calls. Raises one of LOST when it ends before."""
        self.fences = await self.wire.greeting

    def send(self, calls: Sequence[Call], refused: Sequence[bytes] = ()) -> None:
        """Send calls; several at once must be small. Raises one of LOST when it cannot take them, or Busy."""
        self.served += 1
        has_answer_memory = self._answers is None
        pieces = [pack_batch(len(calls), refused, has_answer_memory=has_answer_memory)]
        descriptors: list[int] = []
        for call in calls:
            pieces.append(pack_call(call))
            if isinstance(call.body, SharedBytes):
                descriptors.append(call.body.descriptor)
            else:
                pieces.append(call.body)
        if self._answers is None:
            self._answers = _answer_memory()
            descriptors.append(self._answers.descriptor)
        self._waiting = self.wire.send(pieces, descriptors, len(calls))

    async def receive(self) -> Reply:
        """The reply to the first call that is not answered. Raises one of LOST when the worker cannot be trusted.

        Cancelled, it may be called again.
        """
        if self._waiting[0].cancelled():
            self._waiting[0] = self.wire.expect_again()
        frame = await self._waiting[0]
        del self._waiting[0]
        return self._read(frame)

    @property
    def is_computing(self) -> bool:
        """Whether it has its calls, and has not begun to reply: whoever awaits that may go away and come back."""
        return bool(self._waiting) and self.wire.has_sent_all and self.wire.is_silent

    @property
    def unanswered(self) -> int:
        """How many calls it has not replied to."""
        return len(self._waiting)

    def _read(self, frame: Frame) -> Reply:
        head, timing, body = frame
        server_timing = _read_timings(timing)
        self.is_leaving = head.is_last
        self.device_bytes = head.device_bytes
        shared = self._shared_answer(head) if head.is_shared else None
        if not self.wire.has_sent_all:
            raise GarbledReply("a worker answered before it had read the call")
        if head.status == NEEDS_ISOLATION:
            read_isolation(body)
        elif head.status == NEEDS_DEVICE:
            read_device(body, self.gpus)
        graph = b"" if head.graph == NO_GRAPH else head.graph
        return Reply(head.status, body, server_timing, shared, rides=head.rides, graph=graph)

    def _shared_answer(self, head: ReplyHead) -> Answer:
        """The answer in the memory file, which the worker can no longer change: it will answer others meanwhile."""
        memory, self._answers = self._answers, None
        if memory is None:
            raise GarbledReply("a worker sends a second large answer")
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
        if cause:
            log.warning("worker %d was ended by %s", self.pid, KILLERS.get(cause) or signal.Signals(cause).name)
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
        self.wire.close()
        if not self.has_ended:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    async def ended(self) -> None:
        """Await the end of the process."""
        await self._ended.wait()


@lru_cache(SHARED)
def _read_timings(text: bytes) -> str:
    """Raises GarbledReply."""
    if not TIMINGS(text):
        raise GarbledReply("a worker tells of its phases in no way that is known")
    return text.decode()


def _answer_memory() -> SharedBytes:
    try:
        return SharedBytes.empty()
    except OSError as error:
        raise Busy(f"There is no room for an answer now: {error.strerror}.", hint="Try again soon.") from None
