"""JSON texts that differ in their numbers alone: what such a text is cut into, and what it is put together from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson
from numpy.typing import NDArray
from torch import Tensor

from pullback_service.program.types import DTYPE_NAMES
from pullback_service.protocols.answer import Json
from pullback_service.protocols.native_json import GAP

NUMBERS = re.compile(rb"(?<=:)(\s*+\[(?:[-+0-9.eE,\s\[]*+\])++|\s*+-?[0-9][-+0-9.eE]*+(?=\s*[,}]))")
"""After a colon, a list of numbers, perhaps nested, or a number; or what looks like one.

Nothing is gone over twice, whatever the text is.
"""

MARK = "numbers "

Path = tuple[str | int, ...]


def cut(text: bytes, start: int) -> tuple[tuple[bytes, ...], list[bytes]]:
    """What stands between the numbers after `start`, all before it included, and the texts of the numbers."""
    parts = NUMBERS.split(text[start:])
    parts[0] = text[:start] + parts[0]
    return tuple(parts[::2]), parts[1::2]


def paths_of(fragments: Sequence[bytes]) -> list[Path] | None:
    """Where in the document each hole between the fragments is; None if one is no value of it, as within a string."""
    count = len(fragments) - 1
    marks = [f"{MARK}{index}" for index in range(count)]
    text = b"".join([fragments[0], *[b'"%s"%s' % (m.encode(), f) for m, f in zip(marks, fragments[1:], strict=True)]])
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
        return {"dtype": DTYPE_NAMES[leaf.dtype], "shape": list(leaf.shape), "data": orjson.Fragment(GAP)}
    if isinstance(leaf, Gap):
        return orjson.Fragment(GAP)
    raise TypeError(f"no JSON: {type(leaf).__name__}")


def _text(array: NDArray[Any]) -> bytes:
    if array.ndim:
        return orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
    return orjson.dumps(array.reshape(1), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
