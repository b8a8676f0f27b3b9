"""Calls answered by worker processes: one that dies or overruns is replaced, and costs its own request only."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from time import monotonic

from typing_extensions import override

from pullback_schemas.problems import Busy, DeadlineExceeded, ProblemError, WorkerDied
from pullback_service.patience import Deadline, Patience
from pullback_service.settings import Settings
from pullback_service.workers.base import (
    NEEDS_DEVICE,
    NEEDS_ISOLATION,
    NEEDS_ROOM,
    AbstractWorkers,
    Call,
    Readiness,
    Reply,
    Terms,
    ends,
)
from pullback_service.workers.control import Role
from pullback_service.workers.devices import ANY_GPU, CPU, named_gpus
from pullback_service.workers.forking import STARTED_IN_S, ForkServer
from pullback_service.workers.isolation import Isolation, crashed, read_isolation
from pullback_service.workers.pool import Pool
from pullback_service.workers.quarantine import Quarantine
from pullback_service.workers.queue import Queue, Stranded, Turn
from pullback_service.workers.riding import Company
from pullback_service.workers.worker import LOST, Worker

log = logging.getLogger(__name__)

SPARES = 1
PATIENCE_S = 0.02
"""Calls that are answered within it cost no timer."""

FINISH_S = 0.25
"""How long a worker may go on with a call whose caller has gone, or whose deadline has passed."""


@dataclass(frozen=True, slots=True, eq=False)
class Station:
    """The workers of one device, and the queue before them."""

    pool: Pool
    queue: Queue

    @property
    def load(self) -> int:
        """How many calls run and wait."""
        return self.queue.taken + self.queue.waiting


class ProcessWorkers(AbstractWorkers):
    """A pool of ordinary workers, a spare for graphs with isolated operators, and a worker for each GPU.

    Every call goes to an ordinary worker first, which says if it belongs elsewhere.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._server = ForkServer(settings)
        self._cpu = self._station(CPU, settings.workers)
        self._alone = Pool(self._server, Role.ALONE, SPARES, 1)
        self._gpus: dict[str, Station] = {}
        self._opening: asyncio.Task[None] | None = None
        self._quarantine = Quarantine(settings.quarantine_s)
        self._company = Company()
        self._patience = Patience(PATIENCE_S)
        self._finishing: set[asyncio.Task[None]] = set()
        self._is_draining = False
        self._has_given_up = False

    @override
    async def start(self) -> None:
        await self._server.start()
        self._cpu.pool.start()
        self._alone.start()
        self._opening = asyncio.create_task(self._open_gpus())
        if named_gpus(self._settings.devices):
            try:
                await asyncio.wait_for(self._opening, STARTED_IN_S)
            except BaseException:
                await self.stop()
                raise

    async def _open_gpus(self) -> None:
        """Start a worker on each GPU, once they are known. Raises DeviceMissingError."""
        await self._server.up()
        for device in self._server.gpus:
            self._gpus[device] = station = self._station(device, 1)
            station.pool.start()

    def _station(self, device: str, size: int) -> Station:
        role = Role.ONCE if self._settings.single_use else Role.WORKER
        pool = Pool(self._server, role, size, self._settings.recycle_after, device)
        return Station(pool, Queue(size, self._settings.max_waiting))

    @property
    def _stations(self) -> dict[str, Station]:
        return {CPU: self._cpu, **self._gpus}

    @override
    def drain(self) -> None:
        self._is_draining = True

    @override
    def welcome(self) -> None:
        if self._is_draining:
            raise ends()

    @override
    def give_up(self) -> None:
        self._has_given_up = True
        for station in self._stations.values():
            station.queue.close()
            station.pool.end()
        self._alone.end()

    @override
    async def stop(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        pools = [station.pool for station in self._stations.values()]
        await asyncio.gather(*(pool.stop() for pool in (*pools, self._alone)))
        await asyncio.gather(*self._finishing)
        await self._server.stop()

    @override
    async def run(self, call: Call, terms: Terms) -> Reply:
        if self._has_given_up:
            raise ends()
        turn = Turn(call, terms.caller, terms.usage)
        with Deadline(self._patience, terms.timeout_s, partial(_overrun, turn, terms.timeout_s)):
            reply = await self._run_at(self._cpu, turn)
            if reply.status == NEEDS_DEVICE:
                reply = await self._run_at(self._named(reply.body.decode()), turn)
        if reply.status < 200:
            raise WorkerDied("A worker answered what is none.", hint="Try again.")
        return reply

    def _named(self, device: str) -> Station:
        """Where a call is to run that an ordinary worker sent on; its name was checked."""
        return min(self._gpus.values(), key=lambda gpu: gpu.load) if device == ANY_GPU else self._gpus[device]

    async def _run_at(self, station: Station, turn: Turn) -> Reply:
        """The answer of this station: in a slot of its own, or in that of a call with which it may run."""
        turn.has_begun = False
        companions: list[Turn] = []
        if not station.queue.enter_at_once(turn):
            granted = await self._enter(station, turn)
            if isinstance(granted, Reply):
                return granted
            companions = granted
        try:
            reply = await self._run_ordinary(station.pool, turn, companions)
            if reply.status == NEEDS_ISOLATION:
                return await self._run_alone(turn, read_isolation(reply.body))
            return reply
        finally:
            _strand(companions)
            station.queue.leave(is_large=turn.is_large)

    async def _enter(self, station: Station, turn: Turn) -> list[Turn] | Reply:
        is_welcome = self._company.is_welcome(turn.part) and not self._quarantine.refused(turn.caller)
        turn.key = turn.part if is_welcome else None
        try:
            return await station.queue.enter(turn)
        except Stranded:
            turn.key = None
            return await station.queue.enter(turn)

    @override
    def readiness(self) -> Readiness:
        if self._is_draining:
            return Readiness("draining", "The service is about to end.")
        if self._server.is_failing:
            return Readiness("failing", "The process that forks workers ends again and again; the log says why.")
        if not self._cpu.pool.ready:
            if self._cpu.pool.is_failing:
                return Readiness("failing", "Workers end as soon as they have started; the log says why.")
            if not (self._cpu.pool.role.is_single_use and self._cpu.pool.has_started):
                return Readiness("starting", "No worker is up yet.")
        if self._cpu.queue.is_full:
            return Readiness("full", "Every worker is busy and the queue is full.")
        return Readiness("ok")

    @override
    def counts(self) -> dict[str, int]:
        stations = self._stations.values()
        return {
            "ready": sum(station.pool.ready for station in stations),
            "busy": sum(station.queue.taken for station in stations),
            "waiting": sum(station.queue.waiting for station in stations),
            "restarted": sum(station.pool.restarted for station in stations) + self._alone.restarted,
        }

    @override
    def devices(self) -> dict[str, str]:
        return {device: station.pool.state for device, station in self._stations.items()}

    @override
    def memory(self) -> dict[str, int]:
        return {device: station.pool.memory_bytes for device, station in self._stations.items()}

    @override
    def fences(self) -> dict[str, str]:
        return self._cpu.pool.fences | {
            f"{name} on {device}": state
            for device, gpu in self._gpus.items()
            for name, state in gpu.pool.fences.items()
        }

    async def _run_ordinary(self, pool: Pool, turn: Turn, companions: list[Turn]) -> Reply:
        for others in (companions, []):
            try:
                reply = await self._run_in(pool, turn, others)
            except LOST as error:
                log.warning("a worker was lost in the middle of a request: %r", error)
                _strand(others)
            else:
                if reply.status != NEEDS_ROOM:
                    return reply
        raise WorkerDied(
            "The worker process ended while it ran this request, twice.",
            hint="The graph probably makes PyTorch crash. Other requests are not affected.",
        )

    async def _run_alone(self, turn: Turn, isolation: Isolation) -> Reply:
        """The answer of a fresh process. It is not tried again: what crashed once, crashes."""
        try:
            reply = await self._run_in(self._alone, turn, [])
        except LOST:
            raise crashed(isolation) from None
        if reply.status == NEEDS_ISOLATION:  # it was told that it is alone, and has lost its mind
            raise crashed(isolation)
        return reply

    async def _run_in(self, pool: Pool, turn: Turn, companions: list[Turn]) -> Reply:
        worker = await pool.take()
        together = [turn, *companions]
        for each in together:
            each.has_begun = True
            each.usage.begin(monotonic(), len(together))
        try:
            worker.send([other.call for other in together], self._quarantine.refused(turn.caller))
            reply = await worker.receive()
            self._company.learn(turn.part, reply)
            if companions:
                await _deliver(worker, companions)
        except BaseException as error:
            self._part_from(worker, pool, turn, companions, error)
            if isinstance(error, LOST) and not companions:  # else nobody knows whose it was
                await self._ask_why(worker, turn.caller)
            raise
        turn.usage.end(monotonic())
        pool.give_back(worker)
        return reply

    def _part_from(self, worker: Worker, pool: Pool, turn: Turn, companions: list[Turn], error: BaseException) -> None:
        """The worker is done with, unless it was only the caller who did not wait: then it may be about to finish."""
        turn.usage.end(now := monotonic())
        if worker.is_computing and isinstance(error, asyncio.CancelledError):
            turn.usage.begin(now, 1 + len(companions))
            task = asyncio.create_task(_let_finish(worker, pool, turn, companions[:]))
            companions.clear()  # that task has charge of them
            self._finishing.add(task)
            task.add_done_callback(self._finishing.discard)
        else:
            pool.discard(worker)

    async def _ask_why(self, worker: Worker, caller: str) -> None:
        """A graph that ended its worker is held against its caller. Raises Busy when it was this service that did."""
        if self._has_given_up:
            raise ends() from None
        graph = await worker.killer()
        if graph is not None:
            self._quarantine.blame(caller, graph)


async def _deliver(worker: Worker, companions: list[Turn]) -> None:
    """Await the replies to calls that were sent together with another one, which has its own."""
    while companions:
        reply = await worker.receive()
        is_answer = reply.status not in (NEEDS_ISOLATION, NEEDS_DEVICE, NEEDS_ROOM)
        companion = companions.pop(0)
        companion.usage.end(monotonic())
        companion.settle(reply if is_answer else Stranded())


def _strand(companions: list[Turn]) -> None:
    """Those that have no answer yet may be answered alone; each is told once, since it comes back as the same turn."""
    while companions:
        companion = companions.pop()
        companion.usage.end(monotonic())
        companion.settle(Stranded())


async def _let_finish(worker: Worker, pool: Pool, turn: Turn, companions: list[Turn]) -> None:
    """Killing a worker costs other callers more than the rest of a short call; a long one is not waited for.

    Whoever left pays for it.
    """
    try:
        async with asyncio.timeout(FINISH_S):
            if worker.unanswered > len(companions):
                _forget(await worker.receive())
            await _deliver(worker, companions)
    except (TimeoutError, *LOST):
        log.warning("worker %d computed for a caller that had ceased to wait: it is replaced", worker.pid)
        pool.discard(worker)
    else:
        pool.give_back(worker)
    finally:
        turn.usage.end(monotonic())
        _strand(companions)


def _forget(reply: Reply) -> None:
    if reply.shared is not None:
        reply.shared.memory.close()


def _overrun(turn: Turn, timeout_s: float) -> ProblemError:
    if turn.has_begun:
        return DeadlineExceeded(
            f"The request took longer than {timeout_s:g} s.",
            hint="Send less work at once, or allow more time where Pullback-Timeout asked for less.",
        )
    return Busy(f"No worker came free within the {timeout_s:g} s that the request had.", hint="Try again soon.")
