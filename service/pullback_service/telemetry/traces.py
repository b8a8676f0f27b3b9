"""OpenTelemetry traces, where the standard OTEL_ variables ask for them."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pullback_service import __version__
from pullback_service.telemetry.record import Record

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context, level 1."""

_MEMBER = rb"[a-z0-9][a-z0-9_*/@-]{0,240}=[!-+\--<>-~]{1,256}"
TRACESTATE = re.compile(rb"%b(?:, ?%b){0,31}" % (_MEMBER, _MEMBER))

PROTOCOL = "http/protobuf"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
LAST_WORDS_S = 3

log = logging.getLogger(__name__)


def trace_id_of(record: Record) -> str | None:
    """The trace that the request is part of, as its caller says."""
    said = record.asked.get(b"traceparent")
    found = TRACEPARENT.fullmatch(said) if said is not None else None
    return found[1].decode() if found else None


class TracingUnavailable(ImportError):
    """Traces are asked for, and what writes them is not installed, or not what is asked for."""


def are_wanted(environment: Mapping[str, str]) -> bool:
    """Whether the variables ask for traces: by an exporter, or by somewhere to send them."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    return exporter != "none" and bool(exporter or any(environment.get(name) for name in ENDPOINTS))


def _sent(record: Record) -> dict[str, str]:
    """The headers of W3C Trace Context, as far as they are sane: OpenTelemetry writes into the log what is not."""
    found = {}
    for name, sane in ((b"traceparent", TRACEPARENT), (b"tracestate", TRACESTATE)):
        value = record.asked.get(name)
        if value is not None and sane.fullmatch(value):
            found[name.decode()] = value.decode()
    return found


class Traces:
    """A span for each request, and one inside for each of its phases."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._trace = trace
        self._provider = provider
        self._tracer = provider.get_tracer("pullback", __version__)
        self._contexts = TraceContextTextMapPropagator()

    def begin(self, record: Record) -> None:
        """A request has come, perhaps as part of a trace."""
        context = self._contexts.extract(_sent(record))
        name = f"{record.method} {record.operation}"
        record.span = span = self._tracer.start_span(name, context, self._trace.SpanKind.SERVER)
        record.trace_id = self._trace.format_trace_id(span.get_span_context().trace_id)
        record.headers.append((b"traceresponse", self._response(span)))

    def _response(self, span: Any) -> bytes:
        """W3C Trace Context, level 2: the span that answers."""
        context = span.get_span_context()
        return b"00-%032x-%016x-%02x" % (context.trace_id, context.span_id, context.trace_flags)

    def end(self, record: Record) -> None:
        """It is over."""
        span = record.span
        if span is None:
            return
        ended = time.time_ns()
        if span.is_recording():
            span.set_attributes(_attributes(record))
            if record.has_failed:
                span.set_status(self._trace.StatusCode.ERROR)
            at = span.start_time
            inside = self._trace.set_span_in_context(span)
            for phase, seconds in record.phases():
                child = self._tracer.start_span(phase, inside, start_time=at)
                at += int(seconds * 1e9)
                child.end(at)
        span.end(ended)

    def stop(self) -> None:
        """Send what is not sent yet, unless whoever takes it does not answer soon."""
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(LAST_WORDS_S)
        if sending.is_alive():
            log.warning("the last traces could not be sent within %d s", LAST_WORDS_S)


def traces_from(environment: Mapping[str, str] = os.environ) -> Traces | None:
    """What the variables ask for. Raises TracingUnavailable."""
    if not are_wanted(environment):
        return None
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise TracingUnavailable(
            "OTEL_ variables ask for traces: install pullback-service[telemetry], or set OTEL_SDK_DISABLED=true"
        ) from None
    named = "OTEL_SERVICE_NAME" in environment or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create({} if named else {"service.name": "pullback", "service.version": __version__})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_exporter(environment)))
    log.info("traces are written")
    return Traces(provider)


def _exporter(environment: Mapping[str, str]) -> SpanExporter:
    chosen = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    if chosen == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    names = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next((environment[name] for name in names if environment.get(name)), PROTOCOL)
    if chosen != "otlp" or protocol != PROTOCOL:
        raise TracingUnavailable(f"traces go otlp over {PROTOCOL} or to the console, not by {chosen} over {protocol}")
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    for name in ENDPOINTS:
        if (address := environment.get(name)) and not address.startswith(("http://", "https://")):
            raise TracingUnavailable(f"{name}={address} does not begin with http:// or https://")
    return OTLPSpanExporter()


def _attributes(record: Record) -> dict[str, str | int]:
    """By OpenTelemetry's semantic conventions for HTTP, where they have a name."""
    attributes: dict[str, str | int | None] = {
        "http.request.method": record.method,
        "url.path": record.path,
        "http.response.status_code": record.status,
        "http.request.body.size": record.received,
        "http.response.body.size": record.sent,
        "error.type": record.code,
        "pullback.request_id": record.request_id.decode(),
        "pullback.operation": record.operation,
        "pullback.protocol": record.protocol,
        "pullback.graph": record.graph.hex() or None,
        "pullback.key": record.key,
    }
    return {name: value for name, value in attributes.items() if value is not None}
