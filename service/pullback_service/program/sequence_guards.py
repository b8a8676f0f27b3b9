"""The checks of operators that walk along sequences: recurrent networks and reductions over segments.

Their kernels go as far as lengths, offsets and weights lead them, past the end of a tensor too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pullback_schemas.problems import IncompatibleArguments, OpFailed

Arguments = Mapping[str, Any]
Guard = Callable[[Arguments], None]

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
"""How many gates lie one below the other in each weight."""

PACKED = tuple(f"aten.{packet}.data" for packet in GATES)
"""Recurrent networks on packed sequences, whose kernels read the batch sizes."""


def _weights_fit(gates: int) -> Guard:
    def check(arguments: Arguments) -> None:
        state = arguments["hx"]
        is_projected = isinstance(state, list) and len(state) == 2 and state[0].shape[-1:] != state[1].shape[-1:]
        plain = 4 if arguments["has_biases"] else 2
        for place, weight in enumerate(arguments["params"]):
            is_projection = is_projected and place % (plain + 1) == plain
            rows = weight.shape[0] if weight.dim() else 0
            if not is_projection and (rows == 0 or rows % gates):
                raise IncompatibleArguments(
                    f"The first axis of every weight and bias holds {gates} gates, one below the other.",
                    expected=f"params[{place}] of [{gates} * hidden, ...]",
                    got=list(weight.shape),
                )

    return check


def _batches_fit(arguments: Arguments) -> None:
    sizes: Tensor = arguments["batch_sizes"]
    is_list = sizes.dim() == 1 and sizes.numel() > 0 and sizes.dtype == torch.int64
    if not is_list or int(sizes[-1]) < 1 or bool((sizes[1:] > sizes[:-1]).any()):
        raise OpFailed(
            "The batch_sizes are positive int64 and never rise.",
            expected="[3, 2, 2, 1]",
            got=sizes.flatten().tolist()[:16],
        )
    rows = arguments["data"].shape[0] if arguments["data"].dim() else 0
    if int(sizes[0]) > rows or int(sizes.sum()) != rows:
        raise OpFailed("The batch_sizes add up to the rows of data.", expected=rows, got=sizes.flatten().tolist()[:16])


def _segments_fit(arguments: Arguments) -> None:
    for name in ("lengths", "offsets"):
        given = arguments[name]
        if given is None:
            continue
        axis, shape = given.dim() - 1, arguments["data"].shape
        is_integer = given.dtype in (torch.int32, torch.int64)
        if not is_integer or not 0 <= axis < len(shape) or given.shape[:-1] != shape[:axis]:
            raise IncompatibleArguments(
                f"The {name} are integers, for each row before the axis that they cut.",
                expected={"dtype": "int64", "shape": [*shape[: max(axis, 0)], "segments"]},
                got={"dtype": str(given.dtype).removeprefix("torch."), "shape": list(given.shape)},
            )
        if not _cuts(name, given, shape[axis]):
            rule = "so does their sum" if name == "lengths" else "never fall"
            raise OpFailed(
                f"The {name} stay within the axis, of size {shape[axis]}, and {rule}.",
                expected=shape[axis],
                got=given.flatten().tolist()[:16],
            )


def _cuts(name: str, given: Tensor, size: int) -> bool:
    if not bool(((given >= 0) & (given <= size)).all()):
        return False
    if name == "lengths":
        return bool((given.sum(-1) <= size).all())
    return given.shape[-1] > 0 and bool((given[..., 1:] >= given[..., :-1]).all())


SHAPE_GUARDS: dict[str, Guard] = {
    f"aten.{packet}.{form}": _weights_fit(gates) for packet, gates in GATES.items() for form in ("input", "data")
}

VALUE_GUARDS: dict[str, Guard] = {
    **dict.fromkeys(PACKED, _batches_fit),
    "aten.segment_reduce.default": _segments_fit,
}
