"""Requests whose plain answer would be a wrong number, or another one than PyTorch's, are refused instead."""

from __future__ import annotations

import math

import pytest
import torch

INTEGERS = {"dtype": "int64", "data": [-(2**63)]}
REFUSED = {
    "an axis that a bare colon claims and the tensor lacks": (
        "y = x[1, :]",
        {"x": [1.0, 2.0]},
        "incompatible_arguments",
    ),
    "axes before and behind dots that are the same axis": (
        "y = x[1, 1:3, ..., 0]",
        {"x": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]},
        "incompatible_arguments",
    ),
    "fewer names than values of a list": ("a, b = split(x, 1)", {"x": [1.0, 2.0, 3.0]}, "bad_reference"),
    "fewer names than values of a decomposition": (
        "u, s = linalg.svd(x)",
        {"x": [[1.0, 2.0], [3.0, 4.0]]},
        "bad_reference",
    ),
    "the smallest integer by minus one": (
        "y = div(x, z, rounding_mode='trunc')",
        {"x": INTEGERS, "z": {"dtype": "int64", "data": [-1]}},
        "op_failed",
    ),
    "a padding row counted from the end": (
        "y = F.embedding(i, w, padding_idx=-1)",
        {"i": {"dtype": "int64", "data": [0, 1]}, "w": [[1.0], [2.0]]},
        "refused_op",
    ),
    "a mask of another length": (
        "y = masked_select(x, m)",
        {"x": [1.0, 0.0, 2.0], "m": [True, False]},
        "incompatible_arguments",
    ),
    "past the end of a list that only the run knows": (
        "p = split(nonzero(x), 1); y = p[9]",
        {"x": [1.0, 0.0]},
        "bad_reference",
    ),
}


@pytest.mark.parametrize(("graph", "inputs", "code"), REFUSED.values(), ids=REFUSED)
def test_what_torch_refuses_or_answers_otherwise_is_refused(post, graph, inputs, code):
    response = post("forward", graph=graph, inputs=inputs)
    assert (response.status_code, response.json()["code"]) == (422, code), response.text


@pytest.mark.parametrize("graph", ["y = x.detach().sum()", "y = x.view('complex128').abs().sum()"])
def test_outputs_that_no_gradient_reaches_are_refused_as_in_torch(post, graph):
    response = post("backward", graph=graph, inputs={"x": [1.0, 2.0]})
    assert (response.status_code, response.json()["code"]) == (422, "not_differentiable")


def test_a_stopped_gradient_beside_a_flowing_one_is_zero(answer):
    result = answer("backward", graph="y = (a * b.detach()).sum()", inputs={"a": [2.0], "b": [3.0]})
    assert {name: value["data"] for name, value in result["gradients"].items()} == {"a": [3.0], "b": [0.0]}


def test_a_number_is_rounded_once_to_bfloat16(answer):
    """Through float32 on the way, the first would become 1.0 and the second 1.015625."""
    sent = {"dtype": "bfloat16", "data": [1.00390625001, 1.01171874999]}
    assert answer("forward", graph="return x", inputs={"x": sent})["outputs"]["x"]["data"] == [1.0078125, 1.0078125]


def test_a_number_over_a_tensor_has_the_bits_of_pythons_operator(answer):
    x = torch.linspace(0.1, 3.0, 50, dtype=torch.float64, requires_grad=True)
    y = 2.7 / x
    y.sum().backward()
    result = answer(
        "backward",
        graph="y = 2.7 / x; return {'s': y.sum(), 'y': y}",
        inputs={"x": x.tolist()},
        grad_tensors={"y": [0.0] * 50},
    )
    assert result["outputs"]["y"]["data"] == y.tolist()
    assert result["gradients"]["x"]["data"] == x.grad.tolist()


def test_the_same_graph_is_answered_alike_whatever_was_sent_before(post):
    nodes = [{"id": "y", "op": "relu", "args": ["$x"]}]
    assert post("forward", graph={"nodes": nodes}, inputs={"x": [1.0]}).status_code == 200
    again = post("forward", graph={"constants": None, "nodes": nodes}, inputs={"x": [1.0]})
    assert (again.status_code, again.json()["code"]) == (422, "invalid_field")


def test_a_derivative_that_torch_has_wrong_is_not_given(post, answer):
    """What is written over has no influence, and gets a gradient of 0; torch gives it 1, and 0 to all the rest."""
    graph = "y = as_strided_scatter(x, s, [2], [2], 0)"
    inputs = {"x": [1.0, 2.0, 3.0, 4.0], "s": [5.0, 6.0]}
    x = torch.tensor(inputs["x"], requires_grad=True)
    y = torch.as_strided_scatter(x, torch.tensor(inputs["s"]), (2,), (2,), 0)
    assert torch.autograd.grad(y.sum(), x)[0].tolist() == [1.0, 0.0, 1.0, 0.0], "torch is mended; serve it"
    response = post("backward", graph=graph, inputs=inputs, grad_tensors=[[1.0] * 4])
    assert (response.status_code, response.json()["code"], response.json()["node"]) == (422, "not_differentiable", "y")
    assert "slice_scatter" in response.json()["hint"]
    result = answer("backward", graph=graph, inputs=inputs, grad_tensors=[[1.0, 2.0, 3.0, 4.0]], wrt=["s"])
    assert result["outputs"]["y"]["data"] == [5.0, 2.0, 6.0, 4.0]
    assert result["gradients"]["s"]["data"] == [1.0, 3.0]


SINGULAR = torch.tensor([[1.0, 2.0], [2.0, 4.0]], dtype=torch.float64)


@pytest.mark.parametrize("operator", ["det", "linalg.det"])
def test_the_gradient_of_a_singular_determinant_is_not_given_and_its_value_is(post, answer, operator):
    """It is the adjugate matrix; torch says 0."""
    leaf = SINGULAR.clone().requires_grad_()
    assert not torch.autograd.grad(torch.linalg.det(leaf), leaf)[0].any(), "torch is mended; serve it"
    inputs = {"x": SINGULAR.tolist()}
    assert answer("forward", graph=f"y = {operator}(x)", inputs=inputs)["outputs"]["y"]["data"] == 0
    response = post("backward", graph=f"y = {operator}(x)", inputs=inputs)
    assert (response.status_code, response.json()["code"], response.json()["node"]) == (422, "not_differentiable", "y")


@pytest.mark.parametrize("modulus", [0.0, -1.0])
def test_the_gradient_of_polar_without_a_positive_modulus_is_not_given(post, answer, modulus):
    """d(r e^(ia))/dr is e^(ia), whatever r; torch says 0 at 0, and has the sign wrong below."""
    r, a = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (modulus, 0.5))
    found = torch.autograd.grad(torch.polar(r, a).real, r)[0]
    assert not torch.allclose(found, torch.cos(a)), "torch is mended; serve it"
    graph = "y = view_as_real(polar(r, a))"
    fields = {"inputs": {"r": modulus, "a": 0.5}, "grad_tensors": [[1.0, 0.0]]}
    response = post("backward", graph=graph, **fields)
    assert (response.status_code, response.json()["code"]) == (422, "not_differentiable")
    way_out = "y = view_as_real(complex(r * cos(a), r * sin(a)))"
    assert answer("backward", graph=way_out, **fields)["gradients"]["r"]["data"] == pytest.approx(math.cos(0.5))
