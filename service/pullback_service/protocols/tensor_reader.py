"""Tensors out of JSON: full, short and base64 forms. Every refusal points to the element."""

from __future__ import annotations

import math
from decimal import Decimal
from itertools import chain
from math import prod
from typing import Any

import numpy as np
import pybase64
import torch
from numpy.typing import NDArray
from torch import Tensor

from pullback_schemas.problems import (
    InvalidBase64,
    InvalidElement,
    InvalidField,
    LimitExceeded,
    MissingField,
    ProblemError,
    RaggedData,
    ValueOutOfRange,
    WrongCount,
    pointer_to,
    under,
)
from pullback_schemas.tensors import NON_FINITE, FullTensor, TensorRef
from pullback_service.program.types import DTYPE_NAMES, DTYPES, MAX_AXES, refuse_shape
from pullback_service.protocols.native_safetensors import FileTensor
from pullback_service.protocols.number_arrays import Doubt, Numbers
from pullback_service.protocols.raw import from_raw

MAX_EXTENT = 2**48
"""Beyond it torch's own arithmetic with sizes may overflow."""

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


def read_tensor(value: Any, declared: torch.dtype | None = None, *, max_elements: int = MAX_EXTENT) -> Tensor:
    """The tensor that `value` (a FullTensor, a FileTensor, or the numbers of the short form) stands for.

    Without a dtype of its own it gets the declared one, else bool for booleans and float64 for numbers.
    Pointers are relative to the tensor.
    """
    if isinstance(value, TensorRef):
        raise InvalidField(
            "There is no file to take a tensor from.",
            pointer="/tensor",
            hint="Send a safetensors file, its content type application/vnd.safetensors.",
        )
    if isinstance(value, FileTensor):
        tensor = value.read()
    elif not isinstance(value, FullTensor):
        tensor = _from_numbers(value, declared, None, "")
    else:
        dtype = DTYPES[value.dtype] if value.dtype else declared
        if value.shape is not None:
            refuse_shape(value.shape, MAX_EXTENT, "/shape")
        is_text = value.encoding == "base64"
        if not is_text and isinstance(value.data, str) and value.data not in NON_FINITE:
            raise InvalidElement(
                "The data is a string.",
                pointer="/data",
                expected="numbers",
                got=value.data[:SHOWN],
                hint='If it is base64, say so: "encoding": "base64".',
            )
        tensor = _from_base64(value, dtype) if is_text else _from_numbers(value.data, dtype, value.shape, "/data")
    refuse_shape(tensor.shape, max_elements)
    return tensor


# base64


def _from_base64(value: FullTensor, dtype: torch.dtype | None) -> Tensor:
    if dtype is None or value.shape is None:
        missing = "dtype" if dtype is None else "shape"
        raise MissingField(
            f"A base64 tensor needs its {missing}.",
            pointer=pointer_to(missing),
            hint='{"dtype": "float64", "shape": [2], "encoding": "base64", "data": "..."}',
        )
    raw = value.data if isinstance(value.data, bytearray) else _decoded(value.data)
    expected = prod(value.shape) * dtype.itemsize
    if len(raw) != expected:
        raise WrongCount(
            f"The data holds {len(raw)} bytes; {DTYPE_NAMES[dtype]} of shape {value.shape} takes {expected}.",
            pointer="/data",
            expected=expected,
            got=len(raw),
        )
    with under("/data"):
        return from_raw(raw, dtype, value.shape)


def _decoded(data: Any) -> bytearray:
    if not isinstance(data, str):
        raise InvalidBase64(
            "With encoding base64, data is a string.", pointer="/data", expected="a string", got=_kind_of(data)
        )
    try:
        return pybase64.b64decode_as_bytearray(data, validate=True)
    except ValueError as error:
        cause = f"it has {len(data)} characters, no multiple of 4" if len(data) % 4 else str(error)
        raise InvalidBase64(
            f"The data is not base64: {cause}.",
            pointer="/data",
            expected="the letters A-Z a-z 0-9 + / and = at the end, to a multiple of 4",
            got=data[:SHOWN],
            hint="Base64 for URLs, with - and _, is another one.",
        ) from None


# Numbers


