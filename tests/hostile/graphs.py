"""Graphs and texts that try names, references, nesting and Python where there is none."""

from __future__ import annotations

import keyword
from typing import Any

from tests.hostile.case import Case, X, ask, calling, case

NODES_LIMIT = 10_000


def node(name: str, op: str, *args: Any) -> dict[str, Any]:
    return {"id": name, "op": op, "args": list(args)}


BAD_NAMES = {
    "right to left": "\u202ey",
    "zero width": "y\u200b",
    "Cyrillic": "\u0443",
    "full width": "\uff59",
    "accent": "\u00e9",
    "combining": "y\u0301",
    "emoji": "\U0001f525",
    "null byte": "y\0",
    "line end": "y\n",
    "blank": "y ",
    "empty": "",
    "dot": "y.values",
    "dollar": "$y",
    "slash": "../y",
    "digit": "1y",
    "10,000 letters": "y" * 10_000,
    "script": "<script>",
    "superscript": "y\u00b2",
    "ligature": "\ufb01",
    "Greek": "\u03b1",
    "format": "{y}",
    "quote": "y'",
    "semicolon": "y;import os",
    "byte order mark": "\ufeffy",
    "variation": "y\ufe0f",
    "tag": "y\U000e0041",
    "line separator": "y\u2028",
}

STATEMENTS = {
    "import": "import os",
    "import from": "from os import system",
    "import star": "from os import *",
    "delete": "del x",
    "global": "global x",
    "pass": "pass",
    "assert": "assert x",
    "raise": "raise x",
    "while": "while True: y = x",
    "for": "for i in x: y = i",
    "if": "if x: y = x",
    "with": "with x as y: pass",
    "try": "try: y = x\nexcept: pass",
    "function": "def f(): return 1",
    "async function": "async def f(): return 1",
    "class": "class y: pass",
    "decorator": "@x\ndef f(): pass",
    "match": "match x:\n  case 1: pass",
    "type alias": "type y = int",
    "augmented": "x += 1",
    "await": "y = await x",
    "yield": "y = yield x",
    "walrus": "y = (h := x)",
    "assignment to an attribute": "x.data = x",
    "assignment to an item": "x[0] = 1",
    "two targets": "y = h = x",
    "starred target": "*y, h = x",
}

EXPRESSIONS = {
    "lambda": "(lambda: x)()",
    "comprehension": "[i for i in x]",
    "generator": "sum(i for i in x)",
    "set": "{x}",
    "dict comprehension": "{i: i for i in x}",
    "f-string": "f'{x}'",
    "f-string that calls": "f'{x.__class__}'",
    "bytes": "b'x'",
    "conditional": "x if x else x",
    "and": "x and x",
    "not": "not x",
    "in": "x in x",
    "is": "x is x",
    "chained": "0 < x < 1",
    "star": "relu(*x)",
    "double star": "relu(**x)",
    "a call of a call": "relu(x)(x)",
    "a call of an item": "x[0](x)",
    "a call of a string": "'relu'(x)",
    "a call of a number": "1(x)",
    "an operator by item": "torch['relu'](x)",
    "a dict": "{'a': x}",
    "yield inside": "relu((yield))",
    "walrus inside": "relu(h := x)",
    "ellipsis": "...",
    "starred": "[*x]",
}

ATTACKS = {
    "__import__": "__import__('os')",
    "__import__ and on": "__import__('os').system('id')",
    "os.system": "os.system('id')",
    "eval": "eval('1')",
    "exec": "exec('1')",
    "open": "open('/etc/passwd')",
    "getattr": "getattr(x, '__class__')",
    "globals": "globals()",
    "a method dunder": "x.__class__()",
    "subclasses": "x.__class__.__subclasses__()",
    "print": "print(x)",
    "from_file": "torch.from_file('/etc/passwd')",
    "torch.load": "torch.load('/etc/passwd')",
    "np.load": "np.load(x)",
    "torch.ops": "torch.ops.load_library('/tmp/x.so')",
    "a mutation": "x.add_(1)",
    "a setter": "x.set_(x)",
    "cuda": "x.cuda()",
    "compile": "torch.compile(x)",
    "item": "x.item()",
    "tolist": "x.tolist()",
    "numpy": "x.numpy()",
    "pickle": "pickle.loads(x)",
}

LONG_CHAIN = [node("h0", "relu", "$x"), *(node(f"h{k + 1}", "relu", f"$h{k}") for k in range(100_000))]

