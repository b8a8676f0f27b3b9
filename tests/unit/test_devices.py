"""Every operation where its tensors are not on the CPU, told by a device that stands in for a GPU.

It refuses to mix devices, as a GPU does, and computes what the CPU does: the answers are the same to the last bit.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from tests.unit.stand_in_device import DEVICE, stand_in

from pullback_service.engine import Engine, build_engine
from pullback_service.settings import Settings
from pullback_service.workers.base import Call

X, V = [[1.0, -2.0], [0.5, 3.0]], [[1.0, 0.25], [-1.0, 2.0]]
Z = {"dtype": "complex128", "shape": [2], "data": [[1, 2], [3, -1]]}
RAMP = [k / 100 for k in range(200)]
WEIGHTED = {"constants": {"w": V}, "nodes": [{"id": "y", "op": "matmul", "args": ["$x", "$w"]}]}
ODD = {
    "constants": {"order": {"dtype": "int64", "data": list(range(199, -1, -1))}},
    "nodes": [
        {"id": "m", "op": "index_select", "args": ["$x", 0, "$order"]},
        {"id": "y", "op": "sin", "args": ["$m"]},
    ],
}
MADE = (
    "a = ones([2, 2], dtype='float64'); b = arange(4, dtype='float64').reshape([2, 2]); y = (x * a + b + eye(2)).sum()"
)
DRAWN = "y = x * rand([2, 2], dtype='float64') + rand_like(x) + dropout(x, 0.5, True)"
HALF = {"dtype": "float16", "data": X}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "values": ("forward", {"graph": "y = (x @ x).exp()", "inputs": {"x": X}}),
    "values of constants": ("forward", {"graph": WEIGHTED, "inputs": {"x": X}}),
    "what a graph makes out of nothing": ("backward", {"graph": MADE, "inputs": {"x": X}}),
    "a mask": ("forward", {"graph": "y = x[x > 0]", "inputs": {"x": X}}),
    "base64": ("forward", {"graph": "y = x * 2", "inputs": {"x": X}, "encoding": "base64"}),
    "a gradient": ("backward", {"graph": WEIGHTED, "inputs": {"x": X}, "grad_tensors": {"y": V}, "wrt": ["x", "w"]}),
    "an implied grad_tensor": ("backward", {"graph": "y = x.sum()", "inputs": {"x": X}}),
    "an unused input": ("backward", {"graph": "y = x.sum(); z = 2 * u", "inputs": {"x": X, "u": 1.0}}),
    "many gradients": (
        "backward",
        {"graph": "y = x.tanh()", "inputs": {"x": X}, "grad_tensors": {"y": [V, X]}, "is_grads_batched": True},
    ),
    "an explanation": (
        "backward",
        {"graph": "y = sqrt(x) * log(x)", "inputs": {"x": X}, "grad_tensors": {"y": V}, "explain": True},
    ),
    "a gradient and a Jacobian": (
        "backward",
        {"graph": "y = x @ x", "inputs": {"x": X}, "grad_tensors": {"y": V}, "jacobian": True},
    ),
    "a product with a tangent": ("jvp", {"graph": "y = x @ x.sin()", "inputs": {"x": X}, "tangents": {"x": V}}),
    "products with tangents": (
        "jvp",
        {"graph": "y = x @ x.sin()", "inputs": {"x": X}, "tangents": {"x": [V, X, V]}, "is_tangents_batched": True},
    ),
    "a product along the tape": ("jvp", {"graph": "y = cholesky_inverse(x)", "inputs": {"x": X}, "tangents": {"x": V}}),
    "a complex gradient": ("backward", {"graph": "y = (z * z.conj()).real.sum()", "inputs": {"z": Z}}),
    "a complex Jacobian": ("jacobian", {"graph": "y = z * z", "inputs": {"z": Z}}),
    "rows": ("jacobian", {"graph": "y = (x @ x).sin()", "inputs": {"x": X}, "chunk_size": 3}),
    "columns": ("jacobian", {"graph": "y = (x @ x).sin()", "inputs": {"x": X}, "mode": "forward"}),
    "a sparse Jacobian": ("jacobian", {"graph": "y = sin(x[1:]) * x[:-1]", "inputs": {"x": RAMP}}),
    "a sparse Jacobian by an order": ("jacobian", {"graph": ODD, "inputs": {"x": RAMP}}),
    "a Hessian": ("hessian", {"graph": "y = (x @ x).sin().sum()", "inputs": {"x": X}}),
    "a product with the Hessian": (
        "hvp",
        {"graph": "y = (x @ x).sin().sum()", "inputs": {"x": X}, "vectors": {"x": V}},
    ),
    "products with the Hessian": (
        "hvp",
        {"graph": "y = (x ** 3).sum()", "inputs": {"x": X}, "vectors": {"x": [V, X]}, "is_vectors_batched": True},
    ),
    "a check of a gradient": ("gradcheck", {"graph": "y = (x @ x).sin()", "inputs": {"x": X}}),
    "a check entry by entry": ("gradcheck", {"graph": "y = (x @ x).sin()", "inputs": {"x": X}, "method": "central"}),
    "a check in half precision": ("gradcheck", {"graph": "y = (x @ x).sin()", "inputs": {"x": HALF}}),
}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return build_engine(Settings())


@pytest.fixture(scope="module")
def elsewhere(engine: Engine) -> Engine:
    return Engine(engine.library.limits, 2**30, DEVICE)


def answer(engine: Engine, operation: str, body: dict[str, Any]) -> tuple[int, Any, Any]:
    reply = engine.answer(Call(operation, orjson.dumps(body)))
    document = orjson.loads(reply.body)
    meta = document.pop("meta", {})
    for measured in ("timings_ms", "device", "plan_cached"):
        meta.pop(measured, None)
    return reply.status, document, meta


@pytest.mark.parametrize("case", CASES)
def test_an_answer_is_the_same_wherever_its_tensors_are(case, engine, elsewhere):
    operation, body = CASES[case]
    expected = answer(engine, operation, body)
    with stand_in():
        found = answer(elsewhere, operation, body)
    assert expected[0] == 200
    assert found == expected


def test_the_sparse_cases_are_coloured(engine):
    for case in ("a sparse Jacobian", "a sparse Jacobian by an order"):
        operation, body = CASES[case]
        assert answer(engine, operation, body)[2]["path"] == "coloured"


def test_random_numbers_are_the_seeds_wherever_they_are_drawn(engine, elsewhere):
    body = {"graph": DRAWN, "inputs": {"x": X}, "seed": 7}
    expected = answer(engine, "forward", body)
    with stand_in():
        assert answer(elsewhere, "forward", body) == expected
    assert expected[0] == 200


def test_meta_names_the_device(engine, elsewhere):
    call = Call("forward", b'{"graph": "y = x * 2", "inputs": {"x": 1}}')
    assert orjson.loads(engine.answer(call).body)["meta"]["device"] == "cpu"
    with stand_in():
        assert orjson.loads(elsewhere.answer(call).body)["meta"]["device"] == str(DEVICE)
