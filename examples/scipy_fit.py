"""Fit a decaying curve with SciPy: residuals and their Jacobian come from the service. Needs pullback and scipy."""

import numpy as np
from scipy.optimize import least_squares, minimize

from pullback import Client

t = np.linspace(0, 4, 40)
measured = 2.5 * np.exp(-1.3 * t) + 0.5 + np.random.default_rng(0).normal(scale=0.02, size=t.shape)

with Client() as client:
    start = {"a": 1.0, "k": 1.0, "c": 0.0}
    residuals = client.scipy_objective("r = a * exp(-k * t) + c - measured", start, {"t": t, "measured": measured})
    fit = least_squares(residuals.fun, residuals.x0, jac=residuals.jac)
    for name, value in residuals.unravel(fit.x).items():
        print(f"{name} = {value:.2f}")

    # The same by Newton's method, on a scalar with exact products of its Hessian.
    data = {"t": t, "measured": measured}
    loss = client.scipy_objective("loss = ((a * exp(-k * t) + c - measured) ** 2).sum()", start, data)
    found = minimize(loss.fun, loss.x0, jac=loss.jac, hessp=loss.hessp, method="trust-ncg")
    print(f"they agree: {np.allclose(found.x, fit.x, atol=1e-4)}")
