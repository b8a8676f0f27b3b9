"""The client SDK against the service in process."""

from __future__ import annotations

import httpx
import numpy as np
import pytest

from pullback import AnswerError, Client, NoAnswerError
from pullback_schemas import Graph, JacobianOptions, Node, TensorSpec


@pytest.fixture
def client(service: httpx.Client) -> Client:
    return Client("http://service", transport=service._transport)


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
    assert caught.value.problem.code == "unknown_op"
    assert "^" in str(caught.value)
    assert "relu" in str(caught.value)


def test_the_catalogue_can_be_asked(client):
    assert "relu" in {op.name for op in client.ops().ops}
    assert client.op("linalg.solve").name == "linalg_solve"


def test_no_service_is_no_answer():
    with Client("http://127.0.0.1:1") as nobody, pytest.raises(NoAnswerError):
        nobody.ops()


def test_an_answer_of_somebody_else_is_no_answer():
    transport = httpx.MockTransport(lambda _: httpx.Response(502, text="<html>bad gateway</html>"))
    with Client("http://proxy", transport=transport) as client, pytest.raises(NoAnswerError):
        client.ops()
