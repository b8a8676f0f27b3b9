"""A PyTorch function as an op graph: `trace(function, *examples)`. Needs torch, which is imported only here.

The function runs on the examples, its calls recorded above autograd, so that `softmax` stays `softmax`. If something
was mutated, it runs once more with mutation turned into functional operators: `y[0].add_(1)` becomes `select`, `add`,
`select_scatter`. Sizes and Python numbers are those of the examples.
"""

from __future__ import annotations

import base64
import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor
from torch._subclasses.functional_tensor import FunctionalTensorMode, dispatch_functionalize
from torch.fx import GraphModule
from torch.fx import Node as FxNode
from torch.fx.experimental.proxy_tensor import make_fx

from pullback.errors import PullbackError
from pullback_schemas.graphs import escape
from pullback_schemas.wire import why_not_a_name

Json = dict[str, Any]

SEED = 42
"""Of the runs that are compared; PyTorch's own samples of random operators set this one themselves."""

ROUNDING = {torch.float16: 2e-2, torch.bfloat16: 5e-2}
"""How near a recording must come, relatively: rounding passes, a lost rule does not; 1e-3 in any other dtype."""

NOT_THE_GRAPHS = frozenset({"device", "pin_memory", "layout", "generator"})
"""Arguments that a graph never holds: the request chooses the device, all tensors are strided."""

ONLY_NAMES = frozenset({"aten.lift_fresh_copy.default", "aten.lift_fresh.default", "aten.detach_.default"})
"""Calls that the recording puts around tensors which the function makes itself; as values they change nothing."""

RENAMED = {
    # The request chooses the device.
    "aten.to.device": "aten.to.dtype",
    "aten.to.dtype_layout": "aten.to.dtype",
    # Whatever uninitialised memory would hold, the function's result does not depend on it.
    "aten.empty.memory_format": "aten.zeros.default",
    "aten.empty_like.default": "aten.zeros_like.default",
    "aten.new_empty.default": "aten.new_zeros.default",
}


class TracingError(PullbackError):
    """The function cannot be written as a graph; the message says why."""


@dataclass(frozen=True, slots=True)
class Traced:
    """A graph in JSON form and the names of its inputs and outputs, in the order of the function's own."""

    graph: Json
    inputs: list[str]
    outputs: list[str]


def trace(function: Callable[..., Any], *examples: Tensor) -> Traced:
    """The graph of `function` for tensors of the dtypes and shapes of `examples`.

    The function gives a tensor, or tuples, lists and dicts of tensors. Where it asks for the value of a tensor, as in
    `if x.sum() > 0`, the examples' answer is kept. The recording is compared with the function on the examples, values
    and gradients. Raises TracingError for what no graph can hold and for what the recording lost.
    """
    distinct = tuple(t.detach().clone().requires_grad_(t.requires_grad) for t in examples)
    module = _record(function, distinct)
    _compare(module, function, distinct)
    return _Writer(module).write(examples)


def _record(function: Callable[..., Any], examples: tuple[Tensor, ...]) -> GraphModule:
    try:
        module = _run_recorded(function, examples)
        if any(_mutates(node) for node in module.graph.nodes):
            mode = FunctionalTensorMode(pre_dispatch=True, export=True)
            module = _run_recorded(dispatch_functionalize(function, mode=mode), examples)
    except Exception as error:  # a recording runs the user's code and much of PyTorch: anything may be raised
        raise TracingError(f"the function cannot be recorded: {str(error).splitlines()[0][:300]}") from error
    return module


def _compare(module: GraphModule, function: Callable[..., Any], examples: tuple[Tensor, ...]) -> None:
    """Refuse a recording that lost something on the way: values, or gradients that the function defines by itself."""
    try:
        theirs = _evaluate(function, examples)
    except RuntimeError:  # PyTorch itself has no gradient there, so none can be lost
        return
    try:
        ours = _evaluate(module, examples)
    except RuntimeError as error:
        raise TracingError(f"the recording does not run: {str(error).splitlines()[0][:300]}") from error
    if [t is None for t in ours] != [t is None for t in theirs]:
        raise TracingError("the recording loses a gradient: the function works on tensors that no recording sees")
    for recorded, original in zip(ours, theirs, strict=True):
        if recorded is not None and original is not None and not _is_near(recorded, original):
            raise TracingError(
                "the recording does not give the function's own values and gradients: an autograd.Function, a hook, "
                "or a gradient taken inside is not part of it"
            )


