"""A small client: numpy arrays in, numpy arrays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import httpx
from numpy.typing import ArrayLike
from pydantic import BaseModel, ValidationError

from pullback.answers import Backward, Blocks, Forward, Hessian, Hvp, Jacobian, Jvp
from pullback.arrays import Array, decode, encode
from pullback.errors import AnswerError, NoAnswerError
from pullback_schemas import (
    BackwardResult,
    CheckResult,
    ForwardResult,
    GradcheckResult,
    Graph,
    HessianResult,
    HvpResult,
    JacobianOptions,
    JacobianResult,
    JvpResult,
    OpInfo,
    OpList,
    Problem,
    TensorSpec,
    TensorValue,
)

Model = TypeVar("Model", bound=BaseModel)
GraphLike = str | Graph | Mapping[str, Any]


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
        answer = self._derive("forward", ForwardResult, graph, inputs)
        return Forward(_arrays(answer.outputs), answer.meta)

    def backward(
        self,
        graph: GraphLike,
        inputs: Mapping[str, ArrayLike],
        grad_tensors: Mapping[str, ArrayLike] | None = None,
        *,
        wrt: Sequence[str] | None = None,
        unused: str = "zeros",
        is_grads_batched: bool = False,
        jacobian: bool | JacobianOptions = False,
        explain: bool = False,
    ) -> Backward:
        """The vector-Jacobian product: with y = f(x) and v = grad_tensors, gradients v^T dy/dx.

        Each of `grad_tensors` has its output's shape and dtype (after one leading axis if batched); it may be
        left out for an output with one element.
        """
        answer = self._derive(
            "backward",
            BackwardResult,
            graph,
            inputs,
            grad_tensors=_tensors(grad_tensors),
            wrt=wrt and list(wrt),
            unused=unused,
            is_grads_batched=is_grads_batched,
            jacobian=jacobian.model_dump(exclude_none=True) if isinstance(jacobian, JacobianOptions) else jacobian,
            explain=explain,
        )
        gradients = {name: None if value is None else decode(value) for name, value in answer.gradients.items()}
        blocks = _blocks(answer.jacobians or {})
        return Backward(_arrays(answer.outputs), gradients, blocks, answer.explanation, answer.meta)

    def jvp(
        self,
        graph: GraphLike,
        inputs: Mapping[str, ArrayLike],
        tangents: Mapping[str, ArrayLike],
        *,
        is_tangents_batched: bool = False,
    ) -> Jvp:
        """The Jacobian-vector product: how fast each output moves when the inputs move along `tangents`.

        Each of `tangents` has its input's shape and dtype (after one leading axis if batched); an input without one
        does not move.
        """
        answer = self._derive(
            "jvp", JvpResult, graph, inputs, tangents=_tensors(tangents), is_tangents_batched=is_tangents_batched
        )
        return Jvp(_arrays(answer.outputs), _arrays(answer.jvp), answer.meta)

    def jacobian(
        self,
        graph: GraphLike,
        inputs: Mapping[str, ArrayLike],
        *,
        of: Sequence[str] | None = None,
        wrt: Sequence[str] | None = None,
        mode: str = "auto",
        chunk_size: int | None = None,
    ) -> Jacobian:
        """The dense jacobians[output][input], each of the shape of the output and then that of the input."""
        answer = self._derive(
            "jacobian",
            JacobianResult,
            graph,
            inputs,
            of=of and list(of),
            wrt=wrt and list(wrt),
            mode=mode,
            chunk_size=chunk_size,
        )
        return Jacobian(_arrays(answer.outputs), _blocks(answer.jacobians), answer.meta)

    def hvp(
        self,
        graph: GraphLike,
        inputs: Mapping[str, ArrayLike],
        vectors: Mapping[str, ArrayLike],
        grad_tensors: Mapping[str, ArrayLike] | None = None,
        *,
        wrt: Sequence[str] | None = None,
        is_vectors_batched: bool = False,
        allow_finite_differences: bool = False,
    ) -> Hvp:
        """The product of the Hessian with `vectors`, of the one element or of <grad_tensors, outputs>.

        Each of `vectors` has its input's shape and dtype (after one leading axis if batched).
        """
        answer = self._derive(
            "hvp",
            HvpResult,
            graph,
            inputs,
            vectors=_tensors(vectors),
            grad_tensors=_tensors(grad_tensors),
            wrt=wrt and list(wrt),
            is_vectors_batched=is_vectors_batched,
            allow_finite_differences=allow_finite_differences,
        )
        return Hvp(_arrays(answer.outputs), _arrays(answer.gradients), _arrays(answer.hvp), answer.meta)

    def hessian(
        self,
        graph: GraphLike,
        inputs: Mapping[str, ArrayLike],
        grad_tensors: Mapping[str, ArrayLike] | None = None,
        *,
        wrt: Sequence[str] | None = None,
        chunk_size: int | None = None,
        allow_finite_differences: bool = False,
    ) -> Hessian:
        """The dense hessian[x][x2] of the one element or of <grad_tensors, outputs>."""
        answer = self._derive(
            "hessian",
            HessianResult,
            graph,
            inputs,
            grad_tensors=_tensors(grad_tensors),
            wrt=wrt and list(wrt),
            chunk_size=chunk_size,
            allow_finite_differences=allow_finite_differences,
        )
        return Hessian(_arrays(answer.outputs), _arrays(answer.gradients), _blocks(answer.hessian), answer.meta)

    def gradcheck(
        self,
        graph: GraphLike,
        inputs: Mapping[str, ArrayLike],
        *,
        wrt: Sequence[str] | None = None,
        method: str = "taylor",
        rtol: float = 1e-5,
        atol: float = 1e-7,
    ) -> GradcheckResult:
        """Whether the gradients are right at this point, input by input."""
        return self._derive(
            "gradcheck", GradcheckResult, graph, inputs, wrt=wrt and list(wrt), method=method, rtol=rtol, atol=atol
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

    def _derive(
        self, operation: str, model: type[Model], graph: GraphLike, inputs: Mapping[str, ArrayLike], **fields: Any
    ) -> Model:
        return self._post(operation, model, graph=graph, inputs=_tensors(inputs), encoding="base64", **fields)

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


def _tensors(arrays: Mapping[str, ArrayLike] | None) -> dict[str, Any] | None:
    return None if arrays is None else {name: encode(value) for name, value in arrays.items()}


def _arrays(tensors: Mapping[str, TensorValue]) -> dict[str, Array]:
    return {name: decode(value) for name, value in tensors.items()}


def _blocks(rows: Mapping[str, Mapping[str, TensorValue]]) -> Blocks:
    return {name: _arrays(row) for name, row in rows.items()}
