"""Requests for gradients and nothing else: those that come again are answered by what was learnt from earlier ones."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from pullback_schemas.problems import ProblemError, ProblemsError
from pullback_schemas.requests import BackwardRequest
from pullback_service.clock import Clock
from pullback_service.derivatives.blame import naming_node
from pullback_service.derivatives.joint import Joint, Question, Values
from pullback_service.derivatives.run import argument_of, run_forward
from pullback_service.derivatives.vjp import Pullback, settle_unused
from pullback_service.derivatives.work import Work
from pullback_service.library import Library, NeedsDevice, NeedsIsolation
from pullback_service.operations.cotangents import RequestCotangents
from pullback_service.operations.evaluation import Evaluation, using
from pullback_service.program.types import types_of
from pullback_service.protocols.answer import Answer
from pullback_service.protocols.doors import Sent

log = logging.getLogger(__name__)


class Plain:
    """Such a request, understood as far as it can be before the run. Raises its problems."""

    def __init__(self, evaluation: Evaluation[BackwardRequest]) -> None:
        self._evaluation = evaluation
        self._plan = plan = evaluation.plan(evaluation.request.wrt)
        self._cotangents = RequestCotangents(evaluation, plan, is_batched=False)
        if plan.is_static:
            self._cotangents.read({name: kind for name, kind in plan.outputs.items() if kind})
        vectors = self._cotangents.foreseen()
        self.question = None if vectors is None else Question(evaluation.inputs, vectors)
        self.joint = evaluation.source.joint_of(plan)
        evaluation.clock.lap("decode")

    @property
    def is_known(self) -> bool:
        """Whether what was learnt answers it."""
        return self.question is not None and self.joint.fits(self.question.vectors)

    @property
    def may_join(self) -> bool:
        """Whether it may be answered together with others, in the last bits of which the answers may differ."""
        return self.is_known and self.joint.takes_many and not self._evaluation.request.deterministic

    def answer(self) -> Answer:
        """The answer, in whatever way."""
        if self.question is not None and self.is_known:
            try:
                return self.told(self.joint.answer(self.question))
            except RuntimeError:  # autograd will tell which node
                log.debug("what was learnt failed", exc_info=True)
        return self.told(self._run())

    def told(self, values: Values, together: int = 1) -> Answer:
        """The answer that holds these values, found for so many requests together."""
        evaluation, plan = self._evaluation, self._plan
        if self.is_known:
            evaluation.clock.lap("forward_backward")
        leaves = {name: argument_of(plan, evaluation.inputs, name) for name in plan.wrt}
        gradients = settle_unused(values.gradients, leaves, evaluation.request.unused)
        work = Work("reverse", forward_count=1, backward_count=1, together=together)
        answer = evaluation.answer({"outputs": values.outputs, "gradients": gradients}, work)
        return answer.riding() if self.may_join else answer

    def _run(self) -> Values:
        evaluation, work = self._evaluation, Work("reverse")
        with evaluation.source.quoted():
            point = run_forward(self._plan, evaluation.inputs, work, evaluation.seed)
        evaluation.clock.lap("forward")
        if not self._plan.is_static:
            self._cotangents.read(types_of(point.outputs))
        vectors = self._cotangents.complete(point.outputs)
        with evaluation.source.quoted(), naming_node(point):
            found = Pullback(point.outputs, point.leaves, work, keep=False).one(vectors)
        evaluation.clock.lap("backward")
        values = Values({name: output.detach() for name, output in point.outputs.items()}, found)
        if self.question is not None and self.joint.wants_to_learn:
            evaluation.library.homework.append(partial(self.joint.learn, self.question, values))
        return values


def answer_together(library: Library, requests: Sequence[Sent]) -> list[tuple[Answer, Clock] | None]:
    """The answers to those backward requests that go through one run together; None: to be answered alone."""
    groups: dict[Joint, list[tuple[int, Plain, Question, Clock]]] = {}
    for index, sent in enumerate(requests):
        clock = Clock()
        plain = _understood(library, sent, clock)
        if plain is not None and plain.question is not None and plain.may_join:
            groups.setdefault(plain.joint, []).append((index, plain, plain.question, clock))
    answers: list[tuple[Answer, Clock] | None] = [None] * len(requests)
    for joint, members in groups.items():
        if len(members) == 1:
            continue
        try:
            values = joint.answer_many([question for _, _, question, _ in members])
        except RuntimeError:
            log.debug("a run of many failed", exc_info=True)
            continue
        for (index, plain, _, clock), value in zip(members, values, strict=True):
            answers[index] = plain.told(value, len(members)), clock
    return answers


def _understood(library: Library, sent: Sent, clock: Clock) -> Plain | None:
    """None: it is more than that, or wrong, which is told where it is answered alone."""
    try:
        return using(
            BackwardRequest,
            sent,
            lambda request: Plain(Evaluation(request, library, clock)) if is_plain(request) else None,
        )
    except (ProblemError, ProblemsError, NeedsDevice, NeedsIsolation):
        return None


def is_plain(request: BackwardRequest) -> bool:
    """Whether it asks for gradients and nothing else."""
    return not (request.explain or request.is_grads_batched or request.jacobian is not False)
