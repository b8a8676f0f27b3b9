"""Tensors as their own bytes: little-endian, in C order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pullback_schemas.problems import InvalidElement

Bytes = bytes | bytearray | memoryview


def from_raw(data: Bytes, dtype: torch.dtype, shape: Sequence[int], *, item_bytes: int | None = None) -> Tensor:
    """The tensor that these bytes are, in their own memory if that can be written to and is aligned to `item_bytes`.

    Kernels crash on what is not aligned. Raises InvalidElement for a boolean that is neither 0 nor 1.
    """
    if not data:
        return torch.empty(shape, dtype=dtype)
    raw = torch.frombuffer(bytearray(data) if memoryview(data).readonly else data, dtype=torch.uint8)
    if raw.data_ptr() % (item_bytes or dtype.itemsize):
        raw = raw.clone()
    if dtype == torch.bool and raw.max() > 1:
        raise InvalidElement("A boolean's byte is 0 or 1.")
    return raw.view(dtype).reshape(shape)


def to_raw(dense: Tensor) -> memoryview:
    """The bytes of a tensor in C order, not copied."""
    if not dense.numel():
        return memoryview(b"")
    flat = dense.as_strided((dense.numel(),), (1,))  # the strides of a single element may be anything
    array: Any = flat.view(torch.uint8).numpy()
    return memoryview(array)


def rows_of(dense: Tensor, count: int) -> list[memoryview]:
    """The bytes of a tensor in so many parts along its first axis, or those of all of it; in C order, not copied."""
    raw = to_raw(dense)
    size = len(raw) // count
    return [raw[at * size : (at + 1) * size] for at in range(count)]
