"""Whether gradients are right, from values of the function alone.

f(x + hv) = f(x) + h <g, v> + R(h). Where g is the gradient, R vanishes as h^2 (its rate is 2); where it is not, as h;
and at a kink the slopes ahead and behind stay apart however small h is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal

import torch
from torch import Tensor

from pullback_schemas.problems import LimitExceeded, OpFailed
from pullback_service.derivatives.adjoint import adjoint_error, inner, random_like, tolerance
from pullback_service.derivatives.differences import moved
from pullback_service.derivatives.jvp import Pushforward
from pullback_service.derivatives.known_wrong import wrong_forward_rules
from pullback_service.derivatives.run import Point
from pullback_service.derivatives.vjp import Pullback, zeros_for_none
from pullback_service.derivatives.work import Work
from pullback_service.program.types import TensorType

HALVINGS = 24
FIRST_STEP = 2.0**-4
RIGHT_RATE = 1.7
ROUNDING = 64 * torch.finfo(torch.float64).eps
MAX_ENTRIES = 10_000
NOT_FINITE = "the outputs are not finite here"
KINK = "the point lies on a kink or a jump"

Status = Literal["passed", "failed", "not_checkable"]


@dataclass(frozen=True, slots=True)
class Worst:
    """The entry of a gradient furthest from its central difference."""

    index: tuple[int, ...]
    gradient: Tensor
    difference: Tensor


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found about the gradient by one input."""

    status: Status
    reason: str | None = None
    rate: float | None = None
    adjoint_error: float | None = None
    worst: Worst | None = None


@dataclass(frozen=True, slots=True)
class Tolerances:
    """How far an entry may be from its central difference."""

    rtol: float
    atol: float


