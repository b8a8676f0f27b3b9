"""Parsed JSON as one of the wire models; pydantic's findings as problems."""

from __future__ import annotations

import difflib
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pullback_schemas.problems import (
    Findings,
    InvalidField,
    InvalidName,
    MissingField,
    ProblemError,
    UnknownField,
    pointer_to,
)

Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], value: Any) -> Model:
    """`value` as `model`. Raises a problem for everything that does not fit."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        findings = Findings()
        for found in error.errors(include_url=False):
            findings.add(_translate(model, value, found))
        findings.check()
        raise AssertionError("a validation error without errors") from error


def _translate(model: type[BaseModel], value: Any, found: Any) -> ProblemError:
    path = _path(value, found["loc"])
    pointer = pointer_to(*path)
    last = path[-1] if path else ""
    match found["type"]:
        case "extra_forbidden":
            close = difflib.get_close_matches(str(last)[:64], _siblings(model, found["loc"]), n=1)
            return UnknownField(
                f"The field {str(last)[:64]!r} is unknown here.",
                pointer=pointer,
                hint=f"Did you mean {close[0]!r}?" if close else "Remove it.",
            )
        case "missing":
            return MissingField(f"The field {last!r} is missing.", pointer=pointer)
        case "invalid_name":
            return InvalidName(f"{str(found['input'])[:64]!r} cannot be a name: {found['msg']}.", pointer=pointer)
    what = found["msg"].removeprefix("Input should be ")
    return InvalidField(
        f"{'The request' if not path else 'The field ' + repr(str(last)[:64])} should be {what}.",
        pointer=pointer,
        expected=what,
        got=_shown(found["input"]),
    )


def _path(value: Any, location: tuple[str | int, ...]) -> list[str | int]:
    """Pydantic's location without the tags of unions and keys, which are no part of the document."""
    path: list[str | int] = []
    for index, part in enumerate(location):
        is_last = index == len(location) - 1
        if part == "[key]":
            continue
        if isinstance(value, dict) and (part in value or (is_last and isinstance(part, str))):
            path.append(part)
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            path.append(part)
            value = value[part]
    return path


def _siblings(model: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    return list(model.model_fields) if len(location) == 1 else ["dtype", "shape", "encoding", "data", "id", "op"]


def _shown(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value if len(str(value)) <= 200 else str(value)[:200] + "..."
    return "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else str(value)[:64]
