"""Tensors out of JSON: full, short and base64 forms. Every refusal points to the element."""

from __future__ import annotations

from itertools import chain
from math import prod
from typing import Any

import numpy as np
import pybase64
import torch
from torch import Tensor

from pullback_schemas.problems import (
    InvalidBase64,
    InvalidElement,
    InvalidField,
    LimitExceeded,
    MissingField,
    ProblemError,
    RaggedData,
    WrongCount,
    pointer_to,
    under,
)
from pullback_schemas.tensors import NON_FINITE, FullTensor, TensorRef
from pullback_service.program.types import DTYPE_NAMES, DTYPES, MAX_AXES, refuse_shape
from pullback_service.protocols.elements import SHOWN, Elements, index_pointer, kind_of
from pullback_service.protocols.native_safetensors import FileTensor
from pullback_service.protocols.number_arrays import Doubt, Numbers
from pullback_service.protocols.raw import from_raw
from pullback_service.protocols.rounding import round_once, to_bfloat16

MAX_EXTENT = 2**48
"""Beyond it torch's own arithmetic with sizes may overflow."""


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
            "With encoding base64, data is a string.", pointer="/data", expected="a string", got=kind_of(data)
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
    elements = Elements(flat, nested, at)
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
        narrow = to_bfloat16(wide)
    else:
        narrow = torch.from_numpy(round_once(wide.numpy(), DTYPE_NAMES[dtype]))
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


def _ragged(shape: list[int], level: list[Any], at: str) -> ProblemError:
    first = level[0]
    expected = f"a list of {len(first)}" if isinstance(first, list) else "a number"

    def describe(item: Any) -> str:
        return f"a list of {len(item)}" if isinstance(item, list) else "a number"

    index = next(i for i, item in enumerate(level) if describe(item) != expected)
    return RaggedData(
        f"The nested data is ragged: here stands {describe(level[index])}, its first sibling is {expected}.",
        pointer=at + index_pointer(index, shape),
        expected=expected,
        got=describe(level[index]),
    )


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
