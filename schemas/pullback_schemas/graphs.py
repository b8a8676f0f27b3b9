"""Op graphs: functions as pure data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, StringConstraints, WithJsonSchema

from pullback_schemas.tensors import Tensor, TensorSpec
from pullback_schemas.wire import Name, WireModel

Argument = Annotated[
    Any,
    WithJsonSchema({"type": ["string", "number", "boolean", "array", "null"], "items": {}}),
]
"""A reference "$name", "$node.field" or "$node.0", a literal, null, or a list of them.

The operator's schema decides what a literal means. A literal string that begins with $ is written $$.
"""

Reference = Annotated[str, StringConstraints(max_length=512)]


@dataclass(frozen=True, slots=True)
class WrittenGraph:
    """A graph in its JSON form, not read yet: whoever knows it already by its text need not."""

    text: bytes


class Node(WireModel):
    """One call of one operator."""

    id: Name = Field(description="the name of its value")
    op: Annotated[str, StringConstraints(min_length=1, max_length=256)] = Field(
        description="`relu`, `aten.relu`, `aten::relu`, `torch.relu`, `linalg.solve`, `aten.mul.Tensor`, ..."
    )
    args: list[Argument] = Field(
        default=[],
        description='in the order of the operator\'s signature: a reference "$name", a literal, null, or a list',
    )
    kwargs: dict[str, Argument] = Field(default={}, description="likewise, by the names of the signature")


class Graph(WireModel):
    """Named inputs, constants, and nodes in single assignment, in any order that has no cycle."""

    inputs: dict[Name, TensorSpec] | None = Field(
        default=None, description="left out: every name that is used and not defined"
    )
    constants: dict[Name, Tensor] = Field(default={}, description="tensors that are part of the function")
    nodes: list[Node] = Field(default=[], description="calls of operators")
    outputs: dict[Name, Reference] | list[Name] | None = Field(
        default=None, description="name -> reference, or names; left out: the last node"
    )


def escape(text: str) -> str:
    """The literal string `text` as an argument."""
    return "$" + text if text.startswith("$") else text


def split_reference(text: str) -> tuple[str, tuple[str, ...]]:
    """`"$m.values"` as `("m", ("values",))`."""
    name, *path = text.removeprefix("$").split(".")
    return name, tuple(path)


def is_reference(value: object) -> bool:
    """Whether an argument refers to a value of the graph."""
    return isinstance(value, str) and value.startswith("$") and not value.startswith("$$")
