"""Numbers for Prometheus: what is counted of requests, and what workers tell when they are asked.

The library's own counters and histograms would take a tenth of all that a small request costs; it writes these.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from typing_extensions import override

from pullback_schemas.problems import problem_classes
from pullback_service.telemetry.record import Record
from pullback_service.workers.base import AbstractWorkers

PHASES = ("queue", "decode", "plan", "forward", "backward", "forward_backward", "encode")
"""Those with a label of their own; what is done for single operations is told together, as REST."""

REST = "derivatives"
TOGETHER = 256
CODES = frozenset(problem_classes())
BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1, 2.5, 10, 60)


class Times:
    """How many took how long: the seconds between each two bounds, and of all."""

    __slots__ = ("_counts", "_seconds")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0

    def add(self, seconds: list[float]) -> None:
        """These too."""
        seconds.sort()
        within = 0
        for index, bound in enumerate(BOUNDS):
            before, within = within, bisect_right(seconds, bound, within)
            self._counts[index] += within - before
        self._counts[-1] += len(seconds) - within
        self._seconds += sum(seconds)

    def write(self, into: HistogramMetricFamily, label: str) -> None:
        """All of them so far."""
        upper = [*map(str, BOUNDS), "+Inf"]
        into.add_metric([label], list(zip(upper, accumulate(self._counts), strict=True)), self._seconds)


class Metrics(Collector):
    """All that Prometheus is told."""

    def __init__(self, workers: AbstractWorkers) -> None:
        self._workers = workers
        self._registry = CollectorRegistry()
        self._requests: Counter[tuple[str, int, str]] = Counter()
        self._seconds: defaultdict[str, Times] = defaultdict(Times)
        self._phases: defaultdict[str, Times] = defaultdict(Times)
        self._told: list[Record] = []
        self._refusals: Counter[str] = Counter()
        self._received = self._sent = self._running = 0
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def begin(self) -> None:
        """A request has come."""
        self._running += 1

    def end(self, record: Record) -> None:
        """It is over."""
        self._running -= 1
        self._told.append(record)
        if len(self._told) >= TOGETHER:
            self._add_up()

    def refused(self, code: str) -> None:
        """A connection was told of a problem before there was a request."""
        self._refusals[code] += 1

    def _add_up(self) -> None:
        """Many at a time cost a third of what they cost one by one."""
        told, self._told = self._told, []
        self._requests.update((record.operation, record.status, record.protocol) for record in told)
        self._refusals.update(record.code if record.code in CODES else "unknown" for record in told if record.code)
        self._received += sum(record.received for record in told)
        self._sent += sum(record.sent for record in told)
        seconds: defaultdict[str, list[float]] = defaultdict(list)
        phases: defaultdict[str, list[float]] = defaultdict(list)
        for record in told:
            seconds[record.operation].append(record.seconds)
            for phase, took in record.phases():
                phases[phase].append(took)
        for operation, found in seconds.items():
            self._seconds[operation].add(found)
        for phase, found in phases.items():
            self._phases[phase if phase in PHASES else REST].add(found)

    def written(self, *, as_openmetrics: bool) -> tuple[bytes, str]:
        """All of it, as OpenMetrics or in Prometheus' own text format, and the content type."""
        if as_openmetrics:
            return openmetrics.generate_latest(self._registry), openmetrics.CONTENT_TYPE_LATEST  # type: ignore[no-untyped-call]
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    @override
    def collect(self) -> Iterator[Metric]:
        self._add_up()
        yield from self._of_requests()
        yield from self._of_workers()

    def _of_requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "pullback_requests", "Requests that were answered", labels=["operation", "status", "protocol"]
        )
        for (operation, status, protocol), count in self._requests.items():
            requests.add_metric([operation, str(status), protocol], count)
        yield requests
        yield _times(
            "pullback_request_seconds",
            "From a request's head to the end of its answer",
            "operation",
            self._seconds.items(),
        )
        yield _times(
            "pullback_phase_seconds", "Phases: the wait for a worker, what it did", "phase", self._phases.items()
        )
        refusals = CounterMetricFamily("pullback_refusals", "Problems that were answered", labels=["code"])
        for code, count in self._refusals.items():
            refusals.add_metric([code], count)
        yield refusals
        yield CounterMetricFamily("pullback_received_bytes", "Bytes of requests' bodies", self._received)
        yield CounterMetricFamily("pullback_sent_bytes", "Bytes of answers' bodies", self._sent)
        yield GaugeMetricFamily("pullback_requests_in_progress", "Requests without a whole answer", self._running)

    def _of_workers(self) -> Iterator[Metric]:
        counts = self._workers.counts()
        yield GaugeMetricFamily("pullback_queue_waiting", "Requests that wait for a worker", counts["waiting"])
        up = GaugeMetricFamily("pullback_workers", "Worker processes", labels=["state"])
        up.add_metric(["busy"], min(counts["busy"], counts["ready"]))
        up.add_metric(["idle"], max(0, counts["ready"] - counts["busy"]))
        yield up
        yield CounterMetricFamily("pullback_worker_restarts", "Workers that were replaced early", counts["restarted"])
        memory = GaugeMetricFamily("pullback_device_memory_bytes", "What workers hold of it", labels=["device"])
        for device, held in self._workers.memory().items():
            memory.add_metric([device], held)
        yield memory
        is_ready = self._workers.readiness().status == "ok"
        yield GaugeMetricFamily("pullback_ready", "Whether a request would be taken now", is_ready)


def _times(name: str, told: str, label: str, found: Iterable[tuple[str, Times]]) -> Metric:
    family = HistogramMetricFamily(name, told, labels=[label])
    for value, times in found:
        times.write(family, value)
    return family
