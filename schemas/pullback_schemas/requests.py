"""What a client sends, one model an operation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, InstanceOf, PositiveInt
from pydantic.json_schema import JsonSchemaValue

from pullback_schemas.graphs import Graph, WrittenGraph
from pullback_schemas.tensors import Encoding, Tensor, TensorOrSpec
from pullback_schemas.wire import Name, WireModel


class _DocumentedAsGraph:
    """A graph is checked when it is compiled, once for all requests that bring the same one."""

    def __get_pydantic_json_schema__(self, _: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        text = {"type": "string", "description": 'the text form: "h = x * w; y = relu(h).sum()"'}
        return {"anyOf": [handler(Graph.__pydantic_core_schema__), text]}


RawGraph = Annotated[dict[str, Any] | str | InstanceOf[WrittenGraph], _DocumentedAsGraph()]
"""A graph in its JSON form, not yet checked, perhaps not even read, or in its text form."""

_RELU: dict[str, Any] = {"graph": "y = relu(x)", "inputs": {"x": [-1.5, 0.0, 2.0]}}
_SQUARE: dict[str, Any] = {
    "graph": {
        "inputs": {"x": {"dtype": "float64", "shape": ["n"]}},
        "nodes": [{"id": "y", "op": "mul", "args": ["$x", "$x"]}],
    },
    "inputs": {"x": [1.0, 2.0, 3.0]},
}


class OperationRequest(WireModel):
    """What every operation needs."""

    graph: RawGraph = Field(description="the function: docs/graphs.md")
    inputs: dict[Name, Tensor] = Field(default={}, description="a tensor for each input of the graph")
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$",
        description="where to compute; auto: on the CPU, or much work on a GPU, if there is one",
    )
    encoding: Encoding = Field(default="nested", description="the form of the tensors in the answer")
    seed: int | None = Field(
        default=None,
        ge=0,
        lt=2**63,
        description="of operators that draw random numbers; left out: drawn, and told in meta",
    )


Deterministic = Annotated[
    bool,
    Field(
        description="never run together with other requests for the same graph, on which the last bits of the numbers "
        "depend"
    ),
]


class ForwardRequest(OperationRequest):
    """The values of a graph."""

    model_config = ConfigDict(json_schema_extra={"examples": [_RELU, _SQUARE]})

    deterministic: Deterministic = False


class CotangentRequest(OperationRequest):
    """What every operation on v^T J or <v, y> needs."""

    grad_tensors: dict[Name, Tensor | None] | list[Tensor | None] | None = Field(
        default=None,
        description="output name -> tensor of that output's shape and dtype, or a list in the order of the "
        "outputs; may be left out for an output with one element (implicit 1)",
    )
    wrt: list[Name] | None = Field(
        default=None,
        description="the inputs or constants to differentiate; left out: every floating or complex input",
        min_length=1,
    )


class JacobianOptions(WireModel):
    """Which Jacobians, and how."""

    of: list[Name] | None = Field(
        default=None, description="the outputs; left out: every floating or complex one", min_length=1
    )
    wrt: list[Name] | None = Field(
        default=None,
        description="the inputs or constants; left out: every floating or complex input",
        min_length=1,
    )
    mode: Literal["auto", "reverse", "forward"] = Field(
        default="auto", description="by rows (reverse), by columns (forward), or whatever are fewer"
    )
    chunk_size: PositiveInt | None = Field(
        default=None, description="rows or columns at a time; left out: as many as keep to the memory budget"
    )


class BackwardRequest(CotangentRequest):
    """The vector-Jacobian product of a graph.

    With y = f(x) and v = `grad_tensors`, the gradient is v^T J, J = dy/dx. Several outputs add up.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {**_RELU, "grad_tensors": {"y": [1.0, 1.0, 1.0]}},
                {**_SQUARE, "grad_tensors": {"y": [1.0, 0.5, 0.25]}, "wrt": ["x"], "jacobian": True},
                {"graph": "y = (x ** 2).sum()", "inputs": {"x": [1.0, 2.0]}, "explain": True},
            ]
        }
    )

    unused: Literal["zeros", "null", "error"] = Field(
        default="zeros", description="what an input gets that no output depends on"
    )
    is_grads_batched: bool = Field(
        default=False, description="grad_tensors, and so the gradients, have one extra leading axis"
    )
    jacobian: bool | JacobianOptions = Field(default=False, description="also answer jacobians[output][input]")
    deterministic: Deterministic = False
    outputs: bool = Field(
        default=True, description="also answer the outputs; false where they are known, since they may be large"
    )
    explain: bool = Field(
        default=False, description="also answer, node by node in backward order, what comes in and what is passed on"
    )


