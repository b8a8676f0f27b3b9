"""What /v1/jacobian promises of graphs whose Jacobians are sparse: few passes, and the numbers of the dense ones."""

from __future__ import annotations

import pytest
import torch
from tests.flows.float64 import random
from torch import Tensor

N = 256


def broyden(x: Tensor) -> Tensor:
    p = torch.nn.functional.pad(x, (1, 1))
    return (3 - 2 * x) * x - p[:-2] - 2 * p[2:] + 1


def laplacian(x: Tensor) -> Tensor:
    u = x.reshape(16, 16)
    return (u.roll(1, 0) + u.roll(-1, 0) + u.roll(1, 1) + u.roll(-1, 1) - 4 * u + u**3).flatten()


SPARSE = {
    "pointwise": ("y = tanh(x) * x + sin(x)", lambda x: torch.tanh(x) * x + torch.sin(x), 1),
    "tridiagonal": ("p = F.pad(x, [1, 1]); y = (3 - 2 * x) * x - p[:-2] - 2 * p[2:] + 1", broyden, 3),
    "a padding of ones": (
        "p = F.pad(x, [1, 1], value=1.0); y = p[:-2] * p[2:]",
        lambda x: (
            torch.nn.functional.pad(x, (1, 1), value=1.0)[:-2] * torch.nn.functional.pad(x, (1, 1), value=1.0)[2:]
        ),
        3,
    ),
    "a stencil on a periodic grid": (
        "u = x.reshape(16, 16); "
        "y = (u.roll(1, 0) + u.roll(-1, 0) + u.roll(1, 1) + u.roll(-1, 1) - 4 * u + u**3).flatten()",
        laplacian,
        None,
    ),
    "a permutation": (
        "y = x.reshape(16, 16).mT.flatten().flip(0) ** 2",
        lambda x: x.reshape(16, 16).mT.flatten().flip(0) ** 2,
        1,
    ),
    "pieces put together": (
        "a, b = x.chunk(2); y = cat([b * a, a.exp()])",
        lambda x: torch.cat([x[128:] * x[:128], x[:128].exp()]),
        None,
    ),
    "a choice by the numbers": ("y = where(x > 0, x * x, -x)", lambda x: torch.where(x > 0, x * x, -x), 1),
    "a triangle": (
        "y = tril(x.reshape(16, 16)).flatten() * 3",
        lambda x: torch.tril(x.reshape(16, 16)).flatten() * 3,
        1,
    ),
    "constant indices": (
        "i: int64[3] = [5, 2, 9]; y = cat([x[i], x]) ** 2",
        lambda x: torch.cat([x[[5, 2, 9]], x]) ** 2,
        None,
    ),
    "nothing that moves": ("y = x.detach() * 2 + x * 0", lambda x: x.detach() * 2 + x * 0, 1),
}


@pytest.mark.parametrize(("graph", "function", "passes"), SPARSE.values(), ids=SPARSE)
def test_a_sparse_jacobian_is_that_of_torch_in_few_passes(derive, graph, function, passes):
    x = random(N)
    result = derive("jacobian", graph, inputs={"x": x})
    torch.testing.assert_close(result["jacobians"]["y"]["x"], torch.autograd.functional.jacobian(function, x))
    assert (result["meta"]["mode"], result["meta"]["path"]) == ("reverse", "coloured")
    assert result["meta"]["backward_count"] <= 2 + 32


DENSE = {
    "a product of matrices": "y = (x.reshape(16, 16) @ x.reshape(16, 16)).flatten()",
    "a sum": "y = x - x.mean()",
    "softmax": "y = softmax(x, 0)",
    "cumsum": "y = cumsum(x, 0)",
    "indices that depend on the numbers": "y = x[argsort(x)]",
    "too many neighbours": "p = F.pad(x, [5, 5]); y = " + " + ".join(f"p[{i}:{i + 256}] ** 2" for i in range(11)),
    "a normalisation": "y = F.layer_norm(x, [256])",
    "a random choice": "y = dropout(x, 0.5, True) + x.sum()",
}


@pytest.mark.parametrize("graph", DENSE.values(), ids=DENSE)
def test_what_is_not_known_to_be_sparse_is_not_taken_for_it(derive, graph):
    assert derive("jacobian", graph, inputs={"x": random(N)}, seed=1)["meta"]["path"] != "coloured"


def test_several_outputs_and_inputs_each_have_their_block(derive):
    inputs = {"x": random(N), "w": random(N, seed=1)}
    result = derive("jacobian", "y = x * w; z = x.flip(0) + 2; return y, z", inputs=inputs)
    blocks = result["jacobians"]
    torch.testing.assert_close(blocks["y"]["x"], torch.diag(inputs["w"]))
    torch.testing.assert_close(blocks["y"]["w"], torch.diag(inputs["x"]))
    torch.testing.assert_close(blocks["z"]["x"], torch.eye(N).double().flip(0))
    torch.testing.assert_close(blocks["z"]["w"], torch.zeros(N, N).double())
    assert result["meta"]["path"] == "coloured"


def test_an_infinite_slope_stays_where_it_is(derive):
    """In a pass for each row it would meet the zeros of all other rows."""
    x = torch.arange(N).double()
    block = derive("jacobian", "y = sqrt(x)", inputs={"x": x})["jacobians"]["y"]["x"]
    torch.testing.assert_close(block, torch.diag(0.5 / x.sqrt()).nan_to_num(posinf=torch.inf))


def test_a_chunk_size_of_the_callers_own_is_kept(derive):
    meta = derive("jacobian", "y = x * x", inputs={"x": random(N)}, chunk_size=100)["meta"]
    assert (meta["path"], meta["backward_count"]) == ("chunked", 3)
