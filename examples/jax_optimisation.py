"""Minimise in JAX what the service computes: jit, value_and_grad, and a Hessian for Newton's steps. Needs jax."""

import jax
import jax.numpy as jnp

from pullback import Client

jax.config.update("jax_enable_x64", True)

with Client() as client:
    rosenbrock = client.jax_function("y = (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()")
    gradient, hessian = jax.jit(jax.grad(rosenbrock)), jax.jit(jax.jacrev(jax.grad(rosenbrock)))

    x = jnp.array([-1.2, 1.0, 0.7])
    steps = 0
    while jnp.linalg.norm(slope := gradient(x)) > 1e-10 and steps < 50:
        direction = -jnp.linalg.solve(hessian(x) + 1e-6 * jnp.eye(3), slope)
        size = 1.0
        while rosenbrock(x + size * direction) > rosenbrock(x) and size > 1e-8:
            size /= 2
        x, steps = x + size * direction, steps + 1
    print(f"minimum at {x.round(6).tolist()} after {steps} steps")
    print(f"many starts at once: {jax.vmap(rosenbrock)(jnp.ones((2, 3)) * jnp.array([[1.0], [0.5]])).tolist()}")
