"""Derivative rules of torch that give wrong numbers, or none in silence, and so are not used.

Reverse mode and reverse-over-reverse were right wherever they gave an answer. Reverse-over-forward is wrong for many
operators, the rows of REVERSE_OVER_FORWARD among them, and is never used; its rows say why. Each row has a test
that shows torch's own answer to be wrong, so that an upgrade which mends one is noticed.
"""

from __future__ import annotations

from pullback_service.program.failures import tensors_in
from pullback_service.program.inference import UNKNOWN
from pullback_service.program.plan import Plan
from pullback_service.program.program import Program, Step

FORWARD: dict[str, str] = {
    "cholesky_inverse": "the tangent of the product is not the rule's",
    "triangular_solve": "the tangent of a transposed matrix is not transposed",
    "scatter_reduce": "with reduce='prod' the tangent is dropped, or taken from elements that are not its own",
    "logcumsumexp": "the tangent overflows where a complex exponential does",
    "linalg_cholesky": "a tangent that is not symmetric is read otherwise than the reverse rule reads it",
    "linalg_cholesky_ex": "a tangent that is not symmetric is read otherwise than the reverse rule reads it",
    "linalg_eigh": "a tangent that is not symmetric is read otherwise than the reverse rule reads it",
}
"""By packet: why its forward-mode rule is not used. The tape's own pullback takes its place."""

REVERSE_OVER_FORWARD: dict[str, str] = {
    "linalg_solve": "terms of the second derivative are lost",
    "linalg_det": "terms of the second derivative are lost",
    "linalg_slogdet": "the second derivative is zero",
    "linalg_householder_product": "terms of the second derivative are lost",
    "layer_norm": "terms of the second derivative are lost",
    "instance_norm": "terms of the second derivative are lost, as in every batch norm",
    "cumprod": "NaN at a zero",
}
"""By packet: why a tape through a forward-mode run is not used."""


BATCHING: dict[str, str] = {
    "cdist": "the gradient of many vectors at once mixes them",
    "roll": "of a tensor without axes it rolls the vectors instead",
}
"""By packet: why many vectors do not go through it at once, in forward or reverse mode."""


def wrong_batching_rules(plan: Plan) -> list[str]:
    """The packets in the plan through which vectors go one after the other."""
    steps = [step for step in plan.program.steps if step.call.operator.packet in BATCHING]
    return sorted({step.call.operator.packet for step in steps if _is_batched_wrongly(step, plan)})


def _is_batched_wrongly(step: Step, plan: Plan) -> bool:
    value = plan.inferred.values[step.slot]
    return step.call.operator.packet != "roll" or value is UNKNOWN or any(t.dim() == 0 for t in tensors_in(value))


def wrong_forward_rules(program: Program) -> list[str]:
    """The packets in the program whose forward rule is not used."""
    return sorted({step.call.operator.packet for step in program.steps} & FORWARD.keys())
