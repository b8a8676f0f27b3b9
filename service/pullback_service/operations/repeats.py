"""Requests that differ from earlier ones in their numbers alone: only those are read, all else is known to be right.

Nothing is refused here. Whatever is unusual goes the way of a first request, which tells what is wrong with it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from pullback_schemas.tensors import Encoding, FullTensor
from pullback_service.clock import Clock
from pullback_service.derivatives.joint import Question
from pullback_service.forms import Form
from pullback_service.library import Library
from pullback_service.operations.plain import INPUTS, Plain
from pullback_service.operations.repeat import UNREADABLE, Numbers, Repeat, Texts, is_written
from pullback_service.program.types import type_of
from pullback_service.protocols.answer import Answer
from pullback_service.protocols.doors import Sent, cut, holes_in
from pullback_service.protocols.native_safetensors import FileTensor
from pullback_service.protocols.pattern import Cut, Hole

log = logging.getLogger(__name__)


def answer_first(library: Library, sent: Sent, plain: Plain[Any]) -> Answer:
    """The answer to a request of which more is known once it is sent. Raises what it raises."""
    answer = plain.answer()
    library.homework.append(partial(_note, library, sent, plain))
    return answer


def _note(library: Library, sent: Sent, plain: Plain[Any]) -> None:
    """Remember that what was found out about a request holds for all that differ in their numbers alone."""
    question, values = plain.question, plain.learnt
    if question is None or values is None:
        return
    wanted, request = sent.forms.wanted, plain.evaluation.request
    as_numbers = wanted is Form.JSON and request.encoding == "nested"
    answered = (*values.outputs.values(), *values.gradients.values())
    parts = cut(sent)
    holes = None if parts is None else holes_in(parts, sent.forms.sent)
    if parts is None or holes is None or not all(is_written(tensor, as_numbers=as_numbers) for tensor in answered):
        return
    for hole in holes:
        _bind(hole, plain, question)
    if sorted(hole.path[:2] for hole in holes if hole.kind) == sorted(plain.sent):
        library.patterns[_key(sent, parts)] = Repeat(plain, question, values, holes, wanted)


def _bind(hole: Hole, plain: Plain[Any], question: Question) -> None:
    """Find out which tensor a hole holds the numbers of, if it is one that it can read."""
    path = plain.named(hole.path)
    tensor, rest = path[:2], path[2:]
    if tensor not in plain.sent or rest not in ((), ("data",)):
        return
    field, name = tensor
    kind = type_of((question.inputs if field == INPUTS else question.vectors)[str(name)])
    if hole.reads(kind, _encoding(plain.sent[tensor])):
        hole.path, hole.kind = path, kind


def _encoding(value: Any) -> Encoding | None:
    """How a tensor is written; None for one of a file."""
    if isinstance(value, FileTensor):
        return None
    return value.encoding if isinstance(value, FullTensor) else "nested"


def _key(sent: Sent, parts: Cut) -> tuple[str, int, tuple[bytes, ...]]:
    return sent.operation, sent.forms.pack(), parts[0]


def _find(library: Library, sent: Sent) -> tuple[Repeat, Texts] | None:
    """What is known of such a request, and the texts of its numbers."""
    parts = cut(sent) if library.patterns else None
    repeat = None if parts is None else library.patterns.get(_key(sent, parts))
    return None if parts is None or repeat is None else (repeat, parts[1])


def answer_again(library: Library, sent: Sent, clock: Clock) -> Answer | None:
    """The answer to a request of which all but the numbers is known. Raises what `admit` raises of its graph."""
    found = _find(library, sent)
    if found is None:
        return None
    repeat, texts = found
    try:
        numbers = repeat.read(texts)
    except UNREADABLE:
        return None
    repeat.admit(library)
    clock.lap("decode")
    try:
        written = repeat.answer(numbers, clock)
    except RuntimeError:  # autograd will tell which node
        log.debug("what was learnt failed", exc_info=True)
        return None
    return None if written is None else Answer({}, rides=repeat.may_join, written=written, graph=repeat.graph)


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
    """Which requests can go together, and their numbers. One that cannot costs the others no more than time."""
    try:
        return list(members), repeat.read_many(list(members.values()))
    except UNREADABLE:
        fit = {index: texts for index, texts in members.items() if _fits(repeat, texts)}
        return list(fit), repeat.read_many(list(fit.values())) if fit else []


def _fits(repeat: Repeat, texts: Texts) -> bool:
    try:
        repeat.read_many([texts])
    except UNREADABLE:
        return False
    return True
