"""Derivatives that the literature has in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

close = torch.testing.assert_close


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


SQUARE = random(4, 4, seed=3)
SPD = SQUARE @ SQUARE.T + torch.eye(4).double()


@pytest.mark.parametrize("x", [(-1.2, 1.0), (1.0, 1.0), (0.0, 0.0)])
def test_rosenbrock(derive, x):
    a, b = x
    result = derive("hessian", "f = 100 * (x[1] - x[0]**2)**2 + (1 - x[0])**2", inputs={"x": vector(a, b)})
    close(result["gradients"]["x"], vector(-400 * a * (b - a * a) - 2 * (1 - a), 200 * (b - a * a)))
    hessian = torch.stack([vector(1200 * a * a - 400 * b + 2, -400 * a), vector(-400 * a, 200.0)])
    close(result["hessian"]["x"]["x"], hessian)


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_brusselator(derive, mode):
    """u' = A + u^2 v - (B + 1) u, v' = B u - u^2 v, with A = 1, B = 3, at a point and at the fixed point (A, B / A)."""
    graph = "a = 1; b = 3; f = stack([a + u**2 * v - (b + 1) * u, b * u - u**2 * v])"
    for u, v in [(1.2, 3.1), (1.0, 3.0)]:
        result = derive("jacobian", graph, inputs={"u": vector(u)[0], "v": vector(v)[0]}, mode=mode)
        close(result["outputs"]["f"], vector(1 + u * u * v - 4 * u, 3 * u - u * u * v))
        found = torch.stack(list(result["jacobians"]["f"].values()), 1)
        close(found, torch.stack([vector(2 * u * v - 4, u * u), vector(3 - 2 * u * v, -u * u)]))


def test_gaussian_log_likelihood_through_a_cholesky_factor(derive):
    """By the mean S^-1 (x - m), by the covariance (S^-1 (x - m) (x - m)^T S^-1 - S^-1) / 2."""
    graph = """
        l = linalg.cholesky(s)
        z = linalg.solve_triangular(l, (x - m)[:, None], upper=False)
        y = -0.5 * (z * z).sum() - log(l.diagonal()).sum() - 2 * log(2 * math.pi)
    """.replace("log(2 * math.pi)", repr(math.log(2 * math.pi)))
    x, m = random(4, seed=1), random(4, seed=2)
    result = derive("backward", graph, inputs={"x": x, "m": m, "s": SPD})
    inverse = torch.linalg.inv(SPD)
    pull = inverse @ (x - m)
    close(result["outputs"]["y"], torch.distributions.MultivariateNormal(m, SPD).log_prob(x))
    close(result["gradients"]["m"], pull)
    close(result["gradients"]["x"], -pull)
    close(result["gradients"]["s"], (torch.outer(pull, pull) - inverse) / 2)


CALL = """
    d1 = (log(s / k) + (r + v * v / 2) * t) / (v * sqrt(t))
    d2 = d1 - v * sqrt(t)
    c = s * special.ndtr(d1) - k * exp(-r * t) * special.ndtr(d2)
"""


def test_black_scholes_greeks(derive):
    """Hull's example: S = 42, K = 40, r = 0.1, sigma = 0.2, half a year: the call costs 4.76."""
    s, k, r, v, t = 42.0, 40.0, 0.1, 0.2, 0.5
    inputs = {name: torch.tensor(value).double() for name, value in zip("skrvt", (s, k, r, v, t), strict=True)}
    result = derive("hessian", CALL, inputs=inputs, wrt=["s", "r", "v", "t"])
    first, second = result["gradients"], result["hessian"]
    normal = torch.distributions.Normal(vector(0)[0], vector(1)[0])
    d1 = vector((math.log(s / k) + (r + v * v / 2) * t) / (v * math.sqrt(t)))[0]
    d2 = d1 - v * math.sqrt(t)
    density, root, paid = normal.log_prob(d1).exp(), math.sqrt(t), k * math.exp(-r * t)
    vega = s * density * root
    assert float(result["outputs"]["c"]) == pytest.approx(4.76, abs=0.005)
    close(first["s"], normal.cdf(d1))
    close(first["v"], vega)
    close(first["r"], paid * t * normal.cdf(d2))
    close(first["t"], s * density * v / (2 * root) + r * paid * normal.cdf(d2))
    close(second["s"]["s"], density / (s * v * root))
    close(second["s"]["v"], -density * d2 / v)
    close(second["v"]["s"], -density * d2 / v)
    close(second["v"]["v"], vega * d1 * d2 / v)


