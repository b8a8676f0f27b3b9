"""`/v1/jvp`."""

from __future__ import annotations

from pullback_schemas.requests import JvpRequest
from pullback_service.derivatives.blame import naming_node
from pullback_service.derivatives.cotangents import TANGENTS
from pullback_service.derivatives.jvp import push_forward
from pullback_service.derivatives.run import plain_attention, run_forward
from pullback_service.derivatives.work import Work
from pullback_service.operations.cotangents import refuse_cut_gradient, refuse_without_gradient, requiring_grad
from pullback_service.operations.evaluation import Evaluation, values_of
from pullback_service.operations.vectors import batch_of, check_batch, read_vectors
from pullback_service.program.types import types_of
from pullback_service.protocols.answer import Answer


def jvp(evaluation: Evaluation[JvpRequest]) -> Answer:
    """The Jacobian-vector product, as a JvpResult."""
    request, work = evaluation.request, Work("forward")
    tangents = read_vectors(evaluation, request.tangents, TANGENTS, is_batched=request.is_tangents_batched)
    batch = batch_of(tangents, is_batched=request.is_tangents_batched)
    evaluation.clock.lap("decode")
    plan = evaluation.plan(list(tangents))
    check_batch(batch, {n: kind for n, kind in plan.outputs.items() if kind}, plan, "products", "tangents")
    with evaluation.source.quoted(), plain_attention(plan.program):
        point = run_forward(plan, evaluation.inputs, work, evaluation.seed)
    evaluation.clock.lap("forward")
    refuse_without_gradient(types_of(point.outputs))
    refuse_cut_gradient(plan, requiring_grad(point.outputs))
    check_batch(batch, types_of(point.outputs), plan, "products", "tangents")
    with evaluation.source.quoted(), naming_node(point):
        images = push_forward(point.only(), tangents, is_batched=request.is_tangents_batched, work=work)
    evaluation.clock.lap("jvp")
    return evaluation.answer({"outputs": values_of(point), "jvp": images}, work)
