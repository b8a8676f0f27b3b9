"""Arrays as raw bytes, and back: numpy always, torch tensors where torch is there; bit for bit."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
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

        check_dtype(str(value.dtype).removeprefix("torch."))
        return read_torch(value)
    if hasattr(value, "__array__") or isinstance(value, complex):
        return _read_numpy(np.asarray(value))
    if isinstance(value, list | tuple):
        return _read_list(value)
    return spell(value) if isinstance(value, float) else value


def spell(number: float) -> float | str:
    """A number as JSON has it: those that are not finite by their names."""
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def check_dtype(name: str) -> None:
    """Raise TypeError where the wire has no such dtype."""
    if name not in DTYPES:
        raise TypeError(f"an array of dtype {name} cannot be sent; the dtypes are {', '.join(sorted(DTYPES))}")


def _read_list(items: Sequence[Any]) -> Any:
    """Numbers stay a list, numpy's too; with an array or a complex number inside it is an array itself."""
    if any(_is_torch(item) for item in items):
        raise TypeError("a list of tensors is no tensor; torch.stack makes one")
    found = [read(item.item() if isinstance(item, np.generic) else item) for item in items]
    return _read_numpy(np.asarray(items)) if any(isinstance(item, Raw) for item in found) else found


def _read_numpy(array: np.ndarray[Any, Any]) -> Raw:
    check_dtype(array.dtype.name)
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
