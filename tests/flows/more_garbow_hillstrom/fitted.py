"""The functions that fit a curve to data."""

from __future__ import annotations

import numpy as np
from tests.flows.more_garbow_hillstrom.problem import Array, Problem, column, constant, data, indices

I = indices(10)  # noqa: E741 - the paper's index

BARD_Y = data("0.14 0.18 0.22 0.25 0.29 0.32 0.35 0.39 0.37 0.58 0.73 0.96 1.34 2.10 4.39")
BARD_U = indices(15)
BARD_V, BARD_W = 16 - BARD_U, np.minimum(BARD_U, 16 - BARD_U)
GAUSS_HALF = data("0.0009 0.0044 0.0175 0.0540 0.1295 0.2420 0.3521")
GAUSS_Y, GAUSS_T = np.array([*GAUSS_HALF, 0.3989, *GAUSS_HALF[::-1]]), (8 - indices(15)) / 2
MEYER_Y = data("34780 28610 23650 19630 16370 13720 11540 9744 8261 7030 6005 5147 4427 3820 3307 2872")
MEYER_T = 45 + 5 * indices(16)
GULF_T = indices(99) / 100
GULF_Y = 25 + (-50 * np.log(GULF_T)) ** (2 / 3)
BOX_T, DENNIS_T, BIGGS_T = 0.1 * indices(10), indices(20) / 5, 0.1 * indices(13)
BIGGS_Y = np.exp(-BIGGS_T) - 5 * np.exp(-10 * BIGGS_T) + 3 * np.exp(-4 * BIGGS_T)
KOWALIK_Y = data("0.1957 0.1947 0.1735 0.1600 0.0844 0.0627 0.0456 0.0342 0.0323 0.0235 0.0246")
KOWALIK_U = data("4 2 1 0.5 0.25 0.167 0.125 0.1 0.0833 0.0714 0.0625")
OSBORNE_1_Y = data("""
    .844 .908 .932 .936 .925 .908 .881 .850 .818 .784 .751 .718 .685 .658 .628 .603 .580 .558 .538 .522 .506 .490 .478
    .467 .457 .448 .438 .431 .424 .420 .414 .411 .406
""")
OSBORNE_2_Y = data("""
    1.366 1.191 1.112 1.013 .991 .885 .831 .847 .786 .725 .746 .679 .608 .655 .616 .606 .602 .626 .651 .724 .649 .649
    .694 .644 .624 .661 .612 .558 .533 .495 .500 .423 .395 .375 .372 .391 .396 .405 .428 .429 .523 .562 .607 .653 .672
    .708 .633 .668 .645 .632 .591 .559 .597 .625 .739 .710 .729 .720 .636 .581 .428 .292 .162 .098 .054
""")
OSBORNE_1_T, OSBORNE_2_T = 10 * np.arange(33.0), np.arange(65.0) / 10


def bard_jacobian(x: Array) -> Array:
    below = BARD_V * x[1] + BARD_W * x[2]
    return column(-1, BARD_U * BARD_V / below**2, BARD_U * BARD_W / below**2)


def gaussian_jacobian(x: Array) -> Array:
    d = GAUSS_T - x[2]
    return column(1, -x[0] * d**2 / 2, x[0] * x[1] * d) * np.exp(-x[1] * d**2 / 2)[:, None]


def meyer_jacobian(x: Array) -> Array:
    below = MEYER_T + x[2]
    e = np.exp(x[1] / below)
    return column(e, x[0] * e / below, -x[0] * x[1] * e / below**2)


def gulf(x: Array) -> Array:
    d = GULF_Y - x[1]
    return np.exp(-((d * np.sign(d.real)) ** x[2]) / x[0]) - GULF_T


def gulf_jacobian(x: Array) -> Array:
    d = GULF_Y - x[1]
    size = d * np.sign(d.real)
    power = size ** x[2]
    e = np.exp(-power / x[0])
    return column(e * power / x[0] ** 2, e * power * x[2] / (d * x[0]), -e * power * np.log(size) / x[0])


def box_jacobian(x: Array) -> Array:
    t = BOX_T
    return column(-t * np.exp(-t * x[0]), t * np.exp(-t * x[1]), np.exp(-10 * t) - np.exp(-t))


