"""Whether gradients are right, from values of the function alone.

f(x + hv) = f(x) + h <g, v> + R(h). Where g is the gradient, R vanishes as h^2 (its rate is 2); where it is not, as h;
and at a kink the slopes ahead and behind stay apart however small h is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal

import torch
from torch import Tensor

from pullback_schemas.problems import OpFailed
from pullback_service.derivatives.adjoint import adjoint_error, inner, random_like, tolerance
from pullback_service.derivatives.differences import moved
from pullback_service.derivatives.jvp import Pushforward
from pullback_service.derivatives.known_wrong import wrong_forward_rules
from pullback_service.derivatives.run import Point
from pullback_service.derivatives.vjp import Pullback, zeros_for_none
from pullback_service.derivatives.work import Work

HALVINGS = 24
FIRST_STEP = 2.0**-4
RIGHT_RATE = 1.7
ROUNDING = 64 * torch.finfo(torch.float64).eps
MAX_ENTRIES = 10_000

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
            return Verdict("not_checkable", "the outputs are not finite here")
        v = random_like({name: self._point.leaves[name]})
        slope = inner({name: self._gradients[name]}, v)
        scale = self._scale(name)
        remainders = [self._remainder(v, slope, scale * FIRST_STEP / 2**k) for k in range(HALVINGS)]
        rate = _rate(remainders)
        error = self._adjoint_error(name, v, slope)
        if not math.isfinite(slope):
            return Verdict(
                "failed", "the gradient is not finite, the outputs are", rate, error, self._worst(name, tolerances)
            )
        if rate is None or rate >= RIGHT_RATE:
            if error is not None and error > tolerance(self._point.outputs):
                return Verdict("failed", "forward and reverse mode disagree", rate, error)
            return Verdict("passed", None, rate, error)
        if self._is_kink(v, scale):
            return Verdict("not_checkable", "the point lies on a kink or a jump", rate, error)
        return Verdict("failed", "the gradient is not the slope", rate, error, self._worst(name, tolerances))

    def entry_by_entry(self, name: str, tolerances: Tolerances) -> Verdict:
        """Every entry against its central difference."""
        if not math.isfinite(self._value):
            return Verdict("not_checkable", "the outputs are not finite here")
        worst = self._worst(name, tolerances)
        if worst is None:
            return Verdict("passed")
        direction = torch.zeros_like(self._point.leaves[name])
        direction[worst.index] = 1
        if self._is_kink({name: direction.detach()}, self._scale(name)):
            return Verdict("not_checkable", f"entry {list(worst.index)} lies on a kink or a jump", worst=worst)
        return Verdict("failed", "an entry is not its central difference", worst=worst)

    def _along(self, v: dict[str, Tensor], step: float) -> float:
        return inner(self._w, moved(self._point, v, step, self._work).outputs)

    def _remainder(self, v: dict[str, Tensor], slope: float, step: float) -> float:
        """The larger remainder of the two sides, zero where it drowns in rounding."""
        sides = [abs(self._along(v, h) - self._value - h * slope) for h in (step, -step)]
        return max(sides) if max(sides) > self._floor else 0.0

    def _is_kink(self, v: dict[str, Tensor], scale: float) -> bool:
        """Whether the slopes ahead and behind stay apart when the step shrinks."""
        gaps = []
        for step in (scale * 2.0**-10, scale * 2.0**-20):
            ahead, behind = self._along(v, step), self._along(v, -step)
            gap = abs(ahead - 2 * self._value + behind) / step
            gaps.append(gap if gap * step > 4 * self._floor else 0.0)
        return gaps[1] > 0.25 * gaps[0] and gaps[1] > 0

    def _adjoint_error(self, name: str, v: dict[str, Tensor], slope: float) -> float | None:
        if wrong_forward_rules(self._point.plan.program):
            return None
        try:
            images = Pushforward(self._point, self._work).one(v)
        except OpFailed:
            return None
        error = adjoint_error(self._w, images, {name: self._gradients[name]}, v)
        return None if error is None or not math.isfinite(slope) else error

    def _worst(self, name: str, tolerances: Tolerances) -> Worst | None:
        """The entry that is furthest beyond the tolerances, of the first so many; None if none is."""
        leaf, gradient = self._point.leaves[name], self._gradients[name]
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
            direction = torch.zeros_like(leaf)
            direction[index] = 1
            v = {name: direction * factor}
            parts.append((self._along(v, step) - self._along(v, -step)) / (2 * step))
        return torch.tensor(complex(*parts) if leaf.is_complex() else parts[0], dtype=leaf.dtype)

    def _scale(self, name: str) -> float:
        leaf = self._point.leaves[name].detach()
        return max(1e-3, float(leaf.abs().median())) if leaf.numel() else 1.0


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
