"""Requests and answers as bytes, in two forms: JSON, and JSON beside raw tensors.

Inside, a request is its JSON form in which a `Raw` stands for a tensor.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pullback.arrays import Build, Raw
from pullback.graphs import Json

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent: headers that say what it is and what may come back, and bytes."""

    headers: dict[str, str]
    content: bytes | None


def to_plain_json(fields: Json) -> Body:
    """The request with its tensors in base64."""
    document = json.dumps(_replace(fields, in_base64), allow_nan=False)
    return Body({"content-type": JSON, "accept": JSON}, document.encode())


def to_json(fields: Json) -> Body:
    """The same, and the answer's tensors are asked for in base64 too."""
    return to_plain_json({**fields, "encoding": "base64"})


def in_base64(raw: Raw) -> Json:
    """A tensor in the full base64 form."""
    data = base64.b64encode(raw.data).decode()
    return {"dtype": raw.dtype, "shape": list(raw.shape), "encoding": "base64", "data": data}


def _replace(value: Any, write: Callable[[Raw], Json]) -> Any:
    """The JSON of a tree, each Raw in it as `write` has it."""
    match value:
        case Raw():
            return write(value)
        case Mapping():
            return {key: _replace(item, write) for key, item in value.items()}
        case list() | tuple():
            return [_replace(item, write) for item in value]
    return value


ENCODERS: dict[str, Callable[[Json], Body]] = {"plain": to_plain_json, "json": to_json}
"""How a request may be written: by the client's option `wire`, plain where no tensors are answered.

An answer says by itself how it is.
"""

Rebuild: TypeAlias = Callable[[Json], Any]
"""Makes an array of a tensor as an answer has it."""


def decode(content: bytes, _: str, build: Build) -> tuple[bytes, Rebuild]:
    """The JSON of an answer, and what makes arrays of the tensors in it."""
    return content, lambda tensor: build(_from_base64(tensor))


def _from_base64(tensor: Json) -> Raw:
    return Raw(tensor["dtype"], tuple(tensor["shape"]), base64.b64decode(tensor["data"], validate=True))
