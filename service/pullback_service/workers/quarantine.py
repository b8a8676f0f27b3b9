"""Graphs that ended workers, which are refused for a while."""

from __future__ import annotations

from cachetools import TTLCache

from pullback_service.workers.frames import MAX_REFUSED

DEATHS = 2
REMEMBERED = 4096


class Quarantine:
    """What each caller's graphs have done; those of one caller are refused until it has kept still for a while.

    A caller's own only: a worker that was taken over may lie about the graph that it runs.
    """

    def __init__(self, seconds: float) -> None:
        self._deaths: TTLCache[tuple[str, bytes], int] = TTLCache(REMEMBERED, seconds)
        self._refused: TTLCache[str, list[bytes]] = TTLCache(REMEMBERED, seconds)
        self._is_spotless = True

    def blame(self, caller: str, digest: bytes) -> None:
        """A worker ended while it ran this graph."""
        deaths = self._deaths[caller, digest] = self._deaths.get((caller, digest), 0) + 1
        if deaths >= DEATHS:
            others = [known for known in self._refused.get(caller, []) if known != digest]
            self._is_spotless = False
            self._refused[caller] = [*others, digest][-MAX_REFUSED:]

    def refused(self, caller: str) -> list[bytes]:
        """The digests of the graphs that this caller may not run now."""
        return [] if self._is_spotless else self._refused.get(caller, [])
