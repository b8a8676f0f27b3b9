"""A graph on the service as a torch function: torch's own checks of derivatives, and torch's own numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pullback import AnswerError, Client

F64 = torch.float64


@pytest.fixture
def client(service) -> Client:
    return Client("http://service", transport=service._transport)


def leaf(*values: float, dtype: torch.dtype = F64) -> Tensor:
    return torch.tensor(values, dtype=dtype, requires_grad=True)


GRAPHS = {
    "one input": ("y = (x ** 3).sum()", [leaf(0.5, -2.0)]),
    "a vector": ("y = sin(x) * x", [leaf(0.5, -2.0)]),
    "two inputs": ("y = x * exp(w) / (1 + x ** 2)", [leaf(0.5, -2.0), leaf(1.0, 0.25)]),
    "two outputs": ("h = x * w; y = h ** 2; z = h.sum() + x.prod(); return y, z", [leaf(0.5, 2.0), leaf(1.0, 0.25)]),
    "an input without a say": ("w: float64[1]; y = x ** 2", [leaf(0.5, 2.0), leaf(1.0)]),
    "integers among the outputs": ("i = argmax(x); y = x * x; return y, i", [leaf(0.5, 2.0)]),
    "an output without a gradient": ("y = x * x; z = ones_like(x); return y, z", [leaf(0.5, 2.0)]),
    "complex numbers": ("y = z * z.conj() + exp(z)", [leaf(1 + 2j, 0.5j, dtype=torch.complex128)]),
}


@pytest.mark.parametrize(("graph", "inputs"), GRAPHS.values(), ids=GRAPHS)
def test_torch_finds_both_derivatives_right(client, graph, inputs):
    function = client.torch_function(graph, sorted(client.check(graph).inputs, reverse=True))
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_only_the_gradients_that_are_needed_are_asked_for(client):
    function = client.torch_function("y = (x * w).sum()")
    x, w = leaf(1.0, 2.0), torch.tensor([3.0, 4.0], dtype=F64)
    function(x, w).backward()
    assert x.grad.tolist() == [3.0, 4.0]
    assert w.grad is None
    assert not function(x.detach(), w).requires_grad


def test_arguments_go_by_name_and_by_place(client):
    function = client.torch_function("y = a - b")
    assert (function.inputs, function.outputs) == (("a", "b"), ("y",))
    assert function(5.0, b=2.0).item() == 3.0
    assert function(torch.tensor([5.0]), [2.0]).tolist() == [3.0]
    declared = client.torch_function("b: float32; y = a - b")
    assert declared(b=2.0, a=torch.tensor([5.0])).dtype == torch.float32
    for args, kwargs in [((1.0,), {}), ((1.0, 2.0, 3.0), {}), ((1.0, 2.0), {"b": 3.0}), ((1.0, 2.0), {"c": 3.0})]:
        with pytest.raises(TypeError):
            function(*args, **kwargs)


def test_the_dtype_is_that_of_the_tensors(client):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = client.torch_function("y = relu(x)")(x)
    y.sum().backward()
    assert (y.dtype, x.grad.dtype) == (torch.float32, torch.float32)


def test_random_numbers_are_the_same_in_both_passes(client):
    function = client.torch_function("y = dropout(x, 0.5, True)")
    x = torch.ones(64, dtype=F64, requires_grad=True)
    y = function(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    assert 0 < int((y == 0).sum()) < 64


def test_a_remote_layer_trains_like_a_local_one(client):
    class Local(nn.Module):
        def forward(self, h: Tensor) -> Tensor:
            return torch.tanh(h) * torch.sigmoid(h)

    remote = client.torch_function("y = tanh(h) * sigmoid(h)")
    torch.manual_seed(0)
    first, last = nn.Linear(3, 4).double(), nn.Linear(4, 1).double()
    x, target = torch.randn(8, 3, dtype=F64), torch.randn(8, 1, dtype=F64)
    gradients = []
    for layer in (Local(), remote):
        loss = nn.functional.mse_loss(last(layer(first(x))), target)
        gradients.append(torch.autograd.grad(loss, [*first.parameters(), *last.parameters()]))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_problems_come_out_of_both_passes(client):
    with pytest.raises(AnswerError, match="incompatible_arguments"):
        client.torch_function("y = x @ w")(torch.ones(2), torch.ones(3))
