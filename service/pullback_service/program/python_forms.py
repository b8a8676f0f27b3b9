"""Calls that PyTorch's Python functions take and its operator schemas do not, rewritten to what the schema takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pullback_schemas.problems import RefusedOp

Arguments = tuple[list[Any], dict[str, Any]]


def _norm(args: list[Any], kwargs: dict[str, Any]) -> Arguments:
    """torch.norm has p="fro" by default, which over any axes is the 2-norm of the entries."""
    if len(args) > 1:
        return [args[0], 2 if args[1] == "fro" else args[1], *args[2:]], kwargs
    p = kwargs.get("p", 2)
    return args, {**kwargs, "p": 2 if p == "fro" else p}


def _tensordot(args: list[Any], kwargs: dict[str, Any]) -> Arguments:
    """torch.tensordot has one `dims`: how many axes to contract, or a pair of lists of them."""
    rest = dict(kwargs)
    dims = args[2] if len(args) == 3 else rest.pop("dims", 2 if len(args) == 2 and not rest else None)
    if isinstance(dims, int) and not isinstance(dims, bool) and 0 <= dims <= 64:
        return args[:2], {**rest, "dims_self": list(range(-dims, 0)), "dims_other": list(range(dims))}
    if isinstance(dims, list) and len(dims) == 2 and all(isinstance(side, list) for side in dims):
        return args[:2], {**rest, "dims_self": dims[0], "dims_other": dims[1]}
    return args, kwargs


def _embedding(args: list[Any], kwargs: dict[str, Any]) -> Arguments:
    """A negative padding_idx counts from the end in torch.nn.functional, and means none in ATen."""
    padding = args[2] if len(args) > 2 else kwargs.get("padding_idx")
    if isinstance(padding, int) and padding < 0:
        raise RefusedOp("A negative padding_idx is not served.", got=padding, hint="Count the row from the start.")
    return args, kwargs


PYTHON_FORMS: dict[str, Callable[[list[Any], dict[str, Any]], Arguments]] = {
    "embedding": _embedding,
    "norm": _norm,
    "tensordot": _tensordot,
}
