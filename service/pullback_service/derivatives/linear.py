"""Derivatives at a point as linear maps of named vectors: nothing is built densely."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from pullback_schemas.problems import OpFailed
from pullback_service.derivatives.work import Work

Vectors = Mapping[str, Tensor]
Images = dict[str, Tensor | None]


class AbstractLinearMap(ABC):
    """A linear map from named tensors shaped like `source` to named tensors shaped like `target`.

    Linear over the reals; over the complex numbers only where the derivative is.
    """

    source: Mapping[str, Tensor]
    target: Mapping[str, Tensor]
    work: Work

    @abstractmethod
    def one(self, vectors: Vectors) -> Images:
        """The images of one vector; a vector left out is zero, and an image that is None is zero. Raises OpFailed."""

    @abstractmethod
    def vmapped(self, vectors: Vectors) -> Images:
        """The images of many vectors at once, along one leading axis. Raises OpFailed where vmap cannot."""


class Batches:
    """Applies a linear map to many vectors: vmapped in chunks, one after the other where vmap cannot."""

    def __init__(self, linear: AbstractLinearMap) -> None:
        self.linear = linear
        self._is_looping = bool(linear.work.unbatched)

    def apply(self, vectors: Vectors, chunk: int) -> Images:
        """The images of the vectors along one leading axis, `chunk` of them at a time."""
        size = len(next(iter(vectors.values())))
        if size == 0:
            return {name: like.new_zeros((0, *like.shape)) for name, like in self.linear.target.items()}
        if size <= chunk:
            return self.images(vectors)
        self.linear.work.took("chunked")
        whole: Images = dict.fromkeys(self.linear.target)
        for start in range(0, size, chunk):
            part = self.images({name: tensor[start : start + chunk] for name, tensor in vectors.items()})
            for name, image in part.items():
                if image is not None:
                    target = whole[name]
                    if target is None:
                        whole[name] = target = image.new_zeros((size, *image.shape[1:]))
                    target[start : start + len(image)] = image
        return whole

    def images(self, vectors: Vectors) -> Images:
        """The images of one chunk of vectors."""
        count = len(next(iter(vectors.values())))
        if count == 1:
            image = self.linear.one({name: tensor[0] for name, tensor in vectors.items()})
            return {name: None if tensor is None else tensor[None] for name, tensor in image.items()}
        if not self._is_looping:
            done = self.linear.work.forward_count, self.linear.work.backward_count
            try:
                with warnings.catch_warnings():
                    # vmap warns where it loops inside an operator; that costs time, not digits.
                    warnings.simplefilter("ignore")
                    images = self.linear.vmapped(vectors)
            except OpFailed:
                self._is_looping = True
                self.linear.work.forward_count, self.linear.work.backward_count = done
            else:
                self.linear.work.took("vmapped")
                return images
        self.linear.work.took("looped")
        if self.linear.work.unbatched:
            packets = ", ".join(self.linear.work.unbatched)
            self.linear.work.note(f"torch's rule for many vectors at once is known to be wrong for {packets}.")
        rows = [self.linear.one({name: tensor[i] for name, tensor in vectors.items()}) for i in range(count)]
        return {name: _stacked([row[name] for row in rows]) for name in rows[0]}


def settled(tensor: Tensor) -> Tensor:
    """The tensor as plain numbers: no tape, no sparse layout, no lazy zero, conjugate or negation."""
    if tensor.layout != torch.strided:  # embedding(sparse=True) gives its gradient as indices and rows
        tensor = tensor.to_dense()
    if tensor._is_zerotensor():
        return torch.zeros(tensor.shape, dtype=tensor.dtype, device=tensor.device)
    plain = tensor.detach() if tensor.requires_grad else tensor
    return plain.resolve_conj().resolve_neg() if plain.is_conj() or plain.is_neg() else plain


def _stacked(column: list[Tensor | None]) -> Tensor | None:
    """One leading axis over the images of single vectors, of which some may be zero."""
    like = next((tensor for tensor in column if tensor is not None), None)
    if like is None:
        return None
    return torch.stack([torch.zeros_like(like) if tensor is None else tensor for tensor in column])
