"""What a worker says of a graph that wants a process of its own."""

from __future__ import annotations

from pydantic import Field, ValidationError

from pullback_schemas.problems import OpCrashed
from pullback_schemas.wire import WireModel
from pullback_service.workers.frames import GarbledReply


class IsolatedNode(WireModel):
    """A node whose operator may corrupt the memory of its process."""

    node: str
    op: str
    pointer: str


class Isolation(WireModel):
    """The nodes for which a process of its own is wanted."""

    nodes: list[IsolatedNode] = Field(min_length=1)


def read_isolation(body: bytes) -> Isolation:
    """The nodes that a worker named. Raises GarbledReply."""
    try:
        return Isolation.model_validate_json(body)
    except ValidationError as error:
        raise GarbledReply(f"a worker asks for isolation without a reason: {error}") from None


def crashed(isolation: Isolation) -> OpCrashed:
    """The problem of the nodes whose process ended."""
    nodes = isolation.nodes
    names = ", ".join(f"{node.op} (node {node.node!r})" for node in nodes)
    return OpCrashed(
        f"The process that ran this graph alone ended in the middle: {names} crashed on these arguments.",
        pointer=nodes[0].pointer if len(nodes) == 1 else "/graph",
        node=nodes[0].node if len(nodes) == 1 else None,
        got=[node.model_dump() for node in nodes],
        hint="Its kernel does not check its arguments. Look for indices, lengths and sizes that are out of range.",
    )
