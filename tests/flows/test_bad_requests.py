"""Requests that must be refused, and what their authors are told: one row a mistake."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from tests.conftest import in_process

from pullback_schemas import Problem
from pullback_schemas.problems import problem_classes
from pullback_service.settings import Settings

X = {"x": [1.0, 2.0, 3.0]}
MATRIX = {"x": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]}
INDEX = {**X, "i": {"dtype": "int64", "data": [0, 1, 7]}}
IMAGE = {"x": {"shape": [1, 1, 4, 4], "data": [1.0] * 16}}
INDEFINITE = {"x": [[1.0, 2.0], [2.0, 1.0]]}
BROKEN = {"x": [["NaN", 2.0], [2.0, 1.0]]}
ORDINARY = {"graph": "y = (x * x).sum()", "inputs": X}
SENTENCE = "grad can be implicitly created only for scalar outputs"
ANYWHERE = "anywhere"
"""An excerpt must be there; where its caret stands is a matter of taste."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A bad request and the one problem it must be told."""

    id: str
    operation: str
    body: Any
    status: int
    code: str
    pointer: str | None
    node: str | None = None
    says: tuple[str, ...] = ()
    caret: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"

    def send(self, client: httpx.Client) -> httpx.Response:
        body = self.body if isinstance(self.body, bytes | None) else json.dumps(self.body).encode()
        headers = {"content-type": "application/json", **self.headers}
        return client.request(self.method, self.operation, content=body, headers=headers)


def bad(row_id: str, body: Any, code: str, pointer: str | None, operation: str = "/v1/forward", **expected: Any) -> Row:
    """A row; `says` may be one word. A string is the raw body."""
    says = expected.pop("says", ())
    return Row(
        id=row_id,
        operation=operation,
        body=body.encode() if isinstance(body, str) else body,
        status=expected.pop("status", 422),
        code=code,
        pointer=pointer,
        says=(says,) if isinstance(says, str) else says,
        **expected,
    )


def ask(graph: Any, inputs: Any = None, **fields: Any) -> dict[str, Any]:
    return {"graph": graph, "inputs": X if inputs is None else inputs, **fields}


