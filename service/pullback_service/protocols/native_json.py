"""The native protocol in JSON: answers and problems as bytes."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from torch import Tensor

from pullback_schemas.problems import LimitExceeded, ProblemError, ProblemsError, describe
from pullback_schemas.tensors import Encoding
from pullback_service.protocols.tensor_writer import Written, write_tensor

SMALL = 2**20


def encode(document: Mapping[str, Any], max_bytes: int) -> bytes:
    """A JSON document as bytes. Raises LimitExceeded, or MemoryError."""
    size = _size(document.values())
    if size <= max_bytes:
        _set_aside(2 * size)
        body = orjson.dumps(document)
        size = len(body)
    if size > max_bytes:
        raise LimitExceeded(
            f"The answer has {size:,} bytes; the limit is {max_bytes:,}.",
            expected=max_bytes,
            got=size,
            hint='Ask for less, or for encoding: "base64".',
        )
    return body


def _size(values: Iterable[Any]) -> int:
    """The bytes of the tensors among these values and below them."""
    size = 0
    for value in values:
        kind = type(value)
        if kind is Written:
            size += value.size
        elif kind is dict:
            size += _size(value.values())
        elif kind is list:
            size += _size(value)
    return size


def _set_aside(size: int) -> None:
    """Raise MemoryError when there is no room for so many bytes; orjson crashes instead."""
    if size > SMALL:
        try:
            mmap.mmap(-1, size).close()
        except OSError:
            raise MemoryError from None


def encode_problem(error: ProblemError | ProblemsError) -> tuple[int, bytes]:
    """The status and the problem document."""
    problem = describe(error)
    return problem.status, problem.model_dump_json(exclude_none=True).encode()


def write_tensors(tensors: Mapping[str, Tensor | None], encoding: Encoding) -> dict[str, Any]:
    """Named tensors in full form; None stays null."""
    return {name: None if tensor is None else write_tensor(tensor, encoding) for name, tensor in tensors.items()}
