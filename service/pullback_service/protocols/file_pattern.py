"""Safetensors files that differ in their data alone: what such a file is cut into, and what it is put together from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain, repeat
from typing import Any

import orjson
import torch
from torch import Tensor

from pullback_schemas.safetensors import LENGTH_BYTES, head, head_of, lay_out
from pullback_service.protocols.answer import Json
from pullback_service.protocols.native_json import GAP
from pullback_service.protocols.native_safetensors import (
    RESULT,
    STORED_NAMES,
    references_in,
    stored_of,
    without_tensors,
)
from pullback_service.protocols.pattern import (
    ALONE,
    Axis,
    Cut,
    Gap,
    Hole,
    Path,
    Template,
    many,
    none_where_not_finite,
)
from pullback_service.protocols.raw import from_raw, rows_of

GAP_IN_HEADER = re.compile(rb"(?<=:)\\u0000")
"""A gap among the values of the JSON that is a string of the header. In strings of that JSON a \\ comes before it."""


def cut_file(body: bytes) -> Cut | None:
    """The head of a file and how much follows; and its data. None if it has no head."""
    skeleton = head_of(body)
    if skeleton is None:
        return None
    data = body[len(skeleton) :]
    return (skeleton, b"%d" % len(data)), [data]


def holes_in_file(cut: Cut) -> list[Hole]:
    """Each tensor of a right file that was cut."""
    (skeleton, _), [data] = cut
    header = orjson.loads(skeleton[LENGTH_BYTES:])
    found = references_in(skeleton + data)
    return [InData(path, data, *header[key]["data_offsets"]) for key, path in found.items()]


class InData(Hole):
    """The bytes of a tensor, from one place in the data to another."""

    encoding = None
    dtypes = frozenset(STORED_NAMES)

    def __init__(self, path: Path, data: bytes, begin: int, end: int) -> None:
        super().__init__(0, path, data)
        self._begin, self._end = begin, end

    def _own(self, text: bytes) -> bytes:
        return text[self._begin : self._end]

    def _read(self, texts: Sequence[bytes], dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        return from_raw(bytearray().join(map(self._own, texts)), dtype, shape)


class FileTemplate(Template):
    """Answers in files."""

    def __init__(self, document: Json) -> None:
        tensors: dict[str, Tensor] = {}
        text = orjson.dumps(without_tensors(document, tensors), default=_gap).decode()
        header, order = lay_out({RESULT: text}, {key: stored_of(tensor) for key, tensor in tensors.items()})
        self._frames = GAP_IN_HEADER.split(header)
        self._order = [list(tensors).index(key) for key in order]
        """Which columns the data of a file are, one after the other."""

    @staticmethod
    def writes(tensor: Tensor) -> bool:
        """Whatever has a name in files."""
        return tensor.dtype in STORED_NAMES

    def fill(self, columns: Sequence[Tensor], others: Sequence[bytes], axis: Axis = ALONE) -> list[bytes | None]:
        """The answers; None for one of many that is not finite."""
        first, *ends = self._frames
        escaped = [other.replace(b'"', b'\\"') for other in others]
        begin = head(b"".join([first, *chain.from_iterable(zip(escaped, ends, strict=True))]))
        rows = [_rows_of(columns[index], axis) for index in self._order]
        files = zip(repeat(begin, many(axis)), *rows, strict=True)
        return [None if None in pieces else b"".join(pieces) for pieces in files]


def _rows_of(column: Tensor, axis: Axis) -> list[Any]:
    return none_where_not_finite(rows_of(column, many(axis)), column, axis)


def _gap(leaf: Any) -> Any:
    if isinstance(leaf, Gap):
        return orjson.Fragment(GAP)
    raise TypeError(f"no JSON: {type(leaf).__name__}")
