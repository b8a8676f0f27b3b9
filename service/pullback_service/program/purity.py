"""Arguments that a kernel writes to although its schema does not say so: it gets copies of them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

WRITTEN_TO = dict.fromkeys(
    ("aten.batch_norm.default", "aten.instance_norm.default", "aten.native_batch_norm.default"),
    (3, 4),  # running_mean and running_var, updated in training
)
"""By operator: the positions of such arguments."""


def protected(operator: str, args: list[Any]) -> list[Any]:
    """`args` with copies where the kernel may write."""
    positions = WRITTEN_TO.get(operator)
    if positions is None:
        return args
    return [a.clone() if i in positions and isinstance(a, Tensor) else a for i, a in enumerate(args)]
