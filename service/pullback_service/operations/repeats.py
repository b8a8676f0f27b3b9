"""Requests that differ from earlier ones in their numbers alone: only those are read, all else is known to be right.

Nothing is refused here. Whatever is unusual goes the way of a first request, which tells what is wrong with it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from torch import Tensor

from pullback_schemas.graphs import WrittenGraph
from pullback_schemas.problems import ProblemError, ProblemsError
from pullback_schemas.tensors import FullTensor
from pullback_service.clock import Clock
from pullback_service.derivatives.joint import Joint, Question, Values
from pullback_service.derivatives.vjp import settle_unused
from pullback_service.library import Library
from pullback_service.operations.evaluation import timed
from pullback_service.operations.plain import Plain
from pullback_service.program.types import TensorType, type_of
from pullback_service.protocols.answer import Answer
from pullback_service.protocols.doors import Sent, read_request
from pullback_service.protocols.fast_json import Doubt, Numbers
from pullback_service.protocols.tensor_reader import read_tensor

SMALL_BYTES = 2**16
TENSORS = {"inputs", "grad_tensors"}
SCALARS = {str, bool, int, float, type(None), WrittenGraph}

Pattern = tuple[Any, ...]
"""A request without its numbers."""

log = logging.getLogger(__name__)


class Unusual(Exception):
    """The request is none that is remembered."""


class Repeat:
    """What a request's pattern tells: its plan, and what to read its numbers as."""

    def __init__(self, plain: Plain, question: Question) -> None:
        evaluation = plain.evaluation
        self.digest = evaluation.source.digest
        self.joint = plain.joint
        self.may_join = plain.may_join
        self._inputs = {name: type_of(tensor) for name, tensor in question.inputs.items()}
        self._outputs = {name: kind for name, kind in plain.plan.outputs.items() if kind is not None}
        self._vectors = question.vectors
        self._leaves = plain.leaves
        self._unused = evaluation.request.unused
        self._encoding = evaluation.request.encoding
        self._meta = {**evaluation.meta(plain.work()), "plan_cached": True}

    def question(self, document: dict[str, Any]) -> Question:
        """The numbers of a request with this pattern. Raises Unusual, Doubt or ProblemError."""
        inputs = {name: _read(value, self._inputs[name]) for name, value in document["inputs"].items()}
        sent = document.get("grad_tensors") or {}
        pairs = sent.items() if isinstance(sent, dict) else zip(self._outputs, sent, strict=True)
        return Question(inputs, {**self._vectors, **{name: _read(v, self._outputs[name]) for name, v in pairs}})

    def told(self, values: Values, clock: Clock, together: int = 1) -> Answer:
        """The answer that holds these values, found for so many requests together."""
        clock.lap("forward_backward")
        gradients = settle_unused(values.gradients, self._leaves, self._unused)
        meta = self._meta if together == 1 else {**self._meta, "together": together}
        document = {"outputs": values.outputs, "gradients": gradients, "meta": timed(meta, clock)}
        return Answer(document, self._encoding, rides=self.may_join)


def note(library: Library, sent: Sent, plain: Plain) -> None:
    """Remember that what was found out about a request holds for all that differ in their numbers alone."""
    if plain.question is None or not plain.is_known or len(sent.body) > SMALL_BYTES:
        return
    with suppress(Doubt, Unusual):
        library.patterns[pattern_of(read_request(sent, fast=True))] = Repeat(plain, plain.question)


def find(library: Library, sent: Sent) -> tuple[Repeat, Question] | None:
    """What is known of such a request, and its numbers. Raises what `admit` raises of its graph."""
    if not library.patterns or len(sent.body) > SMALL_BYTES:
        return None
    try:
        document = read_request(sent, fast=True)
        repeat: Repeat | None = library.patterns.get(pattern_of(document))
        if repeat is None:
            return None
        question = repeat.question(document)
    except (Doubt, Unusual, ProblemError, ProblemsError):
        return None
    library.admit(repeat.digest)
    return repeat, question


def answer_again(library: Library, sent: Sent, clock: Clock) -> Answer | None:
    """The answer to a request of which all but the numbers is known."""
    found = find(library, sent)
    if found is None:
        return None
    repeat, question = found
    clock.lap("decode")
    try:
        return repeat.told(repeat.joint.answer(question), clock)
    except RuntimeError:  # autograd will tell which node
        log.debug("what was learnt failed", exc_info=True)
        return None


def answer_together(library: Library, requests: Sequence[Sent]) -> list[tuple[Answer, Clock] | None]:
    """The answers to those requests that go through one run together; None: to be answered alone."""
    groups: dict[Joint, list[tuple[int, Repeat, Question, Clock]]] = {}
    for index, sent in enumerate(requests):
        clock = Clock()
        found = find(library, sent)
        if found is not None and found[0].may_join:
            groups.setdefault(found[0].joint, []).append((index, *found, clock))
        clock.lap("decode")
    answers: list[tuple[Answer, Clock] | None] = [None] * len(requests)
    for joint, members in groups.items():
        if len(members) == 1:
            continue
        try:
            values = joint.answer_many([question for _, _, question, _ in members])
        except RuntimeError:
            log.debug("a run of many failed", exc_info=True)
            continue
        for (index, repeat, _, clock), value in zip(members, values or [], strict=values is not None):
            answers[index] = repeat.told(value, clock, len(members)), clock
    return answers


def _read(value: Any, kind: TensorType) -> Tensor:
    sent = FullTensor.model_construct(**value) if isinstance(value, dict) else value
    tensor = read_tensor(sent, kind.dtype)
    if tensor.dtype != kind.dtype or tensor.shape != kind.shape:
        raise Unusual
    return tensor


def pattern_of(document: dict[str, Any]) -> Pattern:
    """The request without its numbers, which two requests share whose answers are found in the same way.

    Raises Unusual.
    """
    return tuple(
        (key, *_outlines(value)) if key in TENSORS else (key, _frozen(value)) for key, value in document.items()
    )


def _outlines(tensors: Any) -> Iterator[Any]:
    if isinstance(tensors, dict):
        for name, tensor in tensors.items():
            yield name, _outline(tensor)
    elif isinstance(tensors, list):
        for tensor in tensors:
            yield _outline(tensor)
    else:
        raise Unusual


def _outline(tensor: Any) -> Any:
    kind = type(tensor)
    if kind is Numbers:
        return tuple(tensor.shape)
    if kind is float or kind is int:
        return ()
    if kind is str:  # base64
        return str
    if kind is dict and "data" in tensor:
        return tuple((key, _outline(value) if key == "data" else _frozen(value)) for key, value in tensor.items())
    raise Unusual


def _frozen(value: Any) -> Any:
    """The value as a key: True is not 1 there."""
    kind = type(value)
    if kind in SCALARS:
        return kind, value
    if kind is list:
        return tuple(map(_frozen, value))
    raise Unusual
