"""Documents that tell about graphs and operators, for /v1/check and /v1/ops."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
import torch

from pullback_schemas.printing import print_graph
from pullback_schemas.problems import NotFound
from pullback_service.program.catalogue import Catalogue, Operator, conformance
from pullback_service.program.inference import UNKNOWN, Inferred
from pullback_service.program.names import aliases, read_name
from pullback_service.program.plan import Plan
from pullback_service.program.program import Step
from pullback_service.program.references import Ref
from pullback_service.program.summaries import summary_of
from pullback_service.program.types import TensorType
from pullback_service.protocols.answer import Json
from pullback_service.protocols.tensor_writer import write_tensor

TIERS = ("open", "guarded", "isolated")


def report_check(plan: Plan, inputs: Mapping[str, TensorType | None], flops: int) -> Json:
    """The canonical graph, its text, and the type of every value, as a CheckResult."""
    program, inferred = plan.program, plan.inferred
    constants = orjson.loads(orjson.dumps({n: write_tensor(t) for n, t in program.constants.items()}))
    graph = program.to_json(constants)
    is_complete = all(value is not UNKNOWN for value in inferred.values)
    cost = {
        "nodes": len(program.steps),
        "elements": inferred.elements,
        "bytes": inferred.bytes,
        "flops": flops,
    }
    flows = {name: inferred.is_differentiable(ref) for name, ref in program.outputs.items()}
    return {
        "graph": graph,
        "text": print_graph(graph, {step.id: step.shortest_op for step in program.steps}),
        "sha256": program.sha256,
        "inputs": {name: _input(name, inputs.get(name), plan) for name in program.inputs},
        "nodes": {step.id: _node(step, inferred) for step in program.steps},
        "outputs": {name: _value(inferred.type_of(ref), flows[name]) for name, ref in program.outputs.items()},
        "differentiable": True if True in flows.values() else None if None in flows.values() else False,
        "cost": cost if is_complete else None,
    }


def _node(step: Step, inferred: Inferred) -> Json:
    value = inferred.values[step.slot]
    values = None
    if value is not UNKNOWN:
        paths = [(i,) for i in range(len(value))] if isinstance(value, tuple | list) else [()]
        refs = {value_name(step, path): Ref(step.slot, path, "") for path in paths}
        values = {name: _value(inferred.type_of(ref), inferred.is_differentiable(ref)) for name, ref in refs.items()}
    return {"op": step.call.operator.name, "signature": step.call.operator.signature, "values": values}


def value_name(step: Step, path: tuple[int, ...]) -> str:
    """What a reference to one of the step's values writes after the node's name: "" where there is only one."""
    returns = step.call.operator.returns
    names = [(returns[i].name if depth == 0 and len(returns) > 1 else "") or str(i) for depth, i in enumerate(path)]
    return ".".join(names)


def _input(name: str, kind: TensorType | None, plan: Plan) -> Json:
    return _value(kind, None if kind is None else name in plan.wrt)


def _value(kind: TensorType | None, requires_grad: bool | None) -> Json:
    if kind is None:
        return {"dtype": None, "shape": None, "requires_grad": requires_grad}
    return {**kind.to_json(), "requires_grad": requires_grad}


def list_ops(catalogue: Catalogue) -> Json:
    """Every operator that is served, as an OpList."""
    return {"ops": [_summary(catalogue, packet) for packet in catalogue.packets], "torch_version": torch.__version__}


def _summary(catalogue: Catalogue, packet: str) -> Json:
    overloads = catalogue.overloads(packet)
    return {
        **_profile(packet, overloads),
        "signatures": [operator.signature for operator in overloads],
        "tier": min((operator.tier for operator in overloads), key=TIERS.index),
    }


def _profile(packet: str, served: list[Operator]) -> Json:
    """What the list and an operator's own page both say of it."""
    return {
        "name": packet,
        "aliases": aliases(packet),
        "summary": summary_of(packet) if served else None,
        "differentiable": any(operator.is_differentiable for operator in served),
        "modes": conformance().get(packet, {}),
    }


def _packet_named(catalogue: Catalogue, text: str) -> str:
    """The packet that `text` spells, nothing if it names an overload that the packet lacks."""
    spelling = read_name(text)
    known = {operator.name.rpartition(".")[2] for operator in catalogue.overloads(spelling.packet)}
    known.update(catalogue.refusals(spelling.packet))
    return spelling.packet if spelling.overload is None or spelling.overload in known else ""


def describe_op(catalogue: Catalogue, text: str) -> Json:
    """One operator and its overloads, refused ones included, as an OpInfo. Raises NotFound."""
    packet = text if catalogue.overloads(text) else _packet_named(catalogue, text)
    if not catalogue.overloads(packet) and catalogue.refusals(text.rpartition(".")[2]):
        packet = text.rpartition(".")[2]
    if not catalogue.overloads(packet) and not catalogue.refusals(packet):
        close = catalogue.nearest(packet)
        raise NotFound(
            f"There is no operator {text!r}.",
            expected=close or None,
            got=text,
            hint=f"Did you mean {' or '.join(map(repr, close))}?" if close else "GET /v1/ops lists what is served.",
        )
    served = catalogue.overloads(packet)
    overloads = [{"name": o.name, "signature": o.signature, "tier": o.tier, "reason": o.reason or None} for o in served]
    for overload, reason in catalogue.refusals(packet).items():
        name = f"aten.{packet}.{overload}"
        overloads.append({"name": name, "signature": "", "tier": "refused", "reason": reason})
    return {**_profile(packet, served), "overloads": overloads}
