"""`/v1/backward`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pullback_schemas.problems import InvalidField
from pullback_schemas.requests import BackwardRequest, JacobianOptions
from pullback_service.clock import Clock
from pullback_service.derivatives.blame import naming_node
from pullback_service.derivatives.chunks import rows_at_once
from pullback_service.derivatives.linear import Batches, Images, Vectors
from pullback_service.derivatives.run import Point
from pullback_service.derivatives.vjp import Pullback, settle_unused
from pullback_service.derivatives.work import Work
from pullback_service.library import Library
from pullback_service.operations.cotangents import run_for_cotangents
from pullback_service.operations.evaluation import Document, Evaluation, using, values_of
from pullback_service.operations.explanation import explain
from pullback_service.operations.jacobian import JacobianChoice
from pullback_service.operations.plain import PlainBackward, is_plain, outputs_of
from pullback_service.operations.repeats import answer_again, answer_first
from pullback_service.program.plan import default_wrt
from pullback_service.program.types import types_of
from pullback_service.protocols.answer import Answer
from pullback_service.protocols.doors import Sent


def backward(library: Library, sent: Sent, clock: Clock) -> Answer:
    """The vector-Jacobian product, and what else is asked for, as a BackwardResult."""

    def first(request: BackwardRequest) -> Answer:
        evaluation = Evaluation(request, library, clock)
        if not is_plain(request):
            return _with_more(evaluation)
        return answer_first(library, sent, PlainBackward(evaluation))

    return answer_again(library, sent, clock) or using(BackwardRequest, sent, first)


def _with_more(evaluation: Evaluation[BackwardRequest]) -> Answer:
    request = evaluation.request
    if request.explain and request.is_grads_batched:
        raise InvalidField(
            "One backward pass is explained.", pointer="/explain", hint="Send one grad_tensor an output."
        )
    clock, work = evaluation.clock, Work("reverse")
    wrt, choice = _choose(evaluation)
    also = [] if choice is None else [x for x in choice.wrt if x not in wrt]
    plan = evaluation.plan([*wrt, *also] if also else request.wrt)
    point, cotangents = run_for_cotangents(
        evaluation,
        plan,
        work,
        gradient_plan=evaluation.plan(wrt) if also else plan,
        is_batched=request.is_grads_batched,
        check=None if choice is None else partial(choice.check, plan),
    )
    vectors = cotangents.complete(point.outputs)
    with evaluation.source.quoted():
        found = _gradients(point.only(point.outputs, wrt), vectors, request, work)
    gradients = settle_unused(found, point.leaves, request.unused, cotangents.batch)
    clock.lap("backward")
    document: Document = {**outputs_of(request, values_of(point)), "gradients": gradients}
    if choice is not None:
        with evaluation.source.quoted():
            blocks = choice.compute(point, part := work.part())
        work.join(part)
        clock.lap("jacobian")
        document["jacobians"] = blocks
    if request.explain:
        with evaluation.source.quoted():
            document["explanation"] = explain(point.only(point.outputs, wrt), vectors)
        clock.lap("explain")
    return evaluation.answer(document, work)


def _choose(evaluation: Evaluation[BackwardRequest]) -> tuple[Sequence[str], JacobianChoice | None]:
    """The names that get a gradient, and which Jacobians are wanted."""
    request = evaluation.request
    wrt = default_wrt(types_of(evaluation.inputs)) if request.wrt is None else request.wrt
    if request.jacobian is False:
        return wrt, None
    options = request.jacobian if isinstance(request.jacobian, JacobianOptions) else JacobianOptions()
    if options.wrt is not None:
        evaluation.check_wrt(options.wrt, "/jacobian/wrt")
    return wrt, JacobianChoice(options, wrt if options.wrt is None else options.wrt, "/jacobian")


def _gradients(point: Point, vectors: Vectors, request: BackwardRequest, work: Work) -> Images:
    is_kept = request.is_grads_batched or request.jacobian is not False
    pullback = Pullback(point.outputs, point.leaves, work, keep=is_kept)
    with naming_node(point):
        if request.is_grads_batched and vectors:
            return Batches(pullback).apply(vectors, rows_at_once(point.plan, point.outputs, point.leaves))
        return pullback.one(vectors)
