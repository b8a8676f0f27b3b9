"""What `derivatives.py` measures: functions as our graphs and as torch functions, and the ways to their derivatives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from pullback_service.derivatives.hessian import HessianProduct, dense_hessian, products
from pullback_service.derivatives.jacobian import jacobians
from pullback_service.derivatives.run import Point, run_forward
from pullback_service.derivatives.work import Work
from pullback_service.engine import Engine, build_engine
from pullback_service.program.types import types_of
from pullback_service.settings import Settings

Way = Callable[[], Any]
Function = Callable[..., Tensor]


@dataclass(frozen=True)
class Problem:
    """A function of tensors in both languages; `wrt` are the leading inputs that it is differentiated by."""

    graph: str
    function: Function
    inputs: dict[str, Tensor]
    wrt: int = 1


@cache
def engine() -> Engine:
    return build_engine(Settings())


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def elementwise(n: int) -> Problem:
    return Problem("y = tanh(x) * x + sin(x)", lambda x: torch.tanh(x) * x + torch.sin(x), {"x": randn(n)})


def tridiagonal(n: int) -> Problem:
    """Broyden's tridiagonal function."""

    def function(x: Tensor) -> Tensor:
        p = torch.nn.functional.pad(x, (1, 1))
        return (3 - 2 * x) * x - p[:-2] - 2 * p[2:] + 1

    graph = "p = F.pad(x, [1, 1]); y = (3 - 2 * x) * x - p[:-2] - 2 * p[2:] + 1"
    return Problem(graph, function, {"x": randn(n)})


def mlp(n: int) -> Problem:
    """Two layers of n units, n inputs and n outputs."""

    def function(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor) -> Tensor:
        return torch.tanh(x @ w1 + b1) @ w2

    inputs = {"x": randn(n), "w1": randn(n, n) / n**0.5, "b1": randn(n), "w2": randn(n, n) / n**0.5}
    return Problem("y = tanh(x @ w1 + b1) @ w2", function, inputs)


def mixture(n: int) -> Problem:
    """Log-likelihood of a Gaussian mixture: n points, 8 components in 5 dimensions, diagonal covariances."""

    def function(logits: Tensor, means: Tensor, scales: Tensor, points: Tensor) -> Tensor:
        z = (points[:, None] - means) * torch.exp(-scales)
        terms = torch.log_softmax(logits, 0) - scales.sum(1) - 0.5 * (z * z).sum(2)
        return torch.logsumexp(terms, 1).sum()

    graph = """
        z = (points[:, None] - means) * exp(-scales)
        terms = log_softmax(logits, 0) - scales.sum(1) - 0.5 * (z * z).sum(2)
        y = logsumexp(terms, 1).sum()
    """
    inputs = {"logits": randn(8), "means": randn(8, 5), "scales": randn(8, 5) / 4, "points": randn(n, 5)}
    return Problem(graph, function, inputs, wrt=3)


