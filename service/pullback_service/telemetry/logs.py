"""The log: lines for people, or JSON for machines; what is told of each request."""

from __future__ import annotations

import logging
from typing import Any, Literal

from pythonjsonlogger.orjson import OrjsonFormatter

from pullback_service.settings import Settings
from pullback_service.telemetry.record import Record

TEXT = "%(levelname)s %(name)s: %(message)s"
FAILED = 500

log = logging.getLogger("pullback.access")


def configure_logging(settings: Settings) -> None:
    """Write every line of this process in the form that is wanted, to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(_json() if settings.log_format == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


def _json() -> logging.Formatter:
    return OrjsonFormatter(
        "%(levelname)s%(name)s%(message)s",
        timestamp="time",
        rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
    )


class AccessLog:
    """A line for each request, or for those that failed."""

    def __init__(self, which: Literal["all", "failures", "none"]) -> None:
        self._least = {"all": 0, "failures": 400, "none": 1000}[which]

    def end(self, record: Record) -> None:
        """A request is over."""
        if record.status < self._least:
            return
        fields = _fields(record)
        log.log(
            logging.ERROR if record.status == FAILED else logging.INFO,
            "%s %s %d %s in %.2f ms, request %s",
            record.method,
            record.path,
            record.status,
            record.code or "",
            record.seconds * 1e3,
            fields["request_id"],
            extra=fields,
        )


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
        "graph": record.graph.hex() or None,
        "trace_id": record.trace_id,
        "received": record.received,
        "sent": record.sent,
        "seconds": round(record.seconds, 6),
        "computed_s": round(record.usage.computed_s, 6),
    }
    return {name: value for name, value in fields.items() if value is not None}
