"""A PyTorch function as an op graph: `trace(function, *examples)`. Needs torch, which `import pullback` does not load.

recording.py runs the function; here its record becomes nodes, references and constants.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor
from torch.fx import GraphModule
from torch.fx import Node as FxNode

from pullback.arrays import spell
from pullback.errors import TracingError
from pullback.graphs import Json
from pullback.lifting import Lifted, Parameters, lift
from pullback.recording import ONLY_NAMES, record
from pullback.torch_arrays import read_torch
from pullback.wire import in_base64
from pullback_schemas.graphs import escape
from pullback_schemas.wire import why_not_a_name

__all__ = ["Traced", "TracingError", "full_form", "trace"]

NOT_THE_GRAPHS = frozenset({"device", "pin_memory", "layout", "generator"})
"""Arguments that a graph never holds: the request chooses the device, all tensors are strided."""

RENAMED = {
    # The request chooses the device.
    "aten.to.device": "aten.to.dtype",
    "aten.to.dtype_layout": "aten.to.dtype",
    # Whatever uninitialised memory would hold, the function's result does not depend on it.
    "aten.empty.memory_format": "aten.zeros.default",
    "aten.empty_like.default": "aten.zeros_like.default",
    "aten.new_empty.default": "aten.new_zeros.default",
    # `a & b` of two tensors is an operator private to PyTorch.
    **{
        f"aten.__{op}__.{kind}": f"aten.bitwise_{op}.{kind}"
        for op in ("and", "or", "xor")
        for kind in ("Tensor", "Scalar")
    },
    "aten.__lshift__.Tensor": "aten.bitwise_left_shift.Tensor",
    "aten.__lshift__.Scalar": "aten.bitwise_left_shift.Tensor_Scalar",
    "aten.__rshift__.Tensor": "aten.bitwise_right_shift.Tensor",
    "aten.__rshift__.Scalar": "aten.bitwise_right_shift.Tensor_Scalar",
}


@dataclass(frozen=True)
class Traced:
    """A graph, and the names of its inputs and outputs, in the order of the function's own.

    `parameters` are those of a module that became inputs, by name. Wherever a graph may stand, so may this.
    """

    form: Json
    inputs: list[str]
    outputs: list[str]
    parameters: dict[str, Tensor]

    @cached_property
    def graph(self) -> Json:
        """The graph in plain JSON, its constants in base64."""
        return {**self.form, "constants": {name: full_form(t) for name, t in self.form["constants"].items()}}

    def to_json(self) -> Json:
        """The graph in its JSON form, its constants torch tensors."""
        return self.form


def trace(
    function: Callable[..., Any],
    *examples: Tensor,
    kwargs: Mapping[str, Tensor] | None = None,
    parameters: Parameters = "constants",
) -> Traced:
    """The graph of `function` for tensors of the dtypes and shapes of `examples` and `kwargs`.

    The function gives a tensor, or tuples, lists and dicts of tensors. Inputs have the names of its parameters, outputs
    the keys of a dict, else y, or y0, y1. The parameters of a module become constants, or, with "inputs", inputs.
    Where the function asks for the value of a tensor, as in `if x.sum() > 0`, the examples' answer is kept. It runs
    a few times, on copies of the examples; what it changes elsewhere, as a module in training its buffers, it changes.
    Raises TracingError for what no graph can hold, and where the record would have another derivative than the
    function, by its inputs or by what it holds.
    """
    lifted = lift(function, examples, kwargs or {}, parameters)
    module = record(lifted.function, tuple(lifted.inputs.values()), by_all=isinstance(function, torch.nn.Module))
    return _Writer(module, lifted).write()


class _Writer:
    """Turns recorded calls into nodes, one after the other."""

    def __init__(self, module: GraphModule, lifted: Lifted) -> None:
        self.module = module
        self.lifted = lifted
        self.references: dict[FxNode, str] = {}
        self.constants: dict[str, Tensor] = {}
        self.nodes: list[Json] = []
        self.is_differentiating = True

    def write(self) -> Traced:
        outputs: dict[str, str] = {}
        inputs = iter(self.lifted.inputs)
        for node in self.module.graph.nodes:
            match node.op:
                case "placeholder":
                    self.references[node] = f"${next(inputs)}"
                case "get_attr":
                    self._constant(node)
                case "call_function":
                    self._call(node)
                case "output":
                    outputs = dict(self._outputs(node.args[0]))
        specs = {name: _spec(tensor) for name, tensor in self.lifted.inputs.items()}
        form = {"inputs": specs, "constants": self.constants, "nodes": self.nodes, "outputs": outputs}
        return Traced(form, list(specs), list(outputs), self.lifted.lifted)

    def _constant(self, node: FxNode) -> None:
        value = getattr(self.module, str(node.target))
        if not isinstance(value, Tensor):
            raise TracingError(f"it uses a {type(value).__name__}, which a graph cannot hold")
        name = self.lifted.held.get(id(value)) or self.lifted.names.take("c")
        self.references[node] = f"${name}"
        self.constants[name] = value.detach().clone()

    def _name(self, node: FxNode, wish: str) -> str:
        name = self.lifted.names.take(wish)
        self.references[node] = f"${name}"
        return name

    def _call(self, node: FxNode) -> None:
        if node.target is operator.getitem:
            source, index = node.args
            assert isinstance(source, FxNode)
            self.references[node] = f"{self.references[source]}.{index}"
            self._cut(node)
            return
        if node.target is torch._C._set_grad_enabled:
            self.is_differentiating = bool(node.args[0])
            return
        op = str(node.target)
        if op == "aten._assert_tensor_metadata.default":
            return
        if op in ONLY_NAMES:
            source = node.args[0]
            assert isinstance(source, FxNode)
            self.references[node] = self.references[source]
            return
        if not isinstance(node.target, torch._ops.OpOverload) or not op.startswith("aten."):
            raise TracingError(f"{op} is no operator of PyTorch's own")
        args = [self._argument(arg, op) for arg in _without_device(op, node)]
        kwargs = {k: self._argument(v, op) for k, v in node.kwargs.items() if k not in NOT_THE_GRAPHS}
        name = self._name(node, node.name)
        self.nodes.append({"id": name, "op": RENAMED.get(op, op), "args": args, "kwargs": kwargs})
        if len(node.target._schema.returns) == 1 and "List" not in str(node.target._schema.returns[0].type):
            self._cut(node)

    def _cut(self, node: FxNode) -> None:
        """Under torch.no_grad a value has no history."""
        if not self.is_differentiating:
            args = [self.references[node]]
            name = self._name(node, f"{node.name}_cut")
            self.nodes.append({"id": name, "op": "aten.detach.default", "args": args, "kwargs": {}})

    def _argument(self, value: Any, op: str) -> Any:
        match value:
            case FxNode():
                return self.references[value]
            case list() | tuple():
                return [self._argument(item, op) for item in value]
            case None | bool() | int():
                return value
            case float():
                return spell(value)
            case complex():
                return [spell(value.real), spell(value.imag)]
            case str():
                return escape(value)
            case torch.dtype() | torch.memory_format() | torch.layout():
                return str(value).removeprefix("torch.")
        raise TracingError(f"{op} takes a {type(value).__name__}, which a graph cannot hold")

    def _outputs(self, results: Any) -> Iterator[tuple[str, str]]:
        flat = [result for result in pytree.tree_leaves(results) if result is not None]
        if not all(isinstance(result, FxNode) for result in flat):
            raise TracingError("the function gives something else than tensors")
        for name, result in zip(_output_names(results, len(flat)), flat, strict=True):
            yield name, self.references[result]


def _output_names(results: Any, count: int) -> list[str]:
    """The keys of a plain dict of tensors; else y, or y0, y1."""
    if isinstance(results, Mapping) and count:
        given = [key for key, value in results.items() if value is not None]
        if len(given) == count and all(isinstance(key, str) and why_not_a_name(key) is None for key in given):
            return given
    return ["y"] if count == 1 else [f"y{index}" for index in range(count)]


def _without_device(op: str, node: FxNode) -> tuple[Any, ...]:
    """The positional arguments; `to(x, device, dtype)` loses its device."""
    return (node.args[0], *node.args[2:]) if op == "aten.to.device" else node.args


def _spec(tensor: Tensor) -> Json:
    return {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)}


def full_form(tensor: Tensor) -> Json:
    """A torch tensor in the full base64 form of the wire."""
    return in_base64(read_torch(tensor))
