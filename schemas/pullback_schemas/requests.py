"""What a client sends, one model an operation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue

from pullback_schemas.graphs import Graph
from pullback_schemas.tensors import Encoding, Tensor, TensorOrSpec
from pullback_schemas.wire import Name, WireModel


class _DocumentedAsGraph:
    """A graph is checked when it is compiled, once for all requests that bring the same one."""

    def __get_pydantic_json_schema__(self, _: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        text = {"type": "string", "description": 'the text form: "h = x * w; y = relu(h).sum()"'}
        return {"anyOf": [handler(Graph.__pydantic_core_schema__), text]}


RawGraph = Annotated[dict[str, Any] | str, _DocumentedAsGraph()]
"""A graph in its JSON form, not yet checked, or in its text form."""

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

    graph: RawGraph
    inputs: dict[Name, Tensor] = Field(default={}, description="a tensor for each input of the graph")
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$")
    encoding: Encoding = Field(default="nested", description="the form of the tensors in the answer")
    seed: int | None = Field(
        default=None,
        ge=0,
        lt=2**63,
        description="of operators that draw random numbers; left out: drawn, and told in meta",
    )


class ForwardRequest(OperationRequest):
    """The values of a graph."""

    model_config = ConfigDict(json_schema_extra={"examples": [_RELU, _SQUARE]})


class BackwardRequest(OperationRequest):
    """The vector-Jacobian product of a graph.

    With y = f(x) and v = `grad_tensors`, the gradient is v^T J, J = dy/dx. Several outputs add up.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {**_RELU, "grad_tensors": {"y": [1.0, 1.0, 1.0]}},
                {**_SQUARE, "grad_tensors": {"y": [1.0, 0.5, 0.25]}, "wrt": ["x"], "jacobian": True},
                {"graph": "y = (x ** 2).sum()", "inputs": {"x": [1.0, 2.0]}},
            ]
        }
    )

    grad_tensors: dict[Name, Tensor | None] | list[Tensor | None] | None = Field(
        default=None,
        description="output name -> tensor of that output's shape and dtype, or a list in the order of the "
        "outputs; may be left out for an output with one element (implicit 1)",
    )
    wrt: list[Name] | None = Field(
        default=None,
        description="the inputs or constants to differentiate; left out: every floating or complex input",
    )
    unused: Literal["zeros", "null", "error"] = Field(
        default="zeros", description="what an input gets that no output depends on"
    )
    is_grads_batched: bool = Field(
        default=False, description="grad_tensors, and so the gradients, have one extra leading axis"
    )
    jacobian: bool = Field(default=False, description="also answer jacobians[output][input]")


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

    graph: RawGraph
    inputs: dict[Name, TensorOrSpec] = Field(
        default={}, description="tensors, or only their dtypes and shapes; an input may be left out"
    )
    wrt: list[Name] | None = None
