"""What can be asked: each operation as a function from its arguments to a Question. The clients only send these.

What every operation on a graph takes: `graph` is text, JSON, or what the builder or the tracer made; `inputs` are
arrays by name: numpy arrays or torch tensors, which keep their dtype, or numbers, which become what the graph
declares, else float64. `device` is "auto", "cpu" or "cuda"; `seed` is that of operators that draw random numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from pullback.answers import Backward, Forward, Gradcheck, Hessian, Hvp, Jacobian, Jvp
from pullback.arrays import Build, build_numpy, builder_for, read, shape_of
from pullback.graphs import GraphLike, Json, to_sendable
from pullback_schemas import CheckResult, Health, JacobianOptions, OpInfo, OpList, TensorSpec

Model = TypeVar("Model", bound=BaseModel)
Arrays: TypeAlias = Mapping[str, Any]
"""Numpy arrays, torch tensors, numbers or nested lists of numbers, by name."""


@dataclass(frozen=True, slots=True)
class Question(Generic[Model]):
    """One request, and how to read its answer.

    `fields` is the body, None for a GET; `statuses` are those of an answer that is a `Model`; `build` makes its arrays.
    """

    path: str
    model: type[Model]
    fields: Json | None = None
    build: Build = build_numpy
    statuses: frozenset[int] = frozenset({200})
    is_long: bool = False


def forward(
    graph: GraphLike, inputs: Arrays, *, deterministic: bool = False, device: str = "auto", seed: int | None = None
) -> Question[Forward]:
    """The values of the graph's outputs."""
    return _derive("forward", Forward, graph, inputs, deterministic=deterministic, device=device, seed=seed)


def backward(
    graph: GraphLike,
    inputs: Arrays,
    grad_tensors: Arrays | Sequence[Any] | None = None,
    *,
    wrt: Sequence[str] | None = None,
    unused: Literal["zeros", "null", "error"] = "zeros",
    is_grads_batched: bool = False,
    jacobian: bool | JacobianOptions = False,
    outputs: bool = True,
    explain: bool = False,
    deterministic: bool = False,
    device: str = "auto",
    seed: int | None = None,
) -> Question[Backward]:
    """The vector-Jacobian product: with y = f(x) and v = grad_tensors, gradients v^T dy/dx.

    Each of `grad_tensors` has its output's shape and dtype (after one leading axis if batched); it may be
    left out for an output with one element. Without `outputs`, which may be large, only gradients are sent back.
    """
    return _derive(
        "backward",
        Backward,
        graph,
        inputs,
        grad_tensors=_read_all(grad_tensors),
        wrt=_names(wrt),
        unused=unused,
        is_grads_batched=is_grads_batched,
        jacobian=jacobian.model_dump(exclude_none=True) if isinstance(jacobian, JacobianOptions) else jacobian,
        outputs=outputs,
        explain=explain,
        deterministic=deterministic,
        device=device,
        seed=seed,
    )


def jvp(
    graph: GraphLike,
    inputs: Arrays,
    tangents: Arrays,
    *,
    is_tangents_batched: bool = False,
    device: str = "auto",
    seed: int | None = None,
) -> Question[Jvp]:
    """The Jacobian-vector product: how fast each output moves when the inputs move along `tangents`.

    Each of `tangents` has its input's shape and dtype (after one leading axis if batched); an input without one
    does not move.
    """
    return _derive(
        "jvp",
        Jvp,
        graph,
        inputs,
        tangents=_read_all(tangents),
        is_tangents_batched=is_tangents_batched,
        device=device,
        seed=seed,
    )


def jacobian(
    graph: GraphLike,
    inputs: Arrays,
    *,
    of: Sequence[str] | None = None,
    wrt: Sequence[str] | None = None,
    mode: Literal["auto", "reverse", "forward"] = "auto",
    chunk_size: int | None = None,
    device: str = "auto",
    seed: int | None = None,
) -> Question[Jacobian]:
    """The dense jacobians[output][input], each of the shape of the output and then that of the input."""
    return _derive(
        "jacobian",
        Jacobian,
        graph,
        inputs,
        is_long=True,
        of=_names(of),
        wrt=_names(wrt),
        mode=mode,
        chunk_size=chunk_size,
        device=device,
        seed=seed,
    )