def node(op: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    return {"id": "y", "op": op, "args": list(args), "kwargs": kwargs}


def call(op: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """The graph of one node `y`."""
    return {"nodes": [node(op, *args, **kwargs)]}


def spec(**inputs: Any) -> dict[str, Any]:
    """A graph `y = relu(x)` with declared inputs."""
    return {"inputs": inputs, **call("relu", "$x")}


def tensor(data: Any, dtype: str | None = None, **more: Any) -> dict[str, Any]:
    return {"data": data, **({"dtype": dtype} if dtype else {}), **more}


RELU = call("relu", "$x")

# HTTP, and the bytes as such


def plain(row_id: str, code: str, status: int, operation: str = "/v1/forward", **more: Any) -> Row:
    """A row about the request's envelope, whatever it holds."""
    return bad(row_id, more.pop("body", ORDINARY), code, None, operation, status=status, **more)


ENVELOPE = [
    plain("content type text", "unsupported_media_type", 415, headers={"content-type": "text/plain"}),
    plain(
        "content type form",
        "unsupported_media_type",
        415,
        headers={"content-type": "multipart/form-data; boundary=x"},
        says="application/json",
    ),
    plain("brotli", "unsupported_media_type", 415, headers={"content-encoding": "br"}, says=("br", "gzip", "identity")),
    plain("accepts only html", "not_acceptable", 406, headers={"accept": "text/html"}, says="application/json"),
    plain("accepts only images", "not_acceptable", 406, headers={"accept": "image/png, image/*;q=0.5"}),
    plain("no such operation", "not_found", 404, "/v1/backwards"),
    plain("no such address", "not_found", 404, "/nowhere", method="GET", body=None),
    plain("no such version", "not_found", 404, "/v2/forward"),
    plain("op page unknown", "not_found", 404, "/v1/ops/rellu", method="GET", body=None, says="relu"),
    plain("op page of a dunder", "not_found", 404, "/v1/ops/__class__", method="GET", body=None),
    plain("get of an operation", "method_not_allowed", 405, method="GET", body=None, says="GET"),
    plain("delete of the catalogue", "method_not_allowed", 405, "/v1/ops", method="DELETE", body=None),
]

JSON = [
    plain("not json", "not_json", 400, body='{"graph": "y = x",, }', caret=", }"),
    plain("empty body", "not_json", 400, body="", says="empty"),
    plain("blank body", "not_json", 400, body=" \n ", says="empty"),
    plain("cut off", "not_json", 400, body='{"graph": "y = relu(x)", "inputs": {"x": [1.0, 2'),
    plain("two documents", "not_json", 400, body="{} {}"),
    plain("not utf-8", "not_json", 400, body=b'{"graph": "\xff"}', says="UTF-8"),
    plain("utf-16", "not_json", 400, body=json.dumps(ORDINARY).encode("utf-16")),
    plain("half a surrogate pair", "not_json", 400, body=r'{"graph": "y = relu(x) # \ud800"}', says="surrogate"),
    plain("NaN token", "not_json", 400, body='{"graph": "y = relu(x)", "inputs": {"x": [NaN]}}', says='"NaN"'),
    plain("Infinity token", "not_json", 400, body='{"graph": "y = x", "inputs": {"x": -Infinity}}', says='"-Infinity"'),
    plain(
        "input twice",
        "duplicate_key",
        400,
        body='{"graph": "y = relu(x)", "inputs": {"x": [1.0], "x": [2.0]}}',
        says="'x'",
    ),
    plain(
        "argument twice in kwargs",
        "duplicate_key",
        400,
        body='{"graph": {"nodes": [{"id": "y", "op": "sum", "args": ["$x"], "kwargs": {"dim": 0, "dim": 1}}]}}',
        says="'dim'",
    ),
    plain("100,000 open brackets", "too_deep", 422, body="[" * 100_000),
    plain("100,000 open objects", "too_deep", 422, body='{"a":' * 100_000),
    bad("a list", "[]", "invalid_field", None, says="object"),
    bad("a string", '"y = relu(x)"', "invalid_field", None, says="object"),
    bad("null", "null", "invalid_field", None, says="object"),
]

# Fields

FIELDS = [
    bad(
        "unknown field", ask(RELU, grad_tensor={}), "unknown_field", "/grad_tensor", "/v1/backward", says="grad_tensors"
    ),
    bad("unknown field, nothing near", ask(RELU, colour="red"), "unknown_field", "/colour", says="colour"),
    bad(
        "field of another operation",
        ask(RELU, grad_tensors={}),
        "unknown_field",
        "/grad_tensors",
        says=("/v1/backward", "/v1/hvp"),
    ),
    bad(
        "field of two other operations",
        ask(RELU, deterministic=True),
        "unknown_field",
        "/deterministic",
        "/v1/jacobian",
        says=("/v1/forward", "/v1/backward"),
    ),
    bad(
        "field of another operation that looks like one",
        ask(RELU, outputs=False),
        "unknown_field",
        "/outputs",
        says="/v1/backward",
    ),
    bad(
        "unknown field in a tensor",
        ask(RELU, {"x": tensor([1], dtpe="int8")}),
        "unknown_field",
        "/inputs/x/dtpe",
        says="dtype",
    ),
    bad(
        "unknown field in a constant",
        ask({"constants": {"w": tensor([1], shap=[1])}, **RELU}),
        "unknown_field",
        "/graph/constants/w/shap",
        says="shape",
    ),
    bad(
        "unknown field in a declaration",
        ask(spec(x={"shpe": [3]})),
        "unknown_field",
        "/graph/inputs/x/shpe",
        says="shape",
    ),
    bad("unknown field in a graph", ask({**RELU, "output": ["y"]}), "unknown_field", "/graph/output", says="outputs"),
    bad(
        "unknown field in a node",
        ask({"nodes": [{"id": "y", "op": "relu", "arg": ["$x"]}]}),
        "unknown_field",
        "/graph/nodes/0/arg",
        says="args",
    ),
    bad(
        "unknown kwargs in a node",
        ask({"nodes": [{"id": "y", "op": "relu", "args": ["$x"], "kwarg": {}}]}),
        "unknown_field",
        "/graph/nodes/0/kwarg",
        says="kwargs",
    ),
    bad("unknown field whose name has a slash", ask(RELU, **{"a/b~c": 1}), "unknown_field", "/a~1b~0c"),
    bad("graph missing", {"inputs": X}, "missing_field", "/graph", says="graph"),
    bad("graph a number", ask(5), "invalid_field", "/graph"),
    bad("graph a list", ask([]), "invalid_field", "/graph"),
    bad("graph null", ask(None), "invalid_field", "/graph"),
    bad("nodes an object", ask({"nodes": {"y": 1}}), "invalid_field", "/graph/nodes", says="list"),
    bad("node a string", ask({"nodes": ["relu"]}), "invalid_field", "/graph/nodes/0"),
    bad("node without op", ask({"nodes": [{"id": "y"}]}), "missing_field", "/graph/nodes/0/op"),
    bad("node without id", ask({"nodes": [{"op": "relu", "args": ["$x"]}]}), "missing_field", "/graph/nodes/0/id"),
    bad(
        "args a string",
        ask({"nodes": [{"id": "y", "op": "relu", "args": "$x"}]}),
        "invalid_field",
        "/graph/nodes/0/args",
        says="list",
    ),
    bad(
        "kwargs a list",
        ask({"nodes": [{"id": "y", "op": "relu", "args": ["$x"], "kwargs": []}]}),
        "invalid_field",
        "/graph/nodes/0/kwargs",
    ),
    bad("op a number", ask({"nodes": [{"id": "y", "op": 7}]}), "invalid_field", "/graph/nodes/0/op"),
    bad("outputs a string", ask({**RELU, "outputs": "y"}), "invalid_field", "/graph/outputs"),
    bad("output a number", ask({**RELU, "outputs": {"y": 3}}), "invalid_field", "/graph/outputs/y"),
    bad("inputs a list", ask(RELU, [[1.0]]), "invalid_field", "/inputs"),
    bad("device unknown", ask(RELU, device="tpu"), "invalid_field", "/device", says="cpu"),
    bad("device cuda", ask(RELU, device="cuda"), "device_unavailable", "/device", says=("cuda", "cpu")),
    bad("device cuda:3", ask(RELU, device="cuda:3"), "device_unavailable", "/device", says="cuda:3"),
    bad("encoding unknown", ask(RELU, encoding="hex"), "invalid_field", "/encoding", says=("nested", "base64")),
    bad("wrt a string", ask(RELU, wrt="x"), "invalid_field", "/wrt", "/v1/backward", says="list"),
    bad("wrt a number", ask(RELU, wrt=[1]), "invalid_field", "/wrt/0", "/v1/backward"),
    bad(
        "unused unknown", ask(RELU, unused="zero"), "invalid_field", "/unused", "/v1/backward", says=("zeros", "error")
    ),
    bad("jacobian a word", ask(RELU, jacobian="yes"), "invalid_field", "/jacobian", "/v1/backward", says="bool"),
    bad("is_grads_batched 1", ask(RELU, is_grads_batched=1), "invalid_field", "/is_grads_batched", "/v1/backward"),
    bad("grad_tensors a number", ask(RELU, grad_tensors=5), "invalid_field", "/grad_tensors", "/v1/backward"),
]

# Tensors


def input_x(row_id: str, value: Any, code: str, place: str, **more: Any) -> Row:
    """A row about the tensor sent for `x`."""
    return bad(row_id, ask(RELU, {"x": value}), code, "/inputs/x" + place, **more)


def input_x_as_json(row_id: str, text: str, code: str, place: str, **more: Any) -> Row:
    body = f'{{"graph": "y = relu(x)", "inputs": {{"x": {text}}}}}'
    return bad(row_id, body, code, "/inputs/x" + place, **more)


def nested(depth: int) -> str:
    return "[" * depth + "1.0" + "]" * depth


TENSORS = [
    input_x("ragged", [[1, 2], [3]], "ragged_data", "/1", says=("list of 2", "list of 1")),
    input_x("ragged, full form", tensor([[1, 2], [3, 4], [5]]), "ragged_data", "/data/2"),
    input_x("ragged deep inside", [[[1, 2], [3, 4]], [[5, 6], [7]]], "ragged_data", "/1/1"),
    input_x("a list among numbers", [1, [2]], "ragged_data", "/1"),
    input_x("a number among lists", [[1, 2], 3], "ragged_data", "/1"),
    input_x("too few numbers", tensor([1, 2, 3], shape=[2, 2]), "wrong_count", "/data", says="4"),
    input_x("too many numbers", tensor([1, 2, 3], shape=[2]), "wrong_count", "/data"),
    input_x("nested against its shape", tensor([[1, 2, 3], [4, 5, 6]], shape=[3, 2]), "wrong_count", "/data"),
    input_x("complex without pairs", tensor([1.0, 2.0, 3.0], "complex64"), "wrong_count", "/data", says="[re, im]"),
    input_x("dtype unknown", tensor([1], "float63"), "invalid_field", "/dtype", says=("float64", "float63")),
    input_x("dtype a number", tensor([1], 64), "invalid_field", "/dtype"),
    input_x("size negative", tensor([1], shape=[-1]), "invalid_field", "/shape/0"),
    input_x("size a fraction", tensor([1], shape=[1.5]), "invalid_field", "/shape/0"),
    input_x("size a name", tensor([1], shape=["n"]), "invalid_field", "/shape/0"),
    input_x("shape a number", tensor([1], shape=1), "invalid_field", "/shape"),
    input_x("shape of 2**80 elements", tensor([], shape=[2**40, 2**40]), "limit_exceeded", "/shape"),
    input_x("shape of 65 axes", tensor([1], shape=[1] * 65), "limit_exceeded", "/shape", says="64"),
    input_x("shape of 10**12 elements, one sent", tensor([1], shape=[10**12]), "wrong_count", "/data"),
    input_x("1e300 in float32", tensor([1, 1e300], "float32"), "value_out_of_range", "/data/1", says="float32"),
    input_x("70000 in float16", tensor([70000], "float16"), "value_out_of_range", "/data/0", says="65504"),
    input_x("4e38 in bfloat16", tensor([[1, 4e38]], "bfloat16"), "value_out_of_range", "/data/0/1"),
    input_x("1e39 in complex64", tensor([[1, 1e39]], "complex64"), "value_out_of_range", "/data/0/1"),
    input_x("300 in int8", tensor([1, 300], "int8"), "value_out_of_range", "/data/1", says=("127", "300")),
    input_x("-1 in uint8", tensor([-1], "uint8"), "value_out_of_range", "/data/0", says="255"),
    input_x("2**63 in int64", tensor([2**63], "int64"), "value_out_of_range", "/data/0"),
    input_x("2**64 in uint64", tensor([2**64], "uint64"), "value_out_of_range", "/data/0"),
    input_x("10**400 in float64", [10**400], "value_out_of_range", "/0", says="float64"),
    input_x_as_json("an integer of 5,000 digits", "[1" + "0" * 5000 + "]", "value_out_of_range", "/0"),
    input_x_as_json("1e999", "[0.0, 1e999]", "value_out_of_range", "/1", says='"Infinity"'),
    input_x_as_json("1e999 in int8", '{"dtype": "int8", "data": [1e999]}', "invalid_element", "/data/0"),
    input_x("0.5 in int64", tensor([1, 0.5], "int64"), "invalid_element", "/data/1", says=("0.5", "integer")),
    input_x("NaN in int64", tensor([1, "NaN"], "int64"), "invalid_element", "/data/1"),
    input_x("nan misspelt", [1.0, "nan"], "invalid_element", "/1", says=("NaN", "-Infinity", "nan")),
    input_x("inf misspelt", [["inf"]], "invalid_element", "/0/0", says="Infinity"),
    input_x("a number as a string", tensor(["1.5"]), "invalid_element", "/data/0", says="1.5"),
    input_x("null among numbers", [1.0, None], "invalid_element", "/1", says="null"),
    input_x("null for a tensor", None, "invalid_element", "", says="null"),
    input_x("an object among numbers", [{"re": 1, "im": 2}], "invalid_element", "/0"),
    input_x("true among numbers", [1.0, True], "invalid_element", "/1"),
    input_x("1 for a boolean", tensor([True, 1], "bool"), "invalid_element", "/data/1", says="true"),
    input_x("a word for a tensor", "abc", "invalid_element", "", says="abc"),
    input_x("no data", {"dtype": "float64", "shape": [1]}, "missing_field", "/data"),
    input_x(
        "not base64", tensor("!!!!", "float32", shape=[1], encoding="base64"), "invalid_base64", "/data", says="A-Z"
    ),
    input_x(
        "base64 cut",
        tensor("AACAPwA", "float32", shape=[1], encoding="base64"),
        "invalid_base64",
        "/data",
        says="multiple of 4",
    ),
    input_x(
        "base64 of numbers",
        tensor([1.0], "float32", shape=[1], encoding="base64"),
        "invalid_base64",
        "/data",
        says="a string",
    ),
    input_x(
        "base64 that is not said to be",
        tensor("AACAPwAAAEA=", "float32", shape=[2]),
        "invalid_element",
        "/data",
        says='"encoding": "base64"',
    ),
    input_x(
        "base64 too short",
        tensor("AACAPw==", "float32", shape=[2], encoding="base64"),
        "wrong_count",
        "/data",
        says="8",
    ),
    input_x("base64 without dtype", tensor("AACAPw==", shape=[1], encoding="base64"), "missing_field", "/dtype"),
    input_x("base64 without shape", tensor("AACAPw==", "float32", encoding="base64"), "missing_field", "/shape"),
    input_x("base64 boolean 2", tensor("Ag==", "bool", shape=[1], encoding="base64"), "invalid_element", "/data"),
    input_x("encoding unknown, in a tensor", tensor("", encoding="hex"), "invalid_field", "/encoding"),
    input_x_as_json("500 brackets in data", nested(500), "limit_exceeded", "", says="64"),
    bad("2,000 brackets in data", f'{{"graph": "y = x * 2", "inputs": {{"x": {nested(2000)}}}}}', "too_deep", None),
    bad("ragged constant", ask({"constants": {"w": [[1], [2, 3]]}, **RELU}), "ragged_data", "/graph/constants/w/1"),
    bad(
        "overflowing constant",
        ask({"constants": {"w": tensor([1, 300], "int8")}, **RELU}),
        "value_out_of_range",
        "/graph/constants/w/data/1",
    ),
    bad(
        "1e999 in a constant",
        '{"graph": {"constants": {"w": [1e999]}, "nodes": [{"id": "y", "op": "relu", "args": ["$w"]}]}}',
        "value_out_of_range",
        "/graph/constants/w/0",
    ),
    bad(
        "ragged grad_tensor",
        ask(RELU, grad_tensors={"y": [1, [2], 3]}),
        "ragged_data",
        "/grad_tensors/y/1",
        "/v1/backward",
    ),
    bad(
        "unknown dtype in a grad_tensor",
        ask(RELU, grad_tensors={"y": tensor([1, 1, 1], "float63")}),
        "invalid_field",
        "/grad_tensors/y/dtype",
        "/v1/backward",
        says="float64",
    ),
    bad(
        "unknown dtype in a list of grad_tensors",
        ask(RELU, grad_tensors=[tensor([1, 1, 1], "float63")]),
        "invalid_field",
        "/grad_tensors/0/dtype",
        "/v1/backward",
        says="float64",
    ),
    bad(
        "unknown dtype in a tensor to check",
        ask(RELU, {"x": {"dtype": "float63", "shape": [2]}}),
        "invalid_field",
        "/inputs/x/dtype",
        "/v1/check",
    ),
    *(
        bad(
            f"{name} to check",
            ask(RELU, {"x": {"shape": shape}}),
            "limit_exceeded",
            "/inputs/x/shape",
            "/v1/check",
        )
        for name, shape in {
            "size of 2**63": [2**63],
            "size of 10**100": [10**100],
            "2**80 elements": [2**40, 2**40],
            "65 axes": [1] * 65,
        }.items()
    ),
    bad(
        "declared size of 10**100, in a check",
        ask(spec(x={"shape": [10**100]}), {}),
        "limit_exceeded",
        "/graph/inputs/x/shape",
        "/v1/check",
    ),
    bad("negative size to check", ask(RELU, {"x": {"shape": [-1]}}), "invalid_field", "/inputs/x/shape/0", "/v1/check"),
]

# Names


def two(first: dict[str, Any], second: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"nodes": [first, second], **more}


WEIGHT = {"inputs": {"x": {}, "weight": {}}}

NAMES = [
    bad(
        "undefined",
        ask({"inputs": {"x": {}}, **call("mul", "$x", "$zebra")}),
        "undefined_name",
        "/graph/nodes/0/args/1",
        node="y",
        says="zebra",
    ),
    bad(
        "undefined, misspelt",
        ask({**WEIGHT, **call("mul", "$x", "$wieght")}),
        "undefined_name",
        "/graph/nodes/0/args/1",
        node="y",
        says="$weight",
    ),
    bad(
        "undefined in kwargs",
        ask({**WEIGHT, **call("mul", "$x", other="$w")}),
        "undefined_name",
        "/graph/nodes/0/kwargs/other",
        node="y",
    ),
    bad(
        "undefined in a list",
        ask({**WEIGHT, **call("cat", ["$x", "$w"])}),
        "undefined_name",
        "/graph/nodes/0/args/0/1",
        node="y",
    ),
    bad(
        "undefined output",
        ask({**spec(x={}), "outputs": {"loss": "$yy"}}),
        "undefined_name",
        "/graph/outputs/loss",
        says="$y",
    ),
    bad("undefined output in a list", ask({**spec(x={}), "outputs": ["y", "z"]}), "undefined_name", "/graph/outputs/1"),
    bad("reference to nothing", ask(call("relu", "$")), "undefined_name", "/graph/nodes/0/args/0", node="y"),
    bad("reference that is no name", ask(call("relu", "$a b")), "undefined_name", "/graph/nodes/0/args/0", node="y"),
    bad(
        "node twice",
        ask(two(node("relu", "$x"), node("neg", "$x"))),
        "duplicate_name",
        "/graph/nodes/1/id",
        node="y",
        says="twice",
    ),
    bad(
        "node named like an input",
        ask({**spec(y={}, x={})}),
        "duplicate_name",
        "/graph/nodes/0/id",
        node="y",
        says="input",
    ),
    bad(
        "node named like a constant",
        ask({"constants": {"y": 1}, **RELU}),
        "duplicate_name",
        "/graph/nodes/0/id",
        node="y",
    ),
    bad(
        "constant named like an input",
        ask({"constants": {"x": 1}, **spec(x={})}),
        "duplicate_name",
        "/graph/constants/x",
        node="x",
    ),
    bad("output listed twice", ask({**RELU, "outputs": ["y", "y"]}), "duplicate_name", "/graph/outputs/1"),
    bad("output without $", ask({**RELU, "outputs": {"y": "y"}}), "bad_reference", "/graph/outputs/y", says="$"),
    bad("no node", ask({"nodes": []}, {}), "empty_graph", "/graph/outputs", says="no output"),
    bad("empty graph", ask({}, {}), "empty_graph", "/graph/outputs"),
    bad("no outputs", ask({**RELU, "outputs": {}}), "empty_graph", "/graph/outputs"),
    bad(
        "node that needs itself", ask(call("add", "$x", "$y")), "graph_cycle", "/graph/nodes/0", node="y", says="y -> y"
    ),
    bad(
        "name begins with a digit",
        ask({"nodes": [{**node("relu", "$x"), "id": "1y"}]}),
        "invalid_name",
        "/graph/nodes/0/id",
        says="digit",
    ),
    bad(
        "name is a keyword",
        ask({"nodes": [{**node("relu", "$x"), "id": "lambda"}]}),
        "invalid_name",
        "/graph/nodes/0/id",
        says="lambda_",
    ),
    bad(
        "name not ascii",
        ask({"nodes": [{**node("relu", "$x"), "id": "größe"}]}),
        "invalid_name",
        "/graph/nodes/0/id",
        says="ASCII",
    ),
    bad("name with a dot", ask({"nodes": [{**node("relu", "$x"), "id": "y.z"}]}), "invalid_name", "/graph/nodes/0/id"),
    bad("name empty", ask({"nodes": [{**node("relu", "$x"), "id": ""}]}), "invalid_name", "/graph/nodes/0/id"),
    bad(
        "name of 200 characters",
        ask({"nodes": [{**node("relu", "$x"), "id": "y" * 200}]}),
        "invalid_name",
        "/graph/nodes/0/id",
        says="128",
    ),
    bad(
        "name with a newline",
        ask({"nodes": [{**node("relu", "$x"), "id": "y\n"}]}),
        "invalid_name",
        "/graph/nodes/0/id",
    ),
    bad("input name with a slash", ask(RELU, {"a/b": [1.0]}), "invalid_name", "/inputs/a~1b"),
    bad(
        "constant name a keyword",
        ask({"constants": {"if": 1}, **RELU}),
        "invalid_name",
        "/graph/constants/if",
        says="if_",
    ),
    bad("listed output name invalid", ask({**RELU, "outputs": ["1y"]}), "invalid_name", "/graph/outputs/0"),
    bad("wrt name invalid", ask(RELU, wrt=["1x"]), "invalid_name", "/wrt/0", "/v1/backward"),
    bad("size name invalid", ask(spec(x={"shape": ["1n"]})), "invalid_name", "/graph/inputs/x/shape/0"),
    bad("declared size negative", ask(spec(x={"shape": [-3]})), "invalid_field", "/graph/inputs/x/shape/0"),
    bad("declared size a fraction", ask(spec(x={"shape": [1.5]})), "invalid_field", "/graph/inputs/x/shape/0"),
    bad(
        "declared dtype unknown",
        ask(spec(x={"dtype": "double"})),
        "invalid_field",
        "/graph/inputs/x/dtype",
        says="float64",
    ),
]

# Operators

UNKNOWN = {
    "rellu": "relu",
    "torch.softmx": "softmax",
    "aten.mul.Tensr": "aten.mul.Tensor",
    "linalg.slove": "linalg_solve",
    "nn.functional.rellu": "relu",
    "load_library": "",
    "torch.ops.load_library": "",
    "torch.load": "",
    "import_module": "",
    "__class__": "",
    "__import__": "",
    "torch.__dict__": "",
    "aten.__class__": "",
    "aten::__getattr__": "",
    "aten.relu.__globals__": "aten.relu.default",
    "aten.relu.default.__class__": "",
    "aten.relu.op": "aten.relu.default",
    "os.system": "",
    "builtins.eval": "",
    "eval": "",
    "../../etc/passwd": "",
    "relu\u0000": "relu",
    "relu ": "relu",
    "\uff52elu": "",
    "prim::Print": "",
    "torchvision::nms": "",
}
REFUSED = {
    # The operator, and what the refusal must say.
    "from_file": "files",
    "aten.from_file.default": "files",
    "empty": "uninitialised",
    "empty_like": "uninitialised",
    "new_empty": "uninitialised",
    "set_": "changes",
    "resize_": "changes",
    "set_data": "",
    "add_": "'add'",
    "torch.relu_": "'relu'",
    "aten.mul_.Tensor": "'mul'",
    "nn.functional.relu_": "'relu'",
    "copy_": "changes",
    "add.out": "changes",
    "histogramdd": "end",
    "special.legendre_polynomial_p": "bounded",
    "threshold_backward": "derivative",
    "item": "tensors",
    "_local_scalar_dense": "private",
    "quantize_per_tensor": "quantised",
    "to_sparse": "sparse",
    "mkldnn_convolution": "vendor",
    "unique": "",
    "unique_dim": "data",
    "unique_consecutive": "data",
    "bincount": "data",
    "aten.arange.out": "changes",
    # What stands beside the operators that are guarded, isolated or random.
    "as_strided_": "'as_strided'",
    "_reshape_alias": "private",
    "aten.set_.source_Storage": "changes",
    "resize_as_": "changes",
    "dropout_": "'dropout'",
    "bernoulli_": "'bernoulli'",
    "normal_": "changes",
    "aten.rand.generator": "seed",
    "aten.randperm.generator": "seed",
    "aten.rand.out": "changes",
    "aten.bernoulli.out": "changes",
    "_ctc_loss": "private",
    "_pdist_forward": "private",
    "_grid_sampler_2d_cpu_fallback": "private",
    "grid_sampler_2d_backward": "derivative",
    "_embedding_bag": "private",
    "lstm_cell": "internal",
    "quantized_lstm_cell": "quantised",
    "cudnn_batch_norm": "vendor",
    "sparse_coo_tensor": "sparse",
    "to_dense": "internal",
    "nested_to_padded_tensor": "nested",
    "nonzero_numpy": "nonzero",
    "geqrf": "shape",
    "aten.to.device": "device",
    "aten.linspace.Tensor_Tensor": "numbers",
}

OPERATORS = [
    *(
        bad(f"unknown op {op!r}", ask(call(op, "$x")), "unknown_op", "/graph/nodes/0/op", node="y", says=near)
        for op, near in UNKNOWN.items()
    ),
    *(
        bad(f"refused op {op}", ask(call(op, "$x")), "refused_op", "/graph/nodes/0/op", node="y", says=(op, reason))
        for op, reason in REFUSED.items()
    ),
    bad("op empty", ask(call("", "$x")), "invalid_field", "/graph/nodes/0/op"),
    bad("op of 10,000 characters", ask(call("r" * 10_000, "$x")), "invalid_field", "/graph/nodes/0/op"),
    bad(
        "unknown op to check",
        ask(call("rellu", "$x")),
        "unknown_op",
        "/graph/nodes/0/op",
        "/v1/check",
        node="y",
        says="relu",
    ),
    bad(
        "one_hot without num_classes",
        ask(call("one_hot", "$i"), {"i": tensor([1], "int64")}),
        "refused_op",
        "/graph/nodes/0",
        node="y",
        says="num_classes",
    ),
    bad(
        "repeat_interleave by a tensor",
        ask(call("repeat_interleave", "$x", "$i"), {"x": [1.0, 2.0], "i": tensor([10**12, 2], "int64")}),
        "limit_exceeded",
        "/graph/nodes/0",
        node="y",
        says=("1,000,000,000,002", "67,108,864"),
    ),
]

# Arguments


def misfit(row_id: str, graph: dict[str, Any], place: str, *says: str, **more: Any) -> Row:
    return bad(row_id, ask(graph, more.pop("inputs", X)), "bad_argument", "/graph/nodes/0" + place, node="y", says=says)


def literal(text: str) -> str:
    """The body of `y = x * literal`, the literal written as it is."""
    return f'{{"graph": {{"nodes": [{{"id": "y", "op": "mul", "args": ["$x", {text}]}}]}}, "inputs": {{"x": [1.0]}}}}'


ARGUMENTS = [
    misfit("argument name misspelt", call("sum", "$x", dimm=0), "/kwargs/dimm", "dimm", "'dim'"),
    misfit("argument name unknown", call("relu", "$x", colour=1), "/kwargs/colour", "colour"),
    misfit("word for a dim", call("softmax", "$x", "last"), "/args/1", "int", "last"),
    misfit("fraction for a dim", call("softmax", "$x", 0.5), "/args/1", "int", "0.5"),
    misfit("true for a dim", call("softmax", "$x", True), "/args/1", "int"),
    misfit("null for a dim", call("cumsum", "$x", None), "/args/1", "int"),
    misfit("1 for a bool", call("sum", "$x", 0, keepdim=1), "/kwargs/keepdim", "bool"),
    misfit("number for a list of tensors", call("cat", 3), "/args/0", "Tensor"),
    misfit("word in a list of sizes", call("reshape", "$x", [3, "n"]), "/args/1/1", "int", "n"),
    misfit("number in a list of tensors", call("cat", ["$x", 3]), "/args/0/1", "reference"),
    misfit("tensor without $", call("relu", "x"), "/args/0", "reference", "x"),
    misfit("null for a tensor argument", call("relu", None), "/args/0", "Tensor"),
    misfit("too few arguments", call("matmul", "$x"), "", "other"),
    misfit("no argument", call("relu"), "", "self"),
    misfit("too many arguments", call("relu", "$x", 1, 2), "/args/1", "1"),
    misfit("argument twice", call("softmax", "$x", 0, dim=0), "/kwargs/dim", "twice", "dim"),
    misfit("argument twice by its other name", call("softmax", "$x", dim=0, axis=0), "/kwargs/axis", "twice"),
    misfit("reference for an int", call("softmax", "$x", "$d"), "/args/1", "int", "$d", inputs={**X, "d": 0}),
    misfit("reference for a number", call("add", "$x", "$x", alpha="$x"), "/kwargs/alpha", "$x"),
    misfit("device in a graph", call("zeros_like", "$x", device="cpu"), "/kwargs/device", "device"),
    misfit("pin_memory in a graph", call("zeros_like", "$x", pin_memory=True), "/kwargs/pin_memory", "pin_memory"),
    misfit("out in a graph", call("add", "$x", "$x", out="$x"), "/kwargs/out", "out"),
    misfit("generator in a graph", call("softmax", "$x", 0, generator=1), "/kwargs/generator", "generator"),
    misfit("device for a dtype", call("to", "$x", "cuda"), "/args/1", "cuda", "float32"),
    misfit("no tensor at all", call("mul", 2, 3), "/args", "tensor"),
    misfit("dtype misspelt", call("to", "$x", "float63"), "/args/1", "float64", "float63"),
    misfit("dtype misspelt in kwargs", call("sum", "$x", dtype="floaty"), "/kwargs/dtype", "float64", "floaty"),
    misfit(
        "memory format unknown",
        call("contiguous", "$x", memory_format="rows"),
        "/kwargs/memory_format",
        "channels_last",
    ),
    misfit("reduction unknown", call("mse_loss", "$x", "$x", reduction="avg"), "/kwargs/reduction", "mean", "avg"),
    misfit("reduction number unknown", call("mse_loss", "$x", "$x", 7), "/args/2", "7"),
    misfit("number too long for int64", call("pow", "$x", 2**70), "/args/1", "64"),
    misfit("nan misspelt in an argument", call("mul", "$x", "nan"), "/args/1", "nan"),
    misfit("dim beyond int64", call("softmax", "$x", 2**64), "/args/1", "64"),
    misfit("list of 5,000 sizes", call("reshape", "$x", [1] * 5000), "/args/1", "4096"),
    misfit("object for an argument", call("relu", {"data": [1.0]}), "/args/0", "reference"),
    bad("1e999 for an argument", literal("1e999"), "bad_argument", "/graph/nodes/0/args/1", node="y", says="Infinity"),
    bad("NaN token for an argument", literal("NaN"), "not_json", None, status=400, says='"NaN"'),
    bad("400 brackets for an argument", literal(nested(400)), "bad_argument", "/graph/nodes/0/args/1", node="y"),
    bad("2,000 brackets in args", literal(nested(2000)), "too_deep", None),
]

# References

SPLIT = {"id": "s", "op": "split", "args": ["$x", 2]}
MAX = {"id": "m", "op": "max", "args": ["$x", 0]}

REFERENCES = [
    bad(
        "part that does not exist",
        ask(two(MAX, node("relu", "$m.value"))),
        "bad_reference",
        "/graph/nodes/1/args/0",
        node="y",
        says=("$m.values", "$m.indices"),
    ),
    bad(
        "part past the end",
        ask(two(MAX, node("relu", "$m.2"))),
        "bad_reference",
        "/graph/nodes/1/args/0",
        node="y",
        says="$m.values",
    ),
    bad(
        "part of a part", ask(two(MAX, node("relu", "$m.values.0"))), "bad_reference", "/graph/nodes/1/args/0", node="y"
    ),
    bad(
        "part of one tensor",
        ask(call("relu", "$x.values")),
        "bad_reference",
        "/graph/nodes/0/args/0",
        node="y",
        says="$x",
    ),
    bad("dunder of a tensor", ask(call("relu", "$x.__class__")), "bad_reference", "/graph/nodes/0/args/0", node="y"),
    bad(
        "several values used as one",
        ask(two(MAX, node("relu", "$m"))),
        "bad_reference",
        "/graph/nodes/1/args/0",
        node="y",
        says="$m.values",
    ),
    bad(
        "list used as a tensor",
        ask(two(SPLIT, node("relu", "$s"))),
        "bad_argument",
        "/graph/nodes/1/args/0",
        node="y",
        says="$s.0",
    ),
    bad(
        "past the end of a split",
        ask(two(SPLIT, node("relu", "$s.7"))),
        "bad_reference",
        "/graph/nodes/1",
        node="y",
        says=("$s.7", "2"),
    ),
    bad(
        "named part of a split",
        ask(two(SPLIT, node("relu", "$s.values"))),
        "bad_reference",
        "/graph/nodes/1/args/0",
        node="y",
        says="$s.0",
    ),
    bad(
        "output past the end of a split",
        ask({"nodes": [SPLIT], "outputs": {"y": "$s.7"}}),
        "bad_reference",
        "/graph/outputs/y",
        says="past the end",
    ),
    bad(
        "output a list",
        ask({"nodes": [SPLIT], "outputs": {"y": "$s"}}),
        "bad_reference",
        "/graph/outputs/y",
        node="s",
        says="$s.0",
    ),
    bad(
        "output of several values",
        ask({"nodes": [MAX], "outputs": {"y": "$m"}}),
        "bad_reference",
        "/graph/outputs/y",
        node="m",
        says="$m.values",
    ),
    bad(
        "last node of several values",
        ask({"nodes": [MAX]}),
        "bad_reference",
        "/graph/nodes/0",
        node="m",
        says="$m.values",
    ),
    bad(
        "row past the end",
        ask(call("getitem", "$x", 7)),
        "incompatible_arguments",
        "/graph/nodes/0",
        node="y",
        says="7",
    ),
]

# Shapes and dtypes that do not go together

MIDDLE = {
    "nodes": [
        {"id": "h", "op": "relu", "args": ["$x"]},
        {"id": "z", "op": "matmul", "args": ["$h", "$h"]},
        {"id": "y", "op": "sum", "args": ["$z"]},
    ]
}
MIXED = {"x": [[1.0]], "w": tensor([[1.0]], "float32")}


def unfit(row_id: str, graph: Any, *says: str, **more: Any) -> Row:
    inputs = more.pop("inputs", X)
    return bad(row_id, ask(graph, inputs), "incompatible_arguments", "/graph/nodes/0", node="y", says=says, **more)


SHAPES = [
    bad(
        "matmul in the middle",
        ask(MIDDLE, MATRIX),
        "incompatible_arguments",
        "/graph/nodes/1",
        node="z",
        says=("matmul", "f64[2,3]"),
    ),
    bad(
        "matmul in the middle, in a check",
        ask(MIDDLE, MATRIX),
        "incompatible_arguments",
        "/graph/nodes/1",
        "/v1/check",
        node="z",
        says="f64[2,3]",
    ),
    bad(
        "matmul in the middle, backward",
        ask(MIDDLE, MATRIX),
        "incompatible_arguments",
        "/graph/nodes/1",
        "/v1/backward",
        node="z",
    ),
    bad(
        "matmul of two dtypes",
        ask(call("matmul", "$x", "$w"), MIXED),
        "dtype_mismatch",
        "/graph/nodes/0",
        node="y",
        says=("f32", "f64"),
    ),
    bad(
        "linear of two dtypes",
        ask(call("linear", "$x", "$w"), MIXED),
        "dtype_mismatch",
        "/graph/nodes/0",
        node="y",
        says=("f32", "f64"),
    ),
    bad(
        "linalg.solve of two dtypes",
        ask(call("linalg.solve", "$x", "$w"), MIXED),
        "dtype_mismatch",
        "/graph/nodes/0",
        node="y",
    ),
    unfit("broadcast", call("add", "$x", "$w"), "f64[3]", "f64[2]", inputs={**X, "w": [1.0, 2.0]}),
    unfit("reshape to another count", call("reshape", "$x", [5]), "[5]", "f64[3]"),
    unfit("dim out of range", call("cumsum", "$x", 5), "5", "f64[3]"),
    unfit("cat of different shapes", call("cat", ["$x", "$w"], 1), inputs={"x": [[1.0]], "w": [[1.0], [2.0]]}),
    unfit("cat of nothing", call("cat", ["$x", "$w"]), inputs={"x": 1.0, "w": 2.0}),
    unfit("topk of too many", {**call("topk", "$x", 7), "outputs": {"v": "$y.values"}}, "k"),
    unfit("select past the end", call("select", "$x", 0, 9), "9"),
    unfit("condition not boolean", call("where", "$x", "$x", "$x"), "bool"),
    unfit("einsum without enough axes", call("einsum", "ij,jk", "$x", "$x"), "einsum"),
    unfit("gelu of an unknown kind", call("gelu", "$x", approximate="foo"), "tanh"),
    unfit("div of an unknown rounding", call("div", "$x", "$x", rounding_mode="up"), "trunc"),
    unfit("step zero", call("slice", "$x", 0, 0, 2, 0), "step"),
    unfit("stride zero", call("max_pool2d", "$x", [2, 2], [0, 0]), "stride", inputs=IMAGE),
    unfit("groups zero", call("conv2d", "$x", "$x", None, 1, 0, 1, 0), "groups", inputs=IMAGE),
    unfit("factor zero", call("pixel_shuffle", "$x", 0), inputs=IMAGE),
    unfit("negative size", call("zeros", [-1]), "-1", inputs={}),
    unfit("matrix product of vectors", call("mm", "$x", "$x"), "f64[3]"),
    unfit("inverse of a vector", call("linalg.inv", "$x"), "f64[3]"),
    unfit("float index", call("index", "$x", ["$x"])),
    unfit("index of null alone", call("index", "$x", [None])),
]

# Inputs

SAME = {"inputs": {"a": {"shape": ["n"]}, "b": {"shape": ["n"]}}, **call("add", "$a", "$b")}
SQUARE = {"inputs": {"x": {"shape": ["n", "n"]}}, **call("linalg.inv", "$x")}

INPUTS = [
    bad("input missing", ask(call("mul", "$x", "$w")), "missing_input", "/inputs", says=("'w'", "inputs['w']")),
    bad("inputs missing", {"graph": RELU}, "missing_input", "/inputs", says="'x'"),
    bad("input missing, text", ask("y = relu(z)", {}), "missing_input", "/inputs", says="'z'"),
    bad("input unknown", ask(RELU, {**X, "xx": [1.0]}), "unknown_input", "/inputs/xx", says=("'xx'", "'x'")),
    bad("input unknown, in a check", ask(RELU, {**X, "q": {"shape": [1]}}), "unknown_input", "/inputs/q", "/v1/check"),
    bad(
        "input is a constant", ask({"constants": {"w": [1.0]}, **RELU}, {**X, "w": [2.0]}), "unknown_input", "/inputs/w"
    ),
    bad(
        "declared dtype violated",
        ask(spec(x={"dtype": "float32"}), {"x": tensor([1.0], "float64")}),
        "dtype_mismatch",
        "/inputs/x",
        says=("float32", "float64"),
    ),
    bad("declared shape violated", ask(spec(x={"shape": [2]})), "shape_mismatch", "/inputs/x", says=("[2]", "[3]")),
    bad("declared rank violated", ask(spec(x={"shape": [3, 1]})), "shape_mismatch", "/inputs/x", says="axes"),
    bad(
        "equal names, unequal sizes",
        ask(SAME, {"a": [1.0, 2.0], "b": [1.0]}),
        "shape_mismatch",
        "/inputs/b",
        says=("'n'", "2", "'a'"),
    ),
    bad("equal names in one shape", ask(SQUARE, MATRIX), "shape_mismatch", "/inputs/x", says="'n'"),
    bad(
        "declared dtype cannot hold the value",
        ask(spec(x={"dtype": "int8"}), {"x": [1, 300]}),
        "value_out_of_range",
        "/inputs/x/1",
    ),
    bad(
        "declared integers, fractions sent",
        ask(spec(x={"dtype": "int64"}), {"x": [1, 0.5]}),
        "invalid_element",
        "/inputs/x/1",
    ),
    bad(
        "declared shape violated, in a check",
        ask(spec(x={"shape": [2]}), {"x": {"shape": [3]}}),
        "shape_mismatch",
        "/inputs/x",
        "/v1/check",
    ),
    bad("declared shape violated, text", ask("x: float64[2]\ny = relu(x)"), "shape_mismatch", "/inputs/x", says="[2]"),
]

# Derivatives


def back(row_id: str, graph: Any, code: str, pointer: str, inputs: Any = None, says: Any = (), **fields: Any) -> Row:
    """A row about the derivatives that are asked for."""
    return bad(row_id, ask(graph, inputs, **fields), code, pointer, "/v1/backward", says=says)


BOTH = two(node("relu", "$x"), {"id": "z", "op": "sum", "args": ["$x"]}, outputs=["y", "z"])
FLOAT_AND_INT = {"nodes": [MAX], "outputs": {"v": "$m.values", "i": "$m.indices"}}
LONG = {"x": {"shape": [10_000], "data": [0.5] * 10_000}}
COMPLEX = {"x": tensor([[1.0, 2.0]], "complex128")}

DERIVATIVES = [
    back(
        "grad_tensor missing",
        RELU,
        "grad_tensor_required",
        "/grad_tensors",
        says=(SENTENCE, "grad_tensors['y']", "[3]", "float64"),
    ),
    back("grad_tensor missing, text", "y = x * x", "grad_tensor_required", "/grad_tensors", says=SENTENCE),
    back("grad_tensor null", RELU, "grad_tensor_required", "/grad_tensors", says=SENTENCE, grad_tensors={"y": None}),
    back(
        "grad_tensor missing, batched",
        RELU,
        "grad_tensor_required",
        "/grad_tensors",
        says="batch",
        is_grads_batched=True,
    ),
    back(
        "grad_tensor missing for a complex scalar",
        call("sum", "$x"),
        "grad_tensor_required",
        "/grad_tensors",
        COMPLEX,
        says="real scalar outputs",
    ),
    back(
        "grad_tensor of another shape",
        RELU,
        "shape_mismatch",
        "/grad_tensors/y",
        says=("[3]", "[2]"),
        grad_tensors={"y": [1.0, 1.0]},
    ),
    back(
        "grad_tensor that would broadcast",
        RELU,
        "shape_mismatch",
        "/grad_tensors/y",
        says="[3]",
        grad_tensors={"y": 1.0},
    ),
    back(
        "grad_tensor of another dtype",
        RELU,
        "dtype_mismatch",
        "/grad_tensors/y",
        says=("float64", "float32"),
        grad_tensors={"y": tensor([1, 1, 1], "float32")},
    ),
    back(
        "grad_tensor out of range",
        call("to", "$x", "float32"),
        "value_out_of_range",
        "/grad_tensors/y/0",
        grad_tensors={"y": [1e300, 1, 1]},
    ),
    back(
        "grad_tensor for an unknown output",
        RELU,
        "unknown_output",
        "/grad_tensors/yy",
        says=("'yy'", "'y'"),
        grad_tensors={"yy": [1, 1, 1]},
    ),
    back(
        "grad_tensor for an integer output",
        FLOAT_AND_INT,
        "not_differentiable",
        "/grad_tensors/i",
        says="int64",
        grad_tensors={"v": 1.0, "i": 1},
    ),
    back(
        "list of grad_tensors too long", RELU, "wrong_count", "/grad_tensors", says="1", grad_tensors=[[1, 1, 1], None]
    ),
    back("list of grad_tensors empty", RELU, "wrong_count", "/grad_tensors", grad_tensors=[]),
    back(
        "list of grad_tensors, one misshapen", BOTH, "shape_mismatch", "/grad_tensors/1", grad_tensors=[[1, 1, 1], [1]]
    ),
    back(
        "batched without a leading axis",
        RELU,
        "shape_mismatch",
        "/grad_tensors/y",
        says=("batch", "[3]"),
        is_grads_batched=True,
        grad_tensors={"y": [1, 1, 1]},
    ),
    back(
        "batched scalar without a leading axis",
        call("sum", "$x"),
        "shape_mismatch",
        "/grad_tensors/y",
        says="batch",
        is_grads_batched=True,
        grad_tensors={"y": 1},
    ),
    back(
        "batches of different sizes",
        BOTH,
        "shape_mismatch",
        "/grad_tensors/z",
        says=("2", "3"),
        is_grads_batched=True,
        grad_tensors={"y": [[1, 1, 1]] * 2, "z": [1, 1, 1]},
    ),
    back(
        "batch too large",
        call("sum", "$x"),
        "limit_exceeded",
        "/grad_tensors",
        LONG,
        is_grads_batched=True,
        grad_tensors={"y": [1] * 10_000},
    ),
    back("wrt unknown", RELU, "unknown_input", "/wrt/1", says="'x'", wrt=["x", "xs"]),
    back("wrt a node", RELU, "unknown_input", "/wrt/0", says="'y'", wrt=["y"]),
    back("wrt an integer", call("mul", "$x", "$i"), "not_differentiable", "/wrt/0", INDEX, says="int64", wrt=["i"]),
    back("wrt nothing", call("sum", "$x"), "invalid_field", "/wrt", wrt=[]),
    back("only integers", call("sum", "$i"), "not_differentiable", "/inputs", {"i": INDEX["i"]}, says="forward"),
    back("outputs only integers", call("argmax", "$x"), "not_differentiable", "/graph", says="i64"),
    back(
        "unused input",
        {"inputs": {"x": {}, "z": {}}, **call("sum", "$x")},
        "unused_input",
        "/unused",
        {**X, "z": 1.0},
        says="'z'",
        unused="error",
    ),
    back(
        "jacobian too large",
        RELU,
        "limit_exceeded",
        "/jacobian",
        LONG,
        says=("100,000,000", "grad_tensors"),
        jacobian=True,
        grad_tensors={"y": LONG["x"]},
    ),
    back(
        "jacobian of 80 axes",
        call("sum", "$x", 0, keepdim=True),
        "limit_exceeded",
        "/jacobian",
        {"x": {"shape": [1] * 40, "data": [1.0]}},
        says="64",
        jacobian=True,
    ),
    back(
        "jacobian of a complex output that is not holomorphic",
        call("conj", "$x"),
        "not_differentiable",
        "/graph",
        COMPLEX,
        says="holomorphic",
        jacobian=True,
        grad_tensors={"y": [[1, 0]]},
    ),
    bad("wrt unknown, in a check", ask(RELU, wrt=["xs"]), "unknown_input", "/wrt/0", "/v1/check", says="'x'"),
]

# Limits


def too_large(row_id: str, graph: Any, *says: str, inputs: Any = None) -> Row:
    return bad(
        row_id, ask(graph, X if inputs is None else inputs), "limit_exceeded", "/graph/nodes/0", node="y", says=says
    )


TEN = [{"id": f"n{i}", "op": "ones", "args": [[2**26]]} for i in range(10)]

LIMITS = [
    bad(
        "20,000 nodes",
        ask({"nodes": [{**node("relu", "$x"), "id": f"n{i}"} for i in range(20_000)]}),
        "limit_exceeded",
        "/graph/nodes",
        says=("20,000", "10,000"),
    ),
    bad(
        "20,000 lines of text",
        ask("\n".join(f"n{i} = relu(x)" for i in range(20_000))),
        "limit_exceeded",
        "/graph",
        says="10,000",
    ),
    bad(
        "cycle of 10,000 nodes",
        ask({"nodes": [{**node("relu", f"$n{(i + 1) % 10_000}"), "id": f"n{i}"} for i in range(10_000)]}),
        "graph_cycle",
        "/graph/nodes/0",
        node="n0",
    ),
    too_large("ones of 10**12", call("ones", [10**12]), "1,000,000,000,000", "67,108,864", inputs={}),
    too_large("zeros of 2**120", call("zeros", [2**40] * 3), inputs={}),
    too_large("full of 10**12", call("full", [10**12], 1.0), inputs={}),
    too_large("arange to 10**13", call("arange", 10**13), inputs={}),
    too_large("linspace of 10**13", call("linspace", 0, 1, 10**13), inputs={}),
    too_large("eye of 10**7", call("eye", 10**7), inputs={}),
    too_large("tril_indices of 10**14", call("tril_indices", 10**7, 10**7), inputs={}),
    too_large("ones of 10**12 by keyword", call("ones", size=[10**12]), inputs={}),
    too_large("repeat to 2**64", call("repeat", "$x", [2**31, 2**31])),
    too_large("pad by 10**13", call("pad", "$x", [10**13, 0])),
    too_large("tile to 2**40", call("tile", "$x", [2**40])),
    too_large("upsample to 10**12", call("upsample_nearest2d", "$x", [10**6, 10**6]), inputs=IMAGE),
    too_large("fft of 10**12", call("fft.fft", "$x", 10**12)),
    too_large("one_hot of 10**13 classes", call("one_hot", "$i", 10**13), inputs={"i": INDEX["i"]}),
    too_large("expand bomb", two(node("expand", "$x", [2**40, 3]), {"id": "z", "op": "sum", "args": ["$y"]})),
    too_large(
        "outer product bomb", two(node("kron", "$x", "$x"), {"id": "z", "op": "sum", "args": ["$y"]}), inputs=LONG
    ),
    bad(
        "values of 2**29 elements together",
        ask({"nodes": TEN}, {}),
        "limit_exceeded",
        "/graph/nodes/4",
        node="n4",
        says="together",
    ),
    too_large("matrix_power of 10**9", call("matrix_power", "$x", 10**9), "1024", inputs=INDEFINITE),
    too_large("matrix_power of -2**63", call("linalg.matrix_power", "$x", -(2**63)), "1024", inputs=INDEFINITE),
    too_large("multigammaln of 10**9", call("special.multigammaln", "$x", 10**9), "1024"),
    too_large("combinations of 1,000 by 1,000", call("combinations", "$x", 1000), "64"),
    too_large("split into 10**6 parts", {**call("tensor_split", "$x", 10**6), "outputs": {"o": "$y.0"}}),
    too_large("unbind of 10,000 rows", {**call("unbind", "$x"), "outputs": {"o": "$y.0"}}, inputs=LONG),
    too_large("ones of 65 axes", call("ones", [1] * 65), "64", inputs={}),
    too_large("reshape to 65 axes", call("reshape", "$x", [1] * 65), "64", inputs={"x": 1.0}),
]

# Numbers that an operator refuses


def failing(row_id: str, graph: Any, *says: str, inputs: Any, operation: str = "/v1/forward") -> Row:
    return bad(row_id, ask(graph, inputs), "op_failed", "/graph/nodes/0", operation, node="y", says=says)


INT = {"i": tensor([4, 5], "int64")}
LAST = {"id": "z", "op": "sum", "args": ["$y"]}

VALUES = [
    failing("cholesky of an indefinite matrix", call("linalg.cholesky", "$x"), "positive", inputs=INDEFINITE),
    failing(
        "cholesky of an indefinite matrix, backward",
        two(node("linalg.cholesky", "$x"), LAST),
        "positive",
        inputs=INDEFINITE,
        operation="/v1/backward",
    ),
    failing(
        "inverse of a singular matrix", call("linalg.inv", "$x"), "singular", inputs={"x": [[1.0, 1.0], [1.0, 1.0]]}
    ),
    failing("solve with a singular matrix", call("linalg.solve", "$x", "$x"), "singular", inputs={"x": [[0.0]]}),
    failing("eigvals of NaN", call("linalg.eigvals", "$x"), "finite", inputs=BROKEN),
    failing(
        "eigvals of Infinity, backward",
        two(node("linalg.eigvals", "$x"), {"id": "z", "op": "abs", "args": ["$y"]}),
        "finite",
        inputs={"x": [["Infinity"]]},
        operation="/v1/backward",
    ),
    failing("singular values of NaN", call("linalg.svdvals", "$x"), inputs=BROKEN),
    failing("index out of range", call("index_select", "$x", 0, "$i"), "out of range", inputs=INDEX),
    failing("gather out of range", call("gather", "$x", 0, "$i"), "7", inputs=INDEX),
    failing("embedding out of range", call("embedding", "$w", "$i"), inputs={"w": [[1.0]], "i": INDEX["i"]}),
    failing(
        "class out of range", call("cross_entropy", "$x", "$i"), "7", inputs={"x": [[1.0, 2.0]] * 3, "i": INDEX["i"]}
    ),
    failing("one_hot out of range", call("one_hot", "$i", 2), "num_classes", inputs={"i": INDEX["i"]}),
    failing("integer division by zero", call("floor_divide", "$i", 0), inputs=INT),
    failing("negative power of an integer", call("pow", "$i", -1), "negative", inputs=INT),
]

# The text form


def text(row_id: str, source: str, caret: str | None, *says: str, code: str = "invalid_syntax", **more: Any) -> Row:
    """A row about a graph's text; `caret` is what the caret stands under."""
    return bad(row_id, ask(source, more.pop("inputs", X)), code, "/graph", caret=caret, says=says, **more)


TEXT = [
    text("parenthesis open", "y = relu(x", "(x"),
    text("parenthesis too many", "y = relu(x))", ")"),
    text("two assignments at once", "y = = x", "= x"),
    text("indented", "y = relu(x)\n  z = y", ANYWHERE),
    text("operator missing", "y = 2 x", ANYWHERE),
    text("assignment to a number", "1 = x", "1"),
    text("keyword as a name", "class = relu(x)", ANYWHERE),
    text("keyword as an operand", "y = lambda * 2", ANYWHERE),
    text("error on line 3", "h = x * 2\nz = h + 1\ny = relu(z", "(z"),
    text("error on line 3 after carriage returns", "h = x * 2\r\nz = h + 1\r\ny = relu(z))", ")"),
    text("error in an indented text", "\n    h = x * 2\n    y = h if h else x\n", "h if h"),
    text("if-expression", "y = x if x else 2", "x if x else 2", "where"),
    text("lambda", "y = relu(lambda z: z)", "lambda z", "functions"),
    text("import", "import os", "import os", "imported"),
    text("import from", "from os import path\ny = x", "from os", "imported"),
    text("for", "for i in x: y = i", "for i", "unrolled"),
    text("while", "while x: y = x", "while x", "unrolled"),
    text("if", "if x: y = x", "if x", "where"),
    text("def", "def f(x): return x", "def f", "functions"),
    text("class", "class A: pass", "class A"),
    text("del", "y = x * 2\ndel x", "del x"),
    text("global", "global x", "global x"),
    text("walrus", "y = (h := x) + 1", "h := x"),
    text("augmented assignment", "x += 1", "x += 1", "new name"),
    text("assignment to an element", "x[0] = 1", "x[0] = 1"),
    text("assignment to an attribute", "x.data = x", "x.data"),
    text("chained assignment", "y = z = x", "y = z"),
    text("comprehension", "y = cat([z for z in x])", "[z for z"),
    text("f-string", "y = relu(f'{x}')", "f'{x}'", "string"),
    text("dictionary", "y = relu({'a': x})", "{'a'"),
    text("star argument", "y = relu(*x)", "*x"),
    text("double star argument", "y = relu(**x)", "x)"),
    text("and", "y = x and x", "x and x", "logical_and"),
    text("not", "y = not x", "not x", "logical_not"),
    text("chained comparison", "y = 0 < x < 1", "0 < x < 1"),
    text("is", "y = x is x", "x is x"),
    text("call of a call", "y = relu(x)(x)", "relu(x)"),
    text("call of a subscript", "y = x[0](x)", "x[0]"),
    text("negative step", "y = x[::-1]", "::-1", "flip"),
    text("index a fraction", "y = x[0.5]", "0.5"),
    text("two ellipses", "y = x[..., ...]", "...]"),
    text("bytes", "y = relu(b'x')", "b'x'"),
    text("unpacking what is no call", "a, b = x", "x"),
    text("unpacking into an element", "a, b[0] = split(x, 2)", "b[0]"),
    text("nodes inside a constant", "y = [x, x]", "x, x"),
    text("used before it is defined", "y = h + x\nh = x * 2", "h = x"),
    text("statement after return", "y = x * 2\nreturn y\nz = x", "z = x"),
    text("return of nothing", "y = x * 2\nreturn", "return"),
    text("return of an unnamed output", "return {1: x}", ANYWHERE, "strings"),
    text(
        "input declared twice",
        "x: float64\nx: float32\ny = relu(x)",
        "x: float32",
        "twice",
        code="duplicate_name",
        node="x",
    ),
    text("name defined twice", "y = x * 2\ny = x + 1", "y = x + 1", "twice", code="duplicate_name", node="y"),
    text("output returned twice", "y = x * 2\nreturn y, y", "y", "twice", code="duplicate_name", node="y"),
    text("size a fraction in a declaration", "x: float64[1.5]\ny = relu(x)", "1.5"),
    text("size negative in a declaration", "x: float64[-1]\ny = relu(x)", "-1"),
    text("dtype unknown in a declaration", "x: float63[3]\ny = relu(x)", ANYWHERE, "float64", code="invalid_field"),
    text("declaration by a call", "x: f(3)\ny = relu(x)", "f(3)"),
    text("ragged constant in text", "w = [[1, 2], [3]]\ny = x * w", "[[1, 2]", code="ragged_data"),
    text("nan misspelt in text", "w = [1, 'nan']\ny = x * w", "[1, 'nan']", "NaN", code="invalid_element"),
    text("1e999 in text", "y = x * 1e999", "1e999", "Infinity"),
    text("integer of 70 bits in text", f"y = x * {2**70}", str(2**70)),
    text("integer of 5,000 digits in text", "y = x * 1" + "0" * 5000, None),
    text("name not ascii in text", "y = relu(größe)", "öße", "ASCII"),
    text("homoglyph in text", "y = \uff52elu(x)", "\uff52elu", "ASCII"),
    text("nul byte in text", "y = relu(\0x)", "\0x", "\\x00"),
    text("name of 200 characters in text", "y" * 200 + " = x * 2", "yyy", "128", code="invalid_name"),
    text("string bomb", "y = 'a' * 10**9", "'a' * 10**9"),
    text("string bomb in an argument", "y = x * ('a' * 10**9)", "'a' * 10**9"),
    text("list bomb", "y = x + [0] * 10**9", "[0] * 10**9"),
    text("power tower", "y = x * 9**9**9", "9**9**9"),
    text("power by squaring", "y = x * (9**64)**64", "9**64"),
    text("power of a fraction", "y = x * 1.5**10**9", "1.5**10**9"),
    text("shift bomb", "y = x * (1 << 10**9)", "1 << 10**9"),
    text("complex overflow", "y = x * (1e308j * 1e308)", "1e308j * 1e308"),
    text("complex power", "y = x * 2j**10**9", "2j**10**9"),
    text("fraction in a list of indices", "y = x[[0, 0.5]]", "[0, 0.5]"),
    text("division by zero", "y = x * (1 / 0)", "1 / 0"),
    text("10,000 parentheses", "y = " + "(" * 10_000 + "x" + ")" * 10_000, ANYWHERE),
    text("10,000 minus signs", "y = " + "-" * 10_000 + "x", None, code="too_deep"),
    text("100,000 minus signs", "y = " + "-" * 100_000 + "x", None, code="too_deep"),
    text("10,000 methods", "y = x" + ".relu()" * 10_000, None, code="too_deep"),
    text("attribute of a tensor", "y = x.__class__", "x.__class__", code="bad_reference"),
    text("attribute in an expression", "y = relu(x.__class__)", "x.__class__", code="bad_reference", node="y"),
    text("attribute of an attribute", "y = relu(x.__class__.__bases__)", "x.__class__", code="bad_reference", node="y"),
    text("shape of a tensor", "y = relu(x.shape)", "x.shape", code="bad_reference", node="y"),
    text("attribute of a tuple", "y = ().__class__", "()"),
    text("attribute of a string", "y = ''.__class__", "''"),
    text("attribute of a number", "y = (1).__class__", "1"),
    text("dunder method", "y = x.__class__()", "x.__class__", code="unknown_op", node="y"),
    text("dunder method of a tuple", "y = ().__class__.__bases__[0].__subclasses__()", "()"),
    text(
        "globals of an operator", "y = torch.relu.__globals__(x)", "torch.relu.__globals__", code="unknown_op", node="y"
    ),
    text("__import__", "y = __import__('os')", "__import__", code="unknown_op", node="y"),
    text("open", "y = open('/etc/passwd')", "open", code="unknown_op", node="y"),
    text("torch.load", "y = torch.load('model.pt')", "torch.load", code="unknown_op", node="y"),
    text("op misspelt in text", "y = rellu(x)", "rellu", "'relu'", code="unknown_op", node="y"),
    text("op misspelt on line 3", "h = x * 2\nz = h + 1\n  \ny = rellu(z)", "rellu", code="unknown_op", node="y"),
    text("method misspelt", "y = (x * 2).rellu()", ANYWHERE, "'relu'", code="unknown_op", node="y"),
    text("op refused in text", "y = x.add_(1)", "x.add_", "'add'", code="refused_op", node="y"),
    text("from_file in text", "y = from_file('/etc/passwd')", "from_file", "files", code="refused_op", node="y"),
    text("argument misspelt in text", "y = sum(x, dimm=0)", ANYWHERE, "'dim'", code="bad_argument", node="y"),
    text("argument of a wrong kind in text", "y = softmax(x, 'last')", "'last'", "int", code="bad_argument", node="y"),
    text("argument missing in text", "h = x * 2\ny = matmul(h)", "matmul(h)", "other", code="bad_argument", node="y"),
    text(
        "matmul on line 2",
        "h = relu(x)\nz = h @ h\ny = z.sum()",
        "h @ h",
        "f64[2,3]",
        code="incompatible_arguments",
        node="z",
        inputs=MATRIX,
    ),
    text(
        "matmul inside an expression",
        "y = relu(x @ x).sum()",
        "x @ x",
        "f64[2,3]",
        code="incompatible_arguments",
        node="_1",
        inputs=MATRIX,
    ),
    text(
        "cholesky in text",
        "h = x * 1\ny = linalg.cholesky(h)",
        "linalg.cholesky(h)",
        "positive",
        code="op_failed",
        node="y",
        inputs=INDEFINITE,
    ),
    text("bomb in text", "y = x.expand(2**40, 3).sum()", "x.expand(2**40, 3)", code="limit_exceeded", node="_1"),
    text(
        "past the end of a split in text",
        "s = split(x, 2)\ny = relu(s[7])",
        ANYWHERE,
        "2",
        code="bad_reference",
        node="y",
    ),
    text("row past the end in text", "y = x[7]", "x[7]", "7", code="incompatible_arguments", node="y"),
    text("unpacking one value too many", "a, b, c = split(x, 2)\nreturn c", "c", code="bad_reference"),
    text("unpacking one value too many, unnamed", "a, b, c = split(x, 2)", ANYWHERE, code="bad_reference"),
    text("unpacking a tensor", "a, b = relu(x)\nreturn a", ANYWHERE, code="bad_reference"),
    text("several values for an output", "y = max(x, dim=0)", ANYWHERE, "y.values", code="bad_reference", node="y"),
    text("comment only", "# nothing here", None, code="empty_graph"),
    text("empty text", "", None, code="empty_graph"),
    text("number only", "y = 3", None, code="empty_graph"),
]

ROWS = [
    *ENVELOPE,
    *JSON,
    *FIELDS,
    *TENSORS,
    *NAMES,
    *OPERATORS,
    *ARGUMENTS,
    *REFERENCES,
    *SHAPES,
    *INPUTS,
    *DERIVATIVES,
    *LIMITS,
    *VALUES,
    *TEXT,
]

# Several mistakes in one request: body, then the code and pointer of each problem
SEVERAL: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "two unknown operators and a bad argument": (
        ask(
            {
                "nodes": [
                    {"id": "a", "op": "rellu", "args": ["$x"]},
                    {"id": "b", "op": "softmax", "args": ["$x", "last"]},
                    {"id": "c", "op": "sinn", "args": ["$x"]},
                ]
            }
        ),
        [
            ("unknown_op", "/graph/nodes/0/op"),
            ("bad_argument", "/graph/nodes/1/args/1"),
            ("unknown_op", "/graph/nodes/2/op"),
        ],
    ),
    "two ragged inputs": (
        ask("y = x * w", {"x": [[1], [2, 3]], "w": [1, [2]]}),
        [("ragged_data", "/inputs/x/1"), ("ragged_data", "/inputs/w/1")],
    ),
    "an unknown field and a missing one": (
        {"grahp": RELU, "inputs": X},
        [("missing_field", "/graph"), ("unknown_field", "/grahp")],
    ),
    "two undefined names": (
        ask({"inputs": {"x": {}}, **call("add", "$u", "$v")}),
        [("undefined_name", "/graph/nodes/0/args/0"), ("undefined_name", "/graph/nodes/0/args/1")],
    ),
    "two names defined twice": (
        ask({"constants": {"x": 1}, **spec(x={}, y={})}),
        [("duplicate_name", "/graph/constants/x"), ("duplicate_name", "/graph/nodes/0/id")],
    ),
    "a ragged constant and an overflowing one": (
        ask({"constants": {"v": [1, [2]], "w": tensor([300], "int8")}, **RELU}),
        [("ragged_data", "/graph/constants/v/1"), ("value_out_of_range", "/graph/constants/w/data/0")],
    ),
    "a missing input, an unknown one and a ragged one": (
        ask("y = x * w", {"x": [1, [2]], "q": [1]}),
        [("ragged_data", "/inputs/x/1"), ("unknown_input", "/inputs/q"), ("missing_input", "/inputs")],
    ),
    "two declarations violated": (
        ask("a: float64[2]\nb: float32\ny = a * b", {"a": [1], "b": tensor([1], "float64")}),
        [("shape_mismatch", "/inputs/a"), ("dtype_mismatch", "/inputs/b")],
    ),
    "two unknown names in wrt": (
        ask(RELU, wrt=["u", "v"]),
        [("unknown_input", "/wrt/0"), ("unknown_input", "/wrt/1")],
    ),
    "two grad_tensors misshapen": (
        ask(BOTH, grad_tensors={"y": [1], "z": [1]}),
        [("shape_mismatch", "/grad_tensors/y"), ("shape_mismatch", "/grad_tensors/z")],
    ),
    "two grad_tensors missing": (
        ask(two(node("relu", "$x"), {**node("neg", "$x"), "id": "z"}, outputs=["y", "z"])),
        [("grad_tensor_required", "/grad_tensors"), ("grad_tensor_required", "/grad_tensors")],
    ),
    "two unused inputs": (
        ask({"inputs": {"u": {}, "v": {}, "x": {}}, **call("sum", "$x")}, {**X, "u": 1, "v": 2}, unused="error"),
        [("unused_input", "/unused"), ("unused_input", "/unused")],
    ),
}

MANY = {
    "undefined names": json.dumps(
        ask(
            {
                "inputs": {"x": {}},
                "nodes": [{"id": f"node{i}", "op": "relu", "args": [f"$undefined{i}"]} for i in range(9_000)],
            }
        )
    ),
    "keys, the last one doubled": '{"graph": {'
    + "".join(f'"key{i}": 0, ' for i in range(100_000))
    + '"a": 0, "a": 0}}',
    "unknown outputs": json.dumps(
        ask(
            {
                "nodes": [{"id": f"node{i}", "op": "relu", "args": ["$x"]} for i in range(5_000)],
                "outputs": [f"node{i}" for i in range(5_000)],
            },
            grad_tensors={f"output{i}": 1.0 for i in range(5_000)},
        )
    ),
    "nameless nodes, and a long comment": json.dumps(
        ask("# " + "_1" * 2_000_000 + "\n" + "\n".join(f"z{i} = x * x + x" for i in range(4_900)) + "\ny = rellu(x)")
    ),
}
"""Requests of a few megabytes at most, whose problems take time that grows with the square of their number."""

Reply = Callable[[Row], httpx.Response]

PARAMETRIZED = pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])


