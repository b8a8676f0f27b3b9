"""Derivatives of eigenvalues, determinants, exponentials and filters that the literature has in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from tests.flows.float64 import close, random, vector
from torch import Tensor

SQUARE = random(4, 4, seed=3)
SPD = SQUARE @ SQUARE.T + torch.eye(4).double()
both_modes = pytest.mark.parametrize("mode", ["reverse", "forward"])


def symmetric(size: int) -> Tensor:
    half = random(size, size, seed=5)
    return half + half.T


def second_difference(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The matrix of -u'', its eigenvalues 2 - 2 cos(k h), its vectors sqrt(2 h / pi) sin(j k h); h = pi / (n + 1)."""
    k, h = torch.arange(1, size + 1).double(), math.pi / (size + 1)
    off = torch.ones(size - 1).double()
    matrix = 2 * torch.eye(size).double() - torch.diag(off, 1) - torch.diag(off, -1)
    return matrix, 2 - 2 * torch.cos(k * h), math.sqrt(2 * h / math.pi) * torch.sin(torch.outer(k, k) * h)


@both_modes
def test_the_gradient_of_an_eigenvalue_is_its_projector(derive, mode):
    """d lambda_k / dA = u_k u_k^T."""
    a, values, vectors = second_difference(5)
    result = derive("jacobian", "y = linalg.eigvalsh(a)", inputs={"a": a}, mode=mode)
    close(result["outputs"]["y"], values)
    close(result["jacobians"]["y"]["a"], torch.einsum("ik,jk->kij", vectors, vectors))


@pytest.mark.parametrize("a", [SPD, second_difference(4)[0]], ids=["random", "second difference"])
def test_eigenvalues_of_a_symmetric_matrix(derive, a):
    """d lambda_k = u_k^T dA u_k."""
    da = symmetric(4)
    found = derive("jvp", "y = linalg.eigvalsh(a)", inputs={"a": a}, tangents={"a": da})["jvp"]["y"]
    vectors = torch.linalg.eigh(a).eigenvectors
    close(found, torch.einsum("ik,ij,jk->k", vectors, da, vectors))


@pytest.mark.parametrize("k", range(4))
def test_eigenvalues_of_a_symmetric_matrix_in_second_order(derive, k):
    """Of perturbation theory: d^2 lambda_k = 2 sum over m != k of (u_m^T dA u_k)^2 / (lambda_k - lambda_m)."""
    a, values, vectors = second_difference(4)
    da = symmetric(4)
    found = derive("hvp", f"y = linalg.eigvalsh(a)[{k}]", inputs={"a": a}, vectors={"a": da})["hvp"]["a"]
    mixed = vectors.T @ da @ vectors[:, k]
    others = [m for m in range(4) if m != k]
    close((found * da).sum(), 2 * (mixed[others] ** 2 / (values[k] - values[others])).sum())


def test_eigenvalues_of_a_general_matrix(derive):
    """d lambda_k = w_k^H dA u_k / w_k^H u_k with the left vectors w, which are rows of U^-1."""
    da = random(4, 4, seed=5)
    found = derive("jvp", "y = linalg.eigvals(a)", inputs={"a": SQUARE}, tangents={"a": da})
    values, right = torch.linalg.eig(SQUARE)
    close(found["outputs"]["y"], values)
    close(found["jvp"]["y"], (torch.linalg.inv(right) @ da.to(right.dtype) @ right).diagonal())


def test_roots_of_a_polynomial_move_by_the_coefficients_over_the_slope(derive):
    """d root = -(sum of dc_j root^j) / p'(root) (Wilkinson), here for (x - 1) (x - 2) (x - 4) by its companion."""
    graph = "shift = [[0.0, 1, 0], [0, 0, 1]]; y = linalg.eigvals(cat([shift, -c[None]]))"
    dc = vector(0.3, -0.2, 0.7)
    found = derive("jvp", graph, inputs={"c": vector(-8, 14, -7)}, tangents={"c": dc})
    order = found["outputs"]["y"].real.argsort()
    x = vector(1, 2, 4)
    close(found["outputs"]["y"][order].real, x)
    close(found["jvp"]["y"][order].real, -(dc[0] + dc[1] * x + dc[2] * x**2) / (3 * x**2 - 14 * x + 14))


@both_modes
def test_a_low_pass_filter_is_a_symmetric_circulant(derive, mode):
    """Keeping |k| <= 2 of 8 frequencies: J[i][j] = (1 + 2 cos a + 2 cos 2a) / 8 with a = 2 pi (i - j) / 8."""
    graph = "mask = [1.0, 1.0, 1.0, 0.0, 0.0]; y = fft.irfft(fft.rfft(x) * mask, 8)"
    found = derive("jacobian", graph, inputs={"x": random(8)}, mode=mode)["jacobians"]["y"]["x"]
    i = torch.arange(8).double()
    angle = 2 * math.pi * (i[:, None] - i) / 8
    close(found, (1 + 2 * torch.cos(angle) + 2 * torch.cos(2 * angle)) / 8)


FILTER = "y = fft.irfft(fft.rfft(x) * fft.rfft(h), 9)"


def circulant(h: Tensor) -> Tensor:
    """C[i][j] = h[i - j], the indices taken modulo the length."""
    i = torch.arange(len(h))
    return h[(i[:, None] - i) % len(h)]


@both_modes
def test_a_filter_in_the_frequencies_is_a_circulant_by_signal_and_by_kernel(derive, mode):
    x, h = random(9), random(9, seed=1)
    result = derive("jacobian", FILTER, inputs={"x": x, "h": h}, mode=mode)
    close(result["outputs"]["y"], circulant(h) @ x)
    close(result["jacobians"]["y"]["x"], circulant(h))
    close(result["jacobians"]["y"]["h"], circulant(x))


def test_the_gradient_of_a_filter_is_a_correlation(derive):
    """The adjoint of y = h * x: gradient[j] = sum over i of v[i] h[i - j], and likewise by the kernel with x."""
    x, h, v = random(9), random(9, seed=1), random(9, seed=2)
    found = derive("backward", FILTER, inputs={"x": x, "h": h}, grad_tensors={"y": v})["gradients"]
    for name, other in (("x", h), ("h", x)):
        close(found[name], [sum(float(v[i] * other[i - j]) for i in range(9)) for j in range(9)])


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


@both_modes
def test_the_matrix_exponential_of_a_rotation_turns_on(derive, mode):
    """exp(t [[0, -1], [1, 0]]) is the rotation by t, and its derivative the rotation a quarter turn further."""
    graph = "generator = [[0.0, -1], [1, 0]]; y = linalg.matrix_exp(t * generator)"
    found = derive("jacobian", graph, inputs={"t": vector(0.7)[0]}, mode=mode)["jacobians"]["y"]["t"]
    close(found, [[-math.sin(0.7), -math.cos(0.7)], [math.cos(0.7), -math.sin(0.7)]])
