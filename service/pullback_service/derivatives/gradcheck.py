"""Whether gradients are right, from values of the function alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from pullback_schemas.problems import LimitExceeded, OpFailed
from pullback_service.derivatives.adjoint import adjoint_error, inner, random_cotangents, random_tangents, tolerance
from pullback_service.derivatives.differences import entry_sizes
from pullback_service.derivatives.known_wrong import wrong_forward_rules
from pullback_service.derivatives.line import EPSILON, SMALLER_STEPS, STEPS, Line
from pullback_service.derivatives.linear import Vectors
from pullback_service.derivatives.local import Sweep
from pullback_service.derivatives.pushforwards import Pushforward
from pullback_service.derivatives.run import Point
from pullback_service.derivatives.vjp import Pullback, zeros_for_none
from pullback_service.derivatives.work import Work
from pullback_service.program.types import TensorType

RIGHT_RATE = 1.7
FINE, COARSE = 1e-5, 1e-2
"""How much of the steepness a slope may be off: to be right whatever the rate, and if the rate is right."""

SMALL = 1e-3
MAX_ENTRIES = 10_000
SEARCHED_ENTRIES = 256
NOT_FINITE = "the outputs are not finite here"
KINK = "the point lies on a kink or a jump"
DROWNED = "the outputs change too little beside their rounding, or bend too much, to tell"
SYMMETRIC = frozenset({"linalg_cholesky", "linalg_cholesky_ex", "cholesky", "linalg_eigh", "linalg_eigvalsh"})
ONE_TRIANGLE = "an operator reads one triangle of a symmetric matrix: write (a + a.mT) / 2 for a before it"

Status = Literal["passed", "failed", "not_checkable"]


@dataclass(frozen=True, slots=True)
class Worst:
    """The entry of a gradient furthest from its central difference."""

    index: tuple[int, ...]
    gradient: Tensor
    difference: Tensor


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found about the gradient by one input."""

    status: Status
    reason: str | None = None
    rate: float | None = None
    adjoint_error: float | None = None
    worst: Worst | None = None


@dataclass(frozen=True, slots=True)
class Tolerances:
    """How far an entry may be from its central difference."""

    rtol: float
    atol: float

    def allowed(self, gradient: Tensor) -> float:
        """How far this entry of a gradient may be."""
        return self.atol + self.rtol * float(abs(gradient))


