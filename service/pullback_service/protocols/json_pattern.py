"""JSON texts that differ in their numbers alone: what such a text is cut into, and what it is put together from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import orjson
from numpy.typing import NDArray
from torch import Tensor

from pullback_service.protocols.answer import Json

NUMBERS = re.compile(rb"(?<=:)(\s*+\[(?:[-+0-9.eE,\s\[]*+\])++|\s*+-?[0-9][-+0-9.eE]*+(?=\s*[,}]))")
"""After a colon, a list of numbers, perhaps nested, or a number; or what looks like one.

Nothing is gone over twice, whatever the text is.
"""

GAP = b"\0"
"""Stands in a text for what is to be put in there. No JSON has it."""

Path = tuple[str | int, ...]


def cut(text: bytes, start: int) -> tuple[tuple[bytes, ...], list[bytes]]:
    """What stands between the numbers after `start`, all before it included, and the texts of the numbers."""
    parts = NUMBERS.split(text[start:])
    parts[0] = text[:start] + parts[0]
    return tuple(parts[::2]), parts[1::2]


def paths_of(text: bytes, holes: list[bytes]) -> list[Path] | None:
    """Where in the document the last numbers stand, which are those in `holes`; None if they do not match."""
    found = list(_numbers(orjson.loads(text), ()))[-len(holes) :] if holes else []
    if [value for _, value in found] != [orjson.loads(hole) for hole in holes]:
        return None
    return [path for path, _ in found]


def _numbers(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Numbers and lists of nothing else, in the order of the text."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _numbers(item, (*path, name))
    elif _is_numeric(value):
        yield path, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _numbers(item, (*path, index))


def _is_numeric(value: Any) -> bool:
    return all(map(_is_numeric, value)) if isinstance(value, list) else type(value) in (int, float)


class Template:
    """An answer in JSON but for the numbers of its tensors, and for whatever else is a `Gap`."""

    def __init__(self, document: Json) -> None:
        self._frames = orjson.dumps(document, default=_gap).split(GAP)

    def fill(self, arrays: Iterable[NDArray[Any]], others: Iterable[bytes]) -> bytes | None:
        """The answer with these numbers, in the order of the document; None if one is not finite."""
        first, *frames = self._frames
        texts = [_text(array) for array in arrays]
        if any(b"null" in text for text in texts):
            return None
        texts += others
        return b"".join([first, *[piece for pair in zip(texts, frames, strict=True) for piece in pair]])


class Gap:
    """What is filled in for each answer, besides tensors: after them."""


def _gap(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        dtype = str(leaf.dtype).removeprefix("torch.")
        return {"dtype": dtype, "shape": list(leaf.shape), "data": orjson.Fragment(GAP)}
    if isinstance(leaf, Gap):
        return orjson.Fragment(GAP)
    raise TypeError(f"no JSON: {type(leaf).__name__}")


def _text(array: NDArray[Any]) -> bytes:
    if array.ndim:
        return orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
    return orjson.dumps(array.reshape(1), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
