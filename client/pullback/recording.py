"""What a PyTorch function computes, as a torch.fx graph of ATen calls.

The function runs on the examples, its calls recorded above autograd, so that `softmax` stays `softmax`. If something
was mutated, the record runs once more with mutation turned into functional operators: `y[0].add_(1)` becomes `select`,
`add`, `select_scatter`. Sizes and Python numbers are those of the examples. At last the record's values and gradients
are compared with the function's, since a custom autograd.Function or torch.vmap is hidden from a recording.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor
from torch._subclasses.functional_tensor import FunctionalTensorMode, dispatch_functionalize
from torch.fx import GraphModule
from torch.fx import Node as FxNode
from torch.fx.experimental.proxy_tensor import make_fx

from pullback.errors import TracingError

SEED = 42
"""Of the runs that are compared; PyTorch's own samples of random operators set this one themselves."""

ROUNDING = {
    torch.float16: 2e-2,
    torch.bfloat16: 5e-2,
    torch.float32: 1e-4,
    torch.complex64: 1e-4,
    torch.float64: 1e-10,
    torch.complex128: 1e-10,
}
"""How near a recording must come, beside the largest element: rounding passes, a lost rule does not; else exactly."""

ONLY_NAMES = frozenset({"aten.lift_fresh_copy.default", "aten.lift_fresh.default", "aten.detach_.default"})
"""Calls that the recording puts around tensors which the function makes itself; as values they change nothing."""

WRITE_STATISTICS = frozenset({"aten.batch_norm.default", "aten.instance_norm.default"})
"""Calls that change their fourth and fifth argument if the sixth is true, though their schemas do not say so."""

NORMALISATIONS = frozenset(
    {
        "aten._native_batch_norm_legit.no_stats",
        "aten._native_batch_norm_legit_no_training.default",
        "aten._native_batch_norm_legit_functional.default",
    }
)
"""What becomes of batch_norm; they take one argument less each where something is settled."""


def record(function: Callable[..., Any], examples: tuple[Tensor, ...], *, by_all: bool = False) -> GraphModule:
    """The record of `function` on `examples`, free of mutation.

    Raises TracingError where it raises anything, or where the record's values or gradients are not the function's.
    Gradients are compared by what the function holds and by the examples that require one; by all that can have one
    where none does, or where `by_all` says so.
    """
    distinct = tuple(t.detach().clone().requires_grad_(t.requires_grad) for t in examples)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():  # which a function that fails inside may leave off
        module = _record(function, distinct)
    if by_all:
        distinct = tuple(t.requires_grad_(t.is_floating_point() or t.is_complex()) for t in distinct)
    _compare(module, function, distinct)
    left = [str(node.target) for node in module.graph.nodes if _mutates(node)]
    if left:
        raise TracingError(f"it changes memory in a way that cannot be written without: {left[0]}")
    return module


def _record(function: Callable[..., Any], examples: tuple[Tensor, ...]) -> GraphModule:
    try:
        module = _run_recorded(function, examples)
        if any(_mutates(node) for node in module.graph.nodes):
            _settle_outside(module)
            mode = FunctionalTensorMode(pre_dispatch=True, export=True)
            module = _run_recorded(dispatch_functionalize(module, mode=mode), examples)
            _restore_batch_norm(module)
    except TracingError:
        raise
    except Exception as error:  # a recording runs the user's code and much of PyTorch: anything may be raised
        raise TracingError(f"the function cannot be recorded: {_told(error)}") from error
    return module


def _told(error: Exception) -> str:
    text = str(error)
    return text.splitlines()[0][:300] if text else type(error).__name__


def _settle_outside(module: GraphModule) -> None:
    """Free the record of what it does to tensors from outside, which a graph cannot change.

    An update that nothing reads goes, as a BatchNorm counts its batches. Raises TracingError for other
    changes: the recording has made them already, so that the values before are lost.
    """
    for node in reversed(module.graph.nodes):
        if str(node.target) in WRITE_STATISTICS:
            _leave_statistics_alone(node)
        elif _mutates(node):
            changed = _base(node)
            if changed.op != "get_attr":
                continue
            if node.users or set(changed.users) != {node}:
                raise TracingError("it changes a tensor from outside and uses it; make that tensor an argument")
            module.graph.erase_node(node)
    module.recompile()


def _leave_statistics_alone(node: FxNode) -> None:
    """In training, what normalises is the batch's own; the running statistics are only written to."""
    if node.args[5] is True:
        node.args = (*node.args[:3], None, None, *node.args[5:])


def _restore_batch_norm(module: GraphModule) -> None:
    """Functionalisation takes batch_norm apart; put it together again where only its first value is used."""
    for node in list(module.graph.nodes):
        if str(node.target) not in NORMALISATIONS or any(user.args[1] != 0 for user in node.users):
            continue
        first, rest = node.args[:3], node.args[3:]
        if len(rest) == 3:
            rest = (None, None, *rest)
        if len(rest) == 4:
            rest = (*rest[:2], False, *rest[2:])
        with module.graph.inserting_before(node):
            whole = module.graph.call_function(torch.ops.aten.batch_norm.default, (*first, *rest, False))
        for user in list(node.users):
            user.replace_all_uses_with(whole)
            module.graph.erase_node(user)
        module.graph.erase_node(node)
    module.recompile()


