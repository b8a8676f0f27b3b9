"""Every operation where its tensors are not on the CPU, told by a device that stands in for a GPU.

It refuses to mix devices, as a GPU does, and computes what the CPU does: the answers are the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import torch
from tests.unit.stand_in_device import DEVICE, StandIn, stand_in

from pullback_service.engine import Engine, build_engine
from pullback_service.gpu import WARM_UP_GPU
from pullback_service.settings import Settings
from pullback_service.workers.base import NEEDS_DEVICE, Call, Reply

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
    "differences of the gradient": (
        "hessian",
        {"graph": "y = (hardsigmoid(x) * x * x).sum()", "inputs": {"x": V}, "allow_finite_differences": True},
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
    return Engine(engine.library.limits, 2**30, StandIn())  # type: ignore[arg-type]


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


class AsIfElsewhere(StandIn):
    """A device whose tensors are the CPU's, but for its name."""

    device = torch.device("cpu", 0)


@pytest.mark.parametrize("case", ["values", "a gradient"])
def test_what_is_learnt_of_requests_that_come_again_is_for_the_cpu_alone(case, engine):
    operation, body = CASES[case]
    asked = Call(operation, orjson.dumps(body))
    beside = Engine(engine.library.limits, 2**30, AsIfElsewhere())  # type: ignore[arg-type]
    for each in (engine, beside):
        each.library.is_alone = True
        for _ in range(6):
            reply = each.answer(asked)
            each.practise()
        assert reply.rides == ("plan" not in reply.server_timing) == (each is engine)


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


# Calls that belong elsewhere


@pytest.fixture
def sending(engine) -> Iterator[Engine]:
    """An engine on the CPU of a service that has two GPUs."""
    engine.library.gpus = ("cuda:0", "cuda:1")
    yield engine
    engine.library.gpus = ()


def asked(engine: Engine, device: str, graph: str = "y = x * 2") -> Reply:
    return engine.answer(Call("forward", orjson.dumps({"graph": graph, "inputs": {"x": 1.0}, "device": device})))


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:1"])
def test_a_call_for_a_gpu_is_sent_on(device, sending):
    assert asked(sending, device) == Reply(NEEDS_DEVICE, device.encode())


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_small_call_stays_on_the_cpu(device, sending):
    assert orjson.loads(asked(sending, device).body)["meta"]["device"] == "cpu"


def test_a_call_of_much_work_is_sent_on_unless_it_is_for_the_cpu(sending):
    heavy = "m = x * ones([1700, 1700]); y = (m @ m).sum()"
    assert asked(sending, "auto", heavy)[:2] == (NEEDS_DEVICE, b"cuda")
    assert asked(sending, "cpu", heavy).status == 200


def test_a_call_of_much_work_stays_where_there_is_no_gpu(engine):
    assert asked(engine, "auto", "m = x * ones([1700, 1700]); y = (m @ m).sum()").status == 200


def test_a_gpu_that_the_service_lacks_is_refused_with_those_that_it_has(sending):
    problem = orjson.loads(asked(sending, "cuda:2").body)
    assert (problem["code"], problem["pointer"]) == ("device_unavailable", "/device")
    assert problem["expected"] == ["auto", "cpu", "cuda", "cuda:0", "cuda:1"]


def test_isolated_operators_are_refused_on_a_gpu(elsewhere):
    body = {
        "graph": "y = segment_reduce(x, 'sum', offsets=o)",
        "inputs": {"x": [1.0, 2.0], "o": {"dtype": "int64", "data": [0, 2]}},
        "device": "cuda",
    }
    with stand_in():
        problem = orjson.loads(elsewhere.answer(Call("forward", orjson.dumps(body))).body)
    assert (problem["code"], problem["pointer"], problem["node"]) == ("device_unavailable", "/device", "y")


# GPUs that fail


class Failing:
    """A GPU that is found to have failed when a call is done."""

    device = torch.device("cpu")

    def settle(self) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered\n\nCompile with more")


def test_what_a_gpu_gave_that_has_failed_is_not_given_and_nothing_more_is_asked_of_it(engine):
    failing = Engine(engine.library.limits, 2**30, Failing())  # type: ignore[arg-type]
    assert failing.is_sound
    reply = failing.answer(Call("forward", b'{"graph": "y = x * 2", "inputs": {"x": 1}}'))
    problem = orjson.loads(reply.body)
    assert (reply.status, problem["code"]) == (422, "op_failed")
    assert problem["detail"] == "The GPU failed at this: CUDA error: device-side assert triggered"
    assert not failing.is_sound


def test_a_node_that_is_known_to_have_failed_is_still_named(engine):
    failing = Engine(engine.library.limits, 2**30, Failing())  # type: ignore[arg-type]
    reply = failing.answer(Call("forward", b'{"graph": "y = linalg.cholesky(x)", "inputs": {"x": [[-1]]}}'))
    assert (reply.status, orjson.loads(reply.body)["node"]) == (422, "y")
    assert not failing.is_sound


@pytest.mark.parametrize("graph", WARM_UP_GPU)
def test_what_warms_a_gpu_up_can_be_answered(graph, engine):
    body = {"graph": graph, "inputs": {"x": 1.5}}
    assert engine.answer(Call("backward", orjson.dumps(body))).status == 200
