"""Calls answered by worker processes: one that dies or overruns is replaced, and costs its own request only."""

from __future__ import annotations

import asyncio
import json
import logging

from typing_extensions import override

from pullback_schemas.problems import Busy, DeadlineExceeded, OpCrashed, WorkerDied
from pullback_service.settings import Settings
from pullback_service.workers.base import NEEDS_ISOLATION, AbstractWorkers, Call, Reply
from pullback_service.workers.control import Role
from pullback_service.workers.forking import ForkServer
from pullback_service.workers.pool import Pool
from pullback_service.workers.slots import Slots
from pullback_service.workers.worker import LOST, Worker

log = logging.getLogger(__name__)

TRIES = 2
SPARES = 1


class ProcessWorkers(AbstractWorkers):
    """A pool of ordinary workers, and a spare for graphs with isolated operators."""

    def __init__(self, settings: Settings) -> None:
        self._deadline_s = settings.deadline_s
        self._server = ForkServer(settings)
        ordinary = Role.ONCE if settings.single_use else Role.WORKER
        self._ordinary = Pool(self._server, ordinary, settings.workers, settings.recycle_after)
        self._alone = Pool(self._server, Role.ALONE, SPARES, 1)
        self._slots = Slots(settings.workers, settings.max_waiting)

    @override
    async def start(self) -> None:
        await self._server.start()
        self._ordinary.start()
        self._alone.start()

    @override
    async def stop(self) -> None:
        await asyncio.gather(self._ordinary.stop(), self._alone.stop())
        await self._server.stop()

    @override
    async def run(self, call: Call) -> Reply:
        deadline = asyncio.get_running_loop().time() + self._deadline_s
        await self._slots.take(deadline)
        try:
            reply = await self._run_ordinary(call, deadline)
            if reply.status == NEEDS_ISOLATION:
                return await self._run_alone(call, reply.body, deadline)
            return reply
        finally:
            self._slots.give_back()

    @override
    def counts(self) -> dict[str, int]:
        restarted = self._ordinary.restarted + self._alone.restarted
        return {"ready": self._ordinary.ready, "busy": self._slots.taken, "restarted": restarted}

    @override
    def fences(self) -> dict[str, str]:
        return self._ordinary.fences

    async def _run_ordinary(self, call: Call, deadline: float) -> Reply:
        for _ in range(TRIES):
            try:
                return await self._run_in(self._ordinary, call, deadline)
            except LOST as error:
                log.warning("a worker was lost in the middle of a request: %r", error)
        raise WorkerDied(
            f"The worker process ended while it ran this request, {TRIES} times.",
            hint="The graph probably makes PyTorch crash. Other requests are not affected.",
        )

    async def _run_alone(self, call: Call, reason: bytes, deadline: float) -> Reply:
        """The answer of a fresh process. It is not tried again: what crashed once, crashes."""
        try:
            return await self._run_in(self._alone, call, deadline)
        except LOST:
            raise _crashed(reason) from None

    async def _run_in(self, pool: Pool, call: Call, deadline: float) -> Reply:
        worker = await self._take(pool, deadline)
        try:
            async with asyncio.timeout_at(deadline):
                reply = await worker.exchange(call)
        except TimeoutError:
            log.warning("worker %d ran past the deadline of a request", worker.pid)
            pool.discard(worker)
            raise DeadlineExceeded(
                f"The request took longer than {self._deadline_s:g} s.", hint="Send less work at once."
            ) from None
        except BaseException:
            pool.discard(worker)
            raise
        pool.give_back(worker)
        return reply

    async def _take(self, pool: Pool, deadline: float) -> Worker:
        try:
            async with asyncio.timeout_at(deadline):
                return await pool.take()
        except TimeoutError:
            raise Busy("No worker came up before the deadline.", hint="Try again soon.") from None


def _crashed(reason: bytes) -> OpCrashed:
    """The problem of the nodes that a worker named when it asked for isolation."""
    nodes = json.loads(reason)["nodes"]
    names = ", ".join(f"{node['op']} (node {node['node']!r})" for node in nodes)
    return OpCrashed(
        f"The process that ran this graph alone ended in the middle: {names} crashed on these arguments.",
        pointer=nodes[0]["pointer"] if len(nodes) == 1 else "/graph",
        node=nodes[0]["node"] if len(nodes) == 1 else None,
        got=nodes,
        hint="Its kernel does not check its arguments. Look for indices, lengths and sizes that are out of range.",
    )
