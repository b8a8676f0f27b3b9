"""Second derivatives of <grad_tensors, outputs>: products with vectors, and dense Hessians.

Reverse over reverse: a tape through the gradients, pulled back. Hessians are symmetric, so that is H v.
"""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from pullback_schemas.problems import InconsistentDerivative
from pullback_service.derivatives.adjoint import adjoint_error, random_cotangents, random_tangents, tolerance
from pullback_service.derivatives.chunks import rows_at_once
from pullback_service.derivatives.dense import Blocks, dense_by_rows, times
from pullback_service.derivatives.linear import AbstractLinearMap, Batches, Images, Vectors, settled
from pullback_service.derivatives.run import Point
from pullback_service.derivatives.vjp import Pullback, zeros_for_none
from pullback_service.derivatives.work import Work


class SecondDerivative(AbstractLinearMap):
    """v -> H v, and the gradients that H is the derivative of."""

    gradients: Images


class HessianProduct(SecondDerivative):
    """v -> H v, H the Hessian of <cotangents, outputs> by all leaves: the gradient's tape pulled back."""

    def __init__(self, point: Point, cotangents: Vectors, work: Work) -> None:
        self.source = self.target = point.leaves
        self.work = work
        taped = Pullback(point.outputs, point.leaves, work).with_tape(cotangents)
        self.gradients = {name: None if g is None else settled(g) for name, g in taped.items()}
        moving = {name: gradient for name, gradient in taped.items() if gradient is not None and gradient.requires_grad}
        self._back = Pullback(moving, point.leaves, work)

    @override
    def one(self, vectors: Vectors) -> Images:
        return self._back.one(vectors)

    @override
    def vmapped(self, vectors: Vectors) -> Images:
        return self._back.vmapped(vectors)


def products(hessian: SecondDerivative, point: Point, vectors: Vectors, *, is_batched: bool) -> dict[str, Tensor]:
    """H v for each leaf, summed over the vectors, which have one extra leading axis if batched.

    Their symmetry is not checked: that is one more pass, and so half as much again.
    """
    if is_batched:
        size = len(next(iter(vectors.values())))
        images = Batches(hessian).apply(vectors, rows_at_once(point.plan, point.leaves))
        return zeros_for_none(images, point.leaves, size)
    return zeros_for_none(hessian.one(vectors), point.leaves)


def dense_hessian(hessian: SecondDerivative, point: Point, chunk: int | None) -> Blocks:
    """hessian[x][x2] of shape x.shape + x2.shape: the derivative of x's gradient by x2.

    Raises InconsistentDerivative where it is measurably not symmetric.
    """
    blocks = dense_by_rows(hessian, chunk or rows_at_once(point.plan, point.leaves), called="The gradient by")
    w, v = random_cotangents(hessian.source), random_tangents(point.leaves)
    transposed = times(blocks, v, point.leaves)  # row i is H e_i, so that this is H^T v
    values = [*point.only().outputs.values(), *hessian.gradients.values()]
    error = adjoint_error(w, transposed, hessian.one(v), w, values)
    hessian.work.adjoint_error = error
    if error is not None and error > tolerance(hessian.source):
        raise InconsistentDerivative(
            "Two ways to the second derivative disagree here, so that it is not given.",
            expected=f"<w, H^T v> = <w, Hv> up to {tolerance(hessian.source):.1e}",
            got=f"{error:.1e}",
            hint="The point may lie on a kink, or rounding spoil an operator's second derivative; try it close by.",
        )
    return blocks
