"""How many connections there may be: in all, and from one client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container

from pullback_schemas.problems import Busy
from pullback_service.addresses import client_of
from pullback_service.settings import Settings


class ConnectionLimits:
    """Counts connections while they last."""

    def __init__(self, settings: Settings) -> None:
        self._max_all = settings.max_connections
        self._max_each = settings.max_connections_per_client
        self._proxies: Container[str] = settings.proxies
        self._counts: Counter[str] = Counter()
        self._all = 0

    def admit(self, address: str) -> str:
        """Count one more connection from there; what `leave` wants to have. Raises Busy beyond a limit."""
        client = "" if address in self._proxies else client_of(address)
        if self._all >= self._max_all:
            raise _busy("There are", self._max_all)
        if client and self._counts[client] >= self._max_each:
            raise _busy("Your address has", self._max_each)
        self._all += 1
        if client:
            self._counts[client] += 1
        return client

    def leave(self, client: str) -> None:
        """Count one less."""
        self._all -= 1
        if client:
            self._counts[client] -= 1
            if not self._counts[client]:
                del self._counts[client]


def _busy(who: str, limit: int) -> Busy:
    return Busy(f"{who} {limit:,} connections already.", expected=limit, hint="Keep connections and use them again.")
