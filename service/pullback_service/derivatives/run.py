"""A plan's forward run on tensors."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from pullback_service.derivatives.known_wrong import wrong_batching_rules
from pullback_service.derivatives.work import Work
from pullback_service.program.failures import naming_step
from pullback_service.program.guards import VALUE_GUARDS
from pullback_service.program.inference import infer_late, naming_output
from pullback_service.program.plan import Plan
from pullback_service.program.program import Program, Step
from pullback_service.program.purity import protected
from pullback_service.program.randomness import seeded
from pullback_service.program.references import fill, look_up
from pullback_service.program.types import type_of

ATTENTION = "scaled_dot_product_attention"


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """A plan's forward run, and so where derivatives are taken: the leaves require grad, the outputs hold the tape.

    Random operators drew from `seed`; every run with one seed draws the same.
    """

    plan: Plan
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    leaves: Mapping[str, Tensor]
    seed: int | None

    def only(self, outputs: Collection[str] | None = None, leaves: Collection[str] | None = None) -> Point:
        """The same point with these outputs and leaves; left out: outputs that can have a derivative, all leaves."""
        chosen = [n for n, y in self.outputs.items() if type_of(y).is_differentiable] if outputs is None else outputs
        return Point(
            self.plan,
            self.inputs,
            {name: self.outputs[name] for name in chosen},
            {name: self.leaves[name] for name in (self.leaves if leaves is None else leaves)},
            self.seed,
        )


def run_forward(plan: Plan, inputs: Mapping[str, Tensor], work: Work, seed: int | None = None) -> Point:
    """The outputs, with a tape back to the tensors that the plan differentiates.

    Raises OpFailed with the node where torch refuses the numbers, LimitExceeded where a size that only the
    run can tell is too large.
    """
    work.unbatched = wrong_batching_rules(plan)
    leaves = {name: argument_of(plan, inputs, name).detach().requires_grad_() for name in plan.wrt}
    with torch.set_grad_enabled(bool(plan.wrt)):
        return Point(plan, inputs, run_steps(plan, {**inputs, **leaves}, work, seed), leaves, seed)


def run_steps(plan: Plan, arguments: Mapping[str, Tensor], work: Work, seed: int | None = None) -> dict[str, Tensor]:
    """The outputs for arguments as they come: plain, with a tape, dual numbers, or batched by vmap.

    A constant that is not among them has its own value.
    """
    work.forward_count += 1
    program = plan.program
    values: list[Any] = [argument_of(plan, arguments, name) for name in program.arguments]
    with seeded(seed):
        for step, unused in zip(program.steps, program.last_uses, strict=True):
            if step.slot in plan.inferred.late:
                infer_late(step, values, plan.limits)
            values.append(run_step(step, values))
            for slot in unused:
                values[slot] = None
    outputs = {}
    for name, ref in program.outputs.items():
        with naming_output(name):
            outputs[name] = look_up(ref, values)
    return outputs


def shifted(point: Point, vectors: Mapping[str, Tensor], step: float) -> dict[str, Tensor]:
    """The inputs at x + step v."""
    primals = {name: argument_of(point.plan, point.inputs, name) for name in vectors}
    return {**point.inputs, **{name: primals[name] + step * vector for name, vector in vectors.items()}}


def outputs_at(point: Point, vectors: Mapping[str, Tensor], step: float, work: Work) -> dict[str, Tensor]:
    """The outputs of the point at x + step v, without a tape."""
    with torch.no_grad():
        outputs = run_steps(point.plan, shifted(point, vectors, step), work, point.seed)
    return {name: outputs[name] for name in point.outputs}


def run_step(step: Step, values: list[Any]) -> Any:
    """The value of one step. Raises OpFailed with its node."""
    args = [fill(argument, values) for argument in step.call.args]
    kwargs = {name: fill(argument, values) for name, argument in step.call.kwargs.items()}
    return call_step(step, args, kwargs)


def call_step(step: Step, args: list[Any], kwargs: Mapping[str, Any]) -> Any:
    """The step's operator on these arguments. Raises OpFailed with its node."""
    operator = step.call.operator
    with naming_step(step, args, kwargs, has_values=True):
        guard = VALUE_GUARDS.get(operator.name)
        if guard:
            guard(step.call.named(args, kwargs))
        return operator.torch_op(*protected(operator.name, args), **kwargs, **step.placing)


def argument_of(plan: Plan, arguments: Mapping[str, Tensor], name: str) -> Tensor:
    """The tensor of an input or constant."""
    return arguments[name] if name in arguments else plan.program.constants[name]


@contextmanager
def plain_attention(program: Program) -> Iterator[None]:
    """Attention out of plain operators: the fused kernels have no second derivative and no forward mode."""
    if any(step.call.operator.packet == ATTENTION for step in program.steps):
        with sdpa_kernel(SDPBackend.MATH):
            yield
    else:
        yield
