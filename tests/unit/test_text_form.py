"""The text form: what each construct means, what is refused and where, and that printing it loses nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pullback_schemas.expressions import translate
from pullback_schemas.problems import ProblemError

# What each construct means: the nodes as (id, op, args), or (id, op, args, kwargs)

Row = tuple[Any, ...]


def rows(text: str) -> list[Row]:
    nodes = translate(text).graph["nodes"]
    return [(n["id"], n["op"], n["args"], *([n["kwargs"]] if n["kwargs"] else [])) for n in nodes]


OPERATORS: dict[str, list[Row]] = {
    "y = a + b": [("y", "add", ["$a", "$b"])],
    "y = a - b": [("y", "sub", ["$a", "$b"])],
    "y = a * b": [("y", "mul", ["$a", "$b"])],
    "y = a / b": [("y", "div", ["$a", "$b"])],
    "y = a // b": [("y", "floor_divide", ["$a", "$b"])],
    "y = a % b": [("y", "remainder", ["$a", "$b"])],
    "y = a ** b": [("y", "pow", ["$a", "$b"])],
    "y = a @ b": [("y", "matmul", ["$a", "$b"])],
    "y = a & b": [("y", "bitwise_and", ["$a", "$b"])],
    "y = a | b": [("y", "bitwise_or", ["$a", "$b"])],
    "y = a ^ b": [("y", "bitwise_xor", ["$a", "$b"])],
    "y = a << b": [("y", "bitwise_left_shift", ["$a", "$b"])],
    "y = a >> b": [("y", "bitwise_right_shift", ["$a", "$b"])],
    "y = -a": [("y", "neg", ["$a"])],
    "y = +a": [("y", "positive", ["$a"])],
    "y = ~a": [("y", "bitwise_not", ["$a"])],
    "y = a < b": [("y", "lt", ["$a", "$b"])],
    "y = a <= b": [("y", "le", ["$a", "$b"])],
    "y = a > b": [("y", "gt", ["$a", "$b"])],
    "y = a >= b": [("y", "ge", ["$a", "$b"])],
    "y = a == b": [("y", "eq", ["$a", "$b"])],
    "y = a != b": [("y", "ne", ["$a", "$b"])],
    "y = 2 < a": [("y", "gt", ["$a", 2])],
    "y = 2 <= a": [("y", "ge", ["$a", 2])],
    "y = 2 > a": [("y", "lt", ["$a", 2])],
    "y = 2 >= a": [("y", "le", ["$a", 2])],
    "y = 2 == a": [("y", "eq", ["$a", 2])],
    "y = 2 != a": [("y", "ne", ["$a", 2])],
    "y = 2 - a": [("y", "sub", [2, "$a"])],
    "y = 2.5 ** a": [("y", "pow", [2.5, "$a"])],
    "y = a + b * c": [("_1", "mul", ["$b", "$c"]), ("y", "add", ["$a", "$_1"])],
    "y = (a + b) * c": [("_1", "add", ["$a", "$b"]), ("y", "mul", ["$_1", "$c"])],
    "y = a - b - c": [("_1", "sub", ["$a", "$b"]), ("y", "sub", ["$_1", "$c"])],
    "y = a ** b ** c": [("_1", "pow", ["$b", "$c"]), ("y", "pow", ["$a", "$_1"])],
    "y = -a ** 2": [("_1", "pow", ["$a", 2]), ("y", "neg", ["$_1"])],
    "y = a @ b + c": [("_1", "matmul", ["$a", "$b"]), ("y", "add", ["$_1", "$c"])],
    "y = a < b & c": [("_1", "bitwise_and", ["$b", "$c"]), ("y", "lt", ["$a", "$_1"])],
}

LITERALS: dict[str, list[Row]] = {
    "y = a * True": [("y", "mul", ["$a", True])],
    "y = a * 2": [("y", "mul", ["$a", 2])],
    "y = a * 2.0": [("y", "mul", ["$a", 2.0])],
    "y = a * -2": [("y", "mul", ["$a", -2])],
    "y = a * --2": [("y", "mul", ["$a", 2])],
    "y = a * +2": [("y", "mul", ["$a", 2])],
    "y = a * 1e-3": [("y", "mul", ["$a", 0.001])],
    "y = a * 0x10": [("y", "mul", ["$a", 16])],
    "y = a * 1_000": [("y", "mul", ["$a", 1000])],
    "y = a * 2j": [("y", "mul", ["$a", [0.0, 2.0]])],
    "y = a * -2j": [("y", "mul", ["$a", [-0.0, -2.0]])],
    "y = a * (1 + 2)": [("y", "mul", ["$a", 3])],
    "y = a * (1 - 2)": [("y", "mul", ["$a", -1])],
    "y = a * (3 * 2.5)": [("y", "mul", ["$a", 7.5])],
    "y = a * (1 / 4)": [("y", "mul", ["$a", 0.25])],
    "y = a * (-7 // 2)": [("y", "mul", ["$a", -4])],
    "y = a * (-7 % 4)": [("y", "mul", ["$a", 1])],
    "y = a * 2 ** 10": [("y", "mul", ["$a", 1024])],
    "y = a * (-1) ** 99": [("y", "mul", ["$a", -1])],
    "y = a * 2 ** -1": [("y", "mul", ["$a", 0.5])],
    "y = a * 2 ** 0.5": [("y", "mul", ["$a", 2**0.5])],
    "y = a * (-2) ** 3": [("y", "mul", ["$a", -8])],
    "y = a * -2 ** 2": [("y", "mul", ["$a", -4])],
    "y = 2 * 3 * a": [("y", "mul", [6, "$a"])],
    "y = a * (2**64 - 1)": [("y", "mul", ["$a", 2**64 - 1])],
    "k = 2; y = a * k": [("y", "mul", ["$a", 2])],
    "k = 2; m = k * 3 + 1; y = a * m": [("y", "mul", ["$a", 7])],
    "k = -2.5; y = k - a": [("y", "sub", [-2.5, "$a"])],
    "k = 'sum'; y = mse_loss(a, b, reduction=k)": [("y", "mse_loss", ["$a", "$b"], {"reduction": "sum"})],
    "k = (0, 1); y = sum(a, k)": [("y", "sum", ["$a", [0, 1]])],
    "y = add(a, 'NaN')": [("y", "add", ["$a", "NaN"])],
    "y = op(a, '$x')": [("y", "op", ["$a", "$$x"])],
    "y = op(a, None)": [("y", "op", ["$a", None])],
    "y = sum(a, [0, -1])": [("y", "sum", ["$a", [0, -1]])],
    "y = sum(a, (0, 1))": [("y", "sum", ["$a", [0, 1]])],
    "y = cat([a, b], 1)": [("y", "cat", [["$a", "$b"], 1])],
    "y = index(a, [None, i])": [("y", "index", ["$a", [None, "$i"]])],
    "y = cat([a + b, c])": [("_1", "add", ["$a", "$b"]), ("y", "cat", [["$_1", "$c"]])],
}

CALLS: dict[str, list[Row]] = {
    "y = relu(x)": [("y", "relu", ["$x"])],
    "y = zeros([2])": [("y", "zeros", [[2]])],
    "y = x.relu()": [("y", "relu", ["$x"])],
    "y = x.sum(0, keepdim=True)": [("y", "sum", ["$x", 0], {"keepdim": True})],
    "y = sum(x, dim=0)": [("y", "sum", ["$x"], {"dim": 0})],
    "y = sum(input=x)": [("y", "sum", [], {"input": "$x"})],
    "y = x.exp().log()": [("_1", "exp", ["$x"]), ("y", "log", ["$_1"])],
    "y = (a + b).sum()": [("_1", "add", ["$a", "$b"]), ("y", "sum", ["$_1"])],
    "y = relu(a @ b)": [("_1", "matmul", ["$a", "$b"]), ("y", "relu", ["$_1"])],
    "y = torch.relu(x)": [("y", "torch.relu", ["$x"])],
    "y = torch.linalg.solve(a, b)": [("y", "torch.linalg.solve", ["$a", "$b"])],
    "y = linalg.solve(a, b)": [("y", "linalg.solve", ["$a", "$b"])],
    "y = fft.rfft(x)": [("y", "fft.rfft", ["$x"])],
    "y = special.erf(x)": [("y", "special.erf", ["$x"])],
    "y = F.relu(x)": [("y", "F.relu", ["$x"])],
    "y = nn.functional.relu(x)": [("y", "nn.functional.relu", ["$x"])],
    "y = torch.nn.functional.relu(x)": [("y", "torch.nn.functional.relu", ["$x"])],
    "y = aten.mul.Tensor(a, b)": [("y", "aten.mul.Tensor", ["$a", "$b"])],
    "F = exp(x); y = F.relu()": [("F", "exp", ["$x"]), ("y", "relu", ["$F"])],
    "torch: float64[3]; y = torch.relu()": [("y", "relu", ["$torch"])],
    "y = x.half()": [("y", "to", ["$x", "float16"])],
    "y = x.bfloat16()": [("y", "to", ["$x", "bfloat16"])],
    "y = x.float()": [("y", "to", ["$x", "float32"])],
    "y = x.double()": [("y", "to", ["$x", "float64"])],
    "y = x.int()": [("y", "to", ["$x", "int32"])],
    "y = x.long()": [("y", "to", ["$x", "int64"])],
    "y = x.bool()": [("y", "to", ["$x", "bool"])],
    "y = x.to(torch.float32)": [("y", "to", ["$x", "float32"])],
    "y = x.to('float32')": [("y", "to", ["$x", "float32"])],
    "y = sum(x, dtype=torch.int64)": [("y", "sum", ["$x"], {"dtype": "int64"})],
    "y = x.T": [("y", "numpy_T", ["$x"])],
    "y = x.mT": [("y", "mT", ["$x"])],
    "y = x.H": [("y", "matrix_H", ["$x"])],
    "y = x.mH": [("y", "mH", ["$x"])],
    "y = x.real": [("y", "real", ["$x"])],
    "y = x.imag": [("y", "imag", ["$x"])],
    "y = x.T @ x": [("_1", "numpy_T", ["$x"]), ("y", "matmul", ["$_1", "$x"])],
    "m = max(x, 0); y = m.values * 2": [("m", "max", ["$x", 0]), ("y", "mul", ["$m.values", 2])],
    "y = relu(max(x, 0).values)": [("_1", "max", ["$x", 0]), ("y", "relu", ["$_1.values"])],
    "m = max(x, 0); y = m.values.T": [("m", "max", ["$x", 0]), ("y", "numpy_T", ["$m.values"])],
    "a, b = split(x, 2); y = a * b": [("_1", "split", ["$x", 2]), ("y", "mul", ["$_1.0", "$_1.1"])],
    "a, b, c = x.unbind(); y = c - a": [("_1", "unbind", ["$x"]), ("y", "sub", ["$_1.2", "$_1.0"])],
}

INDEXING: dict[str, list[Row]] = {
    "y = x[0]": [("y", "getitem", ["$x", 0])],
    "y = x[-1]": [("y", "getitem", ["$x", -1])],
    "k = 1; y = x[k]": [("y", "getitem", ["$x", 1])],
    "y = x[1 + 1]": [("y", "getitem", ["$x", 2])],
    "y = x[0][1]": [("_1", "getitem", ["$x", 0]), ("y", "getitem", ["$_1", 1])],
    "y = x[0, 1]": [("_1", "select", ["$x", 0, 0]), ("y", "select", ["$_1", 0, 1])],
    "y = x[:, 1]": [("y", "select", ["$x", 1, 1])],
    "y = x[1:3]": [("y", "slice", ["$x", 0, 1, 3, 1])],
    "y = x[:-1]": [("y", "slice", ["$x", 0, None, -1, 1])],
    "y = x[::2]": [("y", "slice", ["$x", 0, None, None, 2])],
    "k = 2; y = x[k:k + 3:k]": [("y", "slice", ["$x", 0, 2, 5, 2])],
    "y = x[:, 1:]": [("y", "slice", ["$x", 1, 1, None, 1])],
    "y = x[None]": [("y", "unsqueeze", ["$x", 0])],
    "y = x[:, None]": [("y", "unsqueeze", ["$x", 1])],
    "y = x[1:3, None]": [("_1", "slice", ["$x", 0, 1, 3, 1]), ("y", "unsqueeze", ["$_1", 1])],
    "y = x[..., 0]": [("y", "select", ["$x", -1, 0])],
    "y = x[..., None]": [("y", "unsqueeze", ["$x", -1])],
    "y = x[..., 1:, :]": [("y", "slice", ["$x", -2, 1, None, 1])],
    "y = x[0, ..., 0]": [("_1", "select", ["$x", 0, 0]), ("y", "select", ["$_1", -1, 0])],
    "y = x[mask]": [("y", "index", ["$x", ["$mask"]])],
    "y = x[:, i]": [("y", "index", ["$x", [None, "$i"]])],
    "y = x[i, j]": [("y", "index", ["$x", ["$i", "$j"]])],
    "y = x[i, :, j]": [("y", "index", ["$x", ["$i", None, "$j"]])],
    "y = x[0, i]": [("_1", "select", ["$x", 0, 0]), ("y", "index", ["$_1", ["$i"]])],
    "y = x[x > 0]": [("_1", "gt", ["$x", 0]), ("y", "index", ["$x", ["$_1"]])],
    "y = (a + b)[0]": [("_1", "add", ["$a", "$b"]), ("y", "getitem", ["$_1", 0])],
    "y = split(x, 2)[1]": [("_1", "split", ["$x", 2]), ("y", "getitem", ["$_1", 1])],
    "y = x[:]": [("y", "slice", ["$x", 0, None, None, 1])],
    "y = x[...]": [],
    "y = x[()]": [],
}

CONSTRUCTS = {**OPERATORS, **LITERALS, **CALLS, **INDEXING}


@pytest.mark.parametrize("text", CONSTRUCTS)
def test_a_construct_becomes_these_nodes(text):
    found, expected = rows(text), CONSTRUCTS[text]
    assert found == expected
    assert repr(found) == repr(expected), "2 and 2.0, 1 and True are different literals"


def test_every_name_that_is_used_and_not_defined_is_an_input():
    assert translate("h = x * w; y = relu(h) + b").graph["inputs"] == {"b": {}, "w": {}, "x": {}}


@pytest.mark.parametrize(
    ("text", "inputs"),
    [
        ("x: float64; y = x", {"x": {"dtype": "float64"}}),
        ('x: float64["n", 3]; y = x', {"x": {"dtype": "float64", "shape": ["n", 3]}}),
        ("x: float64[n, 3]; y = x", {"x": {"dtype": "float64", "shape": ["n", 3]}}),
        ("x: int64[3]; y = x", {"x": {"dtype": "int64", "shape": [3]}}),
        ("x: float32[()]; y = x", {"x": {"dtype": "float32", "shape": []}}),
        ("x: Tensor[2, 2]; y = x", {"x": {"shape": [2, 2]}}),
        ("x: Tensor; y = x", {"x": {}}),
        ("x: float64; y = z", {"x": {"dtype": "float64"}, "z": {}}),
        ("y = x; x: float64[3]", {"x": {"dtype": "float64", "shape": [3]}}),
    ],
)
def test_a_declaration_says_what_an_input_is(text, inputs):
    assert translate(text).graph["inputs"] == inputs


@pytest.mark.parametrize(
    ("text", "constants"),
    [
        ("w = [0.5, 1]; y = x * w", {"w": [0.5, 1]}),
        ("w = [[1, 2], [3, 4]]; y = x @ w", {"w": [[1, 2], [3, 4]]}),
        ("w = []; y = w", {"w": []}),
        ("w = [-1, 2 ** 3, 1 / 2]; y = w", {"w": [-1, 8, 0.5]}),
        ("k = 3; w = [k, -k]; y = w", {"w": [3, -3]}),
        ("w = [True, False]; y = w", {"w": [True, False]}),
        ("w = ['NaN', '-Infinity']; y = w", {"w": ["NaN", "-Infinity"]}),
        ("w: float64[2] = [0.5, 1.0]; y = x * w", {"w": {"dtype": "float64", "shape": [2], "data": [0.5, 1.0]}}),
        ("w: float32 = [0.5]; y = x * w", {"w": {"dtype": "float32", "data": [0.5]}}),
        ("w: int64[()] = 3; y = w", {"w": {"dtype": "int64", "shape": [], "data": 3}}),
        ("w: complex64[1] = [[1, 2]]; y = w", {"w": {"dtype": "complex64", "shape": [1], "data": [[1, 2]]}}),
        ("w: complex64[1] = [2j]; y = w", {"w": {"dtype": "complex64", "shape": [1], "data": [[0.0, 2.0]]}}),
        ("w: Tensor[1] = [1]; y = w", {"w": {"shape": [1], "data": [1]}}),
    ],
)
def test_a_list_of_numbers_is_a_constant(text, constants):
    assert repr(translate(text).graph["constants"]) == repr(constants)


@pytest.mark.parametrize(
    ("text", "outputs"),
    [
        ("h = x * 2; y = relu(h)", {"y": "$y"}),
        ("relu(x)", {"out": "$out"}),
        ("out = x * 2; relu(out)", {"out1": "$out1"}),
        ("y = x", {"y": "$x"}),
        ("y = x[...]", {"y": "$x"}),
        ("y = max(x, 0).values", {"y": "$_1.values"}),
        ("a, b = split(x, 2)", {"a": "$_1.0", "b": "$_1.1"}),
        ("y = relu(x); k = 2", {"y": "$y"}),
        ("y = relu(x); x: float64", {"y": "$y"}),
        ("w = [1]", {"w": "$w"}),
        ("h = x * 2; y = h + 1; return h", {"h": "$h"}),
        ("h = x * 2; y = h + 1; return y, h", {"y": "$y", "h": "$h"}),
        ("y = relu(x); return y,", {"y": "$y"}),
        ("return x", {"x": "$x"}),
        ("y = relu(x); return {'loss': y, 'input': x}", {"loss": "$y", "input": "$x"}),
        ("m = max(x, 0); return {'v': m.values, 'i': m.indices}", {"v": "$m.values", "i": "$m.indices"}),
        ("return {'loss': relu(x).sum()}", {"loss": "$_2"}),
        ("y = relu(x); return {}", {}),
    ],
)
def test_the_outputs_are_what_return_says_or_else_the_last_value(text, outputs):
    found = translate(text).graph["outputs"]
    assert list(found.items()) == list(outputs.items())


def test_names_that_are_made_up_never_meet_names_of_the_text():
    assert [row[0] for row in rows("_1 = a + b * c; _2 = _1 * 2; out = exp(exp(a))")] == ["_3", "_1", "_2", "_4", "out"]


@pytest.mark.parametrize(
    "text",
    [
        "h = x * w\ny = relu(h)",
        "h = x * w; y = relu(h)",
        "h = x * w;\ny = relu(h);",
        "\n\nh = x * w\n\n\ny = relu(h)\n\n",
        "    h = x * w\n    y = relu(h)\n",
        "\th = x * w\n\ty = relu(h)\n",
        "h = x * w\r\ny = relu(h)\r\n",
        "h = x * w\ry = relu(h)",
        "# a comment\nh = x * w  # another\ny = relu(h)",
        "h = (x\n     * w)\ny = relu(\n  h,\n)",
        "h = x \\\n * w\ny = relu(h)",
    ],
)
def test_white_space_and_comments_mean_nothing(text):
    assert rows(text) == [("h", "mul", ["$x", "$w"]), ("y", "relu", ["$h"])]


# What is refused: (text, code, what the carets stand under)

REFUSED_TEXTS = [
    ("y = x if x else x", "invalid_syntax", "x if x else x"),
    ("y = a and b", "invalid_syntax", "a and b"),
    ("y = a or b", "invalid_syntax", "a or b"),
    ("y = x + (not a)", "invalid_syntax", "not a"),
    ("y = a < b < c", "invalid_syntax", "a < b < c"),
    ("y = a is b", "invalid_syntax", "a is b"),
    ("y = a in b", "invalid_syntax", "a in b"),
    ("y = 1 < 2", "invalid_syntax", "1 < 2"),
    ("y = relu(lambda: x)", "invalid_syntax", "lambda: x"),
    ("y = relu(f'{x}')", "invalid_syntax", "f'{x}'"),
    ("y = {'a': x}", "invalid_syntax", "{'a': x}"),
    ("y = {x}", "invalid_syntax", "{x}"),
    ("y = cat([x for x in z])", "invalid_syntax", "[x for x in z]"),
    ("y = relu((z := x))", "invalid_syntax", "z := x"),
    ("y = relu(b'a')", "invalid_syntax", "b'a'"),
    ("y = relu(...)", "invalid_syntax", "..."),
    ("y = x()()", "invalid_syntax", "x()"),
    ("y = x[0](z)", "invalid_syntax", "x[0]"),
    ("y = relu(*x)", "invalid_syntax", "*x"),
    ("y = relu(**x)", "invalid_syntax", "x"),
    ("y = [1] + [2]", "invalid_syntax", "[1] + [2]"),
    ("y = 'a' + 'b'", "invalid_syntax", "'a' + 'b'"),
    ("y = True + 1", "invalid_syntax", "True + 1"),
    ("y = x * (1 << 2)", "invalid_syntax", "1 << 2"),
    ("y = x * (1 / 0)", "invalid_syntax", "1 / 0"),
    ("y = x * (1 % 0)", "invalid_syntax", "1 % 0"),
    ("y = x * 1e308 ** 2", "invalid_syntax", "1e308 ** 2"),
    ("y = x * (1e308 * 10)", "invalid_syntax", "1e308 * 10"),
    ("y = x * (-8) ** 0.5", "invalid_syntax", "(-8) ** 0.5"),
    ("y = x * 0 ** -1", "invalid_syntax", "0 ** -1"),
    ("y = x * (9 ** 99)", "invalid_syntax", "9 ** 99"),
    ("y = x * (10 ** 60)", "invalid_syntax", "10 ** 60"),
    ("y = x * (2 ** 64 * 2)", "invalid_syntax", "2 ** 64 * 2"),
    ("y = x * 1e999", "invalid_syntax", "1e999"),
    ("y = x * 99999999999999999999999", "invalid_syntax", "99999999999999999999999"),
    ("y = 2[0]", "invalid_syntax", "2"),
    ("y = 'abc'.T", "invalid_syntax", "'abc'"),
    ("y = x['a']", "invalid_syntax", "'a'"),
    ("y = x[1.5]", "invalid_syntax", "1.5"),
    ("y = x[True]", "invalid_syntax", "True"),
    ("y = x[1.5:]", "invalid_syntax", "1.5"),
    ("y = x[:z]", "invalid_syntax", "z"),
    ("y = x[::-1]", "invalid_syntax", "::-1"),
    ("y = x[::0]", "invalid_syntax", "::0"),
    ("y = x[..., 0, ...]", "invalid_syntax", "..."),
    ("x += 1", "invalid_syntax", "x += 1"),
    ("x[0] = 1", "invalid_syntax", "x[0] = 1"),
    ("x.a = 1", "invalid_syntax", "x.a = 1"),
    ("a = b = x", "invalid_syntax", "a = b = x"),
    ("a, b = x", "invalid_syntax", "x"),
    ("a, *b = split(x, 2)", "invalid_syntax", "*b"),
    ("a, b[0] = split(x, 2)", "invalid_syntax", "b[0]"),
    ("[a, b] = split(x, 2)", "invalid_syntax", "[a, b] = split(x, 2)"),
    ("del x", "invalid_syntax", "del x"),
    ("import os", "invalid_syntax", "import os"),
    ("from os import path", "invalid_syntax", "from os import path"),
    ("assert x", "invalid_syntax", "assert x"),
    ("raise x", "invalid_syntax", "raise x"),
    ("pass", "invalid_syntax", "pass"),
    ("for i in x: pass", "invalid_syntax", "for i in x: pass"),
    ("while x: pass", "invalid_syntax", "while x: pass"),
    ("if x: pass", "invalid_syntax", "if x: pass"),
    ("def f(x): return x", "invalid_syntax", "def f(x): return x"),
    ("class A: pass", "invalid_syntax", "class A: pass"),
    ("2", "invalid_syntax", "2"),
    ("'x'", "invalid_syntax", "'x'"),
    ("return", "invalid_syntax", "return"),
    ("return 2", "invalid_syntax", "2"),
    ("return x, 2", "invalid_syntax", "2"),
    ("return {x: x}", "invalid_syntax", "return {x: x}"),
    ("return {'y': 2}", "invalid_syntax", "2"),
    ("return x; y = 2", "invalid_syntax", "y = 2"),
    ("x: 'float64'; y = x", "invalid_syntax", "'float64'"),
    ("x: float64[1.5]; y = x", "invalid_syntax", "1.5"),
    ("x: float64[-1]; y = x", "invalid_syntax", "-1"),
    ("x: float64[True]; y = x", "invalid_syntax", "True"),
    ("x: float64[:]; y = x", "invalid_syntax", ":"),
    ("w = [x]; y = w", "invalid_syntax", "x"),
    ("w = [None]; y = w", "invalid_syntax", "None"),
    ("w = [relu(x)]; y = w", "invalid_syntax", "relu(x)"),
    ("w: float64 = x; y = w", "invalid_syntax", "x"),
    ("y = x * w; w = [1]", "invalid_syntax", "w"),
    ("y = x * w; w: float64[1] = [1]", "invalid_syntax", "w"),
    ("y = relu(x); y = exp(x)", "duplicate_name", "y"),
    ("x: float64; x: float32; y = x", "duplicate_name", "x"),
    ("x: float64; x = relu(z)", "duplicate_name", "x"),
    ("k = 2; k = 3; y = x * k", "duplicate_name", "k"),
    ("a, a = split(x, 2)", "duplicate_name", "a"),
    ("return x, x", "duplicate_name", "x"),
    ("return {'y': x, 'y': z}", "duplicate_name", "z"),
    (f"y = {'n' * 129} * 2", "invalid_name", "n" * 60),
    (f"{'n' * 129} = x * 2", "invalid_name", "n" * 60),
    ("y = (x", "invalid_syntax", "("),
    ("y = x)", "invalid_syntax", ")"),
    ("if = 2", "invalid_syntax", "="),
    ("y = 'abc", "invalid_syntax", "'"),
    ("y = x $ 2", "invalid_syntax", "$"),
    ("y = \u00e9 + 1", "invalid_syntax", "\u00e9"),
    ("y = x\u00a0+ 1", "invalid_syntax", "\u00a0"),
    ("y = x\x00", "invalid_syntax", "\x00"),
    ("y = x + \x0c1", "invalid_syntax", "\x0c"),
]


def refusal(text: str) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        translate(text)
    return caught.value


def underlined(excerpt: str) -> tuple[str, str]:
    """The line of an excerpt, and the part of it that the carets stand under."""
    line, carets = excerpt.split("\n")
    start = len(carets) - len(carets.lstrip(" "))
    assert carets == " " * start + "^" * (len(carets) - start)
    return line, line[start : len(carets)]


@pytest.mark.parametrize(("text", "code", "place"), REFUSED_TEXTS, ids=ascii)
def test_what_is_not_part_of_the_text_form_is_refused_with_carets_under_it(text, code, place):
    problem = refusal(text)
    assert problem.code == code
    line, marked = underlined(problem.excerpt)
    assert line in (text, text[: len(line)])
    assert marked == place


@pytest.mark.parametrize("text", ["y = x +", "y = x\n  z = y", "y = ((", "y = x\n)", "y = 1x", "y = '''x"])
def test_what_cannot_be_read_is_refused_with_an_excerpt(text):
    problem = refusal(text)
    assert problem.code == "invalid_syntax"
    assert "^" in problem.excerpt


def test_a_keyword_given_twice_is_refused_and_never_silently_the_last():
    problem = refusal("y = sum(x, dim=0, dim=1)")
    line, marked = underlined(problem.excerpt)
    assert (problem.code, line) == ("invalid_syntax", "y = sum(x, dim=0, dim=1)")
    assert "dim=1".endswith(marked)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("y = a if b else c", "where"),
        ("y = a and b", "&"),
        ("y = not a", "~"),
        ("x += 1", "new name"),
        ("for i in x: pass", "unrolled"),
        ("import os", "imported"),
    ],
)
def test_what_python_people_try_gets_a_hint_of_what_to_write(text, hint):
    assert hint in str(refusal(text).hint or refusal(text).detail)


def test_the_excerpt_shows_the_line_of_the_problem():
    problem = refusal("a = relu(x)\nb = a + (1 if a else 2)\nc = b")
    assert underlined(problem.excerpt) == ("b = a + (1 if a else 2)", "1 if a else 2")


def test_the_excerpt_of_indented_text_stands_under_the_right_column():
    problem = refusal("\n    a = relu(x)\n    b = a + 1e999\n")
    assert underlined(problem.excerpt) == ("b = a + 1e999", "1e999")


def test_the_excerpt_of_a_place_over_several_lines_ends_with_its_first():
    problem = refusal("y = relu(\n  a and\n  b)")
    assert underlined(problem.excerpt) == ("  a and", "a and")


def test_the_excerpt_of_a_long_line_is_cut_around_the_place():
    problem = refusal(f"y = {'x + ' * 100}(x and z) + {'x + ' * 100}x")
    line, marked = underlined(problem.excerpt)
    assert marked == "x and z"
    assert len(line) <= 120


@pytest.mark.parametrize(
    "text",
    [
        f"y = {'-' * 100_000}x",
        f"y = {'+'.join('x' * 20_000)}",
        f"y = {'x.exp()' + '.exp()' * 20_000}",
        f"y = {'relu(' * 190}x{')' * 190}{'.T' * 5000}",
    ],
    ids=["signs", "sum", "methods", "calls"],
)
def test_text_nested_too_deeply_is_refused(text):
    assert refusal(text).code == "too_deep"


@pytest.mark.parametrize("bracket", ["()", "[]"])
def test_too_many_brackets_are_refused(bracket):
    assert refusal(f"y = {bracket[0] * 5000}x{bracket[1] * 5000}").code in ("too_deep", "invalid_syntax")


# What the operators refuse is quoted just so

REFUSED_GRAPHS = [
    ("h = x * 2\ny = rellu(h)", {}, "unknown_op", "y = rellu(h)", "rellu"),
    ("y = x.rellu()", {}, "unknown_op", "y = x.rellu()", "x.rellu"),
    ("y = torch.rellu(x)", {}, "unknown_op", "y = torch.rellu(x)", "torch.rellu"),
    ("y = x.relu_()", {}, "refused_op", "y = x.relu_()", "x.relu_"),
    ("y = sum(x, dim='rows')", {}, "bad_argument", "y = sum(x, dim='rows')", "'rows'"),
    ("y = relu(2)", {}, "bad_argument", "y = relu(2)", "2"),
    ("y = relu(x, 1)", {}, "bad_argument", "y = relu(x, 1)", "1"),
    ("y = x.relu(dim=1)", {}, "bad_argument", "y = x.relu(dim=1)", "1"),
    ("y = cat([x, 1])", {}, "bad_argument", "y = cat([x, 1])", "[x, 1]"),
    ("y = x * 2; z = y.valeus + 1", {}, "bad_reference", "y = x * 2; z = y.valeus + 1", "y.valeus + 1"),
    ("m = max(x, 0); y = m * 2", {}, "bad_reference", "m = max(x, 0); y = m * 2", "m * 2"),
    ("m = max(x, 0); return m", {}, "bad_reference", "m = max(x, 0); return m", "m"),
    ("m = max(x, 0); return {'v': m}", {}, "bad_reference", "m = max(x, 0); return {'v': m}", "m"),
    ("x: float63[2]; y = x", {}, "invalid_field", "x: float63[2]; y = x", "x"),
    ("w: float32[2] = [1, 2, 3]; y = w", {}, "wrong_count", "w: float32[2] = [1, 2, 3]; y = w", "[1, 2, 3]"),
    ("w = [[1], [2, 3]]; y = w", {}, "ragged_data", "w = [[1], [2, 3]]; y = w", "[[1], [2, 3]]"),
    (
        "h = a + 1\ny = relu(h @ b)",
        {"a": [[1.0, 2.0]], "b": [[1.0]]},
        "incompatible_arguments",
        "y = relu(h @ b)",
        "h @ b",
    ),
    ("y = linalg.inv(a)", {"a": [[0.0]]}, "op_failed", "y = linalg.inv(a)", "linalg.inv(a)"),
    ("y = zeros([10**9]) + a", {"a": 1}, "limit_exceeded", "y = zeros([10**9]) + a", "zeros([10**9])"),
    ("y = y * 2", {}, "duplicate_name", "y = y * 2", "y * 2"),
    ("y = z * 2; z = relu(x)", {}, "invalid_syntax", "y = z * 2; z = relu(x)", "z"),
]


@pytest.mark.parametrize(("text", "inputs", "code", "line", "place"), REFUSED_GRAPHS, ids=ascii)
def test_what_an_operator_refuses_is_quoted_with_carets_under_it(post, text, inputs, code, line, place):
    problem = post("forward" if inputs else "check", graph=text, inputs=inputs).json()
    assert (problem["status"], problem["code"], problem["pointer"]) == (422, code, "/graph")
    assert underlined(problem["excerpt"]) == (line, place)


@pytest.mark.parametrize("text", ["y = max(x, 0)", "y = x.shape", "y = split(x, 2)", "split(x, 2)"])
def test_an_output_that_is_no_tensor_is_quoted_though_no_return_names_it(post, text):
    """Errors quote the text with a caret under the place."""
    problem = post("check", graph=text).json()
    assert problem["code"] == "bad_reference"
    assert "^" in problem["excerpt"]


# Printing loses nothing

TEXTS = [
    "y = relu(x)",
    "h = x * w; y = relu(h).sum()",
    "y = x",
    "return {'a': x, 'b': x}",
    "x: float64; y = 1 - x",
    'x: float64["n", 3]; w: float64[3, "n"]; y = x @ w',
    "x: float32[()]; y = -x",
    "unused: int8[2]; y = x + 1",
    "unused: Tensor; y = x + 1",
    "w = [0.5, 1.0]; y = x * w",
    "w: float32[2, 2] = [[0.1, 1e-45], ['NaN', '-Infinity']]; y = x @ w",
    "w: float16[1] = [0.1]; v: bfloat16[1] = [0.1]; y = w * x; z = v * x; return y, z",
    "w: complex64[2] = [[1, -2], ['Infinity', -0.0]]; y = x * w",
    "w: uint64[2] = [18446744073709551615, 0]; v: int64[1] = [-9223372036854775808]; return w, v",
    "w: bool[2] = [True, False]; y = where(w, x, -x)",
    "w: float64[0, 3] = []; y = w + x",
    "w: int64[()] = 3; y = x + w",
    "a, b = split(x, 2); y = a - b",
    "a, b = split(x, 2)",
    "s = split(x, 2); y = cat(s, 1) + s[0]",
    "m = max(x, 0); y = m.values * 2; return {'v': m.values, 'i': m.indices, 'y': y}",
    "m = max(x, 0); y = m[0] * 2; return {'y': y, 'i': m[1]}",
    "v, m = var_mean(x, 0); y = v + m",
    "y, m, r = native_layer_norm(x, [3], w, b, 1e-5)",
    "u, s, vh = linalg.svd(x); y = u * s @ vh",
    "y = x.svd().S",
    "y = linalg.solve(a, b).mT",
    "y = x[0, :, None, 1:3, ::2] + z[..., 0, None]",
    "y = x[mask] + x[i, :, j] + x[0] + x[-1]",
    "y = 2 ** x + (-2) ** x - -2 ** x + x ** -2",
    "y = (2 < x) & (x <= 3) | ~(x == 1) ^ (x != 0)",
    "y = 7 // x + 7 % x + (x << 2) + (1 >> x)",
    "y = x * 2j + x * -1.5e-300 + x * True",
    "y = add(x, 'NaN') + mul(x, '-Infinity') + x * -0.0",
    "y = add(x, z, alpha=2) + add(x, z, alpha=2.0) + add(x, z, alpha=1)",
    "y = aten.add.Scalar(x, 2) + aten.mul.Tensor(x, 2)",
    "y = x.to(torch.float32) + x.double() + x.to(z) + sum(x, dtype=torch.int64)",
    "y = x.sum(-1, keepdim=True).mean().sum(dim=(0, 1))",
    "y = permute(x, 1, 0) + x.transpose(0, 1) + x.reshape(2, -1) + x.T",
    "y = einsum('ij,jk->ik', a, b) + stack((a, b)).sum(0)",
    "y = clamp(x, 0, 1) + clamp(x, min=0) + clamp(x, max=x)",
    "y = F.mse_loss(a, b, reduction='sum') + F.cross_entropy(a, t) + F.nll_loss(a, t)",
    "y = F.layer_norm(x, [3], w, b) + softmax(x, -1) + gelu(x, approximate='tanh')",
    "y = div(x, z, rounding_mode='floor') + div(x, z)",
    "y = full([2, 3], 1.5) + zeros(3) + arange(3) + linspace(0, 1, 3)",
    "y = where(x > 0, x, 0) + where(x > 0, 1.5, x)",
    "y = index(x, [None, i]) + gather(x, 0, i) + x.masked_fill(m, 'Infinity')",
    "y = fft.rfft(x, norm='ortho').real + special.erf(x)",
    "y = conv2d(x, w, stride=[2, 1], padding=1) + F.conv2d(x, w, padding='same')",
    "torch = relu(x); F = torch.exp(); linalg = F.log(); y = linalg + 1",
    "_1 = relu(x); out = _1 * _1 * 2; out",
    "type = relu(x); match = type + 1; case = match * type",
    "y = relu(x).contiguous(memory_format=torch.contiguous_format)",
]


def assert_nothing_is_lost(answer: Any, graph: Any) -> None:
    first = answer("check", graph=graph)
    from_text = answer("check", graph=first["text"])
    from_json = answer("check", graph=first["graph"])
    assert from_text["sha256"] == first["sha256"], first["text"]
    assert from_text["graph"] == first["graph"]
    assert from_text["text"] == first["text"]
    assert from_json["sha256"] == first["sha256"]
    assert from_json["graph"] == first["graph"]


@pytest.mark.parametrize("text", TEXTS)
def test_text_that_is_printed_and_read_again_is_the_same_graph(answer, text):
    assert_nothing_is_lost(answer, text)


@pytest.mark.parametrize("name", ["torch", "aten", "linalg", "fft", "special", "nn", "F", "T", "out", "_", "match"])
@pytest.mark.parametrize("op", ["relu", "aten.add.Scalar", "linalg.solve", "max"])
def test_a_value_may_have_the_name_of_a_namespace_and_still_be_printed(answer, name, op):
    args = {"aten.add.Scalar": [f"${name}", 2], "max": [f"${name}", 0], "linalg.solve": ["$x", f"${name}"]}
    nodes = [
        {"id": name, "op": "exp", "args": ["$x"]},
        {"id": "y", "op": op, "args": args.get(op, [f"${name}"])},
    ]
    assert_nothing_is_lost(answer, {"nodes": nodes, "outputs": {"y": "$y.values" if op == "max" else "$y"}})


@pytest.mark.parametrize(
    "node",
    [
        {"op": "aten.nll_loss.default", "args": ["$x", "$z"]},
        {"op": "aten.nll_loss_nd.default", "args": ["$x", "$z"]},
        {"op": "aten.log_sigmoid.default", "args": ["$x"]},
        {"op": "aten.embedding.default", "args": ["$x", "$z"]},
        {"op": "aten.mse_loss.default", "args": ["$x", "$z"], "kwargs": {"reduction": 0}},
        {"op": "aten.max.other", "args": ["$x", "$z"]},
        {"op": "aten.sub.Scalar", "args": ["$x", 2]},
        {"op": "aten.div.Tensor_mode", "args": ["$x", "$z"], "kwargs": {"rounding_mode": "it's \"\n\\"}},
        {"op": "aten.div.Tensor_mode", "args": ["$x", "$z"], "kwargs": {"rounding_mode": "d\u00e9j\u00e0"}},
        {"op": "aten.div.Tensor_mode", "args": ["$x", "$z"], "kwargs": {"rounding_mode": "$$x"}},
        {"op": "aten.einsum.default", "args": ["$$", ["$x"]]},
        {"op": "aten.pow.Scalar", "args": [-2.5, "$x"]},
        {"op": "aten.pow.Scalar", "args": [[1.0, -2.0], "$x"]},
        {"op": "aten.add.Tensor", "args": ["$x", "$z"], "kwargs": {"alpha": [0, "NaN"]}},
        {"op": "aten.clamp.default", "args": ["$x"], "kwargs": {"min": "-Infinity"}},
        {"op": "getitem", "args": ["$x", -1]},
        {"op": "aten.eq.Scalar", "args": ["$x", True]},
        {"op": "aten.mul.Tensor", "args": ["$x", 1e300]},
        {"op": "aten.mul.Tensor", "args": ["$x", 9223372036854775807]},
        {"op": "aten.mul.Tensor", "args": ["$x", -9223372036854775808]},
    ],
    ids=lambda node: ascii((node["op"], node["args"], node.get("kwargs"))),
)
def test_a_node_that_is_printed_and_read_again_is_the_same_node(answer, node):
    assert_nothing_is_lost(answer, {"nodes": [{"id": "y", **node}]})


NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["NaN", "Infinity", "-Infinity", True, False]),
)
DATA = [
    {"dtype": "float64", "data": [[0.1, -0.0], ["NaN", 5e-324]]},
    {"dtype": "float32", "data": [0.1, 3.4028235e38, 1e-45]},
    {"dtype": "bfloat16", "data": [0.1, "Infinity"]},
    {"dtype": "complex128", "data": [[0.1, -2], ["NaN", 0]]},
    {"dtype": "int64", "data": [2**63 - 1, -(2**63)]},
    {"dtype": "uint8", "shape": [2, 0], "data": []},
    {"dtype": "bool", "data": True},
    [1, 2.5],
]
NAMES = [
    "a",
    "b",
    "c",
    "x1",
    "h",
    "_1",
    "_2",
    "out",
    "out1",
    "y",
    "T",
    "values",
    "data",
    "sum",
    "type",
    "Z9_",
    "__debug__",
]
SPECS = [{}, {"dtype": "float32"}, {"shape": ["n", 3]}, {"dtype": "int64", "shape": ["n"]}]

UNARY = ["relu", "neg", "exp", "torch.tanh", "aten::sin", "bitwise_not", "positive", "aten.abs.default", "numpy_T"]
BINARY = [
    "add",
    "sub",
    "mul",
    "div",
    "pow",
    "remainder",
    "floor_divide",
    "lt",
    "eq",
    "matmul",
    "bitwise_and",
    "maximum",
]


@st.composite
def random_graphs(draw: Any) -> dict[str, Any]:
    """A graph whose operators, names and literals are right, whatever the shapes; nothing is known of its inputs."""
    size, rng = draw(st.integers(1, 8)), draw(st.randoms(use_true_random=True))
    names = rng.sample(NAMES, len(NAMES))
    inputs = [names.pop() for _ in range(rng.randint(1, 3))]
    constants = {names.pop(): rng.choice(DATA) for _ in range(rng.randint(0, 2))}
    values, lists = [f"${name}" for name in inputs], []
    nodes = []
    for _ in range(size):
        name = names.pop()
        first, second = rng.choice(values), rng.choice([*values, *(f"${constant}" for constant in constants)])
        choices: list[dict[str, Any]] = [
            {"op": rng.choice(UNARY), "args": [first]},
            {"op": rng.choice(BINARY), "args": [first, second]},
            {"op": rng.choice(BINARY[:9]), "args": [first, draw(NUMBERS)]},
            {"op": rng.choice(["pow", "remainder", "bitwise_and"]), "args": [draw(NUMBERS), first]},
            {"op": "add", "args": [first, second], "kwargs": {"alpha": draw(NUMBERS)}},
            {"op": "sum", "args": [first], "kwargs": {"dim": rng.choice([0, [0], [-1, 0], []])}},
            {"op": "max", "args": [first], "kwargs": {"dim": 0, "keepdim": rng.choice([True, False])}},
            {"op": "split", "args": [first, 2]},
            {"op": "cat", "args": [rng.choice([[first, second], *lists])], "kwargs": {"dim": -1}},
            {"op": "index", "args": [first, rng.choice([[None, second], [second], [second, second]])]},
        ]
        node = rng.choice(choices)
        nodes.append({"id": name, **node})
        parts = {"max": [".values", ".1"], "split": [".0", ".11"]}.get(node["op"], [""])
        values += [f"${name}{part}" for part in parts]
        lists += [f"${name}"] if node["op"] == "split" else []
    outputs = {names.pop(): rng.choice(values) for _ in range(rng.randint(1, 2))}
    graph = {"constants": constants, "nodes": rng.sample(nodes, len(nodes)), "outputs": outputs}
    declared = {"inputs": {name: rng.choice(SPECS) for name in inputs}}
    return {**graph, **declared} if rng.choice([True, False]) else graph


@settings(max_examples=100, deadline=None, derandomize=True)
@given(graph=random_graphs())
def test_any_graph_that_is_printed_and_read_again_is_the_same_graph(answer, graph):
    assert_nothing_is_lost(answer, graph)


def test_the_text_of_a_graph_computes_what_the_graph_computes(answer):
    nodes = [
        {"id": "m", "op": "max", "args": ["$h"], "kwargs": {"dim": 1}},
        {"id": "y", "op": "pow", "args": [2, "$m.values"]},
        {"id": "h", "op": "sub", "args": ["$x", "$w"], "kwargs": {"alpha": 3}},
    ]
    graph = {"nodes": nodes, "constants": {"w": [0.5, 1]}, "outputs": ["y"]}
    inputs = {"x": [[1.0, 2.5], [-1.0, 0.0]]}
    text = answer("check", graph=graph)["text"]
    expected = (2 ** (torch.tensor(inputs["x"]).double() - 3 * torch.tensor([0.5, 1])).max(1).values).tolist()
    assert answer("forward", graph=text, inputs=inputs)["outputs"]["y"]["data"] == expected
    assert answer("forward", graph=graph, inputs=inputs)["outputs"]["y"]["data"] == expected


# Indexing is torch's own

INDEXED = {
    "x": torch.arange(24, dtype=torch.float64).reshape(2, 3, 4),
    "i": torch.tensor([0, 1, 1]),
    "j": torch.tensor([[1, 0], [-1, 1]]),
    "k": torch.tensor(1),
    "m2": torch.tensor([False, True]),
    "m3": torch.tensor([True, False, True]),
    "m23": torch.arange(6).reshape(2, 3) % 2 == 0,
    "m234": torch.arange(24).reshape(2, 3, 4) % 3 == 0,
    "m0": torch.tensor(True),
    "none": torch.zeros(2, dtype=torch.bool),
}
INDICES = """
0; -1; 1, 2; -1, -1, -1; :; 1:; :-1; -2:; ::2; 1:1; 5:7; -100:100; 0:100:3; 0, 1:, ::3; :, 1; :, :, 2; :, -2:, 1
None; :, None; None, 0; 0, None; None, 1, None; :, :, :, None; ...; ..., 0; 0, ...; 0, ..., 0; ..., None; None, ...
..., None, :; ..., None, 0; ..., 0, None; ..., 1:3; ..., ::2, 1:3; 1, ..., None, 2:; 0, 0, ..., None; 1, 2, 3, ...
(); 0, 0, 0, None; None, None
i; :, i; :, :, i; j; :, j; j, :; i, i; i, :, i; j, j, j; j, :, j; :, j, j; 0, i; None, i; 1:, i; :, 1:, i; :, 0, i
k; :, k; k, k; k, k, k; m2; :, m3; m2, m3; m23; m234; m2, :, i[:1]; 0, m3; None, m2; none; 0, m3, :
i[:2], i[:2], m234[0, 0]; x > 5; x[:, 0, 0] > 1, ...; :, x[0, :, 0] > 3
"""


def index_expressions(text: str = INDICES) -> list[str]:
    return [part.strip() for part in text.replace("\n", ";").split(";") if part.strip()]


def full(tensor: torch.Tensor) -> dict[str, Any]:
    return {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape), "data": tensor.tolist()}


def index_request(index: str) -> dict[str, Any]:
    words = {"x", *"".join(c if c.isalnum() else " " for c in index).split()}
    return {
        "graph": f"y = x[{index}]",
        "inputs": {name: full(tensor) for name, tensor in INDEXED.items() if name in words},
    }


def torch_picks(index: str) -> tuple[list[int], Any]:
    picked = eval(f"x[{index}]", {}, INDEXED)
    return list(picked.shape), picked.tolist()


@pytest.mark.parametrize("index", index_expressions())
def test_an_index_picks_what_torch_picks(answer, index):
    found = answer("forward", **index_request(index))["outputs"]["y"]
    assert (found["shape"], found["data"]) == torch_picks(index)


@pytest.mark.parametrize("index", index_expressions())
def test_the_text_that_an_index_prints_as_picks_the_same(answer, index):
    request = index_request(index)
    text = answer("check", graph=request["graph"])["text"]
    found = answer("forward", graph=text, inputs=request["inputs"])["outputs"]["y"]
    assert (found["shape"], found["data"]) == torch_picks(index)


HARD = """
i, 0; i, 1:; i, 1:2; i, None; i, :, 0; i, :, 1:; i, 0, i; i, 0, 1; i, 1:, i; i, None, i; i, None, :, i; j, 0; j, 1:
m23, 0; m23, 0:3; m23, 1:; m23, None; m23, ::2; m2, 0; m2, 1:; m2, None; m234, None; m23, 0:2; m23, :, None
..., i; ..., i, :; ..., m3, :; ..., i, 0; i, ...; i, ..., 0; i, ..., i; 0, ..., i; None, m23, 0:3; m23, ..., 0:3
m0; m0, 0; None, m0; k, 0; k, 1:; k, None; [0, 1]; :, [2, 0]; [0, 1], [1, 2]; [0, 1], 1:; [[0, 1], [1, 0]]
[True, False]; True; False; True, 0; None, True
"""


@pytest.mark.parametrize("index", index_expressions(HARD))
def test_a_hard_index_picks_what_torch_picks_or_is_refused_but_never_picks_anything_else(post, index):
    request = index_request(index)
    response = post("forward", **request)
    assert response.status_code in (200, 422)
    if response.status_code == 200:
        text = post("check", graph=request["graph"]).json()["text"]
        for answered in (response, post("forward", graph=text, inputs=request["inputs"])):
            found = answered.json()["outputs"]["y"]
            assert (found["shape"], found["data"]) == torch_picks(index)


@pytest.mark.parametrize("index", ["i, j", "m3, m2", "m23, m23", "5", ":, :, :, 0", "0, 0, 0, 0", "7:, 3", "m3"])
def test_an_index_that_torch_refuses_is_refused(post, index):
    with pytest.raises(IndexError):
        torch_picks(index)
    assert post("forward", **index_request(index)).status_code == 422


def test_an_element_of_several_outputs_is_picked_by_its_number(answer):
    x = torch.tensor([[1.0, 5.0], [4.0, 2.0]], dtype=torch.float64)
    graph = "m = max(x, 0); s = split(x, 1); return {'v': m[0], 'i': m[1], 's': s[1]}"
    outputs = answer("forward", graph=graph, inputs={"x": x.tolist()})["outputs"]
    assert outputs["v"]["data"] == x.max(0).values.tolist()
    assert outputs["i"]["data"] == x.max(0).indices.tolist()
    assert outputs["s"]["data"] == x.split(1)[1].tolist()


def test_a_gradient_flows_back_through_an_index(answer):
    x = INDEXED["x"].clone().requires_grad_()
    (x[:, INDEXED["i"], 1:] ** 2).sum().backward()
    inputs = {"x": x.tolist(), "i": full(INDEXED["i"])}
    result = answer("backward", graph="h = x[:, i]; y = (h[:, :, 1:] ** 2).sum()", inputs=inputs, wrt=["x"])
    assert result["gradients"]["x"]["data"] == x.grad.tolist()


def test_the_whole_text_form_is_json_that_any_client_could_have_sent():
    for text in [*TEXTS, *CONSTRUCTS]:
        graph = translate(text).graph
        assert json.loads(json.dumps(graph, allow_nan=False)) == graph
