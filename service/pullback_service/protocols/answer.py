"""What an operation answers, before it is written in any form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pullback_schemas.tensors import Encoding

Json = dict[str, Any]


class Later:
    """A part of the document that is only known once all before it is written: how long that took."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[], Json]) -> None:
        self.make = make


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON document among whose leaves are tensors, and the last of whose fields may come `Later`.

    `encoding` is the form of the tensors where the whole is JSON.
    """

    document: Json
    encoding: Encoding = "nested"
    written: bytes | None = None
    """The whole of it in the form that is wanted, where it is written already."""

    rides: bool = False
    """Whether requests like this one may be answered together."""

    graph: bytes = b""
    """The graph's digest, where it is not the one that the library gave last."""
