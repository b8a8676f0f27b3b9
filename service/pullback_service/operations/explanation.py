"""`explain` of `/v1/backward`: the backward pass node by node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pullback_service.derivatives.local import Sweep, Visit, finiteness
from pullback_service.derivatives.run import Point
from pullback_service.operations.reports import value_name
from pullback_service.program.types import type_of
from pullback_service.protocols.answer import Json
from pullback_service.protocols.tensor_writer import write_number

SMALL = 64
"""Elements up to which a vector is told in full."""


def explain(point: Point, cotangents: Mapping[str, Tensor]) -> Json:
    """What comes into each node and what it passes on, from the outputs to the inputs, as an Explanation."""
    sweep = Sweep(point)
    visits = list(sweep.back(cotangents))
    return {"nodes": [_visit(visit) for visit in visits], "first_non_finite": _non_finite(sweep, visits)}


def _visit(visit: Visit) -> Json:
    step = visit.step
    return {
        "node": step.id,
        "op": step.call.operator.name,
        "received": {value_name(step, path): _vector(tensor) for path, tensor in visit.incoming.items()},
        "passed": [
            {
                "argument": p.argument,
                "reference": p.reference,
                "vector": p.gradient if p.gradient is None else _vector(p.gradient),
            }
            for p in visit.passed
        ],
    }


def _vector(tensor: Tensor) -> Json:
    norm = float(torch.linalg.vector_norm(tensor.to(torch.promote_types(tensor.dtype, torch.float64))))
    value = tensor if tensor.numel() <= SMALL else None
    return {**type_of(tensor).to_json(), "norm": write_number(norm), "value": value}


def _non_finite(sweep: Sweep, visits: list[Visit]) -> dict[str, Any] | None:
    """The first node whose numbers are worse than what it was given, in either direction.

    An input that is not finite itself is named where no node is and it has spoilt an output or a gradient.
    """
    if sweep.turned is not None:
        return {"node": sweep.turned, "phase": "forward"}
    for visit in visits:
        before = max(finiteness(list(visit.incoming.values())), sweep.worst_at(visit.step))
        if finiteness(_passed(visit)) > before:
            return {"node": visit.step.id, "phase": "backward"}
    is_spoilt = sweep.worst_output() or any(finiteness(_passed(visit)) for visit in visits)
    return {"node": sweep.spoilt, "phase": "forward"} if sweep.spoilt and is_spoilt else None


def _passed(visit: Visit) -> list[Tensor]:
    return [p.gradient for p in visit.passed if p.gradient is not None]
