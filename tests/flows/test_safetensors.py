"""Requests and answers as safetensors files: every operation, every dtype, and what is wrong with a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import safetensors.torch
import torch
from torch import Tensor

from pullback_schemas.safetensors import Stored, read, write

SAFETENSORS = "application/vnd.safetensors"
JSON = "application/json"
EVERY = ["bool", "bfloat16", "complex64", *(f"float{bits}" for bits in (16, 32, 64))]
EVERY += [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]

Send = Callable[..., httpx.Response]
Ask = Callable[..., tuple[Any, dict[str, Tensor]]]


def file(request: Any, **tensors: Tensor) -> bytes:
    """A request as the format's own library writes it."""
    text = request if isinstance(request, str) else json.dumps(request)
    return safetensors.torch.save(tensors, {"request": text})


def opened(body: bytes) -> tuple[Any, dict[str, Tensor]]:
    """The document and the tensors of an answer, read by the format's own library."""
    metadata, _ = read(body)
    return json.loads(metadata["result"]), safetensors.torch.load(body)


@pytest.fixture(scope="session")
def send(service: httpx.Client) -> Send:
    def call(operation: str, body: bytes, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return service.post(f"/v1/{operation}", content=body, headers={"content-type": SAFETENSORS, **named})

    return call


@pytest.fixture(scope="session")
def ask(send: Send) -> Ask:
    """A request that must succeed, answered as a file."""

    def call(operation: str, request: Any, **tensors: Tensor) -> tuple[Any, dict[str, Tensor]]:
        response = send(operation, file(request, **tensors), accept=SAFETENSORS)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == SAFETENSORS
        return opened(response.content)

    return call


def at(key: str, **more: Any) -> dict[str, Any]:
    return {"tensor": key, **more}


X = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
V = torch.tensor([1.0, 0.5, 0.25], dtype=torch.float64)


def test_a_gradient_goes_there_and_back_without_a_number_in_json(ask):
    request = {"graph": "y = relu(x * x)", "inputs": {"x": at("here")}, "grad_tensors": {"y": at("v")}}
    document, tensors = ask("backward", request, here=X, v=V)
    assert tensors["outputs/y"].tolist() == [1.0, 4.0, 9.0]
    assert tensors["gradients/x"].tolist() == [2.0, -2.0, 1.5]
    assert document["gradients"]["x"] == {"dtype": "float64", "shape": [3], "tensor": "gradients/x"}
    assert document["meta"]["mode"] == "reverse"
    assert "encode" in document["meta"]["timings_ms"]


@pytest.mark.parametrize("dtype", EVERY)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0), (2, 3)], ids=str)
def test_every_dtype_comes_back_bit_for_bit(ask, dtype, shape):
    x = torch.randint(0, 256, (*shape, torch.zeros(1, dtype=getattr(torch, dtype)).itemsize), dtype=torch.uint8)
    x = (x % 2 if dtype == "bool" else x).view(getattr(torch, dtype)).reshape(shape)
    _, tensors = ask("forward", {"graph": "return x", "inputs": {"x": at("x")}}, x=x)
    y = tensors["outputs/x"]
    assert (y.dtype, y.shape) == (x.dtype, x.shape)
    assert y.reshape(-1).view(torch.uint8).tolist() == x.reshape(-1).view(torch.uint8).tolist()


@pytest.mark.parametrize(("dtype", "part"), [("complex128", torch.float64), ("complex64", torch.float32)])
def test_complex_numbers_may_be_pairs_in_one_more_axis(ask, dtype, part):
    pairs = torch.tensor([[1.0, 2.0], [3.0, -4.0]], dtype=part)
    document, tensors = ask("forward", {"graph": "y = x * x", "inputs": {"x": at("x", dtype=dtype)}}, x=pairs)
    assert (document["outputs"]["y"]["dtype"], document["outputs"]["y"]["shape"]) == (dtype, [2])
    y = tensors["outputs/y"]
    assert (y if dtype == "complex64" else torch.view_as_complex(y)).tolist() == [-3 + 4j, -7 - 24j]