class JvpRequest(OperationRequest):
    """The Jacobian-vector product of a graph.

    With y = f(x) and v = `tangents`, the answer is J v: how fast y moves when x moves along v. Several inputs add up.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {**_SQUARE, "tangents": {"x": [1.0, 0.0, 0.0]}},
                {
                    "graph": "y = sin(x) * w",
                    "inputs": {"x": [0.0, 1.0], "w": [2.0, 3.0]},
                    "tangents": {"x": [[1.0, 0.0], [0.0, 1.0]]},
                    "is_tangents_batched": True,
                },
            ]
        }
    )

    tangents: dict[Name, Tensor] = Field(
        description="input or constant -> tensor of its shape and dtype; one that is left out does not move",
        min_length=1,
    )
    is_tangents_batched: bool = Field(
        default=False, description="tangents, and so the products, have one extra leading axis"
    )


class JacobianRequest(OperationRequest, JacobianOptions):
    """The dense Jacobians of a graph: jacobians[output][input] has the shape y.shape + x.shape."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [_SQUARE, {"graph": "y = w @ x", "inputs": {"w": [[1, 2], [3, 4]], "x": [1, 1]}, "wrt": ["x"]}]
        }
    )


class HvpRequest(CotangentRequest):
    """The Hessian-vector product of a graph: H v, H the second derivative of its one element or <grad_tensors, y>."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"graph": "y = (x ** 3).sum()", "inputs": {"x": [1.0, 2.0]}, "vectors": {"x": [1.0, 0.0]}},
                {**_SQUARE, "grad_tensors": {"y": [1.0, 0.5, 0.25]}, "vectors": {"x": [1.0, 1.0, 1.0]}},
            ]
        }
    )

    vectors: dict[Name, Tensor] = Field(
        description="input or constant -> tensor of its shape and dtype; one that is left out is zero", min_length=1
    )
    is_vectors_batched: bool = Field(
        default=False, description="vectors, and so the products, have one extra leading axis"
    )
    allow_finite_differences: bool = Field(
        default=False,
        description="where an operator has no second derivative: central differences of the exact gradient",
    )


class HessianRequest(CotangentRequest):
    """The dense Hessian of a graph: hessian[x][x2] has the shape x.shape + x2.shape.

    It is the second derivative of the graph's one element, or of <grad_tensors, outputs>.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"graph": "y = (1 - x[0])**2 + 100 * (x[1] - x[0]**2)**2", "inputs": {"x": [1.0, 1.0]}},
                {**_SQUARE, "grad_tensors": {"y": [1.0, 0.5, 0.25]}},
            ]
        }
    )

    chunk_size: PositiveInt | None = Field(
        default=None, description="rows at a time; left out: as many as keep to the memory budget"
    )
    allow_finite_differences: bool = Field(
        default=False,
        description="where an operator has no second derivative: central differences of the exact gradient",
    )


class GradcheckRequest(OperationRequest):
    """Whether the gradients of a graph are right at a point, found out in double precision."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SQUARE, {**_RELU, "method": "central"}]})

    wrt: list[Name] | None = Field(
        default=None,
        description="the inputs or constants to check; left out: every input",
        min_length=1,
    )
    method: Literal["taylor", "central"] = Field(
        default="taylor",
        description="the rate at which the remainder of the linear model vanishes along a random direction; or the "
        "central difference of every single entry",
    )
    rtol: float = Field(default=1e-5, ge=0, description="of an entry's central difference, relative to the gradient's")
    atol: float = Field(default=1e-7, ge=0, description="of an entry's central difference")


class CheckRequest(WireModel):
    """Everything that can be said of a graph without running it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"graph": "y = relu(x @ w)", "inputs": {"x": {"shape": [8, 3]}, "w": {"shape": [3, 2]}}},
                _SQUARE,
            ]
        }
    )

    graph: RawGraph = Field(description="the function: docs/graphs.md")
    inputs: dict[Name, TensorOrSpec] = Field(
        default={}, description="tensors, or only their dtypes and shapes; an input may be left out"
    )
    wrt: list[Name] | None = Field(
        default=None, description="what gradients would be by; left out: every floating or complex input"
    )
