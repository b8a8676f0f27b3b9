"""`/v1/hvp` and `/v1/hessian`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

from torch import Tensor

from pullback_schemas.problems import NotDifferentiable, OpFailed, ProblemError
from pullback_schemas.requests import HessianRequest, HvpRequest
from pullback_service.derivatives.blame import naming_node
from pullback_service.derivatives.cotangents import VECTORS
from pullback_service.derivatives.differences import GradientDifferences
from pullback_service.derivatives.hessian import HessianProduct, SecondDerivative, dense_hessian, products
from pullback_service.derivatives.jacobian import check_blocks
from pullback_service.derivatives.linear import Vectors
from pullback_service.derivatives.run import Point, plain_attention
from pullback_service.derivatives.vjp import zeros_for_none
from pullback_service.derivatives.work import Work
from pullback_service.operations.cotangents import run_for_cotangents
from pullback_service.operations.evaluation import Document, Evaluation, leaf_types, values_of
from pullback_service.operations.vectors import batch_of, check_batch, read_vectors
from pullback_service.program.plan import Plan, default_wrt
from pullback_service.program.types import types_of
from pullback_service.protocols.answer import Answer

T = TypeVar("T")


def hvp(evaluation: Evaluation[HvpRequest]) -> Answer:
    """The product of the Hessian with vectors, as an HvpResult."""
    request, work = evaluation.request, Work("reverse-over-reverse")
    is_batched = request.is_vectors_batched
    vectors = read_vectors(evaluation, request.vectors, VECTORS, is_batched=is_batched)
    wrt = default_wrt(types_of(evaluation.inputs)) if request.wrt is None else request.wrt
    evaluation.check_wrt(wrt, "/wrt")
    plan = evaluation.plan([*wrt, *(name for name in vectors if name not in wrt)])
    check_batch(batch_of(vectors, is_batched=is_batched), leaf_types(plan), plan, "products", "vectors")
    point, cotangents = _run(evaluation, plan, work)
    second, images = _twice(
        evaluation, point, cotangents, work, lambda second: products(second, point, vectors, is_batched=is_batched)
    )
    document = _document(point, second, wrt)
    document["hvp"] = {name: images[name] for name in wrt}
    return evaluation.answer(document, work)


def hessian(evaluation: Evaluation[HessianRequest]) -> Answer:
    """The dense Hessian, as a HessianResult."""
    request, work = evaluation.request, Work("reverse-over-reverse")
    plan = evaluation.plan(request.wrt)
    leaves = leaf_types(plan)
    check_blocks(leaves, leaves, plan.limits.max_tensor_elements, "", "Hessian")
    plan.refuse_passes(2 * sum(leaf.numel for leaf in leaves.values()), "")
    point, cotangents = _run(evaluation, plan, work)
    second, blocks = _twice(
        evaluation, point, cotangents, work, lambda second: dense_hessian(second, point, request.chunk_size)
    )
    document = _document(point, second, plan.wrt)
    return evaluation.answer({**document, "hessian": blocks}, work)


def _run(
    evaluation: Evaluation[HvpRequest | HessianRequest], plan: Plan, work: Work
) -> tuple[Point, dict[str, Tensor]]:
    with plain_attention(plan.program):
        point, cotangents = run_for_cotangents(evaluation, plan, work)
    return point, cotangents.complete(point.outputs)


def _twice(
    evaluation: Evaluation[HvpRequest | HessianRequest],
    point: Point,
    cotangents: Vectors,
    work: Work,
    compute: Callable[[SecondDerivative], T],
) -> tuple[SecondDerivative, T]:
    """The second derivative as a map, and what `compute` makes of it, on the first route that there is."""
    with evaluation.source.quoted():
        try:
            with naming_node(point, is_twice=True):
                second: SecondDerivative = HessianProduct(point, cotangents, work)
                result = compute(second)
        except OpFailed as error:
            if not evaluation.request.allow_finite_differences:
                raise _no_second_derivative(error) from None
            work.mode, work.path = "finite-differences", "looped"
            work.note(f"{error.detail} The second derivative is a central difference of the exact gradient.")
            second = GradientDifferences(point, cotangents, work)
            result = compute(second)
    evaluation.clock.lap("hessian")
    return second, result


def _no_second_derivative(error: OpFailed) -> ProblemError:
    return NotDifferentiable(
        error.detail,
        pointer=error.pointer,
        node=error.node,
        hint="allow_finite_differences: true takes central differences of the exact gradient instead.",
    )


def _document(point: Point, second: SecondDerivative, wrt: Collection[str]) -> Document:
    gradients = zeros_for_none(second.gradients, point.leaves)
    return {"outputs": values_of(point), "gradients": {name: gradients[name] for name in wrt}}
