"""Requests that differ from earlier ones in their numbers alone: only those are read, all else is known to be right.

Nothing is refused here. Whatever is unusual goes the way of a first request, which tells what is wrong with it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from torch import Tensor

from pullback_schemas.problems import ProblemError, ProblemsError
from pullback_service.clock import Clock
from pullback_service.derivatives.joint import Joint, Question, Values
from pullback_service.derivatives.vjp import settle_unused
from pullback_service.forms import PLAIN
from pullback_service.library import Library
from pullback_service.operations.plain import Plain, outputs_of
from pullback_service.program.types import MAX_AXES, TensorType, type_of
from pullback_service.protocols.answer import Answer
from pullback_service.protocols.doors import Sent
from pullback_service.protocols.json_pattern import Gap, Path, Template, cut, paths_of
from pullback_service.protocols.tensor_reader import read_tensor
from pullback_service.protocols.tensor_writer import write_tensor

SMALL_BYTES = 2**14
LEAVES = {("inputs", 2): "", ("inputs", 3): "data", ("grad_tensors", 2): "", ("grad_tensors", 3): "data"}
"""Where a tensor's numbers stand: the field, the length of the path, its last part if that is not the tensor's name."""

WRITTEN = {torch.float64, torch.float32, torch.int64, torch.int32, torch.bool}
"""Dtypes whose elements numpy has and JSON spells."""

log = logging.getLogger(__name__)

Texts = list[bytes]
"""What stands in the holes of a request."""

Numbers = list[NDArray[Any]]
"""What stands in the holes of requests, those that are tensors: for each a column with a row a request."""


class Unusual(Exception):
    """The request is none that is remembered."""


UNREADABLE = (Unusual, ValueError, ProblemError, ProblemsError)
"""What reading numbers raises; orjson's and numpy's errors are ValueErrors."""


class Hole:
    """Numbers of a request: those of a tensor, or such as must be what they were."""

    def __init__(self, text: bytes, field: str, name: str, kind: TensorType | None) -> None:
        self.field, self.name, self.kind = field, name, kind
        self._text = text
        self._nested = np.shape(orjson.loads(text)) if kind else ()

    def read(self, texts: Sequence[bytes]) -> NDArray[Any] | None:
        """The tensor's numbers in each request, None where there is no tensor. Raises what is UNREADABLE."""
        if self.kind is None:
            if any(text != self._text for text in texts):
                raise Unusual
            return None
        count = len(texts)
        # The strings are ours, since there is none in a text: each text is one value if they stand where they were put.
        values = orjson.loads(b"[%b]" % b',"",'.join(texts))
        if values[1::2] != [""] * (count - 1):
            raise Unusual
        if self.kind.dtype == torch.float64:
            array = np.array(values[::2], dtype=np.float64)
        else:
            array = read_tensor(values[::2], self.kind.dtype).numpy()
        if array.shape != (count, *self._nested):
            raise Unusual
        return array.reshape(count, *self.kind.shape)


