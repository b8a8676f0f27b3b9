"""A small client: numpy arrays in, numpy arrays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import httpx
from numpy.typing import ArrayLike
from pydantic import BaseModel, ValidationError

from pullback.arrays import Array, decode, encode
from pullback.errors import AnswerError, NoAnswerError
from pullback_schemas import (
    BackwardResult,
    CheckResult,
    ForwardResult,
    Graph,
    Meta,
    OpInfo,
    OpList,
    Problem,
    TensorSpec,
)

Model = TypeVar("Model", bound=BaseModel)
GraphLike = str | Graph | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Forward:
    """The outputs by name."""

    outputs: dict[str, Array]
    meta: Meta


@dataclass(frozen=True, slots=True)
class Backward:
    """Outputs, gradients (None: asked for as null and unused), and jacobians[output][input] if asked for."""

    outputs: dict[str, Array]
    gradients: dict[str, Array | None]
    jacobians: dict[str, dict[str, Array]]
    meta: Meta


class Client:
    """A connection to one service.

    Every method raises AnswerError when the service answers with a problem, NoAnswerError when it does not
    answer. A graph is in its text form, a `Graph`, or the JSON form; an array is a numpy array, which keeps
    its dtype, or numbers, which become what the graph declares, else float64.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        timeout_s: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(base_url=base_url, timeout=timeout_s, transport=transport)

    def forward(self, graph: GraphLike, inputs: Mapping[str, ArrayLike]) -> Forward:
        """The values of the graph's outputs."""
        answer = self._post("forward", ForwardResult, graph=graph, inputs=_tensors(inputs), encoding="base64")
        return Forward({name: decode(value) for name, value in answer.outputs.items()}, answer.meta)

    def backward(
        self,
        graph: GraphLike,
        inputs: Mapping[str, ArrayLike],
        grad_tensors: Mapping[str, ArrayLike] | None = None,
        *,
        wrt: Sequence[str] | None = None,
        unused: str = "zeros",
        is_grads_batched: bool = False,
        jacobian: bool = False,
    ) -> Backward:
        """The vector-Jacobian product: with y = f(x) and v = grad_tensors, gradients v^T dy/dx.

        Each of `grad_tensors` has its output's shape and dtype (after one leading axis if batched); it may be
        left out for an output with one element.
        """
        answer = self._post(
            "backward",
            BackwardResult,
            graph=graph,
            inputs=_tensors(inputs),
            grad_tensors=None if grad_tensors is None else _tensors(grad_tensors),
            wrt=None if wrt is None else list(wrt),
            unused=unused,
            is_grads_batched=is_grads_batched,
            jacobian=jacobian,
            encoding="base64",
        )
        return Backward(
            {name: decode(value) for name, value in answer.outputs.items()},
            {name: None if value is None else decode(value) for name, value in answer.gradients.items()},
            {y: {x: decode(value) for x, value in row.items()} for y, row in (answer.jacobians or {}).items()},
            answer.meta,
        )

    def check(self, graph: GraphLike, inputs: Mapping[str, TensorSpec | ArrayLike] | None = None) -> CheckResult:
        """Everything that can be said of the graph without running it; inputs may be specs."""
        specs = {
            name: value.model_dump(exclude_none=True) if isinstance(value, TensorSpec) else encode(value)
            for name, value in (inputs or {}).items()
        }
        return self._post("check", CheckResult, graph=graph, inputs=specs)

    def ops(self) -> OpList:
        """The operators that a graph may call."""
        return self._read(self._send("GET", "/v1/ops"), OpList)

    def op(self, name: str) -> OpInfo:
        """One operator: aliases and signatures."""
        return self._read(self._send("GET", f"/v1/ops/{name}"), OpInfo)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _post(self, operation: str, model: type[Model], *, graph: GraphLike, **fields: Any) -> Model:
        sent = graph.model_dump(exclude_none=True) if isinstance(graph, Graph) else graph
        return self._read(self._send("POST", f"/v1/{operation}", {"graph": sent, **fields}), model)

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        try:
            return self._http.request(method, path, json=body)
        except httpx.TransportError as error:
            raise NoAnswerError(f"no answer from {self._http.base_url}: {error}") from error

    def _read(self, response: httpx.Response, model: type[Model]) -> Model:
        try:
            if response.status_code != httpx.codes.OK:
                raise AnswerError(Problem.model_validate_json(response.content))
            return model.model_validate_json(response.content)
        except ValidationError:
            raise NoAnswerError(f"{response.url} answered {response.status_code}, and not as Pullback does") from None


def _tensors(arrays: Mapping[str, ArrayLike]) -> dict[str, Any]:
    return {name: encode(value) for name, value in arrays.items()}
