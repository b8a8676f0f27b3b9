"""`x[...]` of the text form as the operators that PyTorch itself uses for it."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, NoReturn

from pullback_schemas.graphs import is_reference

Emit = Callable[[str, list[Any], str | None], str]
Evaluate = Callable[[ast.expr, None], Any]
Fail = Callable[[ast.AST, str], NoReturn]


def lower_index(base: str, index: ast.expr, emit: Emit, evaluate: Evaluate, fail: Fail, name: str | None) -> str:
    """Emit the nodes for `base[index]` and return a reference to the last, which is called `name`.

    A single integer becomes `getitem`, since `base` may be one of several outputs; otherwise integers become
    `select`, slices `slice`, None `unsqueeze`, and tensors one `index` at the end, as in torch's own indexing;
    `getitem` in its place says that axes were counted as if every index tensor stood for one axis.
    """
    items = index.elts if isinstance(index, ast.Tuple) else [index]
    calls, tensors, is_apart = _plan_calls(items, evaluate, fail)
    if len(items) == 1 and calls and calls[0][0] == "select":
        return emit("getitem", [base, calls[0][1][1]], name)
    if tensors:
        calls.append(("getitem" if is_apart else "index", [tensors]))
    for position, (op, args) in enumerate(calls):
        base = emit(op, [base, *args], name if position == len(calls) - 1 else None)
    return base


Call = tuple[str, list[Any]]


def _plan_calls(items: list[ast.expr], evaluate: Evaluate, fail: Fail) -> tuple[list[Call], list[Any], bool]:
    """The calls, the index tensors by axis, and whether something else than `:` follows a tensor."""
    ellipses = [i for i, item in enumerate(items) if _is_ellipsis(item)]
    if len(ellipses) > 1:
        fail(items[ellipses[1]], "an index has at most one ...")
    split = ellipses[0] if ellipses else len(items)
    calls: list[Call] = []
    tensors: list[Any] = []
    is_apart = bool(ellipses and ellipses[0] < len(items) - 1)
    dim = 0
    for item in items[:split]:
        call, keeps, tensor = _one(item, dim, evaluate, fail)
        is_apart = is_apart or bool(tensors and call)
        calls += [call] if call else []
        if tensor is not None:
            tensors += [None] * (dim - len(tensors)) + [tensor]
        dim += keeps
    last = items[split - 1] if split else None
    if isinstance(last, ast.Slice) and _is_full(last):
        calls.append(("slice", [dim - 1, None, None, 1]))  # takes nothing away, but must find its axis
    behind = sum(not _is_none(item) for item in items[split + 1 :])
    if behind and dim:
        calls.append(("slice", [dim + behind - 1, None, None, 1]))  # ... cannot stand for less than nothing
    kept = 0
    for item in reversed(items[split + 1 :]):
        call, keeps, tensor = _one(item, -(kept + 1), evaluate, fail)
        if tensor is not None:
            fail(item, "a tensor cannot stand after ... in an index; write the leading : out")
        calls += [call] if call else []
        kept += keeps
    return calls, tensors, is_apart


def _one(item: ast.expr, dim: int, evaluate: Evaluate, fail: Fail) -> tuple[Call | None, int, str | None]:
    """The call for one item at `dim`, how many axes it leaves there, and the tensor if it is one."""
    if isinstance(item, ast.Slice):
        start, stop, step = (
            _integer(part, evaluate, fail) if part else None for part in (item.lower, item.upper, item.step)
        )
        if step is not None and step < 1:
            fail(item, "a slice's step is positive; use flip to reverse")
        if (start, stop, step) == (None, None, None):
            return None, 1, None
        return ("slice", [dim, start, stop, 1 if step is None else step]), 1, None
    if _is_none(item):
        return ("unsqueeze", [dim]), 1, None
    value = evaluate(item, None)
    if is_reference(value):
        return None, 1, value
    if isinstance(value, bool) or not isinstance(value, int):
        fail(item, "an index is an integer, a slice, None, ... or a tensor")
    return ("select", [dim, value]), 0, None


def _integer(node: ast.expr, evaluate: Evaluate, fail: Fail) -> int | None:
    value = evaluate(node, None)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    fail(node, "the bounds of a slice are integers")


def _is_full(item: ast.Slice) -> bool:
    return item.lower is None and item.upper is None and item.step is None


def _is_none(item: ast.expr) -> bool:
    return isinstance(item, ast.Constant) and item.value is None


def _is_ellipsis(item: ast.expr) -> bool:
    return isinstance(item, ast.Constant) and item.value is ...
