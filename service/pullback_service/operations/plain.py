"""Requests for gradients and nothing else: those that come again are answered by what was learnt from earlier ones."""

from __future__ import annotations

import logging
from functools import partial

from torch import Tensor

from pullback_schemas.requests import BackwardRequest
from pullback_service.derivatives.blame import naming_node
from pullback_service.derivatives.joint import Question, Values
from pullback_service.derivatives.run import argument_of, run_forward
from pullback_service.derivatives.vjp import Pullback, settle_unused
from pullback_service.derivatives.work import Work
from pullback_service.operations.cotangents import RequestCotangents
from pullback_service.operations.evaluation import Document, Evaluation
from pullback_service.program.types import types_of
from pullback_service.protocols.answer import Answer

log = logging.getLogger(__name__)


class Plain:
    """Such a request, understood as far as it can be before the run. Raises its problems."""

    def __init__(self, evaluation: Evaluation[BackwardRequest]) -> None:
        self.evaluation = evaluation
        self.plan = plan = evaluation.plan(evaluation.request.wrt)
        self.cotangents = RequestCotangents(evaluation, plan, is_batched=False)
        if plan.is_static:
            self.cotangents.read({name: kind for name, kind in plan.outputs.items() if kind})
        vectors = self.cotangents.foreseen()
        self.question = None if vectors is None else Question(evaluation.inputs, vectors)
        self.joint = evaluation.source.joint_of(plan)
        self.learnt: Values | None = None
        """The answer's values, where what was learnt gave them."""
        evaluation.clock.lap("decode")

    @property
    def is_known(self) -> bool:
        """Whether what was learnt answers it."""
        return self.question is not None and self.joint.fits(self.question.vectors)

    def answer(self) -> Answer:
        """The answer, in whatever way."""
        if self.question is not None and self.is_known:
            try:
                self.learnt = self.joint.answer(self.question)
                self.evaluation.clock.lap("forward_backward")
                return self.told(self.learnt)
            except RuntimeError:  # autograd will tell which node
                log.debug("what was learnt failed", exc_info=True)
        return self.told(self._run())

    def told(self, values: Values) -> Answer:
        """The answer that holds these values."""
        gradients = settle_unused(values.gradients, self.leaves, self.evaluation.request.unused)
        document = {**outputs_of(self.evaluation.request, values.outputs), "gradients": gradients}
        return self.evaluation.answer(document, self.work())

    @property
    def leaves(self) -> dict[str, Tensor]:
        """What is differentiated."""
        return {name: argument_of(self.plan, self.evaluation.inputs, name) for name in self.plan.wrt}

    def work(self) -> Work:
        """What is done for the answer."""
        return Work("reverse", forward_count=1, backward_count=1)

    def _run(self) -> Values:
        evaluation, work = self.evaluation, Work("reverse")
        with evaluation.source.quoted():
            point = run_forward(self.plan, evaluation.inputs, work, evaluation.seed)
        evaluation.clock.lap("forward")
        if not self.plan.is_static:
            self.cotangents.read(types_of(point.outputs))
        vectors = self.cotangents.complete(point.outputs)
        with evaluation.source.quoted(), naming_node(point):
            found = Pullback(point.outputs, point.leaves, work, keep=False).one(vectors)
        evaluation.clock.lap("backward")
        values = Values({name: output.detach() for name, output in point.outputs.items()}, found)
        if self.question is not None and self.joint.wants_to_learn:
            evaluation.library.homework.append(partial(self.joint.learn, self.question, values))
        return values


def outputs_of(request: BackwardRequest, outputs: dict[str, Tensor]) -> Document:
    """What an answer holds of them."""
    return {"outputs": outputs} if request.outputs else {}


def is_plain(request: BackwardRequest) -> bool:
    """Whether it asks for gradients and nothing else."""
    return not (request.explain or request.is_grads_batched or request.jacobian is not False)
