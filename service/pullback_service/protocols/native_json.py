"""The native protocol in JSON: answers and problems as bytes."""

from __future__ import annotations

from typing import Any

import orjson
from torch import Tensor

from pullback_schemas.problems import ProblemError, ProblemsError, describe
from pullback_schemas.tensors import Encoding
from pullback_service.forms import Piece
from pullback_service.protocols.answer import Answer, Later
from pullback_service.protocols.limits import check_size
from pullback_service.protocols.tensor_writer import full_form

GAP = b"\0"
"""Stands in the text for what is to be put in there. No JSON has it: control characters in strings are escaped."""

SMALL = 2**12
MAX_TEXT = 2**20
"""Bytes of tensors that orjson gets to see, all told: where memory ends, it crashes."""


def write_json(answer: Answer, max_bytes: int) -> list[Piece]:
    """The answer as JSON, the numbers of large tensors in pieces of their own. Raises LimitExceeded, or MemoryError."""
    leaves = _Leaves(answer.encoding)
    try:
        text = orjson.dumps(answer.document, default=leaves.write)
    except orjson.JSONEncodeError as error:
        raise error.__cause__ or error from None
    size = len(text) + leaves.size
    check_size(size, max_bytes, 'Ask for less, or for encoding: "base64".')
    return _filled(text, leaves.gaps) if leaves.gaps else [text]


class _Leaves:
    """Writes what orjson does not know, in the order in which it stands in the document."""

    def __init__(self, encoding: Encoding) -> None:
        self.gaps: list[list[bytes]] = []
        self.size = 0
        self._encoding = encoding
        self._room = MAX_TEXT

    def write(self, leaf: Any) -> Any:
        if isinstance(leaf, Later):
            return leaf.make()
        if not isinstance(leaf, Tensor):
            raise TypeError(f"no JSON: {type(leaf).__name__}")
        written, pieces = full_form(leaf, self._encoding)
        size = len(pieces[0]) if len(pieces) == 1 else sum(map(len, pieces))
        if size <= SMALL and size <= self._room:
            self._room -= size
            written["data"] = orjson.Fragment(b"".join(pieces))
        else:
            self.gaps.append(pieces)
            self.size += size
            written["data"] = orjson.Fragment(GAP)
        return written


def _filled(text: bytes, gaps: list[list[bytes]]) -> list[Piece]:
    first, *rest = text.split(GAP)
    filled: list[Piece] = [first]
    for pieces, after in zip(gaps, rest, strict=True):
        filled += pieces
        filled.append(after)
    return filled


def encode_problem(error: ProblemError | ProblemsError) -> tuple[int, bytes]:
    """The status and the problem document."""
    problem = describe(error)
    return problem.status, problem.model_dump_json(exclude_none=True).encode()
