"""`/v1/gradcheck`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from pullback_schemas.requests import GradcheckRequest
from pullback_service.derivatives.gradcheck import Checker, Tolerances, Verdict, Worst
from pullback_service.derivatives.run import run_forward
from pullback_service.derivatives.work import Work
from pullback_service.operations.cotangents import (
    refuse_cut_gradient,
    refuse_nothing_to_differentiate,
    refuse_without_gradient,
)
from pullback_service.operations.evaluation import Document, Evaluation
from pullback_service.operations.reports import Json
from pullback_service.program.plan import Plan, default_wrt, make_plan
from pullback_service.program.types import types_of
from pullback_service.protocols.tensor_writer import write_tensor


def gradcheck(evaluation: Evaluation[GradcheckRequest]) -> Document:
    """Whether the gradients are right, as a GradcheckResult."""
    request, work = evaluation.request, Work("reverse")
    inputs = {name: _doubled(tensor) for name, tensor in evaluation.inputs.items()}
    wrt = default_wrt(types_of(inputs)) if request.wrt is None else request.wrt
    evaluation.check_wrt(wrt, "/wrt")
    plan = _double_plan(evaluation, inputs, tuple(wrt))
    refuse_nothing_to_differentiate(plan, request.wrt)
    evaluation.clock.lap("plan")
    with evaluation.source.quoted():
        point = run_forward(plan, inputs, work)
    evaluation.clock.lap("forward")
    refuse_without_gradient(types_of(point.outputs))
    refuse_cut_gradient(plan, point.outputs)
    tolerances = Tolerances(request.rtol, request.atol)
    with evaluation.source.quoted():
        checker = Checker(point.only(), work)
        check = checker.along_a_direction if request.method == "taylor" else checker.entry_by_entry
        verdicts = {name: check(name, tolerances) for name in wrt}
    evaluation.clock.lap("gradcheck")
    if request.wrt is None:
        kinds = types_of(inputs)
        verdicts |= {
            n: Verdict("not_checkable", f"{kind.dtype} has no derivative".replace("torch.", ""))
            for n, kind in kinds.items()
            if n not in wrt
        }
    statuses = {verdict.status for verdict in verdicts.values()}
    passed = False if "failed" in statuses else True if "passed" in statuses else None
    return evaluation.answer({"passed": passed, "inputs": {name: _report(v) for name, v in verdicts.items()}}, work)


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
    return {
        "status": verdict.status,
        "reason": verdict.reason,
        "rate": verdict.rate,
        "adjoint_error": verdict.adjoint_error,
        "worst": None if verdict.worst is None else _worst(verdict.worst),
    }


def _worst(worst: Worst) -> Json:
    return {
        "index": list(worst.index),
        "gradient": write_tensor(worst.gradient),
        "difference": write_tensor(worst.difference),
    }