def _base(node: FxNode) -> FxNode:
    """The tensor whose memory an in-place call changes: its first argument, or what that is a view of."""
    while isinstance(node.target, torch._ops.OpOverload):
        declared, given = node.target._schema.arguments, node.args
        if not given or declared[0].alias_info is None or not isinstance(given[0], FxNode):
            break
        node = given[0]
    return node


def _run_recorded(function: Callable[..., Any], examples: tuple[Tensor, ...]) -> GraphModule:
    record = make_fx(
        function, decomposition_table=_decompositions(), pre_dispatch=True, _error_on_data_dependent_ops=False
    )
    module: GraphModule = record(*[x.detach().clone().requires_grad_(x.requires_grad) for x in examples])
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
    """What PyTorch computes with operators outside of ATen or without a derivative, by their definitions."""
    copy = {torch.ops.aten.copy.default: lambda into, source, _=False: source.expand(into.shape).to(into.dtype)}
    ops = getattr(torch.ops, "torch_nn", None)
    if not hasattr(ops, "_linear_cross_entropy_batch_chunked"):
        return copy
    chunked = torch.ops.torch_nn._linear_cross_entropy_batch_chunked.default
    unreduced = torch.ops.torch_nn._linear_cross_entropy_batch_chunked_no_reduction.default
    return {
        **copy,
        chunked: lambda *args: (_linear_cross_entropy(*args),) * 4,
        unreduced: lambda *args: _linear_cross_entropy(*args[:5], "none", args[5], 0.0),
    }


def _compare(module: GraphModule, function: Callable[..., Any], examples: tuple[Tensor, ...]) -> None:
    """Refuse a recording that lost something on the way: values, or gradients that the function defines by itself."""
    held = _held(module)
    refuse_hooks(held)
    theirs, ours = _attempt(function, examples, held), _attempt(module, examples, held)
    if isinstance(theirs, RuntimeError):
        if isinstance(ours, RuntimeError):  # PyTorch itself has no gradient there, so none can be lost
            return
        raise TracingError(f"the function has no gradient to compare the recording's with: {_told(theirs)}")
    if isinstance(ours, RuntimeError):
        raise TracingError(f"the recording does not run: {_told(ours)}") from ours
    if [t is None for t in ours] != [t is None for t in theirs]:
        raise TracingError(
            "the recording loses a gradient: the function works on tensors that no recording sees, as inside of "
            "torch.func.grad; take such a derivative outside, by asking the service for it"
        )
    for recorded, original in zip(ours, theirs, strict=True):
        if recorded is not None and original is not None and not _is_near(recorded, original):
            raise TracingError(
                "the recording does not give the function's own values and gradients: an autograd.Function, a hook, "
                "a Generator or a gradient taken inside is not part of it"
            )


def _attempt(
    function: Callable[..., Any], examples: tuple[Tensor, ...], held: list[Tensor]
) -> list[Tensor | None] | RuntimeError:
    try:
        return _evaluate(function, examples, held)
    except RuntimeError as error:
        return error


def refuse_hooks(tensors: Iterable[Tensor]) -> None:
    """Raise TracingError where a tensor that the function holds has a hook, which changes its gradient."""
    if any(tensor._backward_hooks for tensor in tensors):
        raise TracingError("a tensor that the function holds has a hook, which changes its gradient; a graph has none")


def _held(module: GraphModule) -> list[Tensor]:
    """What the function holds and a gradient may be asked by: the record has the very tensors."""
    values = [getattr(module, str(node.target)) for node in module.graph.nodes if node.op == "get_attr"]
    return list({id(v): v for v in values if isinstance(v, Tensor) and v.is_leaf and v.requires_grad}.values())


def _is_near(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    tolerance = ROUNDING.get(a.dtype, 0.0)
    finite = b[b.isfinite()].abs()
    largest = float(finite.max()) if finite.numel() else 0.0
    return torch.allclose(a, b, tolerance, tolerance * largest, equal_nan=True)


def _evaluate(function: Callable[..., Any], examples: tuple[Tensor, ...], held: list[Tensor]) -> list[Tensor | None]:
    """The outputs, and the gradients of a weighted sum of them by `held`.

    And by all examples that can have one.
    """
    leaves = [t.detach().clone() for t in examples]
    wanted = [
        leaf.requires_grad_()
        for leaf, t in zip(leaves, examples, strict=True)
        if t.is_floating_point() or t.is_complex()
    ]
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(SEED)
        results = function(*[t * 1 if t.requires_grad else t for t in leaves])  # a leaf cannot be changed in place
        outputs = [result for result in pytree.tree_leaves(results) if isinstance(result, Tensor)]
        roots = [(y.abs() if y.is_complex() else y) for y in outputs if y.requires_grad]
        if not roots or not (wanted or held):
            return [_strided(y) for y in outputs]
        torch.manual_seed(SEED)
        weights = [torch.rand(y.shape, device=y.device).add_(0.5).to(y.dtype) for y in roots]
        found = torch.autograd.grad(roots, [*wanted, *held], weights, allow_unused=True)
    return [*map(_strided, outputs), *(g if g is None else _strided(g) for g in found)]


def _strided(tensor: Tensor) -> Tensor:
    plain = tensor.detach() if tensor.layout == torch.strided else tensor.detach().to_dense()
    return torch.zeros(plain.shape, dtype=plain.dtype) if plain._is_zerotensor() else plain
