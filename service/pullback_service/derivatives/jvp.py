"""Jacobian-vector products: tangents pushed forward, by dual numbers or through the tape alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor
from torch.func import jvp, vmap
from typing_extensions import override

from pullback_schemas.problems import InconsistentDerivative, OpFailed
from pullback_service.derivatives.adjoint import adjoint_error, random_cotangents, tolerance
from pullback_service.derivatives.chunks import bases, rows_at_once
from pullback_service.derivatives.known_wrong import wrong_forward_rules
from pullback_service.derivatives.linear import AbstractLinearMap, Batches, Images, Vectors, settled
from pullback_service.derivatives.run import Point, argument_of, plain_attention, run_steps
from pullback_service.derivatives.vjp import Pullback, zeros_for_none
from pullback_service.derivatives.work import Mode, Work
from pullback_service.program.failures import first_sentence

CHECKED_ELEMENTS = 2**20
"""Of all values of a graph: up to here the adjoint identity is checked, which takes some milliseconds at most."""


T = TypeVar("T")
Route = tuple[Mode, Callable[[], AbstractLinearMap]]


class Pushforward(AbstractLinearMap):
    """v -> J v by forward mode: the program runs once more, on dual numbers, for each call."""

    def __init__(self, point: Point, work: Work) -> None:
        self._point = point
        self.source = point.leaves
        self.target = point.outputs
        self.work = work

    @override
    def one(self, vectors: Vectors) -> Images:
        return {name: settled(tensor) for name, tensor in self._push(vectors).items()}

    @override
    def vmapped(self, vectors: Vectors) -> Images:
        try:
            images = vmap(self._push, randomness="same")(dict(vectors))
        except (RuntimeError, ValueError) as error:  # vmap's own refusals, outside of any step
            raise OpFailed(first_sentence(error)) from None
        return {name: settled(tensor) for name, tensor in images.items()}

    def _push(self, vectors: Vectors) -> dict[str, Tensor]:
        plan, inputs = self._point.plan, self._point.inputs

        def run(moving: Vectors) -> dict[str, Tensor]:
            outputs = run_steps(plan, {**inputs, **moving}, self.work, self._point.seed)
            return {name: outputs[name] for name in self.target}

        primals = {name: argument_of(plan, inputs, name) for name in vectors}
        with torch.no_grad(), plain_attention(plan.program):
            tangents: dict[str, Tensor] = jvp(run, (primals,), (dict(vectors),))[1]
        return tangents


class DoublePullback(AbstractLinearMap):
    """v -> J v through the tape: w -> J^T w is linear, and its own pullback is J. No forward rule is used."""

    def __init__(self, point: Point, work: Work) -> None:
        self.source = point.leaves
        self.target = point.outputs
        self.work = work
        cotangents = {name: tensor.requires_grad_() for name, tensor in random_cotangents(point.outputs).items()}
        gradients = Pullback(point.outputs, point.leaves, work).with_tape(cotangents)
        moving = {name: gradient for name, gradient in gradients.items() if gradient is not None}
        self._back = Pullback(moving, cotangents, work)

    @override
    def one(self, vectors: Vectors) -> Images:
        return self._back.one(self._known(vectors))

    @override
    def vmapped(self, vectors: Vectors) -> Images:
        return self._back.vmapped(self._known(vectors))

    def _known(self, vectors: Vectors) -> Vectors:
        return {name: tensor for name, tensor in vectors.items() if name in self._back.source}


class RowByRow(AbstractLinearMap):
    """v -> J v by the rows of J, each a pullback: for operators that have a gradient and nothing else."""

    def __init__(self, point: Point, work: Work) -> None:
        self.source = point.leaves
        self.target = point.outputs
        self.work = work
        self._chunk = rows_at_once(point.plan, point.outputs, point.leaves)
        self._rows = Batches(Pullback(point.outputs, point.leaves, work))

    @override
    def one(self, vectors: Vectors) -> Images:
        return {name: self._along(name, vectors) for name in self.target}

    @override
    def vmapped(self, vectors: Vectors) -> Images:
        raise OpFailed("A pullback of pullbacks is not batched.")

    def _along(self, name: str, vectors: Vectors) -> Tensor:
        like = self.target[name]
        image = like.new_zeros(like.numel())
        for start, basis in bases(like, self._chunk):
            turned = {1: basis, 1j: 1j * basis} if like.is_complex() else {1: basis}
            for factor, rows in turned.items():
                for x, gradients in self._rows.images({name: rows}).items():
                    if gradients is not None and x in vectors:
                        products = (gradients.reshape(len(rows), vectors[x].numel()).conj() @ vectors[x].flatten()).real
                        image[start : start + len(rows)] += factor * products
        return image.reshape(like.shape)


def forward_routes(point: Point, work: Work) -> Iterator[Route]:
    """The ways to J v, the fastest first."""
    wrong = wrong_forward_rules(point.plan.program)
    if wrong:
        work.note(f"torch's forward rule of {', '.join(wrong)} is known to be wrong; the tape was used instead.")
    else:
        yield "forward", lambda: Pushforward(point, work)
    yield "double-reverse", lambda: DoublePullback(point, work)


def first_right(
    routes: Iterable[Route],
    work: Work,
    compute: Callable[[AbstractLinearMap], T],
    error_of: Callable[[T], float | None],
    bound: float,
) -> T:
    """What `compute` makes of the first route that has all its rules and whose adjoint error is within `bound`.

    `error_of` gives None where nothing was or can be measured. Raises the last route's OpFailed, or
    InconsistentDerivative.
    """
    failure: Exception = OpFailed("There is no route.")
    path = work.path
    for mode, build in routes:
        work.mode, work.path = mode, path
        try:
            result = compute(build())
        except OpFailed as error:
            failure = error
            continue
        error_found = error_of(result)
        if error_found is None or error_found <= bound:
            work.adjoint_error = error_found
            return result
        work.note(f"The identity <w, Jv> = <J^T w, v> fails in {mode} mode by {error_found:.1e}: it was not used.")
        failure = InconsistentDerivative(
            "Forward and reverse mode disagree on this derivative, and neither is given.",
            expected=f"a relative difference up to {bound:.1e}",
            got=f"{error_found:.1e}",
            hint="/v1/gradcheck tells which inputs are concerned.",
        )
    work.path = path
    raise failure


def push_forward(point: Point, tangents: Vectors, *, is_batched: bool, work: Work) -> dict[str, Tensor]:
    """J v for each output of the point, summed over the tangents; v has one extra leading axis if batched."""
    chunk = rows_at_once(point.plan, point.outputs, point.leaves)
    batch = len(next(iter(tangents.values()))) if is_batched else None

    def compute(linear: AbstractLinearMap) -> dict[str, Tensor]:
        images = Batches(linear).apply(tangents, chunk) if is_batched else linear.one(tangents)
        return zeros_for_none(images, point.outputs, batch)

    def error_of(images: dict[str, Tensor]) -> float | None:
        if batch == 0 or point.plan.inferred.elements > CHECKED_ELEMENTS:
            return None
        w = random_cotangents(point.outputs)
        gradients = Pullback(point.outputs, point.leaves, work).one(w)
        return adjoint_error(w, _mixed(images, batch), gradients, _mixed(tangents, batch), point.outputs.values())

    routes = [*forward_routes(point, work), ("reverse", lambda: RowByRow(point, work))]
    return first_right(routes, work, compute, error_of, tolerance({**point.outputs, **point.leaves}))


def _mixed(vectors: Vectors, batch: int | None) -> Vectors:
    """One vector in which all of a batch take part."""
    if batch is None:
        return vectors
    weights = torch.linspace(1, 2, batch, dtype=torch.float64)
    return {n: torch.tensordot(weights.to(_wide(t)), t.to(_wide(t)), 1) for n, t in vectors.items()}


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.complex128 if tensor.is_complex() else torch.float64
