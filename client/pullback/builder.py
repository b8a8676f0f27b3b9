"""Graphs written in Python: `g = Graph(); x = g.input("x"); y = (x @ w).relu().sum()`. Nothing is computed here.

A value's operators, indices, properties and methods mean what they mean in the text form, and become the same nodes.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from types import EllipsisType
from typing import Any, NoReturn, TypeAlias, cast

import numpy as np

from pullback.arrays import DTYPES, Raw, read, spell
from pullback.errors import PullbackError
from pullback.graphs import Json, mentioned_in
from pullback_schemas import OpList
from pullback_schemas.expressions import CASTS, PROPERTIES, RECEIVER_SECOND
from pullback_schemas.graphs import escape
from pullback_schemas.indexing import lower_index
from pullback_schemas.wire import why_not_a_name

Index: TypeAlias = "int | slice | EllipsisType | Value | Sequence[int] | None"

UNKNOWN_YET = frozenset({"shape", "dtype", "ndim", "device", "grad", "requires_grad"})


class Graph:
    """A graph in the making.

    `g.relu(x)`, `g.linalg.solve(a, b)` and `g.op("aten.mul.Tensor", x, y)` call operators, by the names that the
    service knows; with `ops`, the answer of `Client.ops`, others are refused at once. Arrays may stand wherever a value
    may, and become constants. Raises GraphError for what no graph can hold.
    """

    def __init__(self, ops: OpList | None = None) -> None:
        self._known = {"getitem", *(name for op in ops.ops for name in (op.name, *op.aliases))} if ops else None
        self._inputs: dict[str, Json] = {}
        self._constants: dict[str, Any] = {}
        self._nodes: list[Json] = []
        self._outputs: dict[str, str] = {}
        self._names: set[str] = set()
        self._counts: Counter[str] = Counter()

    def input(self, name: str, dtype: str | None = None, shape: Sequence[int | str] | None = None) -> Value:
        """A new input; a name in the shape is a free size."""
        spec = {"dtype": dtype, "shape": None if shape is None else list(shape)}
        self._inputs[self._taken(name)] = {key: value for key, value in spec.items() if value is not None}
        return Value(self, f"${name}")

    def constant(self, value: Any, name: str | None = None) -> Value:
        """A tensor that is part of the graph: an array, or numbers, which are float64."""
        name = self._taken(name or self._fresh("c"))
        found = read(value)
        self._constants[name] = replace(found, data=memoryview(bytes(found.data))) if isinstance(found, Raw) else found
        return Value(self, f"${name}")

    def op(self, op: str, *args: Any, **kwargs: Any) -> Value:
        """The value of an operator, by any name that the text form knows."""
        self._check_known(op)
        node = {"id": self._taken(self._fresh(op)), "op": op, "args": [self._argument(arg) for arg in args]}
        self._nodes.append({**node, "kwargs": {key: self._argument(value) for key, value in kwargs.items()}})
        return Value(self, f"${node['id']}")

    def output(self, **values: Value) -> None:
        """Name what the graph gives; without any output, it gives the last node."""
        for name, value in values.items():
            _check_name(name)
            self._outputs[name] = value._ref

    def to_json(self) -> Json:
        """The graph in its JSON form, in which an array may stand for a constant."""
        return {
            "inputs": dict(self._inputs),
            "constants": dict(self._constants),
            "nodes": list(self._nodes),
            "outputs": self._outputs or {node["id"]: f"${node['id']}" for node in self._nodes[-1:]},
        }

    def __getattr__(self, name: str) -> Operator:
        if name.startswith("_"):
            raise AttributeError(name)
        return Operator(self, name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(name for name in self._known or () if name.isidentifier())]

    def _argument(self, value: Any) -> Any:
        match value:
            case np.generic():
                return self._argument(value.item())
            case Value():
                if value._graph is not self:
                    raise GraphError("a value of another graph cannot be used here")
                return value._ref
            case str():
                return escape(value)
            case list() | tuple():
                return [self._argument(item) for item in value]
            case None | bool() | int():
                return value
            case float() | complex():
                return _number(value)
        if hasattr(value, "__array__") and not isinstance(value, type):
            return self.constant(value)._ref
        dtype = _dtype_name(value)
        if dtype is not None:
            return dtype
        raise GraphError(f"a {type(value).__name__} cannot stand in a graph")

    def _check_known(self, op: str) -> None:
        if self._known is None or not self._known.isdisjoint(_spellings(op)):
            return
        close = get_close_matches(op, self._known, n=1)
        raise GraphError(f"there is no operator {op}" + (f"; did you mean {close[0]}?" if close else ""))

    def _taken(self, name: str) -> str:
        _check_name(name)
        if name in self._names:
            raise GraphError(f"{name!r} is defined twice; every name is defined once")
        self._names.add(name)
        return name

    def _fresh(self, op: str) -> str:
        """A name that nothing has yet, after the operator's."""
        stem = op.removeprefix("aten.").split(".")[0 if op.startswith("aten.") else -1]
        stem = stem if why_not_a_name(f"{stem}1") is None else "v"
        while True:
            self._counts[stem] += 1
            name = f"{stem}{self._counts[stem]}"
            if name not in self._names:
                return name


