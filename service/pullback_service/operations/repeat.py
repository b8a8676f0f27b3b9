"""What is known of requests that differ in their numbers alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pullback_schemas.problems import ProblemError, ProblemsError
from pullback_service.clock import Clock
from pullback_service.derivatives.joint import Question, Values
from pullback_service.library import Library
from pullback_service.operations.plain import Plain
from pullback_service.program.types import TensorType
from pullback_service.protocols.pattern import ALONE, Axis, Gap, Hole, Template, Unusual

Texts = list[bytes]
"""What stands in the holes of a request."""

Numbers = list[Tensor]
"""What stands in the holes of a request, or of several along a leading axis: those that are tensors."""

UNREADABLE = (Unusual, ValueError, ProblemError, ProblemsError)
"""What reading numbers raises; the errors of parsers and numpy are ValueErrors."""


class Blank(NamedTuple):
    """Numbers of a request that may be others: where they are, those of which tensor, which argument of a run."""

    hole: Hole
    kind: TensorType
    argument: int


class Repeat:
    """How to read the numbers of such requests, what to ask, how the answers are written.

    Args:
        plain: the first of them.
        question: what it asked.
        values: what that was answered.
        blanks: its numbers.
        fixed: where there is more that looked like numbers: it is what it was.
        template: for the answers, of which it can write each tensor.

    """

    def __init__(
        self,
        plain: Plain[Any],
        question: Question,
        values: Values,
        blanks: Sequence[Blank],
        fixed: Sequence[Hole],
        template: type[Template],
    ) -> None:
        evaluation = plain.evaluation
        self.is_broken = False
        """Whether it has failed as it must not."""
        self.graph = evaluation.source.program.digest
        self._digest = evaluation.source.digest
        self._joint = plain.joint
        self._phase = plain.phase
        self._is_sociable = not evaluation.request.deterministic
        self._blanks, self._fixed = blanks, fixed
        self._arguments = self._joint.arguments(question)
        vectors = {self._joint.place_of_vector(name) for name in question.vectors}
        self._implicit = vectors.difference(blank.argument for blank in blanks)
        document = plain.document(values)
        self._unwritten = 0 if "outputs" in document else len(values.outputs)
        found = [*values.outputs.values(), *values.gradients.values()][self._unwritten :]
        told = [tensor for field in document.values() for tensor in field.values()]
        self._unused = [told if found is None else None for told, found in zip(told, found, strict=True)]
        """Zeros, where they are told in place of what was not found."""
        meta = {**evaluation.meta(plain.work()), "plan_cached": True}
        alone, together = {**meta, "timings_ms": Gap()}, {**meta, "together": Gap(), "timings_ms": Gap()}
        self._alone, self._together = (template({**document, "meta": meta}) for meta in (alone, together))

    @property
    def may_join(self) -> bool:
        """Whether such requests may be answered together."""
        return self._is_sociable and self._joint.takes_many

    def admit(self, library: Library) -> None:
        """Before a run. Raises what `admit` raises of the graph."""
        library.admit(self._digest)

    def read(self, texts: Texts) -> Numbers:
        """The numbers of a request. Raises what is UNREADABLE."""
        if not all(hole.is_same(texts[hole.column]) for hole in self._fixed):
            raise Unusual
        return [hole.read((texts[hole.column],), kind, ALONE) for hole, kind, _ in self._blanks]

    def read_many(self, requests: Sequence[Texts]) -> Numbers:
        """Those of several requests, along one leading axis: all are finite. Raises what is UNREADABLE."""
        columns, axis = list(zip(*requests, strict=True)), (len(requests),)
        if not all(hole.is_same(text) for hole in self._fixed for text in columns[hole.column]):
            raise Unusual
        return [hole.read(columns[hole.column], kind, axis) for hole, kind, _ in self._blanks]

    def answer(self, numbers: Numbers, clock: Clock) -> bytes | None:
        """The answer to a single request; None if it cannot be written so. Raises whatever torch raises."""
        arguments = self._arguments.copy()
        for blank, tensor in zip(self._blanks, numbers, strict=True):
            arguments[blank.argument] = tensor
        results = self._joint.run(arguments)
        clock.lap(self._phase)
        return self._alone.fill(self._written(results), [_timings(clock)])[0]

    def answer_many(self, numbers: Numbers, count: int, clock: Clock) -> list[bytes | None] | None:
        """The answers to requests that go through one run; None if none does. Raises whatever torch raises.

        The numbers are such as `read_many` gives.
        """
        arguments = self._arguments.copy()
        for place in self._implicit:
            arguments[place] = torch.stack([arguments[place]] * count)
        for blank, column in zip(self._blanks, numbers, strict=True):
            arguments[blank.argument] = column
        results = self._joint.run_many(arguments, count)
        if results is None:
            return None
        clock.lap(self._phase)
        axis = (count,)
        return self._together.fill(self._written(results, axis), [b"%d" % count, _timings(clock)], axis)

    def _written(self, results: Sequence[Tensor | None], axis: Axis = ALONE) -> list[Tensor]:
        """The tensors of an answer, in its order, or of several along a leading axis of that length."""
        found = zip(results[self._unwritten :], self._unused, strict=True)
        tensors = [result if zeros is None else zeros.expand(axis + zeros.shape) for result, zeros in found]
        return [tensor.contiguous() for tensor in tensors if tensor is not None]


def _timings(clock: Clock) -> bytes:
    clock.lap("encode")
    return clock.json()
