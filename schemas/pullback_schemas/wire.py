"""What all wire models share."""

from __future__ import annotations

import keyword
import re
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, WithJsonSchema
from pydantic_core import PydanticCustomError

NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
MAX_NAME = 128
KNOWN_NAMES = 1024

_NAME = re.compile(NAME_PATTERN + r"\Z")


class WireModel(BaseModel):
    """A model of something on the wire: closed, frozen, and strict about kinds."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def why_not_a_name(text: str) -> str | None:
    """Why `text` cannot name a value, or None if it can.

    Names are those of the text form: ASCII identifiers that are no Python keywords.
    """
    if len(text) > MAX_NAME:
        return f"a name has at most {MAX_NAME} characters"
    if not _NAME.match(text):
        return "a name is made of ASCII letters, digits and _, and does not begin with a digit"
    if keyword.iskeyword(text):
        return f"{text!r} is a word of the text form; write {text + '_'!r}"
    return None


@lru_cache(KNOWN_NAMES)
def _check_short(text: str) -> None:
    reason = why_not_a_name(text)
    if reason:
        raise PydanticCustomError("invalid_name", "{reason}", {"reason": reason})


def _check_name(text: str) -> str:
    _check_short(text if len(text) <= MAX_NAME else text[: MAX_NAME + 1])
    return text


Name = Annotated[
    str,
    AfterValidator(_check_name),
    WithJsonSchema({"type": "string", "pattern": NAME_PATTERN, "maxLength": MAX_NAME}),
]
"""The name of an input, a constant, a node or an output."""
