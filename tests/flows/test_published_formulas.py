"""Derivatives that the literature has in closed form, and some that it has in print."""

from __future__ import annotations

import math

import pytest
import torch
from tests.flows.float64 import close, random, scalars, vector
from torch import Tensor

ROSENBROCK = "f = 100 * (x[1] - x[0]**2)**2 + (1 - x[0])**2"
SQUARE = random(4, 4, seed=3)
SPD = SQUARE @ SQUARE.T + torch.eye(4).double()


@pytest.mark.parametrize("x", [(-1.2, 1.0), (1.0, 1.0), (0.3, -0.7)])
def test_rosenbrock(derive, x):
    a, b = x
    result = derive("hessian", ROSENBROCK, inputs={"x": vector(a, b)})
    close(result["outputs"]["f"], 100 * (b - a * a) ** 2 + (1 - a) ** 2)
    close(result["gradients"]["x"], [-400 * a * (b - a * a) - 2 * (1 - a), 200 * (b - a * a)])
    close(result["hessian"]["x"]["x"], [[1200 * a * a - 400 * b + 2, -400 * a], [-400 * a, 200]])


def test_rosenbrock_at_his_starting_point(derive):
    result = derive("hessian", ROSENBROCK, inputs={"x": vector(-1.2, 1)})
    close(result["outputs"]["f"], 24.2)
    close(result["gradients"]["x"], [-215.6, -88])
    close(result["hessian"]["x"]["x"], [[1330, 480], [480, 200]])


BRUSSELATOR = "f = stack([a + u**2 * v - (b + 1) * u, b * u - u**2 * v])"


def brusselator(derive, mode: str, **values: float) -> tuple[Tensor, Tensor]:
    """The right-hand side of u' = a + u^2 v - (b + 1) u, v' = b u - u^2 v, and its Jacobian by (u, v)."""
    result = derive("jacobian", BRUSSELATOR, inputs=scalars(**values), wrt=["u", "v"], mode=mode)
    return result["outputs"]["f"], torch.stack(list(result["jacobians"]["f"].values()), 1)


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_brusselator(derive, mode):
    a, b, u, v = 1.0, 3.0, 1.2, 3.1
    value, jacobian = brusselator(derive, mode, a=a, b=b, u=u, v=v)
    close(value, [a + u * u * v - (b + 1) * u, b * u - u * u * v])
    close(jacobian, [[2 * u * v - (b + 1), u * u], [b - 2 * u * v, -u * u]])


@pytest.mark.parametrize("mode", ["reverse", "forward"])
@pytest.mark.parametrize("a", [1.0, 1.7])
def test_brusselator_oscillates_beyond_b_equal_to_one_plus_a_squared(derive, mode, a):
    """At the fixed point (a, b / a) J is [[b - 1, a^2], [-b, -a^2]]; for that b its eigenvalues are +-i a."""
    b = 1 + a * a
    _, jacobian = brusselator(derive, mode, a=a, b=b, u=a, v=b / a)
    close(jacobian, [[b - 1, a * a], [-b, -a * a]])
    close(torch.linalg.eigvals(jacobian).imag.abs(), [a, a])


def test_gaussian_log_likelihood_through_a_cholesky_factor(derive):
    """By the mean S^-1 (x - m), by the covariance (S^-1 (x - m) (x - m)^T S^-1 - S^-1) / 2; twice by the mean -S^-1."""
    graph = f"""
        l = linalg.cholesky(s)
        z = linalg.solve_triangular(l, (x - m)[:, None], upper=False)
        y = -0.5 * (z * z).sum() - log(l.diagonal()).sum() - {2 * math.log(2 * math.pi)}
    """
    x, m = random(4, seed=1), random(4, seed=2)
    result = derive("hessian", graph, inputs={"x": x, "m": m, "s": SPD})
    inverse = torch.linalg.inv(SPD)
    pull = inverse @ (x - m)
    close(result["outputs"]["y"], -0.5 * ((x - m) @ pull + torch.logdet(SPD) + 4 * math.log(2 * math.pi)))
    close(result["gradients"]["m"], pull)
    close(result["gradients"]["x"], -pull)
    close(result["gradients"]["s"], (torch.outer(pull, pull) - inverse) / 2)
    close(result["hessian"]["m"]["m"], -inverse)
    close(result["hessian"]["m"]["x"], inverse)


CALL = """
    d1 = (log(s / k) + (r + v * v / 2) * t) / (v * sqrt(t))
    d2 = d1 - v * sqrt(t)
    c = s * special.ndtr(d1) - k * exp(-r * t) * special.ndtr(d2)
"""


def greeks(derive, **values: float) -> dict[str, Tensor]:
    """The price of a call and its derivatives, by the names that traders give them."""
    result = derive("hessian", CALL, inputs=scalars(**values), wrt=["s", "r", "v", "t"])
    first, second = result["gradients"], result["hessian"]
    return {
        "price": result["outputs"]["c"],
        "delta": first["s"],
        "vega": first["v"],
        "rho": first["r"],
        "theta": -first["t"],
        "gamma": second["s"]["s"],
        "vanna": second["s"]["v"],
        "vanna, the other way": second["v"]["s"],
        "volga": second["v"]["v"],
    }


