"""The text form of a graph, read: `"h = x * w; y = relu(h).sum()"`.

A small subset of Python's syntax, read with `ast.parse` and turned into the JSON form; nothing is ever
evaluated, except arithmetic between two number literals.

- `y = op(x, dim=0)`, `y = x.op(dim=0)`, `y = linalg.solve(a, b)`, operators, comparisons, `@`, `**`
- `x[0]`, `x[1:3, None]`, `x[..., 0]`, `x[mask]`; `m.values`; `a, b = split(x, 2)`
- `x: float64["n", 3]` declares an input, `w: float64[2] = [0.5, 1.0]` or `w = [0.5, 1.0]` a constant,
  `k = 2` a number to use below; `return y, h` or `return {"loss": y}` names the outputs (default: the last)
"""

from __future__ import annotations

import ast
import cmath
import math
import operator
import re
import textwrap
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from pullback_schemas.graphs import escape, is_reference
from pullback_schemas.indexing import Emit, lower_index
from pullback_schemas.problems import DuplicateName, InvalidName, InvalidSyntax, LimitExceeded, TooDeep, pointer_to
from pullback_schemas.wire import why_not_a_name

NAMESPACES = frozenset({"torch", "aten", "linalg", "fft", "special", "nn", "F"})
"""Roots of dotted operator names, unless the graph defines a value of that name."""

BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.FloorDiv: "floor_divide",
    ast.Mod: "remainder",
    ast.Pow: "pow",
    ast.MatMult: "matmul",
    ast.BitAnd: "bitwise_and",
    ast.BitOr: "bitwise_or",
    ast.BitXor: "bitwise_xor",
    ast.LShift: "bitwise_left_shift",
    ast.RShift: "bitwise_right_shift",
}
COMPARE: dict[type[ast.cmpop], str] = {
    ast.Lt: "lt",
    ast.LtE: "le",
    ast.Gt: "gt",
    ast.GtE: "ge",
    ast.Eq: "eq",
    ast.NotEq: "ne",
}
MIRRORED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq", "ne": "ne"}
UNARY: dict[type[ast.unaryop], str] = {ast.USub: "neg", ast.UAdd: "positive", ast.Invert: "bitwise_not"}

FOLDED: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: lambda a, b: _power(a, b),
}
"""Arithmetic between two number literals; the powers are bounded."""

PROPERTIES = {"T": "numpy_T", "mT": "mT", "H": "matrix_H", "mH": "mH", "real": "real", "imag": "imag"}
CASTS = {
    "byte": "uint8",
    "char": "int8",
    "short": "int16",
    "cfloat": "complex64",
    "cdouble": "complex128",
    "half": "float16",
    "float": "float32",
    "double": "float64",
    "bfloat16": "bfloat16",
    "int": "int32",
    "long": "int64",
    "bool": "bool",
}
NUMBER_MODULES = frozenset({"math", "np", "numpy", "torch", "jnp", "jax"})
FLOATS: dict[str, Any] = {
    "pi": math.pi,
    "e": math.e,
    "tau": math.tau,
    "inf": "Infinity",
    "-inf": "-Infinity",
    "nan": "NaN",
}
"""`math.pi`, `torch.inf`, `float('-inf')`, as arguments."""

RECEIVER_SECOND = frozenset({"where", "polygamma", "special_polygamma"})
"""Methods whose receiver is the second argument of the function: `x.where(condition, y)`."""

INSTEAD = {
    ast.IfExp: "use where(condition, a, b)",
    ast.BoolOp: "use & and |, or logical_and and logical_or",
    ast.Not: "use ~ or logical_not",
    ast.Lambda: "there are no functions inside a graph",
    ast.JoinedStr: "write the string out",
    ast.For: "loops must be unrolled",
    ast.While: "loops must be unrolled",
    ast.If: "use where(condition, a, b)",
    ast.AugAssign: "a graph has no mutation; assign to a new name",
    ast.FunctionDef: "there are no functions inside a graph",
    ast.Import: "operators are known by name; nothing is imported",
    ast.ImportFrom: "operators are known by name; nothing is imported",
}
MAX_INT = 2**64

