"""What /v1/jvp promises: J v, right whatever torch's forward rules are."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from tests.flows.float64 import random
from torch import Tensor

from pullback_schemas import JvpResult
from pullback_service.derivatives.known_wrong import FORWARD

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
COMPLEX = [torch.complex64, torch.complex128]


def named(tensors: Iterable[Tensor]) -> dict[str, Tensor]:
    return dict(zip("xw", tensors, strict=False))


FUNCTIONS = {
    "elementwise": ("y = tanh(x) * x + sin(x)", lambda x: torch.tanh(x) * x + torch.sin(x), [(5,)]),
    "two inputs": ("y = tanh(x @ w)", lambda x, w: torch.tanh(x @ w), [(2, 3), (3, 4)]),
    "two outputs": ("y = x * w; z = (x * x).sum(); return y, z", lambda x, w: (x * w, (x * x).sum()), [(3,), (3,)]),
    "linear algebra": ("y = linalg.solve(x, w)", torch.linalg.solve, [(3, 3), (3, 2)]),
    "no numbers at all": ("y = exp(x)", torch.exp, [(0, 2)]),
    "0-dim": ("y = exp(x) * w", lambda x, w: torch.exp(x) * w, [(), ()]),
    "views": (
        "y = x.T[1:] * 2; z = x.expand(2, 3, 2); return y, z",
        lambda x: (x.T[1:] * 2, x.expand(2, 3, 2)),
        [(3, 2)],
    ),
    "normalisation": ("y = F.layer_norm(x, [3])", lambda x: torch.nn.functional.layer_norm(x, (3,)), [(2, 3)]),
}


@pytest.mark.parametrize(("graph", "function", "shapes"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_jvp_is_that_of_torch_func(derive, graph, function, shapes):
    primals = tuple(random(*shape, seed=i) for i, shape in enumerate(shapes))
    tangents = tuple(random(*shape, seed=9 + i) for i, shape in enumerate(shapes))
    values, expected = torch.func.jvp(function, primals, tangents)
    result = derive("jvp", graph, inputs=named(primals), tangents=named(tangents))
    several = expected if isinstance(expected, tuple) else (expected,)
    torch.testing.assert_close(list(result["jvp"].values()), list(several))
    torch.testing.assert_close(
        list(result["outputs"].values()), list(values if isinstance(values, tuple) else (values,))
    )


@pytest.mark.parametrize("dtype", [*FLOATS, *COMPLEX], ids=str)
def test_jvp_keeps_every_floating_and_complex_dtype(derive, dtype):
    x, v = random(4, dtype=dtype), random(4, dtype=dtype, seed=1)
    result = derive("jvp", "y = x * x * x", inputs={"x": x}, tangents={"x": v})["jvp"]["y"]
    assert result.dtype == dtype
    torch.testing.assert_close(
        result, 3 * x * x * v, rtol=16 * torch.finfo(dtype).eps, atol=16 * torch.finfo(dtype).eps
    )


def test_jvp_of_a_complex_function_that_is_not_holomorphic_is_the_directional_derivative(derive):
    z, v, h = random(3, dtype=torch.complex128), random(3, dtype=torch.complex128, seed=1), 1e-6

    def function(z: Tensor) -> Tensor:
        return z * z.abs() + z.conj()

    expected = (function(z + h * v) - function(z - h * v)) / (2 * h)
    result = derive("jvp", "y = z * z.abs() + z.conj()", inputs={"z": z}, tangents={"z": v})
    torch.testing.assert_close(result["jvp"]["y"], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    "graph", ["y = tanh(x) * w", "y = linalg.inv(x + w)", "y = cdist(x, w)", "y = linalg.cholesky(x @ x.mT)"]
)
def test_batched_tangents_equal_a_loop_of_single_ones(derive, graph):
    inputs = {"x": random(3, 3), "w": random(3, 3, seed=1)}
    tangents = {"x": random(5, 3, 3, seed=2), "w": random(5, 3, 3, seed=3)}
    used = {name: v for name, v in tangents.items() if name in graph.replace("exp", "")}
    point = {name: inputs[name] for name in used}
    batched = derive("jvp", graph, inputs=point, tangents=used, is_tangents_batched=True)["jvp"]["y"]
    for index in range(5):
        one = derive("jvp", graph, inputs=point, tangents={name: v[index] for name, v in used.items()})["jvp"]["y"]
        torch.testing.assert_close(batched[index], one)


def test_no_tangents_give_no_products(derive):
    result = derive(
        "jvp", "y = x.sum()", inputs={"x": random(3)}, tangents={"x": random(0, 3)}, is_tangents_batched=True
    )
    assert result["jvp"]["y"].shape == (0,)


def test_an_input_without_a_tangent_does_not_move(derive):
    result = derive(
        "jvp", "y = x * w", inputs={"x": random(2), "w": random(2, seed=1)}, tangents={"x": random(2, seed=2)}
    )
    torch.testing.assert_close(result["jvp"]["y"], random(2, seed=1) * random(2, seed=2))


def test_a_constant_may_move(derive):
    result = derive("jvp", "c = [2.0, 3.0]; y = c * c", tangents={"c": random(2)})
    torch.testing.assert_close(result["jvp"]["y"], torch.tensor([4.0, 6.0]).double() * random(2))


def test_an_output_that_does_not_move_has_zeros_and_an_integer_one_is_left_out(derive):
    graph = "y = x * 2; c = ones([2], dtype='float64'); k = argmax(x); return y, c, k"
    result = derive("jvp", graph, inputs={"x": random(2)}, tangents={"x": random(2)})
    assert list(result["outputs"]) == ["y", "c", "k"]
    assert {name: value.tolist() for name, value in result["jvp"].items()} == {
        "y": (2 * random(2)).tolist(),
        "c": [0, 0],
    }


def test_a_shape_that_only_the_run_knows_is_no_hindrance(derive):
    x, v = torch.tensor([1.0, -2.0, 3.0]).double(), random(4, 3)
    result = derive("jvp", "y = x[x > 0] ** 2", inputs={"x": x}, tangents={"x": v}, is_tangents_batched=True)
    torch.testing.assert_close(result["jvp"]["y"], 2 * x[[0, 2]] * v[:, [0, 2]])


def test_a_value_guard_runs_in_forward_mode_too(derive, refusal):
    a = random(3, 3)
    result = derive("jvp", "y = linalg.eigvalsh(x)", inputs={"x": a + a.mT}, tangents={"x": torch.eye(3).double()})
    torch.testing.assert_close(result["jvp"]["y"], torch.ones(3).double())
    nan = {"dtype": "float64", "data": [["NaN"]]}
    problem = refusal("jvp", "y = linalg.eigvalsh(x)", inputs={"x": nan}, tangents={"x": [[1.0]]})
    assert (problem["code"], problem["node"]) == ("op_failed", "y")


# Rules that are wrong or missing


SIGNED = torch.tensor([[2.0, 0.0, 0.0], [0.5, 1.5, 0.0], [-1.0, 0.3, 1.0]]).double()
LOWER = torch.ones(3, 3).double().tril()
DETOURS = {
    "a product that is scattered": (
        "y = scatter_reduce(x, 0, i, s, reduce='prod')",
        lambda x, s: torch.scatter_reduce(x, 0, torch.tensor([0, 0, 1]), s, "prod"),
        {"x": random(3), "s": random(3, seed=1)},
    ),
    "the inverse by a Cholesky factor": ("y = cholesky_inverse(x)", torch.cholesky_inverse, {"x": SIGNED}),
    "a transposed triangular solve": (
        "y = triangular_solve(s, x, upper=False, transpose=True).solution",
        lambda x, s: torch.triangular_solve(s, x, upper=False, transpose=True)[0],
        {"x": SIGNED, "s": random(3, 2)},
    ),
    "an operator without a forward rule": (
        "y = index_reduce(x, 0, i, s, 'prod')",
        lambda x, s: torch.index_reduce(x, 0, torch.tensor([0, 0, 1]), s, "prod"),
        {"x": random(3), "s": random(3, seed=1)},
    ),
    "an operator with a gradient and nothing else": (
        "y = cdist(x, s)",
        torch.cdist,
        {"x": random(2, 3), "s": random(4, 3, seed=1)},
    ),
    "fused attention": (
        "y = F.scaled_dot_product_attention(x, s, s)",
        lambda x, s: torch.nn.functional.scaled_dot_product_attention(x, s, s),
        {"x": random(1, 1, 3, 4), "s": random(1, 1, 5, 4, seed=1)},
    ),
}


@pytest.mark.filterwarnings("ignore:torch.triangular_solve is deprecated")
@pytest.mark.parametrize(("graph", "function", "inputs"), DETOURS.values(), ids=DETOURS)
@pytest.mark.parametrize("is_batched", [False, True], ids=["single", "batched"])
def test_jvp_agrees_with_central_differences_where_forward_mode_is_wrong_or_missing(
    derive, graph, function, inputs, is_batched
):
    batch = (3,) if is_batched else ()
    masks = {name: LOWER if tensor is SIGNED else torch.ones_like(tensor) for name, tensor in inputs.items()}
    tangents = {name: random(*batch, *x.shape, seed=7) * masks[name] for name, x in inputs.items()}
    extra = {"i": torch.tensor([0, 0, 1])} if " i," in graph else {}
    result = derive("jvp", graph, inputs={**inputs, **extra}, tangents=tangents, is_tangents_batched=is_batched)["jvp"][
        "y"
    ]
    for index in range(3 if is_batched else 1):
        v = {name: tensor[index] if is_batched else tensor for name, tensor in tangents.items()}
        ahead = function(*[inputs[name] + 1e-6 * v[name] for name in inputs])
        behind = function(*[inputs[name] - 1e-6 * v[name] for name in inputs])
        torch.testing.assert_close(
            result[index] if is_batched else result, (ahead - behind) / 2e-6, rtol=1e-6, atol=1e-7
        )


@pytest.mark.parametrize(
    ("graph", "mode"),
    [
        ("y = tanh(x)", "forward"),
        ("y = cholesky_inverse(x)", "double-reverse"),
        ("y = ormqr(x, x[0], x)", "double-reverse"),
        ("y = cdist(x, x + 1)", "reverse"),
    ],
)
def test_meta_names_the_way_that_was_taken_and_the_adjoint_error(derive, graph, mode):
    meta = derive("jvp", graph, inputs={"x": SIGNED}, tangents={"x": LOWER})["meta"]
    assert meta["mode"] == mode
    assert meta["adjoint_error"] < 1e-12


def test_a_rule_that_is_known_to_be_wrong_is_told(derive):
    notes = derive("jvp", "y = cholesky_inverse(x)", inputs={"x": SIGNED}, tangents={"x": LOWER})["meta"]["notes"]
    assert any("cholesky_inverse" in note for note in notes)


def test_a_forward_rule_that_contradicts_the_gradient_is_found_out_and_not_used(derive, monkeypatch):
    """Without its row in the table the wrong rule is tried, and the identity of both modes finds it."""
    monkeypatch.delitem(FORWARD, "cholesky_inverse")
    result = derive("jvp", "y = cholesky_inverse(x)", inputs={"x": SIGNED}, tangents={"x": LOWER})
    assert result["meta"]["mode"] == "double-reverse"
    assert any("fails in forward mode" in note for note in result["meta"]["notes"])
    ahead, behind = (torch.cholesky_inverse(SIGNED + h * LOWER) for h in (1e-6, -1e-6))
    torch.testing.assert_close(result["jvp"]["y"], (ahead - behind) / 2e-6, rtol=1e-7, atol=1e-7)


def test_a_tangent_of_a_symmetric_matrix_is_read_as_the_gradient_reads_it(derive):
    """torch's own forward and reverse rules disagree on tangents that are not symmetric."""
    a = random(3, 3)
    a, v, w = a @ a.mT + torch.eye(3), random(3, 3, seed=1), random(3, 3, seed=2)
    pushed = derive("jvp", "y = linalg.cholesky(x)", inputs={"x": a}, tangents={"x": v})["jvp"]["y"]
    pulled = derive("backward", "y = linalg.cholesky(x)", inputs={"x": a}, grad_tensors={"y": w})["gradients"]["x"]
    torch.testing.assert_close((w * pushed).sum(), (pulled * v).sum())


