"""What /v1/hvp and /v1/hessian promise: second derivatives, exact or refused."""

from __future__ import annotations

import pytest
import torch
from tests.flows.float64 import random
from torch import Tensor

from pullback_schemas import HessianResult, HvpResult

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def attention(x: Tensor) -> Tensor:
    return torch.softmax(x @ x.mT / 2, -1) @ x


SPD = random(3, 3) @ random(3, 3).mT + torch.eye(3).double()
SCALARS = {
    "Rosenbrock": (
        "y = (1 - x[0])**2 + 100 * (x[1] - x[0]**2)**2",
        lambda x: (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2,
        [random(2)],
    ),
    "linear": ("y = (3 * x).sum()", lambda x: (3 * x).sum(), [random(3)]),
    "two inputs": (
        "y = (tanh(x @ w) ** 2).sum()",
        lambda x, w: (torch.tanh(x @ w) ** 2).sum(),
        [random(2, 3), random(3, 2)],
    ),
    "an unused input": (
        "w: Tensor; y = (x ** 3).sum()",
        lambda x, w: (x**3).sum() + 0 * w.sum(),
        [random(3), random(2)],
    ),
    "log determinant": ("y = logdet(x)", torch.logdet, [SPD]),
    "solve": ("y = linalg.solve(x, w).sum()", lambda x, w: torch.linalg.solve(x, w).sum(), [SPD, random(3)]),
    "normalisation": (
        "y = (F.layer_norm(x, [3]) ** 3).sum()",
        lambda x: (torch.nn.functional.layer_norm(x, (3,)) ** 3).sum(),
        [random(2, 3)],
    ),
    "products with a zero": (
        "y = cumprod(x, 0).sum()",
        lambda x: torch.cumprod(x, 0).sum(),
        [torch.tensor([2.0, 0.0, 3.0]).double()],
    ),
    "attention": (
        "y = F.scaled_dot_product_attention(x, x, x).sum()",
        lambda x: attention(x).sum(),
        [random(1, 1, 3, 4)],
    ),
    "0-dim": ("y = exp(x) * w", lambda x, w: torch.exp(x) * w, [random(), random()]),
}


@pytest.mark.parametrize(("graph", "function", "values"), SCALARS.values(), ids=SCALARS)
def test_the_hessian_is_that_of_torch(derive, graph, function, values):
    inputs = dict(zip("xw", values, strict=False))
    expected = torch.autograd.functional.hessian(function, tuple(values))
    result = derive("hessian", graph, inputs=inputs)
    assert result["meta"]["mode"] == "reverse-over-reverse"
    for row, blocks in zip(result["hessian"].values(), expected, strict=True):
        torch.testing.assert_close(list(row.values()), list(blocks))
    gradients = torch.func.grad(function, argnums=tuple(range(len(values))))(*values)
    torch.testing.assert_close(list(result["gradients"].values()), list(gradients))


@pytest.mark.parametrize(("graph", "function", "values"), SCALARS.values(), ids=SCALARS)
@pytest.mark.parametrize("is_batched", [False, True], ids=["single", "batched"])
def test_hvp_is_the_hessian_times_the_vectors(derive, graph, function, values, is_batched):
    inputs = dict(zip("xw", values, strict=False))
    batch = (4,) if is_batched else ()
    vectors = {name: random(*batch, *x.shape, seed=5) for name, x in inputs.items()}
    hessian = torch.autograd.functional.hessian(function, tuple(values))
    result = derive("hvp", graph, inputs=inputs, vectors=vectors, is_vectors_batched=is_batched)["hvp"]
    for row, image in zip(hessian, result.values(), strict=True):
        parts = [
            torch.tensordot(
                v,
                block,
                dims=(list(range(len(batch), v.dim())), list(range(block.dim() - v.dim() + len(batch), block.dim()))),
            )
            for block, v in zip(row, vectors.values(), strict=True)
        ]
        torch.testing.assert_close(image, torch.stack(parts).sum(0))


def test_the_second_derivative_of_several_outputs_is_that_of_their_inner_product_with_grad_tensors(derive):
    x, v = random(3), random(3, seed=1)
    fields = {"inputs": {"x": x}, "grad_tensors": {"y": v}}
    result = derive("hessian", "y = x ** 3; z = (x ** 2).sum(); return y, z", **fields)
    torch.testing.assert_close(result["hessian"]["x"]["x"], torch.diag(6 * v * x + 2))
    torch.testing.assert_close(result["gradients"]["x"], 3 * v * x**2 + 2 * x)


def test_an_integer_output_has_no_part_in_a_second_derivative(derive):
    x = random(3)
    fields = {"inputs": {"x": x}, "grad_tensors": {"y": torch.ones(3).double()}}
    graph = "y = x ** 3; k = argmax(x); return y, k"
    torch.testing.assert_close(derive("hessian", graph, **fields)["hessian"]["x"]["x"], torch.diag(6 * x))
    torch.testing.assert_close(derive("hvp", graph, vectors={"x": x}, **fields)["hvp"]["x"], 6 * x * x)


def test_vectors_may_belong_to_inputs_outside_of_wrt(derive):
    x, w, v = random(3), random(3, seed=1), random(3, seed=2)
    result = derive("hvp", "y = (x ** 2 * w).sum()", inputs={"x": x, "w": w}, vectors={"w": v}, wrt=["x"])
    assert list(result["hvp"]) == list(result["gradients"]) == ["x"]
    torch.testing.assert_close(result["hvp"]["x"], 2 * x * v)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_second_derivatives_keep_every_floating_dtype(derive, dtype):
    x = random(3, dtype=dtype)
    hessian = derive("hessian", "y = (x ** 3).sum()", inputs={"x": x})["hessian"]["x"]["x"]
    product = derive("hvp", "y = (x ** 3).sum()", inputs={"x": x}, vectors={"x": torch.ones_like(x)})["hvp"]["x"]
    torch.testing.assert_close(hessian, torch.diag(6 * x), rtol=8 * torch.finfo(dtype).eps, atol=0)
    torch.testing.assert_close(product, 6 * x, rtol=8 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
def test_hvp_of_complex_inputs_is_the_derivative_of_the_gradient_along_the_vector(derive, dtype):
    """L = |z|^4 has the gradient 4 |z|^2 z, whose derivative along v is 4 |z|^2 v + 8 Re(conj(z) v) z."""
    z, v = random(3, dtype=dtype), random(3, dtype=dtype, seed=1)
    result = derive("hvp", "s = (z * z.conj()).real; y = (s * s).sum()", inputs={"z": z}, vectors={"z": v})
    torch.testing.assert_close(result["hvp"]["z"], 4 * z.abs() ** 2 * v + 8 * (z.conj() * v).real * z)


def test_the_hessian_of_complex_inputs_is_the_derivative_of_the_gradient_where_that_is_holomorphic(derive, refusal):
    z = random(2, dtype=torch.complex128)
    result = derive("hessian", "y = (z * z.conj()).real.sum()", inputs={"z": z})
    torch.testing.assert_close(result["hessian"]["z"]["z"], 2 * torch.eye(2, dtype=z.dtype))
    assert refusal("hessian", "y = (z * z).real.sum()", inputs={"z": z})["code"] == "not_differentiable"


@pytest.mark.parametrize(("chunk", "path"), [(2, "chunked"), (9, "vmapped")])
def test_chunks_change_the_path_and_no_number(derive, chunk, path):
    x = random(5)
    result = derive("hessian", "y = logsumexp(x, 0)", inputs={"x": x}, chunk_size=chunk)
    assert result["meta"]["path"] == path
    p = torch.softmax(x, 0)
    torch.testing.assert_close(result["hessian"]["x"]["x"], torch.diag(p) - torch.outer(p, p))


def test_a_shape_that_only_the_run_knows_is_no_hindrance(derive):
    x = torch.tensor([1.0, -2.0, 3.0]).double()
    result = derive("hessian", "y = (x[x > 0] ** 3).sum()", inputs={"x": x})
    torch.testing.assert_close(result["hessian"]["x"]["x"], torch.diag(torch.tensor([6.0, 0, 18.0]).double()))


# Where there is no second derivative


def margins(x: Tensor) -> Tensor:
    """The loss of two samples of two classes, written out."""
    return ((1 - x[0, 0] + x[0, 1]).relu() / 2 + (1 - x[1, 1] + x[1, 0]).relu() / 2) / 2


NO_SECOND = {
    "cdist": ("d = cdist(x, x + 1); y = (d * d).sum()", "d", lambda x: ((x[:, None] - x[None] - 1) ** 2).sum()),
    "hardsigmoid": ("h = F.hardsigmoid(x); y = (h * h).sum()", "h", lambda x: ((x / 6 + 0.5) ** 2).sum()),
    "multi_margin_loss": (
        "i: int64[2] = [0, 1]; l = F.multi_margin_loss(x, i); y = l * l",
        "l",
        lambda x: margins(x) ** 2,
    ),
}


@pytest.mark.parametrize(("graph", "node"), [row[:2] for row in NO_SECOND.values()], ids=NO_SECOND)
@pytest.mark.parametrize("operation", ["hvp", "hessian"])
def test_an_operator_without_a_second_derivative_is_refused_by_name_with_the_way_out(refusal, operation, graph, node):
    fields = {"vectors": {"x": random(2, 2)}} if operation == "hvp" else {}
    problem = refusal(operation, graph, inputs={"x": random(2, 2)}, **fields)
    assert (problem["code"], problem["node"]) == ("not_differentiable", node)
    assert "allow_finite_differences" in problem["hint"]
    assert "^" in problem["excerpt"]


@pytest.mark.parametrize(("graph", "function"), [row[::2] for row in NO_SECOND.values()], ids=NO_SECOND)
def test_finite_differences_of_the_exact_gradient_are_taken_if_allowed_and_told(derive, graph, function):
    x, v = random(2, 2), random(2, 2, seed=1)
    expected = torch.autograd.functional.hessian(function, x)
    result = derive("hessian", graph, inputs={"x": x}, allow_finite_differences=True)
    assert result["meta"]["mode"] == "finite-differences"
    assert any("central difference" in note for note in result["meta"]["notes"])
    torch.testing.assert_close(result["hessian"]["x"]["x"], expected, rtol=1e-6, atol=1e-6)
    product = derive("hvp", graph, inputs={"x": x}, vectors={"x": v}, allow_finite_differences=True)["hvp"]["x"]
    torch.testing.assert_close(product, torch.tensordot(expected, v, 2), rtol=1e-6, atol=1e-6)


def test_finite_differences_take_steps_of_each_entrys_own_size(derive):
    """The sum of log(x)^2 at numbers between a millionth and a million."""
    x = torch.tensor([1e-6, 2.0, 1e6]).double()
    graph = "o = zeros([1, 1], dtype='float64'); d = cdist(log(x)[:, None], o); y = (d * d).sum()"
    fields = {"inputs": {"x": x}, "allow_finite_differences": True}
    expected = 2 * (1 - torch.log(x)) / x**2
    hessian = derive("hessian", graph, **fields)["hessian"]["x"]["x"]
    torch.testing.assert_close(hessian.diagonal(), expected, rtol=1e-7, atol=0)
    product = derive("hvp", graph, vectors={"x": torch.ones(3).double()}, **fields)["hvp"]["x"]
    torch.testing.assert_close(product, expected, rtol=1e-7, atol=0)


SQUARE = "h = F.hardsigmoid(x); y = (h * h).sum()"


@pytest.mark.parametrize("x", [[1e-12], [0.0, 1e-13], [0.0], [1.0, 1e-200]])
def test_finite_differences_of_tiny_numbers_are_right(derive, x):
    fields = {"inputs": {"x": torch.tensor(x, dtype=torch.float64)}, "allow_finite_differences": True}
    hessian = derive("hessian", SQUARE, **fields)["hessian"]["x"]["x"]
    torch.testing.assert_close(hessian, torch.eye(len(x)).double() / 18, rtol=1e-7, atol=1e-9)


def test_a_zero_beside_large_numbers_is_differentiated_by_a_step_of_its_own(derive):
    fields = {"inputs": {"x": torch.tensor([0.0, 1e6]).double()}, "allow_finite_differences": True}
    graph = "h = F.hardsigmoid(x[0]); y = cos(x[0]) + h * h + x[1] * 0"
    hessian = derive("hessian", graph, **fields)["hessian"]["x"]["x"]
    torch.testing.assert_close(hessian[0, 0], torch.tensor(-1 + 1 / 18).double(), rtol=1e-7, atol=0)


def test_finite_differences_across_a_kink_are_not_given(refusal):
    fields = {"inputs": {"x": [3.0]}, "allow_finite_differences": True}
    assert refusal("hessian", SQUARE, **fields)["code"] == "inconsistent_derivative"


def test_finite_differences_of_the_largest_numbers_do_not_overflow(derive):
    fields = {"inputs": {"x": torch.tensor([1.5e308], dtype=torch.float64)}, "allow_finite_differences": True}
    assert derive("hessian", SQUARE, **fields)["hessian"]["x"]["x"].tolist() == [[0.0]]


def test_allowing_finite_differences_changes_nothing_where_they_are_not_needed(derive):
    result = derive("hessian", "y = (x ** 3).sum()", inputs={"x": random(2)}, allow_finite_differences=True)
    assert result["meta"]["mode"] == "reverse-over-reverse"
    assert result["meta"]["notes"] == []


# What is refused


REFUSED = {
    "no vectors": ("hvp", {}, "missing_field", "/vectors"),
    "a vector of another shape": ("hvp", {"vectors": {"x": [1.0]}}, "shape_mismatch", "/vectors/x"),
    "a vector of no input": ("hvp", {"vectors": {"z": [1.0]}}, "unknown_input", "/vectors/z"),
    "an unknown wrt": ("hvp", {"vectors": {"x": [1.0, 1.0]}, "wrt": ["z"]}, "unknown_input", "/wrt/0"),
    "an integer wrt": ("hessian", {"wrt": ["k"]}, "not_differentiable", "/wrt/0"),
    "no grad_tensor": ("hessian", {}, "grad_tensor_required", "/grad_tensors"),
    "a chunk of nothing": ("hessian", {"chunk_size": 0}, "invalid_field", "/chunk_size"),
}


@pytest.mark.parametrize(("operation", "fields", "code", "pointer"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_at_its_place(refusal, operation, fields, code, pointer):
    inputs = {"x": [1.0, 2.0], "k": {"dtype": "int64", "data": [1, 2]}}
    problem = refusal(operation, "y = x * x * k", inputs=inputs, **fields)
    assert (problem["code"], problem["pointer"]) == (code, pointer)


def test_a_hessian_past_the_limit_is_refused_before_any_work_with_its_size(refusal):
    problem = refusal("hessian", "y = (x * x).sum()", inputs={"x": torch.ones(10_000).double()})
    assert (problem["code"], problem["got"]) == ("limit_exceeded", 100_000_000)


def test_answers_are_of_the_contract(post):
    response = post("hessian", graph="y = (x ** 3).sum()", inputs={"x": [1.0]})
    assert HessianResult.model_validate_json(response.content).hessian["x"]["x"].data == [[6.0]]
    response = post("hvp", graph="y = (x ** 3).sum()", inputs={"x": [1.0]}, vectors={"x": [2.0]})
    assert HvpResult.model_validate_json(response.content).hvp["x"].data == [12.0]
