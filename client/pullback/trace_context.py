"""The trace that a call is part of, where the caller's program is traced."""

from __future__ import annotations

import sys


def trace_headers() -> dict[str, str]:
    """W3C Trace Context of the current span, if the program uses OpenTelemetry and is within one."""
    headers: dict[str, str] = {}
    if "opentelemetry.trace" in sys.modules:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        TraceContextTextMapPropagator().inject(headers)
    return headers