def _is_near(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    tolerance = ROUNDING.get(a.dtype, 1e-3)
    return torch.allclose(a, b, tolerance, tolerance * 1e-3, equal_nan=True)


def _evaluate(function: Callable[..., Any], examples: tuple[Tensor, ...]) -> list[Tensor | None]:
    """The outputs, and the gradients of their sum: by the examples that require one, else by all that can have one."""
    leaves = [t.detach().clone() for t in examples]
    is_chosen = any(t.requires_grad for t in examples)
    wanted = [
        leaf.requires_grad_()
        for leaf, t in zip(leaves, examples, strict=True)
        if (t.requires_grad if is_chosen else t.is_floating_point() or t.is_complex())
    ]
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(SEED)
        results = function(*[t * 1 if t.requires_grad else t for t in leaves])  # a leaf cannot be changed in place
        outputs = [result for result in pytree.tree_leaves(results) if isinstance(result, Tensor)]
        roots = [y.abs().sum() if y.is_complex() else y.sum() for y in outputs if y.requires_grad]
        if not roots or not wanted:
            return [_strided(y) for y in outputs]
        found = torch.autograd.grad(roots, wanted, allow_unused=True)
    return [*map(_strided, outputs), *(g if g is None else _strided(g) for g in found)]


def _strided(tensor: Tensor) -> Tensor:
    plain = tensor.detach() if tensor.layout == torch.strided else tensor.detach().to_dense()
    return torch.zeros(plain.shape, dtype=plain.dtype) if plain._is_zerotensor() else plain


def _run_recorded(function: Callable[..., Any], examples: tuple[Tensor, ...]) -> GraphModule:
    record = make_fx(
        function, decomposition_table=_decompositions(), pre_dispatch=True, _error_on_data_dependent_ops=False
    )
    module: GraphModule = record(*examples)
    module.graph.eliminate_dead_code()
    return module


def _mutates(node: FxNode) -> bool:
    is_operator = isinstance(node.target, torch._ops.OpOverload)
    return is_operator and node.target._schema.is_mutable and str(node.target) not in ONLY_NAMES  # type: ignore[union-attr]


def _linear_cross_entropy(
    input: Tensor, weight: Tensor, target: Tensor, bias: Tensor | None, classes: Tensor | None, *rest: Any
) -> Tensor:
    reduction, ignore_index, smoothing = rest[:3]
    logits = torch.nn.functional.linear(input, weight, bias)
    return torch.nn.functional.cross_entropy(
        logits, target, classes, ignore_index=ignore_index, reduction=reduction, label_smoothing=smoothing
    )


def _decompositions() -> dict[Any, Callable[..., Any]]:
    """Operators without a derivative, or outside of ATen, by what they are documented to be."""
    copied = {torch.ops.aten.copy.default: lambda target, source, *_: source.to(target.dtype).expand_as(target)}
    ops = getattr(torch.ops, "torch_nn", None)
    if not hasattr(ops, "_linear_cross_entropy_batch_chunked"):
        return copied
    chunked = torch.ops.torch_nn._linear_cross_entropy_batch_chunked.default
    unreduced = torch.ops.torch_nn._linear_cross_entropy_batch_chunked_no_reduction.default
    return {
        **copied,
        chunked: lambda *args: (_linear_cross_entropy(*args),) * 4,
        unreduced: lambda *args: _linear_cross_entropy(*args[:5], "none", args[5], 0.0),
    }


class _Writer:
    """Turns recorded calls into nodes, one after the other."""

    def __init__(self, module: GraphModule) -> None:
        self.module = module
        self.references: dict[FxNode, str] = {}
        self.inputs: list[str] = []
        self.constants: dict[str, Json] = {}
        self.nodes: list[Json] = []

    def write(self, examples: tuple[Tensor, ...]) -> Traced:
        outputs: dict[str, str] = {}
        for node in self.module.graph.nodes:
            match node.op:
                case "placeholder":
                    self.inputs.append(self._name(node, f"x{len(self.inputs)}"))
                case "get_attr":
                    self.constants[self._name(node, f"c{len(self.constants)}")] = full_form(
                        getattr(self.module, str(node.target))
                    )
                case "call_function":
                    self._call(node)
                case "output":
                    outputs = dict(self._outputs(node.args[0]))
        specs = {name: _spec(tensor) for name, tensor in zip(self.inputs, examples, strict=True)}
        graph = {"inputs": specs, "constants": self.constants, "nodes": self.nodes, "outputs": outputs}
        return Traced(graph, self.inputs, list(outputs))

    def _name(self, node: FxNode, name: str) -> str:
        self.references[node] = f"${name}"
        return name

    def _call(self, node: FxNode) -> None:
        if node.target is operator.getitem:
            source, index = node.args
            assert isinstance(source, FxNode)
            self.references[node] = f"{self.references[source]}.{index}"
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
        name = self._name(node, node.name if why_not_a_name(node.name) is None else f"{node.name[:100]}_")
        self.nodes.append({"id": name, "op": RENAMED.get(op, op), "args": args, "kwargs": kwargs})

    def _argument(self, value: Any, op: str) -> Any:
        match value:
            case FxNode():
                return self.references[value]
            case list() | tuple():
                return [self._argument(item, op) for item in value]
            case None | bool() | int():
                return value
            case float():
                return _number(value)
            case complex():
                return [_number(value.real), _number(value.imag)]
            case str():
                return escape(value)
            case torch.dtype() | torch.memory_format() | torch.layout():
                return str(value).removeprefix("torch.")
        raise TracingError(f"{op} takes a {type(value).__name__}, which a graph cannot hold")

    def _outputs(self, results: Any) -> Iterator[tuple[str, str]]:
        flat = [result for result in pytree.tree_leaves(results) if result is not None]
        if not all(isinstance(result, FxNode) for result in flat):
            raise TracingError("the function gives something else than tensors")
        for index, result in enumerate(flat):
            yield ("y" if len(flat) == 1 else f"y{index}"), self.references[result]


def _without_device(op: str, node: FxNode) -> tuple[Any, ...]:
    """The positional arguments; `to(x, device, dtype)` loses its device."""
    return (node.args[0], *node.args[2:]) if op == "aten.to.device" else node.args


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _spec(tensor: Tensor) -> Json:
    return {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)}


def full_form(tensor: Tensor) -> Json:
    """A torch tensor in the full base64 form of the wire."""
    plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    raw = plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""
    return {**_spec(plain), "encoding": "base64", "data": base64.b64encode(raw).decode()}