def hvp(
    graph: GraphLike,
    inputs: Arrays,
    vectors: Arrays,
    grad_tensors: Arrays | Sequence[Any] | None = None,
    *,
    wrt: Sequence[str] | None = None,
    is_vectors_batched: bool = False,
    allow_finite_differences: bool = False,
    device: str = "auto",
    seed: int | None = None,
) -> Question[Hvp]:
    """The product of the Hessian with `vectors`, of the one element or of <grad_tensors, outputs>.

    Each of `vectors` has its input's shape and dtype (after one leading axis if batched).
    """
    return _derive(
        "hvp",
        Hvp,
        graph,
        inputs,
        vectors=_read_all(vectors),
        grad_tensors=_read_all(grad_tensors),
        wrt=_names(wrt),
        is_vectors_batched=is_vectors_batched,
        allow_finite_differences=allow_finite_differences,
        device=device,
        seed=seed,
    )


def hessian(
    graph: GraphLike,
    inputs: Arrays,
    grad_tensors: Arrays | Sequence[Any] | None = None,
    *,
    wrt: Sequence[str] | None = None,
    chunk_size: int | None = None,
    allow_finite_differences: bool = False,
    device: str = "auto",
    seed: int | None = None,
) -> Question[Hessian]:
    """The dense hessian[x][x2] of the one element or of <grad_tensors, outputs>."""
    return _derive(
        "hessian",
        Hessian,
        graph,
        inputs,
        is_long=True,
        grad_tensors=_read_all(grad_tensors),
        wrt=_names(wrt),
        chunk_size=chunk_size,
        allow_finite_differences=allow_finite_differences,
        device=device,
        seed=seed,
    )


def gradcheck(
    graph: GraphLike,
    inputs: Arrays,
    *,
    wrt: Sequence[str] | None = None,
    method: Literal["taylor", "central"] = "taylor",
    rtol: float = 1e-5,
    atol: float = 1e-7,
    device: str = "auto",
    seed: int | None = None,
) -> Question[Gradcheck]:
    """Whether the gradients are right at this point, input by input."""
    return _derive(
        "gradcheck",
        Gradcheck,
        graph,
        inputs,
        wrt=_names(wrt),
        method=method,
        rtol=rtol,
        atol=atol,
        device=device,
        seed=seed,
    )


def check(
    graph: GraphLike,
    inputs: Mapping[str, TensorSpec | Any] | None = None,
    *,
    wrt: Sequence[str] | None = None,
) -> Question[CheckResult]:
    """Everything that can be said of the graph without running it. Of inputs only dtype and shape are sent."""
    specs = {name: _spec(value) for name, value in (inputs or {}).items()}
    fields = {"graph": _graph(graph), "inputs": specs, "wrt": _names(wrt)}
    return Question("/v1/check", CheckResult, _without_none(fields))


def ops() -> Question[OpList]:
    """The operators that a graph may call."""
    return Question("/v1/ops", OpList)


def op(name: str) -> Question[OpInfo]:
    """One operator: aliases and signatures."""
    return Question(f"/v1/ops/{quote(name, safe='')}", OpInfo)


def health() -> Question[Health]:
    """Whether the service takes requests now, and if not, why."""
    return Question("/health/ready", Health, statuses=frozenset({200, 503}))


def _derive(
    operation: str, model: type[Model], graph: GraphLike, inputs: Arrays, *, is_long: bool = False, **fields: Any
) -> Question[Model]:
    body = _without_none({"graph": _graph(graph), "inputs": _read_all(inputs), **fields})
    return Question(f"/v1/{operation}", model, body, builder_for(inputs.values()), is_long=is_long)


def _graph(graph: GraphLike) -> Any:
    form = to_sendable(graph)
    if isinstance(form, str) or not form.get("constants"):
        return form
    return {**form, "constants": _read_all(form["constants"])}


def _read_all(arrays: Arrays | Sequence[Any] | None) -> Any:
    if isinstance(arrays, Mapping):
        return {name: read(value) for name, value in arrays.items()}
    return None if arrays is None else [read(value) for value in arrays]


def _spec(value: Any) -> Any:
    if isinstance(value, TensorSpec):
        return value.model_dump(exclude_none=True)
    known = shape_of(value)
    return read(value) if known is None else {"dtype": known[0], "shape": list(known[1])}


def _names(names: Iterable[str] | None) -> list[str] | None:
    return None if names is None else list(names)


def _without_none(fields: Json) -> Json:
    """Only what the caller said; the service has the defaults."""
    return {name: value for name, value in fields.items() if value is not None}