def test_tensors_are_right_wherever_they_lie_in_the_file(send):
    """A misaligned buffer of complex128 would end the process."""
    x = torch.randn(7, dtype=torch.complex128)
    request = {"graph": "y = x * b", "inputs": {"x": at("x", dtype="complex128"), "b": at("b")}}
    header = {
        "__metadata__": {"request": json.dumps(request)},
        "b": {"dtype": "BOOL", "shape": [1], "data_offsets": [0, 1]},
        "x": {"dtype": "F64", "shape": [7, 2], "data_offsets": [1, 113]},
    }
    text = json.dumps(header).encode()
    for blanks in range(16):
        head = (len(text) + blanks).to_bytes(8, "little") + text + b" " * blanks
        body = head + b"\1" + torch.view_as_real(x).numpy().tobytes()
        _, tensors = opened(send("forward", body, accept=SAFETENSORS).content)
        assert torch.equal(torch.view_as_complex(tensors["outputs/y"]), x)


def test_json_tensors_may_stand_beside_those_of_the_file(ask):
    request = {"graph": "y = x * w", "inputs": {"x": at("x"), "w": [2, 3, 4]}, "grad_tensors": [at("x")]}
    _, tensors = ask("backward", request, x=X)
    assert tensors["outputs/y"].tolist() == [2.0, -6.0, 12.0]
    assert tensors["gradients/w"].tolist() == [1.0, 4.0, 9.0]


OPERATIONS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "jvp": ({"tangents": {"x": at("v")}}, {"outputs/y", "jvp/y"}),
    "jacobian": ({"grad": None}, {"outputs/y", "jacobians/y/x"}),
    "hvp": ({"grad_tensors": {"y": at("v")}, "vectors": {"x": at("v")}}, {"outputs/y", "gradients/x", "hvp/x"}),
    "hessian": ({"grad_tensors": {"y": at("v")}}, {"outputs/y", "gradients/x", "hessian/x/x"}),
    "backward": (
        {"grad_tensors": {"y": at("v")}, "jacobian": True},
        {"outputs/y", "gradients/x", "jacobians/y/x"},
    ),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_says_the_same_in_both_forms(answer, ask, operation):
    more, keys = OPERATIONS[operation]
    asked = {name: value for name, value in more.items() if value is not None}
    used = {"v": V} if "v" in json.dumps(asked) and "tensor" in json.dumps(asked) else {}
    document, tensors = ask(operation, {"graph": "y = x ** 3", "inputs": {"x": at("x")}, **asked}, x=X, **used)
    assert set(tensors) == keys
    told = json.loads(json.dumps(asked).replace('{"tensor": "v"}', json.dumps(V.tolist())))
    plain = answer(operation, graph="y = x ** 3", inputs={"x": X.tolist()}, **told)
    for key in keys:
        said: Any = plain
        for part in key.split("/"):
            said = said[part]
        assert tensors[key].tolist() == said["data"]
    assert document.keys() == plain.keys()


@pytest.mark.parametrize("operation", ["check", "gradcheck"])
def test_what_answers_no_tensor_answers_its_document(ask, operation):
    document, tensors = ask(operation, {"graph": "y = x ** 3", "inputs": {"x": at("x")}}, x=X)
    assert tensors == {}
    assert document["inputs"]["x"]["status" if operation == "gradcheck" else "dtype"] in ("passed", "float64")


def test_no_gradient_is_null_in_the_document(ask):
    request = {"graph": "y = x * 1", "inputs": {"x": at("x"), "u": [1]}, "unused": "null", "grad_tensors": [at("x")]}
    request["graph"] = {
        "inputs": {"x": {}, "u": {}},
        "nodes": [{"id": "y", "op": "mul", "args": ["$x", 1]}],
    }
    document, tensors = ask("backward", request, x=X)
    assert document["gradients"]["u"] is None
    assert set(tensors) == {"outputs/y", "gradients/x"}


