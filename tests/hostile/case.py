"""A hostile request, and how the builders of the families write one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pullback_schemas.problems import problem_classes

X = {"x": [1.0, 2.0, 3.0]}
MATRIX = {"x": [[2.0, 1.0], [1.0, 3.0]]}
IMAGE = {"x": {"shape": [1, 1, 4, 4], "data": [1.0] * 16}}
SOME = "some"
"""Stands for a node that bears a generated name: one must be named, whichever."""

JSON_TYPE = {"content-type": "application/json"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is sent, and the refusal that it must get.

    `code` may be several, of which one must come: `"refused_op|unknown_op"`. None stands for what the HTTP parser itself turns away: a 400 or 431, or a connection closed without an answer.
    `costs_worker` is for what can only be answered by giving up the process that ran it.
    """

    id: str
    body: bytes = b""
    code: str | None
    pointer: str | None = None
    node: str | None = None
    path: str = "/v1/backward"
    headers: dict[str, str] = field(default_factory=lambda: JSON_TYPE)
    wire: bytes | None = None
    costs_worker: bool = False

    @property
    def answers(self) -> dict[str | None, int]:
        """The codes that may come, each with its status."""
        return {code: problem_classes()[code].status for code in self.code.split("|")} if self.code else {None: 400}

    def request(self) -> bytes:
        """The bytes to send."""
        if self.wire is not None:
            return self.wire
        headers = {"host": "service", "content-length": str(len(self.body)), **self.headers}
        lines = [f"POST {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


def case(case_id: str, body: Any, code: str | None, pointer: str | None = None, **more: Any) -> Case:
    """A case; `body` is JSON, or the bytes as they are sent."""
    sent = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return Case(id=case_id, body=sent, code=code, pointer=pointer, **more)


def calling(op: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """The graph of one node `y`."""
    return {"nodes": [{"id": "y", "op": op, "args": list(args), "kwargs": kwargs}]}


def ask(graph: Any, inputs: Any = None, **fields: Any) -> dict[str, Any]:
    return {"graph": graph, "inputs": X if inputs is None else inputs, **fields}


def texts(family: str, code: str, graphs: dict[str, str], inputs: Any = None, **more: Any) -> Iterable[Case]:
    """Cases of graphs in text form, refused for a node, the one called `guilty` if there is one."""
    for name, text in graphs.items():
        node = "guilty" if "guilty" in text else SOME
        expected = {"code": code, "pointer": "/graph", "node": node} | more
        yield case(f"{family}: {name}", ask(text, inputs), expected.pop("code"), expected.pop("pointer"), **expected)
