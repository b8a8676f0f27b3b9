"""Tensors of doubles, and how close two of them must be."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def close(found: Tensor, expected: Any) -> None:
    """Every number to twelve digits of itself or, beside a far larger one, to fourteen of that."""
    expected = torch.as_tensor(expected, dtype=found.dtype)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14 * float(expected.abs().max()))


def random(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """Normally distributed, the same for one seed; drawn in double precision, whatever the dtype."""
    wide = torch.complex128 if dtype.is_complex else torch.float64
    return torch.randn(shape, dtype=wide, generator=torch.Generator().manual_seed(seed)).to(dtype)


def scalars(**values: float) -> dict[str, Tensor]:
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
