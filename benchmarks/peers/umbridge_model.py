"""y = relu(x * x) as a UM-Bridge model; `config` tells how many numbers there are."""

from __future__ import annotations

import os
from typing import Any

import torch
import umbridge


class SquareRelu(umbridge.Model):
    def __init__(self) -> None:
        super().__init__("square_relu")

    def get_input_sizes(self, config: dict[str, Any]) -> list[int]:
        return [config["n"]]

    def get_output_sizes(self, config: dict[str, Any]) -> list[int]:
        return [config["n"]]

    def supports_gradient(self) -> bool:
        return True

    def gradient(
        self, _out_wrt: int, in_wrt: int, parameters: list[list[float]], sens: list[float], _config: dict[str, Any]
    ) -> list[float]:
        x = torch.tensor(parameters[in_wrt], dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(torch.relu(x * x), x, torch.tensor(sens, dtype=torch.float64))
        return gradient.tolist()


if __name__ == "__main__":
    torch.set_num_threads(1)
    umbridge.serve_models([SquareRelu()], int(os.environ["PORT"]))
