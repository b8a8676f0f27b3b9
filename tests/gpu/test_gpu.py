"""A real service with a GPU: the numbers of the CPU, and failures that cost one request only."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from pullback_service.gpu import KEPT_BYTES

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here"),
]

UP_IN_S = 300
X, V = [[1.0, -2.0], [0.5, 3.0]], [[1.0, 0.25], [-1.0, 2.0]]
WEIGHTED = {"constants": {"w": V}, "nodes": [{"id": "y", "op": "matmul", "args": ["$x", "$w"]}]}
SINGLE = {"dtype": "float32", "data": [[k * j / 977 - 1 for k in range(64)] for j in range(64)]}
RAMP = [k / 100 for k in range(200)]
GIB = 2**30

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "values": ("forward", {"graph": "y = (x @ x).exp()", "inputs": {"x": X}}),
    "made out of nothing": ("forward", {"graph": "y = x + eye(2) + arange(2)", "inputs": {"x": X}}),
    "a gradient": ("backward", {"graph": WEIGHTED, "inputs": {"x": X}, "grad_tensors": {"y": V}, "wrt": ["x", "w"]}),
    "an explanation": (
        "backward",
        {"graph": "y = tanh(x) * x", "inputs": {"x": X}, "grad_tensors": {"y": V}, "explain": True},
    ),
    "a product with a tangent": ("jvp", {"graph": "y = x @ x.sin()", "inputs": {"x": X}, "tangents": {"x": V}}),
    "a Jacobian": ("jacobian", {"graph": "y = (x @ x).sin()", "inputs": {"x": X}}),
    "a sparse Jacobian": ("jacobian", {"graph": "y = sin(x[1:]) * x[:-1]", "inputs": {"x": RAMP}}),
    "a Hessian": ("hessian", {"graph": "y = (x @ x).sin().sum()", "inputs": {"x": X}}),
    "a product with the Hessian": (
        "hvp",
        {"graph": "y = (x @ x).sin().sum()", "inputs": {"x": X}, "vectors": {"x": V}},
    ),
    "linear algebra": ("jacobian", {"graph": "y = linalg.inv(x) + linalg.solve(x, x)", "inputs": {"x": X}}),
    "a product in single precision": ("backward", {"graph": "y = (x @ x).sum()", "inputs": {"x": SINGLE}}),
    "a large tensor": ("forward", {"graph": "y = x.sin()", "inputs": {"x": [k / 7 for k in range(300_000)]}}),
}


def ready_on_gpu(url: str) -> None:
    bound = time.monotonic() + UP_IN_S
    while httpx.get(f"{url}/health/ready").json()["devices"].get("cuda:0") != "ok":
        assert time.monotonic() < bound, "no worker came up on the GPU"


@pytest.fixture(scope="module")
def url(start_service, stop_service) -> Iterator[str]:
    process, address = start_service(WORKERS="1")
    ready_on_gpu(address)
    yield address
    stop_service(process)


@pytest.fixture(scope="module")
def small_url(start_service, stop_service) -> Iterator[str]:
    """Of a service that takes little of the GPU's memory."""
    total = torch.cuda.get_device_properties(0).total_memory
    process, address = start_service(WORKERS="1", GPU_MEMORY_FRACTION=f"{GIB / total:.6f}")
    ready_on_gpu(address)
    yield address
    stop_service(process)


def post(url: str, operation: str, body: dict[str, Any], device: str = "cuda") -> httpx.Response:
    return httpx.post(f"{url}/v1/{operation}", json={**body, "device": device}, timeout=60)


def square(url: str) -> list[float]:
    response = post(url, "backward", {"graph": "y = (x * x).sum()", "inputs": {"x": [1.0, 2.0]}})
    assert response.status_code == 200, response.text
    gradient: list[float] = response.json()["gradients"]["x"]["data"]
    return gradient