def test_form_of_the_request_and_form_of_the_answer_are_chosen_apart(send, service):
    request = {"graph": "y = x * 2", "inputs": {"x": at("x")}}
    plain = send("forward", file(request, x=X))
    assert plain.headers["content-type"] == JSON
    assert plain.json()["outputs"]["y"]["data"] == [2.0, -4.0, 6.0]
    body = {"graph": "y = x * 2", "inputs": {"x": X.tolist()}}
    binary = service.post("/v1/forward", json=body, headers={"accept": SAFETENSORS})
    assert opened(binary.content)[1]["outputs/y"].tolist() == [2.0, -4.0, 6.0]


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("*/*", JSON),
        ("application/*", JSON),
        (f"{SAFETENSORS}, */*", SAFETENSORS),
        (f"{JSON}, {SAFETENSORS}", JSON),
        (f"{JSON};q=0.5, {SAFETENSORS}", SAFETENSORS),
        (f"{JSON};q=0, */*", SAFETENSORS),
        (f"{SAFETENSORS};q=0.1, application/*;q=0.2", JSON),
        (f"{JSON};q=nonsense, {SAFETENSORS};q=0.1", SAFETENSORS),
        (f"text/html, {SAFETENSORS.upper()}; Q=0.3", SAFETENSORS),
        ("", JSON),
        (f"{JSON};q=0", None),
        (f"{JSON};q=0.0, {SAFETENSORS};q=0", None),
    ],
)
def test_the_answer_has_the_form_that_the_caller_likes_best(service, accept, form):
    body = {"graph": "y = x * 2", "inputs": {"x": 1}}
    response = service.post("/v1/forward", json=body, headers={"accept": accept})
    if form is None:
        assert (response.status_code, response.json()["code"]) == (406, "not_acceptable")
    else:
        assert (response.status_code, response.headers["content-type"]) == (200, form)


def test_a_constant_of_a_file_outlives_its_request_and_is_told_from_another(ask):
    graph = {"nodes": [{"id": "y", "op": "mul", "args": ["$x", "$w"]}], "constants": {"w": at("w")}}
    request = {"graph": graph, "inputs": {"x": at("x")}}
    for w in (X.clone(), V, X.clone()):
        _, tensors = ask("forward", request, x=X, w=w)
        assert torch.equal(tensors["outputs/y"], X * w)
    again, _ = ask("forward", request, x=X, w=V)
    assert again["meta"]["plan_cached"] is True


def test_each_tensor_of_an_answer_is_aligned_to_its_elements(ask, send):
    request = {
        "graph": "a = x > 0; b = x.to('complex128'); c = x.to('float16'); d = x.to('complex64'); return a, b, c, d",
        "inputs": {"x": at("x")},
    }
    body = send("forward", file(request, x=X), accept=SAFETENSORS).content
    size = int.from_bytes(body[:8], "little")
    header = json.loads(body[8 : 8 + size])
    places = {key: info["data_offsets"][0] for key, info in header.items() if key != "__metadata__"}
    assert (size + 8) % 64 == 0
    needs = {"outputs/a": 1, "outputs/b": 16, "outputs/c": 2, "outputs/d": 8}
    assert {key: place % needs[key] for key, place in places.items()} == dict.fromkeys(needs, 0)


def refused(send: Send, request: Any, tensors: dict[str, Tensor], operation: str = "backward") -> Any:
    response = send(operation, file(request, **tensors), accept=SAFETENSORS)
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == response.status_code
    return problem


