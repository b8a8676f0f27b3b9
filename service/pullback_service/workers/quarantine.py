"""Graphs that ended workers, which are refused for a while."""

from __future__ import annotations

from cachetools import TTLCache

from pullback_service.workers.frames import MAX_REFUSED

DEATHS = 2
REMEMBERED = 4096


class Quarantine:
    """What each caller's graphs have done.

    A caller's own only: a worker that was taken over may lie about the graph that it runs.
    """

    def __init__(self, seconds: float) -> None:
        self._deaths: TTLCache[tuple[str, bytes], int] = TTLCache(REMEMBERED, seconds)

    def blame(self, caller: str, digest: bytes) -> None:
        """A worker ended while it ran this graph."""
        self._deaths[caller, digest] = self._deaths.get((caller, digest), 0) + 1

    def refused(self, caller: str) -> list[bytes]:
        """The digests of the graphs that this caller may not run now."""
        if not self._deaths:
            return []
        found = [digest for (who, digest), deaths in self._deaths.items() if who == caller and deaths >= DEATHS]
        return found[-MAX_REFUSED:]