def kowalik_jacobian(x: Array) -> Array:
    u = KOWALIK_U
    above, below = u**2 + u * x[1], u**2 + u * x[2] + x[3]
    return column(-above / below, -x[0] * u / below, x[0] * above * u / below**2, x[0] * above / below**2)


def dennis(x: Array) -> Array:
    return (x[0] + DENNIS_T * x[1] - np.exp(DENNIS_T)) ** 2 + (x[2] + x[3] * np.sin(DENNIS_T) - np.cos(DENNIS_T)) ** 2


def dennis_jacobian(x: Array) -> Array:
    t = DENNIS_T
    a, b = x[0] + t * x[1] - np.exp(t), x[2] + x[3] * np.sin(t) - np.cos(t)
    return column(2 * a, 2 * a * t, 2 * b, 2 * b * np.sin(t))


def osborne_1_jacobian(x: Array) -> Array:
    t = OSBORNE_1_T
    e, f = np.exp(-t * x[3]), np.exp(-t * x[4])
    return column(-1, -e, -f, x[1] * t * e, x[2] * t * f)


def osborne_2(x: Array) -> Array:
    bells = x[1:4] * np.exp(-((OSBORNE_2_T[:, None] - x[8:]) ** 2) * x[5:8])
    return OSBORNE_2_Y - x[0] * np.exp(-OSBORNE_2_T * x[4]) - bells.sum(1)


def osborne_2_jacobian(x: Array) -> Array:
    t = OSBORNE_2_T
    decay, d = np.exp(-t * x[4]), t[:, None] - x[8:]
    bells = np.exp(-(d**2) * x[5:8])
    return np.hstack(
        [
            -decay[:, None],
            -bells,
            (x[0] * t * decay)[:, None],
            x[1:4] * d**2 * bells,
            -2 * x[1:4] * x[5:8] * d * bells,
        ]
    )


def biggs(x: Array) -> Array:
    t = BIGGS_T
    return x[2] * np.exp(-t * x[0]) - x[3] * np.exp(-t * x[1]) + x[5] * np.exp(-t * x[4]) - BIGGS_Y


def biggs_jacobian(x: Array) -> Array:
    t = BIGGS_T
    e, f, g = np.exp(-t * x[0]), np.exp(-t * x[1]), np.exp(-t * x[4])
    return column(-t * x[2] * e, t * x[3] * f, e, -f, -t * x[5] * g, g)


