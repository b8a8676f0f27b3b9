"""The functions of two to four variables that are written down without data."""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.flows.more_garbow_hillstrom.problem import Array, Problem, column, indices

I = indices(10)  # noqa: E741 - the paper's index
R5, R10, R22, R90 = 5**0.5, 10**0.5, 22**0.5, 90**0.5


def rosenbrock_jacobian(x: Array) -> Any:
    return [[-20 * x[0], 10], [-1, 0]]


def helical(x: Array) -> list[Any]:
    angle = np.arctan(x[1] / x[0]) / (2 * np.pi) + 0.5 * (x[0].real < 0)
    return [10 * (x[2] - 10 * angle), 10 * ((x[0] ** 2 + x[1] ** 2) ** 0.5 - 1), x[2]]


def helical_jacobian(x: Array) -> Any:
    """The angle is in turns: its slope is (-x1, x0) / (2 pi rho^2)."""
    square, factor = x[0] ** 2 + x[1] ** 2, 100 / (2 * np.pi)
    rho = square**0.5
    return [
        [factor * x[1] / square, -factor * x[0] / square, 10],
        [10 * x[0] / rho, 10 * x[1] / rho, 0],
        [0, 0, 1],
    ]


def powell(x: Array) -> list[Any]:
    return [x[0] + 10 * x[1], R5 * (x[2] - x[3]), (x[1] - 2 * x[2]) ** 2, R10 * (x[0] - x[3]) ** 2]


def powell_jacobian(x: Array) -> Any:
    b, d = x[1] - 2 * x[2], x[0] - x[3]
    return [
        [1, 10, 0, 0],
        [0, 0, R5, -R5],
        [0, 2 * b, -4 * b, 0],
        [2 * R10 * d, 0, 0, -2 * R10 * d],
    ]


def wood(x: Array) -> list[Any]:
    return [
        10 * (x[1] - x[0] ** 2),
        1 - x[0],
        R90 * (x[3] - x[2] ** 2),
        1 - x[2],
        R10 * (x[1] + x[3] - 2),
        (x[1] - x[3]) / R10,
    ]


def wood_jacobian(x: Array) -> Any:
    return [
        [-20 * x[0], 10, 0, 0],
        [-1, 0, 0, 0],
        [0, 0, -2 * R90 * x[2], R90],
        [0, 0, -1, 0],
        [0, R10, 0, R10],
        [0, 1 / R10, 0, -1 / R10],
    ]


SMALL = {
    "Rosenbrock": Problem(
        1,
        "r = stack([10 * (x[1] - x[0]**2), 1 - x[0]])",
        lambda x: [10 * (x[1] - x[0] ** 2), 1 - x[0]],
        rosenbrock_jacobian,
        [-1.2, 1],
        at_start=24.2,
        exact=(([1, 1], 0),),
    ),
    "Freudenstein and Roth": Problem(
        2,
        "r = stack([-13 + x[0] + ((5 - x[1]) * x[1] - 2) * x[1], -29 + x[0] + ((x[1] + 1) * x[1] - 14) * x[1]])",
        lambda x: [-13 + x[0] + ((5 - x[1]) * x[1] - 2) * x[1], -29 + x[0] + ((x[1] + 1) * x[1] - 14) * x[1]],
        lambda x: [[1, 10 * x[1] - 3 * x[1] ** 2 - 2], [1, 3 * x[1] ** 2 + 2 * x[1] - 14]],
        [0.5, -2],
        at_start=400.5,
        # With y = x[1], F is least for r0 + r1 = 0 and is then (r0 - r1)^2 / 2 = (16 + 12 y + 4 y^2 - 2 y^3)^2 / 2.
        exact=(([5, 4], 0), ([(53 - 4 * R22) / 3, (2 - R22) / 3], (680 - 88 * R22) ** 2 / 1458)),
        least="48.9842...",
        minimiser=("11.41...", "-0.8968..."),
    ),
    "Powell badly scaled": Problem(
        3,
        "r = stack([1e4 * x[0] * x[1] - 1, exp(-x[0]) + exp(-x[1]) - 1.0001])",
        lambda x: [1e4 * x[0] * x[1] - 1, np.exp(-x[0]) + np.exp(-x[1]) - 1.0001],
        lambda x: [[1e4 * x[1], 1e4 * x[0]], [-np.exp(-x[0]), -np.exp(-x[1])]],
        [0, 1],
        minimiser=("1.098...e-5", "9.106..."),
    ),
    "Brown badly scaled": Problem(
        4,
        "r = stack([x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2])",
        lambda x: [x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2],
        lambda x: [[1, 0], [0, 1], [x[1], x[0]]],
        [1, 1],
        exact=(([1e6, 2e-6], 0),),
    ),
    "Beale": Problem(
        5,
        "y = [1.5, 2.25, 2.625]; i = [1.0, 2.0, 3.0]; r = y - x[0] * (1 - x[1] ** i)",
        lambda x: np.array([1.5, 2.25, 2.625]) - x[0] * (1 - x[1] ** I[:3]),
        lambda x: column(-(1 - x[1] ** I[:3]), I[:3] * x[0] * x[1] ** (I[:3] - 1)),
        [1, 1],
        at_start=14.203125,
        exact=(([3, 0.5], 0),),
    ),
    "helical valley": Problem(
        7,
        "r = stack([10 * (x[2] - 10 * atan2(x[1], x[0]) / (2 * math.pi)), 10 * (hypot(x[0], x[1]) - 1), x[2]])",
        helical,
        helical_jacobian,
        [-1, 0, 0],
        at_start=2500,
        exact=(([1, 0, 0], 0),),
    ),
    "Powell singular": Problem(
        13,
        "r = stack([x[0] + 10 * x[1], 5**0.5 * (x[2] - x[3]), (x[1] - 2 * x[2])**2, 10**0.5 * (x[0] - x[3])**2])",
        powell,
        powell_jacobian,
        [3, -1, 0, 1],
        at_start=215,
        exact=(([0, 0, 0, 0], 0),),
    ),
    "Wood": Problem(
        14,
        "a = stack([10 * (x[1] - x[0]**2), 1 - x[0], 90**0.5 * (x[3] - x[2]**2), 1 - x[2]])\n"
        "r = cat([a, stack([10**0.5 * (x[1] + x[3] - 2), (x[1] - x[3]) / 10**0.5])])",
        wood,
        wood_jacobian,
        [-3, -1, -3, -1],
        at_start=19192,
        exact=(([1, 1, 1, 1], 0),),
    ),
}
