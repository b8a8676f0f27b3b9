"""JSON texts that differ in their numbers alone: what such a text is cut into, and what it is put together from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from itertools import chain, repeat
from math import prod
from typing import Any

import numpy as np
import orjson
import pybase64
import torch
from torch import Tensor

from pullback_schemas.tensors import Encoding
from pullback_service.program.types import DTYPE_NAMES
from pullback_service.protocols.answer import Json
from pullback_service.protocols.native_json import GAP
from pullback_service.protocols.pattern import WITH_NUMPY, Cut, Gap, Hole, Path, Template, Unusual
from pullback_service.protocols.raw import from_raw, rows_of
from pullback_service.protocols.tensor_reader import read_tensor

NUMBERS = re.compile(
    rb":(\s*+\[(?:[-+0-9.eE,\s\[]*+\])++"
    rb"|\s*+-?[0-9][-+0-9.eE]*+(?=\s*[,}])"
    rb'|(?<="data":)\s*+"[A-Za-z0-9+/]*+={0,2}+")'
)
"""A colon and a list of numbers, perhaps nested, or a number, or base64; or what looks like one.

Nothing is gone over twice, whatever the text is.
"""

INPUTS = b'"inputs"'
MARK = "numbers "
ONE = (1,)
QUOTE = b'"'


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
    return [
        (InBase64 if text.lstrip().startswith(QUOTE) else InNumbers)(column, path, text)
        for column, (path, text) in enumerate(zip(paths, texts, strict=True))
    ]


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
    is_finite = True
    dtypes = WITH_NUMPY

    def read_all(self, texts: Sequence[bytes], dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        """The numbers, which are as nested as the first ones."""
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

    def read_all(self, texts: Sequence[bytes], dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        """The numbers, of which each text has as many."""
        strings = [text.lstrip() for text in texts]
        if not all(string.startswith(QUOTE) for string in strings):
            raise Unusual
        rows = [pybase64.b64decode(string[1:-1], validate=True) for string in strings]
        if any(len(row) * len(rows) != prod(shape) * dtype.itemsize for row in rows):
            raise Unusual
        return from_raw(bytearray().join(rows), dtype, shape)


Rows = list[bytes | None]
"""Of a column, the text of each row, without the brackets around it; None for one that has none."""


class JsonTemplate(Template):
    """Answers in JSON, their tensors in this encoding."""

    def __init__(self, document: Json, encoding: Encoding) -> None:
        self._encoding = encoding
        self._writers: list[Callable[[Tensor, tuple[int, ...]], Rows]] = []
        self._frames = orjson.dumps(document, default=self._gap).split(GAP)

    def fill(
        self, columns: Sequence[Tensor], others: Sequence[bytes], axis: tuple[int, ...] = ()
    ) -> list[bytes | None]:
        """The answers; None for one with a number that is not finite, if they are in numbers."""
        frames, (after, *ends) = self._frames[: len(columns)], self._frames[len(columns) :]
        end = b"".join([after, *chain.from_iterable(zip(others, ends, strict=True))])
        rows = [write(column, axis) for write, column in zip(self._writers, columns, strict=True)]
        pieces = chain.from_iterable(zip(map(repeat, frames), rows, strict=True))
        [count] = axis or ONE
        answers = zip(*pieces, repeat(end, count), strict=False)
        if not any(None in column for column in rows):
            return list(map(b"".join, answers))
        return [None if None in answer else b"".join(answer) for answer in answers]

    def _gap(self, leaf: Any) -> Any:
        if isinstance(leaf, Gap):
            return orjson.Fragment(GAP)
        if not isinstance(leaf, Tensor):
            raise TypeError(f"no JSON: {type(leaf).__name__}")
        form = {"dtype": DTYPE_NAMES[leaf.dtype], "shape": list(leaf.shape)}
        if self._encoding == "base64":
            self._writers.append(_in_base64)
            return {**form, "encoding": "base64", "data": orjson.Fragment(b'"%b"' % GAP)}
        self._writers.append(partial(_in_numbers, leaf.dim()))
        return {**form, "data": orjson.Fragment(b"%b%b%b" % (b"[" * leaf.dim(), GAP, b"]" * leaf.dim()))}


def _in_numbers(depth: int, column: Tensor, axis: tuple[int, ...]) -> Rows:
    """Rows of which each number is finite have one."""
    array = column.numpy()
    text = orjson.dumps(array if axis else array[None], option=orjson.OPT_SERIALIZE_NUMPY)
    between = b"]" * depth + b"," + b"[" * depth  # more brackets than stand within a row
    rows = text[depth + 1 : -depth - 1].split(between)
    return [None if b"null" in row else row for row in rows] if b"null" in text else [*rows]


def _in_base64(column: Tensor, axis: tuple[int, ...]) -> Rows:
    return [pybase64.b64encode(row) for row in rows_of(column, axis)]
