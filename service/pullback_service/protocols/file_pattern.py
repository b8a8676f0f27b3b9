"""Safetensors files that differ in their data alone: what such a file is cut into, and what it is put together from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from typing import Any

import orjson
import torch
from torch import Tensor

from pullback_schemas.safetensors import LENGTH_BYTES, METADATA, head, head_of, lay_out
from pullback_service.protocols.answer import Json
from pullback_service.protocols.native_json import GAP
from pullback_service.protocols.native_safetensors import REQUEST, RESULT, stored_of, without_tensors
from pullback_service.protocols.pattern import Cut, Gap, Hole, Path, Template, Unusual
from pullback_service.protocols.raw import from_raw, rows_of

GAP_IN_HEADER = re.compile(rb"(?<=:)\\u0000")
"""A gap among the values of the JSON that is a string of the header. In strings of that JSON a \\ comes before it."""


def cut_file(body: bytes) -> Cut | None:
    """The head of a file, and its data; None if it has no head."""
    skeleton = head_of(body)
    return None if skeleton is None else ((skeleton,), [body[len(skeleton) :]])


def holes_in_file(cut: Cut) -> list[Hole] | None:
    """Each tensor of a file that was cut and is a right one; None if something of it cannot be read this way."""
    [skeleton], [data] = cut
    try:
        header = orjson.loads(skeleton[LENGTH_BYTES:])
        request = orjson.loads(header.pop(METADATA)[REQUEST])
    except orjson.JSONDecodeError:
        return None
    paths: dict[str, list[Path]] = {key: [] for key in header}
    for key, path in _references(request, ()):
        paths.get(key, []).append(path)  # an argument of an operator may have that name, too
    return [
        InData(found[0] if len(found) == 1 else (), data, *header[key]["data_offsets"]) for key, found in paths.items()
    ]


def _references(value: Any, path: Path) -> Iterator[tuple[str, Path]]:
    """The keys that a request refers to, and where it does."""
    if isinstance(value, dict) and isinstance(value.get("tensor"), str):
        yield value["tensor"], path
    elif isinstance(value, dict | list):
        for place, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _references(item, (*path, place))


class InData(Hole):
    """The bytes of a tensor, from one place in the data to another. What is referred to twice has no path."""

    encoding = None

    def __init__(self, path: Path, data: bytes, begin: int, end: int) -> None:
        super().__init__(0, path, data)
        self._begin, self._end = begin, end

    def own(self, text: bytes) -> bytes:
        """The tensor's bytes."""
        return text[self._begin : self._end]

    def read_all(self, texts: Sequence[bytes], dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        """The numbers, copied out of files that are as long as the first one."""
        if any(len(text) != len(self._text) for text in texts):
            raise Unusual
        return from_raw(bytearray().join(map(self.own, texts)), dtype, shape)


class FileTemplate(Template):
    """Answers in files."""

    def __init__(self, document: Json) -> None:
        tensors: dict[str, Tensor] = {}
        text = orjson.dumps(without_tensors(document, tensors), default=_gap).decode()
        header, order = lay_out({RESULT: text}, {key: stored_of(tensor) for key, tensor in tensors.items()})
        self._frames = GAP_IN_HEADER.split(header)
        self._order = [list(tensors).index(key) for key in order]
        """Which columns the data of a file are, one after the other."""

    def fill(
        self, columns: Sequence[Tensor], others: Sequence[bytes], axis: tuple[int, ...] = ()
    ) -> list[bytes | None]:
        """The answers."""
        first, *ends = self._frames
        escaped = [other.replace(b'"', b'\\"') for other in others]
        begin = head(b"".join([first, *chain.from_iterable(zip(escaped, ends, strict=True))]))
        rows = [rows_of(columns[index], axis) for index in self._order]
        [count] = axis or (1,)
        return [b"".join(pieces) for pieces in zip(repeat(begin, count), *rows, strict=True)]


def _gap(leaf: Any) -> Any:
    if isinstance(leaf, Gap):
        return orjson.Fragment(GAP)
    raise TypeError(f"no JSON: {type(leaf).__name__}")
