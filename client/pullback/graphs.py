"""Graphs in any of their forms: text, JSON, a `pullback_schemas.Graph`, what the builder or the tracer made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

from pullback.errors import PullbackError
from pullback_schemas import Graph as GraphModel
from pullback_schemas.expressions import translate
from pullback_schemas.graphs import is_reference, split_reference
from pullback_schemas.problems import ProblemError

Json: TypeAlias = dict[str, Any]


@runtime_checkable
class HasGraph(Protocol):
    """Something that can be written as a graph."""

    def to_json(self) -> Json:
        """The graph in its JSON form, in which an array may stand for a constant."""


GraphLike: TypeAlias = str | Mapping[str, Any] | GraphModel | HasGraph


def to_sendable(graph: GraphLike) -> Any:
    """The graph as a request has it: text, or JSON in which an array may stand for a constant."""
    if isinstance(graph, HasGraph):
        return graph.to_json()
    return graph.model_dump(exclude_none=True) if isinstance(graph, GraphModel) else graph


@dataclass(frozen=True, slots=True)
class Interface:
    """The names of a graph's inputs and outputs, in order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name. Raises TypeError, as Python does, where they do not fit."""
        if len(args) > len(self.inputs):
            raise TypeError(f"{len(args)} arguments are too many: the inputs are {', '.join(self.inputs)}")
        given = dict(zip(self.inputs, args, strict=False))
        for name in kwargs:
            if name in given or name not in self.inputs:
                raise TypeError(f"the argument {name!r} is {'given twice' if name in given else 'no input'}")
        missing = [name for name in self.inputs if name not in given and name not in kwargs]
        if missing:
            raise TypeError(f"arguments are missing: {', '.join(missing)}")
        return {**given, **kwargs}


def interface_of(graph: GraphLike) -> Interface:
    """What goes in and what comes out, in the order of the graph, or of a text's first mention.

    Raises PullbackError for a text that cannot be read.
    """
    form = to_sendable(graph)
    if isinstance(form, str):
        try:
            translation = translate(form)
        except ProblemError as error:
            raise PullbackError(f"{error.detail}\n{error.excerpt or ''}".rstrip()) from None
        mentioned = [place.removeprefix("/inputs/") for place in translation.spans if place.startswith("/inputs/")]
        return Interface(tuple(mentioned), tuple(translation.graph["outputs"]))
    return Interface(tuple(_inputs(form)), tuple(_outputs(form)))


def _inputs(form: Mapping[str, Any]) -> list[str]:
    if form.get("inputs") is not None:
        return list(form["inputs"])
    nodes = form.get("nodes", [])
    defined = {*form.get("constants", {}), *(node["id"] for node in nodes)}
    used = [name for node in nodes for name in mentioned_in([node.get("args", []), node.get("kwargs", {})])]
    return [name for name in dict.fromkeys(used) if name not in defined]


def _outputs(form: Mapping[str, Any]) -> list[str]:
    outputs = form.get("outputs")
    return list(outputs) if outputs else [node["id"] for node in form.get("nodes", [])[-1:]]


def mentioned_in(argument: Any) -> Iterator[str]:
    """The names that an argument refers to, anywhere inside."""
    if is_reference(argument):
        yield split_reference(argument)[0]
    elif isinstance(argument, Mapping):
        for value in argument.values():
            yield from mentioned_in(value)
    elif isinstance(argument, list | tuple):
        for value in argument:
            yield from mentioned_in(value)
