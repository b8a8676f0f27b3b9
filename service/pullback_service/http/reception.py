"""What every request for a worker passes first."""

from __future__ import annotations

from starlette.types import Scope

from pullback_schemas.problems import CrossSite
from pullback_service.access.gate import Gate, Visit
from pullback_service.addresses import client_of
from pullback_service.http.edge import record_of
from pullback_service.http.head import Head, address_of
from pullback_service.http.terms import timeout_of
from pullback_service.settings import Settings
from pullback_service.workers.base import Terms

CROSS_SITE = b"cross-site"
"""What a browser says of a request that a page of another site makes it send (Fetch Metadata)."""


class Reception:
    """Reads heads, and lets requests in."""

    def __init__(self, gate: Gate, settings: Settings) -> None:
        self._gate = gate
        self._proxies = settings.proxies
        self._deadline_s = settings.deadline_s
        self._origins = settings.origins

    def greet(self, scope: Scope) -> tuple[Head, Visit]:
        """The request's head, and its visit, which is yet to be entered. Raises Unauthorized or CrossSite."""
        record = record_of(scope)
        headers = record.asked
        if headers.get(b"sec-fetch-site") == CROSS_SITE and not self._is_open_to(headers.get(b"origin", b"")):
            raise CrossSite(
                "A page of another site may not make a browser call this service.",
                hint="Whoever runs the service can let its origin call: PULLBACK_CORS_ORIGINS.",
            )
        record.client = address_of(scope, headers, self._proxies)
        record.visit = visit = self._gate.visit(headers, client_of(record.client), record.usage)
        return Head.of(headers), visit

    def _is_open_to(self, origin: bytes) -> bool:
        return "*" in self._origins or origin.decode("latin-1") in self._origins

    def terms(self, head: Head, visit: Visit) -> Terms:
        """On what terms it is answered. Raises InvalidField."""
        return Terms(visit.caller, timeout_of(head, self._deadline_s), visit.usage)
