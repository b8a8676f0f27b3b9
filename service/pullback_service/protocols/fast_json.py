"""JSON read fast where that is certainly right: large arrays of numbers become numbers without a Python object each.

It never says what is wrong with a body. Whatever is unusual is a doubt, and then strict_json reads the same bytes anew.
"""

from __future__ import annotations

import mmap
from codecs import BOM_UTF8
from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np
import simdjson

from pullback_schemas.graphs import WrittenGraph

Bytes = bytes | bytearray | memoryview

SATURATED = 2**24 - 1
"""The size that simdjson tells of all larger arrays, of which it would make a Python list too short for them."""

PLAIN_BYTES = 2**25
"""A JSON text below it has fewer elements than that."""

MAX_KEYS = 64
"""An object is searched from its beginning for each key."""

MAX_AXES = 32
"""More of them are unusual."""

CHUNK_BYTES = 2**16
"""What stays in the processor's cache while it is searched."""

BRACKET, COLON, BACKSLASH = b"[:\\"
LONG = 2**16
"""No graph, but base64: it has neither brackets nor colons, and is not searched for them."""

KINDS = {int: "iud", float: "d"}
_HIDDEN = b"\\u00"
"""How a string may hold a bracket or a colon that is none of the text's own bytes."""


class Doubt(Exception):
    """Perhaps the body is wrong, perhaps only unusual."""


class Numbers(NamedTuple):
    """The numbers of a JSON array in row-major order, nested as `shape` says.

    `kind` "i" and "u" are 64-bit integers, as all of them were written; "d" is float64.
    """

    kind: str
    buffer: Any
    shape: list[int]


def read_fast(body: Bytes) -> Any:
    """The value of an object as JSON has it, but for arrays of numbers and a graph in JSON. Raises Doubt.

    A MemoryError is a doubt too: there may be room for the other reader.
    """
    try:
        return _Reader(body).read()
    except (ValueError, TypeError, IndexError, KeyError, RuntimeError, MemoryError, RecursionError) as error:
        raise Doubt from error


class _Reader:
    """Converts one document, and counts the brackets and colons that it should have."""

    def __init__(self, body: Bytes) -> None:
        self._body = body
        self._brackets = 0
        self._colons = 0

    def read(self) -> dict[str, Any]:
        if bytes(self._body[: len(BOM_UTF8)]) == BOM_UTF8:
            raise Doubt
        root: Any = simdjson.Parser().parse(self._body)
        expected = _count(self._body)
        _let_go(self._body)
        if not isinstance(root, simdjson.Object):
            raise Doubt
        document = {key: self._field(key, value) for key, value in self._items(root)}
        if expected != (self._brackets, self._colons):
            raise Doubt
        return document

    def _items(self, value: Any) -> Iterator[tuple[str, Any]]:
        if len(value) > MAX_KEYS:
            raise Doubt
        keys = list(value)
        if len(set(keys)) != len(keys):
            raise Doubt
        self._colons += len(keys)
        return zip(keys, map(value.__getitem__, keys), strict=True)

    def _field(self, key: str, value: Any) -> Any:
        if isinstance(value, simdjson.Array):
            self._brackets += 1
            return [self._tensor(item) for item in value]
        if not isinstance(value, simdjson.Object):
            return self._counted(value)
        if key == "graph":
            text: bytes = value.mini  # type: ignore[assignment]  # they are bytes, whatever its types say
            self._note(text.count(b"["), text.count(b":"))
            return WrittenGraph(text)
        if len(value) > MAX_KEYS:
            return self._plain(value)
        return {name: self._tensor(item) for name, item in self._items(value)}

    def _tensor(self, value: Any) -> Any:
        if isinstance(value, simdjson.Array):
            return self._numbers(value)
        if not isinstance(value, simdjson.Object):
            return self._counted(value)
        return {
            name: self._numbers(item) if name == "data" and isinstance(item, simdjson.Array) else self._plain(item)
            for name, item in self._items(value)
        }

    def _numbers(self, array: Any) -> Any:
        """The array as Numbers, if it holds nothing else and something."""
        shape, first = _nesting(array)
        for kind in KINDS.get(type(first), ""):
            try:
                buffer = array.as_buffer(of_type=kind)
            except (TypeError, ValueError, RuntimeError):
                continue
            if buffer.size != 8 * prod(shape):
                raise Doubt
            self._brackets += 1 + sum(prod(shape[: axis + 1]) for axis in range(len(shape) - 1))
            return Numbers(kind, buffer, shape)
        return self._plain(array)

    def _plain(self, value: Any) -> Any:
        """The value in Python's own types."""
        if isinstance(value, simdjson.Array | simdjson.Object):
            if len(self._body) >= PLAIN_BYTES and len(value.mini) >= PLAIN_BYTES:
                raise Doubt
            value = value.as_list() if isinstance(value, simdjson.Array) else value.as_dict()
        return self._counted(value)

    def _counted(self, value: Any) -> Any:
        todo = [value]
        while todo:
            item = todo.pop()
            if isinstance(item, str) and len(item) < LONG:
                self._note(item.count("["), item.count(":"))
            elif isinstance(item, list):
                self._brackets += 1
                todo += item
            elif isinstance(item, dict):
                self._colons += len(item)
                todo += item.values()
        return value

    def _note(self, brackets: int, colons: int) -> None:
        self._brackets += brackets
        self._colons += colons


def _let_go(body: Bytes) -> None:
    """Give back the memory of a shared body, of which the parser has a copy; whoever reads it again gets it again."""
    if isinstance(body, memoryview) and isinstance(body.obj, mmap.mmap):
        body.obj.madvise(mmap.MADV_DONTNEED)


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


def _count(body: Bytes) -> tuple[int, int]:
    """How many brackets and colons the text has, in strings too. Raises Doubt where strings may hide some."""
    if isinstance(body, bytes | bytearray):
        if b"\\" in body and _HIDDEN in body:
            raise Doubt
        return body.count(b"["), body.count(b":")
    brackets = colons = 0
    characters = np.frombuffer(body, np.uint8)
    for start in range(0, len(body), CHUNK_BYTES):
        chunk = characters[start : start + CHUNK_BYTES]
        if (chunk == BACKSLASH).any():
            around = bytes(body[max(0, start - len(_HIDDEN)) : start + CHUNK_BYTES + len(_HIDDEN)])
            if _HIDDEN in around:
                raise Doubt
        brackets += int(np.count_nonzero(chunk == BRACKET))
        colons += int(np.count_nonzero(chunk == COLON))
    return brackets, colons
