"""Whether an answer depends on memory that nothing wrote to."""

from __future__ import annotations

import ctypes
import json
from typing import Any

from pullback_service.engine import Engine
from pullback_service.workers.base import Call, Reply

M_PERTURB = -6
"""glibc's mallopt option: the byte that fresh and freed memory is filled with."""


def is_steady(engine: Engine, call: Call, reply: Reply) -> bool:
    """Whether the same call gives the same numbers again when all fresh memory holds other bytes."""
    libc = ctypes.CDLL(None)
    libc.mallopt(M_PERTURB, 0x3B)
    again = engine.answer(call).joined()
    libc.mallopt(M_PERTURB, 0xA5)
    return bool(_numbers(again.body) == _numbers(reply.body))


def _numbers(body: bytes) -> Any:
    document = json.loads(body)
    document.pop("meta", None)
    return document
