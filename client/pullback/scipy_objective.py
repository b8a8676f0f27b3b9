"""A graph on the service as what SciPy's optimisers call. Needs numpy alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pullback.answers import Backward
from pullback.client import Client
from pullback.errors import PullbackError
from pullback.graphs import GraphLike

Vector: TypeAlias = NDArray[np.float64]


class ScipyObjective:
    """The graph as a function of one vector, which holds its variables one after the other.

    `fun` gives a float where the output is a scalar, for `minimize`, else the output as a vector, for `least_squares`;
    `jac` the gradient, or the matrix of the Jacobian; `hess` and `hessp` the second derivative of a scalar, as a matrix
    and times a vector. `x0` is where the variables start; `unravel` gives them back by name in their shapes.
    """

    def __init__(
        self,
        client: Client,
        graph: GraphLike,
        variables: Mapping[str, ArrayLike],
        data: Mapping[str, Any] | None = None,
        *,
        seed: int = 0,
    ) -> None:
        self._client = client
        self._graph = graph
        self._start = {name: np.asarray(value, float) for name, value in variables.items()}
        self._data = dict(data or {})
        self._seed = seed
        self._last: tuple[bytes, Backward] | None = None
        outputs = client.check(graph, {**self._data, **self._start}).outputs
        if len(outputs) != 1:
            raise PullbackError(f"an objective has one output, and the graph has {', '.join(outputs)}")
        ((self._output, report),) = outputs.items()
        self._is_scalar = report.shape == []
        self._has_gradient = report.requires_grad is not False

    @property
    def x0(self) -> Vector:
        """The variables as given, in one vector."""
        return _ravel(self._start.values())

    def unravel(self, x: ArrayLike) -> dict[str, Vector]:
        """The variables in `x` by name, in their shapes. Raises ValueError where `x` has another length."""
        vector = np.asarray(x, float).reshape(-1)
        ends = np.cumsum([like.size for like in self._start.values()])
        if vector.size != ends[-1]:
            raise ValueError(f"the variables have {ends[-1]} elements together, and the vector has {vector.size}")
        parts = np.split(vector, ends[:-1])
        return {name: part.reshape(like.shape) for (name, like), part in zip(self._start.items(), parts, strict=True)}

    def fun(self, x: ArrayLike) -> float | Vector:
        """The value: a float, or residuals in a vector."""
        if self._is_scalar and self._has_gradient:
            return float(self._value_and_gradient(x).outputs[self._output])
        value = self._client.forward(self._graph, self._at(x), seed=self._seed).outputs[self._output]
        return float(value) if self._is_scalar else _ravel([value])

    def jac(self, x: ArrayLike) -> Vector:
        """The gradient, shape (n,); of residuals the Jacobian, shape (m, n)."""
        if self._is_scalar:
            return _ravel(self._value_and_gradient(x).gradients[name] for name in self._start)
        answer = self._client.jacobian(self._graph, self._at(x), wrt=list(self._start), seed=self._seed)
        blocks = [answer.jacobians[self._output][name] for name in self._start]
        rows = answer.outputs[self._output].size
        return np.concatenate([block.reshape(rows, -1) for block in blocks], axis=1)

    def hess(self, x: ArrayLike) -> Vector:
        """The Hessian, shape (n, n)."""
        answer = self._client.hessian(self._graph, self._at(x), wrt=list(self._start), seed=self._seed)
        sizes = {name: like.size for name, like in self._start.items()}
        return np.block([[answer.hessian[a][b].reshape(sizes[a], sizes[b]) for b in sizes] for a in sizes])

    def hessp(self, x: ArrayLike, p: ArrayLike) -> Vector:
        """The Hessian times `p`, shape (n,)."""
        answer = self._client.hvp(self._graph, self._at(x), self.unravel(p), wrt=list(self._start), seed=self._seed)
        return _ravel(answer.hvp[name] for name in self._start)

    def _at(self, x: ArrayLike) -> dict[str, Any]:
        return {**self._data, **self.unravel(x)}

    def _value_and_gradient(self, x: ArrayLike) -> Backward:
        """Optimisers ask for the value and then for the gradient at the same place: one request serves both."""
        place = np.asarray(x, float).tobytes()
        if self._last is None or self._last[0] != place:
            answer = self._client.backward(self._graph, self._at(x), wrt=list(self._start), seed=self._seed)
            self._last = place, answer
            return answer
        return self._last[1]


def _ravel(arrays: Iterable[Any]) -> Vector:
    found = [np.asarray(array) for array in arrays]
    if any(np.iscomplexobj(array) for array in found):
        raise PullbackError("SciPy's optimisers take real numbers, and these are complex: give their parts")
    return np.concatenate([array.astype(float).reshape(-1) for array in found])
