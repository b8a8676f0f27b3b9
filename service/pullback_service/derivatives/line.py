"""A function's values on a line through a point, beside what its gradient says of them.

f(x + hv) = f(x) + h <g, v> + R(h). Where g is the gradient, R vanishes as h^2 (its rate is 2); where it is not, as h;
and at a kink the slopes ahead and behind stay apart however small h is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from statistics import median

import torch
from torch import Tensor

from pullback_schemas.problems import OpFailed
from pullback_service.derivatives.adjoint import inner
from pullback_service.derivatives.differences import moved
from pullback_service.derivatives.linear import Vectors
from pullback_service.derivatives.run import Point
from pullback_service.derivatives.work import Work

EPSILON = torch.finfo(torch.float64).eps
ROUNDING = 64 * EPSILON
"""Of the outputs' size: what is not told from no change at all."""

FIRST_STEP, HALVINGS = 2.0**-4, 24
KINK_STEPS = 2.0**-10, 2.0**-18
STEEPER = 8
"""How many times the mean slope must grow between the two for a jump or an infinite slope."""

NOISE_STEPS = tuple(part * 2.0**-22 for part in (1, 0.83, 0.61, 0.37, 0.13))
"""So small that the function is straight between them, but for rounding."""

VISIBLE = 100
"""How many times its rounding an output must change, so that a gradient wrong by a hundredth would show."""


class Line:
    """<w, outputs> on the line x + h v.

    Args:
        point: x, in double precision.
        w: the weights of the outputs.
        v: the direction.
        slope: <g, v>, what the gradient says.
        scale: the size of x, which steps are relative to.
        work: the runs are counted there.
        noise: what rounding makes of the sum of all outputs, measured here if left out.

    """

    def __init__(
        self,
        point: Point,
        w: Vectors,
        v: Vectors,
        slope: float,
        scale: float,
        work: Work,
        noise: float | None = None,
    ) -> None:
        self._point, self._w, self._v, self.slope, self._scale, self._work = point, w, v, slope, scale, work
        self.noise = self._measured_noise() if noise is None else noise
        self._sizes = {name: (w[name] * output.detach()).abs().double() for name, output in point.outputs.items()}
        self.size = sum(float(size.sum()) for size in self._sizes.values())
        self._floor = max(ROUNDING * self.size, 4 * self.noise)

    def rise(self, start: float, stop: float) -> float:
        """How much it grows on the way from x + start v to x + stop v; infinity where it has no value."""
        try:
            low, high = self._outputs(start), self._outputs(stop)
        except OpFailed:
            return math.inf
        if any(not low[name].shape == high[name].shape == weight.shape for name, weight in self._w.items()):
            return math.inf
        rise = inner(self._w, {name: high[name] - low[name] for name in low})
        return rise if math.isfinite(rise) else math.inf

    @cached_property
    def remainders(self) -> list[float]:
        """What the gradient does not account for, over steps that halve; zero where it drowns in rounding."""
        return [self._remainder(self._scale * FIRST_STEP / 2**k) for k in range(HALVINGS)]

    @property
    def rate(self) -> float | None:
        """The power of the step with which the remainders vanish, from the smallest that stand out of rounding."""
        pairs = [
            math.log2(larger / smaller)
            for larger, smaller in pairwise(self.remainders)
            if smaller > 0 and math.isfinite(larger) and math.isfinite(smaller) and larger > 0
        ]
        return round(median(pairs[-5:]), 2) if pairs else None

    def is_kink(self) -> bool:
        """Whether the slopes ahead and behind stay apart when the step shrinks, or their mean grows without bound."""
        gaps, slopes = [], []
        for relative in KINK_STEPS:
            step = self._scale * relative
            ahead, behind = self.rise(0, step), self.rise(0, -step)
            if math.isinf(ahead) or math.isinf(behind):
                return True
            gap, rise = abs(ahead + behind), abs(ahead - behind)
            gaps.append(gap / step if gap > 4 * self._floor else 0.0)
            slopes.append(rise / step if rise > 4 * self._floor else 0.0)
        return gaps[1] > 0.25 * gaps[0] or slopes[1] > STEEPER * slopes[0]

    def is_visible(self) -> bool:
        """Whether it changes by more than its rounding, or neither changes nor is said to."""
        step = self._scale * FIRST_STEP
        changes = [abs(self.slope) * step, *(abs(self.rise(0, h)) for h in (step, -step))]
        return max(changes) > VISIBLE * self._floor or max(changes) == 0

    def rounding(self, step: float) -> float:
        """How far the rise over a step may be off, by the size of the outputs that it moves.

        By that of all outputs where it moves none though it should.
        """
        try:
            ahead = self._outputs(step)
        except OpFailed:
            return 0.0
        moved = [
            float(size[ahead[name] != self._point.outputs[name]].sum())
            for name, size in self._sizes.items()
            if ahead[name].shape == size.shape
        ]
        total = math.fsum(moved) or (self.size if self.slope else 0.0)
        return max(EPSILON, self.noise / self.size) * total if total else 0.0

    def _outputs(self, step: float) -> Mapping[str, Tensor]:
        return moved(self._point, self._v, step, self._work).outputs if step else self._point.outputs

    def _remainder(self, step: float) -> float:
        larger = max(abs(self.rise(0, h) - h * self.slope) for h in (step, -step))
        return larger if larger > self._floor else 0.0

    def _measured_noise(self) -> float:
        """How far the values are from a straight line, on one side at a time so that a jump or kink does not count.

        Intermediate values that are large and cancel are seen only so.
        """
        return max(self._bend([sign * self._scale * step for step in NOISE_STEPS]) for sign in (1, -1))

    def _bend(self, steps: list[float]) -> float:
        first, *between, last = steps
        slope = self.rise(first, last) / (last - first)
        found = [abs(self.rise(first, step) - (step - first) * slope) for step in between]
        return max((noise for noise in found if math.isfinite(noise)), default=0.0)