def loss(n: int) -> Problem:
    """Squared error of a two-layer network with n hidden units, by its weights, on 64 samples of 10 features."""

    def function(w1: Tensor, b1: Tensor, w2: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return ((torch.tanh(x @ w1 + b1) @ w2 - t) ** 2).mean()

    inputs = {"w1": randn(10, n), "b1": randn(n), "w2": randn(n, 3), "x": randn(64, 10), "t": randn(64, 3)}
    return Problem("y = ((tanh(x @ w1 + b1) @ w2 - t) ** 2).mean()", function, inputs, wrt=3)


@dataclass(frozen=True)
class Case(ABC):
    """A derivative of a problem of some size."""

    problem: Callable[[int], Problem]
    n: int
    naive = "torch.autograd.functional"

    @property
    def name(self) -> str:
        return f"{self.kind} of {self.problem.__name__}, n = {self.n}"

    kind = ""

    def smaller(self) -> Case:
        return replace(self, n=8)

    def ours(self) -> Way:
        """The service's derivatives layer on a plan that is known; the forward run is part of it."""
        problem = self.problem(self.n)
        library, inputs = engine().library, problem.inputs
        source = library.source(problem.graph)
        plan, _ = library.plan(source, types_of(inputs), list(inputs)[: problem.wrt])
        return lambda: self.compute(run_forward(plan, inputs, Work("reverse")).only())

    def direct(self) -> dict[str, Way]:
        """The same by torch alone."""
        problem = self.problem(self.n)
        values = list(problem.inputs.values())
        leaves, rest = tuple(values[: problem.wrt]), values[problem.wrt :]
        return self.ways(lambda *chosen: problem.function(*chosen, *rest), leaves)

    @abstractmethod
    def compute(self, point: Point) -> Any: ...

    @abstractmethod
    def ways(self, function: Function, leaves: tuple[Tensor, ...]) -> dict[str, Way]: ...

    def flatten(self, result: Any) -> Tensor:
        """The numbers of a result, however they are nested."""
        if isinstance(result, Tensor):
            return result.flatten()
        parts = result.values() if isinstance(result, dict) else result
        return torch.cat([self.flatten(part) for part in parts])


class Jacobian(Case):
    kind = "Jacobian"

    def compute(self, point: Point) -> Any:
        return jacobians(point, "auto", None, Work("reverse"))

    def ways(self, function: Function, leaves: tuple[Tensor, ...]) -> dict[str, Way]:
        (x,) = leaves
        return {
            "jacrev": lambda: jacrev(function)(x),
            "jacrev, chunks of 64": lambda: jacrev(function, chunk_size=64)(x),
            "jacrev, chunks of 256": lambda: jacrev(function, chunk_size=256)(x),
            "jacfwd": lambda: jacfwd(function)(x),
            "vmap of jvp, chunks of 64": lambda: by_columns(function, x, 64),
            self.naive: lambda: torch.autograd.functional.jacobian(function, x),
        }


class Hessian(Case):
    kind = "Hessian"

    def compute(self, point: Point) -> Any:
        return dense_hessian(HessianProduct(point, ones(point), Work("reverse-over-reverse")), point, None)

    def ways(self, function: Function, leaves: tuple[Tensor, ...]) -> dict[str, Way]:
        numbers = tuple(range(len(leaves)))
        return {
            "hessian, forward over reverse": lambda: hessian(function, numbers)(*leaves),
            "jacrev of jacrev": lambda: jacrev(jacrev(function, numbers), numbers)(*leaves),
            self.naive: lambda: torch.autograd.functional.hessian(function, leaves),
        }


class Product(Case):
    kind = "H v"

    def compute(self, point: Point) -> Any:
        second = HessianProduct(point, ones(point), Work("reverse-over-reverse"))
        return products(second, point, {x: torch.ones_like(leaf) for x, leaf in point.leaves.items()}, is_batched=False)

    def ways(self, function: Function, leaves: tuple[Tensor, ...]) -> dict[str, Way]:
        gradient = grad(function, tuple(range(len(leaves))))
        vectors = tuple(torch.ones_like(leaf) for leaf in leaves)
        return {
            "jvp of grad": lambda: jvp(gradient, leaves, vectors)[1],
            "vjp of grad": lambda: vjp(gradient, *leaves)[1](vectors),
            self.naive: lambda: torch.autograd.functional.hvp(function, leaves, vectors)[1],
        }


def by_columns(function: Function, x: Tensor, chunk: int) -> Tensor:
    """What jacfwd does, in chunks."""
    basis = torch.eye(x.numel(), dtype=x.dtype)
    return vmap(lambda v: jvp(function, (x,), (v,))[1], out_dims=1, chunk_size=chunk)(basis)


def ones(point: Point) -> dict[str, Tensor]:
    return {name: torch.ones_like(output) for name, output in point.outputs.items()}


CASES: list[Case] = [
    *(Jacobian(problem, n) for problem in (elementwise, tridiagonal, mlp) for n in (100, 1000, 4000)),
    *(Hessian(mixture, n) for n in (100, 1000)),
    *(Hessian(loss, n) for n in (10, 100)),
    *(Product(mixture, n) for n in (100, 10_000)),
    *(Product(loss, n) for n in (10, 1000)),
]
