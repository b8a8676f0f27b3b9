"""Each row of the table of wrong rules, shown to be wrong by torch itself: a row that fails here is mended in torch.

torch is called directly, without the service. The truth is a central difference.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.flows.float64 import random
from torch import Tensor
from torch.autograd import forward_ad

from pullback_service.derivatives.known_wrong import BATCHING, FORWARD, REVERSE_OVER_FORWARD

Function = Callable[[Tensor], Tensor]
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # at torch's first dual number


def difference(function: Function, x: Tensor, v: Tensor) -> Tensor:
    return (function(x + 1e-6 * v) - function(x - 1e-6 * v)) / 2e-6


def agrees(found: Tensor, expected: Tensor) -> bool:
    return bool(torch.allclose(found, expected, rtol=1e-3, atol=1e-3))


FACTOR = torch.tensor([[2.0, 0.0, 0.0], [0.5, 1.5, 0.0], [-1.0, 0.3, 1.0]]).double()
SPD = FACTOR @ FACTOR.mT
LOWER = random(3, 3, seed=1).tril()

# Forward mode


def tangent(function: Function, x: Tensor, v: Tensor) -> Tensor:
    with forward_ad.dual_level():
        image = forward_ad.unpack_dual(function(forward_ad.make_dual(x, v))).tangent
        return torch.zeros_like(function(x)) if image is None else image


WRONG_FORWARD: dict[str, tuple[Function, Tensor, Tensor]] = {
    "cholesky_inverse": (torch.cholesky_inverse, FACTOR, LOWER),
    "triangular_solve": (
        lambda x: torch.triangular_solve(torch.ones(3, 1).double(), x, upper=False, transpose=True)[0],
        FACTOR,
        LOWER,
    ),
    "scatter_reduce": (
        lambda x: torch.scatter_reduce(x, 0, torch.tensor([0, 0, 1]), torch.tensor([3.0, 4.0, 5.0]).double(), "prod"),
        random(3),
        random(3, seed=1),
    ),
    "logcumsumexp": (
        lambda x: torch.logcumsumexp(x, 0),
        torch.tensor([-1000.0, 1 + 1j, 2]).to(torch.complex128),
        random(3, dtype=torch.complex128),
    ),
}
OTHER_READING: dict[str, Function] = {
    "linalg_cholesky": torch.linalg.cholesky,
    "linalg_cholesky_ex": lambda x: torch.linalg.cholesky_ex(x)[0],
    "linalg_eigh": lambda x: torch.linalg.eigh(x)[1],
}


@pytest.mark.filterwarnings("ignore:torch.triangular_solve is deprecated")
@pytest.mark.parametrize(("function", "x", "v"), WRONG_FORWARD.values(), ids=WRONG_FORWARD)
def test_torchs_forward_rule_is_wrong_and_its_gradient_is_right(function, x, v):
    truth = difference(function, x, v)
    assert not agrees(tangent(function, x, v), truth)
    w = random(*truth.shape, dtype=truth.dtype, seed=3)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(leaf), leaf, w)
    assert agrees((gradient.conj() * v).real.sum(), (w.conj() * truth).real.sum())


@pytest.mark.parametrize("function", OTHER_READING.values(), ids=OTHER_READING)
def test_torchs_forward_rule_reads_a_tangent_that_is_not_symmetric_otherwise_than_its_gradient(function):
    v, w = random(3, 3, seed=1), random(3, 3, seed=2)
    leaf = SPD.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(leaf), leaf, w)
    assert not agrees((w * tangent(function, SPD, v)).sum(), (gradient * v).sum())
    symmetric = v + v.mT
    assert agrees((w * tangent(function, SPD, symmetric)).sum(), (gradient * symmetric).sum())


def test_every_row_of_the_forward_table_is_shown_here():
    assert FORWARD.keys() == {*WRONG_FORWARD, *OTHER_READING}


# Reverse over forward

WRONG_SECOND: dict[str, tuple[Function, Tensor]] = {
    "linalg_solve": (lambda x: torch.linalg.solve(x, torch.ones(3).double()), random(3, 3)),
    "linalg_det": (torch.linalg.det, random(3, 3)),
    "linalg_slogdet": (lambda x: torch.linalg.slogdet(x)[1], random(3, 3)),
    "linalg_householder_product": (
        lambda x: torch.linalg.householder_product(x, torch.tensor([0.5, 1.0, 1.5]).double()),
        random(4, 3),
    ),
    "layer_norm": (lambda x: torch.nn.functional.layer_norm(x, (3,)), random(2, 3)),
    "instance_norm": (torch.nn.functional.instance_norm, random(2, 4, 3)),
    "cumprod": (lambda x: torch.cumprod(x, 0), torch.tensor([2.0, 0.0, 3.0, 0.5]).double()),
}


@pytest.mark.parametrize(("function", "x"), WRONG_SECOND.values(), ids=WRONG_SECOND)
def test_torchs_reverse_over_forward_is_wrong_and_its_reverse_over_reverse_is_right(function, x):
    v, w = random(*x.shape, seed=1), random(*function(x).shape, seed=2)

    def weighted(x: Tensor) -> Tensor:
        return (w * function(x)).sum()

    truth = difference(torch.func.grad(weighted), x, v)
    assert not agrees(torch.func.grad(lambda x: torch.func.jvp(weighted, (x,), (v,))[1])(x), truth)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(weighted(leaf), leaf, create_graph=True)
    assert agrees(torch.autograd.grad(gradient, leaf, v)[0], truth)


def test_every_row_of_the_second_order_table_is_shown_here():
    assert REVERSE_OVER_FORWARD.keys() == WRONG_SECOND.keys()


# Many vectors at once

OTHER = random(4, 3, seed=2)
WRONG_BATCHING: dict[str, tuple[Function, Tensor]] = {
    "cdist": (lambda x: torch.cdist(x, OTHER), random(2, 3)),
    "roll": (lambda x: torch.roll(x, 1), random()),
}


@pytest.mark.parametrize(("function", "x"), WRONG_BATCHING.values(), ids=WRONG_BATCHING)
def test_torchs_gradients_of_many_vectors_at_once_are_not_those_of_each(function, x):
    leaf = x.clone().requires_grad_()
    y = function(leaf)
    w = random(3, *y.shape, seed=4)

    def gradient(w: Tensor) -> Tensor:
        return torch.autograd.grad(y, leaf, w, retain_graph=True)[0]

    assert not agrees(torch.func.vmap(gradient)(w), torch.stack([gradient(each) for each in w]))


def test_every_row_of_the_batching_table_is_shown_here():
    assert BATCHING.keys() == WRONG_BATCHING.keys()


SERVED_BATCHING = {
    "cdist": ("y = cdist(x, o)", {"x": random(2, 3), "o": OTHER}),
    "roll": ("y = roll(x, 1)", {"x": random()}),
}


@pytest.mark.parametrize(("graph", "inputs"), SERVED_BATCHING.values(), ids=SERVED_BATCHING)
@pytest.mark.parametrize("operation", ["backward", "jvp"])
def test_the_service_takes_them_one_after_the_other_and_says_so(derive, graph, inputs, operation):
    x, shape = inputs["x"], derive("forward", graph, inputs=inputs)["outputs"]["y"].shape
    ends = {"backward": ("grad_tensors", "y", shape, "gradients", "x"), "jvp": ("tangents", "x", x.shape, "jvp", "y")}
    field, name, shape, answer, image = ends[operation]
    vectors = random(3, *shape, seed=5)
    flag = {"backward": "is_grads_batched", "jvp": "is_tangents_batched"}[operation]
    fields = {"wrt": ["x"]} if operation == "backward" else {}
    many = derive(operation, graph, inputs=inputs, **{field: {name: vectors}, flag: True}, **fields)
    each = [derive(operation, graph, inputs=inputs, **{field: {name: v}}, **fields)[answer][image] for v in vectors]
    torch.testing.assert_close(many[answer][image], torch.stack(each))
    assert many["meta"]["path"] == "looped"
    assert any("many vectors" in note for note in many["meta"]["notes"])


def test_roll_of_a_tensor_with_axes_goes_at_once(derive):
    assert derive("jacobian", "y = x.roll(1) * x", inputs={"x": random(4)})["meta"]["path"] == "vmapped"