BROKEN_TEXT = {
    "open parenthesis": "y = (x",
    "three dots and a dunder": "y = ....__class__",
    "a tab for an indent": "y = x\n\th = x",
    "a null byte": "y = x\0",
    "a form feed": "y = x\f",
    "right to left": "y = x \u202e + x",
    "a homoglyph": "\u0443 = x",
    "full width": "y = \uff58",
    "no-break space": "y =\u00a0x",
    "an escape": "y = x \\",
    "a line of backslashes": "\\" * 1000,
    "100,000 quotes": "'" * 100_001,
    "a string without end": "y = relu('x",
    "an emoji": "y = \U0001f525(x)",
}

DEEP_TEXT = {
    "100,000 parentheses": "y = " + "(" * 100_000 + "x" + ")" * 100_000,
    "150 parentheses": "y = " + "(" * 250 + "x" + ")" * 250,
    "100,000 brackets": "y = x" + "[" * 100_000 + "0" + "]" * 100_000,
    "100,000 calls": "y = " + "relu(" * 100_000 + "x" + ")" * 100_000,
    "100,000 minus signs": "y = " + "-" * 100_000 + "x",
    "100,000 additions": "y = x" + " + x" * 100_000,
    "100,000 powers": "y = x" + " ** x" * 100_000,
    "100,000 attributes": "y = x" + ".T" * 100_000,
    "100,000 methods": "y = x" + ".relu()" * 100_000,
    "100,000 subscripts": "y = x" + "[0]" * 100_000,
    "5,000 additions": "y = x" + " + x" * 5_000,
    "100,000 comparisons": "y = x" + " < x" * 100_000,
    "100,000 nots": "y = " + "not " * 100_000 + "x",
    "100,000 lists": "w = " + "[" * 100_000 + "1.0" + "]" * 100_000 + "; y = x * w",
    "90 lists": "w = " + "[" * 90 + "1.0" + "]" * 90 + "; y = x * w",
    "lambdas": "y = " + "lambda: " * 100_000 + "x",
}

REFERENCES = {
    "nowhere": ("undefined_name", {"inputs": {"x": {}}, **calling("relu", "$nowhere")}, "/graph/nodes/0/args/0"),
    "itself": ("graph_cycle", calling("add", "$x", "$y"), "/graph/nodes/0"),
    "a dunder": ("bad_reference", calling("relu", "$x.__class__"), "/graph/nodes/0/args/0"),
    "an attribute": ("bad_reference", calling("relu", "$x.grad_fn.next_functions"), "/graph/nodes/0/args/0"),
    "a negative part": ("bad_reference", calling("relu", "$x.-1"), "/graph/nodes/0/args/0"),
    "part 10^30": ("bad_reference", calling("relu", f"$x.{10**30}"), "/graph/nodes/0/args/0"),
    "an empty name": ("undefined_name", calling("relu", "$"), "/graph/nodes/0/args/0"),
    "an empty part": ("bad_reference", calling("relu", "$x."), "/graph/nodes/0/args/0"),
    "10,000 parts": ("bad_reference", calling("relu", "$x" + ".0" * 10_000), "/graph/nodes/0/args/0"),
    "a keyword": ("undefined_name", calling("relu", "$lambda"), "/graph/nodes/0/args/0"),
    "a name of 10,000 letters": ("undefined_name", calling("relu", "$" + "a" * 10_000), "/graph/nodes/0/args/0"),
    "a null byte": ("undefined_name", calling("relu", "$x\0"), "/graph/nodes/0/args/0"),
    "a zero width space": ("undefined_name", calling("relu", "$x\u200b"), "/graph/nodes/0/args/0"),
    "a path": ("undefined_name", calling("relu", "$/etc/passwd"), "/graph/nodes/0/args/0"),
    "a blank": ("undefined_name", calling("relu", "$ x"), "/graph/nodes/0/args/0"),
    "where a number belongs": ("bad_argument", calling("sum", "$x", "$x"), "/graph/nodes/0/args/1"),
}

OUTPUTS = {
    "nowhere": {"y": "$z"},
    "a dunder": {"y": "$y.__class__"},
    "a part": {"y": "$y.0"},
    "no reference": {"y": "y"},
}

INDICES = {
    "a huge index": "y = x[1000000000000]",
    "below the start": "y = x[-5]",
    "beyond 64 bits": "y = x[10000000000000000000000]",
    "a step of zero": "y = x[::0]",
    "a step backwards": "y = x[::-1]",
    "too many axes": "y = x[0, 0, 0]",
    "two ellipses": "y = x[..., ...]",
    "a float": "y = x[0.5]",
    "a string": "y = x['__class__']",
    "a piece too far": "a, b = split(x, 3); y = a",
}

