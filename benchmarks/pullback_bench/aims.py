"""What we aim at, beside what was found."""

from __future__ import annotations

from dataclasses import dataclass

from pullback_bench import results as r
from pullback_bench.results import Measure, Results
from pullback_bench.rows import BESIDE, IN_PROCESS

PULLBACK, SAFETENSORS = "Pullback, JSON", "Pullback, safetensors"
BASE64, BASE64_GRADIENT = "Pullback, base64", "Pullback, base64, gradient alone"
TESSERACT, UMBRIDGE, NAIVE = "Tesseract, JSON", "UM-Bridge, JSON", "naive FastAPI, JSON"
TESSERACT_BASE64 = "Tesseract, base64"
ALONE, ACCOMPANIED = BESIDE


@dataclass(frozen=True)
class Aim:
    """A bound on a figure, or on its ratio to another row's."""

    measure: Measure
    row: str
    bound: float
    other: str | None = None
    is_at_least: bool = False

    def found(self, results: Results) -> float | None:
        """The ratio or figure, if both rows were measured."""
        if self.other is not None:
            return results.ratio(self.measure, self.row, self.other)
        if self.measure is r.BESIDE_HEALTH:
            return results.largest(self.measure, self.row)
        return results.median(self.measure, self.row)

    def is_met(self, found: float) -> bool:
        """Whether it is within the bound."""
        return found >= self.bound if self.is_at_least else found <= self.bound


AIMS = (
    Aim(r.RATE_MANY, PULLBACK, 15, TESSERACT, is_at_least=True),
    Aim(r.RATE_MANY, PULLBACK, 5, UMBRIDGE, is_at_least=True),
    Aim(r.P99_MANY, PULLBACK, 15),
    Aim(r.P50_ALONE, PULLBACK, 0.8, UMBRIDGE),
    Aim(r.P50_ALONE, PULLBACK, 0.25, TESSERACT),
    Aim(r.LARGE, PULLBACK, 0.25, TESSERACT),
    Aim(r.LARGE, PULLBACK, 0.3, NAIVE),
    Aim(r.LARGE, BASE64, 0.7, TESSERACT_BASE64),
    Aim(r.LARGE, BASE64_GRADIENT, 0.7, TESSERACT_BASE64),
    Aim(r.LARGE, SAFETENSORS, 2.2, IN_PROCESS),
    Aim(r.BULK, SAFETENSORS, 1.6, "bare ASGI, echo"),
    Aim(r.BESIDE_P99, ACCOMPANIED, 2, ALONE),
    Aim(r.BESIDE_HEALTH, ACCOMPANIED, 50),
)
