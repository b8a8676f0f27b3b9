"""The tracer: what it writes down is the function, values and gradients, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torch.utils._pytree as pytree
from tests.flows.against_torch import Draw, assert_same_bits, base64_form
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pullback.errors import PullbackError
from pullback.tracing import Traced, TracingError, trace

_draw = Draw(torch.Generator().manual_seed(20_230_815))
real, cplx, positive, regular = _draw.real, _draw.cplx, _draw.positive, _draw.regular
F64 = torch.float64
SEED = 99


def ops(traced: Traced) -> list[str]:
    return [node["op"].split(".")[1] for node in traced.graph["nodes"]]


def run(function: Callable[..., Any], *inputs: Tensor) -> list[Tensor]:
    """The tensors that the function gives, in order, its random numbers those of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return [y for y in pytree.tree_leaves(function(*inputs)) if y is not None]


def assert_alike(answer: Callable[..., Any], function: Callable[..., Any], *examples: Tensor) -> Traced:
    """The trace, sent to the service, has the function's outputs, and its gradients by the floating inputs."""
    traced = trace(function, *[x.clone() for x in examples])
    leaves = [x.clone().requires_grad_(x.is_floating_point() or x.is_complex()) for x in examples]
    expected = run(function, *[x.clone() for x in leaves])
    roots = [x for x in leaves if x.requires_grad]
    request = {
        "graph": traced.graph,
        "inputs": {name: base64_form(x) for name, x in zip(traced.inputs, examples, strict=True)},
        "encoding": "base64",
        "seed": SEED,
    }
    if not any(y.requires_grad for y in expected):
        result = answer("forward", **request)
        assert_same_bits([result["outputs"][name] for name in traced.outputs], expected)
        return traced
    generator = torch.Generator().manual_seed(1)
    vectors = [torch.randn(y.shape, dtype=y.dtype, generator=generator) if y.requires_grad else None for y in expected]
    wrt = [name for name, x in zip(traced.inputs, leaves, strict=True) if x.requires_grad]
    sent = [None if v is None else base64_form(v) for v in vectors]
    result = answer("backward", **request, grad_tensors=sent, wrt=wrt)
    pairs = [(y, v) for y, v in zip(expected, vectors, strict=True) if v is not None]
    found = torch.autograd.grad([y for y, _ in pairs], roots, [v for _, v in pairs], allow_unused=True)
    assert_same_bits([result["outputs"][name] for name in traced.outputs], expected)
    zeros = [torch.zeros_like(x) if g is None else g for x, g in zip(roots, found, strict=True)]
    assert_same_bits([result["gradients"][name] for name in wrt], zeros)
    return traced


# Functions


def add_to_a_row(x: Tensor) -> Tensor:
    y = x * 2
    y[0].add_(1)
    return y


def put_by_index(x: Tensor, v: Tensor) -> Tensor:
    y = x.clone()
    y.index_put_((torch.tensor([0, 2]),), v, accumulate=True)
    return y


def add_to_the_input(x: Tensor) -> Tensor:
    x += 1
    return x * x


def fill_what_was_empty(x: Tensor) -> Tensor:
    y = torch.empty(4, dtype=x.dtype)
    y[1:] = x.sin()
    y[0] = 3.0
    return y * 2


def write_through_views(x: Tensor) -> tuple[Tensor, Tensor]:
    y = x.clone()
    z = y.view(2, 2).t()
    z.mul_(3)
    y[1:3].neg_()
    return y, z


def copy_with_broadcast_and_cast(x: Tensor) -> Tensor:
    y = torch.zeros(2, 3, dtype=F64)
    y.copy_(x.float())
    return y


def constants_inside(x: Tensor) -> Tensor:
    table = torch.tensor([1.0, 2.0, 4.0], dtype=F64)
    return x * table + torch.arange(3) - torch.eye(3, dtype=F64)[1] + torch.full((3,), 0.5)


def everything(x: Tensor) -> dict[str, Any]:
    return {"sin": x.sin(), "more": (x.cos(), [x.exp(), None]), "last": x.argmax()}


