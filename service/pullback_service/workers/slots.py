"""How many requests may run at once, and how many may wait for it."""

from __future__ import annotations

import asyncio

from pullback_schemas.problems import Busy


class Slots:
    """As many slots as there are workers; first come, first served."""

    def __init__(self, count: int, max_waiting: int) -> None:
        self._count = count
        self._max_waiting = max_waiting
        self._free = asyncio.Semaphore(count)
        self._waiting = 0
        self.taken = 0

    async def take(self, deadline: float) -> None:
        """A slot, to be given back. Raises Busy when too many wait already, or none comes free before the deadline."""
        if self._free.locked():
            await self._wait(deadline)
        else:
            await self._free.acquire()
        self.taken += 1

    def give_back(self) -> None:
        """The request is done."""
        self.taken -= 1
        self._free.release()

    async def _wait(self, deadline: float) -> None:
        if self._waiting >= self._max_waiting:
            raise Busy("Every worker is busy and the queue is full.", hint="Try again soon.")
        self._waiting += 1
        try:
            async with asyncio.timeout_at(deadline):
                await self._free.acquire()
        except TimeoutError:
            raise Busy("No worker came free before the deadline.", hint="Try again soon.") from None
        finally:
            self._waiting -= 1
