"""The client SDK against the service in process."""

from __future__ import annotations

import httpx
import numpy as np
import pytest

from pullback import AnswerError, Client, NoAnswerError
from pullback_schemas import Graph, Node, TensorSpec


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
