"""Jacobian-vector products: tangents pushed forward, by dual numbers or through the tape alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import jvp, vmap
from typing_extensions import override

from pullback_schemas.problems import OpFailed
from pullback_service.derivatives.adjoint import random_cotangents
from pullback_service.derivatives.chunks import bases, rows_at_once
from pullback_service.derivatives.linear import AbstractLinearMap, Batches, Images, Vectors, settled
from pullback_service.derivatives.run import Point, argument_of, plain_attention, run_steps
from pullback_service.derivatives.vjp import Pullback
from pullback_service.derivatives.work import Work
from pullback_service.program.failures import first_sentence


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
        return self._back.one(vectors)

    @override
    def vmapped(self, vectors: Vectors) -> Images:
        return self._back.vmapped(vectors)


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
