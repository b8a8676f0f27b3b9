"""Dense Jacobians by rows: each row is the pullback of one basis vector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from pullback_schemas.problems import LimitExceeded, NotDifferentiable
from pullback_service.derivatives.vjp import Path, pull_back
from pullback_service.program.types import MAX_AXES, TensorType, extent

ELEMENTS_AT_ONCE = 2**22
"""Chunks of rows are so large that each tensor of the backward pass stays about this size."""


def check_jacobians(outputs: Mapping[str, TensorType], wrt: Mapping[str, TensorType], max_elements: int) -> None:
    """Refuse Jacobians of complex tensors, and those whose dense form is larger than a tensor may be."""
    total = 0
    for y, output in outputs.items():
        for x, leaf in wrt.items():
            if output.dtype.is_complex or leaf.dtype.is_complex:
                raise NotDifferentiable(
                    f"The Jacobian of {y!r} with respect to {x!r} is of complex tensors, which is not served.",
                    pointer="/jacobian",
                    hint="Split the tensors with view_as_real, and join them in the graph.",
                )
            if len(output.shape) + len(leaf.shape) > MAX_AXES:
                raise LimitExceeded(
                    f"The Jacobian of {y!r} with respect to {x!r} would have more than {MAX_AXES} axes.",
                    pointer="/jacobian",
                    expected=MAX_AXES,
                    got=len(output.shape) + len(leaf.shape),
                )
            size = extent(output.shape + leaf.shape)
            total += size
            if output.is_differentiable and total > max_elements:
                raise LimitExceeded(
                    f"The dense Jacobians up to that of {y!r} by {x!r} have {total:,} elements; the limit is "
                    f"{max_elements:,}.",
                    pointer="/jacobian",
                    expected=max_elements,
                    got=total,
                    hint="Ask for v^T J with grad_tensors instead; that is what it is for.",
                )


def jacobians(
    outputs: Mapping[str, Tensor], leaves: Mapping[str, Tensor]
) -> tuple[dict[str, dict[str, Tensor]], Path, int]:
    """jacobians[y][x] of shape y.shape + x.shape for every real output y and leaf x.

    The tape is kept. Also tells the slowest path taken and the number of backward passes.
    """
    answer: dict[str, dict[str, Tensor]] = {}
    path: Path = "vmapped"
    count = 0
    for name, output in outputs.items():
        if not (output.is_floating_point() or output.is_complex()):
            continue
        rows: dict[str, list[Tensor]] = {x: [] for x in leaves}
        for basis in _bases(output, leaves):
            pulled = pull_back({name: output}, leaves, {name: basis}, is_batched=True, keep=True)
            path = "looped" if pulled.path == "looped" else path
            count += pulled.backward_count
            for x, gradient in pulled.gradients.items():
                shape = (len(basis), *leaves[x].shape)
                rows[x].append(leaves[x].new_zeros(shape) if gradient is None else gradient)
        answer[name] = {x: torch.cat(parts).reshape(output.shape + leaves[x].shape) for x, parts in rows.items()}
    return answer, path, count


def _bases(output: Tensor, leaves: Mapping[str, Tensor]) -> Iterator[Tensor]:
    """The standard basis of the output's space, in chunks, each with one leading axis."""
    count = output.numel()
    widest = max([count, 1, *(leaf.numel() for leaf in leaves.values())])
    chunk = max(1, min(count, ELEMENTS_AT_ONCE // widest))
    for start in range(0, max(count, 1), chunk):
        rows = min(chunk, count - start)
        basis = output.new_zeros((rows, count))
        basis[torch.arange(rows), torch.arange(start, start + rows)] = 1
        yield basis.reshape(rows, *output.shape)
