"""The text form of a graph, written: one line a declaration, a constant or a node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pullback_schemas.expressions import BINARY, COMPARE, UNARY
from pullback_schemas.graphs import is_reference, split_reference

_TOKENS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "floor_divide": "//",
    "remainder": "%",
    "pow": "**",
    "matmul": "@",
    "bitwise_and": "&",
    "bitwise_or": "|",
    "bitwise_xor": "^",
    "bitwise_left_shift": "<<",
    "bitwise_right_shift": ">>",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "eq": "==",
    "ne": "!=",
}
assert _TOKENS.keys() == {*BINARY.values(), *COMPARE.values()}
_PREFIXES = {"neg": "-", "bitwise_not": "~", "positive": "+"}
assert _PREFIXES.keys() == set(UNARY.values())

Json = Mapping[str, Any]


def print_graph(graph: Json, names: Mapping[str, str]) -> str:
    """The text of `graph`, a canonical graph in JSON form whose constants are full nested tensors.

    `names` holds, by node, the shortest operator name that means the node's overload with its arguments.
    Reading the text again gives a graph with the same canonical form.
    """
    mentioned = _mentioned(graph)
    lines = [_declaration(name, spec) for name, spec in graph["inputs"].items() if spec or name not in mentioned]
    for name, tensor in graph["constants"].items():
        lines.append(f"{_declaration(name, tensor)} = {_literal(tensor['data'])}")
    defined = {*graph["inputs"], *graph["constants"], *names}
    for node in graph["nodes"]:
        op = names[node["id"]]
        is_shadowed = op.startswith("aten.") and "aten" in defined
        lines.append(f"{node['id']} = {_call(node, 'torch.ops.' + op if is_shadowed else op)}")
    if not _is_default(graph):
        lines.append(f"return {{{', '.join(f'{k!r}: {_value(v)}' for k, v in graph['outputs'].items())}}}")
    return "\n".join(lines)


def _mentioned(graph: Json) -> set[str]:
    """The names that some node or output refers to."""
    names: set[str] = set()
    pending: list[Any] = [[*node["args"], *node["kwargs"].values()] for node in graph["nodes"]]
    pending += graph["outputs"].values()
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending += value
        elif is_reference(value):
            names.add(split_reference(value)[0])
    return names


def _is_default(graph: Json) -> bool:
    if not graph["nodes"]:
        return False
    last = graph["nodes"][-1]["id"]
    return bool(graph["outputs"] == {last: f"${last}"})


def _declaration(name: str, spec: Json) -> str:
    dtype = spec.get("dtype") or "Tensor"
    shape = spec.get("shape")
    if shape is None:
        return f"{name}: {dtype}"
    return f"{name}: {dtype}[{', '.join(repr(size) for size in shape) or '()'}]"


def _call(node: Json, op: str) -> str:
    args = [_value(arg) for arg in node["args"]]
    if _has_symbol(node, op):
        if op in _TOKENS and len(args) == 2:
            return f"{_operand(args[0])} {_TOKENS[op]} {_operand(args[1])}"
        if op in _PREFIXES and len(args) == 1:
            return f"{_PREFIXES[op]}{args[0]}"
    args += [f"{key}={_value(value)}" for key, value in node["kwargs"].items()]
    return f"{op}({', '.join(args)})"


def _has_symbol(node: Json, op: str) -> bool:
    """Whether the call can be written with a symbol and read back as itself."""
    args = node["args"]
    is_number_over = op == "div" and args and not is_reference(args[0])  # read as a reciprocal
    return not node["kwargs"] and not is_number_over and not any(isinstance(arg, list) for arg in args)


def _operand(text: str) -> str:
    return f"({text})" if text.startswith("-") else text


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_value(item) for item in value)}]"
    if not isinstance(value, str):
        return _literal(value)
    if not is_reference(value):
        return ascii(value.removeprefix("$") if value.startswith("$$") else value)
    name, path = split_reference(value)
    return name + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in path)


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_literal(item) for item in value)}]"
    return repr(value)