REFUSALS: dict[str, tuple[Any, dict[str, Tensor], str, str | None]] = {
    "a key that is not there": (
        {"graph": "y = x.sum()", "inputs": {"x": at("z")}},
        {},
        "unknown_tensor",
        "/inputs/x/tensor",
    ),
    "a key that nobody uses": ({"graph": "y = x.sum()", "inputs": {"x": [1]}}, {"z": X}, "unused_tensor", None),
    "a key that is no string": (
        {"graph": "y = x.sum()", "inputs": {"x": at(1)}},  # type: ignore[arg-type]
        {},
        "invalid_field",
        "/inputs/x/tensor",
    ),
    "a field beside the key": (
        {"graph": "y = x.sum()", "inputs": {"x": at("x", shape=[3])}},
        {"x": X},
        "unknown_field",
        "/inputs/x/shape",
    ),
    "another dtype": (
        {"graph": "y = x.sum()", "inputs": {"x": at("x", dtype="float32")}},
        {"x": X},
        "dtype_mismatch",
        "/inputs/x/dtype",
    ),
    "no pairs": (
        {"graph": "y = x.sum()", "inputs": {"x": at("x", dtype="complex128")}},
        {"x": X},
        "dtype_mismatch",
        "/inputs/x/dtype",
    ),
    "a boolean of two": (
        {"graph": "y = x", "inputs": {"x": at("x")}},
        {"x": torch.tensor([2], dtype=torch.uint8).view(torch.bool)},
        "invalid_element",
        "/inputs/x/tensor",
    ),
    "a grad_tensor of another shape": (
        {"graph": "y = x * 2", "inputs": {"x": at("x")}, "grad_tensors": {"y": at("v")}},
        {"x": X, "v": V[:2].clone()},
        "shape_mismatch",
        "/grad_tensors/y",
    ),
    "a constant that is not there": (
        {"graph": {"nodes": [{"id": "y", "op": "relu", "args": ["$w"]}], "constants": {"w": at("w")}}},
        {},
        "unknown_tensor",
        "/graph/constants/w/tensor",
    ),
    "a request that is no JSON": ("{", {}, "not_json", None),
    "a request with a doubled key": ('{"graph": "y = 1", "graph": "y = 2"}', {}, "duplicate_key", None),
    "a request that is a list": ("[]", {}, "invalid_field", None),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_request_that_does_not_fit_its_file_is_refused_at_its_place(send, name):
    request, tensors, code, pointer = REFUSALS[name]
    problem = refused(send, request, tensors)
    assert (problem["code"], problem.get("pointer")) == (code, pointer), problem


def test_a_file_without_a_request_is_refused(send):
    problem = send("forward", safetensors.torch.save({"x": X})).json()
    assert (problem["status"], problem["code"]) == (400, "invalid_safetensors")
    assert "request" in problem["detail"]


def test_json_that_says_it_is_a_file_is_refused(send):
    problem = send("forward", b'{"graph": "y = 1"}').json()
    assert (problem["status"], problem["code"]) == (400, "invalid_safetensors")


def test_a_reference_without_a_file_is_refused_with_its_place(post):
    problem = post("forward", graph="y = x", inputs={"x": at("x")}).json()
    assert (problem["code"], problem["pointer"]) == ("invalid_field", "/inputs/x/tensor")


def test_the_openapi_document_has_both_forms(service):
    operation = service.get("/openapi.json").json()["paths"]["/v1/backward"]["post"]
    assert set(operation["requestBody"]["content"]) == {JSON, SAFETENSORS}
    assert set(operation["responses"]["200"]["content"]) == {JSON, SAFETENSORS}


def test_a_large_file_goes_through_shared_memory_unharmed(real_url):
    """An input in the body's own memory must not be written to by an operator, nor by another request."""
    x = torch.arange(100_001, dtype=torch.float64)
    request = {"graph": "y = x * 2", "inputs": {"x": at("x")}, "grad_tensors": {"y": at("x")}}
    body = b"".join(write({"request": json.dumps(request)}, {"x": Stored("F64", (100_001,), x.numpy().tobytes())}))
    headers = {"content-type": SAFETENSORS, "accept": SAFETENSORS}
    response = httpx.post(f"{real_url}/v1/backward", content=body, headers=headers, timeout=30)
    _, tensors = opened(response.content)
    assert torch.equal(tensors["outputs/y"], x * 2)
    assert torch.equal(tensors["gradients/x"], x * 2)
