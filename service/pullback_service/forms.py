"""How a body may be written, and how it may be compressed. Standard library only."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

Piece = bytes | memoryview
"""Some bytes of an answer; a view is one of bytes."""


class Form(Enum):
    """A way to write requests and answers, by its media type."""

    JSON = "application/json"
    SAFETENSORS = "application/vnd.safetensors"


class Coding(Enum):
    """A way to compress a body, as Content-Encoding names it."""

    IDENTITY = "identity"
    GZIP = "gzip"
    ZSTD = "zstd"


class Forms(NamedTuple):
    """How a request is written and compressed, and how its answer is to be written."""

    sent: Form = Form.JSON
    wanted: Form = Form.JSON
    coding: Coding = Coding.IDENTITY

    def pack(self) -> int:
        """As a number below 256."""
        if self is PLAIN:
            return 0
        return _FORMS.index(self.sent) | _FORMS.index(self.wanted) << 2 | _CODINGS.index(self.coding) << 4

    @classmethod
    def unpack(cls, packed: int) -> Forms:
        """What `pack` gave."""
        if not packed:
            return PLAIN
        return cls(_FORMS[packed & 3], _FORMS[packed >> 2 & 3], _CODINGS[packed >> 4])


PLAIN = Forms()
"""JSON there and back, not compressed."""

_FORMS, _CODINGS = tuple(Form), tuple(Coding)
