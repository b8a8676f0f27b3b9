"""Whether autograd really differentiates an operator, found by calling it on fake tensors."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

logging.getLogger("torch._subclasses.fake_tensor").setLevel(logging.CRITICAL)  # it reports every wrong guess

SHAPES = ((3, 3), (3,), (2, 3, 3), (2, 2, 4, 4), (2, 2, 4, 4, 4), (), (1,))
DTYPES = (torch.float64, torch.complex128, torch.float32)
INTEGERS = (1, 0, 2)
WORDS = ("mean", "fro", "sum", "ij,jk->ik", "linear", "same")
SAMPLES: dict[str, Any] = {"number": 0.5, "float": 0.5, "bool": False, "ScalarType": torch.float64}


def is_differentiable(overload: Any) -> bool | None:
    """Whether some call gives a result with a derivative; None when no call on plain tensors was accepted."""
    was_accepted = False
    for arguments in _calls(overload._schema.arguments):
        try:
            with FakeTensorMode(allow_fallback_kernels=False):
                results = overload(*[_materialise(argument) for argument in arguments])
        except Exception:  # nearly every guess is wrong; torch may raise anything
            continue
        was_accepted = True
        if any(_has_derivative(tensor) for tensor in _flatten(results)):
            return True
    return False if was_accepted else None


def _calls(parameters: Any) -> Iterator[list[Any]]:
    """Guesses at the required arguments: every tensor of one shape and dtype, every number the same."""
    required = [str(p.real_type) for p in parameters if not p.has_default_value()]
    for dtype in DTYPES:
        for shape in SHAPES:
            for integer in INTEGERS if any("int" in kind for kind in required) else (1,):
                for word in WORDS if "str" in required else ("",):
                    yield [_guess(kind, shape, dtype, integer, word) for kind in required]


def _guess(kind: str, shape: tuple[int, ...], dtype: torch.dtype, integer: int, word: str) -> Any:
    if kind.startswith("Optional"):
        return None
    if kind.startswith("List["):
        return [_guess(kind[5:-1], shape, dtype, integer, word)] * 2
    if kind == "Tensor":
        return shape, dtype
    return integer if kind == "int" else word if kind == "str" else SAMPLES.get(kind)


def _materialise(guess: Any) -> Any:
    if isinstance(guess, tuple):
        return torch.empty(guess[0], dtype=guess[1], requires_grad=True)
    return [_materialise(item) for item in guess] if isinstance(guess, list) else guess


def _flatten(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else [t for item in value for t in _flatten(item)]


def _has_derivative(tensor: Tensor) -> bool:
    return tensor.requires_grad and can_be_differentiated(tensor)


def can_be_differentiated(tensor: Tensor, known: dict[Any, bool] | None = None) -> bool:
    """Whether no operator on the way from `tensor` back to its leaves lacks a derivative.

    `known` keeps what was found out, for other tensors of the same tape.
    """
    if tensor.grad_fn is None:
        return True
    known = {} if known is None else known
    pending = [tensor.grad_fn]
    while pending:
        function = pending[-1]
        before = [found for found, _ in function.next_functions if found is not None]
        unknown = [found for found in before if found not in known]
        if unknown and function not in known:
            pending += unknown
            continue
        known[function] = type(function).__name__ not in {"NotImplemented", "Error"} and all(map(known.get, before))
        pending.pop()
    return known[tensor.grad_fn]