@pytest.mark.parametrize(("m", "e"), [(0.5, 0.3), (2.0, 0.7), (3.0, 0.0)])
def test_kepler_solved_by_newton_steps(derive, m, e):
    """E - e sin E = M: dE/dM = 1 / (1 - e cos E), dE/de = sin E / (1 - e cos E)."""
    steps = [f"e{i + 1} = e{i} - (e{i} - e * sin(e{i}) - m) / (1 - e * cos(e{i}))" for i in range(8)]
    graph = "\n".join(["e0 = m + e * sin(m)", *steps])
    result = derive("backward", graph, inputs={"m": vector(m)[0], "e": vector(e)[0]})
    anomaly = result["outputs"]["e8"]
    close(anomaly - e * torch.sin(anomaly), vector(m)[0])
    close(result["gradients"]["m"], 1 / (1 - e * torch.cos(anomaly)))
    close(result["gradients"]["e"], torch.sin(anomaly) / (1 - e * torch.cos(anomaly)))


def test_eigenvalues_of_a_symmetric_matrix(derive):
    """d lambda_k = u_k^T dA u_k."""
    da = random(4, 4, seed=5)
    da = da + da.T
    found = derive("jvp", "y = linalg.eigvalsh(a)", inputs={"a": SPD}, tangents={"a": da})["jvp"]["y"]
    vectors = torch.linalg.eigh(SPD).eigenvectors
    close(found, torch.einsum("ik,ij,jk->k", vectors, da, vectors))


def test_eigenvalues_of_a_general_matrix(derive):
    """d lambda_k = w_k^H dA u_k / w_k^H u_k with the left vectors w, which are rows of U^-1."""
    da = random(4, 4, seed=5)
    found = derive("jvp", "y = linalg.eigvals(a)", inputs={"a": SQUARE}, tangents={"a": da})
    values, right = torch.linalg.eig(SQUARE)
    close(found["outputs"]["y"], values)
    close(found["jvp"]["y"], (torch.linalg.inv(right) @ da.to(right.dtype) @ right).diagonal())


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_a_low_pass_filter_is_a_symmetric_circulant(derive, mode):
    """Keeping |k| <= 2 of 8 frequencies: J[i][j] = (1 + 2 cos a + 2 cos 2a) / 8 with a = 2 pi (i - j) / 8."""
    graph = "mask = [1.0, 1.0, 1.0, 0.0, 0.0]; y = fft.irfft(fft.rfft(x) * mask, 8)"
    found = derive("jacobian", graph, inputs={"x": random(8)}, mode=mode)["jacobians"]["y"]["x"]
    i = torch.arange(8).double()
    angle = 2 * math.pi * (i[:, None] - i) / 8
    close(found, (1 + 2 * torch.cos(angle) + 2 * torch.cos(2 * angle)) / 8)
    close(found, found.T)


def test_log_sum_exp(derive):
    """The gradient is p = softmax(x), the Hessian diag(p) - p p^T."""
    x = random(5)
    result = derive("hessian", "y = logsumexp(x, 0)", inputs={"x": x})
    p = torch.exp(x) / torch.exp(x).sum()
    close(result["gradients"]["x"], p)
    close(result["hessian"]["x"]["x"], torch.diag(p) - torch.outer(p, p))


def test_the_gradient_of_a_determinant_is_the_matrix_of_cofactors(derive):
    a = vector(2, -1, 0, 3, 5, 1, 4, -2, 6).reshape(3, 3)
    cofactors = vector(32, -14, -26, 6, 12, 0, -1, -2, 13).reshape(3, 3)
    close(derive("backward", "y = det(a)", inputs={"a": a})["gradients"]["a"], cofactors)


def test_the_matrix_exponential_along_a_direction_is_a_block_of_a_larger_one(derive):
    """exp([[A, E], [0, A]]) = [[exp A, L(A, E)], [0, exp A]], L the Frechet derivative (Higham)."""
    a, e = random(3, 3), random(3, 3, seed=1)
    block = torch.linalg.matrix_exp(torch.cat([torch.cat([a, e], 1), torch.cat([torch.zeros_like(a), a], 1)]))
    found = derive("jvp", "y = linalg.matrix_exp(a)", inputs={"a": a}, tangents={"a": e})
    close(found["jvp"]["y"], block[:3, 3:])
