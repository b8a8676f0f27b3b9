"""A graph on the service as a JAX function, against the same function written in JAX."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from pullback import AnswerError, Client, PullbackError


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.fixture
def client(service) -> Client:
    return Client("http://service", transport=service._transport)


@pytest.fixture
def remote(client):
    return client.jax_function("y = x * exp(w) / (1 + x ** 2)", ["x", "w"])


def local(x, w):
    return x * jnp.exp(w) / (1 + x**2)


@pytest.fixture
def point():
    return jnp.array([0.5, -2.0, 1.5]), jnp.array([1.0, 0.25, -0.5])


def loss(function):
    return lambda x, w: (function(x, w) ** 2).sum()


TRANSFORMATIONS = {
    "a call": lambda f: f,
    "jit": jax.jit,
    "grad": lambda f: jax.grad(loss(f), (0, 1)),
    "jit of grad": lambda f: jax.jit(jax.grad(loss(f))),
    "a value with its gradient": lambda f: jax.value_and_grad(loss(f), 1),
    "the Jacobian": lambda f: jax.jacrev(f, (0, 1)),
    "the Hessian": lambda f: jax.jacrev(jax.grad(loss(f), (0, 1)), (0, 1)),
    "jit of the Hessian": lambda f: jax.jit(jax.jacrev(jax.grad(loss(f)))),
    "vmap": jax.vmap,
    "vmap over one argument": lambda f: jax.vmap(f, (0, None)),
    "jit of vmap of grad": lambda f: jax.jit(jax.vmap(jax.grad(loss(f)))),
    "vmap of the Jacobian": lambda f: jax.vmap(jax.jacrev(f)),
    "vmap of vmap": lambda f: jax.vmap(jax.vmap(f, (0, None)), (None, 0)),
    "inside of scan": lambda f: lambda x, w: jax.lax.scan(lambda c, _: (f(c, w), c.sum()), x, None, length=3),
}


@pytest.mark.parametrize("transform", TRANSFORMATIONS.values(), ids=TRANSFORMATIONS)
def test_a_transformed_remote_function_is_the_local_one_transformed(remote, point, transform):
    ours, theirs = transform(remote)(*point), transform(local)(*point)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), ours, theirs)


def test_jax_finds_both_derivatives_right(remote, point):
    check_grads(remote, point, order=2, modes=["rev"])


def test_a_jacobian_is_one_request(service, client, point):
    asked = []
    hook = {"request": [lambda request: asked.append(request.url.path)]}
    import httpx

    with httpx.Client(transport=service._transport, event_hooks=hook) as http:
        function = Client("http://service", http_client=http).jax_function("y = sin(x)")
        jacobian = jax.jacrev(function)(point[0])
    np.testing.assert_allclose(jacobian, np.diag(np.cos(point[0])))
    assert asked.count("/v1/backward") == 1


def test_integers_go_in_and_come_out_without_a_gradient(client):
    function = client.jax_function("y = x[i] * 2; k = argmax(x); return y, k", ["x", "i"])
    x, i = jnp.array([1.0, 5.0, 3.0]), jnp.array([2, 0, 2])
    y, k = function(x, i)
    assert (y.tolist(), int(k)) == ([6.0, 2.0, 6.0], 1)
    assert jax.grad(lambda x: function(x, i)[0].sum())(x).tolist() == [2.0, 0.0, 4.0]


def test_single_precision_stays_single(client):
    with jax.enable_x64(False):
        function = client.jax_function("n = x.to('int64').sum(); y = relu(x); return y, n")
        y, n = function(jnp.array([1.0, -1.0]))
        gradient = jax.grad(lambda x: function(x)[0].sum())(jnp.array([1.0, -1.0]))
    assert (y.dtype, gradient.dtype, n.dtype) == (jnp.float32, jnp.float32, jnp.int32)


def test_random_numbers_are_the_same_in_both_passes(client):
    function = client.jax_function("y = dropout(x, 0.5, True)", seed=3)
    x = jnp.ones(32)
    assert jax.grad(lambda x: function(x).sum())(x).tolist() == function(x).tolist()


def test_arguments_go_by_name_and_by_place(remote, point):
    x, w = point
    np.testing.assert_array_equal(remote(w=w, x=x), remote(x, w))
    with pytest.raises(TypeError, match="missing: w"):
        remote(x)


def test_what_jax_cannot_know_before_the_run_is_said(client, point):
    with pytest.raises(PullbackError, match="depends on the data"):
        client.jax_function("y = x[x > 0]")(point[0])


def test_problems_with_shapes_come_before_anything_runs(client, point):
    with pytest.raises(AnswerError, match="incompatible_arguments"):
        jax.jit(client.jax_function("y = x @ w"))(jnp.ones(2), jnp.ones(3))


COMPLEX = {
    "holomorphic": ("y = x * x * w", lambda x, w: x * x * w, (1 + 2j, 0.5 - 1j)),
    "not holomorphic": ("y = x * conj(w) + abs(x)", lambda x, w: x * jnp.conj(w) + jnp.abs(x), (1 + 2j, 0.5 - 1j)),
    "real into complex": ("y = x * x * w", lambda x, w: x * x * w, (1.5, 0.5 - 1j)),
    "complex into real": ("y = real(x * conj(x)) * w", lambda x, w: jnp.real(x * jnp.conj(x)) * w, (1 + 2j, 0.5)),
}


@pytest.mark.parametrize("case", COMPLEX)
def test_complex_derivatives_are_jaxs_own(client, case):
    text, function, values = COMPLEX[case]
    remote = client.jax_function(text, ["x", "w"])
    x, w = (jnp.asarray(value) for value in values)
    y, pull = jax.vjp(function, x, w)
    found, pull_remote = jax.vjp(remote, x, w)
    np.testing.assert_allclose(found, y, rtol=1e-14)
    v = jnp.asarray(0.3 - 0.7j if jnp.iscomplexobj(y) else 0.3, y.dtype)
    for ours, theirs in zip(pull_remote(v), pull(v), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)

    def curved(f):
        def size(x, w):
            return (jnp.abs(f(x, w)) ** 2).sum()

        return jax.vjp(lambda x, w: jax.grad(size, (0, 1))(x, w), x, w)[1]

    directions = tuple(jnp.asarray(1.2 + 0.4j if jnp.iscomplexobj(z) else 1.2, z.dtype) for z in (x, w))
    for ours, theirs in zip(curved(remote)(directions), curved(function)(directions), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_without_double_precision_a_graph_with_float64_constants_has_a_gradient(client):
    with jax.enable_x64(False):
        remote = client.jax_function("w = [0.5, 2.0]; y = (x * w).sum()", ["x"])
        np.testing.assert_allclose(jax.grad(remote)(jnp.array([1.0, 3.0])), [0.5, 2.0])
