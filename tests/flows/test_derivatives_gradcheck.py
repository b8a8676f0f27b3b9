"""What /v1/gradcheck promises: it passes right gradients, and finds wrong ones and kinks."""

from __future__ import annotations

import pytest
import torch
from tests.flows.float64 import random

from pullback_schemas import GradcheckResult

METHODS = ["taylor", "central"]


RIGHT = {
    "elementwise": ("y = tanh(x) * x", {"x": random(5)}),
    "large and small numbers": ("y = x ** 2 * 1000", {"x": torch.tensor([1e-3, 1.0, 1e3]).double()}),
    "two inputs": ("y = linalg.solve(x, w)", {"x": random(3, 3), "w": random(3, 2)}),
    "complex": ("y = (z * z.conj()).real; u = z * z; return y, u", {"z": random(3, dtype=torch.complex128)}),
    "beside kinks": ("y = relu(x) * x.abs()", {"x": random(6)}),
    "no element": ("y = x.sum() + w", {"x": random(0), "w": random(1)}),
    "no forward rule": ("y = cdist(x, w)", {"x": random(2, 3), "w": random(2, 3, seed=1)}),
    "a shape that only the run knows": ("y = x[x > 0] ** 2", {"x": random(6)}),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("graph", "inputs"), RIGHT.values(), ids=RIGHT)
def test_right_gradients_pass(derive, graph, inputs, method):
    result = derive("gradcheck", graph, inputs=inputs, method=method)
    assert result["passed"] is True
    assert {name: verdict["status"] for name, verdict in result["inputs"].items()} == dict.fromkeys(inputs, "passed")


def test_the_remainder_of_a_right_gradient_vanishes_quadratically(derive):
    verdict = derive("gradcheck", "y = exp(x)", inputs={"x": random(4)})["inputs"]["x"]
    assert verdict["rate"] == pytest.approx(2, abs=0.1)
    assert verdict["adjoint_error"] < 1e-12


def test_a_linear_function_leaves_no_remainder(derive):
    assert derive("gradcheck", "y = 3 * x", inputs={"x": random(4)})["inputs"]["x"]["rate"] is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.complex64], ids=str)
def test_every_dtype_is_checked_in_double_precision(derive, dtype):
    result = derive("gradcheck", "c = [0.5, 2.0]; y = (x * c).abs() ** 2", inputs={"x": random(2, dtype=dtype)})
    assert result["passed"] is True
    assert result["inputs"]["x"]["rate"] == pytest.approx(2, abs=0.1)


def test_a_gradient_that_leaves_out_a_term_fails_with_the_worst_entry_and_both_numbers(derive):
    """A detached factor is a constant to the gradient, and none to the function."""
    x = random(4)
    for method in METHODS:
        result = derive("gradcheck", "y = (x * x.detach())", inputs={"x": x}, method=method)
        verdict = result["inputs"]["x"]
        assert (result["passed"], verdict["status"]) == (False, "failed")
        torch.testing.assert_close(verdict["worst"]["difference"], 2 * verdict["worst"]["gradient"], rtol=1e-6, atol=0)
    assert derive("gradcheck", "y = x * x.detach()", inputs={"x": x})["inputs"]["x"]["rate"] == pytest.approx(
        1, abs=0.1
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_gradient_that_is_wrong_by_one_part_in_a_thousand_fails(derive, method):
    graph = "c = x.detach(); y = x * x + 0.001 * (c * c - c * x)"
    result = derive("gradcheck", graph, inputs={"x": torch.tensor([1.0, -2.0, 0.5]).double()}, method=method)
    assert result["passed"] is False


HARD = {
    "beside a kink": ("y = relu(x)", [-1.0, 1e-3, 2.0, 3.0]),
    "a logarithm of a small number": ("y = log(x)", [1e-4]),
    "a reciprocal of numbers of all sizes": ("y = 1 / x", [1e-7, 1.0, 2.0]),
    "tiny numbers": ("y = 1e-8 * x * x", [1e-9]),
    "a fast sine": ("y = sin(1e12 * x)", [1e-12]),
    "a steep step": ("y = tanh(1000 * x)", [1e-4]),
    "a root": ("y = rsqrt(x)", [1e-3]),
    "a factorial": ("y = lgamma(x)", [1e-3]),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("graph", "x"), HARD.values(), ids=HARD)
def test_right_gradients_pass_where_steps_must_be_chosen_with_care(derive, graph, x, method):
    assert derive("gradcheck", graph, inputs={"x": torch.tensor(x).double()}, method=method)["passed"] is True


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("graph", "x"), [("y = sin(1e7 * x)", 0.7), ("y = sin(300 * x)", 1e6)])
def test_a_function_that_bends_too_fast_to_be_checked_is_no_failure(derive, graph, x, method):
    assert derive("gradcheck", graph, inputs={"x": torch.tensor([x]).double()}, method=method)["passed"] is None


