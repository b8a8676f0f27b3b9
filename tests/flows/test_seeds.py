"""Operators that draw random numbers: a seed makes them repeatable, and equal to torch's after torch.manual_seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.flows.against_torch import (
    Draw,
    Row,
    assert_gradients_of_torch,
    assert_same_bits,
    assert_values_of_torch,
    decoded,
    full,
    nodes,
    row,
    send,
)
from torch import Tensor

from pullback_schemas import Problem
from pullback_service.program.catalogue import catalogue

_draw = Draw(torch.Generator().manual_seed(20_250_101))
real, positive, within = _draw.real, _draw.positive, _draw.within
F64 = torch.float64
SEED = 1234
DROPOUT = {"graph": "y = F.dropout(x)", "inputs": {"x": [1.0] * 64}}


def seeded(graph: Any, function: Callable[..., Any], wrt: tuple[str, ...] | None = None, **inputs: Tensor) -> Row:
    return row(graph, function, wrt, {"seed": SEED}, **inputs)


def same_twice(x: Tensor) -> tuple[Tensor, Tensor]:
    return torch.rand_like(x), torch.rand_like(x)


def in_two_steps(x: Tensor) -> Tensor:
    return F.dropout(torch.relu(F.dropout(x, 0.3)), 0.3)


TWO_LAYERS = [f"$w{i}" for i in range(8)]


def two_layers(gates: int) -> dict[str, Tensor]:
    """The weights of a recurrent network from 3 features to 2."""
    rows = 2 * gates
    return {f"w{i}": real(rows, *more) for i, more in enumerate([(3,), (2,), (), (), (2,), (2,), (), ()])}


SAMPLERS = {
    # What cannot be differentiated, or has a gradient of zero.
    "rand": seeded("y = rand(3)", lambda: torch.rand(3)),
    "rand of a dtype": seeded("y = rand([2, 3], dtype='float64')", lambda: torch.rand([2, 3], dtype=F64)),
    "randn": seeded("y = randn(2, 3)", lambda: torch.randn(2, 3)),
    "randint": seeded("y = randint(-5, 9, [6])", lambda: torch.randint(-5, 9, [6])),
    "randperm": seeded("y = randperm(9)", lambda: torch.randperm(9)),
    "normal of numbers": seeded("y = normal(1.0, 2.0, [4])", lambda: torch.normal(1.0, 2.0, [4])),
    "rand_like": seeded("y = rand_like(x)", torch.rand_like, x=real(3)),
    "randint_like": seeded("y = randint_like(x, 9)", lambda x: torch.randint_like(x, 9), x=real(3)),
    "randn_like": seeded(
        "y = randn_like(x, dtype='float32')", lambda x: torch.randn_like(x, dtype=torch.float32), x=real(3)
    ),
    "bernoulli": seeded("y = bernoulli(p)", torch.bernoulli, p=within(0, 1, 9)),
    "bernoulli of a number": seeded("y = bernoulli(x, 0.3)", lambda x: torch.bernoulli(x, 0.3), x=real(9)),
    "multinomial": seeded("y = multinomial(p, 3)", lambda p: torch.multinomial(p, 3), p=positive(5)),
    "multinomial again": seeded(
        "y = p.multinomial(7, replacement=True)", lambda p: p.multinomial(7, replacement=True), p=positive(2, 3)
    ),
    "poisson": seeded("y = poisson(x)", torch.poisson, x=positive(4)),
    "binomial": seeded("y = binomial(n, p)", torch.binomial, n=torch.tensor([9.0, 4.0], dtype=F64), p=within(0, 1, 2)),
    "uniform": seeded("y = x.uniform(-1.0, 3.0)", lambda x: x.uniform_(-1, 3), x=real(4)),
    "exponential": seeded("y = x.exponential(2.0)", lambda x: x.exponential_(2), x=real(4)),
    "geometric": seeded("y = x.geometric(0.3)", lambda x: x.geometric_(0.3), x=real(4)),
    "cauchy": seeded("y = x.cauchy()", lambda x: x.cauchy_(), x=real(4)),
    "log_normal": seeded("y = x.log_normal()", lambda x: x.log_normal_(), x=real(4)),
    "random": seeded("y = x.random(3, 8)", lambda x: x.random_(3, 8), x=real(4)),
    "normal_functional": seeded(
        "y = normal_functional(x, 1.0, 2.0)", lambda x: torch.ops.aten.normal_functional(x, 1.0, 2.0), x=real(4)
    ),
    "one draw after the other": seeded("a = rand_like(x); b = rand_like(x); return a, b", same_twice, x=real(3)),
}

DIFFERENTIABLE = {
    "dropout": seeded("y = F.dropout(x)", F.dropout, x=real(32)),
    "dropout of a rate": seeded("y = F.dropout(x, p=0.2, training=True)", lambda x: F.dropout(x, 0.2), x=real(32)),
    "dropout by position": seeded("y = F.dropout(x, 0.2, True, False)", lambda x: F.dropout(x, 0.2), x=real(32)),
    "dropout of everything": seeded("y = F.dropout(x, 1.0)", lambda x: F.dropout(x, 1.0), x=real(4)),
    "dropout in evaluation": seeded("y = F.dropout(x, 0.2, False)", lambda x: F.dropout(x, 0.2, False), x=real(4)),
    "torch.dropout": seeded("y = torch.dropout(x, 0.5, True)", lambda x: torch.dropout(x, 0.5, True), x=real(32)),
    "native_dropout": seeded(
        "y, m = native_dropout(x, 0.5, True); return y, m", lambda x: torch.native_dropout(x, 0.5, True), x=real(8)
    ),
    "dropout twice": seeded("y = F.dropout(relu(F.dropout(x, 0.3)), 0.3)", in_two_steps, x=real(32)),
    "dropout2d": seeded("y = F.dropout2d(x)", F.dropout2d, x=real(3, 4, 2, 2)),
    "alpha_dropout": seeded(
        "y = F.alpha_dropout(x, training=True)", lambda x: F.alpha_dropout(x, training=True), x=real(32)
    ),
    "alpha_dropout, off by default": seeded("y = F.alpha_dropout(x)", F.alpha_dropout, x=real(4)),
    "feature_alpha_dropout": seeded(
        "y = F.feature_alpha_dropout(x, 0.5, True)",
        lambda x: F.feature_alpha_dropout(x, 0.5, True),
        x=real(2, 3, 4),
    ),
    "rrelu": seeded("y = F.rrelu(x, 0.1, 0.4, True)", lambda x: F.rrelu(x, 0.1, 0.4, True), x=real(16)),
    "rrelu with its noise": seeded(
        "r = rrelu_with_noise_functional(x, zeros_like(x), 0.1, 0.4, True); return {'y': r[0], 'noise': r[1]}",
        lambda x: torch.ops.aten.rrelu_with_noise_functional(x, torch.zeros_like(x), 0.1, 0.4, True),
        x=real(16),
    ),
    "rrelu in evaluation": seeded("y = F.rrelu(x)", F.rrelu, x=real(16)),
    "fractional_max_pool2d": seeded(
        "s = rand([1, 2, 2], dtype='float64'); y, i = fractional_max_pool2d(x, 2, [3, 3], s); return y, i",
        lambda x: F.fractional_max_pool2d_with_indices(x, 2, (3, 3)),
        x=real(1, 2, 6, 6),
    ),
    "gumbel_softmax": seeded(
        "y = softmax((x - log(exponential(zeros_like(x)))) / 0.7, -1)",
        lambda x: F.gumbel_softmax(x, 0.7),
        x=real(2, 5),
    ),
    "attention with dropout": seeded(
        "y = F.scaled_dot_product_attention(q, k, v, dropout_p=0.4)",
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, dropout_p=0.4),
        q=real(1, 2, 3, 4),
        k=real(1, 2, 5, 4),
        v=real(1, 2, 5, 4),
    ),
    "reparametrised noise": seeded(
        "y = m + s * randn_like(s)", lambda m, s: m + s * torch.randn_like(s), m=real(3), s=real(3)
    ),
    "normal around a tensor": seeded("y = normal(m, 2.0)", lambda m: torch.normal(m, 2.0), m=real(3)),
    "an lstm with dropout between its layers": seeded(
        nodes(
            ("r", "lstm", ["$x", ["$h", "$c"], TWO_LAYERS, True, 2, 0.5, True, False, False], {}),
            outputs={"y": "$r.0", "h": "$r.1", "c": "$r.2"},
        ),
        lambda x, h, c, *w: torch.lstm(x, (h, c), w, True, 2, 0.5, True, False, False),
        x=real(4, 2, 3),
        h=real(2, 2, 2),
        c=real(2, 2, 2),
        **two_layers(4),
    ),
    **{
        f"{name} with dropout between its layers": seeded(
            nodes(
                ("r", name, ["$x", "$h", TWO_LAYERS, True, 2, 0.5, True, False, False], {}),
                outputs={"y": "$r.0", "h": "$r.1"},
            ),
            lambda x, h, *w, name=name: getattr(torch, name)(x, h, w, True, 2, 0.5, True, False, False),
            x=real(4, 2, 3),
            h=real(2, 2, 2),
            **two_layers(gates),
        )
        for name, gates in {"gru": 3, "rnn_tanh": 1, "rnn_relu": 1}.items()
    },
}


@pytest.mark.parametrize("row", [*SAMPLERS.values(), *DIFFERENTIABLE.values()], ids=[*SAMPLERS, *DIFFERENTIABLE])
def test_the_numbers_are_those_of_torch_after_manual_seed(answer, row):
    assert_values_of_torch(answer, row)


@pytest.mark.parametrize("row", DIFFERENTIABLE.values(), ids=DIFFERENTIABLE)
def test_the_gradients_are_those_of_torch_after_manual_seed(answer, row):
    assert_gradients_of_torch(answer, row)


@pytest.mark.parametrize("row", [*SAMPLERS.values(), *DIFFERENTIABLE.values()], ids=[*SAMPLERS, *DIFFERENTIABLE])
def test_a_seed_is_told_only_where_numbers_are_drawn(answer, row):
    result = answer("forward", graph=row.graph, inputs=send(row.inputs), seed=SEED)
    is_drawing = row not in (DIFFERENTIABLE["dropout in evaluation"], DIFFERENTIABLE["rrelu in evaluation"])
    assert "seed" not in result["meta"] or result["meta"]["seed"] == SEED
    assert ("seed" in result["meta"]) or not is_drawing


def test_one_seed_gives_one_answer(answer):
    first, second = (answer("backward", **DROPOUT, grad_tensors=[[1.0] * 64], seed=7) for _ in range(2))
    assert first["outputs"] == second["outputs"]
    assert first["gradients"] == second["gradients"]
    assert first["meta"]["seed"] == 7


def test_another_seed_gives_another_answer(answer):
    seven, eight = (answer("forward", **DROPOUT, seed=seed)["outputs"]["y"]["data"] for seed in (7, 8))
    assert seven != eight


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**53 + 1, 2**63 - 1])
def test_every_seed_from_0_to_the_largest_int64_is_taken_exactly(answer, seed):
    result = answer("forward", graph="y = rand(4, dtype='float64')", encoding="base64", seed=seed)
    assert result["meta"]["seed"] == seed
    expected = torch.rand(4, dtype=F64, generator=torch.Generator().manual_seed(seed))
    assert_same_bits(result["outputs"].values(), [expected])


def test_without_a_seed_one_is_drawn_and_told_and_gives_the_same_answer_again(answer):
    drawn = answer("forward", **DROPOUT)
    again = answer("forward", **DROPOUT, seed=drawn["meta"]["seed"])
    assert again["outputs"] == drawn["outputs"]
    assert again["meta"]["seed"] == drawn["meta"]["seed"]


def test_without_a_seed_each_request_draws_its_own(answer):
    seeds = {answer("forward", **DROPOUT)["meta"]["seed"] for _ in range(3)}
    assert len(seeds) == 3
    assert all(seed < 2**53 for seed in seeds), "exact in every language whose numbers are doubles"


def test_null_is_as_good_as_no_seed(answer):
    assert isinstance(answer("forward", **DROPOUT, seed=None)["meta"]["seed"], int)


@pytest.mark.parametrize("graph", ["y = relu(x)", "y = F.scaled_dot_product_attention(x, x, x)"])
def test_a_graph_without_random_operators_has_no_seed(answer, graph):
    sent = {"graph": graph, "inputs": {"x": full(real(1, 1, 2, 2))}}
    assert "seed" not in answer("forward", **sent)["meta"]
    assert "seed" not in answer("forward", **sent, seed=5)["meta"]


@pytest.mark.parametrize("fields", [{}, {"seed": 3}], ids=["drawn", "given"])
def test_the_random_numbers_of_the_process_are_left_alone(answer, fields):
    """Who serves in a notebook keeps the sequence that torch.manual_seed started."""
    before = torch.get_rng_state()
    answer("backward", **DROPOUT, grad_tensors=[[1.0] * 64], **fields)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_request_that_fails_leaves_the_random_numbers_of_the_process_alone(post):
    before = torch.get_rng_state()
    graph = "n = F.dropout(x) * 0 - 1; y = multinomial(n, 2)"
    assert post("forward", graph=graph, inputs={"x": [1.0, 2.0]}, seed=3).status_code == 422
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("seed", "says"),
    [
        (-1, "0"),
        (2**63, str(2**63)),
        (10**30, ""),
        (1.5, "integer"),
        (7.0, "integer"),
        ("1", "integer"),
        (True, "integer"),
        ([1], "integer"),
    ],
)
def test_a_seed_that_is_no_integer_in_range_is_refused_where_it_stands(post, seed, says):
    response = post("forward", **DROPOUT, seed=seed)
    problem = Problem.model_validate_json(response.content)
    assert (problem.status, problem.code, problem.pointer) == (422, "invalid_field", "/seed")
    assert says in f"{problem.detail} {problem.expected} {problem.hint}"


def test_the_jacobian_of_a_dropout_is_of_the_mask_that_the_outputs_show(answer):
    """One forward run serves outputs, gradients and Jacobian: another mask in any of them would be wrong."""
    x = real(16)
    result = answer(
        "backward",
        graph="y = F.dropout(x)",
        inputs=send({"x": x}),
        grad_tensors=[full(torch.ones(16, dtype=F64))],
        jacobian=True,
        encoding="base64",
        seed=SEED,
    )
    y, gradient, jacobian = (
        decoded(value) for value in (result["outputs"]["y"], result["gradients"]["x"], result["jacobians"]["y"]["x"])
    )
    mask = torch.where(y == 0, 0.0, 2.0).to(F64)
    assert 0 < int((mask == 0).sum()) < 16
    assert torch.equal(jacobian, torch.diag(mask))
    assert torch.equal(gradient, mask)


def test_many_grad_tensors_see_one_mask(answer):
    result = answer(
        "backward",
        graph="y = F.dropout(x)",
        inputs=send({"x": real(6)}),
        grad_tensors=[full(torch.eye(6, dtype=F64))],
        is_grads_batched=True,
        encoding="base64",
        seed=SEED,
    )
    mask = torch.where(decoded(result["outputs"]["y"]) == 0, 0.0, 2.0).to(F64)
    assert torch.equal(decoded(result["gradients"]["x"]), torch.diag(mask))


def test_forward_and_backward_draw_the_same(answer):
    forward = answer("forward", **DROPOUT, seed=3)["outputs"]
    backward = answer("backward", **DROPOUT, grad_tensors=[[1.0] * 64], seed=3)["outputs"]
    assert forward == backward


def test_check_tells_the_shapes_of_random_values_and_draws_none(answer):
    before = torch.get_rng_state()
    checked = answer("check", graph="y = F.dropout(x) + rand(3)", inputs={"x": {"shape": [2, 3]}})
    assert checked["outputs"]["y"] == {"dtype": "float64", "shape": [2, 3], "requires_grad": True}
    assert torch.equal(torch.get_rng_state(), before)


def test_every_random_operator_that_is_served_is_tried_here(answer):
    """One that nobody tried might draw from somewhere else."""
    tried = set()
    for sample in [*SAMPLERS.values(), *DIFFERENTIABLE.values()]:
        types = {
            name: {"dtype": str(x.dtype).removeprefix("torch."), "shape": x.shape} for name, x in sample.inputs.items()
        }
        checked = answer("check", graph=sample.graph, inputs=types)
        tried |= {node["op"].split(".")[1] for node in checked["graph"]["nodes"]}
    served = {name for name in catalogue().packets if any(o.is_random for o in catalogue().overloads(name))}
    assert served - tried == set()
