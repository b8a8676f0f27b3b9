"""Requests for values, or for gradients, and nothing else: those that come again are answered by what was learnt."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor

from pullback_schemas.requests import BackwardRequest, ForwardRequest
from pullback_schemas.results import Mode
from pullback_service.derivatives.blame import naming_node
from pullback_service.derivatives.joint import Question, Values
from pullback_service.derivatives.run import argument_of, run_forward
from pullback_service.derivatives.vjp import Pullback, settle_unused
from pullback_service.derivatives.work import Work
from pullback_service.operations.cotangents import RequestCotangents
from pullback_service.operations.evaluation import Document, Evaluation, values_of
from pullback_service.program.placing import CPU
from pullback_service.program.plan import Plan
from pullback_service.program.types import types_of
from pullback_service.protocols.answer import Answer
from pullback_service.protocols.pattern import Path

INPUTS, GRAD_TENSORS = "inputs", "grad_tensors"

Request = TypeVar("Request", bound=ForwardRequest | BackwardRequest)

log = logging.getLogger(__name__)


class Plain(ABC, Generic[Request]):
    """Such a request, understood as far as it can be before the run.

    `vectors` are its cotangents, where they are known.
    """

    mode: ClassVar[Mode]
    phase: ClassVar[str]
    """What a run of what was learnt is called among the times of an answer."""

    def __init__(self, evaluation: Evaluation[Request], plan: Plan, vectors: Mapping[str, Tensor] | None) -> None:
        self.evaluation = evaluation
        self.plan = plan
        self.question: Question | None = None
        """What is asked, where that is known and may be learnt: what is, is run on the CPU."""
        if vectors is not None and evaluation.library.device == CPU:
            self.question = Question(evaluation.inputs, vectors)
        self.joint = evaluation.source.joint_of(plan)
        self.learnt: Values | None = None
        """The answer's values, where what was learnt gave them."""
        evaluation.clock.lap("decode")

    def answer(self) -> Answer:
        """The answer, in whatever way. Raises the run's problems."""
        if self.question is not None and self.joint.fits(self.question.vectors):
            try:
                self.learnt = self.joint.answer(self.question)
                self.evaluation.clock.lap(self.phase)
                return self._told(self.learnt, self.work())
            except RuntimeError:  # a run as usual will tell which node
                log.debug("what was learnt failed", exc_info=True)
        values = self._run(work := Work(self.mode))
        if self.question is not None and self.joint.wants_to_learn:
            self.evaluation.library.homework.append(partial(self.joint.learn, self.question, values))
        return self._told(values, work)

    def _told(self, values: Values, work: Work) -> Answer:
        return self.evaluation.answer(self.document(values), work)

    @property
    def sent(self) -> dict[Path, Any]:
        """The tensors of the request as they were sent, by field and name."""
        return {(INPUTS, name): value for name, value in self.evaluation.request.inputs.items()}

    def named(self, path: Path) -> Path:
        """A path in the request, with names where it has places."""
        return path

    @abstractmethod
    def document(self, values: Values) -> Document:
        """What the answer holds of the values: by field and name."""

    @abstractmethod
    def work(self) -> Work:
        """What is done for an answer by what was learnt."""

    @abstractmethod
    def _run(self, work: Work) -> Values:
        """The values as torch gives them; `work` grows."""


class PlainForward(Plain[ForwardRequest]):
    """A request for values."""

    mode: ClassVar[Mode] = "forward"
    phase = "forward"

    def __init__(self, evaluation: Evaluation[ForwardRequest]) -> None:
        super().__init__(evaluation, evaluation.plan(()), {})

    def document(self, values: Values) -> Document:
        """The outputs."""
        return {"outputs": values.outputs}

    def work(self) -> Work:
        """One forward run."""
        return Work(self.mode, forward_count=1)

    def _run(self, work: Work) -> Values:
        evaluation = self.evaluation
        with evaluation.source.quoted():
            point = run_forward(self.plan, evaluation.inputs, work, evaluation.seed)
        evaluation.clock.lap("forward")
        return Values(values_of(point), {})


class PlainBackward(Plain[BackwardRequest]):
    """A request for gradients. Raises the problems of its cotangents."""

    mode: ClassVar[Mode] = "reverse"
    phase = "forward_backward"

    def __init__(self, evaluation: Evaluation[BackwardRequest]) -> None:
        plan = evaluation.plan(evaluation.request.wrt)
        self._cotangents = RequestCotangents(evaluation, plan, is_batched=False)
        if plan.is_static:
            self._cotangents.read({name: kind for name, kind in plan.outputs.items() if kind})
        super().__init__(evaluation, plan, self._cotangents.foreseen())

    @property
    def sent(self) -> dict[Path, Any]:
        """The inputs, and the cotangents that were read."""
        given = self.evaluation.request.grad_tensors
        by_name = dict(zip(self._outputs, given, strict=False)) if isinstance(given, list) else given or {}
        return super().sent | {(GRAD_TENSORS, name): by_name[name] for name in self._cotangents.names}

    def named(self, path: Path) -> Path:
        """The same with an output's name for the place in a list of grad_tensors."""
        if path[:1] != (GRAD_TENSORS,) or not isinstance(self.evaluation.request.grad_tensors, list):
            return path
        if len(path) == 1:  # all of the list: that of one tensor is read as the tensor is
            return (*path, *self._outputs) if len(self._outputs) == 1 else path
        return (path[0], self._outputs[int(path[1])], *path[2:])

    @property
    def _outputs(self) -> list[str]:
        return list(self.plan.program.outputs)

    def document(self, values: Values) -> Document:
        """The outputs, if they are wanted, and the gradients."""
        request = self.evaluation.request
        leaves = {name: argument_of(self.plan, self.evaluation.inputs, name) for name in self.plan.wrt}
        gradients = settle_unused(values.gradients, leaves, request.unused)
        return {**outputs_of(request, values.outputs), "gradients": gradients}

    def work(self) -> Work:
        """One run there and back."""
        return Work(self.mode, forward_count=1, backward_count=1)

    def _run(self, work: Work) -> Values:
        evaluation = self.evaluation
        with evaluation.source.quoted():
            point = run_forward(self.plan, evaluation.inputs, work, evaluation.seed)
        evaluation.clock.lap("forward")
        if not self.plan.is_static:
            self._cotangents.read(types_of(point.outputs))
        vectors = self._cotangents.complete(point.outputs)
        with evaluation.source.quoted(), naming_node(point):
            found = Pullback(point.outputs, point.leaves, work, keep=False).one(vectors)
        evaluation.clock.lap("backward")
        return Values(values_of(point), found)


def outputs_of(request: BackwardRequest, outputs: dict[str, Tensor]) -> Document:
    """What an answer holds of them."""
    return {"outputs": outputs} if request.outputs else {}


def is_plain(request: BackwardRequest) -> bool:
    """Whether it asks for gradients and nothing else."""
    return not (request.explain or request.is_grads_batched or request.jacobian is not False)