@pytest.mark.parametrize("seed", range(20))
def test_random_networks_with_kinks_nearby_pass(derive, seed):
    inputs = {name: random(*shape, seed=3 * seed + i) for i, (name, shape) in enumerate(NETWORK.items())}
    assert derive("gradcheck", "y = (relu(x @ w) @ v).sum()", inputs=inputs)["passed"] is True


NETWORK = {"x": (3, 4), "w": (4, 6), "v": (6,)}
HIDDEN = {
    "by the size of the numbers": ("y = 1e24 * x * x.detach()", [1e-12]),
    "by another entry's slope": ("y = 1e8 * sin(x[0]) + x[1] * x[1].detach()", [1.0, 1.0]),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("graph", "x"), HIDDEN.values(), ids=HIDDEN)
def test_a_wrong_gradient_that_is_hidden_fails(derive, graph, x, method):
    verdict = derive("gradcheck", graph, inputs={"x": torch.tensor(x).double()}, method=method)["inputs"]["x"]
    assert verdict["status"] == "failed"
    torch.testing.assert_close(verdict["worst"]["difference"], 2 * verdict["worst"]["gradient"], rtol=1e-4, atol=0)


def test_all_floating_inputs_must_have_been_checked_to_pass(derive):
    result = derive("gradcheck", "y = relu(x) + w", inputs={"x": [0.0], "w": [1.0]})
    assert (result["passed"], result["inputs"]["w"]["status"]) == (None, "passed")


def test_a_triangle_that_is_read_for_a_symmetric_matrix_is_told(derive):
    spd = torch.tensor([[2.0, 1.0], [1.0, 3.0]]).double()
    verdict = derive("gradcheck", "y = linalg.cholesky(x)", inputs={"x": spd})["inputs"]["x"]
    assert verdict["status"] == "failed"
    assert "(a + a.mT) / 2" in verdict["reason"]
    assert derive("gradcheck", "y = linalg.cholesky((x + x.mT) / 2)", inputs={"x": spd})["passed"] is True


@pytest.mark.parametrize("method", METHODS)
def test_a_gradient_with_a_transposed_matrix_fails(derive, method):
    graph = "y = (a @ x).detach() + a.mT @ (x - x.detach())"
    result = derive("gradcheck", graph, inputs={"x": random(4), "a": random(4, 4)}, wrt=["x"], method=method)
    assert result["passed"] is False


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("graph", ["y = relu(x)", "y = x.abs() + x ** 2", "y = x.sign() * 2 + x", "y = clamp(x, 0, 1)"])
def test_a_kink_or_a_jump_is_not_checkable(derive, graph, method):
    result = derive("gradcheck", graph, inputs={"x": [0.0, 0.5]}, method=method)
    verdict = result["inputs"]["x"]
    assert (result["passed"], verdict["status"]) == (None, "not_checkable")
    assert "kink" in verdict["reason"]


def test_an_integer_input_is_not_checkable_and_the_others_are(derive):
    inputs = {"x": random(2), "k": torch.tensor([1, 2])}
    result = derive("gradcheck", "y = x * k", inputs=inputs)
    assert result["passed"] is True
    assert result["inputs"]["k"]["status"] == "not_checkable"
    assert "int64" in result["inputs"]["k"]["reason"]


def test_outputs_that_are_not_finite_are_not_checkable(derive):
    result = derive("gradcheck", "y = 1 / x", inputs={"x": [0.0, 1.0]})
    assert (result["passed"], result["inputs"]["x"]["status"]) == (None, "not_checkable")


def test_a_gradient_that_is_not_finite_fails_where_the_function_is(derive):
    result = derive("gradcheck", "y = where(x > 0, sqrt(x), x)", inputs={"x": [-1.0, 4.0]})
    assert result["inputs"]["x"]["status"] == "failed"
    assert "not finite" in result["inputs"]["x"]["reason"]


def test_wrt_chooses_what_is_checked(derive):
    graph = "c = [2.0, 3.0]; y = x * w * c"
    result = derive("gradcheck", graph, inputs={"x": random(2), "w": random(2)}, wrt=["c", "w"])
    assert list(result["inputs"]) == ["c", "w"]