@pytest.fixture(scope="module")
def reply(service: httpx.Client) -> Reply:
    """The answer to a row, which is sent once."""
    answers: dict[str, httpx.Response] = {}

    def send(row: Row) -> httpx.Response:
        if row.id not in answers:
            answers[row.id] = row.send(service)
        return answers[row.id]

    return send


@pytest.fixture(scope="module")
def impatient() -> Iterator[httpx.Client]:
    """A service that gives a request a few seconds of a worker process."""
    yield from in_process(Settings(worker_kind="processes", workers=1, deadline_s=15))


@pytest.fixture(scope="module")
def small() -> Iterator[httpx.Client]:
    """A service with narrow limits."""
    limits = {"max_body_bytes": 2000, "max_nodes": 3, "max_tensor_elements": 100, "max_total_elements": 250}
    yield from in_process(Settings(worker_kind="inline", **limits))


def caret_of(excerpt: str) -> str:
    """What the caret stands under, to the end of the line."""
    line, carets = excerpt.split("\n")
    assert set(carets.lstrip()) == {"^"}, carets
    assert len(carets) <= len(line) + 1, "the caret stands past the end of its line"
    return line[len(carets) - len(carets.lstrip()) :]


def told(problem: dict[str, Any]) -> str:
    """All that a problem says to a person."""
    return "\n".join(str(problem.get(key)) for key in ("detail", "hint", "expected", "got"))