class Checker:
    """Checks the gradient of <w, outputs>, w random, at a point in double precision, one input at a time."""

    def __init__(self, point: Point, work: Work) -> None:
        self._point = point
        self._work = work
        self._w = random_cotangents(point.outputs)
        found = Pullback(point.outputs, point.leaves, work).one(self._w)
        self._gradients = zeros_for_none(found, point.leaves)
        self._is_finite = math.isfinite(inner(self._w, point.outputs))
        self._coarse = Sweep(point).leads_to(is_below_double)

    def along_a_direction(self, name: str, tolerances: Tolerances) -> Verdict:
        """The rate of the remainder along a random direction, and the adjoint identity in forward mode."""
        if obstacle := self._obstacle(name):
            return Verdict("not_checkable", obstacle)
        leaf = self._point.leaves[name].detach()
        sizes = entry_sizes(leaf)
        verdict = self._along(name, sizes)
        if verdict.reason == DROWNED and bool((sizes < SMALL).all()):  # as at a minimum close to zero
            verdict = self._along(name, torch.ones_like(sizes))
        if verdict.status != "failed":
            return verdict
        worst = self._worst(name, tolerances)
        is_triangle = any(step.call.operator.packet in SYMMETRIC for step in self._point.plan.program.steps)
        reason = f"{verdict.reason}; {ONE_TRIANGLE}" if is_triangle else verdict.reason
        return replace(verdict, reason=reason, worst=worst)

    def entry_by_entry(self, name: str, tolerances: Tolerances) -> Verdict:
        """Every entry against its central difference; `check_entries` must have passed."""
        if obstacle := self._obstacle(name):
            return Verdict("not_checkable", obstacle)
        leaf = self._point.leaves[name].detach()
        sizes = entry_sizes(leaf)
        whole = self._line(name, random_tangents({name: leaf})[name] * sizes)
        for index in _indices(leaf):
            size = float(sizes[index])
            lines = self._lines(name, index, size, whole.noise)
            if any(line.is_kink() for line in lines):
                return Verdict("not_checkable", f"entry {list(index)} lies on a kink or a jump")
            found = self._entry(name, index, size, lines, tolerances)
            allowed = tolerances.allowed(self._gradients[name][index])
            if found.excess > 0 and not whole.is_unclear:
                return Verdict("failed", "an entry is not its central difference", worst=self._worst(name, tolerances))
            if found.excess > 0 or found.error > allowed:
                return Verdict("not_checkable", f"at entry {list(index)} {DROWNED}; larger tolerances may help")
        return Verdict("passed")

    def _along(self, name: str, sizes: Tensor) -> Verdict:
        v = self._direction(name, sizes)
        line = self._line(name, v)
        adjoint_error = self._adjoint_error(name, {name: v})
        terms = float((self._gradients[name].abs() * v.abs()).sum())
        status, reason = _judge(line, terms, adjoint_error, tolerance(self._point.outputs))
        rate = line.rate if status != "passed" or line.rate is None or line.rate >= RIGHT_RATE else None
        return Verdict(status, reason, rate, adjoint_error)

    def _direction(self, name: str, sizes: Tensor) -> Tensor:
        """Random; each entry moves by its own size, but no more of the function than the median entry does."""
        moves = self._gradients[name].abs() * sizes
        finite = moves[moves.isfinite() & (moves > 0)]
        if finite.numel():
            sizes = torch.where(moves > finite.median(), sizes * (finite.median() / moves), sizes)
        return random_tangents({name: self._point.leaves[name]})[name] * sizes

    def _obstacle(self, name: str) -> str | None:
        """Why differences of the values say nothing about the gradient by an input."""
        if not self._is_finite:
            return NOT_FINITE
        if step := self._coarse.get(name):
            what = f"node {step.id!r} ({step.call.operator.name})"
            return f"{what} computes in less than double precision, which differences would see"
        return None

    def _line(self, name: str, v: Tensor, noise: float | None = None) -> Line:
        slope = inner({name: self._gradients[name]}, {name: v})
        return Line(self._point, self._w, {name: v}, slope, self._work, noise)

    def _lines(self, name: str, index: tuple[int, ...], size: float, noise: float) -> list[Line]:
        """By one entry of this size, and by its imaginary part if it is complex."""
        leaf = self._point.leaves[name].detach()
        direction = torch.zeros_like(leaf)
        direction[index] = size
        return [self._line(name, direction * factor, noise) for factor in ((1, 1j) if leaf.is_complex() else (1,))]

    def _adjoint_error(self, name: str, v: Vectors) -> float | None:
        if wrong_forward_rules(self._point.plan.program):
            return None
        try:
            images = Pushforward(self._point, self._work).one(v)
        except OpFailed:
            return None
        return adjoint_error(self._w, images, {name: self._gradients[name]}, v, self._point.outputs.values())

    def _worst(self, name: str, tolerances: Tolerances) -> Worst | None:
        """The entry of the first so many that is furthest from its central difference, beside the tolerances."""
        leaf, found = self._point.leaves[name].detach(), []
        sizes = entry_sizes(leaf)
        for index in _indices(leaf, SEARCHED_ENTRIES):
            size = float(sizes[index])
            found.append(self._entry(name, index, size, self._lines(name, index, size, 0.0), tolerances))
        known = [entry for entry in found if math.isfinite(entry.error)]
        return max(known, key=lambda entry: entry.excess).worst if known else None

    def _entry(
        self, name: str, index: tuple[int, ...], size: float, lines: list[Line], tolerances: Tolerances
    ) -> _Entry:
        leaf, gradient = self._point.leaves[name], self._gradients[name][index]
        allowed = tolerances.allowed(gradient)
        slopes = [line.measured(allowed * size) for line in lines]
        parts = [slope.value / size for slope in slopes]
        difference = torch.tensor(complex(*parts) if leaf.is_complex() else parts[0], dtype=leaf.dtype)
        error, excess = (
            max(each) / size for each in zip(*((slope.error, slope.excess) for slope in slopes), strict=True)
        )
        return _Entry(Worst(index, gradient, difference), error, excess - allowed)


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry and its central difference, which may be off by `error`; `excess` is beyond that and what is allowed."""

    worst: Worst
    error: float
    excess: float


def _judge(line: Line, terms: float, adjoint_error: float | None, bound: float) -> tuple[Status, str | None]:
    if not math.isfinite(line.slope):
        return "failed", "the gradient is not finite, the outputs are"
    line.step_on(STEPS)
    steepness = max(terms, line.steepness)
    if not _is_right(line, steepness):
        line.step_on(SMALLER_STEPS)
    if not _is_right(line, steepness):
        if not _is_vanishing(line) and line.is_kink():
            return "not_checkable", KINK
        return ("failed", "the gradient is not the slope") if line.has_settled else ("not_checkable", DROWNED)
    if adjoint_error is not None and adjoint_error > bound:
        return "failed", "forward and reverse mode disagree"
    return "passed", None


def _is_right(line: Line, steepness: float) -> bool:
    return line.error <= (COARSE if _is_vanishing(line) else FINE) * steepness or not steepness


def _is_vanishing(line: Line) -> bool:
    return line.rate is not None and line.rate >= RIGHT_RATE


def check_entries(leaves: Mapping[str, TensorType]) -> None:
    """Refuse tensors with more entries than central differences are taken of."""
    for name, kind in leaves.items():
        if kind.numel > MAX_ENTRIES:
            raise LimitExceeded(
                f"{name!r} has {kind.numel:,} entries; central differences are taken of at most {MAX_ENTRIES:,}.",
                pointer="/method",
                expected=MAX_ENTRIES,
                got=kind.numel,
                hint='Use method: "taylor".',
            )


def is_below_double(tensor: Tensor) -> bool:
    """Whether numbers of this dtype are rounded more than those that the check is made of."""
    return bool(torch.finfo(tensor.dtype).eps > EPSILON)


def _indices(leaf: Tensor, most: int = MAX_ENTRIES) -> Iterator[tuple[int, ...]]:
    for flat in range(min(leaf.numel(), most)):
        yield tuple(int(i) for i in torch.unravel_index(torch.tensor(flat), leaf.shape))
