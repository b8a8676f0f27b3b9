"""Minima in print, found anew from the paper's starting points with the derivatives that the service gives."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from typing import Any

import numpy as np
import pytest
from tests.flows.more_garbow_hillstrom import PROBLEMS, SYSTEMS, Array, Problem

EPS = 2.0**-52

Model = Callable[[Array], tuple[float, Array, Array]]


def each(problems: dict[str, Problem]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("problem", problems.values(), ids=problems)


def numbers(tensor: Any) -> Array:
    return np.array(tensor["data"], dtype=float)


def assert_digits(found: float, printed: str) -> None:
    """All the digits in print are those found: cut off where an ellipsis follows, else rounded."""
    expected = Decimal(printed.replace("...", ""))
    rounding = ROUND_DOWN if "..." in printed else ROUND_HALF_EVEN
    assert Decimal(float(found)).quantize(expected, rounding) == expected


def assert_all_digits(x: Array, problem: Problem) -> None:
    """Those of the minimiser, if it is in print."""
    for found, printed in zip(x, problem.minimiser, strict=bool(problem.minimiser)):
        assert_digits(found, printed)


@pytest.fixture
def linearised(answer: Callable[..., Any]) -> Callable[[Problem, Array], tuple[Array, Array]]:
    """The residuals and their Jacobian, from the service."""

    def call(problem: Problem, x: Array) -> tuple[Array, Array]:
        result = answer("jacobian", graph=problem.graph, inputs={"x": x.tolist()})
        return numbers(result["outputs"]["r"]), numbers(result["jacobians"]["r"]["x"])

    return call


@pytest.fixture
def quadratic(answer: Callable[..., Any]) -> Callable[[Problem], Model]:
    """F, its gradient and its Hessian, from the service."""

    def model(problem: Problem) -> Model:
        graph = f"{problem.graph}\ns = (r * r).sum()"

        def at(x: Array) -> tuple[float, Array, Array]:
            result = answer("hessian", graph=graph, inputs={"x": x.tolist()})
            f, gradient = numbers(result["outputs"]["s"]), numbers(result["gradients"]["x"])
            return float(f), gradient, numbers(result["hessian"]["x"]["x"])

        return at

    return model


def descend(model: Model, x: Array, limit: int = 500) -> Array:
    """Newton's method, damped as Levenberg and Marquardt do it, the damping steered as Nielsen does."""
    (f, gradient, hessian), damping, factor = model(x), 1e-6, 2
    for _ in range(limit):
        scale = np.abs(np.diag(hessian))
        step = -np.linalg.solve(hessian + damping * np.diag(np.where(scale > 0, scale, 1)), gradient)
        promised = -(gradient @ step + step @ hessian @ step / 2)
        further = model(x + step)
        if promised > 0 and further[0] < f:
            kept = (f - further[0]) / promised
            x, (f, gradient, hessian) = x + step, further
            damping, factor = damping * max(1 / 3, 1 - (2 * kept - 1) ** 3), 2
            if np.all(np.abs(step) <= 1e-6 * np.abs(x)):
                return x
        elif damping > 1e12:
            return x
        else:
            damping, factor = damping * factor, 2 * factor
    raise AssertionError(f"no minimum in {limit} steps")


def settle(model: Model, x: Array) -> Array:
    """The last steps, undamped: F tells too few digits to steer them."""
    for _ in range(3):
        _, gradient, hessian = model(x)
        x = x - np.linalg.lstsq(hessian, gradient)[0]
    return x


def assert_vanishes(found: Array, sizes: Array) -> None:
    """Nothing but the rounding of numbers of these sizes is left."""
    assert np.all(np.abs(found) <= 64 * EPS * sizes), f"{found} where rounding leaves {EPS * sizes}"


def assert_stationary(problem: Problem, x: Array, r: Array, jacobian: Array) -> None:
    """By the service's Jacobian and by the one derived by hand."""
    for j in (jacobian, np.array(problem.jacobian(x))):
        assert_vanishes(j.T @ r, np.abs(j).T @ (np.abs(r) + np.abs(j) @ np.abs(x)))


@each({name: problem for name, problem in PROBLEMS.items() if problem.exact})
def test_the_gradient_vanishes_at_minimisers_in_closed_form(linearised, problem):
    for exact, least in problem.exact:
        x = np.array(exact, dtype=float)
        r, jacobian = linearised(problem, x)
        assert_stationary(problem, x, r, jacobian)
        if least == 0:
            assert_vanishes(r, np.abs(jacobian) @ np.abs(x))
        else:
            assert r @ r == pytest.approx(least, rel=1e-13)


@each({name: problem for name, problem in PROBLEMS.items() if problem.least})
def test_the_least_sum_of_squares_has_the_digits_in_print(quadratic, linearised, problem):
    model = quadratic(problem)
    x = settle(model, descend(model, np.array(problem.start, dtype=float)))
    r, jacobian = linearised(problem, x)
    assert_stationary(problem, x, r, jacobian)
    assert_digits(r @ r, problem.least)
    assert_all_digits(x, problem)


def newton(linearise: Callable[[Array], tuple[Array, Array]], x: Array, limit: int = 20) -> list[Array]:
    """All the steps of Newton's method, undamped, until they only shift the last bits."""
    steps = [x]
    for _ in range(limit):
        r, jacobian = linearise(x)
        step = -np.linalg.solve(jacobian, r)
        x = x + step
        steps.append(x)
        if np.all(np.abs(step) <= 16 * EPS * np.abs(x)):
            return steps
    raise AssertionError(f"no root in {limit} steps")


ROOTS = {"Powell badly scaled": PROBLEMS["Powell badly scaled"], **SYSTEMS}


@each(ROOTS)
def test_newton_finds_a_root_from_the_start_and_squares_its_error_at_every_step(linearised, problem):
    """Which only the right Jacobian does: one that is wrong by one part in a thousand just divides it by a thousand."""
    *_, x = steps = newton(lambda x: linearised(problem, x), np.array(problem.start, dtype=float))
    r, jacobian = linearised(problem, x)
    sizes = np.abs(jacobian) @ np.abs(x)
    assert_vanishes(r, sizes)
    assert_vanishes(np.array(problem.residuals(x)), sizes)
    assert_all_digits(x, problem)
    errors = [float(np.max(np.abs(step - x) / np.abs(x))) for step in steps]
    near = [(error, after) for error, after in itertools.pairwise(errors) if error < 0.1]
    assert len(near) >= 3
    for error, after in near:
        assert after <= 5 * error**2 + 16 * EPS


def test_the_integral_equation_has_the_root_of_the_boundary_value_problem(linearised):
    """The trapezoidal rule over Green's function is the inverse of the second difference."""
    names = ["discrete boundary value", "discrete integral equation"]
    problems = [SYSTEMS[name] for name in names]
    one, other = (newton(lambda x, p=p: linearised(p, x), np.array(p.start, dtype=float))[-1] for p in problems)
    np.testing.assert_allclose(one, other, rtol=1e-14)
