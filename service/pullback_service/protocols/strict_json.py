"""JSON as the standard has it: no NaN tokens, no doubled keys, no lone surrogates, UTF-8 only."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, NoReturn

from pullback_schemas.problems import DuplicateKey, NotJson, TooDeep

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_json(body: bytes | bytearray | memoryview) -> Any:
    """The value that `body` holds. Raises NotJson, DuplicateKey or TooDeep.

    A number too large for float64 comes out as infinity, for whoever reads it to refuse with its place.
    """
    try:
        text = str(body, "utf-8")
    except UnicodeDecodeError as error:
        raise NotJson(
            f"The body is not UTF-8: byte {error.start} is no part of a character.",
            hint="If it is no JSON, or compressed, say so in the headers content-type and content-encoding.",
        ) from None
    try:
        value = _decode(text)
        if _SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        if not text.strip():
            raise NotJson("The body is empty.", hint="Send a JSON object.") from None
        raise NotJson(
            f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.",
            hint=r"Write a line end in a string as \n." if "control character" in error.msg else None,
            excerpt=_excerpt(text, error.pos),
        ) from None
    except NotJson as error:
        raise _located(error, text) from None
    except UnicodeEncodeError:
        raise NotJson("The body holds half a surrogate pair, which is no character.") from None
    except RecursionError:
        raise TooDeep("The JSON is nested too deeply.") from None
    return value


def _decode(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError:
        raise
    except ValueError:  # an integer with more digits than Python converts
        return _PATIENT_DECODER.decode(text)


def _excerpt(text: str, position: int) -> str:
    start = max(text.rfind("\n", 0, position) + 1, position - 60)
    line = text[start : start + 120].split("\n")[0]
    return f"{line}\n{' ' * (position - start)}^"


def _located(error: NotJson, text: str) -> NotJson:
    """The problem of a token, with the place of the first one like it."""
    found = re.search(rf"(?<![\w\"-]){re.escape(str(error.got))}", text)
    if found is not None:
        line, column = text.count("\n", 0, found.start()) + 1, found.start() - text.rfind("\n", 0, found.start())
        error.detail = f"{error.got} is not JSON, at line {line}, column {column}."
        error.excerpt = _excerpt(text, found.start())
    return error


def _refuse_constant(token: str) -> NoReturn:
    raise NotJson(f"{token} is not JSON.", got=token, hint=f'Write it as the string "{token}".')


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        shown = twice[:64].encode("utf-8", "backslashreplace").decode()
        raise DuplicateKey(f"The key {shown!r} stands twice in one object.", got=shown, hint="Remove one of them.")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)
_PATIENT_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_constant=_refuse_constant,
    parse_int=lambda digits: int(digits) if len(digits) < 400 else float(digits),
)
