"""`/v1/jacobian`, and the Jacobians inside `/v1/backward`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pullback_schemas.problems import NotDifferentiable
from pullback_schemas.requests import JacobianOptions, JacobianRequest
from pullback_service.derivatives.blame import naming_node
from pullback_service.derivatives.dense import Blocks
from pullback_service.derivatives.jacobian import check_blocks, jacobians
from pullback_service.derivatives.run import Point, plain_attention, run_forward
from pullback_service.derivatives.work import Work
from pullback_service.operations.cotangents import (
    refuse_cut_gradient,
    refuse_nothing_to_differentiate,
    refuse_unknown_outputs,
    refuse_without_gradient,
    requiring_grad,
)
from pullback_service.operations.evaluation import Evaluation, leaf_types, places, values_of
from pullback_service.program.plan import Plan
from pullback_service.program.types import DTYPE_NAMES, TensorType, types_of
from pullback_service.protocols.answer import Answer


@dataclass(frozen=True, slots=True)
class JacobianChoice:
    """Which Jacobians a request wants: `options` as they stand in it under `at`, by the inputs `wrt`."""

    options: JacobianOptions
    wrt: Sequence[str]
    at: str

    def check(self, plan: Plan, outputs: Mapping[str, TensorType]) -> None:
        """Raise what is wrong with the choice, its size included, once the outputs' types are known."""
        chosen = outputs
        if self.options.of is not None:
            pointers = dict(zip(self.options.of, places(f"{self.at}/of", self.options.of), strict=True))
            refuse_unknown_outputs(pointers, outputs)
            chosen = {name: outputs[name] for name in self.options.of}
            for name, kind in chosen.items():
                if not kind.is_differentiable:
                    raise NotDifferentiable(
                        f"The output {name!r} has dtype {DTYPE_NAMES[kind.dtype]} and no derivative.",
                        pointer=pointers[name],
                        got=str(kind),
                    )
        leaves = leaf_types(plan)
        columns = {name: leaves[name] for name in self.wrt}
        check_blocks(chosen, columns, plan.limits.max_tensor_elements, self.at, "Jacobian")
        rows, across = (sum(kind.numel for kind in end.values()) for end in (chosen, columns))
        passes = {"reverse": rows, "forward": across, "auto": min(rows, across)}[self.options.mode]
        plan.refuse_passes(passes, self.at)

    def compute(self, point: Point, work: Work) -> Blocks:
        """The Jacobians at a point, which keeps its tape."""
        chosen = point.only(self.options.of, self.wrt)
        with naming_node(chosen):
            return jacobians(chosen, self.options.mode, self.options.chunk_size, work)


def jacobian(evaluation: Evaluation[JacobianRequest]) -> Answer:
    """The dense Jacobians, as a JacobianResult."""
    request, work = evaluation.request, Work("reverse")
    plan = evaluation.plan(request.wrt)
    refuse_nothing_to_differentiate(plan, request.wrt)
    choice = JacobianChoice(request, plan.wrt, "")
    if plan.is_static:
        _check(plan, choice, {name: kind for name, kind in plan.outputs.items() if kind})
    with evaluation.source.quoted(), plain_attention(plan.program):
        point = run_forward(plan, evaluation.inputs, work, evaluation.seed)
    evaluation.clock.lap("forward")
    if not plan.is_static:
        _check(plan, choice, types_of(point.outputs))
    refuse_cut_gradient(plan, requiring_grad(point.outputs))
    with evaluation.source.quoted():
        blocks = choice.compute(point, work)
    evaluation.clock.lap("jacobian")
    return evaluation.answer({"outputs": values_of(point), "jacobians": blocks}, work)


def _check(plan: Plan, choice: JacobianChoice, outputs: Mapping[str, TensorType]) -> None:
    refuse_without_gradient(outputs)
    choice.check(plan, outputs)
