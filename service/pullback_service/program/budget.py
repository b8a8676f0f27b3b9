"""What a run will take, told from its plan: bytes at the peak, elements touched, floating-point operations.

Memory is counted in storages, so that views cost nothing, each from the step that makes it to its last use; what the
backward pass needs is asked of the tape that torch recorded for the fake values. What kernels allocate inside is not
seen, nor are values whose size only the run can tell: the limit on the worker's memory stands behind the estimate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor

from pullback_schemas.problems import LimitExceeded, MemoryLimit
from pullback_service.program.failures import tensors_in
from pullback_service.program.inference import Inferred, Limits
from pullback_service.program.program import Program, Step
from pullback_service.program.references import fill

SLACK, BASE_BYTES = 1.25, 64 * 2**20
"""A process takes 7 to 21 % more than its tensors, and some for itself."""

BACKWARD_PASSES = 3
"""A forward and a backward run cost about three forward runs."""

LINALG_STEPS = 10
"""A decomposition of an n x n matrix costs some multiples of n^3."""

_INNER = {"matmul": 0, "mm": 0, "bmm": 0, "mv": 0, "linear": 0, "addmm": 1, "addmv": 1, "baddbmm": 1, "addbmm": 1}
"""Products that cost two operations a result and size of the last axis of this argument."""

_LINALG = ("linalg_", "cholesky", "svd", "qr", "pinverse", "logdet", "slogdet", "det", "inverse")


@dataclass(frozen=True, slots=True)
class Cost:
    """An estimate; `largest` is the step that makes the most bytes, `heaviest` that with the most operations."""

    peak_bytes: int
    touched: int
    flops: int
    largest: Step | None
    heaviest: Step | None


def estimate(program: Program, inferred: Inferred, *, is_backward: bool) -> Cost:
    """What one run takes; forward, or forward and backward."""
    touched = flops = most_bytes = most_flops = 0
    largest = heaviest = None
    for step in program.steps:
        results = tensors_in(inferred.values[step.slot])
        arguments = [t for ref in step.refs for t in tensors_in(inferred.values[ref.slot])]
        touched += sum(t.numel() for t in [*arguments, *results])
        made, spent = sum(map(_bytes, results)), _flops(step, inferred.values, results)
        flops += spent
        if made > most_bytes:
            most_bytes, largest = made, step
        if spent > most_flops:
            most_flops, heaviest = spent, step
    factor = BACKWARD_PASSES if is_backward else 1
    peak = _peak(program, inferred, is_backward=is_backward)
    return Cost(peak, touched * factor, flops * factor, largest, heaviest)


def refuse_over_budget(cost: Cost, limits: Limits) -> None:
    """Raise MemoryLimit or LimitExceeded, naming the node that takes most."""
    needed = int(cost.peak_bytes * SLACK) + BASE_BYTES
    if needed > limits.max_memory_bytes:
        raise MemoryLimit(
            f"The run would take about {needed:,} bytes at its peak; a worker has {limits.max_memory_bytes:,}.",
            expected=limits.max_memory_bytes,
            got=needed,
            hint="Send smaller tensors. The node named makes the largest value.",
            **_at(cost.largest),
        )
    for what, got, limit in (
        ("elements read and written", cost.touched, limits.max_touched_elements),
        ("floating-point operations", cost.flops, limits.max_flops),
    ):
        if got > limit:
            raise LimitExceeded(
                f"The run would take about {got:,} {what}; the limit is {limit:,}.",
                expected=limit,
                got=got,
                **_at(cost.heaviest or cost.largest),
            )


def _at(step: Step | None) -> dict[str, Any]:
    return {} if step is None else {"pointer": step.pointer, "node": step.id}


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _bytes(tensor: Tensor) -> int:
    return int(tensor.untyped_storage().nbytes())


def _peak(program: Program, inferred: Inferred, *, is_backward: bool) -> int:
    values, first = inferred.values, len(program.arguments)
    arguments = {_storage(t): _bytes(t) for value in values[:first] for t in tensors_in(value)}
    outputs = {_storage(t): _bytes(t) for ref in program.outputs.values() for t in tensors_in(values[ref.slot])}
    tape = _tape(values, program) if is_backward else {}
    kept = {**arguments, **outputs, **tape}
    passing = _passing_peak(program, values, set(kept))
    if not is_backward:
        return sum(kept.values()) + passing
    gradients = sum(_bytes(t) for value in values[:first] for t in tensors_in(value) if t.requires_grad)
    return sum(kept.values()) + max(passing, gradients + _passing_peak(program, values, set()))


def _passing_peak(program: Program, values: Sequence[Any], kept: set[int]) -> int:
    """The most bytes at one time of what steps make and is dropped after its last use."""
    users: dict[int, int] = {}
    peak = now = 0
    for step, unused in zip(program.steps, program.last_uses, strict=True):
        for tensor in tensors_in(values[step.slot]):
            storage = _storage(tensor)
            if storage not in kept:
                now += 0 if users.get(storage) else _bytes(tensor)
                users[storage] = users.get(storage, 0) + 1
        peak = max(peak, now)
        for slot in unused:
            for tensor in tensors_in(values[slot]):
                storage = _storage(tensor)
                if users.get(storage):
                    users[storage] -= 1
                    now -= 0 if users[storage] else _bytes(tensor)
    return peak


def _tape(values: Sequence[Any], program: Program) -> dict[int, int]:
    """The storages that torch's recorded derivative functions hold on to, and their bytes."""
    waiting = [t.grad_fn for ref in program.outputs.values() for t in tensors_in(values[ref.slot])]
    seen: set[Any] = set()
    held: dict[int, int] = {}
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        held |= {_storage(tensor): _bytes(tensor) for tensor in _saved(node)}
        waiting += [following for following, _ in node.next_functions]
    return held


def _saved(node: Any) -> Iterator[Tensor]:
    for name in dir(type(node)):
        if name.startswith("_saved_"):
            yield from tensors_in(getattr(node, name))


def _flops(step: Step, values: Sequence[Any], results: list[Tensor]) -> int:
    packet = step.call.operator.packet
    if not results:  # unknown before the run, as it is where an argument is
        return 0
    tensors = [tensor for argument in step.call.args for tensor in tensors_in(fill(argument, values))]
    if not tensors:
        return 0
    if packet in _INNER:
        inner = tensors[min(_INNER[packet], len(tensors) - 1)]
        return 2 * results[0].numel() * (inner.shape[-1] if inner.dim() else 1)
    if packet.startswith("conv") and len(tensors) > 1:
        return 2 * results[0].numel() * prod(tensors[1].shape[1:])
    if packet.startswith(_LINALG):
        return LINALG_STEPS * tensors[0].numel() * (max(tensors[0].shape[-2:]) if tensors[0].dim() > 1 else 1)
    return 0
