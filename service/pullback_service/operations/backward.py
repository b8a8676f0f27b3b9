"""`/v1/backward`."""

from __future__ import annotations

from pullback_schemas.requests import BackwardRequest
from pullback_service.derivatives.jacobian import jacobians
from pullback_service.derivatives.run import run_forward
from pullback_service.derivatives.vjp import pull_back, settle_unused
from pullback_service.operations.cotangents import RequestCotangents
from pullback_service.operations.evaluation import Document, Evaluation
from pullback_service.program.types import types_of


def backward(evaluation: Evaluation[BackwardRequest]) -> Document:
    """The vector-Jacobian product, and the Jacobians if asked, as a BackwardResult."""
    request, clock = evaluation.request, evaluation.clock
    plan = evaluation.plan(request.wrt)
    cotangents = RequestCotangents(request, plan)
    if plan.is_static:
        cotangents.read({name: kind for name, kind in plan.outputs.items() if kind})
    clock.lap("decode")
    with evaluation.source.quoted():
        outputs, leaves = run_forward(plan, evaluation.inputs, evaluation.seed)
    clock.lap("forward")
    if not plan.is_static:
        cotangents.read(types_of(outputs))
    pulled = pull_back(
        outputs, leaves, cotangents.complete(outputs), is_batched=request.is_grads_batched, keep=request.jacobian
    )
    gradients = settle_unused(pulled.gradients, leaves, request.unused, cotangents.batch)
    clock.lap("backward")
    path, passes, rows = pulled.path, pulled.backward_count, None
    if request.jacobian:
        rows, path, more = jacobians(outputs, leaves)
        passes += more
        clock.lap("jacobian")
    document = {"outputs": evaluation.write(outputs), "gradients": evaluation.write(gradients)}
    if rows is not None:
        document["jacobians"] = {y: evaluation.write(row) for y, row in rows.items()}
    return evaluation.answer(document, mode="reverse", path=path, backward_count=passes)
