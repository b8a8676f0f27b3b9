"""`/v1/forward`."""

from __future__ import annotations

from pullback_schemas.requests import ForwardRequest
from pullback_service.derivatives.run import run_forward
from pullback_service.derivatives.work import Work
from pullback_service.operations.evaluation import Evaluation
from pullback_service.protocols.answer import Answer


def forward(evaluation: Evaluation[ForwardRequest]) -> Answer:
    """The values of the outputs, as a ForwardResult."""
    work = Work("forward")
    plan = evaluation.plan(())
    with evaluation.source.quoted():
        point = run_forward(plan, evaluation.inputs, work, evaluation.seed)
    evaluation.clock.lap("forward")
    return evaluation.answer({"outputs": point.outputs}, work)
