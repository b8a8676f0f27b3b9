"""The functions of as many variables as one likes, but for those that are systems of equations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tests.flows.more_garbow_hillstrom.problem import Array, Problem, column, constant, indices
from tests.flows.more_garbow_hillstrom.small import powell, powell_jacobian, rosenbrock_jacobian

I = indices(10)  # noqa: E741 - the paper's index
ONE = np.eye(10)
A = 1e-5
JUMPS = np.where(np.arange(10) % 9 == 0, 0, np.arange(10.0))
INNER = np.array([0, 2, 3, 4, 0.0])


def blocks(jacobian: Callable[[Array], Any], size: int) -> Callable[[Array], Array]:
    """The Jacobian of the same residuals for each of several groups of variables."""

    def whole(x: Array) -> Array:
        parts = [np.array(jacobian(group)) for group in x.reshape(-1, size)]
        dense = np.zeros((len(parts) * len(parts[0]), len(x)), dtype=x.dtype)
        for k, part in enumerate(parts):
            dense[k * len(part) : (k + 1) * len(part), k * size : (k + 1) * size] = part
        return dense

    return whole


def watson(n: int, least: str) -> Problem:
    p = (indices(29) / 29)[:, None] ** np.arange(n)
    d = np.hstack([np.zeros((29, 1)), p[:, :-1] * np.arange(1, n)])
    unit = np.eye(n)
    return Problem(
        20,
        constant("d", d) + constant("p", p) + "r = cat([d @ x - (p @ x)**2 - 1, stack([x[0], x[1] - x[0]**2 - 1])])",
        lambda x: [*(d @ x - (p @ x) ** 2 - 1), x[0], x[1] - x[0] ** 2 - 1],
        lambda x: np.vstack([d - 2 * (p @ x)[:, None] * p, unit[0], unit[1] - 2 * x[0] * unit[0]]),
        [0.0] * n,
        at_start=30,
        least=least,
    )


def penalty_1(n: int, least: str) -> Problem:
    return Problem(
        23,
        "r = cat([1e-5**0.5 * (x - 1), ((x * x).sum() - 0.25)[None]])",
        lambda x: [*(A**0.5 * (x - 1)), (x * x).sum() - 0.25],
        lambda x: np.vstack([A**0.5 * np.eye(n), 2 * x]),
        indices(n),
        least=least,
    )


def penalty_2(n: int, least: str) -> Problem:
    weights, i = indices(n)[::-1].copy(), indices(n)
    y = np.exp(i[1:] / 10) + np.exp(i[:-1] / 10)

    def residuals(x: Array) -> list[Any]:
        e = np.exp(x / 10)
        return [x[0] - 0.2, *(A**0.5 * (e[1:] + e[:-1] - y)), *(A**0.5 * (e[1:] - np.exp(-0.1))), weights @ x**2 - 1]

    def jacobian(x: Array) -> Array:
        slope = A**0.5 * np.diag(np.exp(x / 10) / 10)
        return np.vstack([np.eye(n)[0], slope[1:] + slope[:-1], slope[1:], 2 * weights * x])

    return Problem(
        24,
        constant("w", weights)
        + constant("y", y)
        + "e = exp(x / 10); near = e[1:] + e[:-1] - y; far = e[1:] - math.e**-0.1\n"
        "r = cat([(x[0] - 0.2)[None], 1e-5**0.5 * near, 1e-5**0.5 * far, ((w * x * x).sum() - 1)[None]])",
        residuals,
        jacobian,
        [0.5] * n,
        least=least,
    )


def brown_jacobian(x: Array) -> Array:
    return np.vstack([(ONE + 1)[:9], [np.prod(np.delete(x, j)) for j in range(10)]])


def chebyquad(n: int, least: str) -> Problem:
    """T_i(cos a) = cos(i a), its slope is i sin(i a) / sin(a), and its integral -1 / (i^2 - 1) for even i, else 0."""
    i = indices(n)[:, None]
    integral = np.array([-1 / (k * k - 1) if k % 2 == 0 else 0 for k in range(1, n + 1)])

    def jacobian(x: Array) -> Any:
        a = np.arccos(2 * x - 1)
        return 2 * i * np.sin(i * a) / np.sin(a) / n

    return Problem(
        35,
        constant("i", i) + constant("whole", integral) + "r = cos(i * acos(2 * x - 1)).mean(1) - whole",
        lambda x: np.cos(i * np.arccos(2 * x - 1)).mean(1) - integral,
        jacobian,
        indices(n) / (n + 1),
        least=least,
    )


SIZED = {
    "Watson, 6 variables": watson(6, "2.28767...e-3"),
    "Watson, 9 variables": watson(9, "1.39976...e-6"),
    "extended Rosenbrock": Problem(
        21,
        "e = x[::2]; r = stack([10 * (x[1::2] - e**2), 1 - e], 1).flatten()",
        lambda x: column(10 * (x[1::2] - x[::2] ** 2), 1 - x[::2]).ravel(),
        blocks(rosenbrock_jacobian, 2),
        [-1.2, 1] * 5,
        at_start=5 * 24.2,
        exact=(([1] * 10, 0),),
    ),
    "extended Powell singular": Problem(
        22,
        "a, b, c, d = unbind(x.reshape(2, 4), 1)\n"
        "r = stack([a + 10 * b, 5**0.5 * (c - d), (b - 2 * c)**2, 10**0.5 * (a - d)**2], 1).flatten()",
        lambda x: column(*powell(x.reshape(2, 4).T)).ravel(),
        blocks(powell_jacobian, 4),
        [3, -1, 0, 1] * 2,
        at_start=430,
        exact=(([0] * 8, 0),),
    ),
    "penalty I, 4 variables": penalty_1(4, "2.24997...e-5"),
    "penalty I, 10 variables": penalty_1(10, "7.08765...e-5"),
    "penalty II, 4 variables": penalty_2(4, "9.37629...e-6"),
    "penalty II, 10 variables": penalty_2(10, "2.93660...e-4"),
    "variably dimensioned": Problem(
        25,
        constant("i", I) + "k = (i * (x - 1)).sum(); r = cat([x - 1, stack([k, k * k])])",
        lambda x: [*(x - 1), I @ (x - 1), (I @ (x - 1)) ** 2],
        lambda x: np.vstack([ONE, I, 2 * (I @ (x - 1)) * I]),
        1 - I / 10,
        exact=(([1] * 10, 0),),
    ),
    "trigonometric": Problem(
        26,
        constant("i", I) + "r = 10 - cos(x).sum() + i * (1 - cos(x)) - sin(x)",
        lambda x: 10 - np.cos(x).sum() + I * (1 - np.cos(x)) - np.sin(x),
        lambda x: np.sin(x)[None] + np.diag(I * np.sin(x) - np.cos(x)),
        [0.1] * 10,
        exact=(([0] * 10, 0),),
    ),
    "Brown almost linear": Problem(
        27,
        "r = cat([x[:9] + x.sum() - 11, prod(x)[None] - 1])",
        lambda x: [*(x[:9] + x.sum() - 11), np.prod(x) - 1],
        brown_jacobian,
        [0.5] * 10,
        exact=(([1] * 10, 0), ([0] * 9 + [11], 1)),
    ),
    "linear, full rank": Problem(
        32,
        "r = F.pad(x, [0, 5]) - x.sum() / 5 - 1",
        lambda x: np.pad(x, (0, 5)) - x.sum() / 5 - 1,
        lambda x: np.eye(10, 5) - 1 / 5 + 0 * x[0],
        [1] * 5,
        exact=(([-1] * 5, 5),),
    ),
    "linear, rank 1": Problem(
        33,
        constant("i", I) + "r = i * (i[:5] * x).sum() - 1",
        lambda x: I * (I[:5] @ x) - 1,
        lambda x: np.outer(I, I[:5]) + 0 * x[0],
        [1] * 5,
        exact=((3 / 21 / 55 * I[:5], 10 * 9 / (2 * 21)),),
    ),
    "linear, rank 1 with zero columns and rows": Problem(
        34,
        constant("i", JUMPS) + constant("j", INNER) + "r = i * (j * x).sum() - 1",
        lambda x: JUMPS * (INNER @ x) - 1,
        lambda x: np.outer(JUMPS, INNER) + 0 * x[0],
        [1] * 5,
        exact=((3 / 17 / 29 * INNER, (10 * 10 + 3 * 10 - 6) / (2 * 17)),),
    ),
    "Chebyquad, 8 variables": chebyquad(8, "3.51687...e-3"),
    "Chebyquad, 10 variables": chebyquad(10, "6.50395...e-3"),
}
