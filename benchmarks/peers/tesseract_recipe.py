"""y = relu(x * x) as a Tesseract in the manner of its template for PyTorch: paths and pytrees, then torch.func.vjp."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import BaseModel
from tesseract_core.runtime import Array, Differentiable, Float64
from tesseract_core.runtime.tree_transforms import filter_func, flatten_with_paths
from torch.utils._pytree import tree_map

torch.set_num_threads(1)


class InputSchema(BaseModel):
    x: Differentiable[Array[(None,), Float64]]


class OutputSchema(BaseModel):
    y: Differentiable[Array[(None,), Float64]]


def evaluate(inputs: Any) -> Any:
    return {"y": torch.relu(inputs["x"] * inputs["x"])}


def apply(inputs: InputSchema) -> OutputSchema:
    return evaluate(tree_map(torch.tensor, inputs.model_dump()))


def vector_jacobian_product(
    inputs: InputSchema, vjp_inputs: set[str], vjp_outputs: set[str], cotangent_vector: dict[str, Any]
) -> dict[str, Any]:
    names = tuple(vjp_inputs)
    tensors = tree_map(torch.tensor, inputs.model_dump())
    function = filter_func(evaluate, tensors, vjp_outputs, input_paths=names)
    _, pullback = torch.func.vjp(function, *flatten_with_paths(tensors, names).values())
    cotangents = {name: torch.tensor(cotangent_vector[name]) for name in vjp_outputs}
    return dict(zip(names, pullback(cotangents), strict=True))