@PARAMETRIZED
def test_mistake_is_told_with_its_code_and_its_place(reply: Reply, row: Row) -> None:
    response = reply(row)
    problem = response.json()
    found = (response.status_code, problem.get("code"), problem.get("pointer"))
    assert found == (row.status, row.code, row.pointer), response.text[:1000]
    assert row.node is None or problem.get("node") == row.node, problem
    assert problem.get("errors") is None, f"one mistake, one problem: {problem}"


@PARAMETRIZED
def test_mistake_is_told_in_words_that_help(reply: Reply, row: Row) -> None:
    problem = reply(row).json()
    for words in row.says:
        assert words in told(problem), problem
    if row.caret is not None:
        assert problem.get("excerpt"), f"nothing is quoted: {problem}"
        assert row.caret == ANYWHERE or caret_of(problem["excerpt"]).startswith(row.caret), problem["excerpt"]


@PARAMETRIZED
def test_every_problem_is_a_document_of_the_contract(reply: Reply, row: Row) -> None:
    """RFC 9457, section 3."""
    response = reply(row)
    problem = Problem.model_validate_json(response.content)
    assert response.headers["content-type"] == "application/problem+json"
    assert problem.status == response.status_code < 500
    assert problem.type == f"urn:pullback:problem:{problem.code}"
    assert problem.title == problem_classes()[problem.code].title
    assert problem.detail
    assert len(response.content) < 20_000
    for internal in ("INTERNAL ASSERT", "please report a bug", "/pytorch/", "function-after", "pydantic"):
        assert internal not in response.text, "what is inside the service is no help outside"