def _from_numbers(data: Any, dtype: torch.dtype | None, shape: list[int] | None, at: str) -> Tensor:
    if isinstance(data, np.ndarray):
        return _from_decoded(data, dtype or torch.float64, shape)
    if isinstance(data, bytearray):  # a long string that might have been base64
        raise Doubt
    nested, flat = _flatten(data, at)
    elements = _Elements(flat, nested, at)
    if dtype is None:
        dtype = torch.bool if elements.kinds == {bool} else torch.float64
    final = _settle_shape(shape, nested, len(flat), dtype, at)
    if dtype == torch.bool:
        return torch.from_numpy(elements.booleans()).reshape(final)
    if dtype.is_complex:
        pairs = torch.from_numpy(elements.floats(dtype.to_real()))
        return torch.view_as_complex(pairs.reshape(*final, 2))
    if dtype.is_floating_point:
        return elements.float_tensor(dtype).reshape(final)
    return torch.from_numpy(elements.integers(dtype)).reshape(final)


def _from_decoded(numbers: Numbers, dtype: torch.dtype, shape: list[int] | None) -> Tensor:
    """The tensor of numbers that are read already, none of them infinite. Raises Doubt for whatever does not fit."""
    if shape is None and dtype == torch.float64 and numbers.dtype == np.float64:
        return torch.from_numpy(numbers)
    try:
        final = _settle_shape(shape, list(numbers.shape), numbers.size, dtype, "")
    except ProblemError:
        raise Doubt from None
    if dtype.is_complex:
        return torch.view_as_complex(_rounded(numbers, dtype.to_real()).reshape(*final, 2))
    if dtype.is_floating_point:
        return _rounded(numbers, dtype).reshape(final)
    return _integers(numbers, dtype).reshape(final)


def _rounded(numbers: Numbers, dtype: torch.dtype) -> Tensor:
    wide = torch.from_numpy(numbers.ravel().astype(np.float64, copy=False))
    if dtype == torch.float64:
        return wide
    if dtype == torch.bfloat16:
        narrow = _to_bfloat16(wide)
    else:
        narrow = torch.from_numpy(_round_once(wide.numpy(), DTYPE_NAMES[dtype]))
    if narrow.isinf().any():
        raise Doubt
    return narrow


def _integers(numbers: Numbers, dtype: torch.dtype) -> Tensor:
    if numbers.dtype == np.float64 or dtype == torch.bool:
        raise Doubt
    limits = torch.iinfo(dtype)
    if not limits.min <= int(numbers.min()) <= int(numbers.max()) <= limits.max:
        raise Doubt
    return torch.from_numpy(numbers.astype(DTYPE_NAMES[dtype]))


def _flatten(data: Any, at: str) -> tuple[list[int], list[Any]]:
    """The shape of the nesting and the elements in row-major order. Raises RaggedData."""
    shape: list[int] = []
    level = [data]
    while level:
        kinds = set(map(type, level))
        if list not in kinds:
            break
        sizes = set(map(len, level)) if len(kinds) == 1 else set()
        if len(sizes) != 1:
            raise _ragged(shape, level, at)
        shape.append(sizes.pop())
        if len(shape) > MAX_AXES + 1:
            raise LimitExceeded(f"A tensor has at most {MAX_AXES} axes.", pointer=at, expected=MAX_AXES)
        level = list(chain.from_iterable(level))
    return shape, level


def _kind_of(value: Any) -> str:
    return KINDS.get(type(value), "Something else")


def _ragged(shape: list[int], level: list[Any], at: str) -> ProblemError:
    first = level[0]
    expected = f"a list of {len(first)}" if isinstance(first, list) else "a number"

    def describe(item: Any) -> str:
        return f"a list of {len(item)}" if isinstance(item, list) else "a number"

    index = next(i for i, item in enumerate(level) if describe(item) != expected)
    return RaggedData(
        f"The nested data is ragged: here stands {describe(level[index])}, its first sibling is {expected}.",
        pointer=at + _index_pointer(index, shape),
        expected=expected,
        got=describe(level[index]),
    )


def _index_pointer(index: int, shape: list[int]) -> str:
    return pointer_to(*(int(i) for i in np.unravel_index(index, shape))) if shape else ""


def _settle_shape(shape: list[int] | None, nested: list[int], count: int, dtype: torch.dtype, at: str) -> list[int]:
    """The tensor's shape, from what was said and how the data is nested."""
    pair = [2] if dtype.is_complex else []
    if shape is None:
        if pair and nested[-1:] != pair:
            raise WrongCount("A complex element is a pair [re, im].", pointer=at, expected=[*nested, 2], got=nested)
        return nested[: len(nested) - len(pair)]
    target = [*shape, *pair]
    visible = target[: target.index(0) + 1] if 0 in target else target
    is_flat = len(nested) <= 1 and count == prod(target)
    if nested != visible and not is_flat:
        raise WrongCount(
            f"The data is nested as {nested} and holds {count} numbers; the shape {shape} of {DTYPE_NAMES[dtype]} "
            f"takes {prod(target)}, nested as {target} or flat.",
            pointer=at,
            expected=target,
            got=nested,
        )
    return shape


