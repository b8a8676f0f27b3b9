"""float64 to narrower dtypes, rounded once."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


def round_once(wide: Array, dtype: str) -> Array:
    """Rounded to a narrower dtype as if from the decimal digits, which were rounded to float64 on the way.

    The two roundings differ from one only where the float64 lies halfway between two of the narrower numbers;
    there the shortest digits of the float64, which are those that were sent, tell which way to go. Of the fraction's
    bits that are dropped all but the first are zero there.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = wide.astype(dtype)
        dropped = np.finfo(np.float64).nmant - np.finfo(dtype).nmant
        is_candidate = (wide.view(np.uint64) & np.uint64(2 ** (dropped - 1) - 1)) == 0
        for index in np.flatnonzero(is_candidate & (wide != narrow)):
            narrow[index] = _round_halfway(wide[index], narrow[index])
    return narrow


def _round_halfway(wide: Any, near: Any) -> Any:
    """`near`, one of the two narrower numbers around `wide`; where it lies halfway, the one that the digits tell."""
    other = np.nextafter(near, near.dtype.type(np.copysign(np.inf, wide - near)))
    low, high = sorted((near, other))
    if not np.isfinite(near) or wide - np.float64(low) != np.float64(high) - wide:
        return near
    exact, sent = Decimal(float(wide)), Decimal(repr(float(wide)))
    return near if sent == exact else high if sent > exact else low


def to_bfloat16(wide: Tensor) -> Tensor:
    """Rounded once, to the nearest and to even at a tie; torch's own conversion goes through float32."""
    guess = wide.to(torch.bfloat16)
    tied = ((wide.to(torch.float32).view(torch.int32) & 0xFFFF) == 0x8000).nonzero(as_tuple=True)
    guess[tied] = _to_nearest_bfloat16(wide[tied], guess[tied])
    return guess


def _to_nearest_bfloat16(wide: Tensor, guess: Tensor) -> Tensor:
    bits = guess.view(torch.int16)
    nearest = guess
    for step in (-1, 1):
        other = (bits + step).view(torch.bfloat16)
        error, other_error = (wide - nearest.double()).abs(), (wide - other.double()).abs()
        is_even = (bits + step) % 2 == 0
        nearest = torch.where((other_error < error) | ((other_error == error) & is_even), other, nearest)
    return torch.where(guess.isfinite(), nearest, guess)
