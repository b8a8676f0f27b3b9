"""JSON texts that differ in their numbers alone: what such a text is cut into, and what it is put together from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from typing import Any

import orjson
from numpy.typing import NDArray
from torch import Tensor

from pullback_service.program.types import DTYPE_NAMES
from pullback_service.protocols.answer import Json
from pullback_service.protocols.native_json import GAP

NUMBERS = re.compile(rb":(\s*+\[(?:[-+0-9.eE,\s\[]*+\])++|\s*+-?[0-9][-+0-9.eE]*+(?=\s*[,}]))")
"""A colon and a list of numbers, perhaps nested, or a number; or what looks like one.

Nothing is gone over twice, whatever the text is.
"""

MARK = "numbers "

Path = tuple[str | int, ...]


def cut(text: bytes, start: int) -> tuple[tuple[bytes, ...], list[bytes]]:
    """What stands between the numbers after `start`, all before it included, and the texts of the numbers.

    The colons before them are in neither.
    """
    parts = NUMBERS.split(text[start:])
    parts[0] = text[:start] + parts[0]
    return tuple(parts[::2]), parts[1::2]


def paths_of(fragments: Sequence[bytes]) -> list[Path] | None:
    """Where in the document each hole between the fragments is; None if one is no value of it, as within a string."""
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


class Template:
    """Answers in JSON but for the numbers of their tensors, and for whatever else is a `Gap`."""

    def __init__(self, document: Json) -> None:
        self._depths: list[int] = []
        self._frames = orjson.dumps(document, default=self._gap).split(GAP)
        # Between two rows of a column stand more brackets than within one.
        self._between = [b"]" * depth + b"," + b"[" * depth for depth in self._depths]

    def fill(self, columns: Sequence[NDArray[Any]], others: Sequence[bytes]) -> list[bytes | None]:
        """As many answers as the columns, in the order of the document, have rows; None if one is not finite.

        Each column has elements. `others`, for the gaps that stand after the tensors, is the same for all.
        """
        frames, (after, *ends) = self._frames[: len(columns)], self._frames[len(columns) :]
        end = b"".join([after, *chain.from_iterable(zip(others, ends, strict=True))])
        texts = [orjson.dumps(column, option=orjson.OPT_SERIALIZE_NUMPY) for column in columns]
        rows = [
            text[depth + 1 : -depth - 1].split(between)
            for text, depth, between in zip(texts, self._depths, self._between, strict=True)
        ]
        pieces = chain.from_iterable(zip(map(repeat, frames), rows, strict=True))
        answers = map(b"".join, zip(*pieces, repeat(end), strict=False))
        if not any(b"null" in text for text in texts):
            return list(answers)
        are_finite = (not any(b"null" in text for text in row) for row in zip(*rows, strict=True))
        return [answer if is_finite else None for answer, is_finite in zip(answers, are_finite, strict=True)]

    def _gap(self, leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            self._depths.append(leaf.dim())
            data = b"%b%b%b" % (b"[" * leaf.dim(), GAP, b"]" * leaf.dim())
            return {"dtype": DTYPE_NAMES[leaf.dtype], "shape": list(leaf.shape), "data": orjson.Fragment(data)}
        if isinstance(leaf, Gap):
            return orjson.Fragment(GAP)
        raise TypeError(f"no JSON: {type(leaf).__name__}")


class Gap:
    """What is filled in for each answer, besides tensors: after them."""
