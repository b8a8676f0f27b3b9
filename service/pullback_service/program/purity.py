"""Arguments that a kernel must not be given as they are, and what it gets instead, so that its numbers are right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

CHANGES: dict[str, tuple[tuple[int, ...], Callable[[Tensor], Tensor]]] = {
    # They write to running_mean and running_var in training, although their schemas do not say so.
    "aten.batch_norm.default": ((3, 4), torch.clone),
    "aten.instance_norm.default": ((3, 4), torch.clone),
    "aten.native_batch_norm.default": ((3, 4), torch.clone),
    # They take all strides for those of C order.
    "aten.median.dim": ((0,), Tensor.contiguous),
    "aten.nanmedian.dim": ((0,), Tensor.contiguous),
    "aten.native_group_norm.default": ((0, 1, 2), Tensor.contiguous),
    # They take an expanded int32 index for an int64 one.
    "aten.gather.default": ((2,), Tensor.long),
    "aten.scatter_add.default": ((2,), Tensor.long),
    "aten.scatter_reduce.two": ((2,), Tensor.long),
}
"""By operator: the positions of arguments, and what is done to them first."""


def protected(operator: str, args: list[Any]) -> list[Any]:
    """`args` as the kernel can be trusted with them."""
    change = CHANGES.get(operator)
    if change is None:
        return args
    positions, apply = change
    return [apply(a) if i in positions and isinstance(a, Tensor) else a for i, a in enumerate(args)]
