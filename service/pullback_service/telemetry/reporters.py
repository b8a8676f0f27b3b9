"""Whoever tells of requests, together."""

from __future__ import annotations

from pullback_service.telemetry.access_log import AccessLog
from pullback_service.telemetry.metrics import Metrics
from pullback_service.telemetry.record import Record, new_name
from pullback_service.telemetry.traces import Traces, trace_id_of


class Reporters:
    """Metrics, the log, and traces if they are wanted."""

    def __init__(self, metrics: Metrics, log: AccessLog, traces: Traces | None) -> None:
        self._metrics, self._log, self._traces = metrics, log, traces

    def begin(self, record: Record) -> None:
        """A request has come."""
        self._metrics.begin()
        if self._traces is None:
            record.trace_id = trace_id_of(record)
        else:
            self._traces.begin(record)

    def end(self, record: Record) -> None:
        """It is over."""
        record.end()
        self._metrics.end(record)
        self._log.end(record)
        if self._traces is not None:
            self._traces.end(record)

    def refused(self, status: int, code: str, detail: str, client: str) -> bytes:
        """A connection is told of a problem before there is a request; what it is told as the request's name."""
        name = new_name()
        self._metrics.refused(code)
        self._log.refused(status, code, detail, name.decode(), client)
        return name

    def stop(self) -> None:
        """Nothing more will come."""
        if self._traces is not None:
            self._traces.stop()
