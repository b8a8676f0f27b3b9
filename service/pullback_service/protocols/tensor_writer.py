"""Tensors into JSON: strict, shortest digits that read back to the same bits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pybase64
import torch
from numpy.typing import NDArray
from torch import Tensor

from pullback_schemas.problems import LimitExceeded
from pullback_schemas.tensors import Encoding
from pullback_service.program.types import DTYPE_NAMES, MAX_AXES
from pullback_service.protocols.raw import to_raw

PIECE = 2**16
"""Elements that are written at a time."""

SHORT = 2**12
"""Bytes of JSON in which a null is found sooner than in the numbers."""

TRIPLES = 3 * 2**18
"""Bytes that become base64 at a time."""


def write_tensor(tensor: Tensor, encoding: Encoding = "nested") -> dict[str, Any]:
    """The tensor in full form; `data` is ready-made JSON for orjson."""
    written, pieces = full_form(tensor, encoding)
    return written | {"data": orjson.Fragment(b"".join(pieces))}


def full_form(tensor: Tensor, encoding: Encoding) -> tuple[dict[str, Any], list[bytes]]:
    """The tensor in full form but for its data, and the JSON of these, in pieces."""
    dense = dense_of(tensor)
    written: dict[str, Any] = {"dtype": DTYPE_NAMES[dense.dtype], "shape": list(dense.shape)}
    if encoding == "base64":
        raw = to_raw(dense)
        pieces = [pybase64.b64encode(raw[at : at + TRIPLES]) for at in range(0, len(raw), TRIPLES)]
        return written | {"encoding": "base64"}, [b'"', *pieces, b'"']
    return written, _numbers(_array(dense))


def dense_of(tensor: Tensor) -> Tensor:
    """The tensor's own elements in C order: no lazy conjugate, negation or zero, no sparse layout."""
    if tensor._is_zerotensor():
        return torch.zeros(tensor.shape, dtype=tensor.dtype)
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    return tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()


def _array(tensor: Tensor) -> NDArray[Any]:
    if tensor.is_complex():
        if tensor.dim() == MAX_AXES:
            raise LimitExceeded(
                f"A complex tensor has at most {MAX_AXES - 1} axes in JSON, which takes one more for its pairs.",
                expected=MAX_AXES - 1,
                got=MAX_AXES,
                hint='Ask for encoding: "base64".',
            )
        tensor = torch.view_as_real(tensor)
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.to(torch.float32)
    return tensor.numpy()


def _numbers(array: NDArray[Any]) -> list[bytes]:
    """The elements as nested lists, piece by piece: orjson crashes where memory for its text ends."""
    if array.ndim == 0:
        return [_piece(array.reshape(1))[1:-1]]
    return [_piece(array)] if array.size <= PIECE else list(_pieces(array))


def _pieces(array: NDArray[Any]) -> Iterator[bytes]:
    """The text of a large array, some whole rows in each piece."""
    rows = max(1, PIECE * len(array) // array.size)
    yield b"["
    for first in range(0, len(array), rows):
        if first:
            yield b","
        some = array[first : first + rows]
        if some.size <= PIECE:
            yield _piece(some)[1:-1]
        else:
            yield from _pieces(some[0])
    yield b"]"


def _piece(array: NDArray[Any]) -> bytes:
    text = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
    is_finite = b"null" not in text if len(text) <= SHORT else np.isfinite(array).all()
    return text if is_finite else _name_non_finite(text, array[~np.isfinite(array)])


def _name_non_finite(text: bytes, odd: NDArray[Any]) -> bytes:
    """Orjson writes each non-finite number as null, and nothing else; put their names there, in order."""
    names = np.where(np.isnan(odd), b'"NaN"', np.where(odd > 0, b'"Infinity"', b'"-Infinity"')).tolist()
    parts = text.split(b"null")
    pieces = [piece for pair in zip(parts, names, strict=False) for piece in pair]
    return b"".join([*pieces, parts[-1]])


def write_number(value: float) -> float | str:
    """A number as JSON has it: itself, or the name of one that is not finite."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
