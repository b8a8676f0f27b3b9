"""Central differences of exact gradients, where an operator has no second derivative and the caller agrees."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from pullback_schemas.problems import OpFailed
from pullback_service.derivatives.hessian import SecondDerivative
from pullback_service.derivatives.linear import Images, Vectors
from pullback_service.derivatives.run import Point, argument_of, run_forward
from pullback_service.derivatives.vjp import Pullback, zeros_for_none
from pullback_service.derivatives.work import Work


class GradientDifferences(SecondDerivative):
    """v -> H v as (g(x + hv) - g(x - hv)) / 2h, g the exact gradient of <cotangents, outputs>."""

    def __init__(self, point: Point, cotangents: Vectors, work: Work) -> None:
        self.source = self.target = point.leaves
        self.work = work
        self.gradients = Pullback(point.outputs, point.leaves, work).one(cotangents)
        self._point = point
        self._cotangents = cotangents

    @override
    def one(self, vectors: Vectors) -> Images:
        step = step_along(self.source, vectors)
        ahead, behind = self._gradient(vectors, step), self._gradient(vectors, -step)
        return {name: (ahead[name] - behind[name]) / (2 * step) for name in self.target}

    @override
    def vmapped(self, vectors: Vectors) -> Images:
        raise OpFailed("Differences are taken along one vector at a time.")

    def _gradient(self, vectors: Vectors, step: float) -> dict[str, Tensor]:
        point = moved(self._point, vectors, step, self.work)
        return zeros_for_none(Pullback(point.outputs, point.leaves, self.work).one(self._cotangents), point.leaves)


def moved(point: Point, vectors: Vectors, step: float, work: Work) -> Point:
    """The forward run at x + step v."""
    plan = point.plan
    shifted = {name: argument_of(plan, point.inputs, name) + step * vector for name, vector in vectors.items()}
    run = run_forward(plan, {**point.inputs, **shifted}, work, point.seed)
    return run.only(point.outputs, point.leaves)


def step_along(primals: Vectors, vectors: Vectors) -> float:
    """The step that balances rounding and curvature in a central difference: the cube root of epsilon, scaled."""
    epsilon = max(torch.finfo(primals[name].dtype).eps for name in vectors)
    size = max([1.0, *(_largest(primals[name]) for name in vectors)])
    length = max(_largest(vector) for vector in vectors.values())
    return float(epsilon ** (1 / 3) * size / (length or 1.0))


def _largest(tensor: Tensor) -> float:
    return float(tensor.detach().abs().max()) if tensor.numel() else 0.0
