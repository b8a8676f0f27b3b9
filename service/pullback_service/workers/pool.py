"""A supply of workers of one role, kept full: whatever ends is replaced."""

from __future__ import annotations

import asyncio
import logging

from pullback_service.workers.control import Role
from pullback_service.workers.devices import CPU
from pullback_service.workers.forking import ForkServer
from pullback_service.workers.kernel import resident_bytes
from pullback_service.workers.worker import LOST, Worker

log = logging.getLogger(__name__)

SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
FREE_FAILURES = 4
"""So many workers in a row may be killed from outside without a pause before the next one."""

GREETED_IN_S, GREETED_ON_GPU_IN_S = 30, 180


class Pool:
    """`size` workers, lent ones included; of single-use workers, `size` besides those that are lent.

    The worker that was used last is lent next, since it knows most.
    """

    def __init__(self, server: ForkServer, role: Role, size: int, recycle_after: int, device: str = CPU) -> None:
        self.role = role
        self.device = device
        self.restarted = 0
        self.fences: dict[str, str] = {}
        self._server = server
        self._size = size
        self._recycle_after = 1 if role.is_single_use else recycle_after
        self._alive: set[Worker] = set()
        self._idle: list[Worker] = []
        self._leaving: set[Worker] = set()
        self._arrived = asyncio.Event()
        self._starting: set[asyncio.Task[None]] = set()
        self.has_started = False
        self._failures = 0

    def start(self) -> None:
        """Begin to fill it."""
        self._fill()

    def end(self) -> None:
        """Kill every worker, lent ones included; there will be no others."""
        self._size = 0
        for task in self._starting:
            task.cancel()
        self._leaving |= self._alive
        self._alive, self._idle = set(), []
        for worker in self._leaving:
            worker.kill()

    async def stop(self) -> None:
        """End every worker, and await that they have ended."""
        self.end()
        await asyncio.gather(*self._starting, return_exceptions=True)
        await asyncio.gather(*(worker.ended() for worker in self._leaving))

    @property
    def ready(self) -> int:
        """How many are up, lent ones included."""
        return len(self._alive)

    @property
    def memory_bytes(self) -> int:
        """What they hold of their device's memory, as far as is known."""
        return sum(resident_bytes(worker.pid) if self.device == CPU else worker.device_bytes for worker in self._alive)

    @property
    def state(self) -> str:
        """What `/health/ready` says of it."""
        return "ok" if self.ready else "failing" if self.is_failing else "starting"

    @property
    def is_failing(self) -> bool:
        """Whether one worker after the other ended before it had answered anything."""
        return self._failures > FREE_FAILURES

    async def take(self) -> Worker:
        """An idle worker, as soon as there is one. Give it back, or discard it."""
        while not self._idle:
            self._arrived.clear()
            await self._arrived.wait()
        worker = self._idle.pop()
        if self.role.is_single_use:  # a lent one counts as gone
            self._fill()
        return worker

    def give_back(self, worker: Worker) -> None:
        """The worker has replied. It is lent again, unless it has served its time or ended since."""
        self._failures = 0
        if worker.is_leaving or worker.served >= self._recycle_after:
            self._remove(worker)
        elif worker.has_ended:
            self.discard(worker)
        elif worker in self._alive:
            self._offer(worker)

    def discard(self, worker: Worker) -> None:
        """The worker died, hangs, or is no longer to be trusted."""
        if worker in self._alive:
            self.restarted += 1
            self._remove(worker)

    def _offer(self, worker: Worker) -> None:
        self._idle.append(worker)
        self._arrived.set()

    def _remove(self, worker: Worker) -> None:
        self._alive.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        worker.kill()
        self._fill()

    def _fill(self) -> None:
        """Start as many workers as are missing."""
        kept = len(self._idle) if self.role.is_single_use else len(self._alive)
        for _ in range(self._size - kept - len(self._starting)):
            task = asyncio.create_task(self._start_one())
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    async def _start_one(self) -> None:
        """Start a worker; after several that came to nothing, pause before, longer each time."""
        while True:
            if self.is_failing:
                pause = min(SHORTEST_PAUSE_S * 2 ** min(self._failures - FREE_FAILURES, 16), LONGEST_PAUSE_S)
                log.error("%d workers in a row came to nothing; next try in %g s", self._failures, pause)
                await asyncio.sleep(pause)
            try:
                worker = await self._started()
            except (*LOST, OSError, ValueError) as error:
                log.error("a worker did not start: %r", error)
                self._failures += 1
            else:
                task = asyncio.current_task()
                assert task is not None
                self._starting.discard(task)  # before whoever takes the worker counts what is missing
                self._welcome(worker)
                return

    async def _started(self) -> Worker:
        worker = await self._server.fork(self.role, self.device)
        worker.watch(self._on_exit)
        try:
            async with asyncio.timeout(GREETED_IN_S if self.device == CPU else GREETED_ON_GPU_IN_S):
                await worker.greet()
            if worker.has_ended:
                raise ConnectionError("it ended right after its greeting")
        except BaseException:
            worker.kill()
            raise
        return worker

    def _welcome(self, worker: Worker) -> None:
        if worker.fences != self.fences:
            self.fences = worker.fences
            report = ", ".join(f"{name} {state}" for name, state in worker.fences.items())
            log.log(
                _severity(worker.fences), "fences around pullback-%s on %s: %s", self.role.value, self.device, report
            )
        self.has_started = True
        self._alive.add(worker)
        self._offer(worker)

    def _on_exit(self, worker: Worker) -> None:
        """Replace a worker that ends while nobody uses it. Whoever has borrowed one may still read its last reply."""
        if worker in self._idle:
            log.warning("worker %d ended", worker.pid)
            self._failures += not worker.served
            self.discard(worker)


def _severity(fences: dict[str, str]) -> int:
    return logging.INFO if set(fences.values()) == {"on"} else logging.WARNING
