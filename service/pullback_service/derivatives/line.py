"""A function's values on a line through a point, beside what its gradient says of them.

f(x + hv) = f(x) + h <g, v> + R(h). Where g is the gradient, R vanishes as h^2 (its rate is 2); where it is not, as h;
and at a kink the slopes ahead and behind stay apart however small h is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import torch
from torch import Tensor

from pullback_schemas.problems import OpFailed
from pullback_service.derivatives.adjoint import inner
from pullback_service.derivatives.linear import Vectors
from pullback_service.derivatives.run import Point, outputs_at
from pullback_service.derivatives.work import Work

EPSILON = torch.finfo(torch.float64).eps
ROUNDING = 64 * EPSILON
"""Of the outputs' size: what is not told from no change at all."""

STEPS = tuple(2.0**-k for k in range(4, 28))
SMALLER_STEPS = tuple(2.0**-k for k in range(28, 40))
KINK_STEPS = 2.0**-10, 2.0**-18, 2.0**-26
STEEPER = 8
"""How many times the mean slope must grow between the last two for a jump or an infinite slope."""

CLEAR = 16
"""How many times the rounding a remainder must be to be taken at its value."""

UNCLEAR = 0.1
"""How much of a change may be noise."""

NOISE_STEPS = tuple(part * 2.0**-28 for part in (1, 0.83, 0.61, 0.37, 0.13))
"""So small that the function is straight between them, but for rounding."""

DISCERNING = 0.25
"""Of a difference: how far off a measurement may be that still counts against it."""

SLOPE_STEPS = tuple(2.0**-k for k in range(8, 27, 3))


@dataclass(frozen=True, slots=True)
class Slope:
    """A slope from values alone, and how far it may be off.

    `excess` is by how much more than that the gradient's slope is off, whatever the step; minus infinity if no step
    tells.
    """

    value: float
    error: float
    excess: float


