"""The operations by the name in their address."""

from __future__ import annotations

from pullback_schemas.requests import (
    GradcheckRequest,
    HessianRequest,
    HvpRequest,
    JacobianRequest,
    JvpRequest,
)
from pullback_service.operations.backward import backward
from pullback_service.operations.catalogue import op, ops
from pullback_service.operations.check import check
from pullback_service.operations.evaluation import Operation, evaluating
from pullback_service.operations.forward import forward
from pullback_service.operations.gradcheck import gradcheck
from pullback_service.operations.hessian import hessian, hvp
from pullback_service.operations.jacobian import jacobian
from pullback_service.operations.jvp import jvp

OPERATIONS: dict[str, Operation] = {
    "forward": forward,
    "backward": backward,
    "jvp": evaluating(JvpRequest, jvp),
    "jacobian": evaluating(JacobianRequest, jacobian),
    "hvp": evaluating(HvpRequest, hvp),
    "hessian": evaluating(HessianRequest, hessian),
    "gradcheck": evaluating(GradcheckRequest, gradcheck),
    "check": check,
    "ops": ops,
    "op": op,
}
