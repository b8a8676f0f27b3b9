"""Requests that differ from earlier ones in their numbers alone: only those are read, all else is known to be right.

Nothing is refused here. Whatever is unusual goes the way of a first request, which tells what is wrong with it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from torch import Tensor

from pullback_schemas.problems import ProblemError, ProblemsError
from pullback_service.clock import Clock
from pullback_service.derivatives.joint import Question, Values
from pullback_service.derivatives.vjp import settle_unused
from pullback_service.forms import PLAIN
from pullback_service.library import Library
from pullback_service.operations.plain import Plain
from pullback_service.program.types import TensorType, type_of
from pullback_service.protocols.answer import Answer
from pullback_service.protocols.doors import Sent
from pullback_service.protocols.json_pattern import Gap, Path, Template, cut, paths_of
from pullback_service.protocols.tensor_reader import read_tensor

SMALL_BYTES = 2**14
LEAVES = {("inputs", 2): "", ("inputs", 3): "data", ("grad_tensors", 2): "", ("grad_tensors", 3): "data"}
"""Where a tensor's numbers stand: the field, the length of the path, its last part if that is not the tensor's name."""

WRITTEN = {torch.float64, torch.float32, torch.int64, torch.int32, torch.bool}
"""Dtypes whose elements numpy has and JSON spells."""

log = logging.getLogger(__name__)

Numbers = list[NDArray[Any]]
"""What stands in the holes of a request, those that are tensors."""


class Unusual(Exception):
    """The request is none that is remembered."""


class Hole:
    """Numbers of a request: those of a tensor, or such as must be what they were."""

    def __init__(self, text: bytes, field: str, name: str, kind: TensorType | None) -> None:
        self.field, self.name, self.kind = field, name, kind
        self._text = text
        self._nested = np.shape(orjson.loads(text))

    def read(self, text: bytes) -> NDArray[Any] | None:
        """The tensor's numbers, None where there is no tensor. Raises Unusual, ValueError or a problem."""
        if self.kind is None:
            if text != self._text:
                raise Unusual
            return None
        if self.kind.dtype != torch.float64:
            tensor = read_tensor(orjson.loads(text), self.kind.dtype)
            if tensor.shape != self._nested:
                raise Unusual
            return tensor.reshape(self.kind.shape).numpy()
        array = np.array(orjson.loads(text), dtype=np.float64)
        if array.shape != self._nested:
            raise Unusual
        return array.reshape(self.kind.shape)


class Repeat:
    """What is known of a request but for its numbers: how to read them, what to ask, how the answer is written."""

    def __init__(self, plain: Plain, question: Question, values: Values, holes: list[Hole]) -> None:
        evaluation = plain.evaluation
        self.digest = evaluation.source.digest
        self.joint = plain.joint
        self._graph = evaluation.source.program.digest
        self._is_sociable = not evaluation.request.deterministic
        self._holes = holes
        self._leaves = [hole for hole in holes if hole.kind is not None]
        self._question = question
        self._derived = plain.leaves
        self._unused = evaluation.request.unused
        tensors = self._settled(values)._asdict()
        meta = {**evaluation.meta(plain.work()), "plan_cached": True}
        self._alone = Template({**tensors, "meta": {**meta, "timings_ms": Gap()}})
        self._together = Template({**tensors, "meta": {**meta, "together": Gap(), "timings_ms": Gap()}})

    @property
    def may_join(self) -> bool:
        """Whether such requests may be answered together."""
        return self._is_sociable and self.joint.takes_many

    def read(self, texts: list[bytes]) -> Numbers:
        """The numbers in a request's holes. Raises Unusual, ValueError or a problem."""
        read = [hole.read(text) for hole, text in zip(self._holes, texts, strict=True)]
        return [array for array in read if array is not None]

    def question(self, numbers: Numbers) -> Question:
        """What is asked with these numbers."""
        inputs, vectors = dict(self._question.inputs), dict(self._question.vectors)
        for hole, array in zip(self._leaves, numbers, strict=True):
            (inputs if hole.field == "inputs" else vectors)[hole.name] = torch.from_numpy(array)
        return Question(inputs, vectors)

    def questions(self, numbers: Sequence[Numbers]) -> Question:
        """What all of them ask, along one leading axis."""
        count = len(numbers)
        stacked = self.question([np.stack(column) for column in zip(*numbers, strict=True)])
        known = {(hole.field, hole.name) for hole in self._leaves}

        def wide(tensors: dict[str, Tensor], field: str) -> dict[str, Tensor]:
            return {n: t if (field, n) in known else t.expand(count, *t.shape) for n, t in tensors.items()}

        return Question(wide(dict(stacked.inputs), "inputs"), wide(dict(stacked.vectors), "grad_tensors"))

    def told(self, values: Values, clock: Clock) -> Answer | None:
        """The answer that holds these values; None if one is not finite."""
        clock.lap("forward_backward")
        arrays = [tensor.numpy() for tensor in _tensors(self._settled(values))]
        return self._answer(self._alone.fill(arrays, [_timings(clock)]))

    def told_together(self, values: Values, clocks: Sequence[Clock]) -> list[Answer | None]:
        """As many answers, from values along one leading axis."""
        columns = [tensor.numpy() for tensor in _tensors(self._settled(values, len(clocks)))]
        count = str(len(clocks)).encode()
        answers = []
        for index, clock in enumerate(clocks):
            clock.lap("forward_backward")
            rows = [column[index, ...] for column in columns]
            answers.append(self._answer(self._together.fill(rows, [count, _timings(clock)])))
        return answers

    def _settled(self, values: Values, batch: int | None = None) -> Values:
        gradients = settle_unused(values.gradients, self._derived, self._unused, batch)
        return Values(values.outputs, gradients)

    def _answer(self, text: bytes | None) -> Answer | None:
        return None if text is None else Answer({}, rides=self.may_join, text=text, graph=self._graph)