def conversions(x: Tensor) -> Tensor:
    return x.to(torch.float32).double() + x.half().to(x) + x.to(torch.bfloat16).float() + x.int() + x.type(F64)


def stopped(x: Tensor) -> Tensor:
    with torch.no_grad():
        scale = x.abs().max()
        parts = x.split(2)
    return x / scale + x.detach() * parts[0].sum()


def draws_that_are_thrown_away(x: Tensor) -> Tensor:
    torch.rand(3)
    return x * torch.rand_like(x)


def noise(x: Tensor) -> Tensor:
    z = torch.empty_like(x).normal_() + torch.empty(x.shape).uniform_(-1, 1)
    return x * z + torch.empty_like(x).bernoulli_(0.5)


def by_the_data(x: Tensor) -> Tensor:
    scale = float(x.detach().sum())
    return x * scale if x[0] > -100 else x


def loop_over_rows(x: Tensor) -> Tensor:
    return sum((row * i for i, row in enumerate(x)), torch.zeros(()))


def likelihood(x: Tensor, target: Tensor, variance: Tensor) -> Tensor:
    """It asks whether any variance is negative."""
    return F.gaussian_nll_loss(x, target, variance.exp())


def derivative_inside(x: Tensor) -> Tensor:
    x = x if x.requires_grad else x.requires_grad_()
    (slope,) = torch.autograd.grad((x**3).sum(), x, create_graph=True)
    return slope * x


ALIKE: dict[str, tuple[Callable[..., Any], tuple[Tensor, ...]]] = {
    "an identity": (lambda x: x, (real(2),)),
    "a chain of one operator": (lambda x: x.add(1).add(2).add(3), (real(2),)),
    "softmax": (lambda x: F.softmax(x, 1), (real(2, 3),)),
    "a product": (lambda x, w: x @ w + x.mT.sum(), (real(2, 3), real(3, 4))),
    "several values of one call": (lambda x: torch.linalg.svd(x, full_matrices=False).S, (real(3, 2),)),
    "a list of values": (lambda x: torch.cat(x.split([1, 2])[::-1]), (real(3),)),
    "a row changed in place": (add_to_a_row, (real(3, 2),)),
    "index_put_": (put_by_index, (real(3), real(2))),
    "the input changed in place": (add_to_the_input, (real(3),)),
    "relu_": (lambda x: F.relu_(x * 1), (real(4),)),
    "inplace=True": (lambda x: F.relu(x.clone(), inplace=True), (real(4),)),
    "empty memory, filled": (fill_what_was_empty, (real(3),)),
    "writes through views": (write_through_views, (real(4),)),
    "copy_ with broadcast and cast": (copy_with_broadcast_and_cast, (real(3),)),
    "masked_fill_": (lambda x: x.clone().masked_fill_(x > 0, 1.5), (real(4),)),
    "scatter_add_": (lambda x: torch.zeros(3, dtype=F64).scatter_add_(0, torch.tensor([1, 1]), x), (real(2),)),
    "constants made inside": (constants_inside, (real(3),)),
    "dicts, tuples and None": (everything, (real(3),)),
    "dtype conversions": (conversions, (real(3),)),
    "integers": (lambda i, x: x[i] * i, (torch.tensor([2, 0]), real(3))),
    "complex numbers": (lambda z: torch.fft.fft(z * (1 - 2j)).abs() + z.conj().imag, (cplx(4),)),
    "infinities": (lambda x: x.clamp(max=float("inf")).masked_fill(x > 0, float("-inf")), (real(4),)),
    "what has no history": (stopped, (real(4),)),
    "dropout": (lambda x: F.dropout(F.dropout(x, 0.5).relu(), 0.2), (real(40),)),
    "draws that are thrown away": (draws_that_are_thrown_away, (real(3),)),
    "noise of several kinds": (noise, (real(8),)),
    "gumbel_softmax": (lambda x: F.gumbel_softmax(x, 0.7), (real(2, 4),)),
    "fractional_max_pool2d": (lambda x: F.fractional_max_pool2d(x, 2, 3), (real(1, 2, 6, 6),)),
    "numbers of the data": (by_the_data, (real(3),)),
    "a loop over rows": (loop_over_rows, (real(3, 2),)),
    "a mask": (lambda x: x[x > 0].sum() + torch.nonzero(x).sum(), (real(5),)),
    "gaussian_nll_loss": (likelihood, (real(3), real(3), real(3))),
    "batch_norm in training": (lambda x: F.batch_norm(x, None, None, training=True), (real(4, 2),)),
    "interpolate": (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), (real(1, 1, 3, 3),)),
    "einsum": (lambda a, b: torch.einsum("ij,kj->ik", a, b), (real(2, 3), real(2, 3))),
    "a derivative inside": (derivative_inside, (real(3),)),
    "no input": (lambda: torch.ones(3) * 2, ()),
}


