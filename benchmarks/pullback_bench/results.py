"""Figures by measure, row and round."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Measure:
    """Something that is measured, with the unit in which it is told."""

    part: str
    name: str
    unit: str


P50_ALONE = Measure("small", "p50, 1 client", "us")
P50_MANY = Measure("small", "p50, 64 clients", "ms")
P99_MANY = Measure("small", "p99, 64 clients", "ms")
RATE_MANY = Measure("small", "answers/s, 64 clients", "")
CPU_MANY = Measure("small", "server CPU a request, 64 clients", "us")
LARGE = Measure("large", "time of a request", "ms")
LARGE_CPU = Measure("large", "server CPU a request", "ms")
BULK = Measure("bulk", "time of a request", "ms")
BULK_CPU = Measure("bulk", "server CPU a request", "ms")
BESIDE_P50 = Measure("beside", "p50 of small requests", "ms")
BESIDE_P99 = Measure("beside", "p99 of small requests", "ms")
BESIDE_HEALTH = Measure("beside", "longest GET /health/live", "ms")
BESIDE_RATE = Measure("beside", "small answers/s", "")
BESIDE_BULK = Measure("beside", "100 MB answers/s meanwhile", "")


@dataclass
class Results:
    """One figure a round, and which rows there are no figures of, with the reason."""

    figures: dict[tuple[Measure, str], list[float]] = field(default_factory=dict)
    skipped: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, measure: Measure, row: str, figure: float) -> None:
        """The next round's figure."""
        self.figures.setdefault((measure, row), []).append(figure)

    def skip(self, part: str, row: str, reason: str) -> None:
        """Leave a row out of a part, with what was measured of it there."""
        self.skipped[part, row] = reason
        self.figures = {
            (measure, name): figures
            for (measure, name), figures in self.figures.items()
            if (measure.part, name) != (part, row)
        }
        print(f"{part}: skipped {row}: {reason}", flush=True)

    def rows(self, part: str) -> list[str]:
        """The rows that have figures in a part, in the order in which they were measured."""
        return list(dict.fromkeys(row for measure, row in self.figures if measure.part == part))

    def median(self, measure: Measure, row: str) -> float | None:
        """Of all rounds."""
        figures = self.figures.get((measure, row))
        return statistics.median(figures) if figures else None

    def largest(self, measure: Measure, row: str) -> float | None:
        """Of all rounds."""
        return max(self.figures.get((measure, row), []), default=None)

    def ratio(self, measure: Measure, row: str, other: str) -> float | None:
        """The median of the rounds' ratios: what slows a whole round down is in both."""
        pairs = zip(self.figures.get((measure, row), []), self.figures.get((measure, other), []), strict=False)
        ratios = [a / b for a, b in pairs]
        return statistics.median(ratios) if ratios else None
