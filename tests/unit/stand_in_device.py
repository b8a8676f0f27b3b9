"""A device that there is everywhere: its tensors are on no CPU, and an operator that mixes them with such fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta", 1)

EAGER = {
    torch.ops.aten._conj.default: torch.ops.aten.conj_physical.default,
    torch.ops.aten._neg_view.default: torch.ops.aten.neg.default,
}
"""What is done at once instead: down here, torch no longer minds a tensor that is conjugated lazily."""


class Elsewhere(Tensor):
    """A tensor that says that it is on DEVICE, and keeps its numbers in one on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        tensor: Elsewhere = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )
        tensor.held = held
        return tensor

    def tolist(self) -> Any:
        """Torch has it only for tensors of its own."""
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


class StandIn:
    """What an engine takes for a GPU."""

    device = DEVICE

    def settle(self) -> int:
        """It has nothing to await, and keeps nothing."""
        return 0


class _Factories(TorchDispatchMode):
    """What makes a tensor on DEVICE, or brings it there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (kwargs or {}).get("device") == DEVICE or any(isinstance(leaf, Elsewhere) for leaf in tree_leaves(args)):
            return _computed(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))


def _computed(func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    is_copy = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
    strangers = [t for t in tensors if not isinstance(t, Elsewhere) and t.dim()]
    assert is_copy or not strangers or len(strangers) == len(tensors), f"{func} mixes devices"
    given = dict(kwargs)
    target = torch.device(given["device"]) if given.get("device") is not None else None
    if target is not None:
        given["device"] = "cpu"
    value = EAGER.get(func, func)(*tree_map(_held, args), **tree_map(_held, given))
    if func is torch.ops.aten.copy_.default:
        return args[0]
    if target is not None and target != DEVICE:
        return value
    return tree_map(lambda each: Elsewhere(each) if isinstance(each, Tensor) else each, value)


def _held(value: Any) -> Any:
    return value.held if isinstance(value, Elsewhere) else value


@contextmanager
def stand_in() -> Iterator[torch.device]:
    """The device, for as long as it stands in for a GPU."""
    with _Factories():
        yield DEVICE
