"""What a problem of the paper is, and small words to write one in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

STEP = 1e-30


@dataclass(frozen=True)
class Problem:
    """Residuals r as a graph and, with their Jacobian, in numpy; F = sum r^2 is to be least."""

    number: int
    graph: str
    residuals: Callable[[Array], Any]
    jacobian: Callable[[Array], Any]
    start: Any
    """The paper's standard starting point."""

    at_start: float | None = None
    """F there, where it is exact in a few digits."""

    exact: tuple[tuple[Any, float], ...] = ()
    """Minimisers in closed form, and F there."""

    least: str | None = None
    """The F to which the start leads, in print: an ellipsis where the paper cuts digits off, none where NIST rounds."""

    minimiser: tuple[str, ...] = ()
    """Where that is, if it is in print."""

    def gradient(self, x: Array) -> Array:
        return 2 * np.array(self.jacobian(x)).T @ np.array(self.residuals(x))

    def slopes(self, x: Array) -> Array:
        """The Jacobian again, by complex steps through the residuals, which cost no digits."""
        return column(*(np.array(self.residuals(x + 1j * STEP * unit)).imag / STEP for unit in np.eye(len(x))))

    def hessian_times(self, x: Array, v: Array) -> Array:
        """By a complex step through the gradient."""
        return self.gradient(x + 1j * STEP * v).imag / STEP


def constant(name: str, values: Any) -> str:
    return f"{name} = {np.asarray(values, dtype=float).tolist()}\n"


def column(*parts: Any) -> Array:
    return np.stack(np.broadcast_arrays(*parts), axis=-1)


def indices(count: int) -> Array:
    """The paper's i = 1, ..., count."""
    return np.arange(1.0, count + 1)


def data(digits: str) -> Array:
    return np.array(digits.split(), dtype=float)
