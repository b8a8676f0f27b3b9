"""Central differences of exact gradients, where an operator has no second derivative and the caller agrees."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from typing_extensions import override

from pullback_schemas.problems import InconsistentDerivative, OpFailed
from pullback_service.derivatives.hessian import SecondDerivative
from pullback_service.derivatives.linear import Images, Vectors, settled
from pullback_service.derivatives.run import Point, run_forward, shifted
from pullback_service.derivatives.vjp import Pullback, zeros_for_none
from pullback_service.derivatives.work import Work

AGREEMENT = 1e-4
"""What two steps must agree to in double precision, relative to the largest element of the answer."""

Gradients = dict[str, Tensor]


class GradientDifferences(SecondDerivative):
    """v -> H v as (g(x + hv) - g(x - hv)) / 2h for two steps h, extrapolated; g the gradient of <cotangents, outputs>.

    Raises InconsistentDerivative where the steps disagree, as they do across a kink of the gradient.
    """

    def __init__(self, point: Point, cotangents: Vectors, work: Work) -> None:
        self.source = self.target = point.leaves
        self.work = work
        self.gradients = Pullback(point.outputs, point.leaves, work).one(cotangents)
        self._point = point
        self._cotangents = cotangents
        self._epsilon = max(torch.finfo(leaf.dtype).eps for leaf in point.leaves.values())

    @override
    def one(self, vectors: Vectors) -> Images:
        image = {name: torch.zeros_like(leaf) for name, leaf in self.target.items()}
        for size, part in parts_of_like_size(self.source, vectors):
            found = self._along(part, size)
            image = {name: image[name] + found[name] for name in self.target}
        return {name: settled(tensor) for name, tensor in image.items()}

    @override
    def vmapped(self, vectors: Vectors) -> Images:
        raise OpFailed("Differences are taken along one vector at a time.")

    def _along(self, vectors: Vectors, size: float) -> Gradients:
        """With steps in proportion to the entries' own size, or to 1, whatever is more exact."""
        length = _largest(vectors)
        steps = {self._epsilon ** (1 / 3) * each / length for each in (size, 1.0)}
        found, error, step = min((self._extrapolated(vectors, h) for h in steps), key=lambda each: each[1])
        rounding = min(256 * self._epsilon, 0.1) * _largest(self.gradients) / step
        agreement = max(AGREEMENT, 10 * self._epsilon ** (2 / 3)) * _largest(found)
        if not error <= max(rounding, agreement):
            raise InconsistentDerivative(
                "Differences of the gradient over two steps disagree here, so that no second derivative is given.",
                expected=f"a difference up to {max(rounding, agreement):.1e}",
                got=f"{error:.1e}",
                hint="The point may lie on a kink of the gradient, or at the edge of where it can be computed.",
            )
        return found

    def _extrapolated(self, vectors: Vectors, step: float) -> tuple[Gradients, float, float]:
        """H v, by how much it may be off, and the step."""
        wide, narrow = self._difference(vectors, step), self._difference(vectors, step / 2)
        found = {name: narrow[name] + (narrow[name] - wide[name]) / 3 for name in wide}
        change = _largest({name: narrow[name] - wide[name] for name in wide}, math.inf) / 3
        return found, change + self._epsilon * _largest(self.gradients) / step, step

    def _difference(self, vectors: Vectors, step: float) -> Gradients:
        ahead, behind = self._gradient(vectors, step), self._gradient(vectors, -step)
        return {name: (ahead[name] - behind[name]) / (2 * step) for name in ahead}

    def _gradient(self, vectors: Vectors, step: float) -> Gradients:
        point = self._point
        run = run_forward(point.plan, shifted(point, vectors, step), self.work, point.seed).only(
            point.outputs, point.leaves
        )
        return zeros_for_none(Pullback(run.outputs, run.leaves, self.work).one(self._cotangents), point.leaves)


def parts_of_like_size(primals: Vectors, vectors: Vectors) -> Iterator[tuple[float, Vectors]]:
    """The vectors as a sum, each part of which moves entries of one order of magnitude, and their size.

    A zero has the size of the others.
    """
    sizes = {name: entry_sizes(primals[name]) for name in vectors}
    orders = {name: size.log10().floor() for name, size in sizes.items()}
    moving = [orders[name][vector != 0] for name, vector in vectors.items()]
    for order in sorted(set(torch.cat(moving).tolist())):
        chosen = {name: (orders[name] == order) & (vector != 0) for name, vector in vectors.items()}
        part = {name: vector * chosen[name] for name, vector in vectors.items()}
        yield max(float(sizes[name][mask].max()) for name, mask in chosen.items() if mask.any()), part


def entry_sizes(primal: Tensor) -> Tensor:
    """What steps are in proportion to: the size of each entry; a zero has that of the others."""
    sizes = primal.detach().abs().double()
    others = sizes[sizes > 0]
    return torch.where(sizes > 0, sizes, others.median() if others.numel() else 1.0)


def _largest(tensors: Mapping[str, Tensor | None], of_nothing_finite: float = 0.0) -> float:
    """The largest element in size; what stands for NaN is given."""
    found = [float(t.detach().abs().max()) for t in tensors.values() if t is not None and t.numel()]
    return max((of_nothing_finite if math.isnan(each) else each for each in found), default=0.0)
