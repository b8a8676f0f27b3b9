"""The identity that ties both modes together: <w, Jv> = <J^T w, v> for all v and w."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

SEED_W, SEED_V = 20_260_101, 20_260_102
"""Of the two sides: with the same numbers on both, an error as large as J - J^T would not be seen."""

HALF = 1e-4
"""The epsilon of half precision is above it, where its square root is no small number."""

Named = Mapping[str, Tensor | None]


def random_cotangents(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A w with normally distributed elements; the same one every time, on every device."""
    return _random_like(outputs, SEED_W)


def random_tangents(leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A v with normally distributed elements; the same one every time."""
    return _random_like(leaves, SEED_V)


def _random_like(tensors: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(like.shape, dtype=_wide(like), generator=generator).to(like.device, like.dtype)
        for name, like in tensors.items()
    }


def inner(left: Named, right: Named) -> float:
    """The real inner product Re<left, right>, summed over the names that both have, in double precision."""
    return _total([float(_product(a, b).sum()) for a, b in _pairs(left, right)])


def adjoint_error(w: Named, jv: Named, jtw: Named, v: Named, values: Collection[Tensor | None]) -> float | None:
    """How far <w, Jv> and <J^T w, v> differ, relative to the sizes of their terms.

    `values` are those that J is computed from: a J that is small beside them is mere rounding.
    None where J^T w is not finite, so that nothing can be said; infinity where only Jv is not.
    """
    right = inner(jtw, v)
    if not math.isfinite(right):
        return None
    left = inner(w, jv)
    if not math.isfinite(left):
        return math.inf
    size = _size(w, jv) + _size(jtw, v) + _rounding(w, v, values)
    return abs(left - right) / size if size else 0.0


def tolerance(tensors: Mapping[str, Tensor]) -> float:
    """How large an adjoint error rounding may make: a rule that is wrong makes one of order 1."""
    epsilon = max((torch.finfo(tensor.dtype).eps for tensor in tensors.values()), default=0.0)
    return 8 * (epsilon if epsilon > HALF else math.sqrt(epsilon))


def _size(left: Named, right: Named) -> float:
    """The root of the terms' squares: so large is a sum of terms whose signs are random."""
    return math.sqrt(_total([float((_product(a, b) ** 2).sum()) for a, b in _pairs(left, right)]))


def _total(terms: list[float]) -> float:
    """Their sum; what `fsum` raises for, infinities of both signs or beyond the largest double, is not finite."""
    try:
        return math.fsum(terms)
    except (ValueError, OverflowError):
        return math.nan


def _rounding(w: Named, v: Named, values: Collection[Tensor | None]) -> float:
    """The square root of epsilon times the size of a derivative that moves the values by as much as they are."""
    epsilon = max((torch.finfo(value.dtype).eps for value in values if value is not None), default=0.0)
    squares = [
        float((value.detach().abs().nan_to_num(0, 0, 0) ** 2).sum()) for value in w.values() if value is not None
    ]
    return math.sqrt(epsilon * _total(squares)) * _largest(values) * _largest(v.values())


def _largest(tensors: Iterable[Tensor | None]) -> float:
    """The largest finite element in size."""
    finite = [t.detach().abs().nan_to_num(0, 0, 0).max() for t in tensors if t is not None and t.numel()]
    return max(map(float, finite), default=0.0)


def _pairs(left: Named, right: Named) -> list[tuple[Tensor, Tensor]]:
    pairs = [(left[name], right[name]) for name in left if name in right]
    return [(a.detach(), b.detach()) for a, b in pairs if a is not None and b is not None]


def _product(left: Tensor, right: Tensor) -> Tensor:
    if left.is_complex() and right.is_complex():
        return (left.to(torch.complex128).conj() * right).real
    return left.real.double() * right.real.double()


def _wide(like: Tensor) -> torch.dtype:
    return torch.complex128 if like.is_complex() else torch.float64
