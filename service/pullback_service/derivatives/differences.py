"""Central differences of exact gradients, where an operator has no second derivative and the caller agrees."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from typing_extensions import override

from pullback_schemas.problems import OpFailed
from pullback_service.derivatives.hessian import SecondDerivative
from pullback_service.derivatives.linear import Images, Vectors, settled
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
        image = {name: torch.zeros_like(leaf) for name, leaf in self.target.items()}
        for step, part in parts_of_like_size(self.source, vectors):
            ahead, behind = self._gradient(part, step), self._gradient(part, -step)
            image = {name: image[name] + (ahead[name] - behind[name]) / (2 * step) for name in self.target}
        return {name: settled(tensor) for name, tensor in image.items()}

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


def parts_of_like_size(primals: Vectors, vectors: Vectors) -> Iterator[tuple[float, Vectors]]:
    """The vectors as a sum, each part of which moves entries of one order of magnitude, with the step along it.

    The step balances rounding and curvature in a central difference: the cube root of epsilon, times the entries' size.
    """
    relative = max(torch.finfo(primals[name].dtype).eps for name in vectors) ** (1 / 3)
    orders = {name: _orders(primals[name]) for name in vectors}
    moved = [orders[name][vector != 0] for name, vector in vectors.items()]
    for order in sorted(set(torch.cat(moved).tolist())):
        part = {name: vector * (orders[name] == order) for name, vector in vectors.items()}
        length = max(float(vector.abs().max()) for vector in part.values() if vector.numel())
        yield relative * 10 ** (order + 0.5) / length, part


def _orders(primal: Tensor) -> Tensor:
    """The order of magnitude of each entry; a zero has that of the others."""
    sizes = primal.detach().abs().double()
    others = sizes[sizes > 0]
    return torch.where(sizes > 0, sizes, others.median() if others.numel() else 1.0).log10().floor()
