"""The derivatives of Moré, Garbow and Hillstrom's test functions, against those derived by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.flows.more_garbow_hillstrom import PROBLEMS, Array, Problem

every_problem = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)


def numbers(tensor: Any) -> Array:
    return np.array(tensor["data"], dtype=float)


def points(problem: Problem) -> list[Array]:
    """The start, a point beside it without its zeros and symmetries, and the minimisers."""
    start = np.array(problem.start, dtype=float)
    beside = start + 0.1 * np.cos(np.arange(len(start))) * np.where(start == 0, 1, start)
    return [start, beside, *(np.array(x, dtype=float) for x, _ in problem.exact)]


def direction(x: Array) -> Array:
    return np.cos(np.arange(len(x))) * np.where(x == 0, 1, x)


def assert_near(found: Array, expected: Any, sizes: Any = 0.0) -> None:
    """Each number to twelve digits of itself or, where it is a small difference, of the size of what it is one of."""
    np.testing.assert_array_less(np.abs(found - expected), 1e-12 * (np.abs(expected) + sizes) + 1e-200)


def test_all_functions_of_the_paper_are_here():
    assert {problem.number for problem in PROBLEMS.values()} == set(range(1, 36))


@every_problem
def test_the_jacobian_by_hand_agrees_with_its_residuals(problem):
    """The checker checked."""
    for x in points(problem):
        assert_near(problem.slopes(x), problem.jacobian(x))


@every_problem
def test_residuals_are_the_ones_of_the_paper(answer, problem):
    for x in points(problem):
        r = numbers(answer("forward", graph=problem.graph, inputs={"x": x.tolist()})["outputs"]["r"])
        assert_near(r, problem.residuals(x), np.abs(problem.jacobian(x)) @ np.abs(x))


@pytest.mark.parametrize("name", [name for name, problem in PROBLEMS.items() if problem.at_start])
def test_the_sum_of_squares_at_the_start_is_the_known_one(answer, name):
    problem = PROBLEMS[name]
    graph = f"{problem.graph}\ns = (r * r).sum()"
    found = answer("forward", graph=graph, inputs={"x": [float(c) for c in problem.start]})["outputs"]["s"]
    assert_near(numbers(found), problem.at_start)


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
