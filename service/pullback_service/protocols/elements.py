"""A tensor's elements as JSON gives them, Python objects: each that does not fit is told with its place."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pullback_schemas.problems import InvalidElement, ValueOutOfRange, pointer_to
from pullback_schemas.tensors import NON_FINITE
from pullback_service.program.types import DTYPE_NAMES
from pullback_service.protocols.rounding import round_once, to_bfloat16

KINDS = {
    type(None): "null",
    bool: "A boolean",
    int: "An integer",
    float: "A float",
    Decimal: "A float",
    str: "A string",
    list: "A list",
    dict: "An object",
}
"""What JSON's values are called."""

SHOWN = 64
"""Characters of a string in a problem."""

Array = NDArray[Any]


def kind_of(value: Any) -> str:
    """What JSON calls it, at the start of a sentence."""
    return KINDS.get(type(value), "Something else")


def index_pointer(index: int, shape: list[int]) -> str:
    """The pointer to an element of nested lists, by its place in row-major order."""
    return pointer_to(*(int(i) for i in np.unravel_index(index, shape))) if shape else ""


def _spell(value: Any) -> str:
    """What came, as JSON spells it; a number beyond float64 came as infinity."""
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return str(value)[:SHOWN]


class Elements:
    """The elements of a tensor in row-major order, and where each stood."""

    def __init__(self, flat: list[Any], nested: list[int], at: str) -> None:
        self.flat = flat
        self.nested = nested
        self.at = at
        self.kinds = set(map(type, flat))

    def _pointer(self, index: int) -> str:
        return self.at + index_pointer(index, self.nested)

    def booleans(self) -> Array:
        """A numpy array of bool. Raises InvalidElement."""
        self._need({bool}, "true or false")
        return np.array(self.flat, dtype=np.bool_)

    def integers(self, dtype: torch.dtype) -> Array:
        """A numpy array of an integer dtype. Raises InvalidElement or ValueOutOfRange."""
        self._need({int, float}, "an integer")
        flat = [self._integer(i, v) for i, v in enumerate(self.flat)] if float in self.kinds else self.flat
        try:
            return np.array(flat, dtype=DTYPE_NAMES[dtype])
        except OverflowError:
            limits = torch.iinfo(dtype)
            index = next(i for i, v in enumerate(flat) if not limits.min <= v <= limits.max)
            raise self._too_large(index, dtype) from None

    def _integer(self, index: int, value: int | float) -> int:
        if isinstance(value, float) and not (value.is_integer() and abs(value) < 2**53):
            raise InvalidElement(
                f"{value} is no integer.", pointer=self._pointer(index), expected="an integer", got=_spell(value)
            )
        return int(value)

    def float_tensor(self, dtype: torch.dtype) -> Tensor:
        """A flat tensor of a floating dtype. Raises InvalidElement or ValueOutOfRange."""
        if dtype != torch.bfloat16:
            return torch.from_numpy(self.floats(dtype))
        wide = self.floats(torch.float64)
        tensor = to_bfloat16(torch.from_numpy(wide))
        self._refuse_overflow(tensor.isinf().numpy() & np.isfinite(wide), dtype)
        return tensor

    def floats(self, dtype: torch.dtype) -> Array:
        """A numpy array of a real dtype. The strings of non-finite numbers are the only way to those."""
        self._need({int, float, str}, "a number")
        has_strings = str in self.kinds
        flat = [self._number(i, v) for i, v in enumerate(self.flat)] if has_strings else self.flat
        try:
            wide = np.array(flat, dtype=np.float64)
        except OverflowError:
            index = next(i for i, v in enumerate(flat) if isinstance(v, int) and abs(v) >= 2**1024 - 2**970)
            raise self._too_large(index, torch.float64) from None
        if not np.isfinite(wide).all():
            infinite = np.isinf(wide)
            if has_strings:
                infinite &= np.fromiter((type(v) is not str for v in self.flat), np.bool_, len(flat))
            self._refuse_overflow(infinite, torch.float64)
        if dtype == torch.float64:
            return wide
        narrow = round_once(wide, DTYPE_NAMES[dtype])
        self._refuse_overflow(np.isinf(narrow) & np.isfinite(wide), dtype)
        return narrow

    def _number(self, index: int, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value in NON_FINITE:
            return NON_FINITE[value]
        raise InvalidElement(
            "A number is needed here; the only strings are those of non-finite numbers.",
            pointer=self._pointer(index),
            expected=["a number", *NON_FINITE],
            got=value[:SHOWN],
        )

    def _need(self, kinds: set[type], what: str) -> None:
        if self.kinds <= kinds:
            return
        index = next(i for i, value in enumerate(self.flat) if type(value) not in kinds)
        value = self.flat[index]
        raise InvalidElement(
            f"{kind_of(value)} stands where {what} is needed.",
            pointer=self._pointer(index),
            expected=what,
            got=value if value is None or isinstance(value, bool) else _spell(value),
            hint='NaN is the string "NaN".' if value is None else None,
        )

    def _refuse_overflow(self, overflow: Array, dtype: torch.dtype) -> None:
        if overflow.any():
            raise self._too_large(int(np.flatnonzero(overflow)[0]), dtype)

    def _too_large(self, index: int, dtype: torch.dtype) -> ValueOutOfRange:
        limits = torch.finfo(dtype) if dtype.is_floating_point else torch.iinfo(dtype)
        hint = 'Infinity is the string "Infinity".' if dtype.is_floating_point else None
        return ValueOutOfRange(
            f"A value does not fit {DTYPE_NAMES[dtype]}.",
            pointer=self._pointer(index),
            expected=f"from {limits.min} to {limits.max}",
            got=_spell(self.flat[index]),
            hint=hint,
        )
