"""Arrays of numbers as simdjson has parsed them, without a Python object for each number."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import simdjson
from numpy.typing import NDArray

SATURATED = 2**24 - 1
"""The size that simdjson tells of all larger arrays, of which it would make a Python list too short for them."""

MAX_AXES = 32
"""More of them are unusual."""

Numbers = NDArray[Any]
"""The numbers of a JSON array in its shape: int64 or uint64, as all of them were written, or float64."""

KINDS = {int: "iud", float: "d"}
DTYPES = {"i": np.int64, "u": np.uint64, "d": np.float64}


class Doubt(Exception):
    """Perhaps the body is wrong, perhaps only unusual."""


def read_numbers(array: Any) -> Numbers | None:
    """The array, if it holds nothing but numbers, and some. Raises Doubt, or TypeError, where it is ragged.

    Not every ragged array is found out: it has other brackets than `brackets` of what is read.
    """
    shape, first = _nesting(array)
    for kind in KINDS.get(type(first), ""):
        try:
            buffer = array.as_buffer(of_type=kind)
        except (TypeError, ValueError, RuntimeError):
            continue
        if buffer.size != 8 * prod(shape):
            raise Doubt
        return np.frombuffer(buffer, DTYPES[kind]).reshape(shape)
    return None


def brackets(numbers: Numbers) -> int:
    """How many of each kind its JSON has."""
    return 1 + sum(prod(numbers.shape[:axis]) for axis in range(1, numbers.ndim))


def _nesting(array: Any) -> tuple[list[int], Any]:
    """The sizes level by level, and the first element. Raises Doubt where the lists of a level differ."""
    if isinstance(first := array[0] if len(array) else None, int | float) and len(array) != SATURATED:
        return [len(array)], first
    shape: list[int] = []
    rows = [array]
    while True:
        sizes = set(map(len, rows))  # raises TypeError for a number among lists
        if len(sizes) != 1 or SATURATED in sizes or len(shape) == MAX_AXES:
            raise Doubt
        shape += sizes
        if not shape[-1]:
            return shape, None
        first = rows[0][0]
        if not isinstance(first, simdjson.Array):
            return shape, first
        rows = [item for row in rows for item in row]
