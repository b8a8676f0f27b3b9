"""JSON read fast where that is certainly right: large arrays of numbers become numbers without a Python object each.

It never says what is wrong with a body. Whatever is unusual is a doubt, and then strict_json reads the same bytes anew.
"""

from __future__ import annotations

import mmap
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import simdjson

from pullback_schemas.graphs import WrittenGraph
from pullback_service.protocols.long_values import LONG, PIECE_BYTES, Bytes, Taken, take_out
from pullback_service.protocols.number_arrays import Doubt, brackets, read_numbers

PLAIN_BYTES = 2**25
"""A JSON text below it has fewer elements than simdjson can count."""

MAX_KEYS = 64
"""An object is searched from its beginning for each key."""

BRACKET, COLON, BACKSLASH = b"[:\\"
_HIDDEN = b"\\u00"
"""How a string may hold a bracket or a colon that is none of the text's own bytes, or the name of what was taken."""

UNUSUAL = (ValueError, TypeError, IndexError, KeyError, RuntimeError, MemoryError, RecursionError)


def read_fast(body: Bytes) -> Any:
    """The value of an object as JSON has it, but for arrays of numbers and a graph in JSON. Raises Doubt.

    A MemoryError is a doubt too: there may be room for the other reader.
    """
    if len(body) > LONG:
        with suppress(Doubt, *UNUSUAL):
            taken = take_out(body)
            _let_go(body)
            return _Reader(taken).read()
    try:
        return _Reader(Taken(body, {})).read()
    except UNUSUAL as error:
        raise Doubt from error


class _Reader:
    """Converts one document, and counts the brackets and colons that it should have."""

    def __init__(self, taken: Taken) -> None:
        self._body, self._taken = taken
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
        if expected != (self._brackets, self._colons) or self._taken:
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
            found = self._short(value)
            if isinstance(found, np.ndarray):
                if found.ndim == 1:
                    raise Doubt
                return list(found)
            return found
        if key == "graph":
            text: bytes = value.mini  # type: ignore[assignment]  # they are bytes, whatever its types say
            self._note(text.count(b"["), text.count(b":"))
            return WrittenGraph(text)
        if len(value) > MAX_KEYS:
            return self._plain(value)
        return {name: self._tensor(item) for name, item in self._items(value)}

    def _tensor(self, value: Any) -> Any:
        if not isinstance(value, simdjson.Object):
            return self._short(value)
        return {name: self._data(item) if name == "data" else self._plain(item) for name, item in self._items(value)}

    def _short(self, value: Any) -> Any:
        """Numbers that are no `data`. Raises Doubt for what may have been base64: it is a string here."""
        found = self._data(value)
        if isinstance(found, bytearray):
            raise Doubt
        return found

    def _data(self, value: Any) -> Any:
        """What was taken out; an array as Numbers, if it holds nothing else and something; or what it is."""
        if isinstance(value, str) and value in self._taken:
            return self._taken.pop(value)
        numbers = read_numbers(value) if isinstance(value, simdjson.Array) else None
        if numbers is None:
            return self._plain(value)
        self._brackets += brackets(numbers)
        return numbers

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
            if isinstance(item, str) and len(item) < LONG:  # longer ones that hold some make it doubt
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
    """Give back the memory of a shared body, which is read; whoever reads it again gets it again."""
    if isinstance(body, memoryview) and isinstance(body.obj, mmap.mmap):
        body.obj.madvise(mmap.MADV_DONTNEED)


def _count(body: Bytes) -> tuple[int, int]:
    """How many brackets and colons the text has, in strings too. Raises Doubt where strings may hide some."""
    if isinstance(body, bytes | bytearray):
        if b"\\" in body and _HIDDEN in body:
            raise Doubt
        return body.count(b"["), body.count(b":")
    brackets = colons = 0
    characters = np.frombuffer(body, np.uint8)
    for start in range(0, len(body), PIECE_BYTES):
        chunk = characters[start : start + PIECE_BYTES]
        if (chunk == BACKSLASH).any():
            around = bytes(body[max(0, start - len(_HIDDEN)) : start + PIECE_BYTES + len(_HIDDEN)])
            if _HIDDEN in around:
                raise Doubt
        brackets += int(np.count_nonzero(chunk == BRACKET))
        colons += int(np.count_nonzero(chunk == COLON))
    return brackets, colons
