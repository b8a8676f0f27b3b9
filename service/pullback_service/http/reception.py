"""What every request for a worker passes first."""

from __future__ import annotations

from starlette.types import Scope

from pullback_service.access.gate import Gate, Visit
from pullback_service.http.edge import record_of
from pullback_service.http.head import Head, address_of
from pullback_service.http.terms import timeout_of
from pullback_service.settings import Settings
from pullback_service.workers.base import Terms


class Reception:
    """Reads heads, and lets requests in."""

    def __init__(self, gate: Gate, settings: Settings) -> None:
        self._gate = gate
        self._proxies = settings.proxies
        self._deadline_s = settings.deadline_s

    def greet(self, scope: Scope) -> tuple[Head, Visit]:
        """The request's head, and its visit, which is yet to be entered. Raises Unauthorized."""
        record = record_of(scope)
        headers = record.asked
        record.visit = visit = self._gate.visit(headers, address_of(scope, headers, self._proxies), record.usage)
        return Head.of(headers), visit

    def terms(self, head: Head, visit: Visit) -> Terms:
        """On what terms it is answered. Raises InvalidField."""
        return Terms(visit.caller, timeout_of(head, self._deadline_s), visit.usage)
