"""Parsed JSON as one of the wire models; pydantic's findings as problems."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import islice
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pullback_schemas.graphs import Node
from pullback_schemas.problems import (
    MAX_LISTED,
    Findings,
    InvalidField,
    InvalidName,
    MissingField,
    ProblemError,
    UnknownField,
    pointer_to,
)
from pullback_schemas.requests import (
    BackwardRequest,
    CheckRequest,
    ForwardRequest,
    GradcheckRequest,
    HessianRequest,
    HvpRequest,
    JacobianOptions,
    JacobianRequest,
    JvpRequest,
)
from pullback_schemas.tensors import FullTensor

Model = TypeVar("Model", bound=BaseModel)

REQUESTS: list[type[BaseModel]] = [
    ForwardRequest,
    BackwardRequest,
    JvpRequest,
    JacobianRequest,
    HvpRequest,
    HessianRequest,
    GradcheckRequest,
    CheckRequest,
]
"""Those that have fields of their own."""


def validate(model: type[Model], value: Any) -> Model:
    """`value` as `model`. Raises a problem for every place that does not fit."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        findings = Findings()
        places: dict[str, list[Any]] = {}
        for found in error.errors(include_url=False):
            if found["type"] != "is_instance_of":  # only our own readers can give that
                places.setdefault(pointer_to(*_path(value, found)), []).append(found)
        deepest = {p: a for p, a in places.items() if not any(q.startswith(p + "/") for q in islice(places, 64))}
        for pointer, alternatives in islice(deepest.items(), MAX_LISTED):
            findings.add(_translate(model, value, pointer, alternatives))
        findings.check()
        raise AssertionError("a validation error without errors") from error


def _translate(model: type[BaseModel], value: Any, pointer: str, alternatives: list[Any]) -> ProblemError:
    """One problem for one place, of which a union may say several things."""
    found = alternatives[0]
    path = _path(value, found)
    name = repr(str(path[-1])[:64]) if path else ""
    match found["type"]:
        case "extra_forbidden":
            return UnknownField(f"The field {name} is unknown here.", pointer=pointer, hint=_instead(model, path))
        case "missing":
            return MissingField(f"The field {name} is missing.", pointer=pointer)
        case "too_short":
            is_object = isinstance(found["input"], dict)
            return InvalidField(
                f"The field {name} is empty.",
                pointer=pointer,
                expected="at least one entry",
                hint="Give at least one name and its tensor."
                if is_object
                else "Give at least one name, or leave it out.",
            )
    for alternative in alternatives:
        if alternative["type"] == "invalid_name" and isinstance(found["input"], str):
            shown = repr(found["input"][:64])
            return InvalidName(f"{shown} cannot be a name: {alternative['msg']}.", pointer=pointer)
    what = " or ".join(dict.fromkeys(_plain(alternative["msg"]) for alternative in alternatives))
    return InvalidField(
        f"{f'The field {name}' if path else 'The request'} should be {what}.",
        pointer=pointer,
        expected=what,
        got=_shown(found["input"]),
    )


def _path(value: Any, found: Any) -> list[str | int]:
    """Pydantic's location without the tags of unions and keys, which are no part of the document."""
    path: list[str | int] = []
    location = found["loc"]
    for index, part in enumerate(location):
        is_absent = found["type"] == "missing" and index == len(location) - 1
        if isinstance(value, dict) and (part in value or is_absent):
            path.append(part)
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            path.append(part)
            value = value[part]
    return path


def _instead(model: type[BaseModel], path: list[str | int]) -> str:
    """What to do about a field that is unknown."""
    name = str(path[-1])[:64]
    others = [
        f"/v1/{other.__name__.removesuffix('Request').lower()}" for other in REQUESTS if name in other.model_fields
    ]
    if len(path) == 1 and others:
        return f"It is a field of {', '.join(others)}. Remove it."
    close = get_close_matches(name, _siblings(model, path), n=1)
    return f"Did you mean {close[0]!r}?" if close else "Remove it."


def _siblings(model: type[BaseModel], path: list[str | int]) -> list[str]:
    if len(path) == 1:
        return list(model.model_fields)
    nested: dict[str, type[BaseModel]] = {"nodes": Node, "jacobian": JacobianOptions}
    return list(nested.get(str(path[0]), FullTensor).model_fields)


_WORDS = {
    "a valid dictionary": "an object",
    "a valid list": "a list",
    "a valid string": "a string",
    "a valid integer": "an integer",
    "a valid boolean": "a boolean, true or false",
}


def _plain(message: str) -> str:
    """Pydantic's message in JSON's words."""
    what = message.removeprefix("Input should be ").partition(" or instance of ")[0]
    return _WORDS.get(what, what)


def _shown(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value if len(str(value)) <= 200 else str(value)[:200] + "..."
    return "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else str(value)[:64]