def test_after_all_mistakes_an_ordinary_request_is_answered(reply: Reply, service: httpx.Client) -> None:
    statuses = {row.id: reply(row).status_code for row in ROWS}
    assert {name: status for name, status in statuses.items() if not 400 <= status < 500} == {}
    answer = service.post("/v1/backward", json=ORDINARY)
    assert answer.status_code == 200
    assert answer.json()["gradients"]["x"]["data"] == [2.0, 4.0, 6.0]


def test_rows_have_names_of_their_own() -> None:
    names = [row.id for row in ROWS]
    assert sorted(names) == sorted(set(names))
    assert len(names) >= 90


@pytest.mark.parametrize("name", SEVERAL)
def test_several_mistakes_are_told_at_once(service: httpx.Client, name: str) -> None:
    body, expected = SEVERAL[name]
    response = service.post("/v1/backward", json=body)
    problem = response.json()
    assert response.status_code == 422
    assert [(one["code"], one["pointer"]) for one in problem.get("errors", [])] == expected, problem
    first = {**problem["errors"][0], "errors": problem["errors"]}
    assert problem == first, "the document itself tells the first of them"


def test_mistakes_on_several_lines_are_quoted_one_by_one(service: httpx.Client) -> None:
    source = "h = rellu(x)\nk = softmax(x, 'last')\ny = h + k"
    problem = service.post("/v1/forward", json=ask(source)).json()
    assert [caret_of(one["excerpt"]) for one in problem["errors"]] == ["rellu(x)", "'last')"]


