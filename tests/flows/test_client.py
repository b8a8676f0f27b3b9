"""The client SDK against the service in process."""

from __future__ import annotations

import httpx
import numpy as np
import pytest
import torch

from pullback import AnswerError, Client
from pullback_schemas import Graph, JacobianOptions, Node, TensorSpec


@pytest.fixture(params=["binary", "json"])
def client(service: httpx.Client, request: pytest.FixtureRequest) -> Client:
    return Client("http://service", transport=service._transport, wire=request.param)


def test_arrays_come_back_as_numpy_with_their_dtype(client):
    x = np.array([-1.0, 2.0], dtype=np.float32)
    result = client.backward("y = relu(x)", {"x": x}, {"y": np.ones(2, np.float32)})
    assert result.outputs["y"].dtype == np.float32
    assert result.gradients["x"].tolist() == [0.0, 1.0]


def test_numbers_and_jacobians_need_no_arrays(client):
    result = client.backward("y = x * x", {"x": [1, 2]}, {"y": [1, 1]}, jacobian=True)
    assert result.jacobians["y"]["x"].tolist() == [[2.0, 0.0], [0.0, 4.0]]


def test_complex_and_bfloat16_survive_the_way(client):
    z = np.array([1 + 2j, -0.5j])
    assert client.forward("y = z * z", {"z": z}).outputs["y"].tolist() == (z * z).tolist()
    half = client.forward("y = x.bfloat16()", {"x": np.array([1.5, -2.0])}).outputs["y"]
    assert half.tolist() == [1.5, -2.0]


def test_every_derivative_comes_as_arrays(client):
    x = np.array([1.0, 2.0])
    assert client.jvp("y = x ** 3", {"x": x}, {"x": [1, 0]}).jvp["y"].tolist() == [3.0, 0.0]
    batched = client.jvp("y = x ** 3", {"x": x}, {"x": np.eye(2)}, is_tangents_batched=True)
    assert batched.jvp["y"].tolist() == [[3.0, 0.0], [0.0, 12.0]]
    jacobian = client.jacobian("y = x ** 3; z = 2 * x; return y, z", {"x": x}, of=["z"], wrt=["x"], mode="forward")
    assert {y: row["x"].tolist() for y, row in jacobian.jacobians.items()} == {"z": [[2.0, 0.0], [0.0, 2.0]]}
    hvp = client.hvp("y = x ** 3", {"x": x}, {"x": [1, 1]}, {"y": [1, 10]})
    assert (hvp.gradients["x"].tolist(), hvp.hvp["x"].tolist()) == ([3.0, 120.0], [6.0, 120.0])
    hessian = client.hessian("y = (x ** 3).sum()", {"x": x})
    assert hessian.hessian["x"]["x"].tolist() == [[6.0, 0.0], [0.0, 12.0]]
    assert hessian.meta.mode == "reverse-over-reverse"


def test_gradients_can_be_checked_and_explained(client):
    assert client.gradcheck("y = x * sin(x)", {"x": [1, 2]}).passed is True
    assert client.gradcheck("y = x * x.detach()", {"x": [1, 2]}, method="central").inputs["x"].status == "failed"
    explanation = client.backward("h = x * 3; y = h.sum()", {"x": [1, 2]}, explain=True).explanation
    assert [visit.node for visit in explanation.nodes] == ["y", "h"]


def test_jacobian_options_may_be_an_object(client):
    options = JacobianOptions(mode="forward", chunk_size=1)
    result = client.backward("y = x * x", {"x": [1, 2]}, {"y": [1, 1]}, jacobian=options)
    assert (result.meta.jacobian.mode, result.meta.jacobian.path) == ("forward", "chunked")
    assert result.jacobians["y"]["x"].tolist() == [[2.0, 0.0], [0.0, 4.0]]


def test_a_graph_object_and_a_spec_can_be_checked(client):
    graph = Graph(nodes=[Node(id="y", op="relu", args=["$x"])])
    report = client.check(graph, {"x": TensorSpec(dtype="float32", shape=[2, 3])})
    assert report.outputs["y"].shape == [2, 3]
    assert report.text == "y = relu(x)"


def test_a_problem_is_an_error_that_shows_place_and_hint(client):
    with pytest.raises(AnswerError) as caught:
        client.forward("y = rleu(x)", {"x": [1.0]})
    assert (caught.value.status, caught.value.code, caught.value.node) == (422, "unknown_op", "y")
    assert "^" in str(caught.value)
    assert "relu" in str(caught.value)


def test_the_catalogue_can_be_asked(client):
    assert "relu" in {op.name for op in client.ops().ops}
    assert client.op("linalg.solve").name == "linalg_solve"


def test_torch_tensors_come_back_as_torch_tensors(client):
    x = torch.tensor([1.0, 2.0], dtype=torch.bfloat16)
    result = client.backward("y = (x * w).sum()", {"x": x, "w": np.float32(3)}, explain=True)
    assert torch.equal(result.gradients["x"], torch.full((2,), 3.0, dtype=torch.bfloat16))
    assert torch.equal(result.outputs["y"], torch.tensor(9.0))


def test_views_of_any_kind_are_sent_as_what_they_show(client):
    z = torch.tensor([[1 + 2j, 3 - 1j], [0.5j, 2.0]])
    assert torch.equal(client.forward("y = z * 1", {"z": z.mH}).outputs["y"], z.mH.resolve_conj())
    x = np.arange(6.0).reshape(2, 3).T[::-1].astype(">f8")
    assert client.forward("y = x * 1", {"x": x}).outputs["y"].tolist() == x.tolist()


def test_numbers_that_are_not_finite_are_sent_too(client):
    sent = [1.0, float("nan"), float("-inf"), np.float64("inf")]
    assert str(client.forward("y = x * 2", {"x": sent}).outputs["y"].tolist()) == "[2.0, nan, -inf, inf]"


def test_arrays_of_no_tensors_dtype_are_refused_before_anything_is_sent():
    with Client("http://127.0.0.1:1") as nobody, pytest.raises(TypeError, match="object"):
        nobody.forward("y = x", {"x": np.array([object()])})


def test_an_explanation_holds_arrays(client):
    explanation = client.backward("h = x * 3; y = h.sum()", {"x": [1, 2]}, explain=True).explanation
    assert explanation.nodes[1].passed[0].vector.value.tolist() == [3.0, 3.0]
    assert explanation.nodes[0].received[""].norm == 1.0


def test_the_worst_entry_of_a_gradient_check_is_an_array(client):
    worst = client.gradcheck("y = x * x.detach()", {"x": [2]}, method="central").inputs["x"].worst
    assert worst.difference.item() == pytest.approx(2 * worst.gradient.item())


def test_unused_inputs_may_have_no_gradient(client):
    result = client.backward("w: float64[1]; y = x.sum()", {"x": [1], "w": [1]}, wrt=["w"], unused="null")
    assert result.gradients == {"w": None}


def test_a_seed_makes_draws_come_again(client):
    drawn = [client.forward("y = rand_like(x)", {"x": np.ones(4)}, seed=7).outputs["y"].tolist() for _ in range(2)]
    assert drawn[0] == drawn[1]


def test_constants_of_a_graph_in_json_may_be_arrays(client):
    graph = {"constants": {"w": np.eye(2)}, "nodes": [{"id": "y", "op": "matmul", "args": ["$x", "$w"]}]}
    assert client.forward(graph, {"x": [1, 2]}).outputs["y"].tolist() == [1.0, 2.0]


def test_the_health_of_the_service_can_be_asked(client):
    assert client.health().status == "ok"
