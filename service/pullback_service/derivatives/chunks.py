"""How many vectors go through a derivative at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from pullback_service.program.failures import tensors_in
from pullback_service.program.plan import Plan

SPARSE_ELEMENTS = 2**17
"""Of the widest tensor over a chunk, where elements meet few others: it stays in a core's cache."""

DENSE_ELEMENTS = 2**22
"""The same where matrices are multiplied, which is faster the more rows they have: 32 MiB of float64."""

_CONTRACTIONS = """
addbmm addmm addmv addr baddbmm bilinear bmm chain_matmul conv1d conv2d conv3d conv_transpose1d conv_transpose2d
conv_transpose3d convolution dot einsum inner kron linalg_matmul linalg_multi_dot linear matmul mm mv
scaled_dot_product_attention tensordot
"""
CONTRACTIONS = frozenset(_CONTRACTIONS.split())
"""Operators that multiply matrices."""


def rows_at_once(plan: Plan, *ends: Mapping[str, Tensor]) -> int:
    """A number of vectors for which every tensor of a derivative's pass stays within the budget."""
    moving = [t for value in plan.inferred.values for t in tensors_in(value) if t.requires_grad]
    sizes = [tensor.numel() for tensor in [*moving, *(t for end in ends for t in end.values())]]
    is_dense = any(step.call.operator.packet in CONTRACTIONS for step in plan.program.steps)
    return max(1, (DENSE_ELEMENTS if is_dense else SPARSE_ELEMENTS) // max(1, *sizes))


def bases(like: Tensor, chunk: int) -> Iterator[tuple[int, Tensor]]:
    """The standard basis of a tensor's space in chunks along one leading axis, each with the index it starts at."""
    count = like.numel()
    for start in range(0, count, chunk):
        rows = min(chunk, count - start)
        basis = torch.zeros((rows, count), dtype=like.dtype, device=like.device)
        basis.diagonal(start).fill_(1)
        yield start, basis.reshape(rows, *like.shape)
