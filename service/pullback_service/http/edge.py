"""The outermost layer: every request has a name and is told of, every answer has the same headers."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pullback_service.access.quotas import Header
from pullback_service.http.exchange import SEND_FILE, START
from pullback_service.http.operations import OPERATIONS
from pullback_service.telemetry.record import Record
from pullback_service.telemetry.reporters import Reporters

RECORD = "pullback"
"""The scope has, under this name, what is told of the request."""

LABELS = {
    **{f"/v1/{operation}".encode(): operation for operation in OPERATIONS},
    b"/v1/ops": "ops",
    b"/health/live": "health",
    b"/health/ready": "health",
    b"/metrics": "metrics",
    b"/openapi.json": "docs",
    b"/docs": "docs",
}
BELOW = {b"/v1/ops/": "op", b"/docs/": "docs"}

NO_GUESS: Header = (b"x-content-type-options", b"nosniff")
NO_CONTENT: Header = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
"""An answer is data: whatever stands in it, no browser is to run or show it."""

NO_STORE: Header = (b"cache-control", b"no-store")
"""For GET: an answer to a POST that does not say how long it is fresh may not be stored anyway (RFC 9110, 9.3.3)."""


def record_of(scope: Scope) -> Record:
    """What is told of the request."""
    record: Record = scope[RECORD]
    return record


class Edge:
    """Passes requests on to an application."""

    def __init__(self, inner: ASGIApp, reporters: Reporters) -> None:
        self._inner = inner
        self._reporters = reporters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and tell of it when it is over."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        record = scope[RECORD] = Record(scope)
        record.operation = _label(record.raw_path)
        self._reporters.begin(record)

        async def tell(message: Message) -> None:
            if message["type"] == START:
                _start(record, message)
            elif message["type"] == SEND_FILE:
                record.sent += message["count"]
            else:
                body = message.get("body", b"")
                record.sent += len(body) if record.method != "HEAD" else 0
                if record.status >= 400 and record.code is None:
                    record.tell_of_problem(body)
            await send(message)

        try:
            await self._inner(scope, receive, tell)
        finally:
            self._reporters.end(record)


def _label(raw_path: bytes) -> str:
    known = LABELS.get(raw_path)
    return known or next((label for start, label in BELOW.items() if raw_path.startswith(start)), "other")


def _start(record: Record, message: Message) -> None:
    record.status = message["status"]
    headers = message["headers"] = [
        *message.get("headers", ()),
        (b"x-request-id", record.request_id),
        NO_GUESS,
        *record.headers,
        *record.quota_headers(),
    ]
    if record.method != "POST":
        headers.append(NO_STORE)
        if any(name == NO_CONTENT[0] for name, _ in headers):  # the one page that there is has its own
            return
    headers.append(NO_CONTENT)
