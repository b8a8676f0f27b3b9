"""y = relu(x * x) as a Tesseract, its pullback written by hand: as little as its endpoint needs."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import BaseModel
from tesseract_core.runtime import Array, Differentiable, Float64

torch.set_num_threads(1)


class InputSchema(BaseModel):
    x: Differentiable[Array[(None,), Float64]]


class OutputSchema(BaseModel):
    y: Differentiable[Array[(None,), Float64]]


def apply(inputs: InputSchema) -> OutputSchema:
    x = torch.tensor(inputs.x)
    return OutputSchema(y=torch.relu(x * x).numpy())


def vector_jacobian_product(
    inputs: InputSchema,
    vjp_inputs: set[str],  # noqa: ARG001
    vjp_outputs: set[str],  # noqa: ARG001
    cotangent_vector: dict[str, Any],
) -> dict[str, Any]:
    x = torch.tensor(inputs.x, requires_grad=True)
    (gradient,) = torch.autograd.grad(torch.relu(x * x), x, torch.tensor(cotangent_vector["y"]))
    return {"x": gradient.numpy()}
