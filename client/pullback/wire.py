"""Requests and answers as bytes, in two forms: JSON, and safetensors files, whose metadata hold the JSON.

Inside, a request is its JSON form in which a `Raw` stands for a tensor.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from pullback.arrays import Build, Raw, spell
from pullback.graphs import Json
from pullback_schemas.safetensors import Stored, read, write

Wire: TypeAlias = Literal["binary", "json"]

JSON = "application/json"
SAFETENSORS = "application/vnd.safetensors"

STORED = {
    "bool": "BOOL",
    "bfloat16": "BF16",
    "complex64": "C64",
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
}
"""The dtypes as a file names them. complex128 has no name there: it is pairs of F64 in one more, last axis."""

Place: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent: headers that say what it is and what may come back, and bytes."""

    headers: dict[str, str]
    content: bytes


def encode(fields: Json, wire: Wire, *, wants_tensors: bool) -> Body:
    """The request `fields`, a Raw wherever a tensor stands; the answer's tensors are asked for in the same form."""
    return _as_file(fields, wants_tensors) if wire == "binary" else _as_json(fields, wants_tensors)


def _as_json(fields: Json, wants_tensors: bool) -> Body:
    document = _replace(fields, lambda raw, _: in_base64(raw))
    document |= {"encoding": "base64"} if wants_tensors else {}
    return Body({"content-type": JSON, "accept": JSON}, _dump(document).encode())


def in_base64(raw: Raw) -> Json:
    """A tensor in the full base64 form."""
    data = base64.b64encode(raw.data).decode()
    return {"dtype": raw.dtype, "shape": list(raw.shape), "encoding": "base64", "data": data}


def _as_file(fields: Json, wants_tensors: bool) -> Body:
    stored: dict[str, Stored] = {}

    def put(raw: Raw, place: Place) -> Json:
        key = "/".join(map(str, place))
        if raw.dtype == "complex128":
            stored[key] = Stored("F64", (*raw.shape, 2), raw.data)
            return {"tensor": key, "dtype": raw.dtype}
        stored[key] = Stored(STORED[raw.dtype], raw.shape, raw.data)
        return {"tensor": key}

    document = _replace(fields, put)
    content = b"".join(write({"request": _dump(document)}, stored))
    return Body({"content-type": SAFETENSORS, "accept": SAFETENSORS if wants_tensors else JSON}, content)


def _dump(document: Json) -> str:
    return json.dumps(document, allow_nan=False, separators=(",", ":"))


def _replace(value: Any, write: Callable[[Raw, Place], Json], place: Place = ()) -> Any:
    """The JSON of a tree, each Raw in it as `write` has it at its place."""
    match value:
        case Raw():
            return write(value, place)
        case Mapping():
            return {key: _replace(item, write, (*place, key)) for key, item in value.items()}
        case list() | tuple():
            return [_replace(item, write, (*place, index)) for index, item in enumerate(value)]
        case np.generic():
            return value.item()
        case float():
            return spell(value)
    return value


Rebuild: TypeAlias = Callable[[Json], Any]
"""Makes an array of a tensor as an answer has it."""


def decode(content: bytes, media: str, build: Build) -> tuple[str | bytes, Rebuild]:
    """The JSON of an answer, and what makes arrays of the tensors in it.

    Raises ProblemError for what is no safetensors file, KeyError for one without an answer.
    """
    if media != SAFETENSORS:
        return content, lambda tensor: build(_from_base64(tensor))
    metadata, stored = read(content)
    return metadata["result"], lambda tensor: build(_from_file(tensor, stored))


def _from_base64(tensor: Json) -> Raw:
    return Raw(tensor["dtype"], tuple(tensor["shape"]), base64.b64decode(tensor["data"], validate=True))


def _from_file(tensor: Json, stored: Mapping[str, Stored]) -> Raw:
    return Raw(tensor["dtype"], tuple(tensor["shape"]), stored[tensor["tensor"]].data)