GRADS = {
    "wrong shape": ("shape_mismatch", [1.0], ""),
    "one axis too many": ("shape_mismatch", [[1.0, 1.0, 1.0]], ""),
    "wrong dtype": ("dtype_mismatch", {"dtype": "float32", "data": [1.0, 1.0, 1.0]}, ""),
    "integers": ("dtype_mismatch", {"dtype": "int64", "data": [1, 1, 1]}, ""),
    "10^12 elements that are not sent": ("wrong_count", {"shape": [10**12], "data": [1.0]}, "/data"),
    "10^12 elements in base64": (
        "wrong_count",
        {"dtype": "float64", "shape": [10**12], "encoding": "base64", "data": ""},
        "/data",
    ),
    "a sparse tensor": ("unknown_field", {"layout": "sparse_coo", "data": [1.0]}, "/layout"),
    "ragged": ("ragged_data", [1.0, [1.0], 1.0], "/1"),
    "a word": ("invalid_element", "ones", ""),
    "a reference": ("invalid_element", "$y", ""),
}

CONSTANTS = {
    "ragged": ("ragged_data", [[1.0], [1.0, 2.0]], "/1"),
    "giant": ("limit_exceeded", {"shape": [2**31, 2**31, 2**31], "data": [1.0]}, "/shape"),
    "65 axes": ("limit_exceeded", {"shape": [1] * 65, "data": [1.0]}, "/shape"),
    "a negative size": ("invalid_field", {"shape": [-3], "data": []}, "/shape/0"),
    "an unknown dtype": ("invalid_field", {"dtype": "__class__", "data": [1.0]}, "/dtype"),
    "a quantised dtype": ("invalid_field", {"dtype": "qint8", "data": [1]}, "/dtype"),
    "an object dtype": ("invalid_field", {"dtype": "object", "data": [1]}, "/dtype"),
}

FIELDS = {
    "wrt a dunder": ("unknown_input", {"wrt": ["__class__"]}, "/wrt/0"),
    "wrt a node": ("unknown_input", {"wrt": ["y"]}, "/wrt/0"),
    "a device of the host": ("invalid_field", {"device": "/dev/mem"}, "/device"),
    "a GPU out of range": ("device_unavailable|invalid_field", {"device": "cuda:99999999999999999999"}, "/device"),
    "a negative seed": ("invalid_field", {"seed": -1}, "/seed"),
    "a seed beyond 64 bits": ("invalid_field", {"seed": 2**64}, "/seed"),
    "a prototype": ("unknown_field", {"__proto__": {}}, "/__proto__"),
    "a class": ("unknown_field", {"__class__": "x"}, "/__class__"),
    "a model's config": ("unknown_field", {"model_config": {}}, "/model_config"),
    "an unknown grad_tensor": ("unknown_output", {"grad_tensors": {"z": [1.0]}}, "/grad_tensors/z"),
    "an unknown input": ("unknown_input", {"inputs": {**X, "z": 1.0}}, "/inputs/z"),
    "grad_tensors by the thousand": (
        "wrong_count|unknown_output|invalid_field",
        {"grad_tensors": [[1.0]] * 1000},
        "/grad_tensors",
    ),
}