def tensors(document: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every tensor of an answer, with its place and its precision."""
    if isinstance(document, dict) and "data" in document:
        rtol = 1e-4 if document["dtype"] == "float32" else 1e-10
        yield path, (np.asarray(document["data"], dtype=float), rtol)
    elif isinstance(document, dict):
        for name, item in document.items():
            yield from tensors(item, f"{path}/{name}")
    elif isinstance(document, list):
        for index, item in enumerate(document):
            yield from tensors(item, f"{path}/{index}")


@pytest.mark.parametrize("case", CASES)
def test_an_answer_is_the_cpus_within_rounding(case, url):
    operation, body = CASES[case]
    expected, found = (post(url, operation, body, device).json() for device in ("cpu", "cuda"))
    assert found["meta"]["device"] == "cuda:0"
    theirs, ours = dict(tensors(expected)), dict(tensors(found))
    assert list(ours) == list(theirs) != []
    for path, (values, rtol) in theirs.items():
        np.testing.assert_allclose(ours[path][0], values, rtol, rtol, err_msg=path)


def test_random_numbers_are_those_of_the_seed(url):
    def drawn(seed: int) -> Any:
        body = {"graph": "y = x * rand([8], dtype='float64')", "inputs": {"x": 1.0}, "seed": seed}
        return post(url, "forward", body).json()["outputs"]["y"]["data"]

    first = drawn(1)
    assert drawn(2) != first
    assert drawn(1) == first


def test_much_work_goes_to_the_gpu_by_itself(url):
    body = {"graph": "m = x * ones([2000, 2000], dtype='float64'); y = (m @ m).sum()", "inputs": {"x": 1.0}}
    answer = post(url, "forward", body, "auto").json()
    assert answer["meta"]["device"] == "cuda:0"
    assert answer["outputs"]["y"]["data"] == 2000.0**3


@pytest.mark.parametrize("device", ["cuda:99", "cuda:100000000000"])
def test_a_gpu_that_is_not_there_is_refused_with_what_is(device, url):
    problem = post(url, "forward", {"graph": "y = x", "inputs": {"x": 1}}, device).json()
    assert problem["code"] == "device_unavailable"
    assert "cuda:0" in problem["expected"]


def test_what_takes_more_memory_than_there_is_costs_that_request_only(small_url):
    graph = f"a = x * ones([{2**25}], dtype='float64'); b = a.sin(); c = b.cos(); y = (a * b * c).sum()"
    reply = post(small_url, "backward", {"graph": graph, "inputs": {"x": 1.0}})
    assert reply.json()["code"] == "memory_limit", reply.text
    assert square(small_url) == [2.0, 4.0]
    assert httpx.get(f"{small_url}/health/ready").json()["workers"]["restarted"] == 0


@pytest.mark.parametrize("again", range(2))
def test_an_index_out_of_range_costs_that_request_only(again, url):
    """The GPU notices it after the kernel was begun, and can run nothing more in that process."""
    body = {"graph": "y = x[i]", "inputs": {"x": [1.0, 2.0], "i": {"dtype": "int64", "data": [1_000_000]}}}
    reply = post(url, "forward", body)
    assert (reply.status_code, reply.json()["code"]) == (422, "op_failed")
    assert square(url) == [2.0, 4.0]


def test_memory_is_given_back_after_a_request(url):
    assert square(url) == [2.0, 4.0]
    before, _ = torch.cuda.mem_get_info(0)
    graph = f"a = x * ones([{2**25}], dtype='float64'); b = a.sin(); c = b.cos(); y = (b * c).sum()"
    assert post(url, "backward", {"graph": graph, "inputs": {"x": 1.0}}).status_code == 200
    after, _ = torch.cuda.mem_get_info(0)
    assert after > before - KEPT_BYTES - GIB // 4


def test_a_worker_beside_a_gpu_is_sealed(url):
    fences = httpx.get(f"{url}/health/ready").json()["fences"]
    assert fences["seccomp on cuda:0"] == fences["limits on cuda:0"] == "on"
