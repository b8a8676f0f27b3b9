"""Operators through the service against the same function written with torch's own Python API.

Torch is the same library in the same process, so values and gradients are compared bit for bit.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

STEP = 1e-6

_random = torch.Generator().manual_seed(20_231_107)


def real(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=_random)


def within(low: float, high: float, *shape: int) -> Tensor:
    return low + (high - low) * torch.rand(shape, dtype=torch.float64, generator=_random)


def positive(*shape: int) -> Tensor:
    return within(0.3, 2.5, *shape)


def cplx(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.complex128, generator=_random)


def whole(high: int, *shape: int) -> Tensor:
    return torch.randint(high, shape, generator=_random)


def mask(*shape: int) -> Tensor:
    return torch.rand(shape, generator=_random) > 0.5


def regular(size: int, *batch: int) -> Tensor:
    """Square matrices that are far from singular."""
    return real(*batch, size, size) + 3 * torch.eye(size, dtype=torch.float64)


def probabilities(*shape: int) -> Tensor:
    return torch.softmax(real(*shape), -1)


@dataclass(frozen=True, eq=False)
class Row:
    """A graph, and the function of the same inputs that it must be."""

    graph: str | dict[str, Any]
    function: Callable[..., Any]
    inputs: dict[str, Tensor]

    def reference(self) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """What torch gives, and its leaves: every floating or complex input."""
        inputs = {name: tensor.clone() for name, tensor in self.inputs.items()}
        leaves = {name: t.requires_grad_() for name, t in inputs.items() if t.is_floating_point() or t.is_complex()}
        return as_tuple(self.function(**inputs)), leaves

    def __str__(self) -> str:
        return self.graph if isinstance(self.graph, str) else "json: " + " ".join(n["op"] for n in self.graph["nodes"])


def as_tuple(value: Any) -> tuple[Tensor, ...]:
    return (value,) if isinstance(value, Tensor) else tuple(value)


def row(graph: str | dict[str, Any], function: Callable[..., Any], **inputs: Tensor) -> Row:
    return Row(graph, function, inputs)


def nodes(*calls: tuple[str, str, list[Any], dict[str, Any]], **rest: Any) -> dict[str, Any]:
    """A graph in JSON form: each call is (id, op, args, kwargs)."""
    return {"nodes": [dict(zip(("id", "op", "args", "kwargs"), call, strict=True)) for call in calls], **rest}


# The wire, read and written by hand


def full(tensor: Tensor) -> dict[str, Any]:
    """The full form, nested."""
    data = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return {
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "shape": list(tensor.shape),
        "data": data.tolist(),
    }


def send(tensors: dict[str, Tensor]) -> dict[str, Any]:
    return {name: full(tensor) for name, tensor in tensors.items()}


def decoded(value: dict[str, Any]) -> Tensor:
    """A base64 answer as a tensor."""
    raw = bytearray(base64.b64decode(value["data"], validate=True))
    dtype = getattr(torch, value["dtype"])
    flat = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
    return flat.reshape(value["shape"])


def bits(tensor: Tensor) -> tuple[torch.dtype, torch.Size, bytes]:
    dense = tensor.detach().resolve_conj().resolve_neg().contiguous()
    raw = dense.reshape(-1).view(torch.uint8).numpy().tobytes() if dense.numel() else b""
    return dense.dtype, dense.shape, raw


def assert_same_bits(got: dict[str, Any], expected: Tensor, what: str) -> None:
    tensor = decoded(got)
    assert bits(tensor) == bits(expected), f"{what}: got {tensor}, expected {expected}"


def cotangents(outputs: tuple[Tensor, ...]) -> list[Tensor | None]:
    """A random v for each output that has a gradient."""
    generator = torch.Generator().manual_seed(7)
    return [
        torch.randn(y.shape, dtype=y.dtype, generator=generator) if y.requires_grad else None for y in outputs
    ]


def pulled_back(
    outputs: tuple[Tensor, ...], leaves: dict[str, Tensor], seeds: list[Tensor | None]
) -> dict[str, Tensor]:
    """What torch.autograd.grad gives; zeros for a leaf that nothing depends on."""
    pairs = [(y, v) for y, v in zip(outputs, seeds, strict=True) if v is not None]
    roots, vectors = zip(*pairs, strict=True)
    found = torch.autograd.grad(roots, list(leaves.values()), vectors, allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
    }


def inner(a: Tensor, b: Tensor) -> float:
    """The real inner product, of complex tensors too."""
    return float((a.conj() * b).real.sum())


# The table

UNARY: dict[str, Callable[..., Tensor]] = {
    **dict.fromkeys(
        "abs absolute neg negative positive sign sgn sin cos tan sinh cosh tanh asinh arcsinh atan arctan exp exp2 "
        "expm1 square sigmoid relu selu erf erfc sinc floor ceil round trunc fix frac deg2rad rad2deg nan_to_num "
        "special.erf special.erfc special.erfcx special.expit special.i0 special.i0e special.i1 special.i1e "
        "special.ndtr special.log_ndtr special.sinc special.expm1 special.exp2 special.round i0".split(),
        real,
    ),
    **dict.fromkeys(
        "log log2 log10 log1p sqrt rsqrt reciprocal lgamma digamma acosh arccosh special.gammaln special.digamma "
        "special.psi special.log1p special.entr".split(),
        lambda *shape: within(1.2, 3.0, *shape),
    ),
    **dict.fromkeys(
        "asin arcsin acos arccos atanh arctanh erfinv special.erfinv".split(), lambda *shape: within(-0.9, 0.9, *shape)
    ),
    **dict.fromkeys(
        "logit special.logit special.ndtri".split(), lambda *shape: within(0.1, 0.9, *shape)
    ),
}
ACTIVATIONS = (
    "silu gelu elu celu selu leaky_relu softplus hardtanh hardswish hardsigmoid hardshrink softshrink mish relu6 "
    "logsigmoid sigmoid tanh relu".split()
)


def torch_function(name: str) -> Callable[..., Any]:
    module, _, plain = name.rpartition(".")
    return getattr(getattr(torch, module), plain) if module else getattr(torch, plain)


ELEMENTWISE = [
    *(row(f"y = {name}(x)", torch_function(name), x=sample(2, 3)) for name, sample in UNARY.items()),
    *(row(f"y = F.{name}(x)", getattr(F, name), x=2 * real(2, 3)) for name in ACTIVATIONS),
    row("y = F.gelu(x, approximate='tanh')", lambda x: F.gelu(x, approximate="tanh"), x=real(4)),
    row("y = F.elu(x, alpha=0.5)", lambda x: F.elu(x, alpha=0.5), x=real(4)),
    row("y = F.elu(x, 0.5)", lambda x: F.elu(x, 0.5), x=real(4)),
    row("y = F.celu(x, 0.5)", lambda x: F.celu(x, 0.5), x=real(4)),
    row("y = F.leaky_relu(x, negative_slope=0.2)", lambda x: F.leaky_relu(x, 0.2), x=real(4)),
    row("y = F.softplus(x, beta=2, threshold=1.5)", lambda x: F.softplus(x, beta=2, threshold=1.5), x=real(4)),
    row("y = F.hardtanh(x, -0.5, 0.25)", lambda x: F.hardtanh(x, -0.5, 0.25), x=real(4)),
    row("y = F.hardtanh(x, min_val=-0.5, max_val=0.25)", lambda x: F.hardtanh(x, -0.5, 0.25), x=real(4)),
    row("y = F.threshold(x, 0.1, 20)", lambda x: F.threshold(x, 0.1, 20), x=real(4)),
    row("y = F.glu(x, dim=1)", lambda x: F.glu(x, dim=1), x=real(2, 4)),
    row("y = F.prelu(x, w)", lambda x, w: F.prelu(x, w), x=real(2, 3), w=positive(3)),
    row("y = F.hardshrink(x, 0.3)", lambda x: F.hardshrink(x, 0.3), x=real(4)),
    row("y = F.softshrink(x, lambd=0.3)", lambda x: F.softshrink(x, lambd=0.3), x=real(4)),
    row("y = x + w", lambda x, w: x + w, x=real(2, 3), w=real(3)),
    row("y = x - w", lambda x, w: x - w, x=real(2, 1), w=real(3)),
    row("y = x * w", lambda x, w: x * w, x=real(2, 3), w=real(2, 1)),
    row("y = x / w", lambda x, w: x / w, x=real(2, 3), w=positive(3)),
    row("y = 2 + x", lambda x: 2 + x, x=real(3)),
    row("y = 2 - x", lambda x: 2 - x, x=real(3)),
    row("y = 2.5 * x", lambda x: 2.5 * x, x=real(3)),
    row("y = 1 / x", lambda x: 1 / x, x=positive(3)),
    row("y = x / 3", lambda x: x / 3, x=real(3)),
    row("y = x // 0.7", lambda x: x // 0.7, x=real(3)),
    row("y = x % 0.7", lambda x: x % 0.7, x=real(3)),
    row("y = 7 % x", lambda x: 7 % x, x=positive(3)),
    row("y = x % w", lambda x, w: x % w, x=real(3), w=positive(3)),
    row("y = -x + +x * 3", lambda x: -x + +x * 3, x=real(3)),
    row("y = add(x, w, alpha=2)", lambda x, w: torch.add(x, w, alpha=2), x=real(3), w=real(3)),
    row("y = sub(x, w, alpha=0.5)", lambda x, w: torch.sub(x, w, alpha=0.5), x=real(3), w=real(3)),
    row("y = rsub(x, w, alpha=2)", lambda x, w: torch.rsub(x, w, alpha=2), x=real(3), w=real(3)),
    row("y = x.add(1.5)", lambda x: x.add(1.5), x=real(3)),
    row("y = x.true_divide(w)", lambda x, w: x.true_divide(w), x=real(3), w=positive(3)),
    row("y = div(x, w, rounding_mode='floor')", lambda x, w: torch.div(x, w, rounding_mode="floor"), x=real(3), w=positive(3)),
    row("y = div(x, 0.3, rounding_mode='trunc')", lambda x: torch.div(x, 0.3, rounding_mode="trunc"), x=real(3)),
    row("y = fmod(x, w)", torch.fmod_ if False else lambda x, w: torch.fmod(x, w), x=real(3), w=positive(3)),
    row("y = remainder(x, 0.4)", lambda x: torch.remainder(x, 0.4), x=real(3)),
    row("y = x ** 2", lambda x: x**2, x=real(3)),
    row("y = x ** 3 + x ** 2.5 + x ** -1", lambda x: x**3 + x**2.5 + x**-1, x=positive(3)),
    row("y = 2 ** x", lambda x: 2**x, x=real(3)),
    row("y = x ** w", lambda x, w: x**w, x=positive(3), w=real(3)),
    row("y = pow(x, 2)", lambda x: torch.pow(x, 2), x=real(3)),
    row("y = pow(2.5, x)", lambda x: torch.pow(2.5, x), x=real(3)),
    row("y = pow(x, exponent=w)", lambda x, w: torch.pow(x, exponent=w), x=positive(2, 3), w=real(3)),
    row("y = x.pow(0.5)", lambda x: x.pow(0.5), x=positive(3)),
    row("y = float_power(x, 3)", lambda x: torch.float_power(x, 3), x=real(3)),
    row("y = atan2(x, w)", lambda x, w: torch.atan2(x, w), x=real(3), w=real(3)),
    row("y = hypot(x, w)", lambda x, w: torch.hypot(x, w), x=real(3), w=real(3)),
    row("y = copysign(x, w)", lambda x, w: torch.copysign(x, w), x=real(3), w=real(3)),
    row("y = copysign(x, -1)", lambda x: torch.copysign(x, -1), x=real(3)),
    row("y = maximum(x, w) + minimum(x, w) * 2", lambda x, w: torch.maximum(x, w) + torch.minimum(x, w) * 2, x=real(3), w=real(3)),
    row("y = max(x, w)", lambda x, w: torch.max(x, w), x=real(3), w=real(3)),
    row("y = fmax(x, w) - fmin(x, w)", lambda x, w: torch.fmax(x, w) - torch.fmin(x, w), x=real(3), w=real(3)),
    row("y = logaddexp(x, w) + logaddexp2(x, w)", lambda x, w: torch.logaddexp(x, w) + torch.logaddexp2(x, w), x=real(3), w=real(3)),
    row("y = xlogy(x, w)", lambda x, w: torch.xlogy(x, w), x=positive(3), w=positive(3)),
    row("y = special.xlog1py(x, w)", lambda x, w: torch.special.xlog1py(x, w), x=positive(3), w=positive(3)),
    row("y = special.zeta(x, w)", lambda x, w: torch.special.zeta(x.detach(), w), x=within(2.1, 3, 3), w=positive(3)) if False else
    row("y = special.multigammaln(x, 2)", lambda x: torch.special.multigammaln(x, 2), x=within(1.5, 3, 3)),
    row("y = special.polygamma(1, x)", lambda x: torch.special.polygamma(1, x), x=positive(3)),
    row("y = polygamma(2, x)", lambda x: torch.polygamma(2, x), x=positive(3)),
    row("y = x.polygamma(1)", lambda x: x.polygamma(1), x=positive(3)),
    row("y = mvlgamma(x, p=2)", lambda x: torch.mvlgamma(x, p=2), x=within(1.5, 3, 3)),
    row("y = special.logit(x, eps=0.05)", lambda x: torch.special.logit(x, eps=0.05), x=within(0.1, 0.9, 3)),
    row("y = lerp(x, w, 0.3)", lambda x, w: torch.lerp(x, w, 0.3), x=real(3), w=real(3)),
    row("y = lerp(x, w, t)", lambda x, w, t: torch.lerp(x, w, t), x=real(3), w=real(3), t=real(3)),
    row("y = addcmul(x, w, t, value=0.5)", lambda x, w, t: torch.addcmul(x, w, t, value=0.5), x=real(3), w=real(3), t=real(3)),
    row("y = addcdiv(x, w, t, value=2)", lambda x, w, t: torch.addcdiv(x, w, t, value=2), x=real(3), w=real(3), t=positive(3)),
    row("y = ldexp(x, k)", lambda x, k: torch.ldexp(x, k), x=real(3), k=whole(3, 3)),
    row("y = round(x, decimals=2)", lambda x: torch.round(x, decimals=2), x=real(3)),
    row("y = nan_to_num(1 / (x - x) * x, posinf=3.0)", lambda x: torch.nan_to_num(1 / (x - x) * x, posinf=3.0), x=real(0)),
    row("y = x.clone().contiguous().detach() * x", lambda x: x.clone().contiguous().detach() * x, x=real(3)) if False else
    row("y = x.clone().contiguous() * 2", lambda x: x.clone().contiguous() * 2, x=real(3)),
    row("y = dist(x, w)", lambda x, w: torch.dist(x, w), x=real(3), w=real(3)),
]
