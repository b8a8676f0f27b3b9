"""The operations by the name in their address."""

from __future__ import annotations

from pullback_schemas.requests import BackwardRequest, ForwardRequest
from pullback_service.operations.backward import backward
from pullback_service.operations.catalogue import op, ops
from pullback_service.operations.check import check
from pullback_service.operations.evaluation import Operation, evaluating
from pullback_service.operations.forward import forward

OPERATIONS: dict[str, Operation] = {
    "forward": evaluating(ForwardRequest, forward),
    "backward": evaluating(BackwardRequest, backward),
    "check": check,
    "ops": ops,
    "op": op,
}
