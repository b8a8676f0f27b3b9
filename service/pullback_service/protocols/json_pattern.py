"""JSON texts that differ in their numbers alone: what such a text is cut into, and what it is put together from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from itertools import chain, repeat
from math import prod
from typing import Any, ClassVar

import numpy as np
import orjson
import pybase64
import torch
from torch import Tensor

from pullback_schemas.tensors import Encoding
from pullback_service.program.types import DTYPE_NAMES, MAX_AXES
from pullback_service.protocols.answer import Json
from pullback_service.protocols.native_json import GAP
from pullback_service.protocols.native_safetensors import STORED_NAMES
from pullback_service.protocols.pattern import (
    ALONE,
    Axis,
    Cut,
    Gap,
    Hole,
    Path,
    Template,
    Unusual,
    many,
    none_where_not_finite,
)
from pullback_service.protocols.raw import from_raw, rows_of
from pullback_service.protocols.tensor_reader import read_tensor

NUMBERS = re.compile(
    rb":([ \t\r\n]*+\[(?:[-+0-9.eE, \t\r\n\[]*+\])++"
    rb"|[ \t\r\n]*+-?[0-9][-+0-9.eE]*+(?=[ \t\r\n]*[,}])"
    rb'|(?<="data":)[ \t\r\n]*+"[A-Za-z0-9+/]*+={0,2}+")'
)
"""A colon and a list of numbers, perhaps nested, or a number, or base64; or what looks like one.

Nothing is gone over twice, whatever the text is.
"""

INPUTS = b'"inputs"'
MARK = "numbers "
QUOTE, SPACE = b'"', b" \t\r\n"

WITH_NUMPY = frozenset({torch.float64, torch.float32, torch.int64, torch.int32, torch.bool})
"""Dtypes whose elements numpy has and JSON spells."""


def cut_json(text: bytes) -> Cut:
    """What stands between the numbers after the graph, all before it included, and the texts of the numbers.

    The colons before them are in neither.
    """
    start = max(0, text.rfind(INPUTS))
    parts = NUMBERS.split(text[start:])
    parts[0] = text[:start] + parts[0]
    return tuple(parts[::2]), parts[1::2]


def holes_in_json(cut: Cut) -> list[Hole] | None:
    """The holes of a text that was cut; None if one is no value of it, as within a string."""
    fragments, texts = cut
    paths = _paths_of(fragments)
    if paths is None:
        return None
    kinds = [InBase64 if text.lstrip(SPACE).startswith(QUOTE) else InNumbers for text in texts]
    return [kind(column, path, text) for column, (kind, path, text) in enumerate(zip(kinds, paths, texts, strict=True))]


def _paths_of(fragments: Sequence[bytes]) -> list[Path] | None:
    """Where in the document each hole between the fragments is; None if one is no value of it."""
    count = len(fragments) - 1
    marks = [f"{MARK}{index}" for index in range(count)]
    text = b"".join([fragments[0], *[b':"%s"%s' % (m.encode(), f) for m, f in zip(marks, fragments[1:], strict=True)]])
    try:
        found = list(_marked(orjson.loads(text), ()))
    except orjson.JSONDecodeError:  # a mark ended the string that it stands in
        return None
    return [path for _, path in found] if [mark for mark, _ in found] == marks else None


def _marked(value: Any, path: Path) -> Iterator[tuple[str, Path]]:
    """The marks, in the order of the text."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _marked(item, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _marked(item, (*path, index))
    elif isinstance(value, str) and value.startswith(MARK):
        yield value, path


