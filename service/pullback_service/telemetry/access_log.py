"""A line in the log for each request, or for those that failed."""

from __future__ import annotations

import logging
from typing import Any, Literal

from pullback_service.telemetry.record import Record

FAILED, OUR_BUG = 400, 500

log = logging.getLogger("pullback.access")


class AccessLog:
    """Writes the lines."""

    def __init__(self, which: Literal["all", "failures", "none"]) -> None:
        self._least = {"all": 0, "failures": 400, "none": 1000}[which]

    def end(self, record: Record) -> None:
        """A request is over."""
        is_routine = record.operation == "health" and record.status < FAILED
        if record.status >= self._least and not is_routine:
            fields = _fields(record)
            came = " ".join(filter(None, (record.code, record.client and f"from {record.client}", record.key)))
            told = (record.method, record.path, record.status, came, record.seconds * 1e3, fields["request_id"])
            self._write(record.status, "%s %s %d %s in %.2f ms, request %s", told, fields)

    def refused(self, status: int, code: str, detail: str, request_id: str, client: str) -> None:
        """A connection was told of a problem before there was a request."""
        if status >= self._least:
            fields = {"status": status, "code": code, "request_id": request_id, "client": client}
            self._write(status, "a connection was told %d %s: %s", (status, code, detail), fields)

    def _write(self, status: int, what: str, told: tuple[object, ...], fields: dict[str, Any]) -> None:
        """Without a look at who calls, which takes the library longer than all the rest."""
        level = logging.ERROR if status == OUR_BUG else logging.WARNING if status > OUR_BUG else logging.INFO
        log.handle(log.makeRecord(log.name, level, "", 0, what, told, None, extra=fields))


def _fields(record: Record) -> dict[str, Any]:
    fields = {
        "request_id": record.request_id.decode(),
        "method": record.method,
        "path": record.path,
        "operation": record.operation,
        "protocol": record.protocol,
        "status": record.status,
        "code": record.code,
        "key": record.key,
        "client": record.client,
        "graph": record.graph.hex() or None,
        "trace_id": record.trace_id,
        "received": record.received,
        "sent": record.sent,
        "seconds": round(record.seconds, 6),
        "computed_s": round(record.usage.computed_s, 6),
    }
    return {name: value for name, value in fields.items() if value is not None}
