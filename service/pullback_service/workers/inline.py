"""A worker in a thread of this very process: for tests and notebooks, never for strangers' graphs."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TYPE_CHECKING

from typing_extensions import override

from pullback_service.settings import Settings
from pullback_service.workers.base import AbstractWorkers, Call, Readiness, Reply, Terms, Usage, ends
from pullback_service.workers.devices import CPU, refuse_missing
from pullback_service.workers.kernel import resident_bytes

if TYPE_CHECKING:
    from pullback_service.engine import Engine


def _measured(engine: Engine, call: Call, usage: Usage) -> Reply:
    usage.begin(monotonic(), 1)
    try:
        return engine.answer(call)
    finally:
        usage.end(monotonic())


class InlineWorkers(AbstractWorkers):
    """One engine, one thread, on the CPU."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, "pullback")
        self._engine: Engine | None = None
        self._busy = 0
        self._is_draining = False

    @override
    async def start(self) -> None:
        refuse_missing(self._settings.devices, 0)
        self._engine = await asyncio.get_running_loop().run_in_executor(self._thread, self._build)

    def _build(self) -> Engine:
        from pullback_service.engine import build_engine

        engine = build_engine(self._settings)
        engine.settle(threads=self._settings.torch_threads, is_alone=True)
        return engine

    @override
    def drain(self) -> None:
        self._is_draining = True

    @override
    def welcome(self) -> None:
        if self._is_draining:
            raise ends()

    @override
    def give_up(self) -> None:
        """Nothing: a thread cannot be ended."""

    @override
    async def stop(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    @override
    async def run(self, call: Call, terms: Terms) -> Reply:  # a thread cannot be ended: there is no deadline
        assert self._engine is not None, "start() comes first"
        self._busy += 1
        try:
            loop = asyncio.get_running_loop()
            reply = await loop.run_in_executor(self._thread, _measured, self._engine, call, terms.usage)
            self._thread.submit(self._engine.practise)
            return reply.joined()
        finally:
            self._busy -= 1

    @override
    def readiness(self) -> Readiness:
        if self._is_draining:
            return Readiness("draining", "The service is about to end.")
        return Readiness("starting", "The engine loads.") if self._engine is None else Readiness("ok")

    @override
    def counts(self) -> dict[str, int]:
        busy = min(self._busy, 1)
        return {"ready": int(self._engine is not None), "busy": busy, "waiting": self._busy - busy, "restarted": 0}

    @override
    def devices(self) -> dict[str, str]:
        return {CPU: "starting" if self._engine is None else "ok"}

    @override
    def memory(self) -> dict[str, int]:
        return {CPU: resident_bytes(os.getpid())}

    @override
    def fences(self) -> dict[str, str]:
        return {}
