"""Whether gradients are right, from values of the function alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pullback_schemas.problems import LimitExceeded, OpFailed
from pullback_service.derivatives.adjoint import adjoint_error, inner, random_cotangents, random_tangents, tolerance
from pullback_service.derivatives.jvp import Pushforward
from pullback_service.derivatives.known_wrong import wrong_forward_rules
from pullback_service.derivatives.line import EPSILON, Line
from pullback_service.derivatives.linear import Vectors
from pullback_service.derivatives.local import Sweep
from pullback_service.derivatives.run import Point
from pullback_service.derivatives.vjp import Pullback, zeros_for_none
from pullback_service.derivatives.work import Work
from pullback_service.program.types import TensorType

RIGHT_RATE = 1.7
MIN_SCALE = 1e-3
MAX_ENTRIES = 10_000
NOT_FINITE = "the outputs are not finite here"
KINK = "the point lies on a kink or a jump"
DROWNED = "the outputs change too little beside their rounding to tell"

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
        v = random_tangents({name: leaf})
        line = self._line(name, v, _scale(leaf))
        found = {"rate": line.rate, "adjoint_error": self._adjoint_error(name, v)}
        status, reason = _judge(line, **found, bound=tolerance(self._point.outputs))
        worst = self._worst(name, tolerances) if status == "failed" else None
        return Verdict(status, reason, **found, worst=worst)

    def entry_by_entry(self, name: str, tolerances: Tolerances) -> Verdict:
        """Every entry against its central difference; `check_entries` must have passed."""
        if obstacle := self._obstacle(name):
            return Verdict("not_checkable", obstacle)
        leaf = self._point.leaves[name].detach()
        noise = self._line(name, random_tangents({name: leaf}), _scale(leaf)).noise
        for index in _indices(leaf):
            line = self._line(name, {name: _unit(leaf, index)}, _scale(leaf[index]), noise)
            if line.is_kink():
                return Verdict("not_checkable", f"entry {list(index)} lies on a kink or a jump")
            step, gradient = _step(leaf[index]), self._gradients[name][index]
            if line.rounding(step) / step > tolerances.allowed(gradient):
                return Verdict("not_checkable", f"at entry {list(index)} {DROWNED}; larger tolerances may help")
        worst = self._worst(name, tolerances)
        if worst is None:
            return Verdict("passed")
        return Verdict("failed", "an entry is not its central difference", worst=worst)

    def _obstacle(self, name: str) -> str | None:
        """Why differences of the values say nothing about the gradient by an input."""
        if not self._is_finite:
            return NOT_FINITE
        if step := self._coarse.get(name):
            what = f"node {step.id!r} ({step.call.operator.name})"
            return f"{what} computes in less than double precision, which differences would see"
        return None

    def _line(self, name: str, v: Vectors, scale: float, noise: float | None = None) -> Line:
        slope = inner({name: self._gradients[name]}, v)
        return Line(self._point, self._w, v, slope, scale, self._work, noise)

    def _adjoint_error(self, name: str, v: Vectors) -> float | None:
        if wrong_forward_rules(self._point.plan.program):
            return None
        try:
            images = Pushforward(self._point, self._work).one(v)
        except OpFailed:
            return None
        return adjoint_error(self._w, images, {name: self._gradients[name]}, v, self._point.outputs.values())

    def _worst(self, name: str, tolerances: Tolerances) -> Worst | None:
        """The entry that is furthest beyond the tolerances, of the first so many; None if none is."""
        leaf, gradient = self._point.leaves[name].detach(), self._gradients[name]
        worst, largest = None, 0.0
        for index in _indices(leaf):
            difference = self._difference(name, index)
            excess = float(abs(gradient[index] - difference)) - tolerances.allowed(gradient[index])
            if not excess <= largest:
                worst, largest = Worst(index, gradient[index], difference), excess
                if math.isnan(excess):
                    break
        return worst

    def _difference(self, name: str, index: tuple[int, ...]) -> Tensor:
        """The central difference by one entry, by its real and imaginary part if it is complex."""
        leaf = self._point.leaves[name].detach()
        step = _step(leaf[index])
        parts = []
        for factor in (1, 1j) if leaf.is_complex() else (1,):
            line = self._line(name, {name: _unit(leaf, index) * factor}, MIN_SCALE, noise=0.0)
            parts.append(line.rise(-step, step) / (2 * step))
        return torch.tensor(complex(*parts) if leaf.is_complex() else parts[0], dtype=leaf.dtype)


def _judge(line: Line, *, rate: float | None, adjoint_error: float | None, bound: float) -> tuple[Status, str | None]:
    if not math.isfinite(line.slope):
        return "failed", "the gradient is not finite, the outputs are"
    if not math.isfinite(line.remainders[-1]) or (rate is not None and rate < RIGHT_RATE):
        return ("not_checkable", KINK) if line.is_kink() else ("failed", "the gradient is not the slope")
    if adjoint_error is not None and adjoint_error > bound:
        return "failed", "forward and reverse mode disagree"
    return ("passed", None) if line.is_visible() else ("not_checkable", DROWNED)


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


def _scale(x: Tensor) -> float:
    """The size of its entries, which steps are relative to."""
    return max(MIN_SCALE, float(x.abs().median())) if x.numel() else 1.0


def _unit(leaf: Tensor, index: tuple[int, ...]) -> Tensor:
    """The direction of one entry."""
    direction = torch.zeros_like(leaf)
    direction[index] = 1
    return direction


def _step(entry: Tensor) -> float:
    """The step of a central difference by one entry."""
    return float(EPSILON ** (1 / 3)) * max(1.0, float(abs(entry)))


def _indices(leaf: Tensor) -> Iterator[tuple[int, ...]]:
    for flat in range(min(leaf.numel(), MAX_ENTRIES)):
        yield tuple(int(i) for i in torch.unravel_index(torch.tensor(flat), leaf.shape))
