"""What torch raises while a step is inferred or run, told as a problem of the node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from pullback_schemas.problems import IncompatibleArguments, LimitExceeded, MemoryLimit, OpFailed, ProblemError
from pullback_service.program.program import Step
from pullback_service.program.types import type_of


@contextmanager
def naming_step(step: Step, args: list[Any], kwargs: Mapping[str, Any], *, has_values: bool = False) -> Iterator[None]:
    """Whatever goes wrong inside is a problem of this node, told with the types of its arguments.

    With `has_values`, shapes and dtypes were found to be right before: it is the numbers that torch refuses.
    """
    kind, verb = (OpFailed, "failed") if has_values else (IncompatibleArguments, "refuses its arguments")
    try:
        yield
    except ProblemError as error:
        error.pointer, error.node = error.pointer or step.pointer, error.node or step.id
        raise
    except ImportError:  # torch loads something late, which a sealed process cannot: our own bug
        raise
    except Exception as error:  # whatever torch, its meta kernels and decompositions may raise
        if is_out_of_memory(error):
            raise out_of_memory(step) from None
        if any(words in str(error) for words in _TOO_LARGE):
            raise LimitExceeded(
                f"{step.call.operator.name} is too large: {first_sentence(error)}", pointer=step.pointer, node=step.id
            ) from None
        raise kind(
            f"{step.call.operator.name} {verb}: {first_sentence(error)}",
            pointer=step.pointer,
            node=step.id,
            got=describe_arguments(step, args, kwargs),
            hint=_hint_for(str(error)) or f"The signature is {step.call.operator.signature}",
        ) from None


_TOO_LARGE = ("calculation overflowed", "multiplication overflow")
"""What torch says of a shape with more elements than 64 bits count."""

_HINTS = {
    # What torch says, and what a caller of this service can do about it.
    "bitwise_xor_cpu": "A power is written **.",
    "requires_grad": "Leave that input out of wrt, or make it a constant.",
    "indices must be long": 'Send indices as {"dtype": "int64", "data": [...]}.',
    "Expected dtype int32/int64": 'Send indices and classes as {"dtype": "int64", "data": [...]}.',
    "expected scalar type Long": 'Send indices and classes as {"dtype": "int64", "data": [...]}.',
}


def _hint_for(message: str) -> str | None:
    return next((hint for said, hint in _HINTS.items() if said in message), None)


def describe_arguments(step: Step, args: list[Any], kwargs: Mapping[str, Any]) -> dict[str, str]:
    """The types of a step's tensors, by parameter."""
    named = step.call.named(args, kwargs)
    shown = {name: [str(type_of(t)) for t in tensors_in(value)][:16] for name, value in named.items()}
    return {name: ", ".join(kinds) for name, kinds in shown.items() if kinds}


_UNREADABLE = ("INTERNAL ASSERT", "data is not allocated yet", "incompatible function arguments")
"""What torch says about itself, or about fake tensors, rather than to a caller."""


def first_sentence(error: BaseException) -> str:
    """The part of a torch error that speaks to a user: no C++ trace, no Python one."""
    text = str(error).split("\nException raised from")[0].split("\n\n")[0].strip()
    if any(mark in text for mark in _UNREADABLE):
        return "the operator does not take these arguments"
    return text[:500] or type(error).__name__


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors of a value: itself, or those of a list or tuple."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in tensors_in(item)]
    return []


_NO_MEMORY = ("DefaultCPUAllocator", "bad_alloc", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed."""
    said = str(error)
    is_allocator = any(words in said for words in _NO_MEMORY)
    return is_allocator or isinstance(error, torch.OutOfMemoryError | MemoryError)


def out_of_memory(step: Step | None) -> MemoryLimit:
    """The problem of an allocation that failed."""
    return MemoryLimit(
        "There is not enough memory for this.",
        pointer=step.pointer if step else "",
        node=step.id if step else None,
        hint="Send smaller tensors, or fewer at once.",
    )
