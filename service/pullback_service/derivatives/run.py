"""A plan's forward run on tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pullback_service.program.failures import naming_step
from pullback_service.program.guards import VALUE_GUARDS
from pullback_service.program.inference import infer_late, naming_output
from pullback_service.program.plan import Plan
from pullback_service.program.program import Step
from pullback_service.program.purity import protected
from pullback_service.program.randomness import seeded
from pullback_service.program.references import fill, look_up


def run_forward(
    plan: Plan, inputs: Mapping[str, Tensor], seed: int | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The outputs by name, and the tensors to differentiate by name, which require grad.

    Random operators draw from `seed`; every run with one seed draws the same.

    Raises OpFailed with the node where torch refuses the numbers, LimitExceeded where a size that only the
    run can tell is too large.
    """
    program = plan.program
    leaves: dict[str, Tensor] = {}
    values: list[Any] = []
    for name in program.arguments:
        tensor = inputs[name] if name in program.inputs else program.constants[name]
        if name in plan.wrt:
            tensor = leaves[name] = tensor.detach().requires_grad_()
        values.append(tensor)
    with torch.set_grad_enabled(bool(plan.wrt)), seeded(seed):
        for step, unused in zip(program.steps, program.last_uses, strict=True):
            if step.slot in plan.inferred.late:
                infer_late(step, values, plan.limits)
            values.append(_run_step(step, values))
            for slot in unused:
                values[slot] = None
        outputs = {}
        for name, ref in program.outputs.items():
            with naming_output(name):
                outputs[name] = look_up(ref, values)
    return outputs, {name: leaves[name] for name in plan.wrt}


def _run_step(step: Step, values: list[Any]) -> Any:
    operator = step.call.operator
    args = [fill(argument, values) for argument in step.call.args]
    kwargs = {name: fill(argument, values) for name, argument in step.call.kwargs.items()}
    with naming_step(step, args, kwargs, has_values=True):
        guard = VALUE_GUARDS.get(operator.name)
        if guard:
            guard(step.call.named(args, kwargs))
        return operator.torch_op(*protected(operator.name, args), **kwargs)
