"""What a run will take, told from its plan: bytes at the peak, elements touched, floating-point operations.

Memory is counted in storages, so that views cost nothing, each from the step that makes it to its last use; what the
backward pass needs is asked of the tape that torch recorded for the fake values. What a kernel allocates for itself is
not seen, nor are values whose size only the run can tell: the limit on the worker's memory stands behind the estimate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from pullback_schemas.problems import LimitExceeded, MemoryLimit
from pullback_service.program.failures import tensors_in
from pullback_service.program.inference import Inferred, Limits
from pullback_service.program.metering import Spent
from pullback_service.program.program import Program, Step

SLACK, BASE_BYTES = 1.25, 64 * 2**20
"""A process takes 7 to 21 % more than its tensors, and some for itself."""

BACKWARD_PASSES = 3
"""A forward and a backward run cost about three forward runs."""

Storages = Mapping[int, int]
"""Bytes by storage."""


@dataclass(frozen=True, slots=True)
class Cost:
    """An estimate of one run."""

    peak_bytes: int
    touched: int
    flops: int


def refuse_over_budget(program: Program, inferred: Inferred, limits: Limits, *, is_backward: bool) -> None:
    """Raise MemoryLimit or LimitExceeded, naming the node that takes most of it."""
    cost = estimate(program, inferred, is_backward=is_backward)
    needed = int(cost.peak_bytes * SLACK) + BASE_BYTES
    if needed > limits.max_memory_bytes:
        raise MemoryLimit(
            f"The run would take about {needed:,} bytes at its peak; a worker has {limits.max_memory_bytes:,}.",
            expected=limits.max_memory_bytes,
            got=needed,
            hint="Send smaller tensors. The node named makes the largest value.",
            **_at(program.steps, [spent.largest_bytes for spent in inferred.spent]),
        )
    for what, got, limit, by_step in (
        ("elements read and written", cost.touched, limits.max_touched_elements, [s.touched for s in inferred.spent]),
        ("floating-point operations", cost.flops, limits.max_flops, [s.flops for s in inferred.spent]),
    ):
        if got > limit:
            raise LimitExceeded(
                f"The run would take about {got:,} {what}; the limit is {limit:,}.",
                expected=limit,
                got=got,
                hint="Send less work at once. The node named takes most of it.",
                **_at(program.steps, by_step),
            )


def refuse_passes(program: Program, inferred: Inferred, limits: Limits, *, passes: int, pointer: str) -> None:
    """Raise LimitExceeded where so many backward passes, each of about two forward runs, are too much work.

    Products alone are counted: elements that many passes read together are read once.
    """
    by_step = [spent.flops for spent in inferred.spent]
    flops = 2 * passes * sum(by_step)
    if flops > limits.max_flops:
        raise LimitExceeded(
            f"{passes:,} passes through the graph would take about {flops:,} floating-point operations; the limit is "
            f"{limits.max_flops:,}.",
            **{**_at(program.steps, by_step), "pointer": pointer},
            expected=limits.max_flops,
            got=flops,
            hint="Ask for fewer rows, columns or vectors at once.",
        )


def estimate(program: Program, inferred: Inferred, *, is_backward: bool) -> Cost:
    """What one run takes; forward, or forward and backward."""
    passes = BACKWARD_PASSES if is_backward else 1
    touched = sum(spent.touched for spent in inferred.spent)
    flops = sum(spent.flops for spent in inferred.spent)
    return Cost(_peak(program, inferred, is_backward=is_backward), touched * passes, flops * passes)


def _at(steps: Sequence[Step], amounts: Sequence[int]) -> dict[str, Any]:
    if not steps:
        return {}
    step = steps[max(range(len(steps)), key=amounts.__getitem__)]
    return {"pointer": step.pointer, "node": step.id}


def _peak(program: Program, inferred: Inferred, *, is_backward: bool) -> int:
    made = [_storages(tensors_in(value)) for value in inferred.values]
    arguments = range(len(program.arguments))
    given = {storage: size for slot in arguments for storage, size in made[slot].items()}
    kept = dict(given)
    for ref in program.outputs.values():
        kept |= made[ref.slot]
    if not is_backward:
        return sum(kept.values()) + _passing_peak(program, made, kept, inferred.spent)
    kept |= _tape([t for ref in program.outputs.values() for t in tensors_in(inferred.values[ref.slot])])
    forward = _passing_peak(program, made, kept, inferred.spent)
    gradients = sum(_bytes(t) for slot in arguments for t in tensors_in(inferred.values[slot]) if t.requires_grad)
    backward = gradients + _passing_peak(program, made, given, inferred.spent)
    return sum(kept.values()) + max(forward, backward)


def _passing_peak(program: Program, made: Sequence[Storages], kept: Storages, spent: Sequence[Spent]) -> int:
    """The most bytes at one time of what steps make and is dropped after its last use."""
    users: dict[int, int] = {}
    peak = now = 0
    for step, unused, inside in zip(program.steps, program.last_uses, spent, strict=True):
        if inside.largest_bytes > max(made[step.slot].values(), default=0):
            peak = max(peak, now + inside.largest_bytes)
        for storage, size in made[step.slot].items():
            if storage not in kept:
                now += 0 if users.get(storage) else size
                users[storage] = users.get(storage, 0) + 1
        peak = max(peak, now)
        for slot in unused:
            for storage, size in made[slot].items():
                if users.get(storage):
                    users[storage] -= 1
                    now -= 0 if users[storage] else size
    return peak


def _tape(outputs: Sequence[Tensor]) -> dict[int, int]:
    """The storages that torch's recorded derivative functions hold on to."""
    waiting = [tensor.grad_fn for tensor in outputs]
    seen: set[Any] = set()
    held: dict[int, int] = {}
    with torch._C._DisableTorchDispatch():  # as fake tensors, each would take 90 us
        while waiting:
            node = waiting.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            for name in _saved_by(type(node)):
                held |= _storages(tensors_in(getattr(node, name)))
            waiting += [following for following, _ in node.next_functions]
    return held


@cache
def _saved_by(function: type) -> list[str]:
    """The attributes in which a kind of derivative function keeps values; torch has some hundred kinds."""
    return [name for name in dir(function) if name.startswith("_saved_")]


def _storages(tensors: Sequence[Tensor]) -> dict[int, int]:
    return {tensor.untyped_storage()._cdata: _bytes(tensor) for tensor in tensors}


def _bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()