def test_what_follows_from_a_mistake_is_not_told(service: httpx.Client) -> None:
    """A node that needs a broken one is no mistake of its own."""
    problem = service.post("/v1/forward", json=ask("h = rellu(x)\nk = h * 2\ny = k.sum(dim='a')")).json()
    assert (problem["code"], problem["node"]) == ("unknown_op", "h")
    assert "errors" not in problem


def test_cycle_of_two_nodes_names_both_and_points_to_one(service: httpx.Client) -> None:
    graph = {
        "nodes": [
            {"id": "y", "op": "relu", "args": ["$x"]},
            {"id": "a", "op": "add", "args": ["$y", "$b"]},
            {"id": "b", "op": "neg", "args": ["$a"]},
        ]
    }
    problem = service.post("/v1/forward", json=ask(graph)).json()
    assert problem["code"] == "graph_cycle"
    assert problem["detail"].count("a -> b") + problem["detail"].count("b -> a") == 2, problem["detail"]
    assert problem["pointer"] == {"a": "/graph/nodes/1", "b": "/graph/nodes/2"}[problem["node"]]


def test_shape_mismatch_shows_the_types_of_every_argument(service: httpx.Client) -> None:
    problem = service.post("/v1/forward", json=ask(MIDDLE, MATRIX)).json()
    assert problem["got"] == {"self": "f64[2,3]", "other": "f64[2,3]"}