class Repeat:
    """What is known of a request but for its numbers: how to read them, what to ask, how the answer is written."""

    def __init__(self, plain: Plain, question: Question, values: Values, holes: list[Hole]) -> None:
        evaluation = plain.evaluation
        self.graph = evaluation.source.program.digest
        self._digest = evaluation.source.digest
        self._joint = plain.joint
        self._unwritten = 0 if evaluation.request.outputs else len(evaluation.source.program.outputs)
        self._is_sociable = not evaluation.request.deterministic
        self._holes = holes
        self._arguments = self._joint.arguments(question)
        self._places = [_place(hole, self._joint) for hole in holes if hole.kind]
        self._implicit = {self._joint.place_of_vector(name) for name in question.vectors}.difference(self._places)
        unused = settle_unused(
            {n: g for n, g in values.gradients.items() if g is None}, plain.leaves, evaluation.request.unused
        )
        gradients = values.gradients | {n: None if g is None else write_tensor(g) for n, g in unused.items()}
        document = {**outputs_of(evaluation.request, values.outputs), "gradients": gradients}
        meta = {**evaluation.meta(plain.work()), "plan_cached": True}
        self._alone = Template({**document, "meta": {**meta, "timings_ms": Gap()}})
        self._together = Template({**document, "meta": {**meta, "together": Gap(), "timings_ms": Gap()}})

    @property
    def may_join(self) -> bool:
        """Whether such requests may be answered together."""
        return self._is_sociable and self._joint.takes_many

    def admit(self, library: Library) -> None:
        """Before a run. Raises what `admit` raises of the graph."""
        library.admit(self._digest)

    def read(self, requests: Sequence[Sequence[bytes]]) -> Numbers:
        """The numbers in the holes of requests. Raises what is UNREADABLE."""
        columns = zip(self._holes, zip(*requests, strict=True), strict=True)
        return [numbers for hole, texts in columns if (numbers := hole.read(texts)) is not None]

    def answer(self, numbers: Numbers, clock: Clock) -> bytes | None:
        """The answer to a single request; None if a number is not finite. Raises whatever torch raises."""
        arguments = self._arguments.copy()
        for place, column in zip(self._places, numbers, strict=True):
            arguments[place] = torch.from_numpy(column[0, ...])
        results = self._joint.run(arguments)
        clock.lap("forward_backward")
        columns = [result.numpy()[None] for result in self._written(results)]
        return self._alone.fill(columns, [_timings(clock)])[0]

    def _written(self, results: Sequence[Tensor | None]) -> list[Tensor]:
        """Those that stand in the answer, outputs first."""
        return [result.contiguous() for result in results[self._unwritten :] if result is not None]

    def answer_many(self, numbers: Numbers, count: int, clock: Clock) -> list[bytes | None] | None:
        """The answers to requests that go through one run; None if none does. Raises whatever torch raises."""
        arguments = self._arguments.copy()
        for place in self._implicit:
            arguments[place] = torch.stack([arguments[place]] * count)
        for place, column in zip(self._places, numbers, strict=True):
            arguments[place] = torch.from_numpy(column)
        results = self._joint.run_many(arguments, count)
        if results is None:
            return None
        clock.lap("forward_backward")
        columns = [result.numpy() for result in self._written(results)]
        return self._together.fill(columns, [b"%d" % count, _timings(clock)])


def _place(hole: Hole, joint: Joint) -> int:
    return joint.place_of_input(hole.name) if hole.field == "inputs" else joint.place_of_vector(hole.name)


def _timings(clock: Clock) -> bytes:
    clock.lap("encode")
    return clock.json()


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
    holes = [_hole(text, _named(path, plain), question) for text, path in zip(texts, paths, strict=True)]
    if not all(hole.kind is None or hole.kind.dtype in WRITTEN for hole in holes):
        return
    if {(hole.field, hole.name) for hole in holes if hole.kind} != _sent_tensors(plain):
        return
    if all(map(_is_written, (*values.outputs.values(), *values.gradients.values()))):
        library.patterns[fragments] = Repeat(plain, question, values, holes)


def _is_written(tensor: Tensor | None) -> bool:
    """Whether many of it can be written as one."""
    return tensor is None or (tensor.dtype in WRITTEN and tensor.numel() > 0 and tensor.dim() < MAX_AXES)


def _cut(sent: Sent) -> tuple[tuple[bytes, ...], list[bytes]] | None:
    """A request's text between its numbers, and those; None if it is not small or not plain JSON."""
    body = sent.body
    if sent.forms != PLAIN or not isinstance(body, bytes) or len(body) > SMALL_BYTES:
        return None
    return cut(body, max(0, body.rfind(b'"inputs"')))


