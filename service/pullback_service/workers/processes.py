"""Worker processes over local sockets: one that dies or overruns is replaced, and costs its own request only."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

from typing_extensions import override

from pullback_schemas.problems import Busy, DeadlineExceeded, WorkerDied
from pullback_service.settings import Settings
from pullback_service.workers.base import AbstractWorkers, Call, Reply
from pullback_service.workers.frames import READY, pack_call, read_reply

log = logging.getLogger(__name__)

INHERITED = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV")
MAX_PAUSE_S = 10.0
STARTED_IN_S = 120
TRIES = 2

_LOST = (ConnectionError, asyncio.IncompleteReadError)


@dataclass(eq=False)
class Worker:
    """A live worker process and its socket."""

    process: subprocess.Popen[bytes]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def exchange(self, call: Call) -> Reply:
        """Send a call, await its reply. Raises one of _LOST when the process has ended."""
        self.writer.writelines([pack_call(call), call.body])
        await self.writer.drain()
        return await read_reply(self.reader)

    async def end(self) -> None:
        """Kill the process, whatever it does, and reap it."""
        self.writer.close()
        self.process.kill()
        await asyncio.to_thread(self.process.wait)


class ProcessWorkers(AbstractWorkers):
    """A fixed number of worker processes; the one that was used last is used next, since it knows most."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._idle: asyncio.LifoQueue[Worker] = asyncio.LifoQueue()
        self._alive: set[Worker] = set()
        self._starting: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._restarted = 0

    @override
    async def start(self) -> None:
        for _ in range(self._settings.workers):
            self._start_one()

    @override
    async def stop(self) -> None:
        for task in self._starting:
            task.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        for worker in list(self._alive):
            self._end(worker)
        await asyncio.gather(*self._ending)

    @override
    async def run(self, call: Call) -> Reply:
        deadline = time.monotonic() + self._settings.deadline_s
        for _ in range(TRIES):
            worker = await self._take(deadline)
            try:
                async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                    reply = await worker.exchange(call)
            except _LOST:
                log.warning("worker %d died in the middle of a request", worker.process.pid)
                self._replace(worker)
            except TimeoutError:
                log.warning("worker %d ran past the deadline of a request", worker.process.pid)
                self._replace(worker)
                raise DeadlineExceeded(
                    f"The request took longer than {self._settings.deadline_s:g} s.",
                    hint="Send less work at once.",
                ) from None
            except BaseException:
                self._replace(worker)
                raise
            else:
                if worker in self._alive:
                    self._idle.put_nowait(worker)
                return reply
        raise WorkerDied(
            f"The worker process ended while it ran this request, {TRIES} times.",
            hint="The graph probably makes PyTorch crash. Other requests are not affected.",
        )

    @override
    def counts(self) -> dict[str, int]:
        alive = len(self._alive)
        return {"ready": alive, "busy": alive - self._idle.qsize(), "restarted": self._restarted}

    async def _take(self, deadline: float) -> Worker:
        """A live idle worker. Raises Busy when too many wait already, or none comes free in time."""
        if not self._idle.empty():
            return self._idle.get_nowait()
        if self._waiting >= self._settings.max_waiting:
            raise Busy("Every worker is busy and the queue is full.", hint="Try again soon.")
        self._waiting += 1
        try:
            async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                return await self._idle.get()
        except TimeoutError:
            raise Busy("No worker came free before the deadline.", hint="Try again soon.") from None
        finally:
            self._waiting -= 1

    def _replace(self, worker: Worker) -> None:
        """End a worker and start another in its place, once."""
        if worker in self._alive:
            self._end(worker)
            self._restarted += 1
            self._start_one()

    def _end(self, worker: Worker) -> None:
        self._alive.discard(worker)
        idle = [self._idle.get_nowait() for _ in range(self._idle.qsize())]
        for other in reversed(idle):
            if other is not worker:
                self._idle.put_nowait(other)
        _keep(asyncio.create_task(worker.end()), self._ending)

    def _start_one(self) -> None:
        _keep(asyncio.create_task(self._keep_starting()), self._starting)

    async def _keep_starting(self) -> None:
        """Start a worker; if it does not come up, pause and try again, longer each time."""
        pause = 0.5
        while True:
            try:
                worker = await start_worker(self._settings)
            except (*_LOST, OSError) as error:
                log.error("a worker did not start (%s); next try in %g s", error, pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE_S)
            else:
                self._alive.add(worker)
                self._idle.put_nowait(worker)
                self._watch(worker)
                return

    def _watch(self, worker: Worker) -> None:
        """Replace the worker as soon as its process ends, even while nobody uses it."""
        loop = asyncio.get_running_loop()
        descriptor = os.pidfd_open(worker.process.pid)

        def on_exit() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            if worker in self._alive:
                log.warning("worker %d ended", worker.process.pid)
                self._replace(worker)

        loop.add_reader(descriptor, on_exit)


async def start_worker(settings: Settings) -> Worker:
    """A worker process that has said it is ready. Raises one of _LOST when it ends before."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "pullback_service.workers.child",
                str(theirs.fileno()),
                settings.model_dump_json(),
            ],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={name: os.environ[name] for name in INHERITED if name in os.environ}
            | {"OMP_NUM_THREADS": str(settings.torch_threads)},
        )
    reader, writer = await asyncio.open_connection(sock=ours)
    worker = Worker(process, reader, writer)
    try:
        async with asyncio.timeout(STARTED_IN_S):
            greeting = await reader.readexactly(1)
        if greeting != READY:
            raise ConnectionError("the worker said something else than that it is ready")
    except BaseException:
        await asyncio.shield(worker.end())
        raise
    return worker


def _keep(task: asyncio.Task[None], tasks: set[asyncio.Task[None]]) -> None:
    """Hold on to a task until it is done; the event loop alone would not."""
    tasks.add(task)
    task.add_done_callback(tasks.discard)
