"""The checks that guarded operators need before they may run; one row an operator, each with its reason.

Checks on arguments run when a graph is compiled, checks on values just before the operator runs.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pullback_schemas.problems import IncompatibleArguments, LimitExceeded, OpFailed, RefusedOp
from pullback_service.program.binding import Call

MAX_EXPONENT = 1024
MAX_ORDER = 64
MAX_PIECES = 4096


def _bounded(name: str, limit: int) -> Callable[[Call], None]:
    def check(call: Call) -> None:
        value = call.argument(name)
        if abs(value) > limit:
            raise LimitExceeded(f"{call.operator.name}: {name} is at most {limit} in size.", expected=limit, got=value)

    return check


def _needs_num_classes(call: Call) -> None:
    if call.argument("num_classes") < 0:
        raise RefusedOp(
            "aten.one_hot needs num_classes here: without it, its size depends on the data.",
            hint="Give num_classes.",
        )


def _no_dropout(call: Call) -> None:
    if call.argument("dropout_p") != 0:
        raise RefusedOp("Attention with dropout draws random numbers, which is not served.", hint="Set dropout_p=0.")


def _needs_beta(call: Call) -> None:
    if call.argument("beta") == 0:
        raise RefusedOp("With beta=0 the gradient at a tie is NaN in this operator.", hint="Use l1_loss.")


ARGUMENT_GUARDS: dict[str, Callable[[Call], None]] = {
    # Repeated squaring of -2**63 steps never ends.
    "aten.matrix_power.default": _bounded("n", MAX_EXPONENT),
    "aten.linalg_matrix_power.default": _bounded("n", MAX_EXPONENT),
    # A sum over p terms.
    "aten.mvlgamma.default": _bounded("p", MAX_EXPONENT),
    "aten.special_multigammaln.default": _bounded("p", MAX_EXPONENT),
    # Builds r index grids before it looks at their size.
    "aten.combinations.default": _bounded("r", MAX_ORDER),
    "aten.smooth_l1_loss.default": _needs_beta,
    "aten.one_hot.default": _needs_num_classes,
    "aten.scaled_dot_product_attention.default": _no_dropout,
}


def _finite(args: list[Any]) -> None:
    if not bool(torch.isfinite(args[0]).all()):
        raise OpFailed("The matrix holds NaN or infinity.", hint="linalg.eigvals needs finite values.")


def _divisible(args: list[Any]) -> None:
    """The smallest integer divided by -1 does not fit, and ends the process with SIGFPE."""
    dividend, divisor = (torch.as_tensor(arg) for arg in args[:2])
    dtype = torch.result_type(dividend, divisor)
    if dtype.is_floating_point or dtype.is_complex or dtype == torch.bool:
        return
    if bool((divisor == -1).any()) and bool((dividend == torch.iinfo(dtype).min).any()):
        raise OpFailed(f"The smallest {dtype} divided by -1 does not fit {dtype}.".replace("torch.", ""))


VALUE_GUARDS: dict[str, Callable[[list[Any]], None]] = {
    # LAPACK's geev without vectors segfaults on NaN and infinity; syev gives finite nonsense.
    "aten.linalg_eigvalsh.default": _finite,
    "aten.linalg_eigvals.default": _finite,
    **dict.fromkeys(
        [
            *("aten.div.Tensor_mode", "aten.div.Scalar_mode", "aten.divide.Tensor_mode", "aten.divide.Scalar_mode"),
            *("aten.floor_divide.default", "aten.floor_divide.Scalar", "aten.fmod.Tensor", "aten.fmod.Scalar"),
            *("aten.remainder.Tensor", "aten.remainder.Scalar", "aten.remainder.Scalar_Tensor"),
        ],
        _divisible,
    ),
}


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


def largest_dynamic(name: str, args: list[Any]) -> int | None:
    """An upper bound on the elements of a result whose size depends on the data; None if `name` has none."""
    match name:
        case "aten.nonzero.default" | "aten.argwhere.default":
            return int(args[0].numel() * max(args[0].dim(), 1))
        case "aten.combinations.default":
            r = args[1] if len(args) > 1 else 2
            return int(args[0].numel() ** max(r, 1) * max(r, 1))
        case "aten.cov.default" | "aten.corrcoef.default":
            return int(args[0].shape[0] ** 2) if args[0].dim() == 2 else 1
        case "aten.masked_select.default":
            return prod(np.broadcast_shapes(args[0].shape, args[1].shape))
    return None


def without_masks(name: str, args: list[Any]) -> list[Any]:
    """The arguments with each mask of an index replaced by the positions it holds, as torch does itself."""
    if name != "aten.index.Tensor":
        return args
    indices: list[Tensor | None] = []
    for index in args[1]:
        is_mask = isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)
        indices += list(index.nonzero().unbind(1)) if is_mask else [index]
    return [args[0], indices, *args[2:]]