def _named(path: Path, plain: Plain) -> Path:
    """The same with an output's name for the place in a list of grad_tensors."""
    outputs = list(plain.evaluation.source.program.outputs)
    if path[0] != "grad_tensors" or not isinstance(plain.evaluation.request.grad_tensors, list):
        return path
    if len(path) == 1:  # all of the list: that of one tensor is read as the tensor is
        return (*path, outputs[0]) if len(outputs) == 1 else path
    return (path[0], outputs[int(path[1])], *path[2:])


def _hole(text: bytes, path: Path, question: Question) -> Hole:
    field, *rest = path
    name = str(rest[0]) if rest else ""
    tensors = {"inputs": question.inputs, "grad_tensors": question.vectors}.get(str(field), {})
    is_leaf = name in tensors and (field, len(path)) in LEAVES and LEAVES[str(field), len(path)] in ("", path[-1])
    return Hole(text, str(field), name, type_of(tensors[name]) if is_leaf else None)


def _sent_tensors(plain: Plain) -> set[tuple[str, str]]:
    """The tensors of a request, by field and name."""
    inputs, vectors = plain.evaluation.request.inputs, plain.cotangents.names
    return {("inputs", name) for name in inputs} | {("grad_tensors", name) for name in vectors}


def _find(library: Library, sent: Sent) -> tuple[Repeat, Texts] | None:
    """What is known of such a request, and the texts of its numbers."""
    parts = _cut(sent) if library.patterns else None
    repeat = None if parts is None else library.patterns.get(parts[0])
    return None if parts is None or repeat is None else (repeat, parts[1])


def answer_again(library: Library, sent: Sent, clock: Clock) -> Answer | None:
    """The answer to a request of which all but the numbers is known. Raises what `admit` raises of its graph."""
    found = _find(library, sent)
    if found is None:
        return None
    repeat, texts = found
    try:
        numbers = repeat.read([texts])
    except UNREADABLE:
        return None
    repeat.admit(library)
    clock.lap("decode")
    try:
        text = repeat.answer(numbers, clock)
    except RuntimeError:  # autograd will tell which node
        log.debug("what was learnt failed", exc_info=True)
        return None
    return None if text is None else Answer({}, rides=repeat.may_join, text=text, graph=repeat.graph)


class Company(NamedTuple):
    """The answers to requests that went through one run, by their place among all that came."""

    texts: dict[int, bytes]
    graph: bytes
    server_timing: str


def answer_together(library: Library, requests: Sequence[Sent]) -> Iterator[Company]:
    """The answers to those requests that go through one run with others. Raises what `admit` raises of a graph."""
    groups: dict[Repeat, dict[int, Texts]] = {}
    for index, sent in enumerate(requests):
        found = _find(library, sent)
        if found is not None and found[0].may_join:
            groups.setdefault(found[0], {})[index] = found[1]
    for repeat, members in groups.items():
        clock = Clock()
        readable, numbers = _read_all(repeat, members)
        if len(readable) < 2:
            continue
        repeat.admit(library)
        clock.lap("decode")
        try:
            answers = repeat.answer_many(numbers, len(readable), clock)
        except RuntimeError:
            log.debug("a run of many failed", exc_info=True)
            continue
        if answers is not None:
            texts = {index: text for index, text in zip(readable, answers, strict=True) if text is not None}
            yield Company(texts, repeat.graph, clock.server_timing())


def _read_all(repeat: Repeat, members: dict[int, Texts]) -> tuple[list[int], Numbers]:
    """Which requests can be read, and their numbers. One that cannot costs the others no more than time."""
    try:
        return list(members), repeat.read(list(members.values()))
    except UNREADABLE:
        readable = {index: texts for index, texts in members.items() if _is_readable(repeat, texts)}
        return list(readable), repeat.read(list(readable.values())) if readable else []


def _is_readable(repeat: Repeat, texts: Texts) -> bool:
    try:
        repeat.read([texts])
    except UNREADABLE:
        return False
    return True
