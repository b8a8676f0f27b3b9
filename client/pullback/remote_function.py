"""What the differentiable functions of all frameworks have in common: a graph, and the names of its arguments."""

from __future__ import annotations

from collections.abc import Sequence

from pullback.client import Client
from pullback.graphs import GraphLike, Interface, interface_of


class AbstractRemoteFunction:
    """A graph on the service that is called with positional or named arguments."""

    def __init__(self, client: Client, graph: GraphLike, inputs: Sequence[str] | None) -> None:
        found = interface_of(graph)
        self._client = client
        self._graph = graph
        self._names = Interface(tuple(inputs or found.inputs), found.outputs)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the arguments, in order."""
        return self._names.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what it gives, in order."""
        return self._names.outputs