class Checker:
    """Checks the gradient of <w, outputs>, w random, at a point in double precision, one input at a time."""

    def __init__(self, point: Point, work: Work) -> None:
        self._point = point
        self._work = work
        self._w = random_like(point.outputs)
        found = Pullback(point.outputs, point.leaves, work).one(self._w)
        self._gradients = zeros_for_none(found, point.leaves)
        self._value = inner(self._w, point.outputs)
        sizes = {name: output.detach().abs() for name, output in point.outputs.items()}
        self._floor = ROUNDING * inner({name: w.abs() for name, w in self._w.items()}, sizes)

    def along_a_direction(self, name: str, tolerances: Tolerances) -> Verdict:
        """The rate of the remainder along a random direction, and the adjoint identity in forward mode."""
        if not math.isfinite(self._value):
            return Verdict("not_checkable", NOT_FINITE)
        v = random_like({name: self._point.leaves[name]})
        slope = inner({name: self._gradients[name]}, v)
        scale = self._scale(name)
        remainders = [self._remainder(v, slope, scale * FIRST_STEP / 2**k) for k in range(HALVINGS)]
        found = {"rate": _rate(remainders), "adjoint_error": self._adjoint_error(name, v, slope)}
        status, reason = self._judge(v, slope, scale, remainders, **found)
        worst = self._worst(name, tolerances) if status == "failed" else None
        return Verdict(status, reason, **found, worst=worst)

    def entry_by_entry(self, name: str, tolerances: Tolerances) -> Verdict:
        """Every entry against its central difference; `check_entries` must have passed."""
        leaf = self._point.leaves[name].detach()
        if not math.isfinite(self._value):
            return Verdict("not_checkable", NOT_FINITE)
        for index in _indices(leaf):
            if self._is_kink(_unit(name, leaf, index), max(1e-3, float(abs(leaf[index])))):
                return Verdict("not_checkable", f"entry {list(index)} lies on a kink or a jump")
        worst = self._worst(name, tolerances)
        if worst is None:
            return Verdict("passed")
        return Verdict("failed", "an entry is not its central difference", worst=worst)

    def _judge(
        self,
        v: dict[str, Tensor],
        slope: float,
        scale: float,
        remainders: list[float],
        *,
        rate: float | None,
        adjoint_error: float | None,
    ) -> tuple[Status, str | None]:
        if not math.isfinite(slope):
            return "failed", "the gradient is not finite, the outputs are"
        is_slope = math.isfinite(remainders[-1]) and (rate is None or rate >= RIGHT_RATE)
        if not is_slope:
            is_kink = self._is_kink(v, scale)
            return ("not_checkable", KINK) if is_kink else ("failed", "the gradient is not the slope")
        if adjoint_error is not None and adjoint_error > tolerance(self._point.outputs):
            return "failed", "forward and reverse mode disagree"
        return "passed", None

    def _rise(self, v: dict[str, Tensor], start: float, stop: float) -> float:
        """How much <w, outputs> grows on the way from x + start v to x + stop v; infinity where it has no value."""
        try:
            low, high = (self._outputs(v, step) for step in (start, stop))
        except OpFailed:
            return math.inf
        if any(low[name].shape != high[name].shape for name in low):
            return math.inf
        rise = inner(self._w, {name: high[name] - low[name] for name in low})
        return rise if math.isfinite(rise) else math.inf

    def _outputs(self, v: dict[str, Tensor], step: float) -> Mapping[str, Tensor]:
        return moved(self._point, v, step, self._work).outputs if step else self._point.outputs

    def _remainder(self, v: dict[str, Tensor], slope: float, step: float) -> float:
        """The larger remainder of the two sides, zero where it drowns in rounding."""
        larger = max(abs(self._rise(v, 0, h) - h * slope) for h in (step, -step))
        return larger if larger > self._floor else 0.0

    def _is_kink(self, v: dict[str, Tensor], scale: float) -> bool:
        """Whether the slopes ahead and behind stay apart when the step shrinks, or their mean grows without bound."""
        gaps, slopes = [], []
        for step in (scale * 2.0**-10, scale * 2.0**-20):
            ahead, behind = self._rise(v, 0, step), self._rise(v, 0, -step)
            if math.isinf(ahead) or math.isinf(behind):
                return True
            gap, rise = abs(ahead + behind), abs(ahead - behind)
            gaps.append(gap / step if gap > 4 * self._floor else 0.0)
            slopes.append(rise / step if rise > 4 * self._floor else 0.0)
        return gaps[1] > 0.25 * gaps[0] or slopes[1] > 16 * slopes[0]

    def _adjoint_error(self, name: str, v: dict[str, Tensor], slope: float) -> float | None:
        if wrong_forward_rules(self._point.plan.program):
            return None
        try:
            images = Pushforward(self._point, self._work).one(v)
        except OpFailed:
            return None
        error = adjoint_error(self._w, images, {name: self._gradients[name]}, v, self._point.outputs.values())
        return None if error is None or not math.isfinite(slope) else error

    def _worst(self, name: str, tolerances: Tolerances) -> Worst | None:
        """The entry that is furthest beyond the tolerances, of the first so many; None if none is."""
        leaf, gradient = self._point.leaves[name].detach(), self._gradients[name]
        worst, largest = None, 0.0
        for index in _indices(leaf):
            difference = self._difference(name, index)
            excess = float(abs(gradient[index] - difference)) - tolerances.rtol * float(abs(gradient[index]))
            excess -= tolerances.atol
            if not excess <= largest:
                worst, largest = Worst(index, gradient[index], difference), excess
                if math.isnan(excess):
                    break
        return worst

    def _difference(self, name: str, index: tuple[int, ...]) -> Tensor:
        """The central difference by one entry, by its real and imaginary part if it is complex."""
        leaf = self._point.leaves[name].detach()
        step = torch.finfo(leaf.dtype).eps ** (1 / 3) * max(1.0, float(abs(leaf[index])))
        parts = []
        for factor in (1, 1j) if leaf.is_complex() else (1,):
            parts.append(self._rise(_unit(name, leaf, index, factor), -step, step) / (2 * step))
        return torch.tensor(complex(*parts) if leaf.is_complex() else parts[0], dtype=leaf.dtype)

    def _scale(self, name: str) -> float:
        leaf = self._point.leaves[name].detach()
        return max(1e-3, float(leaf.abs().median())) if leaf.numel() else 1.0


def check_entries(leaves: Mapping[str, TensorType]) -> None:
    """Refuse tensors with more entries than central differences are taken of."""
    for name, kind in leaves.items():
        if kind.numel > MAX_ENTRIES:
            raise LimitExceeded(
                f"{name!r} has {kind.numel:,} entries; central differences are taken of at most {MAX_ENTRIES:,}.",
                pointer="/method",
                expected=MAX_ENTRIES,
                got=kind.numel,
                hint='Use method: "taylor".',
            )


def _unit(name: str, leaf: Tensor, index: tuple[int, ...], factor: complex = 1) -> dict[str, Tensor]:
    """The direction of one entry."""
    direction = torch.zeros_like(leaf)
    direction[index] = 1
    return {name: direction * factor}


def _indices(leaf: Tensor) -> Iterator[tuple[int, ...]]:
    for flat in range(min(leaf.numel(), MAX_ENTRIES)):
        yield tuple(int(i) for i in torch.unravel_index(torch.tensor(flat), leaf.shape))


def _rate(remainders: list[float]) -> float | None:
    """The power of the step with which the remainders vanish, from the smallest that stand out of rounding."""
    pairs = [
        math.log2(larger / smaller)
        for larger, smaller in pairwise(remainders)
        if smaller > 0 and math.isfinite(larger) and math.isfinite(smaller) and larger > 0
    ]
    return round(median(pairs[-5:]), 2) if pairs else None
