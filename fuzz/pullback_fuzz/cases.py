"""A graph with its inputs, still as torch tensors, and the ways to make requests of it."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor

from pullback.tracing import full_form
from pullback_service.program.catalogue import Operator

Json = dict[str, Any]

MAX_OUTPUTS = 3
VALUES = ("forward", "forward", "check")
DERIVATIVES = (*["backward"] * 5, "jacobian", "jacobian", "jvp", "hvp", "hessian")
OF_ONE_NUMBER = frozenset({"backward", "hvp", "hessian"})
WEIGHTS = ("NaN", "Infinity", 1e308, -1.0, 0.0, 1e-320)


@dataclass
class Case:
    """Nodes, inputs by name, and references to what the graph gives."""

    nodes: list[Json]
    inputs: dict[str, Tensor]
    constants: Json
    outputs: list[str]

    def copy(self) -> Case:
        """One that can be changed; the tensors are shared."""
        return Case(copy.deepcopy(self.nodes), dict(self.inputs), self.constants, list(self.outputs))


@dataclass(frozen=True)
class Request:
    """An operation and the JSON of its request."""

    operation: str
    body: Json

    def encoded(self) -> bytes:
        """As a client sends it."""
        return json.dumps(self.body).encode()


def stride_oddly(rng: Random, case: Case, name: str) -> None:
    """Let the input `name` come to its users through a view, with the same values in an odd order of memory."""
    tensor = case.inputs[name]
    view: tuple[str, list[Any]]
    choice = rng.choice(("conj", "transpose", "slice", "expand"))
    axes = tensor.dim()
    if choice == "conj" and tensor.is_complex():
        case.inputs[name], view = tensor.conj().resolve_conj(), ("aten.conj.default", [])
    elif choice == "transpose" and axes > 1:
        first, second = rng.sample(range(axes), 2)
        case.inputs[name], view = tensor.transpose(first, second), ("aten.transpose.int", [first, second])
    elif choice == "expand" and axes and 0 not in tensor.shape:
        axis = rng.randrange(axes)
        case.inputs[name], view = tensor.narrow(axis, 0, 1), ("aten.expand.default", [list(tensor.shape)])
    elif axes:
        axis = rng.randrange(axes)
        first, step = rng.randrange(2), rng.choice((1, 2))
        padding = tensor.narrow(axis, 0, min(first, tensor.shape[axis]))
        case.inputs[name] = torch.cat([padding, tensor.repeat_interleave(step, axis)], axis)
        view = ("aten.slice.Tensor", [axis, padding.shape[axis], 2**62, step])
    else:
        return
    for node in case.nodes:
        node["args"] = _renamed(node["args"], f"${name}", f"${name}_view")
        node["kwargs"] = _renamed(node["kwargs"], f"${name}", f"${name}_view")
    op, arguments = view
    case.nodes.insert(0, {"id": f"{name}_view", "op": op, "args": [f"${name}", *arguments], "kwargs": {}})


def request_for(rng: Random, case: Case, operator: Operator) -> Request:
    """A request that runs the case: mostly with a backward pass through it."""
    is_smooth = operator.is_differentiable and any(map(_is_smooth, case.inputs.values()))
    operation = rng.choice(DERIVATIVES if rng.random() < (0.8 if is_smooth else 0.2) else VALUES)
    if operation in OF_ONE_NUMBER:
        body = _body(_summed(rng, case), {"total": "$total"})
    else:
        body = _body(case, dict(zip("abc", case.outputs, strict=False)))
    if operation == "check":
        return Request(operation, body)
    return Request(operation, body | _fields(rng, operation, case, body) | {"seed": 1})


def _fields(rng: Random, operation: str, case: Case, body: Json) -> Json:
    """What the operation needs to run every kernel that it can."""
    directions = {name: value for name, value in body["inputs"].items() if _is_smooth(case.inputs[name])}
    match operation:
        case "backward":
            batched = {"is_grads_batched": True, "grad_tensors": {"total": [1.0, -2.0]}}
            return rng.choice(({}, {}, batched, {"jacobian": True}))
        case "jacobian":
            return {"mode": rng.choice(("auto", "reverse", "forward"))}
        case "jvp":
            return {"tangents": directions}
        case "hvp":
            return {"vectors": directions}
    return {}


def _is_smooth(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _summed(rng: Random, case: Case) -> Case:
    """The case with all it gives added up to one number, so that one cotangent pulls back through everything."""
    summed = case.copy()
    parts: list[str] = []
    tail = rng.choice(("sum", "sum", "square", "weighted"))
    for place, given in enumerate(case.outputs):
        if tail == "square":
            given = _append(summed, f"scaled{place}", "aten.mul.Tensor", [given, given])
        elif tail == "weighted":
            given = _append(summed, f"scaled{place}", "aten.mul.Tensor", [given, rng.choice(WEIGHTS)])
        real = _append(summed, f"real{place}", "aten.real.default", [given])
        parts.append(_append(summed, f"sum{place}", "aten.sum.default", [real]))
    total = parts[0]
    for place, part in enumerate(parts[1:]):
        total = _append(summed, f"upto{place}", "aten.add.Tensor", [total, part])
    _append(summed, "total", "aten.alias.default", [total])
    return summed


def _append(case: Case, name: str, op: str, args: list[Any]) -> str:
    case.nodes.append({"id": name, "op": op, "args": args, "kwargs": {}})
    return f"${name}"


def _body(case: Case, outputs: dict[str, str]) -> Json:
    return {
        "graph": {"constants": case.constants, "nodes": case.nodes, "outputs": outputs},
        "inputs": {name: full_form(case.inputs[name]) for name in case.inputs if _is_used(case.nodes, f"${name}")},
    }


def _is_used(value: Any, reference: str) -> bool:
    if isinstance(value, dict):
        return any(_is_used(item, reference) for item in value.values())
    return any(_is_used(item, reference) for item in value) if isinstance(value, list) else value == reference


def _renamed(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, old, new) for item in value]
    return new if value == old else value
