"""How large results may become that shape inference cannot bound: pieces, masks, sizes that depend on the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pullback_schemas.problems import IncompatibleArguments, LimitExceeded, RefusedOp
from pullback_service.program.binding import Call
from pullback_service.program.sequence_guards import PACKED

MAX_PIECES = 4096


def _pieces_of_unbind(call: Call, shape: tuple[int, ...]) -> int:
    dim = call.argument("dim")
    return shape[dim] if -len(shape) <= dim < len(shape) else 0


def _pieces_of_split(call: Call, shape: tuple[int, ...]) -> int:
    size = call.args[1]
    dim = call.argument("dim")
    whole = shape[dim] if -len(shape) <= dim < len(shape) else 0
    return -(-whole // size) if isinstance(size, int) and size > 0 else 0


def _pieces_by_number(call: Call, _: tuple[int, ...]) -> int:
    return call.args[1] if isinstance(call.args[1], int) else 0


PIECES: dict[str, Callable[[Call, tuple[int, ...]], int]] = {
    # A list of a million views takes a second a step to make, real or fake.
    "aten.unbind.int": _pieces_of_unbind,
    "aten.split.Tensor": _pieces_of_split,
    "aten.unsafe_split.Tensor": _pieces_of_split,
    "aten.tensor_split.sections": _pieces_by_number,
    "aten.chunk.default": _pieces_by_number,
    "aten.unsafe_chunk.default": _pieces_by_number,
    "aten.hsplit.int": _pieces_by_number,
    "aten.vsplit.int": _pieces_by_number,
    "aten.dsplit.int": _pieces_by_number,
}


def check_pieces(call: Call, args: list[Any]) -> None:
    """Refuse to cut a tensor into more pieces than the limit."""
    count = PIECES.get(call.operator.name)
    if count is None:
        return
    pieces = count(call, tuple(args[0].shape))
    if pieces > MAX_PIECES:
        raise LimitExceeded(f"{call.operator.name} would make {pieces} tensors.", expected=MAX_PIECES, got=pieces)


def check_index(call: Call, args: list[Any]) -> None:
    """Refuse what `x[i, :, j]` and aten.index see differently: torch's indexing reads a 0-dim `i` as a number."""
    if call.operator.name != "aten.index.Tensor":
        return
    if all(index is None for index in args[1]):
        raise IncompatibleArguments("aten.index.Tensor has no index tensor.", expected="a reference", got=None)
    places = [place for place, index in enumerate(args[1]) if index is not None]
    masks = [i for i in args[1] if i is not None and i.dtype in (torch.bool, torch.uint8)]
    if call.needs_flat_masks and any(mask.dim() != 1 for mask in masks):
        raise RefusedOp(
            "A mask with several axes cannot stand before or beside other indices here.",
            hint="Index in two steps: first the mask alone, x[mask].",
        )
    is_apart = bool(places) and places[-1] - places[0] >= len(places)
    if is_apart and any(args[1][place].dim() == 0 for place in places):
        raise RefusedOp(
            "An index tensor without axes cannot stand apart from the other index tensors.",
            hint="Use a number for it, or index in two steps.",
        )


READS_DATA = frozenset({"aten.tensor_split.tensor_indices_or_sections", *PACKED})
"""Operators that read their argument's memory even where it is fake and has none."""

Bound = Callable[[Mapping[str, Any]], int]


def _product(*sizes: int) -> int:
    return prod(max(size, 1) for size in sizes)


def _of_combinations(a: Mapping[str, Any]) -> int:
    order = max(a["r"], 1)
    return int(a["self"].numel() ** order * order)


def _of_repeats(a: Mapping[str, Any]) -> int:
    repeats = a["repeats"]
    total = int(repeats.double().sum()) if repeats.numel() else 0
    tensor = a.get("self")
    if tensor is None:
        return total
    if repeats.numel() == 1:
        return total * int(tensor.numel())
    dim = a["dim"]
    width = tensor.numel() if dim is None or not tensor.dim() else tensor.shape[dim % tensor.dim()]
    return total * int(tensor.numel()) // max(int(width), 1)


def _of_istft(a: Mapping[str, Any]) -> int:
    frames = a["self"]
    hop = a["hop_length"] or a["n_fft"] // 4
    length = a["length"] or a["n_fft"] + hop * frames.shape[-1]
    return _product(*frames.shape[:-2]) * max(int(length), 0)


def _of_lstsq(a: Mapping[str, Any]) -> int:
    matrix, right = a["self"], a["b"]
    batch = np.broadcast_shapes(matrix.shape[:-2], right.shape[: max(len(matrix.shape) - 2, 0)])
    columns = right.shape[-1] if right.dim() else 1
    return _product(*batch) * _product(*matrix.shape[-1:], columns) + int(right.numel())


def _of_packed_sequence(a: Mapping[str, Any]) -> int:
    """All gates of all layers at all steps, of which the result is a part."""
    return _product(*a["data"].shape[:1]) * sum(len(weight) for weight in a["params"])


BOUNDS: dict[str, Bound] = {
    **dict.fromkeys(PACKED, _of_packed_sequence),
    "aten.binomial.default": lambda a: prod(np.broadcast_shapes(a["count"].shape, a["prob"].shape)),
    "aten.nonzero.default": lambda a: int(a["self"].numel() * max(a["self"].dim(), 1)),
    "aten.argwhere.default": lambda a: int(a["self"].numel() * max(a["self"].dim(), 1)),
    "aten.combinations.default": _of_combinations,
    "aten.cov.default": lambda a: int(a["self"].shape[0] ** 2) if a["self"].dim() == 2 else 1,
    "aten.corrcoef.default": lambda a: int(a["self"].shape[0] ** 2) if a["self"].dim() == 2 else 1,
    "aten.masked_select.default": lambda a: prod(np.broadcast_shapes(a["self"].shape, a["mask"].shape)),
    "aten.repeat_interleave.Tensor": _of_repeats,
    "aten.repeat_interleave.self_Tensor": _of_repeats,
    "aten.istft.default": _of_istft,
    "aten.linalg_lstsq.default": _of_lstsq,
    "aten.ctc_loss.IntList": lambda a: int(a["log_probs"].numel()),
    "aten.ctc_loss.Tensor": lambda a: int(a["log_probs"].numel()),
    "aten.narrow.Tensor": lambda a: int(a["self"].numel()),
    "aten.tensor_split.tensor_indices_or_sections": lambda a: int(a["self"].numel()),
}
"""Upper bounds on the elements of a result whose size depends on the data, or of which torch has no fake kernel, from
the arguments by name."""


def without_masks(name: str, args: list[Any]) -> list[Any]:
    """The arguments with each mask of an index replaced by the positions it holds, as torch does itself."""
    if name != "aten.index.Tensor":
        return args
    indices: list[Tensor | None] = []
    for index in args[1]:
        is_mask = isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)
        indices += list(index.nonzero().unbind(1)) if is_mask else [index]
    return [args[0], indices, *args[2:]]
