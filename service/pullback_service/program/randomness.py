"""Which calls draw random numbers, and where those come from: the request's seed, nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pullback_service.program.binding import Call


def draws_random(call: Call) -> bool:
    """Whether the result depends on torch's random numbers. Attention only draws them for its dropout."""
    operator = call.operator
    if any(argument.name == "dropout_p" for argument in operator.arguments):
        return bool(call.argument("dropout_p") != 0)
    return operator.is_random


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Random numbers as after `torch.manual_seed(seed)`; what the process drew before goes on after it."""
    if seed is None:
        yield
        return
    has_gpu = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if has_gpu else []):
        torch.manual_seed(seed)
        yield
