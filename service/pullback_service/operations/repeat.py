"""What is known of requests that differ in their numbers alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pullback_schemas.problems import ProblemError, ProblemsError
from pullback_service.clock import Clock
from pullback_service.derivatives.joint import Joint, Question, Values
from pullback_service.forms import Form
from pullback_service.library import Library
from pullback_service.operations.plain import INPUTS, Plain
from pullback_service.program.types import MAX_AXES
from pullback_service.protocols.doors import template
from pullback_service.protocols.native_safetensors import STORED_NAMES
from pullback_service.protocols.pattern import WITH_NUMPY, Gap, Hole, Path, Unusual

Texts = list[bytes]
"""What stands in the holes of a request."""

Numbers = list[Tensor]
"""What stands in the holes of a request, or of several along a leading axis: those that are tensors."""

UNREADABLE = (Unusual, ValueError, ProblemError, ProblemsError)
"""What reading numbers raises; the errors of parsers and numpy are ValueErrors."""


class Repeat:
    """How to read the numbers of such requests, what to ask, how the answers are written.

    Args:
        plain: the first of them.
        question: what it asked.
        values: what that was answered.
        holes: where its numbers are.
        wanted: the form of the answers.

    """

    def __init__(
        self, plain: Plain[Any], question: Question, values: Values, holes: Sequence[Hole], wanted: Form
    ) -> None:
        evaluation, request = plain.evaluation, plain.evaluation.request
        self.graph = evaluation.source.program.digest
        self._digest = evaluation.source.digest
        self._joint = plain.joint
        self._phase = plain.phase
        self._is_sociable = not request.deterministic
        self._holes = holes
        self._arguments = self._joint.arguments(question)
        self._places = [_place(hole.path, self._joint) for hole in holes if hole.kind]
        self._implicit = {self._joint.place_of_vector(name) for name in question.vectors}.difference(self._places)
        document = plain.document(values)
        self._unwritten = 0 if "outputs" in document else len(values.outputs)
        found = [*values.outputs.values(), *values.gradients.values()][self._unwritten :]
        told = [tensor for field in document.values() for tensor in field.values()]
        self._unused = [told if found is None else None for told, found in zip(told, found, strict=True)]
        """Zeros, where they are told in place of what was not found."""
        meta = {**evaluation.meta(plain.work()), "plan_cached": True}
        alone, together = {**meta, "timings_ms": Gap()}, {**meta, "together": Gap(), "timings_ms": Gap()}
        self._alone = template({**document, "meta": alone}, wanted, request.encoding)
        self._together = template({**document, "meta": together}, wanted, request.encoding)

    @property
    def may_join(self) -> bool:
        """Whether such requests may be answered together."""
        return self._is_sociable and self._joint.takes_many

    def admit(self, library: Library) -> None:
        """Before a run. Raises what `admit` raises of the graph."""
        library.admit(self._digest)

    def read(self, texts: Texts) -> Numbers:
        """The numbers in the holes of a request. Raises what is UNREADABLE."""
        return [numbers for hole in self._holes if (numbers := hole.read((texts[hole.column],), ())) is not None]

    def read_many(self, requests: Sequence[Texts]) -> Numbers:
        """Those of several requests, along one leading axis. Raises what is UNREADABLE."""
        columns, axis = list(zip(*requests, strict=True)), (len(requests),)
        return [numbers for hole in self._holes if (numbers := hole.read(columns[hole.column], axis)) is not None]

    def answer(self, numbers: Numbers, clock: Clock) -> bytes | None:
        """The answer to a single request; None if it cannot be written so. Raises whatever torch raises."""
        arguments = self._arguments.copy()
        for place, tensor in zip(self._places, numbers, strict=True):
            arguments[place] = tensor
        results = self._joint.run(arguments)
        clock.lap(self._phase)
        return self._alone.fill(self._written(results), [_timings(clock)])[0]

    def answer_many(self, numbers: Numbers, count: int, clock: Clock) -> list[bytes | None] | None:
        """The answers to requests that go through one run; None if none does. Raises whatever torch raises.

        The numbers are finite.
        """
        arguments = self._arguments.copy()
        for place in self._implicit:
            arguments[place] = torch.stack([arguments[place]] * count)
        for place, column in zip(self._places, numbers, strict=True):
            arguments[place] = column
        results = self._joint.run_many(arguments, count)
        if results is None:
            return None
        clock.lap(self._phase)
        axis = (count,)
        return self._together.fill(self._written(results, axis), [b"%d" % count, _timings(clock)], axis)

    def _written(self, results: Sequence[Tensor | None], axis: tuple[int, ...] = ()) -> list[Tensor]:
        """The tensors of an answer, in its order, or of several along a leading axis of that length."""
        found = zip(results[self._unwritten :], self._unused, strict=True)
        tensors = [result if zeros is None else zeros.expand(axis + zeros.shape) for result, zeros in found]
        return [tensor.contiguous() for tensor in tensors if tensor is not None]


def is_written(tensor: Tensor | None, *, as_numbers: bool) -> bool:
    """Whether many of it can be written as one."""
    if tensor is None or not as_numbers:
        return tensor is None or tensor.dtype in STORED_NAMES
    return tensor.dtype in WITH_NUMPY and tensor.numel() > 0 and tensor.dim() < MAX_AXES


def _place(path: Path, joint: Joint) -> int:
    field, name = path[0], str(path[1])
    return joint.place_of_input(name) if field == INPUTS else joint.place_of_vector(name)


def _timings(clock: Clock) -> bytes:
    clock.lap("encode")
    return clock.json()
