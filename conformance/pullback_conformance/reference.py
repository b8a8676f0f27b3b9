"""What torch.autograd says of a sample, called directly on the values that a request will carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor

from pullback_conformance.samples import SEED, Sample


@dataclass(frozen=True, slots=True)
class Reference:
    """Outputs on the tape, the leaves to differentiate by their place, and a random cotangent for each output."""

    outputs: list[Tensor]
    leaves: dict[int, Tensor]
    cotangents: list[Tensor | None]

    @property
    def values(self) -> list[Tensor]:
        """The outputs as an answer carries them."""
        return [plain(output) for output in self.outputs]

    def pull_back(self, vectors: list[Tensor | None] | None = None, *, on_tape: bool = False) -> list[Tensor]:
        """v^T J by leaf, for the cotangents unless others are given; zeros where no output depends on the leaf."""
        cotangents = self.cotangents if vectors is None else vectors
        roots = [(y, v) for y, v in zip(self.outputs, cotangents, strict=True) if v is not None]
        outputs, seeds = zip(*roots, strict=True)
        leaves = list(self.leaves.values())
        found = torch.autograd.grad(outputs, leaves, seeds, allow_unused=True, retain_graph=True, create_graph=on_tape)
        return [torch.zeros_like(x) if g is None else g for x, g in zip(leaves, found, strict=True)]


def refer(sample: Sample) -> Reference:
    """Run the sample's function once, with torch's random numbers from the seed."""
    tensors = [plain(tensor) for tensor in sample.tensors]
    leaves = {i: tensors[i].requires_grad_() for i, given in enumerate(sample.tensors) if given.requires_grad}
    torch.manual_seed(SEED)
    # The function may change what it is given, which a leaf does not allow.
    results = sample.function(*[tensor * 1 if i in leaves else tensor.clone() for i, tensor in enumerate(tensors)])
    outputs = [result for result in pytree.tree_leaves(results) if result is not None]
    torch.manual_seed(SEED + 1)
    return Reference(outputs, leaves, [torch.randn_like(plain(y)) if y.requires_grad else None for y in outputs])


def plain(tensor: Tensor) -> Tensor:
    """The values of a tensor as a request carries them: dense, in C order, none of torch's lazy views."""
    if tensor._is_zerotensor():
        return torch.zeros(tensor.shape, dtype=tensor.dtype)
    dense = tensor.to_dense() if tensor.layout != torch.strided else tensor
    return dense.detach().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)


def inner(a: list[Tensor], b: list[Any]) -> Tensor:
    """The real inner product over several tensors, complex ones included."""
    total = torch.zeros((), dtype=torch.float64)
    for left, right in zip(a, b, strict=True):
        total = total + (left.conj() * right).real.sum()
    return total
