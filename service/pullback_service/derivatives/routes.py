"""The ways to a forward derivative, and which of them gives the right numbers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Generic, TypeVar

import torch
from torch import Tensor
from typing_extensions import override

from pullback_schemas.problems import InconsistentDerivative, OpFailed
from pullback_service.derivatives.adjoint import HALF, adjoint_error, inner, random_cotangents, tolerance
from pullback_service.derivatives.known_wrong import wrong_forward_rules
from pullback_service.derivatives.linear import AbstractLinearMap, Images, Vectors
from pullback_service.derivatives.pushforwards import DoublePullback, Pushforward
from pullback_service.derivatives.run import Point, outputs_at
from pullback_service.derivatives.vjp import Pullback
from pullback_service.derivatives.work import Mode, Work

CLEARLY = 10
"""How many times closer the values of a function must be to one of two slopes."""

T = TypeVar("T")
Route = tuple[Mode, Callable[[], AbstractLinearMap]]


def forward_routes(point: Point, work: Work) -> Iterator[Route]:
    """The ways to J v, the fastest first."""
    wrong = wrong_forward_rules(point.plan.program)
    if wrong:
        work.note(f"torch's forward rule of {', '.join(wrong)} is known to be wrong; the tape was used instead.")
    else:
        yield "forward", lambda: Pushforward(point, work)
    yield "double-reverse", lambda: DoublePullback(point, work)


class AbstractComparison(ABC, Generic[T]):
    """What a route gives beside reverse mode, from which the routes after the first are made."""

    bound: float

    @abstractmethod
    def error(self, result: T) -> float | None:
        """The adjoint error, None where nothing was or can be measured."""

    @abstractmethod
    def is_confirmed(self, result: T) -> bool | None:
        """Whether values of the function side with the result, or (False) with reverse mode; None if with neither."""


def first_right(
    routes: Iterable[Route], work: Work, compute: Callable[[AbstractLinearMap], T], comparison: AbstractComparison[T]
) -> T:
    """What `compute` makes of the first route that has all its rules and agrees with reverse mode.

    Where they disagree, values of the function decide. Raises OpFailed where no route is left, and
    InconsistentDerivative where the values are with neither.
    """
    failure = OpFailed("There is no route.")
    path = work.path
    for mode, build in routes:
        work.mode, work.path = mode, path
        try:
            result = compute(build())
        except OpFailed as missing:
            failure = missing
            continue
        work.adjoint_error = error = comparison.error(result)
        if error is None or error <= comparison.bound:
            return result
        is_confirmed = comparison.is_confirmed(result)
        if is_confirmed:
            work.note(f"Reverse mode disagrees by {error:.1e}, and values of the function are with {mode} mode.")
            return result
        if is_confirmed is None:
            raise InconsistentDerivative(
                "Forward and reverse mode disagree on this derivative, and neither is given.",
                expected=f"a relative difference up to {comparison.bound:.1e}",
                got=f"{error:.1e}",
                hint="/v1/gradcheck tells which inputs are concerned.",
            )
        work.note(f"The identity <w, Jv> = <J^T w, v> fails in {mode} mode by {error:.1e}: it was not used.")
        failure = OpFailed("Forward mode is wrong here.")
    work.path, work.adjoint_error = path, None
    raise failure


class Unchecked(AbstractComparison[T]):
    """No comparison: it would cost too much."""

    bound = math.inf

    @override
    def error(self, result: T) -> None:
        return None

    @override
    def is_confirmed(self, result: T) -> None:
        return None


class Beside(AbstractComparison[T]):
    """J v beside J^T w for a random w; `image` takes J v out of a result."""

    def __init__(self, point: Point, v: Vectors, image: Callable[[T], Mapping[str, Tensor | None]], work: Work) -> None:
        self.bound = tolerance({**point.outputs, **point.leaves})
        self._point, self._v, self._image, self._work = point, v, image, work
        self._w = random_cotangents(point.outputs)

    @cached_property
    def _gradients(self) -> Images:
        return Pullback(self._point.outputs, self._point.leaves, self._work).one(self._w)

    @override
    def error(self, result: T) -> float | None:
        return adjoint_error(self._w, self._image(result), self._gradients, self._v, self._point.outputs.values())

    @override
    def is_confirmed(self, result: T) -> bool | None:
        if any(torch.finfo(tensor.dtype).eps > HALF for tensor in self._point.leaves.values()):
            return False  # differences tell nothing in half precision
        measured = slope_along(self._point, self._w, self._v, self._work)
        forward, reverse = inner(self._w, self._image(result)), inner(self._gradients, self._v)
        ours, theirs = abs(measured - forward), abs(measured - reverse)
        return True if ours < theirs / CLEARLY else False if theirs < ours / CLEARLY else None


def slope_along(point: Point, w: Vectors, v: Vectors, work: Work) -> float:
    """<w, J v> as a central difference; NaN where that has no value."""
    epsilon = max(torch.finfo(point.leaves[name].dtype).eps for name in v)
    sizes = [float(point.leaves[name].detach().abs().max()) for name in v if v[name].numel()]
    lengths = [float(each.abs().max()) for each in v.values() if each.numel()]
    step = epsilon ** (1 / 3) * (max(sizes, default=0.0) or 1.0) / (max(lengths, default=0.0) or 1.0)
    direction = {name: each.to(point.leaves[name].dtype) for name, each in v.items()}
    try:
        ahead, behind = (outputs_at(point, direction, h, work) for h in (step, -step))
        return inner(w, {name: ahead[name] - behind[name] for name in ahead}) / float(2 * step)
    except (OpFailed, RuntimeError):  # it has no value, or another shape, so close by
        return math.nan
