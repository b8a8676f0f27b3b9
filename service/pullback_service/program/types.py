"""Dtypes and shapes of values, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from pullback_schemas.problems import LimitExceeded

DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, name)
    for name in (
        "float16",
        "float32",
        "float64",
        "bfloat16",
        "complex64",
        "complex128",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "bool",
    )
}
DTYPE_NAMES: dict[torch.dtype, str] = {dtype: name for name, dtype in DTYPES.items()}
MAX_AXES = 64
"""As many as numpy has; torch itself has no limit, and kernels that have a lower one say so."""

_SHORT = {"float": "f", "bfloat": "bf", "complex": "c", "int": "i", "uint": "u"}


@dataclass(frozen=True, slots=True)
class TensorType:
    """The dtype and shape of a tensor; prints as `f64[2,4]`."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        """How many elements it has."""
        return prod(self.shape)

    @property
    def is_differentiable(self) -> bool:
        """Whether such a tensor can have a gradient."""
        return self.dtype.is_floating_point or self.dtype.is_complex

    def to_json(self) -> dict[str, Any]:
        """As a problem's `expected` and `got` show it."""
        return {"dtype": DTYPE_NAMES.get(self.dtype, str(self.dtype)), "shape": list(self.shape)}

    def __str__(self) -> str:
        name = DTYPE_NAMES.get(self.dtype, str(self.dtype))
        stem = name.rstrip("0123456789")
        return f"{_SHORT.get(stem, stem)}{name[len(stem) :]}[{','.join(map(str, self.shape))}]"


def extent(shape: Sequence[int]) -> int:
    """How much a shape takes to write down: its elements, or the empty lists around none."""
    return prod(shape) or prod([max(size, 1) for size in shape])


def refuse_shape(shape: Sequence[int], max_elements: int, pointer: str = "", node: str | None = None) -> None:
    """Raise LimitExceeded for a shape with too many axes or elements."""
    if len(shape) > MAX_AXES:
        raise LimitExceeded(
            f"A tensor has at most {MAX_AXES} axes.", pointer=pointer, node=node, expected=MAX_AXES, got=len(shape)
        )
    size = extent(shape)
    if size > max_elements:
        raise LimitExceeded(
            f"A tensor of shape {[min(size, 2**63) for size in shape]} is too large; "
            f"the limit is {max_elements:,} elements.",
            pointer=pointer,
            node=node,
            expected=max_elements,
            got=min(size, 2**63),
        )


def type_of(tensor: Tensor) -> TensorType:
    """The type of a tensor, fake ones included."""
    return TensorType(tensor.dtype, tuple(tensor.shape))


def types_of(tensors: Mapping[str, Tensor]) -> dict[str, TensorType]:
    """Their types, by name."""
    return {name: type_of(tensor) for name, tensor in tensors.items()}
