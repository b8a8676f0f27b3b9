"""`/v1/gradcheck`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from pullback_schemas.requests import GradcheckRequest
from pullback_service.derivatives.gradcheck import Checker, Tolerances, Verdict, check_entries
from pullback_service.derivatives.run import Point, run_forward
from pullback_service.derivatives.work import Work
from pullback_service.operations.cotangents import (
    refuse_cut_gradient,
    refuse_nothing_to_differentiate,
    refuse_without_gradient,
    requiring_grad,
)
from pullback_service.operations.evaluation import Evaluation, leaf_types
from pullback_service.program.plan import Plan, default_wrt, make_plan
from pullback_service.program.types import DTYPE_NAMES, types_of
from pullback_service.protocols.answer import Answer, Json


def gradcheck(evaluation: Evaluation[GradcheckRequest]) -> Answer:
    """Whether the gradients are right, as a GradcheckResult."""
    request, work = evaluation.request, Work("reverse")
    inputs = {name: _doubled(tensor) for name, tensor in evaluation.inputs.items()}
    wrt = default_wrt(types_of(inputs)) if request.wrt is None else request.wrt
    evaluation.check_wrt(wrt, "/wrt")
    plan = _double_plan(evaluation, inputs, tuple(wrt))
    refuse_nothing_to_differentiate(plan, request.wrt)
    if request.method == "central":
        check_entries(leaf_types(plan))
    evaluation.clock.lap("plan")
    with evaluation.source.quoted():
        point = run_forward(plan, inputs, work, evaluation.seed)
    evaluation.clock.lap("forward")
    refuse_without_gradient(types_of(point.outputs))
    refuse_cut_gradient(plan, requiring_grad(point.outputs))
    with evaluation.source.quoted():
        verdicts = _verdicts(point, request, work)
    evaluation.clock.lap("gradcheck")
    statuses = {verdict.status for verdict in verdicts.values()}
    passed = False if "failed" in statuses else True if statuses == {"passed"} else None
    if request.wrt is None:
        verdicts |= {name: _without_derivative(tensor) for name, tensor in inputs.items() if name not in wrt}
    reports = {name: _report(verdict) for name, verdict in verdicts.items()}
    return evaluation.answer({"passed": passed, "inputs": reports}, work)


def _verdicts(point: Point, request: GradcheckRequest, work: Work) -> dict[str, Verdict]:
    checker = Checker(point.only(), work)
    check = checker.along_a_direction if request.method == "taylor" else checker.entry_by_entry
    return {name: check(name, Tolerances(request.rtol, request.atol)) for name in point.leaves}


def _without_derivative(tensor: Tensor) -> Verdict:
    return Verdict("not_checkable", f"{DTYPE_NAMES[tensor.dtype]} has no derivative")


def _double_plan(evaluation: Evaluation[GradcheckRequest], inputs: Mapping[str, Tensor], wrt: tuple[str, ...]) -> Plan:
    """The plan with every floating and complex input and constant in double precision."""
    program = evaluation.source.program
    constants = {name: _doubled(tensor) for name, tensor in program.constants.items()}
    with evaluation.source.quoted():
        return make_plan(replace(program, constants=constants), types_of(inputs), wrt, evaluation.library.limits)


def _doubled(tensor: Tensor) -> Tensor:
    if tensor.is_complex():
        return tensor.to(torch.complex128)
    return tensor.to(torch.float64) if tensor.is_floating_point() else tensor


def _report(verdict: Verdict) -> Json:
    worst = verdict.worst
    return {
        "status": verdict.status,
        "reason": verdict.reason,
        "rate": verdict.rate,
        "adjoint_error": verdict.adjoint_error,
        "worst": worst
        and {
            "index": list(worst.index),
            "gradient": worst.gradient,
            "difference": worst.difference,
        },
    }
