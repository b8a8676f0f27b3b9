"""What the README's first screen promises, in process."""

from __future__ import annotations

import numpy as np
import pytest
import torch

X = torch.arange(-8, 8, 0.1, dtype=torch.float64)
RELU_JSON = {"nodes": [{"id": "y", "op": "relu", "args": ["$x"]}]}


@pytest.mark.parametrize("graph", [RELU_JSON, "y = relu(x)"], ids=["json", "text"])
def test_relu_gives_torchs_gradient(answer, graph):
    result = answer("backward", graph=graph, inputs={"x": X.tolist()}, grad_tensors={"y": [1.0] * len(X)})
    x = X.clone().requires_grad_()
    torch.relu(x).backward(torch.ones(len(X), dtype=torch.float64))
    gradient = result["gradients"]["x"]["data"]
    assert gradient == x.grad.tolist()
    assert (gradient.count(0.0), gradient.count(1.0)) == (80, 80)


def test_relu_at_the_kink_itself_has_torchs_gradient_zero(answer):
    result = answer("backward", graph="y = relu(x)", inputs={"x": [0.0]})
    assert result["gradients"]["x"]["data"] == [0.0]


def test_square_without_grad_tensors_is_refused_with_torchs_sentence_and_what_to_send(post):
    response = post("backward", graph="y = x * x", inputs={"x": [1.0, 2.0, 3.0]})
    problem = response.json()
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert "grad can be implicitly created only for scalar outputs" in problem["detail"]
    assert problem["expected"] == {"dtype": "float64", "shape": [3]}
    assert "grad_tensors['y']" in problem["hint"]


def test_square_with_grad_tensors_is_2xv(answer):
    result = answer("backward", graph="y = x * x", inputs={"x": [1.0, 2.0, 3.0]}, grad_tensors={"y": [1.0, 0.5, 0.25]})
    assert result["gradients"]["x"]["data"] == [2.0, 2.0, 1.5]


def test_the_gradient_is_v_times_the_printed_jacobian(answer):
    v = [1.0, 0.5, 0.25]
    result = answer("backward", graph="y = x * x", inputs={"x": [1.0, 2.0, 3.0]}, grad_tensors={"y": v}, jacobian=True)
    jacobian = np.array(result["jacobians"]["y"]["x"]["data"])
    assert jacobian.tolist() == np.diag([2.0, 4.0, 6.0]).tolist()
    assert result["gradients"]["x"]["data"] == (np.array(v) @ jacobian).tolist()