@pytest.mark.parametrize(("function", "examples"), ALIKE.values(), ids=ALIKE)
def test_a_trace_is_the_function(answer, function, examples):
    assert_alike(answer, function, *examples)


# Modules


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return make().double()


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3),
        nn.BatchNorm2d(2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(18, 3),
    )


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(4, 2, dropout=0.1)

    def forward(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        value, weights = self.inner(query, key, key)
        return value, weights


MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...]]] = {
    "MLP": (lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)), (real(5, 3),)),
    "LSTM": (lambda: nn.LSTM(3, 2), (real(5, 2, 3),)),
    "GRU of two layers both ways": (lambda: nn.GRU(3, 2, 2, bidirectional=True), (real(5, 2, 3),)),
    "MultiheadAttention": (Attention, (real(3, 1, 4), real(5, 1, 4))),
    "TransformerEncoderLayer": (lambda: nn.TransformerEncoderLayer(4, 2, 8), (real(3, 1, 4),)),
    "convolutions, batch norm, dropout": (convolutional, (real(4, 1, 8, 8),)),
    "embedding": (lambda: nn.Embedding(5, 3, padding_idx=1), (torch.tensor([[0, 1], [4, 4]]),)),
}


@pytest.mark.parametrize("is_training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(("make", "examples"), MODULES.values(), ids=MODULES)
def test_a_trace_of_a_module_is_the_module(answer, make, examples, is_training):
    module = seeded(make).train(is_training).requires_grad_(False)
    assert_alike(answer, module, *[x.requires_grad_() if x.is_floating_point() else x for x in examples])


def test_a_modules_parameters_are_inputs_where_they_are_arguments(answer):
    module = seeded(MODULES["MLP"][0])
    names = [name for name, _ in module.named_parameters()]

    def loss(x: Tensor, target: Tensor, *weights: Tensor) -> Tensor:
        predicted = torch.func.functional_call(module, dict(zip(names, weights, strict=True)), (x,))
        return F.mse_loss(predicted, target)

    traced = assert_alike(answer, loss, real(5, 3), real(5, 1), *[p.detach() for p in module.parameters()])
    assert len(traced.inputs) == 6
    assert [op for op in ops(traced) if op != "broadcast_tensors"] == ["linear", "relu", "linear", "mse_loss"]


def test_a_modules_parameters_are_constants_that_can_be_differentiated(answer):
    module = seeded(lambda: nn.Linear(3, 1))
    x = real(4, 3)
    traced = trace(lambda x: module(x).sum(), x)
    wrt = sorted(traced.graph["constants"])
    result = answer("backward", graph=traced.graph, inputs={"x": base64_form(x)}, wrt=wrt, encoding="base64")
    module(x).sum().backward()
    assert_same_bits(result["gradients"].values(), [p.grad for p in module.parameters()])


# What a trace is


def test_operators_stay_whole():
    """Recorded above autograd, not taken apart into what they are made of."""
    traced = trace(
        lambda x, w: F.cross_entropy(F.layer_norm(F.softmax(x @ w, 1), [3]), torch.tensor([0, 2])),
        real(2, 4),
        real(4, 3),
    )
    assert ops(traced) == ["matmul", "softmax", "layer_norm", "cross_entropy_loss"]


def test_mutation_becomes_functional_operators():
    assert ops(trace(add_to_a_row, real(3, 2))) == ["mul", "select", "add", "select_scatter"]


def test_inputs_and_outputs_have_names_in_the_functions_order():
    traced = trace(lambda a, b: (b * 2, a + 1), real(2), real(3))
    assert (traced.inputs, traced.outputs) == (["a", "b"], ["y0", "y1"])
    assert trace(lambda a: a * 2, real(2)).outputs == ["y"]
    assert traced.graph["inputs"] == {
        "a": {"dtype": "float64", "shape": [2]},
        "b": {"dtype": "float64", "shape": [3]},
    }


NAMED: dict[str, tuple[Callable[..., Any], list[str]]] = {
    "parameters": (lambda a, b: a + b, ["a", "b"]),
    "those of *args": (lambda a, *more: a + more[0], ["a", "more0"]),
    "names that the text form keeps": (lambda add, sub: add + sub, ["add", "sub"]),
    "none that Python knows": (torch.add, ["x0", "x1"]),
}


@pytest.mark.parametrize(("function", "names"), NAMED.values(), ids=NAMED)
def test_inputs_are_named_after_the_functions_parameters(answer, function, names):
    assert assert_alike(answer, function, real(2), real(2)).inputs == names


def test_keyword_arguments_are_inputs_of_their_names(answer):
    traced = trace(lambda x, scale: x * scale, real(2), kwargs={"scale": real(2)})
    assert traced.inputs == ["x", "scale"]
    assert answer("check", graph=traced.graph)["outputs"]["y"]["shape"] == [2]


def test_outputs_are_named_after_the_keys_of_a_dict():
    assert trace(lambda x: {"loss": x.sum(), "h": x * 2}, real(2)).outputs == ["loss", "h"]
    assert trace(everything, real(2)).outputs == ["y0", "y1", "y2", "y3"]


def test_what_is_not_used_is_not_written():
    assert ops(trace(lambda x: (x.exp(), x.sin())[1], real(2))) == ["sin"]


def test_the_examples_stay_as_they_were():
    x = real(3)
    before = x.clone()
    trace(add_to_the_input, x)
    assert torch.equal(x, before)
    assert not x.requires_grad


def test_the_random_numbers_of_the_caller_are_left_alone():
    before = torch.get_rng_state()
    trace(noise, real(4))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_trace_is_plain_json(answer):
    import json

    traced = trace(constants_inside, real(3))
    again = json.loads(json.dumps(traced.graph))
    assert again == traced.graph
    assert answer("check", graph=again)["outputs"]["y"]["shape"] == [3]


# What cannot be traced


WEIGHT = torch.ones(3, dtype=F64, requires_grad=True)


class WeightDoubled(torch.autograd.Function):
    """Right by its input, wrong by what it holds."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x * weight

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return gradient * weight, gradient * x * 2


class Centred(torch.autograd.Function):
    """Its gradient is wrong, and right where all grad_tensors are alike."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return gradient.mean().expand(3) * 2


def hooked(x: Tensor) -> Tensor:
    y = x * 2
    if y.requires_grad:
        y.register_hook(lambda gradient: gradient * 7)
    return y


HOOKED = torch.ones(3, dtype=F64, requires_grad=True)
HOOKED.register_hook(lambda gradient: gradient * 3)


def checkpointed_by_reentry(x: Tensor) -> Tensor:
    """PyTorch gives its gradient to backward() only, so that there is nothing to compare with."""
    return checkpoint(lambda t: t.sin() * 2, x if x.requires_grad else x.requires_grad_(), use_reentrant=True)


class Doubled(torch.autograd.Function):
    """A function with a derivative of its own."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return gradient * 7


BUFFER = torch.zeros(3, dtype=F64)


def changes_what_it_uses(x: Tensor) -> Tensor:
    BUFFER.add_(1)
    return x * BUFFER


def raises(x: Tensor) -> Tensor:
    raise ValueError("no data today")


def raises_nothing_in_words(x: Tensor) -> Tensor:
    raise AssertionError


UNTRACEABLE: dict[str, tuple[Callable[..., Any], str]] = {
    "a number": (lambda _: 3.0, "something else than tensors"),
    "a word among tensors": (lambda x: (x, "a"), "something else than tensors"),
    "an exception": (raises, "no data today"),
    "an exception without words": (raises_nothing_in_words, "AssertionError"),
    "an autograd.Function of one's own": (Doubled.apply, "autograd.Function"),
    "one that is wrong by a weight only": (lambda x: WeightDoubled.apply(x, WEIGHT), "autograd.Function"),
    "one that only uneven vectors tell": (Centred.apply, "autograd.Function"),
    "a hook": (hooked, "a hook"),
    "a hook on what it holds": (lambda x: x * HOOKED, "a hook"),
    "a reentrant checkpoint": (checkpointed_by_reentry, "no gradient to compare|own values"),
    "torch.func.grad": (lambda x: torch.func.grad(lambda t: (t**3).sum())(x), "torch.func.grad"),
    "torch.func.hessian": (lambda x: torch.func.hessian(lambda t: (t**3).sum())(x), "torch.func.grad"),
    "vmap": (lambda x: torch.vmap(lambda t: t.sin())(x), "vmap"),
    "a tensor from outside that changes": (changes_what_it_uses, "from outside|own values"),
    "a generator": (lambda x: x + torch.rand(3, generator=torch.Generator()), "Generator"),
    "a shape that does not fit": (lambda x: x @ torch.ones(7, dtype=F64), "size"),
    "a derivative that is lost": (
        lambda x: torch.from_numpy(x.detach().numpy()) * 2 if not x.requires_grad else x * 2,
        "gradient",
    ),
}


@pytest.mark.parametrize(("function", "says"), UNTRACEABLE.values(), ids=UNTRACEABLE)
def test_what_cannot_be_traced_is_refused_with_the_reason(function, says):
    with pytest.raises(TracingError, match=says) as caught:
        trace(function, real(3))
    assert isinstance(caught.value, PullbackError)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("parameters", ["constants", "inputs"])
def test_a_hook_on_a_parameter_is_refused(parameters):
    module = nn.Linear(3, 1).double()
    module.weight.register_hook(lambda gradient: gradient * 3)
    with pytest.raises(TracingError, match="a hook"):
        trace(module, real(3), parameters=parameters)


def test_what_cannot_be_written_without_mutation_is_refused():
    module = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 2).double())
    for parameters in ("constants", "inputs"):
        with pytest.raises(TracingError, match=r"own values|changes memory|cannot be recorded"):
            trace(module, real(2, 3), parameters=parameters)
    assert ops(trace(module.eval(), real(2, 3), parameters="inputs"))[-1] == "linear"


def fails_without_gradients(x: Tensor) -> Tensor:
    with torch.no_grad():
        raise ValueError("no data today")


def test_a_function_that_fails_leaves_the_callers_gradients_on():
    with pytest.raises(TracingError):
        trace(fails_without_gradients, real(3))
    assert torch.is_grad_enabled()
    with torch.no_grad():
        assert ops(trace(derivative_inside, real(3)))[-1] == "mul"
        assert not torch.is_grad_enabled()


class Halved(torch.autograd.Function):
    """The identity, with half its gradient."""

    @staticmethod
    def forward(_, x):
        return x.clone()

    @staticmethod
    def backward(_, gradient):
        return gradient / 2


class Nearly(torch.autograd.Function):
    """The identity, with a gradient that is off by less than a thousandth."""

    @staticmethod
    def forward(_, x):
        return x.clone()

    @staticmethod
    def backward(_, gradient):
        return gradient * 1.0009


@pytest.mark.parametrize(
    ("function", "examples"),
    [
        (lambda x: 1000 * x[0] + Halved.apply(x[1]), [torch.ones(2, dtype=torch.float64)]),
        (lambda x: Nearly.apply(x), [torch.ones(2, dtype=torch.float64)]),
        (lambda x, w: x * Halved.apply(w), [torch.ones(2).requires_grad_(), torch.ones(2)]),
    ],
    ids=["beside a large gradient", "by little", "in what requires no gradient"],
)
def test_a_custom_gradient_that_the_record_lacks_is_refused(function, examples):
    with pytest.raises(TracingError):
        trace(function, *examples)
