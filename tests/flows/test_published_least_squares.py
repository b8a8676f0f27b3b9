"""The test functions of Moré, Garbow and Hillstrom (ACM TOMS 7, 1981), with Jacobians derived by hand.

Minima and minimisers are those of the paper; for Meyer's and Kowalik and Osborne's functions, those that NIST certifies
(MGH10, MGH09).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

Array = np.ndarray[Any, Any]

STEP = 1e-30


@dataclass(frozen=True)
class Problem:
    """Residuals as a graph and, with their Jacobian, in numpy; the start, and the minima with F = sum r^2 there."""

    graph: str
    residuals: Callable[[Array], Any]
    jacobian: Callable[[Array], Any]
    start: Any
    minima: list[tuple[Any, float]]
    at_start: float | None = None

    def gradient(self, x: Array) -> Array:
        return 2 * np.array(self.jacobian(x)).T @ np.array(self.residuals(x))

    def hessian_times(self, x: Array, v: Array) -> Array:
        """By a complex step through the gradient, which costs no digits."""
        return self.gradient(x + 1j * STEP * v).imag / STEP


def constant(name: str, values: Any) -> str:
    return f"{name} = {np.asarray(values, dtype=float).tolist()}\n"


def column(*parts: Any) -> Array:
    return np.stack(np.broadcast_arrays(*parts), axis=-1)


BARD_Y = [0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39]
BARD_U = np.arange(1.0, 16)
BARD_V, BARD_W = 16 - BARD_U, np.minimum(BARD_U, 16 - BARD_U)
GAUSS_HALF = [0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521]
GAUSS_Y, GAUSS_T = np.array([*GAUSS_HALF, 0.3989, *GAUSS_HALF[::-1]]), (8 - np.arange(1.0, 16)) / 2
_MEYER = "34780 28610 23650 19630 16370 13720 11540 9744 8261 7030 6005 5147 4427 3820 3307 2872"
MEYER_Y, MEYER_T = np.array(_MEYER.split(), dtype=float), 45 + 5 * np.arange(1.0, 17)
KOWALIK_Y = np.array([0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246])
KOWALIK_U = np.array([4.0, 2.0, 1.0, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625])
_OSBORNE = """
.844 .908 .932 .936 .925 .908 .881 .850 .818 .784 .751 .718 .685 .658 .628 .603 .580 .558 .538 .522 .506 .490 .478
.467 .457 .448 .438 .431 .424 .420 .414 .411 .406
"""
OSBORNE_Y, OSBORNE_T = np.array(_OSBORNE.split(), dtype=float), 10 * np.arange(33.0)
BOX_T, DENNIS_T, BIGGS_T = 0.1 * np.arange(1.0, 11), np.arange(1.0, 21) / 5, 0.1 * np.arange(1.0, 14)
BIGGS_Y = np.exp(-BIGGS_T) - 5 * np.exp(-10 * BIGGS_T) + 3 * np.exp(-4 * BIGGS_T)
I = np.arange(1.0, 11)  # noqa: E741 - the paper's index
WATSON = (np.arange(1.0, 30) / 29)[:, None] ** np.arange(6)
WATSON_SLOPE = np.hstack([np.zeros((29, 1)), WATSON[:, :5] * np.arange(1, 6)])
ONE = np.eye(10)
R5, R10, R90 = 5**0.5, 10**0.5, 90**0.5


def helical_jacobian(x: Array) -> Any:
    """The angle is in turns: its slope is (-x1, x0) / (2 pi rho^2)."""
    square, factor = x[0] ** 2 + x[1] ** 2, 100 / (2 * np.pi)
    rho = square**0.5
    return [
        [factor * x[1] / square, -factor * x[0] / square, 10],
        [10 * x[0] / rho, 10 * x[1] / rho, 0],
        [0, 0, 1],
    ]


def meyer_jacobian(x: Array) -> Array:
    below = MEYER_T + x[2]
    e = np.exp(x[1] / below)
    return column(e, x[0] * e / below, -x[0] * x[1] * e / below**2)


def kowalik_jacobian(x: Array) -> Array:
    u = KOWALIK_U
    above, below = u**2 + u * x[1], u**2 + u * x[2] + x[3]
    return column(-above / below, -x[0] * u / below, x[0] * above * u / below**2, x[0] * above / below**2)


def dennis_jacobian(x: Array) -> Array:
    t = DENNIS_T
    a, b = x[0] + t * x[1] - np.exp(t), x[2] + x[3] * np.sin(t) - np.cos(t)
    return column(2 * a, 2 * a * t, 2 * b, 2 * b * np.sin(t))


def osborne_jacobian(x: Array) -> Array:
    t = OSBORNE_T
    e, f = np.exp(-t * x[3]), np.exp(-t * x[4])
    return column(-np.ones_like(t), -e, -f, x[1] * t * e, x[2] * t * f)


def biggs_jacobian(x: Array) -> Array:
    t = BIGGS_T
    e, f, g = np.exp(-t * x[0]), np.exp(-t * x[1]), np.exp(-t * x[4])
    return column(-t * x[2] * e, t * x[3] * f, e, -f, -t * x[5] * g, g)


def powell_jacobian(x: Array) -> Any:
    b, d = x[1] - 2 * x[2], x[0] - x[3]
    return [
        [1, 10, 0, 0],
        [0, 0, R5, -R5],
        [0, 2 * b, -4 * b, 0],
        [2 * R10 * d, 0, 0, -2 * R10 * d],
    ]


def powell(x: Array) -> list[Any]:
    return [x[0] + 10 * x[1], R5 * (x[2] - x[3]), (x[1] - 2 * x[2]) ** 2, R10 * (x[0] - x[3]) ** 2]


def watson_jacobian(x: Array) -> Array:
    return np.vstack(
        [WATSON_SLOPE - 2 * (WATSON @ x)[:, None] * WATSON, np.eye(6)[0], np.eye(6)[1] - 2 * x[0] * np.eye(6)[0]]
    )


def blocks(jacobian: Callable[[Array], Any], size: int) -> Callable[[Array], Array]:
    """The Jacobian of the same residuals for each of several groups of variables."""

    def whole(x: Array) -> Array:
        parts = [np.array(jacobian(group)) for group in x.reshape(-1, size)]
        dense = np.zeros((len(parts) * len(parts[0]), len(x)), dtype=x.dtype)
        for k, part in enumerate(parts):
            dense[k * len(part) : (k + 1) * len(part), k * size : (k + 1) * size] = part
        return dense

    return whole


def rosenbrock_jacobian(x: Array) -> Any:
    return [[-20 * x[0], 10], [-1, 0]]


def brown_jacobian(x: Array) -> Array:
    return np.vstack([(ONE + 1)[:9], [np.prod(np.delete(x, j)) for j in range(10)]])


BANDED = np.tri(10, k=1) - np.tri(10, k=-6) - ONE
BOUNDARY_T = I / 11
SHIFTED = 2 * ONE - np.eye(10, k=1) - np.eye(10, k=-1)

PROBLEMS = {
    "Rosenbrock": Problem(
        "r = stack([10 * (x[1] - x[0]**2), 1 - x[0]])",
        lambda x: [10 * (x[1] - x[0] ** 2), 1 - x[0]],
        rosenbrock_jacobian,
        [-1.2, 1],
        [([1, 1], 0)],
        24.2,
    ),
    "Freudenstein and Roth": Problem(
        "r = stack([-13 + x[0] + ((5 - x[1]) * x[1] - 2) * x[1], -29 + x[0] + ((x[1] + 1) * x[1] - 14) * x[1]])",
        lambda x: [-13 + x[0] + ((5 - x[1]) * x[1] - 2) * x[1], -29 + x[0] + ((x[1] + 1) * x[1] - 14) * x[1]],
        lambda x: [[1, 10 * x[1] - 3 * x[1] ** 2 - 2], [1, 3 * x[1] ** 2 + 2 * x[1] - 14]],
        [0.5, -2],
        [([5, 4], 0), ([11.412779, -0.896805], 48.9842)],
        400.5,
    ),
    "Powell badly scaled": Problem(
        "r = stack([1e4 * x[0] * x[1] - 1, exp(-x[0]) + exp(-x[1]) - 1.0001])",
        lambda x: [1e4 * x[0] * x[1] - 1, np.exp(-x[0]) + np.exp(-x[1]) - 1.0001],
        lambda x: [[1e4 * x[1], 1e4 * x[0]], [-np.exp(-x[0]), -np.exp(-x[1])]],
        [0, 1],
        [([1.098159e-5, 9.106146], 0)],
    ),
    "Brown badly scaled": Problem(
        "r = stack([x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2])",
        lambda x: [x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2],
        lambda x: [[1, 0], [0, 1], [x[1], x[0]]],
        [1, 1],
        [([1e6, 2e-6], 0)],
    ),
    "Beale": Problem(
        "y = [1.5, 2.25, 2.625]; i = [1.0, 2.0, 3.0]; r = y - x[0] * (1 - x[1] ** i)",
        lambda x: np.array([1.5, 2.25, 2.625]) - x[0] * (1 - x[1] ** I[:3]),
        lambda x: column(-(1 - x[1] ** I[:3]), I[:3] * x[0] * x[1] ** (I[:3] - 1)),
        [1, 1],
        [([3, 0.5], 0)],
        14.203125,
    ),
    "Jennrich and Sampson": Problem(
        constant("i", I) + "r = 2 + 2 * i - (exp(i * x[0]) + exp(i * x[1]))",
        lambda x: 2 + 2 * I - (np.exp(I * x[0]) + np.exp(I * x[1])),
        lambda x: column(-I * np.exp(I * x[0]), -I * np.exp(I * x[1])),
        [0.3, 0.4],
        [([0.257825, 0.257825], 124.362)],
    ),
    "helical valley": Problem(
        "r = stack([10 * (x[2] - 10 * atan2(x[1], x[0]) / (2 * math.pi)), 10 * (hypot(x[0], x[1]) - 1), x[2]])",
        lambda x: [
            10 * (x[2] - 10 * (np.arctan(x[1] / x[0]) / (2 * np.pi) + 0.5 * (x[0].real < 0))),
            10 * ((x[0] ** 2 + x[1] ** 2) ** 0.5 - 1),
            x[2],
        ],
        helical_jacobian,
        [-1, 0, 0],
        [([1, 0, 0], 0)],
        2500,
    ),
    "Bard": Problem(
        constant("y", BARD_Y)
        + constant("u", BARD_U)
        + constant("v", BARD_V)
        + constant("w", BARD_W)
        + "r = y - (x[0] + u / (v * x[1] + w * x[2]))",
        lambda x: np.array(BARD_Y) - (x[0] + BARD_U / (BARD_V * x[1] + BARD_W * x[2])),
        lambda x: column(
            -np.ones(15),
            BARD_U * BARD_V / (BARD_V * x[1] + BARD_W * x[2]) ** 2,
            BARD_U * BARD_W / (BARD_V * x[1] + BARD_W * x[2]) ** 2,
        ),
        [1, 1, 1],
        [([0.0824106, 1.133036, 2.343695], 8.21487e-3)],
    ),
    "Gaussian": Problem(
        constant("y", GAUSS_Y) + constant("t", GAUSS_T) + "r = x[0] * exp(-x[1] * (t - x[2])**2 / 2) - y",
        lambda x: x[0] * np.exp(-x[1] * (GAUSS_T - x[2]) ** 2 / 2) - GAUSS_Y,
        lambda x: (
            column(1, -x[0] * (GAUSS_T - x[2]) ** 2 / 2, x[0] * x[1] * (GAUSS_T - x[2]))
            * np.exp(-x[1] * (GAUSS_T - x[2]) ** 2 / 2)[:, None]
        ),
        [0.4, 1, 0],
        [([0.3989561, 1.0000191, 0], 1.12793e-8)],
    ),
    "Meyer": Problem(
        constant("y", MEYER_Y) + constant("t", MEYER_T) + "r = x[0] * exp(x[1] / (t + x[2])) - y",
        lambda x: x[0] * np.exp(x[1] / (MEYER_T + x[2])) - MEYER_Y,
        meyer_jacobian,
        [0.02, 4000, 250],
        [([5.6096364710e-03, 6.1813463463e03, 3.4522363462e02], 87.945855171)],
    ),
    "Box three-dimensional": Problem(
        constant("t", BOX_T) + "r = exp(-t * x[0]) - exp(-t * x[1]) - x[2] * (exp(-t) - exp(-10 * t))",
        lambda x: np.exp(-BOX_T * x[0]) - np.exp(-BOX_T * x[1]) - x[2] * (np.exp(-BOX_T) - np.exp(-10 * BOX_T)),
        lambda x: column(
            -BOX_T * np.exp(-BOX_T * x[0]), BOX_T * np.exp(-BOX_T * x[1]), np.exp(-10 * BOX_T) - np.exp(-BOX_T)
        ),
        [0, 10, 20],
        [([1, 10, 1], 0), ([10, 1, -1], 0), ([2, 2, 0], 0)],
    ),
    "Powell singular": Problem(
        "r = stack([x[0] + 10 * x[1], 5**0.5 * (x[2] - x[3]), (x[1] - 2 * x[2])**2, 10**0.5 * (x[0] - x[3])**2])",
        powell,
        powell_jacobian,
        [3, -1, 0, 1],
        [([0, 0, 0, 0], 0)],
        215,
    ),
    "Wood": Problem(
        "a = stack([10 * (x[1] - x[0]**2), 1 - x[0], 90**0.5 * (x[3] - x[2]**2), 1 - x[2]])\n"
        "r = cat([a, stack([10**0.5 * (x[1] + x[3] - 2), (x[1] - x[3]) / 10**0.5])])",
        lambda x: [
            10 * (x[1] - x[0] ** 2),
            1 - x[0],
            R90 * (x[3] - x[2] ** 2),
            1 - x[2],
            R10 * (x[1] + x[3] - 2),
            (x[1] - x[3]) / R10,
        ],
        lambda x: [
            [-20 * x[0], 10, 0, 0],
            [-1, 0, 0, 0],
            [0, 0, -2 * R90 * x[2], R90],
            [0, 0, -1, 0],
            [0, R10, 0, R10],
            [0, 1 / R10, 0, -1 / R10],
        ],
        [-3, -1, -3, -1],
        [([1, 1, 1, 1], 0)],
        19192,
    ),
    "Kowalik and Osborne": Problem(
        constant("y", KOWALIK_Y)
        + constant("u", KOWALIK_U)
        + "r = y - x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3])",
        lambda x: KOWALIK_Y - x[0] * (KOWALIK_U**2 + KOWALIK_U * x[1]) / (KOWALIK_U**2 + KOWALIK_U * x[2] + x[3]),
        kowalik_jacobian,
        [0.25, 0.39, 0.415, 0.39],
        [([1.9280693458e-01, 1.9128232873e-01, 1.2305650693e-01, 1.3606233068e-01], 3.0750560385e-04)],
    ),
    "Brown and Dennis": Problem(
        constant("t", DENNIS_T) + "r = (x[0] + t * x[1] - exp(t))**2 + (x[2] + x[3] * sin(t) - cos(t))**2",
        lambda x: (
            (x[0] + DENNIS_T * x[1] - np.exp(DENNIS_T)) ** 2 + (x[2] + x[3] * np.sin(DENNIS_T) - np.cos(DENNIS_T)) ** 2
        ),
        dennis_jacobian,
        [25, 5, -5, -1],
        [([-11.59444, 13.20363, -0.4034395, 0.2367788], 85822.2)],
    ),
    "Osborne 1": Problem(
        constant("y", OSBORNE_Y)
        + constant("t", OSBORNE_T)
        + "r = y - (x[0] + x[1] * exp(-t * x[3]) + x[2] * exp(-t * x[4]))",
        lambda x: OSBORNE_Y - (x[0] + x[1] * np.exp(-OSBORNE_T * x[3]) + x[2] * np.exp(-OSBORNE_T * x[4])),
        osborne_jacobian,
        [0.5, 1.5, -1, 0.01, 0.02],
        [([0.3754101, 1.9358469, -1.4646871, 0.01286753, 0.02212270], 5.46489e-5)],
    ),
    "Biggs EXP6": Problem(
        constant("y", BIGGS_Y)
        + constant("t", BIGGS_T)
        + "r = x[2] * exp(-t * x[0]) - x[3] * exp(-t * x[1]) + x[5] * exp(-t * x[4]) - y",
        lambda x: (
            x[2] * np.exp(-BIGGS_T * x[0]) - x[3] * np.exp(-BIGGS_T * x[1]) + x[5] * np.exp(-BIGGS_T * x[4]) - BIGGS_Y
        ),
        biggs_jacobian,
        [1, 2, 1, 1, 1, 1],
        [([1, 10, 1, 5, 4, 3], 0)],
    ),
    "Watson": Problem(
        constant("d", WATSON_SLOPE)
        + constant("p", WATSON)
        + "r = cat([d @ x - (p @ x)**2 - 1, stack([x[0], x[1] - x[0]**2 - 1])])",
        lambda x: [*(WATSON_SLOPE @ x - (WATSON @ x) ** 2 - 1), x[0], x[1] - x[0] ** 2 - 1],
        watson_jacobian,
        [0.0] * 6,
        [([-0.01572509, 1.012435, -0.2329916, 1.260430, -1.513729, 0.9929964], 2.28767e-3)],
        30,
    ),
    "extended Rosenbrock": Problem(
        "e = x[::2]; r = stack([10 * (x[1::2] - e**2), 1 - e], 1).flatten()",
        lambda x: column(10 * (x[1::2] - x[::2] ** 2), 1 - x[::2]).ravel(),
        blocks(rosenbrock_jacobian, 2),
        [-1.2, 1] * 5,
        [([1] * 10, 0)],
        5 * 24.2,
    ),
    "extended Powell singular": Problem(
        "a, b, c, d = unbind(x.reshape(2, 4), 1)\n"
        "r = stack([a + 10 * b, 5**0.5 * (c - d), (b - 2 * c)**2, 10**0.5 * (a - d)**2], 1).flatten()",
        lambda x: column(*powell(x.reshape(2, 4).T)).ravel(),
        blocks(powell_jacobian, 4),
        [3, -1, 0, 1] * 2,
        [([0] * 8, 0)],
        430,
    ),
    "penalty I": Problem(
        "r = cat([1e-5**0.5 * (x - 1), ((x * x).sum() - 0.25)[None]])",
        lambda x: [*(1e-5**0.5 * (x - 1)), (x * x).sum() - 0.25],
        lambda x: np.vstack([1e-5**0.5 * np.eye(4), 2 * x]),
        [1, 2, 3, 4],
        [([0.250007] * 4, 2.24997e-5)],
    ),
    "variably dimensioned": Problem(
        constant("i", I) + "k = (i * (x - 1)).sum(); r = cat([x - 1, stack([k, k * k])])",
        lambda x: [*(x - 1), I @ (x - 1), (I @ (x - 1)) ** 2],
        lambda x: np.vstack([ONE, I, 2 * (I @ (x - 1)) * I]),
        1 - I / 10,
        [([1] * 10, 0)],
    ),
    "trigonometric": Problem(
        constant("i", I) + "r = 10 - cos(x).sum() + i * (1 - cos(x)) - sin(x)",
        lambda x: 10 - np.cos(x).sum() + I * (1 - np.cos(x)) - np.sin(x),
        lambda x: np.sin(x)[None] + np.diag(I * np.sin(x) - np.cos(x)),
        [0.1] * 10,
        [([0] * 10, 0)],
    ),
    "Brown almost linear": Problem(
        "r = cat([x[:9] + x.sum() - 11, prod(x)[None] - 1])",
        lambda x: [*(x[:9] + x.sum() - 11), np.prod(x) - 1],
        brown_jacobian,
        [0.5] * 10,
        [([1] * 10, 0), ([0] * 9 + [11], 1)],
    ),
    "discrete boundary value": Problem(
        constant("t", BOUNDARY_T) + "p = F.pad(x, [1, 1]); r = 2 * x - p[:-2] - p[2:] + (x + t + 1)**3 / 242",
        lambda x: SHIFTED @ x + (x + BOUNDARY_T + 1) ** 3 / (2 * 11**2),
        lambda x: SHIFTED + np.diag(3 * (x + BOUNDARY_T + 1) ** 2 / (2 * 11**2)),
        BOUNDARY_T * (BOUNDARY_T - 1),
        [],
    ),
    "Broyden tridiagonal": Problem(
        "p = F.pad(x, [1, 1]); r = (3 - 2 * x) * x - p[:-2] - 2 * p[2:] + 1",
        lambda x: (3 - 2 * x) * x - np.eye(10, k=-1) @ x - 2 * np.eye(10, k=1) @ x + 1,
        lambda x: np.diag(3 - 4 * x) - np.eye(10, k=-1) - 2 * np.eye(10, k=1),
        [-1] * 10,
        [],
        21,
    ),
    "Broyden banded": Problem(
        constant("b", BANDED) + "r = x * (2 + 5 * x * x) + 1 - b @ (x * (1 + x))",
        lambda x: x * (2 + 5 * x * x) + 1 - BANDED @ (x * (1 + x)),
        lambda x: np.diag(2 + 15 * x * x) - BANDED * (1 + 2 * x),
        [-1] * 10,
        [],
        360,
    ),
    "linear, full rank": Problem(
        "r = F.pad(x, [0, 5]) - x.sum() / 5 - 1",
        lambda x: np.pad(x, (0, 5)) - x.sum() / 5 - 1,
        lambda x: np.eye(10, 5) - 1 / 5 + 0 * x[0],
        [1] * 5,
        [([-1] * 5, 5)],
    ),
    "linear, rank 1": Problem(
        constant("i", I) + "r = i * (i[:5] * x).sum() - 1",
        lambda x: I * (I[:5] @ x) - 1,
        lambda x: np.outer(I, I[:5]) + 0 * x[0],
        [1] * 5,
        [([3 / 21 / 55 * j for j in range(1, 6)], 10 * 9 / (2 * 21))],
    ),
}

every_problem = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)


def numbers(tensor: Any) -> Array:
    return np.array(tensor["data"], dtype=float)


def points(problem: Problem) -> list[Array]:
    return [np.array(x, dtype=float) for x in (problem.start, *(x for x, _ in problem.minima))]


def direction(x: Array) -> Array:
    return np.cos(np.arange(len(x))) * np.where(x == 0, 1, x)


def assert_near(found: Array, expected: Any, scale: Any = 0.0) -> None:
    """To twelve digits of the largest number that takes part."""
    expected = np.asarray(expected)
    size = max(float(np.abs(part).max()) for part in (expected, np.asarray(scale)))
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12 * size)


@every_problem
def test_the_jacobian_by_hand_agrees_with_its_residuals(problem):
    """The checker checked: a complex step through the residuals."""
    for x in points(problem):
        v = direction(x)
        slope = np.array(problem.residuals(x + 1j * STEP * v)).imag / STEP
        assert_near(slope, np.array(problem.jacobian(x)) @ v, np.abs(problem.jacobian(x)) @ np.abs(v))


@every_problem
def test_residuals_and_their_sum_of_squares_are_the_published_ones(answer, problem):
    published = [(problem.start, problem.at_start), *problem.minima]
    for x, total in published:
        r = numbers(answer("forward", graph=problem.graph, inputs={"x": [float(c) for c in x]})["outputs"]["r"])
        assert_near(r, problem.residuals(np.array(x, dtype=float)), 1.0)
        if total is not None:
            assert (r @ r) == pytest.approx(total, rel=1e-5, abs=1e-8)


@every_problem
@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_the_jacobian_is_the_one_derived_by_hand(answer, problem, mode):
    for x in points(problem):
        result = answer("jacobian", graph=problem.graph, inputs={"x": x.tolist()}, mode=mode)
        assert result["meta"]["mode"] == mode
        assert_near(numbers(result["jacobians"]["r"]["x"]), problem.jacobian(x))


@every_problem
def test_the_gradient_of_the_sum_of_squares_is_twice_the_jacobian_times_the_residuals(answer, problem):
    for x in points(problem):
        r = np.array(problem.residuals(x), dtype=float)
        sizes = np.abs(problem.jacobian(x)).T @ np.abs(r)
        fields = {"graph": problem.graph, "inputs": {"x": x.tolist()}, "grad_tensors": {"r": (2 * r).tolist()}}
        assert_near(numbers(answer("backward", **fields)["gradients"]["x"]), problem.gradient(x), sizes)


@every_problem
def test_the_hessian_times_a_vector_is_the_slope_of_the_gradient(answer, problem):
    graph = f"{problem.graph}\ns = (r * r).sum()"
    for x in points(problem):
        v = direction(x)
        result = answer("hvp", graph=graph, inputs={"x": x.tolist()}, vectors={"x": v.tolist()})
        jacobian = np.abs(problem.jacobian(x))
        assert_near(numbers(result["hvp"]["x"]), problem.hessian_times(x, v), jacobian.T @ (jacobian @ np.abs(v)))
