"""Requests that differ from earlier ones in their numbers alone: only those are read, all else is known to be right.

Nothing is refused here. Whatever is unusual goes the way of a first request, which tells what is wrong with it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from pullback_schemas.tensors import Encoding, FullTensor
from pullback_service.clock import Clock
from pullback_service.derivatives.joint import Question
from pullback_service.library import Library
from pullback_service.operations.plain import INPUTS, Plain
from pullback_service.operations.repeat import UNREADABLE, Blank, Numbers, Repeat, Texts
from pullback_service.program.types import type_of
from pullback_service.protocols.answer import Answer
from pullback_service.protocols.doors import Sent, cut, holes_in, template
from pullback_service.protocols.native_safetensors import FileTensor
from pullback_service.protocols.pattern import Cut, Hole, Path

log = logging.getLogger(__name__)


def answer_first(library: Library, sent: Sent, plain: Plain[Any]) -> Answer:
    """The answer to a request of which more is known once it is sent. Raises what it raises."""
    answer = plain.answer()
    library.homework.append(partial(_note, library, sent, plain))
    return answer


def _note(library: Library, sent: Sent, plain: Plain[Any]) -> None:
    """Remember that what was found out about a request holds for all that differ in their numbers alone."""
    question, values = plain.question, plain.learnt
    parts = cut(sent)
    if question is None or values is None or parts is None:
        return
    holes = holes_in(parts, sent.forms.sent)
    writer = template(sent.forms.wanted, plain.evaluation.request.encoding)
    told = [tensor for field in plain.document(values).values() for tensor in field.values() if tensor is not None]
    if holes is None or not all(map(writer.writes, told)):
        return
    key, tensors = _key(sent, parts), plain.sent
    known: Repeat | None = library.patterns.get(key)
    if known is not None and known.is_broken:
        return
    blanks = {hole: found for hole in holes if (found := _blank_of(hole, tensors, plain, question)) is not None}
    if sorted(tensor for tensor, _ in blanks.values()) == sorted(tensors):
        fixed = [hole for hole in holes if hole not in blanks]
        numbers = [blank for _, blank in blanks.values()]
        library.patterns[key] = Repeat(plain, question, values, numbers, fixed, writer)


def _blank_of(
    hole: Hole, tensors: Mapping[Path, Any], plain: Plain[Any], question: Question
) -> tuple[Path, Blank] | None:
    """Which of the tensors that were sent a hole holds the numbers of, and how they are read; None if of none."""
    path = plain.named(hole.path)
    tensor, rest = path[:2], path[2:]
    if tensor not in tensors or rest not in ((), ("data",)):
        return None
    is_input, name = tensor[0] == INPUTS, str(tensor[1])
    kind = type_of((question.inputs if is_input else question.vectors)[name])
    if hole.encoding != _encoding(tensors[tensor]) or kind.dtype not in hole.dtypes:
        return None
    argument = plain.joint.place_of_input(name) if is_input else plain.joint.place_of_vector(name)
    return tensor, Blank(hole, kind, argument)


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
    return None if parts is None or repeat is None or repeat.is_broken else (repeat, parts[1])


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
    except Exception as error:
        _note_failure(repeat, error)
        return None
    return None if written is None else Answer({}, rides=repeat.may_join, written=written, graph=repeat.graph)


def _note_failure(repeat: Repeat, error: Exception) -> None:
    """The way of a first request will tell which node it was, or get an answer. What must not be is not tried again."""
    repeat.is_broken = not isinstance(error, RuntimeError | MemoryError)
    log.log(logging.WARNING if repeat.is_broken else logging.DEBUG, "what was learnt failed", exc_info=error)


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
        except Exception as error:
            _note_failure(repeat, error)
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
