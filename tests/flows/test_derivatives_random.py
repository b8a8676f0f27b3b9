"""Operators that draw random numbers draw the same ones in every run of one request, whatever derivative is asked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

GRAPH = "y = dropout(x ** 3, 0.5, True)"


def point() -> Tensor:
    return torch.linspace(1, 2, 16, dtype=torch.float64)


def kept(derive, **fields) -> Tensor:
    """The factor of each element, 0 or 2, as the values tell it."""
    return derive("forward", GRAPH, inputs={"x": point()}, seed=7, **fields)["outputs"]["y"] / point() ** 3


@pytest.mark.parametrize("is_batched", [False, True], ids=["single", "batched"])
def test_jvp_moves_along_what_was_drawn(derive, is_batched):
    v = torch.randn(3, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sent = v if is_batched else v[0]
    result = derive("jvp", GRAPH, inputs={"x": point()}, tangents={"x": sent}, is_tangents_batched=is_batched, seed=7)
    torch.testing.assert_close(result["jvp"]["y"], kept(derive) * 3 * point() ** 2 * sent)
    assert result["meta"]["seed"] == 7


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_jacobians_are_those_of_what_was_drawn(derive, mode):
    block = derive("jacobian", GRAPH, inputs={"x": point()}, mode=mode, chunk_size=5, seed=7)["jacobians"]["y"]["x"]
    torch.testing.assert_close(block, torch.diag(kept(derive) * 3 * point() ** 2))


def test_the_hessian_is_that_of_what_was_drawn(derive):
    result = derive("hessian", GRAPH, inputs={"x": point()}, grad_tensors={"y": torch.ones(16).double()}, seed=7)
    torch.testing.assert_close(result["hessian"]["x"]["x"], torch.diag(kept(derive) * 6 * point()))


def test_a_gradient_is_checked_and_explained_with_the_same_numbers(derive):
    for method in ("taylor", "central"):
        assert derive("gradcheck", GRAPH, inputs={"x": point()}, method=method)["passed"] is True
    fields = {"inputs": {"x": point()}, "grad_tensors": {"y": torch.ones(16).double()}, "explain": True}
    result = derive("backward", GRAPH, **fields)
    last = result["explanation"]["nodes"][-1]
    torch.testing.assert_close(last["passed"][0]["vector"]["value"], result["gradients"]["x"])
