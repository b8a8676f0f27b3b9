"""A graph on the service as a differentiable JAX function. Needs jax, which `import pullback` does not load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from pullback.client import Client
from pullback.errors import PullbackError
from pullback.graphs import GraphLike
from pullback.remote_function import AbstractRemoteFunction
from pullback_schemas import TensorSpec

Arrays: TypeAlias = Sequence[Any]
Ask: TypeAlias = Callable[[Arrays, Arrays, bool], list[Any]]
"""Asks the service with arrays that are fixed and vectors of which many may go at once; whether they do."""


class JaxFunction(AbstractRemoteFunction):
    """A graph that is called with arrays and gives arrays, differentiable twice in reverse mode.

    It works under jit, grad, jacrev and vmap; a Hessian is jacrev(grad(f)). Arrays go by position in the order of
    `inputs`, or by name. It gives an array, or a tuple in the order of `outputs`. Forward and backward are a request
    each, with one seed, since a JAX function gives the same twice; many cotangents at one point are one request.
    """

    def __init__(self, client: Client, graph: GraphLike, inputs: Sequence[str] | None = None, seed: int = 0) -> None:
        super().__init__(client, graph, inputs)
        self._seed = seed
        self._reports = cache(self._report)
        self._types = cache(self._inferred)
        self._forward = jax.custom_vjp(self._run_forward)
        self._forward.defvjp(lambda *xs: (self._forward(*xs), xs), self._pull_back)
        self._pull = jax.custom_vjp(self._run_backward)
        self._pull.defvjp(lambda xs, vs: (self._pull(xs, vs), (xs, vs)), self._pull_twice)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs at these inputs. Raises TypeError where names do not fit, and what a Client raises."""
        given = self._names.bind(args, kwargs)
        outputs = self._forward(*(jnp.asarray(given[name]) for name in self.inputs))
        return outputs[0] if len(outputs) == 1 else outputs

    # What JAX calls, with traced arrays: each is a callback of the shapes that are known by now

    def _run_forward(self, *xs: Any) -> tuple[Any, ...]:
        return tuple(_called_back(self._ask_forward, self._outputs_at(xs), xs, ()))

    def _run_backward(self, xs: Arrays, vs: Arrays) -> list[Any]:
        return _called_back(self._ask_backward, [_type(x) for x in xs if _is_smooth(x)], xs, vs)

    def _pull_back(self, xs: Arrays, cotangents: Arrays) -> tuple[Any, ...]:
        types = self._outputs_at(xs)
        vs = [v for v, kind in zip(cotangents, types, strict=True) if _is_smooth(kind)]
        return _beside_the_smooth(xs, self._pull(xs, vs))

    def _pull_twice(self, known: tuple[Arrays, Arrays], us: Arrays) -> tuple[Any, Any]:
        """With <u, J^T v>: by x it is the Hessian of <v, y> times u, by v it is J u."""
        xs, vs = known
        curved = _called_back(self._ask_hvp, [_type(x) for x in xs if _is_smooth(x)], (*xs, *vs), us)
        pushed = _called_back(self._ask_jvp, [_type(v) for v in vs], xs, us)
        return _beside_the_smooth(xs, curved), pushed

    # What the callbacks do, with arrays of numbers

    def _ask_forward(self, xs: Arrays, _: Arrays, __: bool) -> list[Any]:
        answer = self._client.forward(self._graph, self._given(xs), seed=self._seed)
        return [answer.outputs[name] for name in self.outputs]

    def _ask_backward(self, xs: Arrays, vs: Arrays, is_batched: bool) -> list[Any]:
        vectors = self._conjugates(xs, vs)
        wrt = self._smooth_inputs(xs)
        answer = self._client.backward(
            self._graph, self._given(xs), vectors, wrt=wrt, is_grads_batched=is_batched, outputs=False, seed=self._seed
        )
        return [np.conj(answer.gradients[name]) for name in wrt]

    def _ask_jvp(self, xs: Arrays, us: Arrays, is_batched: bool) -> list[Any]:
        along = dict(zip(self._smooth_inputs(xs), us, strict=True))
        answer = self._client.jvp(self._graph, self._given(xs), along, is_tangents_batched=is_batched, seed=self._seed)
        return [answer.jvp[name] for name in self._smooth_outputs(xs)]

    def _ask_hvp(self, fixed: Arrays, us: Arrays, is_batched: bool) -> list[Any]:
        xs, vs = fixed[: len(self.inputs)], fixed[len(self.inputs) :]
        vectors = self._conjugates(xs, vs)
        wrt = self._smooth_inputs(xs)
        along = dict(zip(wrt, us, strict=True))
        answer = self._client.hvp(
            self._graph, self._given(xs), along, vectors, wrt=wrt, is_vectors_batched=is_batched, seed=self._seed
        )
        return [np.conj(answer.hvp[name]) for name in wrt]

    def _conjugates(self, xs: Arrays, vs: Arrays) -> dict[str, Any]:
        """Cotangents for the service, by output, in the dtypes that it computes in.

        JAX multiplies by the derivative, torch by its conjugate: each gives the conjugate of the other's.
        """
        dtypes = self._dtypes(tuple((x.dtype.name, x.shape) for x in xs))
        names = self._smooth_outputs(xs)
        return {name: np.conj(v).astype(dtypes[name]) for name, v in zip(names, vs, strict=True)}

    def _given(self, xs: Arrays) -> dict[str, Any]:
        return dict(zip(self.inputs, xs, strict=True))

    def _smooth_inputs(self, xs: Arrays) -> list[str]:
        return [name for name, x in self._given(xs).items() if _is_smooth(x)]

    def _smooth_outputs(self, xs: Arrays) -> list[str]:
        return [name for name, y in zip(self.outputs, self._outputs_at(xs), strict=True) if _is_smooth(y)]

    def _outputs_at(self, xs: Arrays) -> tuple[Any, ...]:
        return self._types(tuple((x.dtype.name, x.shape) for x in xs))

    def _report(self, types: tuple[tuple[Any, tuple[int, ...]], ...]) -> Any:
        specs = [TensorSpec(dtype=dtype, shape=list(shape)) for dtype, shape in types]
        return self._client.check(self._graph, self._given(specs))

    def _dtypes(self, types: tuple[tuple[Any, tuple[int, ...]], ...]) -> dict[str, Any]:
        """Of the outputs as the service has them: without x64, JAX has narrower ones."""
        return {name: jnp.dtype(self._reports(types).outputs[name].dtype) for name in self.outputs}

    def _inferred(self, types: tuple[tuple[Any, tuple[int, ...]], ...]) -> tuple[Any, ...]:
        report = self._reports(types)
        unknown = [name for name in self.outputs if report.outputs[name].shape is None]
        if unknown:
            raise PullbackError(f"the shape of {unknown[0]!r} depends on the data, and JAX needs it before the run")
        found = [report.outputs[name] for name in self.outputs]
        return tuple(_struct(tuple(y.shape or ()), jax.dtypes.canonicalize_dtype(jnp.dtype(y.dtype))) for y in found)