# What is refused


REFUSED = {
    "a name that is no input": ({"tangents": {"xs": [1.0]}}, "unknown_input", "/tangents/xs"),
    "an integer input": ({"tangents": {"k": [1]}}, "not_differentiable", "/tangents/k"),
    "another shape": ({"tangents": {"x": [1.0]}}, "shape_mismatch", "/tangents/x"),
    "another dtype": ({"tangents": {"x": torch.ones(2)}}, "dtype_mismatch", "/tangents/x"),
    "no batch axis": ({"tangents": {"x": [1.0, 2.0]}, "is_tangents_batched": True}, "shape_mismatch", "/tangents/x"),
    "two sizes of batches": (
        {"tangents": {"x": [[1.0, 2.0]], "w": [[1.0, 2.0], [1.0, 2.0]]}, "is_tangents_batched": True},
        "shape_mismatch",
        "/tangents/w",
    ),
    "none at all": ({"tangents": {}}, "invalid_field", "/tangents"),
    "left out": ({}, "missing_field", "/tangents"),
}


@pytest.mark.parametrize(("fields", "code", "pointer"), REFUSED.values(), ids=REFUSED)
def test_tangents_that_do_not_fit_are_refused_at_their_place(refusal, fields, code, pointer):
    inputs = {"x": [1.0, 2.0], "w": [1.0, 2.0], "k": {"dtype": "int64", "data": [1, 2]}}
    problem = refusal("jvp", "y = x * w * k", inputs=inputs, **fields)
    assert (problem["code"], problem["pointer"]) == (code, pointer)


def test_more_products_than_the_limit_are_refused_before_the_run(refusal):
    problem = refusal(
        "jvp",
        "y = x.expand(8000000, 2)",
        inputs={"x": [1.0, 2.0]},
        tangents={"x": [[1.0, 2.0]] * 9},
        is_tangents_batched=True,
    )
    assert (problem["code"], problem["pointer"]) == ("limit_exceeded", "/tangents")


@pytest.mark.parametrize("graph", ["y = argmax(x)", "y = x.detach() * 2"])
def test_outputs_without_a_derivative_are_refused(refusal, graph):
    assert refusal("jvp", graph, inputs={"x": [1.0, 2.0]}, tangents={"x": [1.0, 0.0]})["code"] == "not_differentiable"


def test_a_jvp_answer_is_a_jvp_result(post):
    response = post("jvp", graph="y = x * x", inputs={"x": [1.0]}, tangents={"x": [1.0]})
    assert JvpResult.model_validate_json(response.content).jvp["y"].data == [2.0]