def test_missing_grad_tensor_shows_what_to_send(service: httpx.Client) -> None:
    problem = service.post("/v1/backward", json=ask(RELU)).json()
    assert problem["expected"] == {"dtype": "float64", "shape": [3]}


def test_405_says_which_methods_are_allowed(service: httpx.Client) -> None:
    """RFC 9110, section 15.5.6."""
    assert service.get("/v1/forward").headers["allow"] == "POST"


def test_a_thousand_mistakes_make_a_document_that_can_be_read(service: httpx.Client) -> None:
    graph = {"nodes": [{"id": f"n{i}", "op": "rellu", "args": ["$x"]} for i in range(1000)]}
    response = service.post("/v1/forward", json=ask(graph))
    assert response.status_code == 422
    assert 2 <= len(response.json()["errors"]) <= 100
    assert len(response.content) < 100_000


@pytest.mark.parametrize("name", MANY)
def test_thousands_of_mistakes_are_told_long_before_the_deadline(impatient: httpx.Client, name: str) -> None:
    response = impatient.post("/v1/backward", content=MANY[name], headers={"content-type": "application/json"})
    assert response.status_code in (400, 422), response.text[:500]


WITHOUT_ELEMENTS = {
    # A million empty rows have no element, and 3 MB of brackets in an answer; 2**40 of them would end the host.
    "input": ask(RELU, {"x": {"shape": [10**6, 0], "data": []}}),
    "value": ask(call("repeat", "$x", [10**6, 0]), {"x": 1.0}),
}