def _type(x: Any) -> Any:
    return _struct(x.shape, x.dtype)


def _struct(shape: tuple[int, ...], dtype: Any) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]


def _is_smooth(x: Any) -> bool:
    return bool(jnp.issubdtype(x.dtype, jnp.inexact))


def _beside_the_smooth(xs: Arrays, found: Arrays) -> tuple[Any, ...]:
    """What was found of the floating inputs, and nothing of the others."""
    left = iter(found)
    return tuple(next(left) if _is_smooth(x) else None for x in xs)


def _called_back(ask: Ask, types: Sequence[Any], fixed: Arrays, vectors: Arrays) -> list[Any]:
    """What `ask` gives, of these types, when the numbers are there; under vmap for all of a batch."""
    ranks = [x.ndim for x in (*fixed, *vectors)]

    def run(*arrays: Any) -> list[Any]:
        plain = [np.asarray(array) for array in arrays]
        axes = plain[0].ndim - ranks[0]  # vmap adds as many to each, of size 1 where it does not vary
        found = _spread(ask, plain[: len(fixed)], plain[len(fixed) :], axes)
        return [np.asarray(value).astype(kind.dtype) for value, kind in zip(found, types, strict=True)]

    return list(jax.pure_callback(run, list(types), *fixed, *vectors, vmap_method="expand_dims"))


def _spread(ask: Ask, fixed: list[Any], vectors: list[Any], axes: int) -> list[Any]:
    """`ask` for each place along the leading `axes`: at once if only vectors vary."""
    if axes == 0:
        return ask(fixed, vectors, False)
    batch = np.broadcast_shapes(*(array.shape[:axes] for array in (*fixed, *vectors)))
    if vectors and all(array.shape[:axes] == (1,) * axes for array in fixed):
        flat = [np.broadcast_to(v, (*batch, *v.shape[axes:])).reshape(-1, *v.shape[axes:]) for v in vectors]
        found = ask([array.reshape(array.shape[axes:]) for array in fixed], flat, True)
        return [value.reshape(*batch, *value.shape[1:]) for value in found]
    rows = [
        ask([_at(array, place) for array in fixed], [_at(array, place) for array in vectors], False)
        for place in np.ndindex(*batch)
    ]
    return [np.stack(parts).reshape(*batch, *parts[0].shape) for parts in zip(*rows, strict=True)]


def _at(array: Any, place: tuple[int, ...]) -> Any:
    return array[tuple(0 if size == 1 else i for i, size in zip(place, array.shape, strict=False))]