class Operator:
    """An operator, or the namespace of some: `g.relu` and `g.linalg.solve` are called with their arguments."""

    def __init__(self, graph: Graph, name: str) -> None:
        self._graph = graph
        self._name = name

    def __getattr__(self, name: str) -> Operator:
        if name.startswith("__"):
            raise AttributeError(name)
        return Operator(self._graph, f"{self._name}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Value:
        """The value of the operator."""
        return self._graph.op(self._name, *args, **kwargs)


def _binary(op: str) -> Callable[[Value, Any], Value]:
    return lambda self, other: self._graph.op(op, self, self._operand(other))


def _reflected(op: str) -> Callable[[Value, Any], Value]:
    return lambda self, other: self._graph.op(op, self._operand(other), self)


def _unary(op: str) -> Callable[[Value], Value]:
    return lambda self: self._graph.op(op, self)


class Value:
    """A value of a graph: an input, a constant, or what an operator gives.

    `x.relu()` calls an operator with the value first; `m.values` is one of the several values of an operator, as are
    `parts[0]` and `parts[1]`. Wherever a graph may stand, so may a value: as the graph that gives it, under the
    name "y", of the inputs that it depends on.
    """

    __array_ufunc__ = None
    """So that numpy leaves `array @ value` to the value."""

    __hash__ = object.__hash__

    def __init__(self, graph: Graph, ref: str, receiver: Value | None = None) -> None:
        self._graph = graph
        self._ref = ref
        self._receiver = receiver

    __add__, __radd__ = _binary("add"), _reflected("add")
    __sub__, __rsub__ = _binary("sub"), _reflected("sub")
    __mul__, __rmul__ = _binary("mul"), _reflected("mul")
    __matmul__, __rmatmul__ = _binary("matmul"), _reflected("matmul")
    __truediv__ = _binary("div")
    __floordiv__, __rfloordiv__ = _binary("floor_divide"), _reflected("floor_divide")
    __mod__, __rmod__ = _binary("remainder"), _reflected("remainder")
    __pow__, __rpow__ = _binary("pow"), _reflected("pow")
    __and__, __rand__ = _binary("bitwise_and"), _reflected("bitwise_and")
    __or__, __ror__ = _binary("bitwise_or"), _reflected("bitwise_or")
    __xor__, __rxor__ = _binary("bitwise_xor"), _reflected("bitwise_xor")
    __lshift__, __rlshift__ = _binary("bitwise_left_shift"), _reflected("bitwise_left_shift")
    __rshift__, __rrshift__ = _binary("bitwise_right_shift"), _reflected("bitwise_right_shift")
    __lt__, __le__, __gt__, __ge__ = _binary("lt"), _binary("le"), _binary("gt"), _binary("ge")
    __eq__, __ne__ = _binary("eq"), _binary("ne")  # type: ignore[assignment]
    __neg__, __pos__, __invert__, __abs__ = _unary("neg"), _unary("positive"), _unary("bitwise_not"), _unary("abs")

    def __rtruediv__(self, other: Any) -> Value:
        if isinstance(other, int | float | complex):  # as torch has it, to the last bit
            return self._graph.op("mul", self._graph.op("reciprocal", self), other)
        return self._graph.op("div", self._operand(other), self)

    def __getitem__(self, index: Index | tuple[Index, ...]) -> Value:
        def emit(op: str, args: list[Any], _: str | None) -> str:
            return self._graph.op(op, *map(self._value, args))._ref

        def evaluate(node: ast.expr, _: None) -> Any:
            return self._graph._argument(node.value if isinstance(node, ast.Constant) else None)

        return Value(self._graph, lower_index(self._ref, self._syntax(index), emit, evaluate, _refuse, None))

    def __getattr__(self, name: str) -> Value:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in UNKNOWN_YET:
            raise GraphError(f"the {name} of a value is not known before it is computed; Client.check tells")
        if name in PROPERTIES:
            return self._graph.op(PROPERTIES[name], self)
        return Value(self._graph, f"{self._ref}.{name}", self)

    def __call__(self, *args: Any, **kwargs: Any) -> Value:
        """The value of the operator that this is named after, called with the value before the dot first."""
        if self._receiver is None:
            raise GraphError("a value cannot be called")
        op = self._ref.rpartition(".")[2]
        if op in CASTS and not args and not kwargs:
            return self._graph.op("to", self._receiver, CASTS[op])
        if op in RECEIVER_SECOND and args:
            return self._graph.op(op, args[0], self._receiver, *args[1:], **kwargs)
        return self._graph.op(op, self._receiver, *args, **kwargs)

    def to_json(self) -> Json:
        """The graph that gives this value under the name "y", with nothing that it does not depend on."""
        whole = self._graph.to_json()
        needed = set(mentioned_in(self._ref))
        nodes: list[Json] = []
        for node in reversed(whole["nodes"]):
            if node["id"] in needed:
                needed.update(mentioned_in([node["args"], node["kwargs"]]))
                nodes.append(node)
        kept = {part: {k: v for k, v in whole[part].items() if k in needed} for part in ("inputs", "constants")}
        return {**kept, "nodes": nodes[::-1], "outputs": {"y": self._ref}}

    def __bool__(self) -> NoReturn:
        raise GraphError("a value has no truth before it is computed; use g.where(condition, a, b)")

    def __iter__(self) -> NoReturn:
        raise GraphError("how many parts a value has is not known before it is computed; take value[0], value[1], ...")

    def __repr__(self) -> str:
        return f"<value {self._ref[1:]}>"

    def _operand(self, other: Any) -> Any:
        if isinstance(other, list | tuple):
            raise GraphError("a list is no tensor here; use g.constant([2, 3])")
        return other

    def _value(self, argument: Any) -> Any:
        """An argument that lower_index made, as `Graph.op` takes it."""
        if isinstance(argument, list):
            return [self._value(item) for item in argument]
        return Value(self._graph, argument) if isinstance(argument, str) else argument

    def _syntax(self, index: Any) -> ast.expr:
        """An index as the syntax tree of what would stand between brackets, values in place of names."""
        match index:
            case tuple():
                return ast.Tuple([self._syntax(item) for item in index])
            case slice():
                return ast.Slice(
                    *(None if p is None else ast.Constant(p) for p in (index.start, index.stop, index.step))
                )
            case list():
                return ast.Constant(cast(Any, self._graph.constant(np.asarray(index))))
        return ast.Constant(cast(Any, index))


class GraphError(PullbackError):
    """Something that no graph can hold."""


def _refuse(_: ast.AST, reason: str) -> NoReturn:
    raise GraphError(f"in an index: {reason}")


def _check_name(name: str) -> None:
    reason = why_not_a_name(name)
    if reason:
        raise GraphError(f"{name!r} cannot be used: {reason}")


def _spellings(op: str) -> set[str]:
    """How the catalogue may have it."""
    plain = op.removeprefix("torch.ops.").removeprefix("torch.")
    plain = f"nn.functional.{plain.removeprefix('F.')}" if plain.startswith("F.") else plain
    return {plain, plain.rpartition(".")[0]}


def _number(value: complex) -> Any:
    return [_number(value.real), _number(value.imag)] if isinstance(value, complex) else spell(float(value))


def _dtype_name(value: Any) -> str | None:
    """`torch.float32`, `np.float32` and `np.dtype("float32")` by name."""
    try:
        name = str(value).removeprefix("torch.") if type(value).__module__ == "torch" else np.dtype(value).name
    except TypeError:
        return None
    return name if name in DTYPES else None