_UNREADABLE = re.compile(r"[^\t\x20-\x7e]")


@dataclass(frozen=True, slots=True)
class Span:
    """A place in the text: 1-based line, 0-based columns."""

    line: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Translation:
    """A text form as the JSON form, and where each part of it stood."""

    graph: dict[str, Any]
    text: str
    spans: dict[str, Span]
    unpacked: dict[str, int]

    def excerpt_at(self, pointer: str) -> str | None:
        """The line with a caret under what `pointer` (into the graph) came from."""
        while pointer:
            if pointer in self.spans:
                return underline(self.text, self.spans[pointer])
            pointer = pointer.rpartition("/")[0]
        return None


def underline(text: str, span: Span) -> str:
    """The line of `text` that holds `span`, with carets under it."""
    line = text.split("\n")[span.line - 1]
    carets = "^" * max(1, min(span.end, len(line)) - span.start)
    first = max(0, span.start - 60)
    shown = line[first : first + 120]
    return f"{shown}\n{' ' * (span.start - first)}{carets[:60]}"


def translate(text: str, max_nodes: int | None = None) -> Translation:
    """The text form as the JSON form of the same graph, not yet checked against any operator.

    Raises InvalidSyntax, InvalidName, DuplicateName or TooDeep, each with an excerpt; LimitExceeded as soon as there
    are more than `max_nodes` nodes.
    """
    text = textwrap.dedent(text.replace("\r\n", "\n").replace("\r", "\n")).strip("\n")
    reader = _Reader(text, max_nodes)
    try:
        for statement in _parse(text).body:
            reader.statement(statement)
    except RecursionError:
        raise TooDeep("The text is nested too deeply.", hint="Give the inner parts names of their own.") from None
    return Translation(reader.graph(), text, reader.spans, reader.unpacked)


def _parse(text: str) -> ast.Module:
    for line_number, line in enumerate(text.split("\n"), 1):
        odd = _UNREADABLE.search(line)
        if odd:
            raise InvalidSyntax(
                f"The character {odd[0]!a} cannot stand in a graph's text, which is printable ASCII.",
                excerpt=underline(text, Span(line_number, odd.start(), odd.end())),
            )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text, mode="exec")
    except SyntaxError as error:
        excerpt = None
        if error.lineno and error.lineno <= text.count("\n") + 1:
            start = max((error.offset or 1) - 1, 0)
            excerpt = underline(text, Span(error.lineno, start, start + 1))
        raise InvalidSyntax(f"The graph's text does not parse: {error.msg}.", excerpt=excerpt) from None
    except ValueError as error:
        raise InvalidSyntax(f"The graph's text does not parse: {error}.") from None
    except (RecursionError, MemoryError):
        raise TooDeep("The text is nested too deeply.", hint="Give the inner parts names of their own.") from None