def _graphs() -> list[Case]:
    """Cases of whole graphs in JSON."""
    ring = [node(f"h{k}", "relu", f"$h{(k + 1) % 5000}") for k in range(5000)]
    return [
        case("graph: 100,000 nodes", ask({"nodes": LONG_CHAIN}), "limit_exceeded", "/graph/nodes"),
        case(
            "graph: 100,000 statements",
            ask("\n".join(f"h{k} = relu(x)" for k in range(100_000))),
            "limit_exceeded",
            "/graph",
        ),
        case("graph: a ring of 5,000", ask({"nodes": ring}), "graph_cycle", "/graph/nodes/0", node="h0"),
        case(
            "graph: one id 9,000 times",
            ask({"nodes": [node("y", "relu", "$x")] * 9000}),
            "duplicate_name",
            "/graph/nodes/1/id",
            node="y",
        ),
        case("graph: no nodes", ask({"nodes": []}), "empty_graph", "/graph/outputs"),
        case("graph: an empty text", ask(""), "empty_graph|invalid_syntax", "/graph"),
        case("graph: 5 MB of text", ask("y = x" + " " * 5 * 10**6), "limit_exceeded", "/graph"),
        case(
            "graph: a list of 100,000 references",
            ask(calling("cat", ["$x"] * 100_000)),
            "bad_argument",
            "/graph/nodes/0/args/0",
            node="y",
        ),
        case(
            "graph: 100,000 arguments",
            ask(calling("relu", *["$x"] * 100_000)),
            "bad_argument",
            "/graph/nodes/0/args/1",
            node="y",
        ),
        case("graph: an operator of 300 letters", ask(calling("a" * 300, "$x")), "invalid_field", "/graph/nodes/0/op"),
        case(
            "graph: an operator of 10^6 letters", ask(calling("a" * 10**6, "$x")), "invalid_field", "/graph/nodes/0/op"
        ),
        case("graph: an operator that is a list", ask(calling(["relu"], "$x")), "invalid_field", "/graph/nodes/0/op"),
        case("graph: an operator that is null", ask(calling(None, "$x")), "invalid_field", "/graph/nodes/0/op"),
        case(
            "graph: an object for an argument",
            ask(calling("relu", {"__class__": "x"})),
            "bad_argument",
            "/graph/nodes/0/args/0",
            node="y",
        ),
        case(
            "graph: an input of a node's name",
            ask({"inputs": {"x": {}, "y": {}}, **calling("relu", "$x")}),
            "duplicate_name",
            "/graph/nodes/0/id",
            node="y",
        ),
        case(
            "graph: 10,000 undefined names",
            ask({"inputs": {}, "nodes": [node(f"h{k}", "relu", f"$z{k}") for k in range(9_999)]}),
            "undefined_name",
            "/graph/nodes/0/args/0",
            node="h0",
        ),
    ]


def _call(text: str) -> str:
    return f"y = {text}"


GRAPHS = [
    *(
        case(f"name of a node: {name}", ask({"nodes": [node(word, "relu", "$x")]}), "invalid_name", "/graph/nodes/0/id")
        for name, word in BAD_NAMES.items()
    ),
    *(
        case(f"name of a node: {word}", ask({"nodes": [node(word, "relu", "$x")]}), "invalid_name", "/graph/nodes/0/id")
        for word in keyword.kwlist
    ),
    *(case(f"statement: {name}", ask(text), "invalid_syntax", "/graph") for name, text in STATEMENTS.items()),
    *(case(f"expression: {name}", ask(_call(text)), "invalid_syntax", "/graph") for name, text in EXPRESSIONS.items()),
    *(
        case(
            f"attack: {name}",
            ask(_call(text)),
            "invalid_syntax|unknown_op|refused_op|undefined_name|bad_argument|bad_reference",
            "/graph",
        )
        for name, text in ATTACKS.items()
    ),
    *(case(f"text: {name}", ask(text), "invalid_syntax", "/graph") for name, text in BROKEN_TEXT.items()),
    *(
        case(
            f"deep text: {name}",
            ask(text),
            "too_deep|invalid_syntax|limit_exceeded|bad_argument|incompatible_arguments",
            "/graph",
        )
        for name, text in DEEP_TEXT.items()
    ),
    *(
        case(f"reference to {name}", ask(graph), code, place, node="y")
        for name, (code, graph, place) in REFERENCES.items()
    ),
    *(
        case(
            f"output: {name}",
            ask({"inputs": {"x": {}}, **calling("relu", "$x"), "outputs": o}),
            "undefined_name|bad_reference",
            "/graph/outputs/y",
        )
        for name, o in OUTPUTS.items()
    ),
    *(
        case(f"index: {name}", ask(text), "bad_argument|incompatible_arguments|invalid_syntax|bad_reference", "/graph")
        for name, text in INDICES.items()
    ),
    *(
        case(f"grad_tensors: {name}", ask("y = x * x", grad_tensors={"y": value}), code, "/grad_tensors/y" + place)
        for name, (code, value, place) in GRADS.items()
    ),
    *(
        case(
            f"constant: {name}",
            ask({"constants": {"w": value}, **calling("relu", "$x")}),
            code,
            "/graph/constants/w" + place,
        )
        for name, (code, value, place) in CONSTANTS.items()
    ),
    *(
        case(f"field: {name}", {**ask("y = relu(x)"), "grad_tensors": {"y": [1.0] * 3}, **fields}, code, place)
        for name, (code, fields, place) in FIELDS.items()
    ),
    *_graphs(),
]
