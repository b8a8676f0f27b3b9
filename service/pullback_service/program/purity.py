"""Arguments that a kernel must not be given as they are: it writes to them, or reads past their strides.

It gets copies of the former, and the latter in C order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

WRITTEN_TO = dict.fromkeys(
    ("aten.batch_norm.default", "aten.instance_norm.default", "aten.native_batch_norm.default"),
    (3, 4),  # running_mean and running_var, updated in training
)
"""By operator: the positions of arguments that the kernel writes to, although its schema does not say so."""

READ_WITHOUT_STRIDES = {
    "aten.median.dim": (0,),
    "aten.nanmedian.dim": (0,),
    "aten.native_group_norm.default": (0, 1, 2),
}
"""By operator: the positions of arguments whose strides the kernel takes for those of C order, whatever they are."""


def protected(operator: str, args: list[Any]) -> list[Any]:
    """`args` as the kernel can be trusted with them."""
    if operator in WRITTEN_TO:
        return _changed(args, WRITTEN_TO[operator], torch.clone)
    if operator in READ_WITHOUT_STRIDES:
        return _changed(args, READ_WITHOUT_STRIDES[operator], Tensor.contiguous)
    return args


def _changed(args: list[Any], positions: tuple[int, ...], change: Any) -> list[Any]:
    return [change(a) if i in positions and isinstance(a, Tensor) else a for i, a in enumerate(args)]
