"""Numbers for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from pullback_schemas.problems import problem_classes
from pullback_service.telemetry.record import Record
from pullback_service.workers.base import AbstractWorkers

PHASES = {"queue", "decode", "plan", "forward", "backward", "forward_backward", "encode"}
"""Those with a label of their own; what is done for single operations is told together."""

CODES = frozenset(problem_classes())
REST = "derivatives"
SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1, 2.5, 10, 60)


class Metrics:
    """What is counted of requests, and what workers tell when they are asked."""

    def __init__(self, workers: AbstractWorkers) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Workers(workers))
        self._requests = Counter(
            "pullback_requests",
            "Requests that were answered",
            ["operation", "status", "protocol"],
            registry=registry,
        )
        self._seconds = Histogram(
            "pullback_request_seconds",
            "From a request's head to the end of its answer",
            ["operation"],
            buckets=SECONDS,
            registry=registry,
        )
        self._phases = Histogram(
            "pullback_phase_seconds",
            "Phases of requests: the wait for a worker, and what it did",
            ["phase"],
            buckets=SECONDS,
            registry=registry,
        )
        self._refusals = Counter("pullback_refusals", "Problems that were answered", ["code"], registry=registry)
        self._received = Counter("pullback_received_bytes", "Bytes of requests' bodies", registry=registry)
        self._sent = Counter("pullback_sent_bytes", "Bytes of answers' bodies", registry=registry)
        self._running = Gauge("pullback_requests_in_progress", "Requests without a whole answer", registry=registry)

    def begin(self) -> None:
        """A request has come."""
        self._running.inc()

    def end(self, record: Record) -> None:
        """It is over."""
        self._running.dec()
        self._requests.labels(record.operation, str(record.status), record.protocol).inc()
        self._seconds.labels(record.operation).observe(record.seconds)
        for phase, seconds in record.phases():
            self._phases.labels(phase if phase in PHASES else REST).observe(seconds)
        if record.code is not None:
            self._refusals.labels(record.code if record.code in CODES else "unknown").inc()
        self._received.inc(record.received)
        self._sent.inc(record.sent)

    def written(self, accept: str) -> tuple[bytes, str]:
        """All of it in the format that is accepted, and its content type."""
        write, content_type = choose_encoder(accept)
        return write(self._registry), content_type


class _Workers(Collector):
    def __init__(self, workers: AbstractWorkers) -> None:
        self._workers = workers

    @override
    def collect(self) -> Iterator[Metric]:
        counts = self._workers.counts()
        yield GaugeMetricFamily("pullback_queue_waiting", "Requests that wait for a worker", counts["waiting"])
        up = GaugeMetricFamily("pullback_workers", "Worker processes", labels=["state"])
        for state in ("ready", "busy"):
            up.add_metric([state], counts[state])
        yield up
        yield CounterMetricFamily("pullback_worker_restarts", "Workers that were replaced early", counts["restarted"])
        memory = GaugeMetricFamily("pullback_device_memory_bytes", "What workers hold of it", labels=["device"])
        for device, held in self._workers.memory().items():
            memory.add_metric([device], held)
        yield memory
        is_ready = self._workers.readiness().status == "ok"
        yield GaugeMetricFamily("pullback_ready", "Whether a request would be taken now", is_ready)