def _round_once(wide: Array, dtype: str) -> Array:
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


def _to_bfloat16(wide: Tensor) -> Tensor:
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


def _spell(value: Any) -> str:
    """What came, as JSON spells it; a number beyond float64 came as infinity."""
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return str(value)[:64]


class _Elements:
    """The elements of a tensor in row-major order, and where each stood."""

    def __init__(self, flat: list[Any], nested: list[int], at: str) -> None:
        self.flat = flat
        self.nested = nested
        self.at = at
        self.kinds = set(map(type, flat))

    def pointer(self, index: int) -> str:
        return self.at + _index_pointer(index, self.nested)

    def booleans(self) -> Array:
        self.need({bool}, "true or false")
        return np.array(self.flat, dtype=np.bool_)

    def integers(self, dtype: torch.dtype) -> Array:
        self.need({int, float}, "an integer")
        flat = [self.integer(i, v) for i, v in enumerate(self.flat)] if float in self.kinds else self.flat
        try:
            return np.array(flat, dtype=DTYPE_NAMES[dtype])
        except OverflowError:
            limits = torch.iinfo(dtype)
            index = next(i for i, v in enumerate(flat) if not limits.min <= v <= limits.max)
            raise self.too_large(index, dtype) from None

    def integer(self, index: int, value: int | float) -> int:
        if isinstance(value, float) and not (value.is_integer() and abs(value) < 2**53):
            raise InvalidElement(
                f"{value} is no integer.", pointer=self.pointer(index), expected="an integer", got=_spell(value)
            )
        return int(value)

    def float_tensor(self, dtype: torch.dtype) -> Tensor:
        if dtype != torch.bfloat16:
            return torch.from_numpy(self.floats(dtype))
        wide = self.floats(torch.float64)
        tensor = _to_bfloat16(torch.from_numpy(wide))
        self.refuse_overflow(tensor.isinf().numpy() & np.isfinite(wide), dtype)
        return tensor

    def floats(self, dtype: torch.dtype) -> Array:
        """A numpy array of a real dtype. The strings of non-finite numbers are the only way to those."""
        self.need({int, float, str}, "a number")
        has_strings = str in self.kinds
        flat = [self.number(i, v) for i, v in enumerate(self.flat)] if has_strings else self.flat
        try:
            wide = np.array(flat, dtype=np.float64)
        except OverflowError:
            index = next(i for i, v in enumerate(flat) if isinstance(v, int) and abs(v) >= 2**1024 - 2**970)
            raise self.too_large(index, torch.float64) from None
        if not np.isfinite(wide).all():
            infinite = np.isinf(wide)
            if has_strings:
                infinite &= np.fromiter((type(v) is not str for v in self.flat), np.bool_, len(flat))
            self.refuse_overflow(infinite, torch.float64)
        if dtype == torch.float64:
            return wide
        narrow = _round_once(wide, DTYPE_NAMES[dtype])
        self.refuse_overflow(np.isinf(narrow) & np.isfinite(wide), dtype)
        return narrow

    def number(self, index: int, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value in NON_FINITE:
            return NON_FINITE[value]
        raise InvalidElement(
            "A number is needed here; the only strings are those of non-finite numbers.",
            pointer=self.pointer(index),
            expected=["a number", *NON_FINITE],
            got=value[:SHOWN],
        )

    def need(self, kinds: set[type], what: str) -> None:
        if self.kinds <= kinds:
            return
        index = next(i for i, value in enumerate(self.flat) if type(value) not in kinds)
        value = self.flat[index]
        raise InvalidElement(
            f"{_kind_of(value)} stands where {what} is needed.",
            pointer=self.pointer(index),
            expected=what,
            got=value if value is None or isinstance(value, bool) else _spell(value),
            hint='NaN is the string "NaN".' if value is None else None,
        )

    def refuse_overflow(self, overflow: Array, dtype: torch.dtype) -> None:
        if overflow.any():
            raise self.too_large(int(np.flatnonzero(overflow)[0]), dtype)

    def too_large(self, index: int, dtype: torch.dtype) -> ValueOutOfRange:
        limits = torch.finfo(dtype) if dtype.is_floating_point else torch.iinfo(dtype)
        hint = 'Infinity is the string "Infinity".' if dtype.is_floating_point else None
        return ValueOutOfRange(
            f"A value does not fit {DTYPE_NAMES[dtype]}.",
            pointer=self.pointer(index),
            expected=f"from {limits.min} to {limits.max}",
            got=_spell(self.flat[index]),
            hint=hint,
        )