class Line:
    """<w, outputs> on the line x + h v, where h is small beside 1.

    Args:
        point: x, in double precision.
        w: the weights of the outputs.
        v: the direction, as long as x is large.
        slope: <g, v>, what the gradient says.
        work: the runs are counted there.
        noise: what rounding makes of the sum of all outputs, measured here if left out.

    """

    def __init__(
        self, point: Point, w: Vectors, v: Vectors, slope: float, work: Work, noise: float | None = None
    ) -> None:
        self._point, self._w, self._v, self.slope, self._work = point, w, v, slope, work
        self.remainders: dict[float, float] = {}
        """By step, falling; zero where it drowns in rounding."""
        self._changes: dict[float, tuple[float, float]] = {}
        self.size = self._size(point.outputs)
        self.noise = self._measured_noise() if noise is None else noise

    def step_on(self, steps: tuple[float, ...]) -> None:
        """Look at what the gradient does not account for over these steps too."""
        self.remainders |= {step: self._remainder(step) for step in steps}

    @property
    def rate(self) -> float | None:
        """The power of the step with which the remainders vanish, from the smallest that stand out of rounding."""
        pairs = [
            math.log2(larger / smaller)
            for larger, smaller in pairwise(self.remainders.values())
            if smaller > 0 and math.isfinite(larger) and math.isfinite(smaller) and larger > 0
        ]
        return round(median(pairs[-5:]), 2) if pairs else None

    @property
    def error(self) -> float:
        """How far the gradient's slope may be off at most: the least remainder of any step, by the step."""
        return min((remainder + self._floor(step)) / step for step, remainder in self.remainders.items())

    @property
    def is_unclear(self) -> bool:
        """Whether what was measured as noise is more than rounding, and might be that the function bends so fast."""
        return self.noise > max(ROUNDING * self.size, UNCLEAR * self.steepness * NOISE_STEPS[0])

    @property
    def has_settled(self) -> bool:
        """Whether the remainders are a multiple of the step by now: they will not vanish any more."""
        if self.is_unclear:
            return False
        clear = [r / h for h, r in self.remainders.items() if CLEAR * self._floor(h) < r < math.inf][-3:]
        return len(clear) == 3 and max(clear) < 1.25 * min(clear)

    @property
    def ends(self) -> bool:
        """Whether there is no value however small the step."""
        return math.inf in list(self.remainders.values())[-1:]

    @property
    def steepness(self) -> float:
        """The mean slope over the longest step, either way, where there are values that far."""
        step = STEPS[0]
        rises = [abs(self._change(h)[0]) for h in (step, -step)]
        return max((rise / step for rise in rises if math.isfinite(rise)), default=0.0)

    def is_kink(self) -> bool:
        """Whether the slopes ahead and behind stay apart when the step shrinks, or their mean grows without bound."""
        gaps, slopes = [], []
        for step in KINK_STEPS:
            ahead, behind = self._change(step)[0], self._change(-step)[0]
            if math.isinf(ahead) or math.isinf(behind):
                return True
            gap, rise = abs(ahead + behind), abs(ahead - behind)
            floor = 4 * self._floor(step)
            gaps.append(gap / step if gap > floor else 0.0)
            slopes.append(rise / step if rise > floor else 0.0)
        return gaps[2] > 0.25 * max(gaps[:2]) or slopes[2] > STEEPER * slopes[1]

    def measured(self, tolerance: float) -> Slope:
        """The slope by central differences over steps that shrink, until it is the gradient's within the tolerance."""
        found = []
        for step in SLOPE_STEPS:
            value, error = self._extrapolated(step)
            if math.isfinite(error):
                found.append((error, value))
            if max(error, abs(value - self.slope)) <= tolerance:
                break
        if not found:
            return Slope(math.nan, math.inf, -math.inf)
        error, value = min(found)
        telling = [(e, v) for e, v in found if e <= DISCERNING * abs(value - self.slope)]
        return Slope(value, error, min((abs(v - self.slope) - e for e, v in telling), default=-math.inf))

    def _extrapolated(self, step: float) -> tuple[float, float]:
        """The slope by two steps, and how far it may be off."""
        wide, narrow = (self._central(h) for h in (step, step / 2))
        value = (4 * narrow - wide) / 3
        error = abs(value - narrow) + self._rounding(step / 2) / (step / 2)
        return value, error if math.isfinite(error) else math.inf

    def _central(self, step: float) -> float:
        return (self._change(step)[0] - self._change(-step)[0]) / (2 * step)

    def _rounding(self, step: float) -> float:
        """How far the rise over a step may be off, by the size of the outputs that it moves.

        By that of all outputs where it moves none though it should.
        """
        moved_size = self._change(step)[1] or (self.size if self.slope else 0.0)
        return max(EPSILON, self.noise / self.size if self.size else 0.0) * moved_size

    def _remainder(self, step: float) -> float:
        larger = max(abs(self._change(h)[0] - h * self.slope) for h in (step, -step))
        return larger if larger > self._floor(step) else 0.0

    def _floor(self, step: float) -> float:
        return max(ROUNDING * max(self.size, self._change(step)[1], self._change(-step)[1]), 4 * self.noise)

    def _change(self, step: float) -> tuple[float, float]:
        """How much it grows on the way to x + step v, and the size of the outputs that change."""
        if step not in self._changes:
            self._changes[step] = self._rise(0, step)
        return self._changes[step]

    def _rise(self, start: float, stop: float) -> tuple[float, float]:
        """Both infinite where it has no value."""
        nothing = math.inf, 0.0
        try:
            low, high = self._outputs(start), self._outputs(stop)
        except OpFailed:
            return nothing
        if any(not low[name].shape == high[name].shape == weight.shape for name, weight in self._w.items()):
            return nothing
        rise = inner(self._w, {name: high[name] - low[name] for name in low})
        changed = {name: torch.maximum(low[name].abs(), high[name].abs()) * (low[name] != high[name]) for name in low}
        return (rise, self._size(changed)) if math.isfinite(rise) else nothing

    def _size(self, outputs: Vectors) -> float:
        return inner({name: w.abs() for name, w in self._w.items()}, {y: o.detach().abs() for y, o in outputs.items()})

    def _outputs(self, step: float) -> Mapping[str, Tensor]:
        return outputs_at(self._point, self._v, step, self._work) if step else self._point.outputs

    def _measured_noise(self) -> float:
        """How far the values are from a straight line, on one side at a time so that a jump or kink does not count.

        Intermediate values that are large and cancel are seen only so.
        """
        return max(self._bend([sign * step for step in NOISE_STEPS]) for sign in (1, -1))

    def _bend(self, steps: list[float]) -> float:
        first, *between, last = steps
        slope = self._rise(first, last)[0] / (last - first)
        found = [abs(self._rise(first, step)[0] - (step - first) * slope) for step in between]
        return max((noise for noise in found if math.isfinite(noise)), default=0.0)
