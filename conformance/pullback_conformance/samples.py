"""PyTorch's samples of its operators, from the wheel's own test data (`op_db`), as functions of plain tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor
from torch.testing._internal.common_methods_invocations import op_db

SEED = 42
"""What torch's random numbers start from; the OpInfos of random operators set this very seed inside the call."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One call of one operator: a function of the tensors that stood anywhere among its arguments."""

    operator: str
    number: int
    dtype: torch.dtype
    function: Callable[..., Any]
    tensors: tuple[Tensor, ...]

    def __str__(self) -> str:
        return f"{self.operator}[{self.number}]"


def operators(dtype: torch.dtype, names: frozenset[str] = frozenset()) -> list[Any]:
    """The OpInfos with an autograd rule for `dtype`, or those of these names."""
    return [
        op
        for op in op_db
        if op.supports_autograd
        and dtype in op.supported_backward_dtypes("cpu")  # type: ignore[no-untyped-call]
        and (not names or _title(op) in names or op.name in names)
    ]


def samples_of(op: Any, dtype: torch.dtype) -> Iterator[Sample]:
    """The samples of an OpInfo for autograd, in a fixed order, with fixed numbers."""
    torch.manual_seed(SEED)
    for number, given in enumerate(op.sample_inputs("cpu", dtype, requires_grad=True)):
        yield _sample(op, number, dtype, given)


def _title(op: Any) -> str:
    return f"{op.name}.{op.variant_test_name}" if op.variant_test_name else str(op.name)


def _sample(op: Any, number: int, dtype: torch.dtype, given: Any) -> Sample:
    flat, spec = pytree.tree_flatten((given.input, given.args, given.kwargs))
    places = [place for place, value in enumerate(flat) if isinstance(value, Tensor)]

    def function(*tensors: Tensor) -> Any:
        arguments = list(flat)
        for place, tensor in zip(places, tensors, strict=True):
            arguments[place] = tensor
        first, args, kwargs = pytree.tree_unflatten(arguments, spec)
        return given.output_process_fn_grad(op(first, *args, **kwargs))

    return Sample(_title(op), number, dtype, function, tuple(flat[place] for place in places))