class _Reader:
    """Walks the syntax tree once, statement by statement, and collects nodes."""

    def __init__(self, text: str, max_nodes: int | None) -> None:
        self.text = text
        self.max_nodes = max_nodes
        self.spans: dict[str, Span] = {}
        self.inputs: dict[str, Any] = {}
        self.constants: dict[str, Any] = {}
        self.nodes: list[dict[str, Any]] = []
        self.outputs: dict[str, str] | None = None
        self.last: dict[str, str] = {}
        self.bound: dict[str, Any] = {}
        self.used: set[str] = set()
        self.fresh = 0
        self.unpacked: dict[str, int] = {}
        self.words = set(re.findall(r"\w+", text))

    def graph(self) -> dict[str, Any]:
        inputs = {name: self.inputs.get(name, {}) for name in sorted(self.used | set(self.inputs))}
        return {
            "inputs": inputs,
            "constants": self.constants,
            "nodes": self.nodes,
            "outputs": self.last if self.outputs is None else self.outputs,
        }

    # Statements

    def statement(self, node: ast.stmt) -> None:
        if self.outputs is not None:
            self.fail(node, "nothing stands after return")
        match node:
            case ast.Assign(targets=[ast.Name() as target], value=value):
                self.assign(target, value)
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=value):
                self.unpack(targets, value)
            case ast.AnnAssign(target=ast.Name() as target, annotation=annotation, value=value):
                self.declare(target, annotation, value)
            case ast.Expr(value=value):
                name = self.fresh_name("out")
                self.last = {name: self.reference(value, self.expression(value, name))}
                self.spans[pointer_to("outputs", name)] = self.span(value)
            case ast.Return(value=value):
                self.outputs = self.returned(node, value)
            case ast.Assign():
                self.fail(node, "a statement assigns to one name, or to several separated by commas")
            case _:
                self.fail(node, "this kind of statement is not part of the text form")

    def assign(self, target: ast.Name, value: ast.expr) -> None:
        name = self.define(target)
        if isinstance(value, ast.List):
            self.constants[name] = self.numbers(value)
            self.spans[pointer_to("constants", name)] = self.span(value)
            result: Any = "$" + name
        else:
            result = self.expression(value, name)
        self.bound[name] = result
        if is_reference(result):
            self.last = {name: result}
            self.spans[pointer_to("outputs", name)] = self.span(value)

    def unpack(self, targets: list[ast.expr], value: ast.expr) -> None:
        if not isinstance(value, ast.Call):
            self.fail(value, "only a call that returns several values can be unpacked")
        source = self.expression(value, None)
        self.last = {}
        self.unpacked[source.removeprefix("$")] = len(targets)
        for index, target in enumerate(targets):
            if not isinstance(target, ast.Name):
                self.fail(target, "values are unpacked into plain names")
            name = self.define(target)
            self.bound[name] = self.last[name] = f"{source}.{index}"
            self.spans[pointer_to("outputs", name)] = self.span(target)

    def declare(self, target: ast.Name, annotation: ast.expr, value: ast.expr | None) -> None:
        used_before = target.id in self.used
        self.used.discard(target.id)
        name = self.define(target)
        spec = self.spec(annotation)
        self.bound[name] = "$" + name
        if value is None:
            self.inputs[name] = spec
            self.spans[pointer_to("inputs", name)] = self.span(target)
            return
        if used_before:
            self.fail(target, f"{name!r} is used before it is defined")
        self.constants[name] = {**spec, "data": self.numbers(value)}
        self.spans[pointer_to("constants", name)] = self.span(value)

    def spec(self, annotation: ast.expr) -> dict[str, Any]:
        shape: list[Any] | None = None
        if isinstance(annotation, ast.Subscript):
            inner = annotation.slice
            shape = [self.size(size) for size in (inner.elts if isinstance(inner, ast.Tuple) else [inner])]
            annotation = annotation.value
        if not isinstance(annotation, ast.Name):
            self.fail(annotation, 'a declaration is a dtype, with a shape if known: float64["n", 3]')
        spec: dict[str, Any] = {} if annotation.id == "Tensor" else {"dtype": annotation.id}
        return spec if shape is None else {**spec, "shape": shape}

    def size(self, node: ast.expr) -> int | str:
        match node:
            case ast.Constant(value=int() | str() as size) if not isinstance(size, bool):
                return size
            case ast.Name(id=name):
                return name
        self.fail(node, "a size is a number or a name")

    def returned(self, statement: ast.stmt, value: ast.expr | None) -> dict[str, str]:
        match value:
            case ast.Dict(keys=keys, values=values):
                named = []
                for key, item in zip(keys, values, strict=True):
                    if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
                        self.fail(statement, "outputs are named by strings")
                    named.append((key.value, item))
            case ast.Name() | ast.Tuple():
                items = value.elts if isinstance(value, ast.Tuple) else [value]
                for item in items:
                    if not isinstance(item, ast.Name):
                        self.fail(item, 'return names, or {"name": value}')
                named = [(item.id, item) for item in items if isinstance(item, ast.Name)]
            case None:
                self.fail(statement, "return what?")
            case _:
                named = [(self.fresh_name("out"), value)]
        outputs: dict[str, str] = {}
        for name, item in named:
            if name in outputs:
                self.refuse_twice(item, name)
            outputs[name] = self.reference(item, self.expression(item, None))
            self.spans[pointer_to("outputs", name)] = self.span(item)
        return outputs

    # Expressions: each gives an argument of the JSON form

    def expression(self, node: ast.expr, name: str | None) -> Any:  # noqa: C901 - one case a kind of expression
        """The argument that `node` stands for; if it makes a node, the last one is called `name`."""
        match node:
            case ast.Constant(value=value):
                return self.constant(node, value)
            case ast.Name(id=identifier):
                return self.value_of(node, identifier)
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self.expression(item, None) for item in items]
            case ast.UnaryOp(op=op, operand=operand):
                return self.unary(node, op, operand, name)
            case ast.BinOp(left=left, op=op, right=right):
                return self.binary(node, left, op, right, name)
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in COMPARE:
                return self.comparison(node, left, COMPARE[type(op)], right, name)
            case ast.Compare():
                self.fail(node, "compare two values with one of < <= > >= == !=")
            case ast.Call():
                return self.call(node, name)
            case ast.Attribute():
                return self.attribute(node, name)
            case ast.Subscript(value=value, slice=index):
                base = self.reference(value, self.expression(value, None))
                return lower_index(base, index, self.emitter(node), self.index_value, self.fail, name)
            case _:
                self.fail(node, "this expression is not part of the text form")

    def constant(self, node: ast.expr, value: object) -> Any:
        match value:
            case bool() | None:
                return value
            case int():
                if abs(value) > MAX_INT:
                    self.fail(node, "this integer has more than 64 bits")
                return value
            case float():
                if not math.isfinite(value):
                    self.fail(node, 'this number is too large for float64; infinity is "Infinity"')
                return value
            case complex() if cmath.isfinite(value):
                return value
            case str():
                return escape(value)
        self.fail(node, "this literal is not part of the text form")

    def value_of(self, node: ast.expr, name: str) -> Any:
        if name in self.bound:
            return self.bound[name]
        if name not in self.used:
            self.used.add(name)
            self.spans[pointer_to("inputs", name)] = self.span(node)
            self.check_name(node, name)
        return "$" + name

    def unary(self, node: ast.expr, op: ast.unaryop, operand: ast.expr, name: str | None) -> Any:
        if isinstance(op, ast.Not):
            self.fail(node, INSTEAD[ast.Not])
        value = self.expression(operand, None)
        if isinstance(op, ast.USub) and value == "Infinity":
            return "-Infinity"
        if _is_number(value) and not isinstance(op, ast.Invert):
            return -value if isinstance(op, ast.USub) else value
        return self.emit(node, UNARY[type(op)], [value], name)

    def binary(self, node: ast.expr, left: ast.expr, op: ast.operator, right: ast.expr, name: str | None) -> Any:
        a, b = self.expression(left, None), self.expression(right, None)
        if _is_number(a) and _is_number(b):
            return self.fold(node, op, a, b)
        self.refuse_lists(node, a, b)
        if not is_reference(a) and not is_reference(b):
            self.fail(node, "arithmetic needs at least one tensor")
        if isinstance(op, ast.Div) and _is_number(a):
            # A number divided by a tensor is what torch.Tensor.__rtruediv__ makes of it, to the last bit.
            return self.emit(node, "mul", [self.emit(node, "reciprocal", [b]), a], name)
        return self.emit(node, BINARY[type(op)], [a, b], name)

    def refuse_lists(self, node: ast.expr, *operands: Any) -> None:
        if any(isinstance(operand, list) for operand in operands):
            self.fail(node, "a list is no tensor here; name it on a line of its own: c = [2, 3]")

    def fold(self, node: ast.expr, op: ast.operator, a: Any, b: Any) -> Any:
        if type(op) not in FOLDED:
            self.fail(node, "this arithmetic between two numbers is not part of the text form")
        try:
            result = FOLDED[type(op)](a, b)
        except (ArithmeticError, ValueError, TypeError) as error:
            self.fail(node, f"this arithmetic has no finite result ({error})")
        return self.constant(node, result)

    def comparison(self, node: ast.expr, left: ast.expr, op: str, right: ast.expr, name: str | None) -> Any:
        a, b = self.expression(left, None), self.expression(right, None)
        self.refuse_lists(node, a, b)
        if is_reference(a):
            return self.emit(node, op, [a, b], name)
        if is_reference(b):
            return self.emit(node, MIRRORED[op], [b, a], name)
        self.fail(node, "a comparison needs at least one tensor")

    def call(self, node: ast.Call, name: str | None) -> Any:
        match node:
            case ast.Call(func=ast.Name(id="float"), args=[ast.Constant(value=str() as text)]) if text in FLOATS:
                return FLOATS[text]
        op, args, nodes = self.callee(node)
        for item in node.args:
            if isinstance(item, ast.Starred):
                self.fail(item, "arguments are written out, without *")
            args.append(self.expression(item, None))
            nodes.append(item)
        kwargs: dict[str, Any] = {}
        places: dict[str, ast.expr] = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                self.fail(keyword.value, "arguments are written out, without **")
            if keyword.arg in kwargs:
                self.fail(keyword, f"the argument {keyword.arg!r} is given twice")
            kwargs[keyword.arg] = self.expression(keyword.value, None)
            places[keyword.arg] = keyword.value
        if nodes[:1] == [getattr(node.func, "value", None)]:
            op, args, nodes = _method_as_function(op, args, nodes)
        index = len(self.nodes)
        reference = self.emit(node, op, args, name, kwargs)
        at: Callable[..., str] = lambda *parts: pointer_to("nodes", index, *parts)  # noqa: E731
        self.spans.update({at("args", i): self.span(item) for i, item in enumerate(nodes)})
        self.spans.update({at("kwargs", key): self.span(item) for key, item in places.items()})
        self.spans[at("op")] = self.span(node.func)
        return reference

    def callee(self, node: ast.Call) -> tuple[str, list[Any], list[ast.expr]]:
        """The operator, and what stands before its dot: a namespace, or the first argument."""
        match node.func:
            case ast.Name(id=op):
                return op, [], []
            case ast.Attribute(value=value, attr=attr):
                dotted = _dotted(node.func)
                if dotted and dotted[0] in NUMBER_MODULES - NAMESPACES and self.is_free(dotted[0]):
                    self.fail(node, f"operators stand by themselves: {attr}(...)")
                is_namespace = dotted is not None and dotted[0] in NAMESPACES and dotted[0] not in self.bound
                if dotted and (is_namespace or dotted[:3] == ["torch", "ops", "aten"]):
                    return ".".join(dotted), [], []
                return attr, [self.expression(value, None)], [value]
        self.fail(node.func, "only operators can be called, by name")

    def is_free(self, name: str) -> bool:
        return name not in self.bound and name not in self.used

    def attribute(self, node: ast.Attribute, name: str | None) -> Any:
        dotted = _dotted(node)
        if dotted and len(dotted) == 2 and dotted[0] in NUMBER_MODULES and self.is_free(dotted[0]):
            if dotted[1] in FLOATS:
                return FLOATS[dotted[1]]
            if dotted[0] != "torch":
                self.fail(node, f"{dotted[0]} is not part of the text form")
        if dotted and dotted[0] == "torch" and self.is_free("torch"):
            return dotted[-1]
        base = self.reference(node.value, self.expression(node.value, None))
        if node.attr in PROPERTIES:
            return self.emit(node, PROPERTIES[node.attr], [base], name)
        return f"{base}.{node.attr}"

    def index_value(self, node: ast.expr, _: None) -> Any:
        """What stands between brackets; a list of integers is a constant tensor of indices."""
        value = self.expression(node, None)
        if isinstance(value, list) and value and all(type(item) is int for item in value):
            name = self.fresh_name("_")
            self.constants[name] = {"dtype": "int64", "data": value}
            return "$" + name
        return value

    def numbers(self, node: ast.expr) -> Any:
        """A literal tensor: numbers, booleans, the strings of non-finite numbers, and lists of them."""
        match node:
            case ast.List(elts=items):
                return [self.numbers(item) for item in items]
            case ast.Constant(value=str() as text):
                return text
            case ast.Constant() | ast.UnaryOp() | ast.BinOp() | ast.Name():
                value = self.expression(node, None)
                if isinstance(value, bool | int | float | complex):
                    return _plain(value)
        self.fail(node, "a constant is made of numbers; name each node on a line of its own")

    # Nodes and names

    def emit(
        self,
        node: ast.expr,
        op: str,
        args: list[Any],
        name: str | None = None,
        kwargs: dict[str, Any] | None = None,
    ) -> str:
        identifier = name or self.fresh_name("_")
        if len(self.nodes) == self.max_nodes:
            raise LimitExceeded(
                f"The graph has more than {self.max_nodes:,} nodes.",
                expected=self.max_nodes,
                excerpt=underline(self.text, self.span(node)),
            )
        self.spans[pointer_to("nodes", len(self.nodes))] = self.span(node)
        self.nodes.append({"id": identifier, "op": op, "args": _plain(args), "kwargs": _plain(kwargs or {})})
        return "$" + identifier

    def emitter(self, node: ast.expr) -> Emit:
        return lambda op, args, name: self.emit(node, op, args, name)

    def fresh_name(self, prefix: str) -> str:
        candidate = prefix if prefix != "_" else ""
        while not candidate or candidate in self.words:
            self.fresh += 1
            candidate = f"{prefix}{self.fresh}"
        self.words.add(candidate)
        return candidate

    def define(self, target: ast.Name) -> str:
        name = target.id
        self.check_name(target, name)
        if name in self.bound:
            self.refuse_twice(target, name)
        if name in self.used:
            self.fail(target, f"{name!r} is used before it is defined")
        return name

    def refuse_twice(self, node: ast.expr, name: str) -> NoReturn:
        raise DuplicateName(
            f"{name!r} is defined twice; every name is assigned once.",
            node=name,
            hint=f"A graph has no mutation; use a new name, such as {name}2.",
            excerpt=underline(self.text, self.span(node)),
        )

    def check_name(self, node: ast.expr, name: str) -> None:
        reason = why_not_a_name(name)
        if reason:
            raise InvalidName(f"{name!r} cannot be used: {reason}.", excerpt=underline(self.text, self.span(node)))

    def reference(self, node: ast.expr, value: Any) -> str:
        if not is_reference(value):
            self.fail(node, "a tensor is needed here, not a literal")
        return str(value)

    def span(self, node: ast.AST) -> Span:
        line, start = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
        same_line = getattr(node, "end_lineno", line) == line
        end = getattr(node, "end_col_offset", start + 1) if same_line else 10**6
        return Span(line, start, end)

    def fail(self, node: ast.AST, reason: str) -> NoReturn:
        raise InvalidSyntax(
            f"In the graph's text: {reason}.",
            hint=INSTEAD.get(type(node)),
            excerpt=underline(self.text, self.span(node)),
        )


def _power(a: Any, b: Any) -> Any:
    """`a ** b` as Python has it, but never more than 64 bits of work."""
    if isinstance(a, int) and isinstance(b, int) and b >= 0:
        if abs(a) > 1 and b > 64:
            raise OverflowError("more than 64 bits")
        return a ** (b if abs(a) > 1 else min(b, 2 + b % 2))
    return a**b if isinstance(a, complex) or isinstance(b, complex) else math.pow(a, b)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | complex) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    """An argument as JSON: a complex number is its pair."""
    if isinstance(value, complex):
        return [value.real, value.imag]
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _method_as_function(op: str, args: list[Any], nodes: list[ast.expr]) -> tuple[str, list[Any], list[ast.expr]]:
    """A method's call as its function's: casts, and those whose receiver is not the first argument."""
    if op in CASTS and len(args) == 1:
        return "to", [*args, CASTS[op]], nodes
    if op in RECEIVER_SECOND and len(args) > 1:
        return op, [args[1], args[0], *args[2:]], [nodes[1], nodes[0], *nodes[2:]]
    return op, args, nodes


def _dotted(node: ast.expr) -> list[str] | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return [node.id, *reversed(parts)]
