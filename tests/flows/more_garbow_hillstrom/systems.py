"""The functions that are systems of equations: the paper has F = 0 at a root that it does not print."""

from __future__ import annotations

import numpy as np
from tests.flows.more_garbow_hillstrom.problem import Problem, constant, indices

ONE = np.eye(10)
BANDED = np.tri(10, k=1) - np.tri(10, k=-6) - ONE
T = indices(10) / 11
SHIFTED = 2 * ONE - np.eye(10, k=1) - np.eye(10, k=-1)
GREEN = np.minimum.outer(T, T) * (1 - np.maximum.outer(T, T)) / 22

SYSTEMS = {
    "discrete boundary value": Problem(
        28,
        constant("t", T) + "p = F.pad(x, [1, 1]); r = 2 * x - p[:-2] - p[2:] + (x + t + 1)**3 / 242",
        lambda x: SHIFTED @ x + (x + T + 1) ** 3 / (2 * 11**2),
        lambda x: SHIFTED + np.diag(3 * (x + T + 1) ** 2 / (2 * 11**2)),
        T * (T - 1),
    ),
    "discrete integral equation": Problem(
        29,
        constant("t", T)
        + "c = (x + t + 1)**3; d = (1 - t) * c; upto = cumsum(t * c, 0); beyond = d.sum() - cumsum(d, 0)\n"
        "r = x + ((1 - t) * upto + t * beyond) / 22",
        lambda x: x + GREEN @ (x + T + 1) ** 3,
        lambda x: ONE + GREEN * 3 * (x + T + 1) ** 2,
        T * (T - 1),
    ),
    "Broyden tridiagonal": Problem(
        30,
        "p = F.pad(x, [1, 1]); r = (3 - 2 * x) * x - p[:-2] - 2 * p[2:] + 1",
        lambda x: (3 - 2 * x) * x - np.eye(10, k=-1) @ x - 2 * np.eye(10, k=1) @ x + 1,
        lambda x: np.diag(3 - 4 * x) - np.eye(10, k=-1) - 2 * np.eye(10, k=1),
        [-1] * 10,
        at_start=21,
    ),
    "Broyden banded": Problem(
        31,
        constant("b", BANDED) + "r = x * (2 + 5 * x * x) + 1 - b @ (x * (1 + x))",
        lambda x: x * (2 + 5 * x * x) + 1 - BANDED @ (x * (1 + x)),
        lambda x: np.diag(2 + 15 * x * x) - BANDED * (1 + 2 * x),
        [-1] * 10,
        at_start=360,
    ),
}
