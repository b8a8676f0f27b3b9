"""A graph on the service as what scipy.optimize calls."""

from __future__ import annotations

import httpx
import numpy as np
import pytest
from scipy.optimize import check_grad, least_squares, minimize, rosen, rosen_der, rosen_hess, rosen_hess_prod

from pullback import AnswerError, Client, PullbackError

ROSENBROCK = "y = (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()"
START = np.array([-1.2, 1.0, 0.7])


@pytest.fixture
def client(service) -> Client:
    return Client("http://service", transport=service._transport)


def test_the_numbers_are_those_of_scipys_own_rosenbrock(client):
    objective = client.scipy_objective(ROSENBROCK, {"x": START})
    p = np.array([0.3, -1.0, 2.0])
    assert objective.fun(START) == pytest.approx(rosen(START), rel=1e-14)
    np.testing.assert_allclose(objective.jac(START), rosen_der(START), rtol=1e-13)
    np.testing.assert_allclose(objective.hess(START), rosen_hess(START), rtol=1e-13)
    np.testing.assert_allclose(objective.hessp(START, p), rosen_hess_prod(START, p), rtol=1e-13)


@pytest.mark.parametrize(
    ("method", "needs"),
    [
        ("BFGS", ["jac"]),
        ("L-BFGS-B", ["jac"]),
        ("Newton-CG", ["jac", "hessp"]),
        ("trust-krylov", ["jac", "hessp"]),
        ("trust-exact", ["jac", "hess"]),
        ("SLSQP", ["jac"]),
    ],
)
def test_minimize_finds_the_minimum_by_any_method(client, method, needs):
    objective = client.scipy_objective(ROSENBROCK, {"x": START})
    found = minimize(objective.fun, objective.x0, method=method, **{name: getattr(objective, name) for name in needs})
    np.testing.assert_allclose(found.x, np.ones(3), atol=1e-3)


def test_least_squares_fits_a_curve(client):
    t = np.linspace(0, 4, 30)
    noise = np.random.default_rng(0).normal(scale=0.01, size=t.shape)
    graph = "r = a * exp(-k * t) + c - y"
    data = {"t": t, "y": 2.5 * np.exp(-1.3 * t) + 0.5 + noise}
    objective = client.scipy_objective(graph, {"a": 1.0, "k": 1.0, "c": 0.0}, data)
    assert objective.jac(objective.x0).shape == (30, 3)
    found = least_squares(objective.fun, objective.x0, jac=objective.jac)
    fitted = objective.unravel(found.x)
    assert {name: float(value) for name, value in fitted.items()} == pytest.approx(
        {"a": 2.5, "k": 1.3, "c": 0.5}, abs=0.05
    )
    by_differences = least_squares(objective.fun, objective.x0)
    np.testing.assert_allclose(found.x, by_differences.x, rtol=1e-5)


def test_variables_of_many_shapes_are_one_vector(client):
    variables = {"w": np.arange(6.0).reshape(2, 3), "b": [1.0, -1.0], "s": 2.0}
    objective = client.scipy_objective("y = ((w @ x + b) ** 2).sum() * s", variables, {"x": [1.0, 0.5, -1.0]})
    assert objective.x0.tolist() == [0, 1, 2, 3, 4, 5, 1, -1, 2]
    assert {name: part.shape for name, part in objective.unravel(objective.x0).items()} == {
        "w": (2, 3),
        "b": (2,),
        "s": (),
    }
    assert check_grad(objective.fun, objective.jac, objective.x0) < 1e-4
    hessian = objective.hess(objective.x0)
    np.testing.assert_allclose(hessian @ objective.x0, objective.hessp(objective.x0, objective.x0), rtol=1e-12)
    with pytest.raises(ValueError, match="9 elements"):
        objective.fun(np.ones(4))


def test_a_value_and_its_gradient_are_one_request(service):
    asked: list[str] = []
    hooks = {"request": [lambda request: asked.append(request.url.path)]}
    with httpx.Client(transport=service._transport, event_hooks=hooks) as http:
        objective = Client("http://service", http_client=http).scipy_objective(ROSENBROCK, {"x": START})
        objective.fun(START)
        objective.jac(START)
    assert asked == ["/v1/check", "/v1/backward"]


def test_a_value_without_a_gradient_is_still_a_value(client):
    objective = client.scipy_objective("y = (x > 0).sum()", {"x": START})
    assert objective.fun(START) == 2.0
    with pytest.raises(AnswerError, match="not_differentiable"):
        objective.jac(START)


def test_an_objective_has_one_output(client):
    with pytest.raises(PullbackError, match="y, z"):
        client.scipy_objective("y = x.sum(); z = x * 2; return y, z", {"x": START})


def test_complex_residuals_are_refused(client):
    objective = client.scipy_objective("y = x * w", {"x": START}, {"w": np.array([1j, 2j, 3j])})
    with pytest.raises(PullbackError, match="real numbers"):
        objective.fun(START)