@pytest.mark.parametrize("name", WITHOUT_ELEMENTS)
def test_a_million_empty_rows_do_not_slip_through_a_limit_of_a_hundred(small: httpx.Client, name: str) -> None:
    assert small.post("/v1/forward", json=WITHOUT_ELEMENTS[name]).status_code == 422


def test_failure_inside_of_torch_names_its_node_though_it_is_a_recursion(service: httpx.Client) -> None:
    """Thousands of shifts are rolled one by one, each inside the one before."""
    response = service.post("/v1/forward", json=ask(call("roll", "$x", [1] * 4000, [0] * 4000)))
    problem = response.json()
    assert response.status_code == 200 or (problem["pointer"], problem["node"]) == ("/graph/nodes/0", "y"), problem


def padded(size: int) -> bytes:
    body = json.dumps(ORDINARY).encode()
    return body + b" " * (size - len(body))


@pytest.mark.parametrize("is_chunked", [False, True], ids=["content-length", "chunked"])
def test_body_over_the_limit_gives_413_and_one_at_the_limit_does_not(small: httpx.Client, is_chunked: bool) -> None:
    def post(size: int) -> httpx.Response:
        content = iter([padded(size)[:1000], padded(size)[1000:]]) if is_chunked else padded(size)
        return small.post("/v1/forward", content=content, headers={"content-type": "application/json"})

    assert post(2000).status_code == 200
    response = post(2001)
    problem = Problem.model_validate_json(response.content)
    assert (response.status_code, problem.status, problem.code) == (413, 413, "body_too_large")
    assert response.headers["content-type"] == "application/problem+json"
    assert problem.expected == 2000


def test_chunked_body_within_the_limit_is_answered(service: httpx.Client) -> None:
    content = (bytes([byte]) for byte in json.dumps(ORDINARY).encode())
    assert service.post("/v1/forward", content=content, headers={"content-type": "application/json"}).status_code == 200


def ones(*sizes: int) -> dict[str, Any]:
    return {"nodes": [{"id": f"n{i}", "op": "ones", "args": [[size]]} for i, size in enumerate(sizes)]}


def chain(count: int) -> dict[str, Any]:
    return {"nodes": [{"id": f"n{i}", "op": "neg", "args": ["$x"]} for i in range(count)]}


NARROW: dict[str, tuple[Callable[[int], dict[str, Any]], int, str]] = {
    # What is asked for with a number of things, the largest number allowed, and the place of the refusal above it.
    "nodes": (lambda n: ask(chain(n)), 3, "/graph/nodes"),
    "nodes of a text": (lambda n: ask("\n".join(f"y{i} = neg(x)" for i in range(n))), 3, "/graph"),
    "elements of a value": (lambda n: ask(ones(n), {}), 100, "/graph/nodes/0"),
    "elements of an input": (lambda n: ask(RELU, {"x": [1] * n}), 100, "/inputs/x"),
    "elements of a constant": (lambda n: ask({"constants": {"w": [1] * n}, **RELU}), 100, "/graph/constants/w"),
    "elements of all values": (lambda n: ask(ones(100, 100, n), {}), 50, "/graph/nodes/2"),
    "elements of a product": (lambda n: ask("y = (x[:, None] * x).sum()", {"x": [1] * n}), 10, "/graph"),
    "grad_tensors of a batch": (
        lambda n: ask("y = x.sum()", {"x": [1] * 10}, grad_tensors={"y": [1] * n}, is_grads_batched=True),
        10,
        "/grad_tensors",
    ),
    "elements of a jacobian": (
        lambda n: ask(RELU, {"x": [1] * n}, grad_tensors={"y": [1] * n}, jacobian=True),
        10,
        "/jacobian",
    ),
}


@pytest.mark.parametrize("name", NARROW)
def test_limits_are_the_settings(small: httpx.Client, name: str) -> None:
    body, most, pointer = NARROW[name]
    operation = "/v1/backward" if "jacobian" in name or "grad" in name else "/v1/forward"
    within = small.post(operation, json=body(most))
    assert within.status_code == 200, within.text
    beyond = small.post(operation, json=body(most + 1))
    assert beyond.status_code == 422, f"{name} beyond {most}: {beyond.text[:500]}"
    problem = beyond.json()
    assert (problem["code"], problem["pointer"]) == ("limit_exceeded", pointer), problem
    assert problem.get("expected") or "limit" in problem["detail"], "the limit is told"