class InNumbers(Hole):
    """A number, or a list of such, perhaps nested: as deep and as long as the first one was."""

    encoding = "nested"
    dtypes = WITH_NUMPY
    is_finite = True

    def _read(self, texts: Sequence[bytes], dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        count = len(texts)
        # The strings are ours, if there are no others: each text is one value if they stand where they were put.
        joined = b"[%b]" % b',"",'.join(texts)
        if joined.count(QUOTE) != 2 * (count - 1):
            raise Unusual
        values = orjson.loads(joined)
        if values[1::2] != [""] * (count - 1):
            raise Unusual
        if dtype == torch.float64:
            array = np.array(values[::2], dtype=np.float64)
        else:
            array = read_tensor(values[::2], dtype).numpy()
        if array.shape != (count, *self._nested):
            raise Unusual
        return torch.from_numpy(array.reshape(shape))

    @cached_property
    def _nested(self) -> tuple[int, ...]:
        return np.shape(orjson.loads(self._text))


class InBase64(Hole):
    """A string of base64."""

    encoding = "base64"
    dtypes = frozenset(STORED_NAMES)

    def _read(self, texts: Sequence[bytes], dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        strings = [text.lstrip(SPACE) for text in texts]
        if not all(string.startswith(QUOTE) for string in strings):
            raise Unusual
        rows = [pybase64.b64decode(string[1:-1], validate=True) for string in strings]
        if any(len(row) * len(rows) != prod(shape) * dtype.itemsize for row in rows):
            raise Unusual
        return from_raw(bytearray().join(rows), dtype, shape)


Rows = list[bytes | None]
"""Of a column, the text of each row, without the brackets around it; None for one that has none."""


class JsonTemplate(Template):
    """Answers in JSON."""

    encoding: ClassVar[Encoding]

    def __init__(self, document: Json) -> None:
        self._writers: list[Callable[[Tensor, Axis], Rows]] = []
        self._frames = orjson.dumps(document, default=self._gap).split(GAP)

    def fill(self, columns: Sequence[Tensor], others: Sequence[bytes], axis: Axis = ALONE) -> list[bytes | None]:
        """The answers; None for one with numbers that its form does not spell."""
        frames, (after, *ends) = self._frames[: len(columns)], self._frames[len(columns) :]
        end = b"".join([after, *chain.from_iterable(zip(others, ends, strict=True))])
        rows = [write(column, axis) for write, column in zip(self._writers, columns, strict=True)]
        pieces = chain.from_iterable(zip(map(repeat, frames), rows, strict=True))
        answers = zip(*pieces, repeat(end, many(axis)), strict=False)
        if not any(None in column for column in rows):
            return list(map(b"".join, answers))
        return [None if None in answer else b"".join(answer) for answer in answers]

    def _gap(self, leaf: Any) -> Any:
        if isinstance(leaf, Gap):
            return orjson.Fragment(GAP)
        if not isinstance(leaf, Tensor):
            raise TypeError(f"no JSON: {type(leaf).__name__}")
        form = {"dtype": DTYPE_NAMES[leaf.dtype], "shape": list(leaf.shape)}
        if self.encoding == "base64":
            self._writers.append(_in_base64)
            return {**form, "encoding": self.encoding, "data": orjson.Fragment(b'"%b"' % GAP)}
        depth = leaf.dim()
        self._writers.append(partial(_in_numbers, depth))
        return {**form, "data": orjson.Fragment(b"%b%b%b" % (b"[" * depth, GAP, b"]" * depth))}


class NumbersTemplate(JsonTemplate):
    """Answers whose tensors are numbers, and finite."""

    encoding = "nested"

    @staticmethod
    def writes(tensor: Tensor) -> bool:
        """Where there is no number, brackets do not tell rows apart; numpy has one axis less for them."""
        return tensor.dtype in WITH_NUMPY and tensor.numel() > 0 and tensor.dim() < MAX_AXES


class Base64Template(JsonTemplate):
    """Answers whose tensors are base64."""

    encoding = "base64"

    @staticmethod
    def writes(tensor: Tensor) -> bool:
        """Whatever has bytes of its own."""
        return tensor.dtype in STORED_NAMES


def _in_numbers(depth: int, column: Tensor, axis: Axis) -> Rows:
    array = column.numpy()
    text = orjson.dumps(array if axis else array[None], option=orjson.OPT_SERIALIZE_NUMPY)
    between = b"]" * depth + b"," + b"[" * depth  # more brackets than stand within a row
    rows = text[depth + 1 : -depth - 1].split(between)
    return [None if b"null" in row else row for row in rows] if b"null" in text else [*rows]


def _in_base64(column: Tensor, axis: Axis) -> Rows:
    rows = [pybase64.b64encode(row) for row in rows_of(column, many(axis))]
    return none_where_not_finite(rows, column, axis)
