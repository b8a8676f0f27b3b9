"""Calls answered by worker processes: one that dies or overruns is replaced, and costs its own request only."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from typing_extensions import override

from pullback_schemas.problems import Busy, DeadlineExceeded, ProblemError, WorkerDied
from pullback_service.settings import Settings
from pullback_service.workers.base import NEEDS_ISOLATION, AbstractWorkers, Call, Readiness, Reply, Terms
from pullback_service.workers.control import Role
from pullback_service.workers.forking import ForkServer
from pullback_service.workers.isolation import Isolation, crashed, read_isolation
from pullback_service.workers.pool import Pool
from pullback_service.workers.quarantine import Quarantine
from pullback_service.workers.queue import Queue
from pullback_service.workers.shared import SharedBytes
from pullback_service.workers.worker import LOST, Worker

log = logging.getLogger(__name__)

TRIES = 2
SPARES = 1
FINISH_S = 0.25
"""How long a worker may go on with a call whose caller has gone, or whose deadline has passed."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a call has to be done, by the event loop's clock, and how many seconds that left it."""

    at: float
    allowed_s: float


class ProcessWorkers(AbstractWorkers):
    """A pool of ordinary workers, and a spare for graphs with isolated operators."""

    def __init__(self, settings: Settings) -> None:
        self._server = ForkServer(settings)
        ordinary = Role.ONCE if settings.single_use else Role.WORKER
        self._ordinary = Pool(self._server, ordinary, settings.workers, settings.recycle_after)
        self._alone = Pool(self._server, Role.ALONE, SPARES, 1)
        self._queue = Queue(settings.workers, settings.max_waiting)
        self._quarantine = Quarantine(settings.quarantine_s)
        self._finishing: set[asyncio.Task[None]] = set()
        self._is_draining = False
        self._has_given_up = False

    @override
    async def start(self) -> None:
        await self._server.start()
        self._ordinary.start()
        self._alone.start()

    @override
    def drain(self) -> None:
        self._is_draining = True

    @override
    def give_up(self) -> None:
        self._has_given_up = True
        self._queue.close()
        self._ordinary.end()
        self._alone.end()

    @override
    async def stop(self) -> None:
        await asyncio.gather(self._ordinary.stop(), self._alone.stop())
        await asyncio.gather(*self._finishing)
        await self._server.stop()

    @override
    async def run(self, call: Call, terms: Terms) -> Reply:
        if self._is_draining:
            raise Busy("The service is about to end.", hint="Another one may take over.")
        deadline = Deadline(asyncio.get_running_loop().time() + terms.timeout_s, terms.timeout_s)
        is_large = isinstance(call.body, SharedBytes)
        await self._queue.enter(terms.caller, is_large=is_large, deadline=deadline.at)
        try:
            reply = await self._run_ordinary(call, terms.caller, deadline)
            if reply.status == NEEDS_ISOLATION:
                return await self._run_alone(call, terms.caller, read_isolation(reply.body), deadline)
            return reply
        finally:
            self._queue.leave(is_large=is_large)

    @override
    def readiness(self) -> Readiness:
        if self._is_draining:
            return Readiness("draining", "The service is about to end.")
        if self._server.is_failing:
            return Readiness("failing", "The process that forks workers ends again and again; the log says why.")
        if not self._ordinary.ready:
            if self._ordinary.is_failing:
                return Readiness("failing", "Workers end as soon as they have started; the log says why.")
            if not (self._ordinary.role.is_single_use and self._ordinary.has_started):
                return Readiness("starting", "No worker is up yet.")
        if self._queue.is_full:
            return Readiness("full", "Every worker is busy and the queue is full.")
        return Readiness("ok")

    @override
    def counts(self) -> dict[str, int]:
        restarted = self._ordinary.restarted + self._alone.restarted
        return {
            "ready": self._ordinary.ready,
            "busy": self._queue.taken,
            "waiting": self._queue.waiting,
            "restarted": restarted,
        }

    @override
    def fences(self) -> dict[str, str]:
        return self._ordinary.fences

    async def _run_ordinary(self, call: Call, caller: str, deadline: Deadline) -> Reply:
        for _ in range(TRIES):
            try:
                return await self._run_in(self._ordinary, call, caller, deadline)
            except LOST as error:
                log.warning("a worker was lost in the middle of a request: %r", error)
        raise WorkerDied(
            f"The worker process ended while it ran this request, {TRIES} times.",
            hint="The graph probably makes PyTorch crash. Other requests are not affected.",
        )

    async def _run_alone(self, call: Call, caller: str, isolation: Isolation, deadline: Deadline) -> Reply:
        """The answer of a fresh process. It is not tried again: what crashed once, crashes."""
        try:
            reply = await self._run_in(self._alone, call, caller, deadline)
        except LOST:
            raise crashed(isolation) from None
        if reply.status == NEEDS_ISOLATION:  # it was told that it is alone, and has lost its mind
            raise crashed(isolation)
        return reply

    async def _run_in(self, pool: Pool, call: Call, caller: str, deadline: Deadline) -> Reply:
        worker = None
        try:
            async with asyncio.timeout_at(deadline.at):
                worker = await pool.take()
                reply = await worker.exchange(call, self._quarantine.refused(caller))
        except BaseException as error:
            if worker is not None:
                self._part_from(worker, pool, error)
            if isinstance(error, TimeoutError):
                raise _overrun(worker, deadline) from None
            if worker is not None and isinstance(error, LOST):
                await self._ask_why(worker, caller)
            raise
        pool.give_back(worker)
        return reply

    def _part_from(self, worker: Worker, pool: Pool, error: BaseException) -> None:
        """The worker is done with, unless it was only the caller who did not wait: then it may be about to finish."""
        if worker.is_computing and isinstance(error, TimeoutError | asyncio.CancelledError):
            task = asyncio.create_task(_let_finish(worker, pool))
            self._finishing.add(task)
            task.add_done_callback(self._finishing.discard)
        else:
            pool.discard(worker)

    async def _ask_why(self, worker: Worker, caller: str) -> None:
        """A graph that ended its worker is held against its caller. Raises Busy when it was this service that did."""
        if self._has_given_up:
            raise Busy("The service ends, and this took too long.", hint="Another one may take over.") from None
        graph = await worker.killer()
        if graph is not None:
            self._quarantine.blame(caller, graph)


async def _let_finish(worker: Worker, pool: Pool) -> None:
    """Killing a worker costs other callers more than the rest of a short call; a long one is not waited for."""
    try:
        async with asyncio.timeout(FINISH_S):
            await worker.finish()
    except (TimeoutError, *LOST):
        log.warning("worker %d computed for a caller that had ceased to wait: it is replaced", worker.pid)
        pool.discard(worker)
    else:
        pool.give_back(worker)


def _overrun(worker: Worker | None, deadline: Deadline) -> ProblemError:
    if worker is None:
        return Busy("No worker came up before the deadline.", hint="Try again soon.")
    return DeadlineExceeded(f"The request took longer than {deadline.allowed_s:g} s.", hint="Send less work at once.")
