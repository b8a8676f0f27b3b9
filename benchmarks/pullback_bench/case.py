"""The numbers that everyone is asked for: y = relu(x * x) and its pullback."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

GRAPH = "y = relu(x * x)"


@dataclass(frozen=True)
class Case:
    """Input and cotangent, and the right answer in closed form, all float64[n]."""

    x: Array
    grad_tensors: Array
    y: Array
    gradient: Array

    def holds(self, answered: Mapping[str, Array]) -> bool:
        """Whether the gradient, and y where it is answered, are right to the last bit."""
        expected = {"y": self.y, "gradient": self.gradient}
        return "gradient" in answered and all(_same_bits(array, expected[name]) for name, array in answered.items())


def _same_bits(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a.view(np.int64), b.view(np.int64))


def case(n: int) -> Case:
    """`n` numbers, none of them 0, where relu has its kink; the same ones each time."""
    draw = np.random.default_rng(n)
    x, v = draw.normal(size=n), draw.normal(size=n)
    return Case(x=x, grad_tensors=v, y=x * x, gradient=v * x + v * x)
