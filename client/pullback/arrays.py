"""Arrays as raw bytes, and back: numpy always, torch tensors where torch is there; bit for bit."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args

import numpy as np

from pullback_schemas import DType
from pullback_schemas.safetensors import Buffer

DTYPES: frozenset[str] = frozenset(get_args(DType))


@dataclass(frozen=True, slots=True)
class Raw:
    """A tensor as its little-endian bytes in C order."""

    dtype: str
    shape: tuple[int, ...]
    data: Buffer


Build: TypeAlias = Callable[[Raw], Any]
"""Makes an array of some library."""


def read(value: Any) -> Any:
    """An array as Raw; numbers, booleans and lists of them as JSON has them, in the short form.

    Raises TypeError for an array of a dtype that no tensor has.
    """
    if _is_torch(value):
        from pullback.torch_arrays import read_torch

        return read_torch(value)
    if hasattr(value, "__array__"):
        return _read_numpy(np.asarray(value))
    if isinstance(value, complex):
        return _read_numpy(np.asarray(value))
    if isinstance(value, list | tuple):
        return _read_list(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _read_list(items: Iterable[Any]) -> Any:
    found = [read(item) for item in items]
    if any(isinstance(item, Raw) for item in found):
        return _read_numpy(np.asarray(items))
    return found


def _read_numpy(array: np.ndarray[Any, Any]) -> Raw:
    if array.dtype.name not in DTYPES:
        raise TypeError(f"an array of dtype {array.dtype} cannot be sent; the dtypes are {', '.join(sorted(DTYPES))}")
    plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return Raw(array.dtype.name, array.shape, plain.reshape(-1).view(np.uint8).data)


def build_numpy(raw: Raw) -> np.ndarray[Any, Any]:
    """The numpy array; bfloat16, which numpy lacks, comes as float32 of the same value."""
    if raw.dtype == "bfloat16":
        bits = np.frombuffer(raw.data, "<u2").astype(np.uint32) << 16
        return bits.view(np.float32).reshape(raw.shape)
    dtype = np.dtype(raw.dtype)
    return np.frombuffer(raw.data, dtype.newbyteorder("<")).astype(dtype).reshape(raw.shape)


def builder_for(values: Iterable[Any]) -> Build:
    """What makes arrays of the kind of `values`: torch tensors on their device if one of them is one, else numpy."""
    for value in values:
        if _is_torch(value):
            from pullback.torch_arrays import build_torch

            device = value.device
            return lambda raw: build_torch(raw, device)
    return build_numpy


def shape_of(value: Any) -> tuple[str, tuple[int, ...]] | None:
    """The dtype and shape of an array; None for numbers and lists."""
    if _is_torch(value):
        return str(value.dtype).removeprefix("torch."), tuple(value.shape)
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return np.dtype(value.dtype).name, tuple(value.shape)
    return None


def _is_torch(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)
