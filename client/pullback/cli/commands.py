"""What each command does: from its arguments to an answer and an exit status."""

from __future__ import annotations

import importlib.util
import os
import sys
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from pullback.cli.values import UsageError, fill, read_arrays, read_graph
from pullback.client import Client
from pullback_schemas import OpList

DONE, REFUSED, USAGE, NO_ANSWER = 0, 1, 2, 3


def derive(client: Client, given: Namespace) -> tuple[BaseModel, int]:
    """forward, backward, jvp, jacobian, hvp, hessian, gradcheck: the method of that name with what was given."""
    graph, inputs = read_graph(given.graph), fill(read_arrays(given.inputs), {})
    fields = {name: getattr(given, name) for name in given.fields if getattr(given, name) is not None}
    for name in ("grad_tensors", "tangents", "vectors"):
        if name in fields:
            fields[name] = _filled(client, graph, inputs, read_arrays(fields[name]), name == "grad_tensors")
    answer: BaseModel = getattr(client, given.command)(graph, inputs, **fields)
    return answer, REFUSED if getattr(answer, "passed", True) is False else DONE


def _filled(client: Client, graph: Any, inputs: dict[str, Any], arrays: dict[str, Any], by_output: bool) -> Any:
    """The vectors, `ones` and `zeros` among them shaped like the outputs or inputs that they belong to."""
    if not any(isinstance(value, str) for value in arrays.values()):
        return arrays
    report = client.check(graph, inputs)
    values = report.outputs if by_output else report.inputs
    shapes = {name: (v.dtype, tuple(v.shape)) for name, v in values.items() if v.dtype and v.shape is not None}
    return fill(arrays, shapes)


def check(client: Client, given: Namespace) -> tuple[BaseModel, int]:
    """What can be said of a graph without running it."""
    return client.check(read_graph(given.graph), fill(read_arrays(given.inputs), {}), wrt=given.wrt), DONE


def ops(client: Client, given: Namespace) -> tuple[BaseModel, int]:
    """The catalogue, those whose name or summary holds a word, or one operator by its exact name."""
    if given.word is None:
        return client.ops(), DONE
    catalogue = client.ops()
    if any(given.word in (op.name, *op.aliases) for op in catalogue.ops):
        return client.op(given.word), DONE
    found = [op for op in catalogue.ops if given.word in op.name or given.word in (op.summary or "").lower()]
    return OpList(ops=found, torch_version=catalogue.torch_version), DONE if found else REFUSED


def health(client: Client, _: Namespace) -> tuple[BaseModel, int]:
    """Whether the service takes requests now."""
    answer = client.health()
    return answer, DONE if answer.status == "ok" else REFUSED


def serve(settings: Mapping[str, str | None]) -> None:
    """Become the service, if it is installed. Raises UsageError."""
    if importlib.util.find_spec("pullback_service") is None:
        raise UsageError("the service is not installed here: pip install pullback-service")
    environment = os.environ | {name: value for name, value in settings.items() if value is not None}
    os.execve(sys.executable, [sys.executable, "-m", "pullback_service"], environment)
