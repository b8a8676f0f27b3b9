"""A worker as the HTTP process sees it: a socket to talk over, and a pidfd to watch and kill by."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field

from pullback_service.workers.base import Call, Reply
from pullback_service.workers.frames import pack_call, read_greeting, read_reply

LOST = (ConnectionError, asyncio.IncompleteReadError)
"""What it looks like when a worker ends in the middle of something."""


@dataclass(eq=False)
class Worker:
    """A live worker process. The pidfd stands for this very process, even after its pid is given to another."""

    pid: int
    pidfd: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    fences: dict[str, str] = field(default_factory=dict)
    served: int = 0
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def exchange(self, call: Call) -> Reply:
        """Send a call, await its reply. Raises one of LOST when the process has ended."""
        self.served += 1
        self.writer.writelines([pack_call(call), call.body])
        await self.writer.drain()
        return await read_reply(self.reader)

    async def greet(self) -> None:
        """Await that it can take calls. Raises one of LOST when it ends before."""
        self.fences = await read_greeting(self.reader)

    def watch(self, on_exit: Callable[[Worker], None]) -> None:
        """Call `on_exit` as soon as the process ends, for whatever reason."""
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(self.pidfd)
            os.close(self.pidfd)
            self._ended.set()
            self.writer.close()
            on_exit(self)

        loop.add_reader(self.pidfd, ended)

    @property
    def has_ended(self) -> bool:
        """Whether the process is known to have ended."""
        return self._ended.is_set()

    def kill(self) -> None:
        """End the process, whatever it does."""
        if not self.has_ended:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    async def ended(self) -> None:
        """Await the end of the process."""
        await self._ended.wait()