def _tensors(values: Values) -> list[Tensor]:
    found = [*values.outputs.values(), *values.gradients.values()]
    return [tensor.contiguous() for tensor in found if tensor is not None]


def _timings(clock: Clock) -> bytes:
    clock.lap("encode")
    return b"{%s}" % ",".join([f'"{phase}":{ms}' for phase, ms in clock.milliseconds().items()]).encode()


def note(library: Library, sent: Sent, plain: Plain) -> None:
    """Remember that what was found out about a request holds for all that differ in their numbers alone."""
    question, values = plain.question, plain.learnt
    if question is None or values is None or plain.evaluation.request.encoding != "nested":
        return
    parts = _cut(sent)
    paths = None if parts is None else paths_of(parts[0])
    if parts is None or paths is None:
        return
    fragments, texts = parts
    holes = [_hole(text, path, question) for text, path in zip(texts, paths, strict=True)]
    if not all(hole.kind is None or hole.kind.dtype in WRITTEN for hole in holes):
        return
    if {(hole.field, hole.name) for hole in holes if hole.kind} != _sent_tensors(plain):
        return
    if all(tensor.dtype in WRITTEN for tensor in _tensors(values)):
        library.patterns[fragments] = Repeat(plain, question, values, holes)


def _cut(sent: Sent) -> tuple[tuple[bytes, ...], list[bytes]] | None:
    """A request's text between its numbers, and those; None if it is not small or not plain JSON."""
    body = sent.body
    if sent.forms != PLAIN or not isinstance(body, bytes) or len(body) > SMALL_BYTES:
        return None
    return cut(body, max(0, body.rfind(b'"inputs"')))


def _hole(text: bytes, path: Path, question: Question) -> Hole:
    field, *rest = path
    name = str(rest[0]) if rest else ""
    tensors = {"inputs": question.inputs, "grad_tensors": question.vectors}.get(str(field), {})
    is_leaf = name in tensors and (field, len(path)) in LEAVES and LEAVES[str(field), len(path)] in ("", path[-1])
    return Hole(text, str(field), name, type_of(tensors[name]) if is_leaf else None)


def _sent_tensors(plain: Plain) -> set[tuple[str, str]]:
    """The tensors of a request, by field and name; a list of them has no names, and equals nothing."""
    request = plain.evaluation.request
    given = request.grad_tensors or {}
    vectors = given if isinstance(given, dict) else {"": None}
    return {("inputs", name) for name in request.inputs} | {("grad_tensors", name) for name in vectors}


def find(library: Library, sent: Sent) -> tuple[Repeat, Numbers] | None:
    """What is known of such a request, and its numbers. Raises what `admit` raises of its graph."""
    parts = _cut(sent) if library.patterns else None
    if parts is None:
        return None
    fragments, texts = parts
    repeat: Repeat | None = library.patterns.get(fragments)
    if repeat is None:
        return None
    try:
        numbers = repeat.read(texts)
    except (Unusual, ValueError, ProblemError, ProblemsError):  # orjson's and numpy's are ValueErrors
        return None
    library.admit(repeat.digest)
    return repeat, numbers


def answer_again(library: Library, sent: Sent, clock: Clock) -> Answer | None:
    """The answer to a request of which all but the numbers is known."""
    found = find(library, sent)
    if found is None:
        return None
    repeat, numbers = found
    clock.lap("decode")
    try:
        return repeat.told(repeat.joint.answer(repeat.question(numbers)), clock)
    except RuntimeError:  # autograd will tell which node
        log.debug("what was learnt failed", exc_info=True)
        return None


def answer_together(library: Library, requests: Sequence[Sent]) -> list[tuple[Answer, Clock] | None]:
    """The answers to those requests that go through one run together; None: to be answered alone."""
    groups: dict[Repeat, list[tuple[int, Numbers, Clock]]] = {}
    for index, sent in enumerate(requests):
        clock = Clock()
        found = find(library, sent)
        if found is not None and found[0].may_join:
            groups.setdefault(found[0], []).append((index, found[1], clock))
        clock.lap("decode")
    answers: list[tuple[Answer, Clock] | None] = [None] * len(requests)
    for repeat, members in groups.items():
        if len(members) == 1:
            continue
        try:
            values = repeat.joint.answer_many(repeat.questions([numbers for _, numbers, _ in members]), len(members))
        except RuntimeError:
            log.debug("a run of many failed", exc_info=True)
            continue
        if values is None:
            continue
        told = repeat.told_together(values, [clock for *_, clock in members])
        for (index, _, clock), answer in zip(members, told, strict=True):
            answers[index] = None if answer is None else (answer, clock)
    return answers
