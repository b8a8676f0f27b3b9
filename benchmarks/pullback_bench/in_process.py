"""Torch called directly, with no wire: what the computation alone costs."""

from __future__ import annotations

import torch

from pullback_bench.case import Array, Case

torch.set_num_threads(1)


def gradient_of_lists(x: list[float], grad_tensors: list[float]) -> tuple[list[float], list[float]]:
    """y and v^T J, lists in and out."""
    y, gradient = _backward(torch.tensor(x, dtype=torch.float64), torch.tensor(grad_tensors, dtype=torch.float64))
    return y.tolist(), gradient.tolist()


def gradient_of_arrays(case: Case) -> dict[str, Array]:
    """y and v^T J, without a copy in or out."""
    y, gradient = _backward(torch.from_numpy(case.x), torch.from_numpy(case.grad_tensors))
    return {"y": y.numpy(), "gradient": gradient.numpy()}


def _backward(x: torch.Tensor, grad_tensors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x.requires_grad_()
    y = torch.relu(x * x)
    (gradient,) = torch.autograd.grad(y, x, grad_tensors)
    return y.detach(), gradient
