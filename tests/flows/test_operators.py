"""Operators through the service against the same function written with torch's own Python API.

Torch is the same library in the same process, so values and gradients are compared bit for bit. Most of this module is
one table, a row a call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.flows.against_torch import (
    Draw,
    assert_gradients_of_torch,
    assert_values_of_torch,
    cotangents,
    decoded,
    nodes,
    pulled_back,
    request,
    row,
    send,
)
from torch import Tensor

STEP = 1e-6

_random = torch.Generator().manual_seed(20_231_107)
_draw = Draw(_random)
real, within, positive, cplx = _draw.real, _draw.within, _draw.positive, _draw.cplx
whole, mask, regular, probabilities = _draw.whole, _draw.mask, _draw.regular, _draw.probabilities


def inner(a: Tensor, b: Tensor) -> float:
    """The real inner product, of complex tensors too."""
    return float((a.conj() * b).real.sum())


def svd_product(a: Tensor) -> Tensor:
    u, s, vh = torch.linalg.svd(a, full_matrices=False)
    return u @ torch.diag(s) @ vh * s


# The table

ON_THE_LINE = """
abs absolute neg negative positive sign sgn sin cos tan sinh cosh tanh asinh arcsinh atan arctan exp exp2 expm1 square
sigmoid relu selu erf erfc sinc floor ceil round trunc fix frac deg2rad rad2deg nan_to_num i0 special.erf special.erfc
special.erfcx special.expit special.i0 special.i0e special.i1 special.i1e special.ndtr special.log_ndtr special.sinc
special.expm1 special.exp2 special.round
"""
ABOVE_ONE = """
log log2 log10 log1p sqrt rsqrt reciprocal lgamma digamma acosh arccosh special.gammaln special.digamma special.psi
special.log1p special.entr
"""
BELOW_ONE = "asin arcsin acos arccos atanh arctanh erfinv special.erfinv"
BETWEEN_0_AND_1 = "logit special.logit special.ndtri"
UNARY: dict[str, Callable[..., Tensor]] = {
    **dict.fromkeys(ON_THE_LINE.split(), real),
    **dict.fromkeys(ABOVE_ONE.split(), partial(within, 1.2, 3.0)),
    **dict.fromkeys(BELOW_ONE.split(), partial(within, -0.9, 0.9)),
    **dict.fromkeys(BETWEEN_0_AND_1.split(), partial(within, 0.1, 0.9)),
}
ACTIVATIONS = """
silu gelu elu celu selu leaky_relu softplus hardtanh hardswish hardsigmoid hardshrink softshrink mish relu6 logsigmoid
sigmoid tanh relu
"""


def torch_function(name: str) -> Callable[..., Any]:
    module, _, plain = name.rpartition(".")
    return getattr(getattr(torch, module), plain) if module else getattr(torch, plain)


ELEMENTWISE = [
    *(row(f"y = {name}(x)", torch_function(name), x=sample(2, 3)) for name, sample in UNARY.items()),
    *(row(f"y = F.{name}(x)", getattr(F, name), x=2 * real(2, 3)) for name in ACTIVATIONS.split()),
    row("y = F.gelu(x, approximate='tanh')", lambda x: F.gelu(x, approximate="tanh"), x=real(4)),
    row("y = F.elu(x, alpha=0.5)", lambda x: F.elu(x, alpha=0.5), x=real(4)),
    row("y = F.elu(x, 0.5)", lambda x: F.elu(x, 0.5), x=real(4)),
    row("y = F.elu(x, 1.0, False)", lambda x: F.elu(x, 1.0, False), x=real(4)),
    row("y = F.celu(x, 0.5)", lambda x: F.celu(x, 0.5), x=real(4)),
    row("y = F.leaky_relu(x, negative_slope=0.2)", lambda x: F.leaky_relu(x, 0.2), x=real(4)),
    row("y = F.softplus(x, beta=2, threshold=1.5)", lambda x: F.softplus(x, beta=2, threshold=1.5), x=real(4)),
    row("y = F.hardtanh(x, -0.5, 0.25)", lambda x: F.hardtanh(x, -0.5, 0.25), x=real(4)),
    row("y = F.hardtanh(x, min_val=-0.5, max_val=0.25)", lambda x: F.hardtanh(x, -0.5, 0.25), x=real(4)),
    row("y = F.threshold(x, 0.1, 20)", lambda x: F.threshold(x, 0.1, 20), x=real(4)),
    row("y = F.glu(x, dim=1)", lambda x: F.glu(x, dim=1), x=real(2, 4)),
    row("y = F.prelu(x, w)", lambda x, w: F.prelu(x, w), x=real(2, 3), w=positive(3)),
    row("y = F.prelu(x, weight=w)", lambda x, w: F.prelu(x, w), x=real(2, 3), w=positive(3)),
    row("y = F.hardshrink(x, 0.3)", lambda x: F.hardshrink(x, 0.3), x=real(4)),
    row("y = F.softshrink(x, lambd=0.3)", lambda x: F.softshrink(x, lambd=0.3), x=real(4)),
    row("y = x + w", lambda x, w: x + w, x=real(2, 3), w=real(3)),
    row("y = x - w", lambda x, w: x - w, x=real(2, 1), w=real(3)),
    row("y = x * w", lambda x, w: x * w, x=real(2, 3), w=real(2, 1)),
    row("y = x / w", lambda x, w: x / w, x=real(2, 3), w=positive(3)),
    row("y = 2 + x", lambda x: 2 + x, x=real(3)),
    row("y = 2 - x", lambda x: 2 - x, x=real(3)),
    row("y = 2.5 * x", lambda x: 2.5 * x, x=real(3)),
    # Python's 2 / x is reciprocal(x) * 2, which rounds otherwise than aten::div.
    row("y = 1 / x", lambda x: 1 / x, x=positive(3)),
    row("y = 2.5 / x", lambda x: 2.5 / x, x=positive(3)),
    row("y = div(2.5, x)", lambda x: torch.ops.aten.div(2.5, x), x=positive(3)),
    row("y = x * math.pi + torch.e", lambda x: x * math.pi + torch.e, x=real(3)),
    row("y = clamp(x, max=float('inf'))", lambda x: torch.clamp(x, max=float("inf")), x=real(3)),
    row("y = x / 3", lambda x: x / 3, x=real(3)),
    row("y = x % 0.7", lambda x: x % 0.7, x=real(3)),
    row("y = x % w", lambda x, w: x % w, x=real(3), w=positive(3)),
    row("y = -x + +x * 3", lambda x: -x + +x * 3, x=real(3)),
    row("y = (1 + 2j) * x", lambda x: (1 + 2j) * x, x=real(3)),
    row("y = add(x, w, alpha=2)", lambda x, w: torch.add(x, w, alpha=2), x=real(3), w=real(3)),
    row("y = sub(x, w, alpha=0.5)", lambda x, w: torch.sub(x, w, alpha=0.5), x=real(3), w=real(3)),
    row("y = rsub(x, w, alpha=2)", lambda x, w: torch.rsub(x, w, alpha=2), x=real(3), w=real(3)),
    row("y = rsub(x, 2)", lambda x: torch.rsub(x, 2), x=real(3)),
    row("y = x.add(1.5)", lambda x: x.add(1.5), x=real(3)),
    row("y = x.multiply(w)", lambda x, w: x.multiply(w), x=real(3), w=real(3)),
    row("y = x.true_divide(w)", lambda x, w: x.true_divide(w), x=real(3), w=positive(3)),
    row(
        "y = div(x, w, rounding_mode='floor')",
        lambda x, w: torch.div(x, w, rounding_mode="floor"),
        x=real(3),
        w=positive(3),
    ),
    row("y = div(x, 0.3, rounding_mode='trunc')", lambda x: torch.div(x, 0.3, rounding_mode="trunc"), x=real(3)),
    row("y = fmod(x, w)", lambda x, w: torch.fmod(x, w), x=real(3), w=positive(3)),
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
    row("y = arctan2(x, w)", lambda x, w: torch.arctan2(x, w), x=real(3), w=real(3)),
    row("y = hypot(x, w)", lambda x, w: torch.hypot(x, w), x=real(3), w=real(3)),
    row("y = copysign(x, w)", lambda x, w: torch.copysign(x, w), x=real(3), w=real(3)),
    row("y = copysign(x, -1)", lambda x: torch.copysign(x, -1), x=real(3)),
    row("y = maximum(x, w)", lambda x, w: torch.maximum(x, w), x=real(3), w=real(3)),
    row("y = minimum(x, w)", lambda x, w: torch.minimum(x, w), x=real(3), w=real(1)),
    row("y = max(x, w)", lambda x, w: torch.max(x, w), x=real(3), w=real(3)),
    row("y = fmax(x, w) - fmin(x, w)", lambda x, w: torch.fmax(x, w) - torch.fmin(x, w), x=real(3), w=real(3)),
    row("y = logaddexp(x, w)", lambda x, w: torch.logaddexp(x, w), x=real(3), w=real(3)),
    row("y = logaddexp2(x, w)", lambda x, w: torch.logaddexp2(x, w), x=real(3), w=real(3)),
    row("y = xlogy(x, w)", lambda x, w: torch.xlogy(x, w), x=positive(3), w=positive(3)),
    row("y = xlogy(2, x)", lambda x: torch.xlogy(2, x), x=positive(3)),
    row("y = special.xlogy(x, 2)", lambda x: torch.special.xlogy(x, 2), x=positive(3)),
    row("y = special.xlog1py(x, w)", lambda x, w: torch.special.xlog1py(x, w), x=positive(3), w=positive(3)),
    row("y = special.multigammaln(x, 2)", lambda x: torch.special.multigammaln(x, 2), x=within(1.5, 3, 3)),
    row("y = special.polygamma(1, x)", lambda x: torch.special.polygamma(1, x), x=positive(3)),
    row("y = polygamma(2, x)", lambda x: torch.polygamma(2, x), x=positive(3)),
    row("y = x.polygamma(1)", lambda x: x.polygamma(1), x=positive(3)),
    row("y = mvlgamma(x, p=2)", lambda x: torch.mvlgamma(x, p=2), x=within(1.5, 3, 3)),
    row("y = special.logit(x, eps=0.05)", lambda x: torch.special.logit(x, eps=0.05), x=within(0.1, 0.9, 3)),
    row("y = special.softmax(x, 1)", lambda x: torch.special.softmax(x, 1), x=real(2, 3)),
    row("y = special.log_softmax(x, dim=0)", lambda x: torch.special.log_softmax(x, dim=0), x=real(2, 3)),
    row("y = special.logsumexp(x, [0, 1])", lambda x: torch.special.logsumexp(x, (0, 1)), x=real(2, 3)),
    row(
        "y = special.gammainc(a, x)",
        lambda a, x: torch.special.gammainc(a, x),
        wrt=("x",),
        a=positive(3),
        x=positive(3),
    ),
    row("y = x.clone().contiguous() * w.detach()", lambda x, w: x * w.detach(), wrt=("x",), x=real(3), w=real(3)),
    row("y = nan_to_num(x, nan=2.0)", lambda x: torch.nan_to_num(x, nan=2.0), x=real(3)),
    row("y = lerp(x, w, 0.3)", lambda x, w: torch.lerp(x, w, 0.3), x=real(3), w=real(3)),
    row("y = lerp(x, w, t)", lambda x, w, t: torch.lerp(x, w, t), x=real(3), w=real(3), t=real(3)),
    row(
        "y = addcmul(x, w, t, value=0.5)",
        lambda x, w, t: torch.addcmul(x, w, t, value=0.5),
        x=real(3),
        w=real(3),
        t=real(3),
    ),
    row(
        "y = addcdiv(x, w, t, value=2)",
        lambda x, w, t: torch.addcdiv(x, w, t, value=2),
        x=real(3),
        w=real(3),
        t=positive(3),
    ),
    row("y = ldexp(x, k)", lambda x, k: torch.ldexp(x, k), x=real(3), k=whole(3, 3)),
    row("y = round(x, decimals=2)", lambda x: torch.round(x, decimals=2), x=real(3)),
    row("y = dist(x, w)", lambda x, w: torch.dist(x, w), x=real(3), w=real(3)),
    row("y = dist(x, w, p=1)", lambda x, w: torch.dist(x, w, p=1), x=real(3), w=real(3)),
    row("y = clamp(x, -0.5, 0.5)", lambda x: torch.clamp(x, -0.5, 0.5), x=real(5)),
    row("y = x.clamp(min=0)", lambda x: x.clamp(min=0), x=real(5)),
    row("y = clamp(x, max=0.3)", lambda x: torch.clamp(x, max=0.3), x=real(5)),
    row(
        "y = clamp(x, min=lo, max=hi)",
        lambda x, lo, hi: torch.clamp(x, min=lo, max=hi),
        x=real(5),
        lo=-positive(5),
        hi=positive(1),
    ),
    row("y = clamp(x, lo)", lambda x, lo: torch.clamp(x, lo), x=real(5), lo=real(5)),
    row("y = clip(x, min=None, max=0.1)", lambda x: torch.clip(x, min=None, max=0.1), x=real(5)),
    row(
        "y = clamp_min(x, 0.1) + clamp_max(x, 0.1)",
        lambda x: torch.clamp_min(x, 0.1) + torch.clamp_max(x, 0.1),
        x=real(5),
    ),
    row("y = x.clamp_min(w)", lambda x, w: x.clamp_min(w), x=real(5), w=real(5)),
    row("y = where(x > 0, x, 0)", lambda x: torch.where(x > 0, x, 0), x=real(5)),
    row("y = where(x > 0, 1.5, x)", lambda x: torch.where(x > 0, 1.5, x), x=real(5)),
    row("y = where(m, x, w)", lambda m, x, w: torch.where(m, x, w), m=mask(2, 3), x=real(2, 3), w=real(3)),
    row("y = where(0 < x, x * 2, -x)", lambda x: torch.where(x > 0, x * 2, -x), x=real(5)),
    row(
        "y = where((x > -1) & (x <= 1), x.sin(), 0.0)",
        lambda x: torch.where((x > -1) & (x <= 1), x.sin(), 0.0),
        x=real(5),
    ),
    row("y = x.where(x > w, w)", lambda x, w: x.where(x > w, w), x=real(5), w=real(5)),
    row("y = (x > 0) * x", lambda x: (x > 0) * x, x=real(5)),
    row("y = x * (w == w)", lambda x, w: x * (w == w), x=real(5), w=real(5)),
    row("y = frexp(x).mantissa", lambda x: torch.frexp(x).mantissa, x=real(3)),
]

REDUCTIONS = [
    row("y = x.sum()", lambda x: x.sum(), x=real(2, 3)),
    row("y = sum(x, 1)", lambda x: torch.sum(x, 1), x=real(2, 3)),
    row("y = sum(x, dim=[0, 2], keepdim=True)", lambda x: torch.sum(x, dim=(0, 2), keepdim=True), x=real(2, 3, 4)),
    row("y = sum(x, (0, 1))", lambda x: torch.sum(x, (0, 1)), x=real(2, 3, 4)),
    row("y = sum(x, axis=-1)", lambda x: torch.sum(x, axis=-1), x=real(2, 3)),
    row("y = x.sum(axis=(0, 1), keepdims=True)", lambda x: torch.sum(x, axis=(0, 1), keepdims=True), x=real(2, 3)),
    row("y = sum(input=x, dim=0)", lambda x: torch.sum(input=x, dim=0), x=real(2, 3)),
    row("y = mean(x)", lambda x: torch.mean(x), x=real(2, 3)),
    row("y = x.mean(axis=0, keepdims=True)", lambda x: x.mean(axis=0, keepdims=True), x=real(2, 3)),
    row("y = x.mean(dim=(0, 1))", lambda x: x.mean(dim=(0, 1)), x=real(2, 3)),
    row("y = x.mean([-2, -1])", lambda x: x.mean([-2, -1]), x=real(2, 3, 4)),
    row("y = prod(x)", lambda x: torch.prod(x), x=real(2, 3)),
    row("y = x.prod(dim=1, keepdim=True)", lambda x: x.prod(dim=1, keepdim=True), x=real(2, 3)),
    row("y = std(x)", lambda x: torch.std(x), x=real(2, 3)),
    row("y = x.std(0)", lambda x: x.std(0), x=real(2, 3)),
    row("y = std(x, dim=1, correction=0)", lambda x: torch.std(x, dim=1, correction=0), x=real(2, 3)),
    row("y = std(x, dim=1, keepdim=True)", lambda x: torch.std(x, dim=1, keepdim=True), x=real(2, 3)),
    row("y = var(x, unbiased=False)", lambda x: torch.var(x, unbiased=False), x=real(2, 3)),
    row("y = x.var(dim=[0, 1], unbiased=True)", lambda x: x.var(dim=(0, 1), unbiased=True), x=real(2, 3)),
    row("v, m = var_mean(x, dim=1); return v, m", lambda x: torch.var_mean(x, dim=1), x=real(2, 3)),
    row(
        "s = std_mean(x, 0, unbiased=False); return {'a': s[0], 'b': s[1]}",
        lambda x: torch.std_mean(x, 0, unbiased=False),
        x=real(2, 3),
    ),
    row("y = logsumexp(x, 1)", lambda x: torch.logsumexp(x, 1), x=real(2, 3)),
    row(
        "y = logsumexp(x, dim=(0, 1), keepdim=True)",
        lambda x: torch.logsumexp(x, dim=(0, 1), keepdim=True),
        x=real(2, 3),
    ),
    row("y = x.amax(dim=[0, 1])", lambda x: x.amax(dim=(0, 1)), x=real(2, 3)),
    row("y = amin(x, 1, keepdim=True)", lambda x: torch.amin(x, 1, keepdim=True), x=real(2, 3)),
    row("y = x.amax()", lambda x: x.amax(), x=real(2, 3)),
    row("a, b = aminmax(x, dim=0); return a, b", lambda x: torch.aminmax(x, dim=0), x=real(2, 3)),
    row("y = x.max()", lambda x: x.max(), x=real(2, 3)),
    row("y = min(x)", lambda x: torch.min(x), x=real(2, 3)),
    row("y = median(x)", lambda x: torch.median(x), x=real(5)),
    row("y = nansum(x, 1)", lambda x: torch.nansum(x, 1), x=real(2, 3)),
    row("y = nanmean(x)", lambda x: torch.nanmean(x), x=real(2, 3)),
    row("y = quantile(x, 0.3)", lambda x: torch.quantile(x, 0.3), x=real(5)),
    row(
        "y = quantile(x, 0.5, dim=1, keepdim=True, interpolation='midpoint')",
        lambda x: torch.quantile(x, 0.5, dim=1, keepdim=True, interpolation="midpoint"),
        x=real(2, 4),
    ),
    row("y = count_nonzero(x) * x", lambda x: torch.count_nonzero(x) * x, x=real(4)),
    row("y = norm(x)", lambda x: torch.norm(x), x=real(2, 3)),
    row("y = x.norm()", lambda x: x.norm(), x=real(2, 3)),
    row("y = x.norm(1)", lambda x: x.norm(1), x=real(2, 3)),
    row("y = x.norm(p=3, dim=1)", lambda x: x.norm(p=3, dim=1), x=real(2, 3)),
    row("y = norm(x, dim=1)", lambda x: torch.norm(x, dim=1), x=real(2, 3)),
    row("y = norm(x, 2, -1, True)", lambda x: torch.norm(x, 2, -1, True), x=real(2, 3)),
    row("y = norm(x, p='fro')", lambda x: torch.norm(x, p="fro"), x=real(2, 3)),
    row("y = cov(x)", lambda x: torch.cov(x), x=real(2, 5)),
    row("y = corrcoef(x)", lambda x: torch.corrcoef(x), x=real(2, 5)),
    row("y = trace(x)", lambda x: torch.trace(x), x=real(3, 3)),
    row("y = trapezoid(x, dx=0.5)", lambda x: torch.trapezoid(x, dx=0.5), x=real(5)),
    row("y = trapezoid(x, w)", lambda x, w: torch.trapezoid(x, w), x=real(5), w=real(5)),
    row("y = cumsum(x, 0)", lambda x: torch.cumsum(x, 0), x=real(2, 3)),
    row("y = x.cumsum(axis=1)", lambda x: x.cumsum(axis=1), x=real(2, 3)),
    row("y = cumprod(x, dim=-1)", lambda x: torch.cumprod(x, dim=-1), x=real(2, 3)),
    row("y = logcumsumexp(x, dim=1)", lambda x: torch.logcumsumexp(x, dim=1), x=real(2, 3)),
    row("y = cumulative_trapezoid(x)", lambda x: torch.cumulative_trapezoid(x), x=real(5)),
    row("y = diff(x)", lambda x: torch.diff(x), x=real(5)),
    row("y = diff(x, n=2, dim=0)", lambda x: torch.diff(x, n=2, dim=0), x=real(4, 2)),
    row("a, b = gradient(x); return a, b", lambda x: torch.gradient(x), x=real(3, 4)),
    row(
        "a, b = gradient(x, spacing=[2.0, 3.0]); return a, b",
        lambda x: torch.gradient(x, spacing=[2.0, 3.0]),
        x=real(3, 4),
    ),
    row("m = x.cummax(1); return {'v': m.values, 'i': m.indices}", lambda x: x.cummax(1), x=real(2, 3)),
    row("y = cummin(x, dim=0).values", lambda x: torch.cummin(x, dim=0).values, x=real(3, 2)),
]

SORTED = [
    row("m = max(x, dim=1); return {'v': m.values, 'i': m.indices}", lambda x: torch.max(x, dim=1), x=real(2, 3)),
    row("y = x.max(0).values", lambda x: x.max(0).values, x=real(2, 3)),
    row("v, i = min(x, 1, keepdim=True); return v, i", lambda x: torch.min(x, 1, keepdim=True), x=real(2, 3)),
    row("y = max(x, axis=1, keepdims=True).values", lambda x: torch.max(x, axis=1, keepdims=True).values, x=real(2, 3)),
    row("t = topk(x, 2); return {'v': t.values, 'i': t.indices}", lambda x: torch.topk(x, 2), x=real(2, 4)),
    row(
        "v, i = x.topk(k=2, dim=0, largest=False, sorted=True); return v, i",
        lambda x: x.topk(k=2, dim=0, largest=False),
        x=real(4, 2),
    ),
    row(
        "s = sort(x, dim=0, descending=True); return {'v': s.values, 'i': s.indices}",
        lambda x: torch.sort(x, dim=0, descending=True),
        x=real(4, 2),
    ),
    row("y = sort(x)[0]", lambda x: torch.sort(x)[0], x=real(4)),
    row("y = sort(x, stable=True).values", lambda x: torch.sort(x, stable=True).values, x=real(4)),
    row("y = msort(x)", lambda x: torch.msort(x), x=real(4, 2)),
    row("y = median(x, dim=1).values", lambda x: torch.median(x, dim=1).values, x=real(2, 5)),
    row("y = kthvalue(x, 2).values", lambda x: torch.kthvalue(x, 2).values, x=real(2, 5)),
    row("y = mode(x, 0).values", lambda x: torch.mode(x, 0).values, x=real(3, 2)),
    row(
        "i = argsort(x, dim=1); y = gather(x, 1, i)",
        lambda x: torch.gather(x, 1, torch.argsort(x, dim=1)),
        x=real(2, 4),
    ),
    row(
        nodes(
            ("m", "max", ["$x"], {"dim": 0}),
            ("y", "mul", ["$m.values", "$m.0"], {}),
            outputs={"y": "$y", "where": "$m.indices"},
        ),
        lambda x: (x.max(0).values * x.max(0).values, x.max(0).indices),
        x=real(3, 2),
    ),
]

PRODUCTS = [
    row("y = x @ w", lambda x, w: x @ w, x=real(2, 3), w=real(3, 4)),
    row("y = matmul(x, w)", lambda x, w: torch.matmul(x, w), x=real(5, 2, 3), w=real(3, 4)),
    row("y = x.matmul(w)", lambda x, w: x.matmul(w), x=real(3), w=real(3)),
    row("y = mm(x, w)", lambda x, w: torch.mm(x, w), x=real(2, 3), w=real(3, 4)),
    row("y = mm(x, mat2=w)", lambda x, w: torch.mm(x, mat2=w), x=real(2, 3), w=real(3, 4)),
    row("y = bmm(x, w)", lambda x, w: torch.bmm(x, w), x=real(5, 2, 3), w=real(5, 3, 4)),
    row("y = mv(x, w)", lambda x, w: torch.mv(x, w), x=real(2, 3), w=real(3)),
    row("y = dot(x, w)", lambda x, w: torch.dot(x, w), x=real(3), w=real(3)),
    row("y = vdot(x, w)", lambda x, w: torch.vdot(x, w), x=cplx(3), w=cplx(3)),
    row("y = inner(x, w)", lambda x, w: torch.inner(x, w), x=real(2, 3), w=real(4, 3)),
    row("y = outer(x, w)", lambda x, w: torch.outer(x, w), x=real(2), w=real(3)),
    row("y = ger(x, w)", lambda x, w: torch.ger(x, w), x=real(2), w=real(3)),
    row("y = kron(x, w)", lambda x, w: torch.kron(x, w), x=real(2, 2), w=real(2, 3)),
    row("y = einsum('ij,jk->ik', x, w)", lambda x, w: torch.einsum("ij,jk->ik", x, w), x=real(2, 3), w=real(3, 4)),
    row("y = einsum('ij,jk', [x, w])", lambda x, w: torch.einsum("ij,jk", [x, w]), x=real(2, 3), w=real(3, 4)),
    row(
        "y = einsum('bij,bjk,k->bi', x, w, t)",
        lambda x, w, t: torch.einsum("bij,bjk,k->bi", x, w, t),
        x=real(2, 3, 4),
        w=real(2, 4, 5),
        t=real(5),
    ),
    row("y = einsum('ii', x)", lambda x: torch.einsum("ii", x), x=real(3, 3)),
    row("y = einsum('...i,i->...', x, w)", lambda x, w: torch.einsum("...i,i->...", x, w), x=real(2, 3, 4), w=real(4)),
    row(
        nodes(("y", "einsum", ["ij,kj->ik", ["$x", "$w"]], {})),
        lambda x, w: torch.einsum("ij,kj->ik", x, w),
        x=real(2, 3),
        w=real(4, 3),
    ),
    row(
        nodes(("y", "torch.einsum", ["ij,kj->ik", "$x", "$w"], {})),
        lambda x, w: torch.einsum("ij,kj->ik", x, w),
        x=real(2, 3),
        w=real(4, 3),
    ),
    row("y = F.linear(x, w, b)", lambda x, w, b: F.linear(x, w, b), x=real(2, 3), w=real(4, 3), b=real(4)),
    row("y = F.linear(x, w)", lambda x, w: F.linear(x, w), x=real(5, 2, 3), w=real(4, 3)),
    row(
        "y = F.linear(input=x, weight=w, bias=b)", lambda x, w, b: F.linear(x, w, b), x=real(3), w=real(4, 3), b=real(4)
    ),
    row(
        "y = F.bilinear(x, w, a, b)",
        lambda x, w, a, b: F.bilinear(x, w, a, b),
        x=real(2, 3),
        w=real(2, 4),
        a=real(5, 3, 4),
        b=real(5),
    ),
    row("y = addmm(b, x, w)", lambda b, x, w: torch.addmm(b, x, w), b=real(4), x=real(2, 3), w=real(3, 4)),
    row(
        "y = addmm(b, x, w, beta=0.5, alpha=2)",
        lambda b, x, w: torch.addmm(b, x, w, beta=0.5, alpha=2),
        b=real(2, 4),
        x=real(2, 3),
        w=real(3, 4),
    ),
    row("y = addmv(b, x, w)", lambda b, x, w: torch.addmv(b, x, w), b=real(2), x=real(2, 3), w=real(3)),
    row("y = addr(b, x, w, alpha=3)", lambda b, x, w: torch.addr(b, x, w, alpha=3), b=real(2, 3), x=real(2), w=real(3)),
    row(
        "y = baddbmm(b, x, w)",
        lambda b, x, w: torch.baddbmm(b, x, w),
        b=real(5, 2, 4),
        x=real(5, 2, 3),
        w=real(5, 3, 4),
    ),
    row("y = addbmm(b, x, w)", lambda b, x, w: torch.addbmm(b, x, w), b=real(2, 4), x=real(5, 2, 3), w=real(5, 3, 4)),
    row("y = tensordot(x, w, dims=1)", lambda x, w: torch.tensordot(x, w, dims=1), x=real(2, 3), w=real(3, 4)),
    row("y = tensordot(x, w, 2)", lambda x, w: torch.tensordot(x, w, 2), x=real(2, 3, 4), w=real(3, 4, 5)),
    row(
        "y = tensordot(x, w, dims=([1, 2], [1, 0]))",
        lambda x, w: torch.tensordot(x, w, dims=([1, 2], [1, 0])),
        x=real(2, 3, 4),
        w=real(4, 3),
    ),
    row("y = tensordot(x, w, [1], [0])", lambda x, w: torch.tensordot(x, w, ([1], [0])), x=real(2, 3), w=real(3, 4)),
    row(
        "y = chain_matmul(x, w, t)",
        lambda x, w, t: torch.linalg.multi_dot([x, w, t]),
        x=real(2, 3),
        w=real(3, 4),
        t=real(4, 2),
    ),
    row(
        "y = linalg.multi_dot([x, w, t])",
        lambda x, w, t: torch.linalg.multi_dot([x, w, t]),
        x=real(2, 3),
        w=real(3, 4),
        t=real(4, 2),
    ),
    row("y = cross(x, w, dim=-1)", lambda x, w: torch.cross(x, w, dim=-1), x=real(2, 3), w=real(2, 3)),
    row("y = cdist(x, w)", lambda x, w: torch.cdist(x, w), x=real(3, 2), w=real(4, 2)),
    row("y = cdist(x, w, p=1.0)", lambda x, w: torch.cdist(x, w, p=1.0), x=real(3, 2), w=real(4, 2)),
    row("y = matrix_power(x, 3)", lambda x: torch.matrix_power(x, 3), x=real(3, 3)),
    row("y = block_diag(x, w)", lambda x, w: torch.block_diag(x, w), x=real(2, 2), w=real(1, 3)),
]

BAGS = {"i": torch.tensor([0, 2, 3, 3, 1]), "w": real(4, 2), "o": torch.tensor([0, 2, 2])}
GRID = {"x": real(1, 2, 4, 4), "g": within(-0.9, 0.9, 1, 3, 3, 2)}
SPEECH = {"p": torch.log_softmax(real(5, 2, 4), -1), "t": torch.tensor([[1, 3, 2], [2, 1, 0]])}
POOLED, PLACES = F.max_pool2d(real(1, 2, 4, 4), 2, return_indices=True)

GUARDED = [
    # In torch.nn.functional's own order and words; test_guarded_operators.py has the operators themselves.
    row(
        "y = F.batch_norm(x, m, v)",
        lambda x, m, v: F.batch_norm(x, m, v),
        wrt=("x",),
        x=real(4, 3),
        m=real(3),
        v=positive(3),
    ),
    row(
        "y = F.batch_norm(x, m, v, w, b, True, 0.2, 1e-3)",
        lambda x, m, v, w, b: F.batch_norm(x, m, v, w, b, True, 0.2, 1e-3),
        wrt=("x", "w", "b"),
        x=real(4, 3, 2),
        m=real(3),
        v=positive(3),
        w=real(3),
        b=real(3),
    ),
    row(
        "y = F.batch_norm(x, None, None, weight=w, training=True)",
        lambda x, w: F.batch_norm(x, None, None, weight=w, training=True),
        x=real(4, 3),
        w=real(3),
    ),
    row("y = F.instance_norm(x)", lambda x: F.instance_norm(x), x=real(2, 3, 4)),
    row(
        "y = F.instance_norm(x, m, v, w, b, False, eps=1e-3)",
        lambda x, m, v, w, b: F.instance_norm(x, m, v, w, b, False, eps=1e-3),
        wrt=("x", "w", "b"),
        x=real(2, 3, 4),
        m=real(3),
        v=positive(3),
        w=real(3),
        b=real(3),
    ),
    row("y = F.grid_sample(x, g)", lambda x, g: F.grid_sample(x, g, align_corners=False), **GRID),
    row(
        "y = F.grid_sample(x, g, 'bicubic', 'border', True)",
        lambda x, g: F.grid_sample(x, g, "bicubic", "border", True),
        **GRID,
    ),
    row(
        "y = F.grid_sample(x, g, mode='bilinear', padding_mode='reflection', align_corners=True)",
        lambda x, g: F.grid_sample(x, g, mode="bilinear", padding_mode="reflection", align_corners=True),
        **GRID,
    ),
    row(
        "y = grid_sampler(x, g, 'nearest', 'zeros', False)",
        lambda x, g: torch.grid_sampler(x, g, 1, 0, False),
        wrt=("x",),
        **GRID,
    ),
    row(
        "y = F.affine_grid(t, [1, 1, 2, 3])",
        lambda t: F.affine_grid(t, [1, 1, 2, 3], align_corners=False),
        t=real(1, 2, 3),
    ),
    row("y = F.pdist(x)", lambda x: F.pdist(x), x=real(4, 2)),
    row("e = F.embedding_bag(i, w, o); y = e[0]", lambda i, w, o: F.embedding_bag(i, w, o), **BAGS),
    row(
        "e = F.embedding_bag(i, w, offsets=o, mode='sum', per_sample_weights=s, padding_idx=1); y = e[0]",
        lambda i, w, o, s: F.embedding_bag(i, w, offsets=o, mode="sum", per_sample_weights=s, padding_idx=1),
        **BAGS,
        s=real(5),
    ),
    row(
        "e = F.embedding_bag(i, w, o, mode='max', include_last_offset=False); y = e[0]",
        lambda i, w, o: F.embedding_bag(i, w, o, mode="max"),
        **BAGS,
    ),
    row(
        "y = F.max_unpool2d(x, i, 2, 2, 0, [4, 4])",
        lambda x, i: F.max_unpool2d(x, i, 2, 2, 0, [4, 4]),
        x=POOLED,
        i=PLACES,
    ),
    row(
        "y = F.max_unpool2d(x, i, kernel_size=2, output_size=(4, 4))",
        lambda x, i: F.max_unpool2d(x, i, kernel_size=2, output_size=(4, 4)),
        x=POOLED,
        i=PLACES,
    ),
]

SPEECH_LOSSES = [
    # The gradient takes the log-probabilities to add up to one, as they do behind log_softmax.
    row(
        "y = F.ctc_loss(p, t, [5, 4], [3, 2])",
        lambda p, t: F.ctc_loss(p, t, [5, 4], [3, 2]),
        **SPEECH,
    ),
    row(
        "y = F.ctc_loss(p, t, n, s, 0, 'none', True)",
        lambda p, t, n, s: F.ctc_loss(p, t, n, s, 0, "none", True),
        **SPEECH,
        n=torch.tensor([5, 4]),
        s=torch.tensor([3, 2]),
    ),
]

NETWORKS = [
    row("y = softmax(x, dim=-1)", lambda x: torch.softmax(x, dim=-1), x=real(2, 3)),
    row("y = x.softmax(0)", lambda x: x.softmax(0), x=real(2, 3)),
    row("y = F.softmax(x, dim=1)", lambda x: F.softmax(x, dim=1), x=real(2, 3)),
    row("y = F.log_softmax(x, 1)", lambda x: F.log_softmax(x, 1), x=real(2, 3)),
    row("y = log_softmax(x, axis=0)", lambda x: torch.log_softmax(x, 0), x=real(2, 3)),
    row(
        "y = F.layer_norm(x, [3], w, b)", lambda x, w, b: F.layer_norm(x, [3], w, b), x=real(2, 3), w=real(3), b=real(3)
    ),
    row(
        "y = F.layer_norm(x, normalized_shape=(2, 3), eps=1e-3)",
        lambda x: F.layer_norm(x, (2, 3), eps=1e-3),
        x=real(4, 2, 3),
    ),
    row("y = layer_norm(x, [3], weight=w)", lambda x, w: F.layer_norm(x, [3], weight=w), x=real(2, 3), w=real(3)),
    row(
        "y = F.group_norm(x, 2, w, b)", lambda x, w, b: F.group_norm(x, 2, w, b), x=real(2, 4, 3), w=real(4), b=real(4)
    ),
    row("y = group_norm(x, num_groups=1, eps=0.1)", lambda x: F.group_norm(x, num_groups=1, eps=0.1), x=real(2, 4, 3)),
    row("y = F.rms_norm(x, [3], w)", lambda x, w: F.rms_norm(x, [3], w), x=real(2, 3), w=real(3)),
    row("y = F.cross_entropy(x, t)", lambda x, t: F.cross_entropy(x, t), x=real(4, 3), t=whole(3, 4)),
    row(
        "y = F.cross_entropy(x, t, reduction='sum')",
        lambda x, t: F.cross_entropy(x, t, reduction="sum"),
        x=real(4, 3),
        t=whole(3, 4),
    ),
    row(
        "y = cross_entropy(x, t, reduction='none')",
        lambda x, t: F.cross_entropy(x, t, reduction="none"),
        x=real(4, 3),
        t=whole(3, 4),
    ),
    row(
        "y = F.cross_entropy(x, t, w, label_smoothing=0.1)",
        wrt=("x",),
        function=lambda x, t, w: F.cross_entropy(x, t, w, label_smoothing=0.1),
        x=real(4, 3),
        t=whole(3, 4),
        w=positive(3),
    ),
    row(
        "y = F.cross_entropy(x, t, weight=w, ignore_index=1)",
        wrt=("x",),
        function=lambda x, t, w: F.cross_entropy(x, t, weight=w, ignore_index=1),
        x=real(6, 3),
        t=torch.tensor([0, 1, 2, 0, 1, 2]),
        w=positive(3),
    ),
    row(
        "y = F.cross_entropy(x, t)  # class probabilities",
        lambda x, t: F.cross_entropy(x, t),
        x=real(4, 3),
        t=probabilities(4, 3),
    ),
    row(
        "y = F.nll_loss(log_softmax(x, 1), t)",
        lambda x, t: F.nll_loss(torch.log_softmax(x, 1), t),
        x=real(4, 3),
        t=whole(3, 4),
    ),
    row(
        "y = F.nll_loss(x, t, w, reduction='sum')",
        wrt=("x",),
        function=lambda x, t, w: F.nll_loss(x, t, w, reduction="sum"),
        x=real(4, 3),
        t=whole(3, 4),
        w=positive(3),
    ),
    row(
        "y = nll_loss(x, t, ignore_index=0)  # images",
        lambda x, t: F.nll_loss(x, t, ignore_index=0),
        x=real(2, 3, 2, 2),
        t=1 + whole(2, 2, 2, 2),
    ),
    row("y = F.mse_loss(x, t)", lambda x, t: F.mse_loss(x, t), x=real(2, 3), t=real(2, 3)),
    row(
        "y = F.mse_loss(x, t, reduction='none')",
        lambda x, t: F.mse_loss(x, t, reduction="none"),
        x=real(2, 3),
        t=real(2, 3),
    ),
    row(
        "y = mse_loss(input=x, target=t, reduction='sum')",
        lambda x, t: F.mse_loss(x, t, reduction="sum"),
        x=real(2, 3),
        t=real(2, 3),
    ),
    row("y = F.l1_loss(x, t)", lambda x, t: F.l1_loss(x, t), x=real(2, 3), t=real(2, 3)),
    row(
        "y = F.smooth_l1_loss(x, t, beta=0.5)",
        lambda x, t: F.smooth_l1_loss(x, t, beta=0.5),
        x=real(2, 3),
        t=real(2, 3),
    ),
    row("y = F.huber_loss(x, t, delta=0.5)", lambda x, t: F.huber_loss(x, t, delta=0.5), x=real(2, 3), t=real(2, 3)),
    row("y = F.huber_loss(x, t, 'sum', 0.5)", lambda x, t: F.huber_loss(x, t, "sum", 0.5), x=real(2, 3), t=real(2, 3)),
    row(
        "y = F.ctc_loss(log_softmax(x, 2), t, [6, 5], [3, 2])",
        lambda x, t: F.ctc_loss(torch.log_softmax(x, 2), t, [6, 5], [3, 2]),
        x=real(6, 2, 4),
        t=torch.tensor([[1, 2, 3], [3, 3, 0]]),
    ),
    row(
        "y = ctc_loss(log_softmax(x, 2), t, n, m, reduction='sum', zero_infinity=True)  # targets in one row",
        lambda x, t, n, m: F.ctc_loss(torch.log_softmax(x, 2), t, n, m, reduction="sum", zero_infinity=True),
        x=real(6, 2, 4),
        t=torch.tensor([1, 2, 3, 3, 3]),
        n=torch.tensor([6, 3]),
        m=torch.tensor([3, 2]),
    ),
    row(
        "y = F.kl_div(x, t, reduction='sum')",
        lambda x, t: F.kl_div(x, t, reduction="sum"),
        x=real(2, 3),
        t=probabilities(2, 3),
    ),
    row(
        "y = F.kl_div(x, t, reduction='none', log_target=True)",
        lambda x, t: F.kl_div(x, t, reduction="none", log_target=True),
        x=real(2, 3),
        t=real(2, 3),
    ),
    row(
        "y = F.binary_cross_entropy(x, t)",
        lambda x, t: F.binary_cross_entropy(x, t),
        x=within(0.1, 0.9, 4),
        t=within(0.1, 0.9, 4),
    ),
    row(
        "y = F.binary_cross_entropy_with_logits(x, t, pos_weight=w)",
        wrt=("x",),
        function=lambda x, t, w: F.binary_cross_entropy_with_logits(x, t, pos_weight=w),
        x=real(4),
        t=within(0, 1, 4),
        w=positive(4),
    ),
    row(
        "y = F.binary_cross_entropy_with_logits(x, t, w, reduction='sum')",
        wrt=("x",),
        function=lambda x, t, w: F.binary_cross_entropy_with_logits(x, t, w, reduction="sum"),
        x=real(4),
        t=within(0, 1, 4),
        w=positive(4),
    ),
    row(
        "y = F.soft_margin_loss(x, t)",
        wrt=("x",),
        function=lambda x, t: F.soft_margin_loss(x, t),
        x=real(4),
        t=real(4).sign(),
    ),
    row(
        "y = F.hinge_embedding_loss(x, t, margin=0.5)",
        lambda x, t: F.hinge_embedding_loss(x, t, margin=0.5),
        wrt=("x",),
        x=real(4),
        t=real(4).sign(),
    ),
    row(
        "y = F.margin_ranking_loss(x, w, t, margin=0.2)",
        lambda x, w, t: F.margin_ranking_loss(x, w, t, margin=0.2),
        x=real(4),
        w=real(4),
        t=real(4).sign(),
    ),
    row(
        "y = F.cosine_embedding_loss(x, w, t, margin=0.2)",
        lambda x, w, t: F.cosine_embedding_loss(x, w, t, margin=0.2),
        x=real(4, 3),
        w=real(4, 3),
        t=torch.tensor([1, -1, 1, -1]),
    ),
    row(
        "y = F.triplet_margin_loss(x, w, t, margin=2.0)",
        lambda x, w, t: F.triplet_margin_loss(x, w, t, margin=2.0),
        x=real(4, 3),
        w=real(4, 3),
        t=real(4, 3),
    ),
    row("y = F.multi_margin_loss(x, t)", lambda x, t: F.multi_margin_loss(x, t), x=real(4, 3), t=whole(3, 4)),
    row("y = F.poisson_nll_loss(x, t)", lambda x, t: F.poisson_nll_loss(x, t), x=real(4), t=positive(4)),
    row(
        "y = F.cosine_similarity(x, w, dim=1)",
        lambda x, w: F.cosine_similarity(x, w, dim=1),
        x=real(2, 3),
        w=real(2, 3),
    ),
    row("y = F.pairwise_distance(x, w)", lambda x, w: F.pairwise_distance(x, w), x=real(2, 3), w=real(2, 3)),
    row("y = F.embedding(i, w)", lambda i, w: F.embedding(i, w), i=whole(5, 2, 3), w=real(5, 4)),
    row("y = F.conv1d(x, w)", lambda x, w: F.conv1d(x, w), x=real(2, 3, 8), w=real(4, 3, 3)),
    row(
        "y = F.conv1d(x, w, b, stride=2, padding=1, dilation=2)",
        lambda x, w, b: F.conv1d(x, w, b, stride=2, padding=1, dilation=2),
        x=real(2, 3, 8),
        w=real(4, 3, 3),
        b=real(4),
    ),
    row("y = F.conv2d(x, w, b)", lambda x, w, b: F.conv2d(x, w, b), x=real(2, 3, 5, 5), w=real(4, 3, 3, 3), b=real(4)),
    row(
        "y = conv2d(x, w, None, 2, 1)",
        lambda x, w: torch.conv2d(x, w, None, 2, 1),
        x=real(1, 3, 5, 5),
        w=real(4, 3, 3, 3),
    ),
    row(
        "y = F.conv2d(x, w, stride=(2, 1), padding=[1, 0])",
        lambda x, w: F.conv2d(x, w, stride=(2, 1), padding=[1, 0]),
        x=real(1, 3, 5, 5),
        w=real(4, 3, 3, 3),
    ),
    row(
        "y = F.conv2d(x, w, padding='same')",
        lambda x, w: F.conv2d(x, w, padding="same"),
        x=real(1, 3, 5, 5),
        w=real(4, 3, 3, 3),
    ),
    row(
        "y = F.conv2d(x, w, padding=1, groups=2)",
        lambda x, w: F.conv2d(x, w, padding=1, groups=2),
        x=real(1, 4, 5, 5),
        w=real(6, 2, 3, 3),
    ),
    row("y = F.conv3d(x, w)", lambda x, w: F.conv3d(x, w), x=real(1, 2, 3, 4, 4), w=real(2, 2, 2, 2, 2)),
    row(
        "y = F.conv_transpose1d(x, w, stride=2)",
        lambda x, w: F.conv_transpose1d(x, w, stride=2),
        x=real(2, 3, 4),
        w=real(3, 2, 3),
    ),
    row(
        "y = F.conv_transpose2d(x, w, b)",
        lambda x, w, b: F.conv_transpose2d(x, w, b),
        x=real(1, 3, 3, 3),
        w=real(3, 2, 2, 2),
        b=real(2),
    ),
    row(
        "y = F.conv_transpose2d(x, w, stride=2, padding=1, output_padding=1)",
        lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1, output_padding=1),
        x=real(1, 3, 3, 3),
        w=real(3, 2, 3, 3),
    ),
    row("y = F.max_pool1d(x, 2)", lambda x: F.max_pool1d(x, 2), x=real(2, 3, 6)),
    row("y = F.max_pool2d(x, 2)", lambda x: F.max_pool2d(x, 2), x=real(1, 2, 4, 6)),
    row(
        "y = F.max_pool2d(x, kernel_size=3, stride=1, padding=1)",
        lambda x: F.max_pool2d(x, kernel_size=3, stride=1, padding=1),
        x=real(1, 2, 4, 4),
    ),
    row("y = F.avg_pool1d(x, 2)", lambda x: F.avg_pool1d(x, 2), x=real(2, 3, 6)),
    row("y = F.avg_pool2d(x, (2, 3), stride=1)", lambda x: F.avg_pool2d(x, (2, 3), stride=1), x=real(1, 2, 4, 4)),
    row(
        "y = F.avg_pool2d(x, 3, padding=1, count_include_pad=False)",
        lambda x: F.avg_pool2d(x, 3, padding=1, count_include_pad=False),
        x=real(1, 2, 4, 4),
    ),
    row("y = F.adaptive_avg_pool2d(x, 2)", lambda x: F.adaptive_avg_pool2d(x, 2), x=real(1, 2, 5, 5)),
    row(
        "y = F.adaptive_avg_pool1d(x, output_size=3)",
        lambda x: F.adaptive_avg_pool1d(x, output_size=3),
        x=real(1, 2, 7),
    ),
    row("y = F.adaptive_max_pool2d(x, 2)[0]", lambda x: F.adaptive_max_pool2d(x, 2), x=real(1, 2, 5, 5)),
    row("y = F.max_pool2d_with_indices(x, 2)[0]", lambda x: F.max_pool2d(x, 2), x=real(1, 2, 4, 4)),
    row("y = F.unfold(x, kernel_size=2)", lambda x: F.unfold(x, kernel_size=2), x=real(1, 2, 3, 3)),
    row("y = F.unfold(x, 2, 1, 1)", lambda x: F.unfold(x, 2, 1, 1), x=real(1, 2, 3, 3)),
    row("y = F.fold(x, (3, 3), (2, 2))", lambda x: F.fold(x, (3, 3), (2, 2)), x=real(1, 8, 4)),
    row("y = F.pixel_shuffle(x, 2)", lambda x: F.pixel_shuffle(x, 2), x=real(1, 4, 2, 2)),
    row("y = F.pixel_unshuffle(x, downscale_factor=2)", lambda x: F.pixel_unshuffle(x, 2), x=real(1, 1, 4, 4)),
    row(
        "y = F.scaled_dot_product_attention(q, k, v)",
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v),
        q=real(1, 2, 3, 4),
        k=real(1, 2, 5, 4),
        v=real(1, 2, 5, 4),
    ),
    row(
        "y = F.scaled_dot_product_attention(q, k, v, is_causal=True)",
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        q=real(2, 3, 4),
        k=real(2, 3, 4),
        v=real(2, 3, 4),
    ),
    row(
        "y = F.scaled_dot_product_attention(q, k, v, attn_mask=m, scale=0.3)",
        lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, attn_mask=m, scale=0.3),
        q=real(1, 2, 3, 4),
        k=real(1, 2, 5, 4),
        v=real(1, 2, 5, 4),
        m=real(3, 5),
    ),
    row(
        "y = F.scaled_dot_product_attention(q, k, v, m)",
        lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m),
        q=real(1, 2, 3, 4),
        k=real(1, 2, 3, 4),
        v=real(1, 2, 3, 4),
        m=torch.ones(3, 3, dtype=torch.bool).tril(),
    ),
]

LINALG = [
    row("y = linalg.solve(a, b)", lambda a, b: torch.linalg.solve(a, b), a=regular(3), b=real(3)),
    row("y = torch.linalg.solve(a, B=b)", lambda a, b: torch.linalg.solve(a, b), a=regular(3, 2), b=real(2, 3, 4)),
    row(
        "y = linalg.solve(A=a, B=b, left=False)",
        lambda a, b: torch.linalg.solve(a, b, left=False),
        a=regular(3),
        b=real(2, 3),
    ),
    row("y = linalg.inv(a)", lambda a: torch.linalg.inv(a), a=regular(3)),
    row("y = a.inverse()", lambda a: a.inverse(), a=regular(3, 2)),
    row("y = linalg.det(a)", lambda a: torch.linalg.det(a), a=regular(3, 2)),
    row("y = det(a)", lambda a: torch.det(a), a=regular(3)),
    row("y = logdet(a @ a.mT)", lambda a: torch.logdet(a @ a.mT), a=regular(3)),
    row(
        "s = linalg.slogdet(a); return {'s': s.sign, 'l': s.logabsdet}", lambda a: torch.linalg.slogdet(a), a=regular(3)
    ),
    row("s, l = slogdet(a); return s, l", lambda a: torch.slogdet(a), a=regular(3, 2)),
    row("y = linalg.cholesky(a @ a.mT)", lambda a: torch.linalg.cholesky(a @ a.mT), a=regular(3)),
    row("y = linalg.cholesky(a @ a.T, upper=True)", lambda a: torch.linalg.cholesky(a @ a.T, upper=True), a=regular(3)),
    row("y = cholesky(a @ a.mT)", lambda a: torch.linalg.cholesky(a @ a.mT), a=regular(3)),
    row(
        "y = cholesky_solve(b, linalg.cholesky(a @ a.mT))",
        lambda a, b: torch.cholesky_solve(b, torch.linalg.cholesky(a @ a.mT)),
        a=regular(3),
        b=real(3, 2),
    ),
    row("y = cholesky_inverse(tril(a))", lambda a: torch.cholesky_inverse(torch.tril(a)), a=regular(3)),
    row(
        "y = linalg.solve_triangular(a, b, upper=False)",
        lambda a, b: torch.linalg.solve_triangular(a, b, upper=False),
        a=regular(3).tril(),
        b=real(3, 2),
    ),
    row("f = linalg.qr(a); return {'q': f.Q, 'r': f.R}", lambda a: torch.linalg.qr(a), a=real(4, 3)),
    row("q, r = linalg.qr(a, mode='reduced'); return q, r", lambda a: torch.linalg.qr(a), a=real(3, 3)),
    row("y = linalg.svdvals(a)", lambda a: torch.linalg.svdvals(a), a=real(4, 3)),
    row("f = linalg.svd(a, full_matrices=False); y = f.U @ diag(f.S) @ f.Vh * f.S", svd_product, a=real(4, 3)),
    row("y = linalg.eigvalsh(a + a.mT)", lambda a: torch.linalg.eigvalsh(a + a.mT), a=real(3, 3)),
    row("e = linalg.eigh(a + a.T); y = e.eigenvalues", lambda a: torch.linalg.eigh(a + a.T).eigenvalues, a=real(3, 3)),
    row(
        "e = linalg.eigh(a + a.T); y = e.eigenvectors ** 2",
        lambda a: torch.linalg.eigh(a + a.T).eigenvectors ** 2,
        a=real(3, 3),
    ),
    row("y = linalg.eigvals(a)", lambda a: torch.linalg.eigvals(a), a=real(3, 3)),
    row("y = linalg.norm(x)", lambda x: torch.linalg.norm(x), x=real(2, 3)),
    row("y = linalg.norm(x, ord=1, dim=1)", lambda x: torch.linalg.norm(x, ord=1, dim=1), x=real(2, 3)),
    row("y = linalg.norm(x, 'nuc')", lambda x: torch.linalg.norm(x, "nuc"), x=real(2, 3)),
    row("y = linalg.vector_norm(x, 3, dim=-1)", lambda x: torch.linalg.vector_norm(x, 3, dim=-1), x=real(2, 3)),
    row(
        "y = linalg.vector_norm(x, ord='Infinity')",
        lambda x: torch.linalg.vector_norm(x, ord=float("inf")),
        x=real(2, 3),
    ),
    row("y = linalg.matrix_norm(x)", lambda x: torch.linalg.matrix_norm(x), x=real(2, 3)),
    row("y = linalg.matrix_norm(x, 2)", lambda x: torch.linalg.matrix_norm(x, 2), x=real(2, 3)),
    row("y = linalg.matrix_exp(a)", lambda a: torch.linalg.matrix_exp(a), a=real(3, 3)),
    row("y = matrix_exp(a)", lambda a: torch.matrix_exp(a), a=real(2, 3, 3)),
    row("y = linalg.matrix_power(a, -2)", lambda a: torch.linalg.matrix_power(a, -2), a=regular(3)),
    row("y = linalg.pinv(a)", lambda a: torch.linalg.pinv(a), a=real(4, 3)),
    row("y = pinverse(a)", lambda a: torch.pinverse(a), a=real(4, 3)),
    row("p, l, u = linalg.lu(a); return l, u", lambda a: torch.linalg.lu(a)[1:], a=regular(3)),
    row(
        "f = linalg.lu_factor(a); y = linalg.lu_solve(f.LU, f.pivots, b)",
        lambda a, b: torch.linalg.lu_solve(*torch.linalg.lu_factor(a), b),
        a=regular(3),
        b=real(3, 2),
    ),
    row(
        "y = linalg.tensorsolve(reshape(a, 2, 3, 6), b)",
        lambda a, b: torch.linalg.tensorsolve(a.reshape(2, 3, 6), b),
        a=regular(6),
        b=real(2, 3),
    ),
    row("y = linalg.cond(a)", lambda a: torch.linalg.cond(a), a=regular(3)),
    row("y = linalg.cross(x, w)", lambda x, w: torch.linalg.cross(x, w), x=real(2, 3), w=real(2, 3)),
    row("y = linalg.vecdot(x, w)", lambda x, w: torch.linalg.vecdot(x, w), x=real(2, 3), w=real(2, 3)),
    row("y = linalg.diagonal(x, offset=1)", lambda x: torch.linalg.diagonal(x, offset=1), x=real(3, 3)),
]

COMPLEX = [
    row("y = fft.fft(x)", lambda x: torch.fft.fft(x), x=cplx(5)),
    row("y = fft.fft(x, n=8, norm='ortho')", lambda x: torch.fft.fft(x, n=8, norm="ortho"), x=real(5)),
    row("y = fft.ifft(x, dim=0)", lambda x: torch.fft.ifft(x, dim=0), x=cplx(4, 2)),
    row("y = fft.rfft(x)", lambda x: torch.fft.rfft(x), x=real(6)),
    row("y = torch.fft.rfft(x, dim=0)", lambda x: torch.fft.rfft(x, dim=0), x=real(5, 2)),
    row("y = fft.irfft(x)", lambda x: torch.fft.irfft(x), x=cplx(4)),
    row("y = fft.irfft(x, n=5)", lambda x: torch.fft.irfft(x, n=5), x=cplx(3)),
    row(
        "y = fft.irfft(fft.rfft(x) * w, n=6)",
        lambda x, w: torch.fft.irfft(torch.fft.rfft(x) * w, n=6),
        x=real(6),
        w=cplx(4),
    ),
    row("y = fft.fft2(x)", lambda x: torch.fft.fft2(x), x=cplx(3, 4)),
    row("y = fft.rfft2(x)", lambda x: torch.fft.rfft2(x), x=real(3, 4)),
    row("y = fft.fftn(x, dim=(0, 2))", lambda x: torch.fft.fftn(x, dim=(0, 2)), x=real(2, 3, 4)),
    row("y = fft.fftn(x, s=[4])", lambda x: torch.fft.fftn(x, s=[4]), x=real(2, 3)),
    row("y = fft.hfft(x)", lambda x: torch.fft.hfft(x), x=cplx(4)),
    row("y = fft.fftshift(x)", lambda x: torch.fft.fftshift(x), x=real(5)),
    row("y = fft.fftshift(x, dim=1)", lambda x: torch.fft.fftshift(x, dim=1), x=real(2, 5)),
    row("y = x * w + x / w", lambda x, w: x * w + x / w, x=cplx(3), w=cplx(3)),
    row("y = x * 1j", lambda x: x * 1j, x=cplx(3)),
    row("y = 2j ** x", lambda x: 2j**x, x=real(3)),
    row("y = abs(x)", lambda x: torch.abs(x), x=cplx(3)),
    row("y = angle(x)", lambda x: torch.angle(x), x=cplx(3)),
    row("y = x.conj() * x", lambda x: x.conj() * x, x=cplx(3)),
    row("y = conj(x)", lambda x: torch.conj(x), x=cplx(3)),
    row("y = x.real + x.imag", lambda x: x.real + x.imag, x=cplx(3)),
    row("y = real(x) * imag(x)", lambda x: torch.real(x) * torch.imag(x), x=cplx(3)),
    row("y = view_as_real(x)", lambda x: torch.view_as_real(x), x=cplx(3)),
    row("y = view_as_complex(x)", lambda x: torch.view_as_complex(x), x=real(3, 2)),
    row("y = complex(x, w)", lambda x, w: torch.complex(x, w), x=real(3), w=real(3)),
    row("y = polar(x, w)", lambda x, w: torch.polar(x, w), x=positive(3), w=real(3)),
    row("y = exp(x) + log(x) + sqrt(x)", lambda x: torch.exp(x) + torch.log(x) + torch.sqrt(x), x=cplx(3)),
    row("y = sin(x) * tanh(x)", lambda x: torch.sin(x) * torch.tanh(x), x=cplx(3)),
    row("y = x ** 2 + x ** 0.5", lambda x: x**2 + x**0.5, x=cplx(3)),
    row("y = sgn(x)", lambda x: torch.sgn(x), x=cplx(3)),
    row("y = x @ w.H", lambda x, w: x @ w.H, x=cplx(2, 3), w=cplx(4, 3)),
    row("y = x.mH @ x", lambda x: x.mH @ x, x=cplx(2, 3, 2)),
    row("y = linalg.solve(a, b)  # complex", lambda a, b: torch.linalg.solve(a, b), a=cplx(3, 3), b=cplx(3)),
    row("y = linalg.eigvalsh(a + a.mH)", lambda a: torch.linalg.eigvalsh(a + a.mH), a=cplx(3, 3)),
    row("y = x.sum()", lambda x: x.sum(), x=cplx(2, 3)),
    row("y = prod(x)", lambda x: torch.prod(x), x=cplx(3)),
]

INDEXING = [
    row("y = index_select(x, 0, i)", lambda x, i: torch.index_select(x, 0, i), x=real(4, 2), i=torch.tensor([2, 0, 2])),
    row("y = x.index_select(dim=1, index=i)", lambda x, i: x.index_select(1, i), x=real(2, 4), i=torch.tensor([3, 1])),
    row("y = gather(x, 1, i)", lambda x, i: torch.gather(x, 1, i), x=real(2, 4), i=whole(4, 2, 3)),
    row(
        "y = scatter(x, 1, i, w)",
        lambda x, i, w: torch.scatter(x, 1, i, w),
        x=real(2, 4),
        i=torch.tensor([[0, 2], [3, 1]]),
        w=real(2, 2),
    ),
    row(
        "y = scatter(x, 1, i, 2.5)",
        lambda x, i: torch.scatter(x, 1, i, 2.5),
        x=real(2, 4),
        i=torch.tensor([[0, 2], [3, 1]]),
    ),
    row(
        "y = scatter(x, dim=1, index=i, src=w)",
        lambda x, i, w: torch.scatter(x, dim=1, index=i, src=w),
        x=real(2, 4),
        i=torch.tensor([[0, 2], [3, 1]]),
        w=real(2, 2),
    ),
    row(
        "y = scatter_add(x, 0, i, w)",
        lambda x, i, w: torch.scatter_add(x, 0, i, w),
        x=real(3, 2),
        i=whole(3, 4, 2),
        w=real(4, 2),
    ),
    row(
        "y = scatter_reduce(x, 0, i, w, reduce='amax')",
        lambda x, i, w: torch.scatter_reduce(x, 0, i, w, reduce="amax"),
        x=real(3),
        i=whole(3, 5),
        w=real(5),
    ),
    row(
        "y = scatter_reduce(x, 0, i, w, 'mean', include_self=False)",
        lambda x, i, w: torch.scatter_reduce(x, 0, i, w, "mean", include_self=False),
        x=real(3),
        i=whole(3, 5),
        w=real(5),
    ),
    row(
        "y = index_add(x, 0, i, w, alpha=2)",
        lambda x, i, w: torch.index_add(x, 0, i, w, alpha=2),
        x=real(3, 2),
        i=torch.tensor([2, 0, 2]),
        w=real(3, 2),
    ),
    row(
        "y = index_copy(x, 0, i, w)",
        lambda x, i, w: torch.index_copy(x, 0, i, w),
        x=real(3, 2),
        i=torch.tensor([2, 0]),
        w=real(2, 2),
    ),
    row(
        "y = index_fill(x, 1, i, -1)", lambda x, i: torch.index_fill(x, 1, i, -1), x=real(2, 3), i=torch.tensor([2, 0])
    ),
    row(
        "y = index_put(x, [i], w)",
        lambda x, i, w: torch.index_put(x, [i], w),
        x=real(4),
        i=torch.tensor([2, 0]),
        w=real(2),
    ),
    row(
        "y = index_put(x, (i, j), w, accumulate=True)",
        lambda x, i, j, w: torch.index_put(x, (i, j), w, accumulate=True),
        x=real(3, 3),
        i=torch.tensor([2, 0, 2]),
        j=torch.tensor([1, 1, 1]),
        w=real(3),
    ),
    row(
        "y = index_put(x, [m], w)",
        lambda x, m, w: torch.index_put(x, [m], w),
        x=real(4),
        m=torch.tensor([True, False, True, True]),
        w=real(1),
    ),
    row(
        "y = take_along_dim(x, i, dim=1)",
        lambda x, i: torch.take_along_dim(x, i, dim=1),
        x=real(2, 4),
        i=whole(4, 2, 2),
    ),
    row("y = take_along_dim(x, i)", lambda x, i: torch.take_along_dim(x, i), x=real(2, 4), i=whole(8, 3)),
    row("y = take(x, i)", lambda x, i: torch.take(x, i), x=real(2, 4), i=whole(8, 2, 3)),
    row("y = masked_fill(x, x > 0, 1.5)", lambda x: torch.masked_fill(x, x > 0, 1.5), x=real(2, 3)),
    row(
        "y = x.masked_fill(m, '-Infinity').softmax(-1)",
        lambda x, m: x.masked_fill(m, float("-inf")).softmax(-1),
        x=real(2, 3),
        m=torch.tensor([False, True, False]),
    ),
    row("y = x.masked_fill(m, w)", lambda x, m, w: x.masked_fill(m, w), x=real(2, 3), m=mask(2, 3), w=real()),
    row("y = masked_scatter(x, m, w)", lambda x, m, w: torch.masked_scatter(x, m, w), x=real(4), m=mask(4), w=real(4)),
    row(
        "y = masked_select(x, m)",
        lambda x, m: torch.masked_select(x, m),
        x=real(2, 3),
        m=torch.tensor([True, False, True]),
    ),
    row("y = x[x > 0]", lambda x: x[x > 0], x=torch.cat([real(8), positive(1)])),
    row("y = x[m]", lambda x, m: x[m], x=real(4, 2), m=torch.tensor([True, False, True, True])),
    row("y = x[:, m] * 2", lambda x, m: x[:, m] * 2, x=real(2, 4), m=torch.tensor([True, False, True, True])),
    row("y = x[i]", lambda x, i: x[i], x=real(4, 2), i=torch.tensor([[2, 0], [2, 1]])),
    row("y = x[i, j]", lambda x, i, j: x[i, j], x=real(4, 2), i=torch.tensor([2, 0, 3]), j=torch.tensor([1, 0, 1])),
    row("y = x[:, i]", lambda x, i: x[:, i], x=real(2, 4), i=torch.tensor([2, 0])),
    row("y = x[0, i]", lambda x, i: x[0, i], x=real(2, 4), i=torch.tensor([2, 0])),
    row("y = x[i, 1:]", lambda x, i: x[i, 1:], x=real(2, 4), i=torch.tensor([1, 0])),
    row("y = x[0]", lambda x: x[0], x=real(3, 2)),
    row("y = x[-1, 0]", lambda x: x[-1, 0], x=real(3, 2)),
    row("y = x[1:3, None]", lambda x: x[1:3, None], x=real(4, 2)),
    row("y = x[..., 0]", lambda x: x[..., 0], x=real(2, 3, 4)),
    row("y = x[:, ::2, -1]", lambda x: x[:, ::2, -1], x=real(2, 3, 4)),
    row("y = x[None, ..., None, :2]", lambda x: x[None, ..., None, :2], x=real(2, 3, 4)),
    row("y = x[-2:]", lambda x: x[-2:], x=real(4)),
    row("y = x[[2, 0, 2]]", lambda x: x[[2, 0, 2]], x=real(4)),
    row("y = x[1:] - x[:-1]", lambda x: x[1:] - x[:-1], x=real(4)),
    row("y = select(x, 1, -1)", lambda x: torch.select(x, 1, -1), x=real(2, 3)),
    row("y = x.narrow(1, 1, 2)", lambda x: x.narrow(1, 1, 2), x=real(2, 4)),
    row("y = select_scatter(x, w, 0, 1)", lambda x, w: torch.select_scatter(x, w, 0, 1), x=real(3, 2), w=real(2)),
    row("y = diagonal_scatter(x, w)", lambda x, w: torch.diagonal_scatter(x, w), x=real(3, 3), w=real(3)),
    row(
        "i = nonzero(x > 0); y = x[i[:, 0]]",
        lambda x: x[torch.nonzero(x > 0)[:, 0]],
        x=torch.cat([real(6), positive(1)]),
    ),
]

SHAPES = [
    row("y = reshape(x, [3, -1])", lambda x: torch.reshape(x, [3, -1]), x=real(2, 6)),
    row("y = x.reshape(4, 3)", lambda x: x.reshape(4, 3), x=real(2, 6)),
    row("y = x.reshape(-1)", lambda x: x.reshape(-1), x=real(2, 3)),
    row("y = reshape(x, shape=(3, 2))", lambda x: torch.reshape(x, (3, 2)), x=real(2, 3)),
    row("y = x.view(3, -1)", lambda x: x.view(3, -1), x=real(2, 3)),
    row("y = x.view(-1)", lambda x: x.view(-1), x=real(2, 3)),
    row("y = x.view([6])", lambda x: x.view([6]), x=real(2, 3)),
    row("y = x.permute(2, 0, 1)", lambda x: x.permute(2, 0, 1), x=real(2, 3, 4)),
    row("y = permute(x, (1, 0))", lambda x: torch.permute(x, (1, 0)), x=real(2, 3)),
    row("y = permute(x, dims=[1, 0])", lambda x: torch.permute(x, dims=[1, 0]), x=real(2, 3)),
    row("y = x.transpose(0, 1)", lambda x: x.transpose(0, 1), x=real(2, 3)),
    row("y = transpose(x, dim0=-1, dim1=-2)", lambda x: torch.transpose(x, dim0=-1, dim1=-2), x=real(2, 3, 4)),
    row("y = x.T + x.t()", lambda x: x.T + x.t(), x=real(2, 3)),
    row("y = x.mT", lambda x: x.mT, x=real(2, 3, 4)),
    row("y = swapaxes(x, 0, 1)", lambda x: torch.swapaxes(x, 0, 1), x=real(2, 3)),
    row("y = movedim(x, 0, -1)", lambda x: torch.movedim(x, 0, -1), x=real(2, 3, 4)),
    row("y = moveaxis(x, [0, 1], [1, 2])", lambda x: torch.moveaxis(x, [0, 1], [1, 2]), x=real(2, 3, 4)),
    row("y = cat([x, w])", lambda x, w: torch.cat([x, w]), x=real(2, 3), w=real(1, 3)),
    row("y = cat((x, w, x), dim=1)", lambda x, w: torch.cat((x, w, x), dim=1), x=real(2, 3), w=real(2, 1)),
    row("y = cat([x, w], -1)", lambda x, w: torch.cat([x, w], -1), x=real(2, 3), w=real(2, 1)),
    row("y = cat(tensors=[x, w], axis=0)", lambda x, w: torch.cat([x, w], axis=0), x=real(2), w=real(1)),
    row("y = concat([x, w], dim=0)", lambda x, w: torch.concat([x, w], dim=0), x=real(2), w=real(1)),
    row("y = stack([x, w])", lambda x, w: torch.stack([x, w]), x=real(3), w=real(3)),
    row("y = stack([x, w], dim=1)", lambda x, w: torch.stack([x, w], dim=1), x=real(3), w=real(3)),
    row("y = hstack([x, w])", lambda x, w: torch.hstack([x, w]), x=real(2, 3), w=real(2, 1)),
    row("y = vstack([x, w])", lambda x, w: torch.vstack([x, w]), x=real(3), w=real(3)),
    row("y = column_stack([x, w])", lambda x, w: torch.column_stack([x, w]), x=real(3), w=real(3)),
    row("a, b = split(x, 2); return a, b", lambda x: torch.split(x, 2), x=real(3, 2)),
    row(
        "a, b = split(x, [1, 3], dim=1); y = a * b",
        lambda x: torch.split(x, [1, 3], dim=1)[0] * torch.split(x, [1, 3], dim=1)[1],
        x=real(2, 4),
    ),
    row(
        "a, b = x.split(2, dim=-1); y = a * sigmoid(b)",
        lambda x: (lambda a, b: a * torch.sigmoid(b))(*x.split(2, dim=-1)),
        x=real(2, 4),
    ),
    row("s = x.split(2); return {'last': s[1]}", lambda x: x.split(2)[1], x=real(3)),
    row("a, b = chunk(x, 2, dim=1); return a, b", lambda x: torch.chunk(x, 2, dim=1), x=real(2, 3)),
    row(
        "a, b, c = x.unbind(0); y = a * b * c", lambda x: x.unbind(0)[0] * x.unbind(0)[1] * x.unbind(0)[2], x=real(3, 2)
    ),
    row("a, b = unbind(x, dim=1); return b, a", lambda x: torch.unbind(x, dim=1)[::-1], x=real(3, 2)),
    row("a, b, c = tensor_split(x, 3); return a, b, c", lambda x: torch.tensor_split(x, 3), x=real(4)),
    row("a, b = tensor_split(x, [1]); return a, b", lambda x: torch.tensor_split(x, [1]), x=real(4)),
    row("a, b = hsplit(x, 2); return a, b", lambda x: torch.hsplit(x, 2), x=real(2, 4)),
    row(
        nodes(
            ("parts", "torch.split", ["$x", 2], {"dim": 1}),
            ("y", "mul", ["$parts.0", "$parts.1"], {}),
            ("z", "cat", ["$parts"], {"dim": 0}),
            outputs=["y", "z"],
        ),
        lambda x: (x[:, :2] * x[:, 2:], torch.cat([x[:, :2], x[:, 2:]])),
        x=real(2, 4),
    ),
    row("y = F.pad(x, [1, 2])", lambda x: F.pad(x, [1, 2]), x=real(2, 3)),
    row("y = F.pad(x, (1, 0, 0, 1), value=3.0)", lambda x: F.pad(x, (1, 0, 0, 1), value=3.0), x=real(2, 3)),
    row("y = F.pad(x, [1, 1], mode='reflect')", lambda x: F.pad(x, [1, 1], mode="reflect"), x=real(1, 2, 3)),
    row("y = F.pad(x, [2, 1], 'circular')", lambda x: F.pad(x, [2, 1], "circular"), x=real(1, 2, 3)),
    row("y = constant_pad_nd(x, [1, 1], 2)", lambda x: torch.constant_pad_nd(x, [1, 1], 2), x=real(3)),
    row("y = flip(x, [0, 1])", lambda x: torch.flip(x, [0, 1]), x=real(2, 3)),
    row("y = x.flip(0)", lambda x: x.flip(0), x=real(2, 3)),
    row("y = flip(x, dims=(1,))", lambda x: torch.flip(x, dims=(1,)), x=real(2, 3)),
    row("y = fliplr(x) + flipud(x)", lambda x: torch.fliplr(x) + torch.flipud(x), x=real(2, 3)),
    row("y = roll(x, 1)", lambda x: torch.roll(x, 1), x=real(2, 3)),
    row("y = roll(x, 1, 0)", lambda x: torch.roll(x, 1, 0), x=real(3, 2)),
    row("y = roll(x, shifts=(2, 1), dims=(0, 1))", lambda x: torch.roll(x, shifts=(2, 1), dims=(0, 1)), x=real(3, 2)),
    row("y = roll(x, shifts=1, dims=1)", lambda x: torch.roll(x, shifts=1, dims=1), x=real(3, 2)),
    row("y = rot90(x)", lambda x: torch.rot90(x), x=real(2, 3)),
    row("y = rot90(x, 1, [0, 1])", lambda x: torch.rot90(x, 1, [0, 1]), x=real(2, 3)),
    row("y = x.repeat(2, 3)", lambda x: x.repeat(2, 3), x=real(2)),
    row("y = x.repeat([2, 1])", lambda x: x.repeat([2, 1]), x=real(2, 3)),
    row("y = tile(x, [2, 2])", lambda x: torch.tile(x, [2, 2]), x=real(2, 3)),
    row("y = x.tile(2)", lambda x: x.tile(2), x=real(2, 3)),
    row("y = repeat_interleave(x, 2, dim=0)", lambda x: torch.repeat_interleave(x, 2, dim=0), x=real(2, 3)),
    row("y = x.repeat_interleave(3)", lambda x: x.repeat_interleave(3), x=real(2)),
    row("y = x.expand(3, 2)", lambda x: x.expand(3, 2), x=real(2)),
    row("y = x.expand(-1, 4)", lambda x: x.expand(-1, 4), x=real(2, 1)),
    row("y = expand(x, [3, 2])", lambda x: x.expand([3, 2]), x=real(1, 2)),
    row("y = x.expand_as(w) * w", lambda x, w: x.expand_as(w) * w, x=real(2), w=real(3, 2)),
    row("y = broadcast_to(x, [3, 2])", lambda x: torch.broadcast_to(x, [3, 2]), x=real(2)),
    row("y = broadcast_to(x, size=(3, 2))", lambda x: torch.broadcast_to(x, size=(3, 2)), x=real(2)),
    row(
        "a, b = broadcast_tensors(x, w); y = a * b",
        lambda x, w: torch.broadcast_tensors(x, w)[0] * torch.broadcast_tensors(x, w)[1],
        x=real(2),
        w=real(3, 1),
    ),
    row(
        "a, b = meshgrid(x, w, indexing='ij'); y = a * b",
        lambda x, w: torch.meshgrid(x, w, indexing="ij")[0] * torch.meshgrid(x, w, indexing="ij")[1],
        x=real(2),
        w=real(3),
    ),
    row("y = diag(x)", lambda x: torch.diag(x), x=real(3)),
    row("y = diag(x, 1)", lambda x: torch.diag(x, 1), x=real(3, 3)),
    row("y = diagonal(x, dim1=-2, dim2=-1)", lambda x: torch.diagonal(x, dim1=-2, dim2=-1), x=real(2, 3, 3)),
    row("y = diagonal(x, offset=1)  # one element, strided", lambda x: torch.diagonal(x, offset=1), x=real(2, 2)),
    row("y = diag_embed(x)", lambda x: torch.diag_embed(x), x=real(2, 3)),
    row("y = tril(x) - triu(x, 1)", lambda x: torch.tril(x) - torch.triu(x, 1), x=real(3, 3)),
    row("y = tril(x, diagonal=-1)", lambda x: torch.tril(x, diagonal=-1), x=real(3, 3)),
    row("y = x.squeeze()", lambda x: x.squeeze(), x=real(1, 3, 1)),
    row("y = squeeze(x, 0)", lambda x: torch.squeeze(x, 0), x=real(1, 3)),
    row("y = squeeze(x, dim=(0, 2))", lambda x: torch.squeeze(x, dim=(0, 2)), x=real(1, 3, 1)),
    row("y = x.unsqueeze(-1)", lambda x: x.unsqueeze(-1), x=real(3)),
    row("y = flatten(x, 1)", lambda x: torch.flatten(x, 1), x=real(2, 3, 4)),
    row("y = x.flatten()", lambda x: x.flatten(), x=real(2, 3)),
    row("y = flatten(x, start_dim=0, end_dim=1)", lambda x: torch.flatten(x, start_dim=0, end_dim=1), x=real(2, 3, 4)),
    row("y = unflatten(x, 1, [2, 3])", lambda x: torch.unflatten(x, 1, (2, 3)), x=real(2, 6)),
    row("y = ravel(x)", lambda x: torch.ravel(x), x=real(2, 3)),
    row("y = x.unfold(0, 3, 2)", lambda x: x.unfold(0, 3, 2), x=real(7)),
    row(
        "y = x.view_as(w) + x.reshape_as(w) * w",
        lambda x, w: x.view_as(w) + x.reshape_as(w) * w,
        x=real(6),
        w=real(2, 3),
    ),
    row("y = x * arange(3)", lambda x: x * torch.arange(3), x=real(3)),
    row(
        "y = x * linspace(0, 1, 3, dtype='float64')",
        lambda x: x * torch.linspace(0, 1, 3, dtype=torch.float64),
        x=real(3),
    ),
    row("y = x + eye(3, dtype=torch.float64)", lambda x: x + torch.eye(3, dtype=torch.float64), x=real(3, 3)),
    row(
        "y = x * ones_like(x) + zeros_like(x) + full_like(x, 2.5)",
        lambda x: x * torch.ones_like(x) + torch.zeros_like(x) + torch.full_like(x, 2.5),
        x=real(3),
    ),
    row(
        "y = x + zeros(3) + ones([3]) + full([3], 2.0)",
        lambda x: x + torch.zeros(3) + torch.ones([3]) + torch.full([3], 2.0),
        x=real(3),
    ),
    row("y = x + x.new_ones([3]) * x.new_full([3], 2)", lambda x: x + x.new_ones([3]) * x.new_full([3], 2), x=real(3)),
    row(
        "y = x * F.one_hot(i, num_classes=3)",
        lambda x, i: x * F.one_hot(i, num_classes=3),
        x=real(2, 3),
        i=torch.tensor([2, 0]),
    ),
    row("y = x * F.one_hot(i, 3)", lambda x, i: x * F.one_hot(i, 3), x=real(2, 3), i=torch.tensor([2, 0])),
]

SPELLINGS = (
    [
        row(nodes(("y", op, ["$x"], {})), lambda x: torch.relu(x), x=real(4))
        for op in (
            "relu",
            "aten.relu",
            "aten::relu",
            "torch.relu",
            "torch.nn.functional.relu",
            "nn.functional.relu",
            "F.relu",
            "aten.relu.default",
            "torch.ops.aten.relu.default",
            "torch.Tensor.relu",
        )
    ]
    + [
        row(nodes(("y", op, ["$x", "$w"], {})), lambda x, w: x * w, x=real(3), w=real(3))
        for op in ("mul", "aten.mul.Tensor", "aten::mul.Tensor", "torch.mul", "multiply")
    ]
    + [
        row(
            nodes(("y", "linalg.solve", ["$a", "$b"], {})),
            lambda a, b: torch.linalg.solve(a, b),
            a=regular(3),
            b=real(3),
        ),
        row(
            nodes(("y", "linalg_solve", ["$a", "$b"], {})),
            lambda a, b: torch.linalg.solve(a, b),
            a=regular(3),
            b=real(3),
        ),
        row(nodes(("y", "torch.fft.rfft", ["$x"], {})), lambda x: torch.fft.rfft(x), x=real(5)),
        row(nodes(("y", "mul", ["$x", 2.5], {})), lambda x: x * 2.5, x=real(3)),
        row(nodes(("y", "mul", ["$x", [0.0, 1.0]], {})), lambda x: x * 1j, x=real(3)),
        row(
            nodes(("y", "clamp", ["$x"], {"min": None, "max": "Infinity"})),
            lambda x: torch.clamp(x, max=float("inf")),
            x=real(3),
        ),
        row(nodes(("y", "sum", [], {"input": "$x", "axis": [0]})), lambda x: torch.sum(x, axis=0), x=real(2, 3)),
        row(nodes(("y", "cat", [["$x", "$w"], 1], {})), lambda x, w: torch.cat([x, w], 1), x=real(2, 1), w=real(2, 2)),
    ]
)

DOUBLE = [
    *ELEMENTWISE,
    *REDUCTIONS,
    *SORTED,
    *PRODUCTS,
    *GUARDED,
    *NETWORKS,
    *LINALG,
    *COMPLEX,
    *INDEXING,
    *SHAPES,
    *SPELLINGS,
]

WITHOUT_DIFFERENCE = [
    *SPEECH_LOSSES,
    # Too few digits for a central difference, or a gradient that is not the slope by torch's definition.
    row(
        "y = F.embedding(i, w, padding_idx=1)",
        lambda i, w: F.embedding(i, w, padding_idx=1),
        i=torch.tensor([0, 1, 2, 1]),
        w=real(3, 2),
    ),
    row(
        "y = F.embedding(i, w, sparse=True)",
        lambda i, w: F.embedding(i, w, sparse=True),
        i=torch.tensor([0, 2, 2]),
        w=real(3, 2),
    ),
    row(
        "y = gather(x, 0, i, sparse_grad=True)",
        lambda x, i: torch.gather(x, 0, i, sparse_grad=True),
        x=real(3),
        i=torch.tensor([2, 0]),
    ),
    row("y = x * x.detach()", lambda x: x * x.detach(), x=real(3)),
    row(
        "y = nan_to_num(x / 0, posinf=3.0, neginf=-3)",
        lambda x: torch.nan_to_num(x / 0, posinf=3.0, neginf=-3),
        x=real(3),
    ),
    row("y = x.float() * 2", lambda x: x.float() * 2, x=real(3)),
    row("y = x.to(torch.float32)", lambda x: x.to(torch.float32), x=real(3)),
    row("y = x.to('float16')", lambda x: x.to(torch.float16), x=real(3)),
    row("y = x.to(dtype='bfloat16')", lambda x: x.to(dtype=torch.bfloat16), x=real(3)),
    row("y = x.double()", lambda x: x.double(), x=real(3).float()),
    row("y = x.half()", lambda x: x.half(), x=real(3)),
    row("y = x.type_as(w)", lambda x, w: x.type_as(w), x=real(3), w=real(1).float()),
    row("y = x.to(w)", lambda x, w: x.to(w), x=real(3), w=real(1).float()),
    row("y = x * w", lambda x, w: x * w, x=real(3).float(), w=real(3)),
    row("y = x * k", lambda x, k: x * k, x=real(3).float(), k=whole(5, 3)),
    row("y = sum(x, dtype='float64')", lambda x: torch.sum(x, dtype=torch.float64), x=real(3).float()),
    row("y = softmax(x, 0, dtype='float64')", lambda x: torch.softmax(x, 0, dtype=torch.float64), x=real(3).float()),
    row(
        "y = F.softmax(x, dim=-1, dtype=torch.float32)", lambda x: F.softmax(x, dim=-1, dtype=torch.float32), x=real(3)
    ),
    row("y = x @ w  # float32", lambda x, w: x @ w, x=real(2, 3).float(), w=real(3, 4).float()),
    row(
        "y = F.conv2d(x, w)  # float32",
        lambda x, w: F.conv2d(x, w),
        x=real(1, 2, 4, 4).float(),
        w=real(3, 2, 3, 3).float(),
    ),
    row(
        "y = F.scaled_dot_product_attention(q, k, v)  # float32",
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v),
        q=real(1, 2, 3, 4).float(),
        k=real(1, 2, 5, 4).float(),
        v=real(1, 2, 5, 4).float(),
    ),
    row("y = fft.rfft(x)  # float32", lambda x: torch.fft.rfft(x), x=real(6).float()),
    row("y = x / k", lambda x, k: x / k, x=real(3).half(), k=1 + whole(5, 3)),
]

WITHOUT_GRADIENT = [
    *(
        row(f"y = x {sign} w", compare, x=whole(3, 6), w=whole(3, 6))
        for sign, compare in {
            "<": lambda x, w: x < w,
            "<=": lambda x, w: x <= w,
            ">": lambda x, w: x > w,
            ">=": lambda x, w: x >= w,
            "==": lambda x, w: x == w,
            "!=": lambda x, w: x != w,
        }.items()
    ),
    row("y = x > 0", lambda x: x > 0, x=real(4)),
    row("y = 0.5 >= x", lambda x: x <= 0.5, x=real(4)),
    row("y = eq(x, 1)", lambda x: torch.eq(x, 1), x=whole(3, 4)),
    row("y = x.gt(w)", lambda x, w: x.gt(w), x=real(4), w=real(4)),
    row("y = greater_equal(x, w)", lambda x, w: torch.greater_equal(x, w), x=real(4), w=real(4)),
    row("y = isclose(x, w, rtol=1e-3)", lambda x, w: torch.isclose(x, w, rtol=1e-3), x=real(4), w=real(4)),
    row("y = isnan(x) | isinf(x)", lambda x: torch.isnan(x) | torch.isinf(x), x=real(4)),
    row("y = isfinite(x / 0)", lambda x: torch.isfinite(x / 0), x=real(4)),
    row("y = logical_and(x > 0, x < 1)", lambda x: torch.logical_and(x > 0, x < 1), x=real(4)),
    row("y = logical_not(m)", lambda m: torch.logical_not(m), m=mask(4)),
    row("y = ~m & (m ^ n)", lambda m, n: ~m & (m ^ n), m=mask(4), n=mask(4)),
    row("y = argmax(x, dim=1)", lambda x: torch.argmax(x, dim=1), x=real(2, 3)),
    row("y = x.argmin()", lambda x: x.argmin(), x=real(2, 3)),
    row("y = argsort(x, descending=True)", lambda x: torch.argsort(x, descending=True), x=real(5)),
    row("y = all(x > -9)", lambda x: torch.all(x > -9), x=real(4)),
    row(
        "y = m.where(c, n)",
        lambda m, c, n: m.where(c, n),
        m=torch.tensor([True, False]),
        c=torch.tensor([False, False]),
        n=torch.tensor([False, True]),
    ),
    row("y = any(m, dim=0)", lambda m: torch.any(m, dim=0), m=mask(2, 3)),
    row("y = k + 2", lambda k: k + 2, k=whole(9, 4)),
    row("y = k * 1.5", lambda k: k * 1.5, k=whole(9, 4)),
    row("y = k // 2 + k % 3", lambda k: k // 2 + k % 3, k=whole(9, 4)),
    row("y = -7 // k", lambda k: -7 // k, k=1 + whole(9, 4)),
    row("y = x // 0.7", lambda x: x // 0.7, x=real(3)),
    row("y = 7 // x", lambda x: 7 // x, x=positive(3)),
    row("y = 7 % x", lambda x: 7 % x, x=positive(3)),
    row("y = heaviside(x, w)", lambda x, w: torch.heaviside(x, w), x=real(3), w=real(3)),
    row("y = special.zeta(2.5, x)", lambda x: torch.special.zeta(2.5, x), x=positive(3)),
    row("y = k << 2 | k >> 1", lambda k: k << 2 | k >> 1, k=whole(9, 4)),
    row("y = 1 << k", lambda k: 1 << k, k=whole(9, 4)),
    row("y = k ** 2", lambda k: k**2, k=whole(9, 4)),
    row("y = 2 ** k", lambda k: 2**k, k=whole(9, 4)),
    row("y = k.sum()", lambda k: k.sum(), k=whole(9, 4).to(torch.uint8)),
    row("y = k.float().mean()", lambda k: k.float().mean(), k=whole(9, 4)),
    row("y = k.cumsum(0)", lambda k: k.cumsum(0), k=whole(9, 4).int()),
    row(
        "y = gcd(k, n) + lcm(k, n)",
        lambda k, n: torch.gcd(k, n) + torch.lcm(k, n),
        k=1 + whole(9, 4),
        n=1 + whole(9, 4),
    ),
    row("y = F.one_hot(k, num_classes=9)", lambda k: F.one_hot(k, num_classes=9), k=whole(9, 4)),
    row("y = searchsorted(k, v)", lambda k, v: torch.searchsorted(k, v), k=torch.arange(5), v=whole(5, 3)),
    row("y = bucketize(x, k)", lambda x, k: torch.bucketize(x, k), x=real(4), k=torch.arange(5.0)),
    row("y = nonzero(m)", lambda m: torch.nonzero(m), m=mask(3, 3)),
    row("y = argwhere(x > 0)", lambda x: torch.argwhere(x > 0), x=real(3, 2)),
    row("y = signbit(x)", lambda x: torch.signbit(x), x=real(4)),
    row("y = x.int()", lambda x: x.int(), x=real(4) * 3),
    row("y = x.long() + x.bool()", lambda x: x.long() + x.bool(), x=real(4) * 3),
    row("y = count_nonzero(m, dim=0)", lambda m: torch.count_nonzero(m, dim=0), m=mask(2, 3)),
    row("y = isin(k, n)", lambda k, n: torch.isin(k, n), k=whole(9, 4), n=whole(9, 4)),
    row("y = linalg.matrix_rank(a)", lambda a: torch.linalg.matrix_rank(a), a=real(3, 3)),
    row("y = tril_indices(3, 3)  # no input", lambda: torch.tril_indices(3, 3)),
]


@pytest.mark.parametrize("row", [*DOUBLE, *WITHOUT_DIFFERENCE, *WITHOUT_GRADIENT], ids=str)
def test_the_outputs_are_those_of_torchs_python_function_bit_for_bit(answer, row):
    assert_values_of_torch(answer, row)


@pytest.mark.parametrize("row", [*DOUBLE, *WITHOUT_DIFFERENCE], ids=str)
def test_the_gradients_are_those_of_torchs_autograd_bit_for_bit(answer, row):
    assert_gradients_of_torch(answer, row)


@pytest.mark.parametrize("row", DOUBLE, ids=str)
def test_v_J_u_is_the_central_difference_of_the_outputs_along_u(answer, row):
    outputs, leaves = row.differentiable()
    seeds = cotangents(outputs)
    generator = torch.Generator().manual_seed(11)
    direction = {name: torch.randn(x.shape, dtype=x.dtype, generator=generator) for name, x in leaves.items()}

    def projected(step: float) -> float:
        moved = {name: x + step * direction[name] if name in direction else x for name, x in row.inputs.items()}
        values = answer("forward", graph=row.graph, inputs=send(moved), encoding="base64")["outputs"].values()
        return sum(inner(v, decoded(y)) for v, y in zip(seeds, values, strict=True) if v is not None)

    gradients = answer("backward", **request(row, seeds))["gradients"]
    slope = sum(inner(decoded(gradients[name]), u) for name, u in direction.items())
    assert (projected(STEP) - projected(-STEP)) / (2 * STEP) == pytest.approx(slope, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("row", DOUBLE, ids=str)
def test_batched_grad_tensors_give_what_torch_gives_for_each_alone(answer, row):
    outputs, leaves = row.differentiable()
    batches = [cotangents(outputs, seed) for seed in (1, 2)]
    stacked = [None if first is None else torch.stack([first, second]) for first, second in zip(*batches, strict=True)]
    batched = answer("backward", **request(row, stacked), is_grads_batched=True)["gradients"].values()
    for index, seeds in enumerate(batches):
        for got, alone in zip(batched, pulled_back(outputs, leaves, seeds), strict=True):
            # vmap may sum in another order
            torch.testing.assert_close(decoded(got)[index], alone, rtol=1e-12, atol=1e-13)


def test_a_loss_whose_gradient_at_a_tie_is_wrong_in_torchs_operator_is_refused(post):
    """With beta=0 torch.nn.functional.smooth_l1_loss is another operator, l1_loss; the kernel divides 0 by 0."""
    response = post("backward", graph="y = F.smooth_l1_loss(x, t, beta=0)", inputs={"x": [1.0, 2.0], "t": [1.0, 3.0]})
    assert response.status_code == 422
    assert "l1_loss" in response.json()["hint"]


@pytest.mark.parametrize("graph", ["y = x * 1j", "y = complex(x, x)"])
def test_a_result_whose_dtype_no_tensor_on_the_wire_can_have_is_refused(post, graph):
    half = {"dtype": "float16", "data": [1.0, 2.0]}
    assert post("forward", graph=graph, inputs={"x": half}).status_code == 422


# A product of operators, shapes and dtypes

REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
EVERY = (*REAL, torch.complex64, torch.complex128)

UNARY_SHAPES = [((),), ((3,),), ((2, 3),), ((0,),), ((2, 1, 3),)]
BINARY_SHAPES = [
    ((), ()),
    ((3,), ()),
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((0,), (0,)),
    ((0,), (1,)),
    ((2, 1, 3), (4, 1)),
    ((2, 3), (2, 1, 3)),
]
Shapes = tuple[tuple[int, ...], ...]

PRODUCT: list[tuple[str, Callable[..., Tensor], tuple[torch.dtype, ...], list[Shapes]]] = [
    ("y = x + w", lambda x, w: x + w, EVERY, BINARY_SHAPES),
    ("y = x - w", lambda x, w: x - w, EVERY, BINARY_SHAPES),
    ("y = x * w", lambda x, w: x * w, EVERY, BINARY_SHAPES),
    ("y = x / w", lambda x, w: x / w, EVERY, BINARY_SHAPES),
    ("y = maximum(x, w)", torch.maximum, REAL, BINARY_SHAPES),
    ("y = where(abs(x) > 0.7, x, w)", lambda x, w: torch.where(torch.abs(x) > 0.7, x, w), EVERY, BINARY_SHAPES),
    ("y = exp(x)", torch.exp, EVERY, UNARY_SHAPES),
    ("y = tanh(x)", torch.tanh, EVERY, UNARY_SHAPES),
    ("y = abs(x)", torch.abs, EVERY, UNARY_SHAPES),
    ("y = x ** 2", lambda x: x**2, EVERY, UNARY_SHAPES),
    ("y = sum(x)", torch.sum, EVERY, UNARY_SHAPES),
    ("y = cumsum(x, -1)", lambda x: torch.cumsum(x, -1), EVERY, UNARY_SHAPES),
    ("y = relu(x)", torch.relu, REAL, UNARY_SHAPES),
    ("y = softmax(x, dim=-1)", lambda x: torch.softmax(x, dim=-1), REAL, UNARY_SHAPES),
]


def product_rows() -> Iterator[Any]:
    for graph, function, dtypes, shapes in PRODUCT:
        for sizes in shapes:
            for dtype in dtypes:
                drawn = {n: torch.randn(s, dtype=dtype, generator=_random) for n, s in zip("xw", sizes, strict=False)}
                yield pytest.param(row(graph, function, **drawn), id=f"{graph} {sizes} {dtype}")


@pytest.mark.parametrize("row", list(product_rows()))
def test_every_dtype_and_shape_has_torchs_values_and_gradients_bit_for_bit(answer, row):
    assert_gradients_of_torch(answer, row)