FITTED = {
    "Jennrich and Sampson": Problem(
        6,
        constant("i", I) + "r = 2 + 2 * i - (exp(i * x[0]) + exp(i * x[1]))",
        lambda x: 2 + 2 * I - (np.exp(I * x[0]) + np.exp(I * x[1])),
        lambda x: column(-I * np.exp(I * x[0]), -I * np.exp(I * x[1])),
        [0.3, 0.4],
        least="124.362...",
        minimiser=("0.2578...", "0.2578..."),
    ),
    "Bard": Problem(
        8,
        constant("y", BARD_Y)
        + constant("u", BARD_U)
        + constant("v", BARD_V)
        + constant("w", BARD_W)
        + "r = y - (x[0] + u / (v * x[1] + w * x[2]))",
        lambda x: BARD_Y - (x[0] + BARD_U / (BARD_V * x[1] + BARD_W * x[2])),
        bard_jacobian,
        [1, 1, 1],
        least="8.21487...e-3",
    ),
    "Gaussian": Problem(
        9,
        constant("y", GAUSS_Y) + constant("t", GAUSS_T) + "r = x[0] * exp(-x[1] * (t - x[2])**2 / 2) - y",
        lambda x: x[0] * np.exp(-x[1] * (GAUSS_T - x[2]) ** 2 / 2) - GAUSS_Y,
        gaussian_jacobian,
        [0.4, 1, 0],
        least="1.12793...e-8",
    ),
    "Meyer": Problem(
        10,
        constant("y", MEYER_Y) + constant("t", MEYER_T) + "r = x[0] * exp(x[1] / (t + x[2])) - y",
        lambda x: x[0] * np.exp(x[1] / (MEYER_T + x[2])) - MEYER_Y,
        meyer_jacobian,
        [0.02, 4000, 250],
        least="87.945855171",
        # NIST prints an eleventh digit, which sums in double precision cannot tell.
        minimiser=("5.609636471e-03", "6.181346346e+03", "3.452236346e+02"),
    ),
    "Gulf research and development": Problem(
        11,
        # The paper prints "y_i m i x_2" where a minus must be: with it (50, 25, 1.5) is the root that the paper names.
        constant("t", GULF_T) + constant("y", GULF_Y) + "r = exp(-abs(y - x[1])**x[2] / x[0]) - t",
        gulf,
        gulf_jacobian,
        [5, 2.5, 0.15],
        exact=(([50, 25, 1.5], 0),),
    ),
    "Box three-dimensional": Problem(
        12,
        constant("t", BOX_T) + "r = exp(-t * x[0]) - exp(-t * x[1]) - x[2] * (exp(-t) - exp(-10 * t))",
        lambda x: np.exp(-BOX_T * x[0]) - np.exp(-BOX_T * x[1]) - x[2] * (np.exp(-BOX_T) - np.exp(-10 * BOX_T)),
        box_jacobian,
        [0, 10, 20],
        exact=(([1, 10, 1], 0), ([10, 1, -1], 0), ([2, 2, 0], 0)),
    ),
    "Kowalik and Osborne": Problem(
        15,
        constant("y", KOWALIK_Y)
        + constant("u", KOWALIK_U)
        + "r = y - x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3])",
        lambda x: KOWALIK_Y - x[0] * (KOWALIK_U**2 + KOWALIK_U * x[1]) / (KOWALIK_U**2 + KOWALIK_U * x[2] + x[3]),
        kowalik_jacobian,
        [0.25, 0.39, 0.415, 0.39],
        least="3.0750560385e-04",
        minimiser=("1.9280693458e-01", "1.9128232873e-01", "1.2305650693e-01", "1.3606233068e-01"),
    ),
    "Brown and Dennis": Problem(
        16,
        constant("t", DENNIS_T) + "r = (x[0] + t * x[1] - exp(t))**2 + (x[2] + x[3] * sin(t) - cos(t))**2",
        dennis,
        dennis_jacobian,
        [25, 5, -5, -1],
        least="85822.2...",
    ),
    "Osborne 1": Problem(
        17,
        constant("y", OSBORNE_1_Y)
        + constant("t", OSBORNE_1_T)
        + "r = y - (x[0] + x[1] * exp(-t * x[3]) + x[2] * exp(-t * x[4]))",
        lambda x: OSBORNE_1_Y - (x[0] + x[1] * np.exp(-OSBORNE_1_T * x[3]) + x[2] * np.exp(-OSBORNE_1_T * x[4])),
        osborne_1_jacobian,
        [0.5, 1.5, -1, 0.01, 0.02],
        least="5.46489...e-5",
    ),
    "Biggs EXP6": Problem(
        18,
        constant("y", BIGGS_Y)
        + constant("t", BIGGS_T)
        + "r = x[2] * exp(-t * x[0]) - x[3] * exp(-t * x[1]) + x[5] * exp(-t * x[4]) - y",
        biggs,
        biggs_jacobian,
        [1, 2, 1, 1, 1, 1],
        exact=(([1, 10, 1, 5, 4, 3], 0), ([4, 10, 3, 5, 1, 1], 0)),
        # The paper prints "5.65565...", but this one it has rounded: it is 5.6556499...
        least="5.65565e-3",
    ),
    "Osborne 2": Problem(
        19,
        constant("y", OSBORNE_2_Y)
        + constant("t", OSBORNE_2_T)
        + "bells = x[1:4] * exp(-(t[:, None] - x[8:])**2 * x[5:8]); r = y - x[0] * exp(-t * x[4]) - bells.sum(1)",
        osborne_2,
        osborne_2_jacobian,
        [1.3, 0.65, 0.65, 0.7, 0.6, 3, 5, 7, 2, 4.5, 5.5],
        least="4.01377...e-2",
    ),
}