def test_tolerances_decide_about_entries(derive):
    fields = {"inputs": {"x": torch.tensor([1.0]).double()}, "method": "central"}
    graph = "y = x * x + 1e-5 * (x * x.detach())"
    assert derive("gradcheck", graph, **fields, rtol=1e-4, atol=0)["passed"] is True
    assert derive("gradcheck", graph, **fields, rtol=1e-6, atol=0)["passed"] is False


def test_tolerances_beyond_what_differences_can_tell_are_not_checkable(derive):
    """A central difference over a step of a few millionths cannot be right to twelve digits."""
    fields = {"inputs": {"x": torch.tensor([1.0]).double()}, "method": "central", "rtol": 1e-12, "atol": 0}
    verdict = derive("gradcheck", "y = exp(20 * x)", **fields)["inputs"]["x"]
    assert (verdict["status"], verdict["worst"]) == ("not_checkable", None)
    assert "tolerances" in verdict["reason"]


@pytest.mark.parametrize("method", METHODS)
def test_a_change_that_drowns_in_rounding_is_not_checkable(derive, method):
    graph = "y = (x + 3 * (x - x.detach())) * 1e-8 + 1e16"
    verdict = derive("gradcheck", graph, inputs={"x": [0.5]}, method=method)["inputs"]["x"]
    assert verdict["status"] == "not_checkable"
    assert "rounding" in verdict["reason"]


@pytest.mark.parametrize("method", METHODS)
def test_large_values_that_cancel_inside_the_graph_are_no_reason_to_fail(derive, method):
    result = derive("gradcheck", "y = (x + 1e7) - 1e7 + x ** 2", inputs={"x": random(4)}, method=method)
    assert result["passed"] is not False


@pytest.mark.parametrize("method", METHODS)
def test_what_computes_below_double_precision_is_not_checkable_and_the_rest_is(derive, method):
    graph = "h = x.to(dtype='float32'); y = (h * 2).double() * w"
    result = derive("gradcheck", graph, inputs={"x": random(3), "w": random(3, seed=1)}, method=method)
    assert result["inputs"]["x"]["status"] == "not_checkable"
    assert "'h'" in result["inputs"]["x"]["reason"]
    assert (result["passed"], result["inputs"]["w"]["status"]) == (None, "passed")


@pytest.mark.parametrize("method", METHODS)
def test_a_function_that_does_not_change_passes_with_a_gradient_of_zero_and_no_other(derive, method):
    assert derive("gradcheck", "y = x * 0 + 5", inputs={"x": random(3)}, method=method)["passed"] is True
    assert derive("gradcheck", "y = x - x.detach() + 1", inputs={"x": random(3)}, method=method)["passed"] is False


@pytest.mark.parametrize("method", METHODS)
def test_a_gradient_is_checked_at_a_minimum_too(derive, method):
    x = torch.tensor([1.0, -2.0]).double()
    result = derive("gradcheck", "y = ((x - c) ** 2).sum() + 1", inputs={"x": x + 1e-12, "c": x}, method=method)
    assert result["inputs"]["x"]["status"] == "passed"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("graph", ["y = linalg.cholesky(x)", "y = x[x > 0] * 2"])
def test_a_point_at_the_edge_of_what_can_be_computed_is_not_checkable(derive, graph, method):
    edge = torch.tensor([[1.0, 0.0], [0.0, 1e-12]]).double()
    result = derive("gradcheck", graph, inputs={"x": edge}, method=method)
    assert result["inputs"]["x"]["status"] == "not_checkable"


def test_central_differences_of_too_many_entries_are_refused(refusal):
    problem = refusal("gradcheck", "y = x.sum()", inputs={"x": torch.ones(10_001).double()}, method="central")
    assert (problem["code"], problem["pointer"]) == ("limit_exceeded", "/method")


@pytest.mark.parametrize(
    ("fields", "code", "pointer"),
    [
        ({"wrt": ["z"]}, "unknown_input", "/wrt/0"),
        ({"wrt": []}, "invalid_field", "/wrt"),
        ({"method": "guess"}, "invalid_field", "/method"),
        ({"rtol": -1.0}, "invalid_field", "/rtol"),
    ],
)
def test_what_does_not_fit_is_refused_at_its_place(refusal, fields, code, pointer):
    problem = refusal("gradcheck", "y = x * x", inputs={"x": [1.0]}, **fields)
    assert (problem["code"], problem["pointer"]) == (code, pointer)


def test_a_gradcheck_answer_is_a_gradcheck_result(post):
    response = post("gradcheck", graph="y = x * x", inputs={"x": [3.0]})
    assert GradcheckResult.model_validate_json(response.content).passed is True