def normal(x: float) -> float:
    return math.erfc(-x / math.sqrt(2)) / 2


@pytest.mark.parametrize(
    ("s", "k", "r", "v", "t"), [(42, 40, 0.1, 0.2, 0.5), (49, 50, 0.05, 0.2, 0.3846), (80, 100, -0.01, 0.35, 2)]
)
def test_black_scholes_greeks(derive, s, k, r, v, t):
    found = greeks(derive, s=s, k=k, r=r, v=v, t=t)
    root, paid = math.sqrt(t), k * math.exp(-r * t)
    d1 = (math.log(s / k) + (r + v * v / 2) * t) / (v * root)
    d2 = d1 - v * root
    density = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
    vega = s * density * root
    expected = {
        "price": s * normal(d1) - paid * normal(d2),
        "delta": normal(d1),
        "vega": vega,
        "rho": paid * t * normal(d2),
        "theta": -s * density * v / (2 * root) - r * paid * normal(d2),
        "gamma": density / (s * v * root),
        "vanna": -density * d2 / v,
        "vanna, the other way": -density * d2 / v,
        "volga": vega * d1 * d2 / v,
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        close(found[name], value)


def test_black_scholes_greeks_in_print(derive):
    """Hull, Options, Futures, and Other Derivatives: the examples of the chapters on the formula and on the Greeks."""
    assert f"{float(greeks(derive, s=42, k=40, r=0.1, v=0.2, t=0.5)['price']):.2f}" == "4.76"
    found = greeks(derive, s=49, k=50, r=0.05, v=0.2, t=0.3846)
    printed = {"price": "2.40", "delta": "0.522", "theta": "-4.31", "gamma": "0.066", "vega": "12.1", "rho": "8.91"}
    for name, digits in printed.items():
        assert f"{float(found[name]):.{len(digits.split('.')[1])}f}" == digits, name


STEPS = 16
KEPLER = "\n".join(
    [
        "e0 = 0 * m + math.pi",
        *(f"e{i + 1} = e{i} - (e{i} - e * sin(e{i}) - m) / (1 - e * cos(e{i}))" for i in range(STEPS)),
    ]
)
ANOMALY = f"e{STEPS}"


@pytest.mark.parametrize(("m", "e"), [(0.5, 0.3), (2.0, 0.7), (3.0, 0.0), (0.2, 0.9)])
def test_kepler_solved_by_newton_steps(derive, m, e):
    """E - e sin E = M, differentiated implicitly, once and twice, with q = 1 - e cos E."""
    result = derive("hessian", KEPLER, inputs=scalars(m=m, e=e))
    anomaly = float(result["outputs"][ANOMALY])
    sine, cosine = math.sin(anomaly), math.cos(anomaly)
    q = 1 - e * cosine
    assert anomaly - e * sine == pytest.approx(m, rel=1e-14)
    close(result["gradients"]["m"], 1 / q)
    close(result["gradients"]["e"], sine / q)
    close(result["hessian"]["m"]["m"], -e * sine / q**3)
    close(result["hessian"]["m"]["e"], (cosine - e) / q**3)
    close(result["hessian"]["e"]["m"], (cosine - e) / q**3)
    close(result["hessian"]["e"]["e"], 2 * sine * cosine / q**2 - e * sine**3 / q**3)


@pytest.mark.parametrize(
    ("e", "degrees"),
    [
        (0.1, "5.554589"),
        (0.2, "6.246908"),
        (0.3, "7.134960"),
        (0.4, "8.313903"),
        (0.5, "9.950063"),
        (0.6, "12.356653"),
        (0.7, "16.167990"),
        (0.8, "22.656579"),
        (0.9, "33.344447"),
        (0.99, "45.361023"),
    ],
)
def test_kepler_in_print(derive, e, degrees):
    """Meeus, Astronomical Algorithms, chapter 30: the eccentric anomaly for a mean anomaly of 5 degrees."""
    found = derive("forward", KEPLER, inputs=scalars(m=math.radians(5), e=e))["outputs"][ANOMALY]
    assert f"{math.degrees(found):.6f}" == degrees


def test_kepler_in_print_to_twelve_digits(derive):
    """Meeus, the same chapter: e = 0.99, M = 0.2."""
    found = derive("forward", KEPLER, inputs=scalars(m=0.2, e=0.99))["outputs"][ANOMALY]
    assert f"{float(found):.12f}" == "1.066997365282"


def test_log_sum_exp(derive):
    """The gradient is p = softmax(x), the Hessian diag(p) - p p^T."""
    x = random(5)
    result = derive("hessian", "y = logsumexp(x, 0)", inputs={"x": x})
    p = torch.exp(x) / torch.exp(x).sum()
    close(result["outputs"]["y"], torch.exp(x).sum().log())
    close(result["gradients"]["x"], p)
    close(result["hessian"]["x"]["x"], torch.diag(p) - torch.outer(p, p))
