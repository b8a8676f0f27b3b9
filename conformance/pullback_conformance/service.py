"""The service's own way from bytes to bytes, without the socket."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from pullback_service.engine import build_engine
from pullback_service.settings import Settings
from pullback_service.workers.base import Call

Send = Callable[[str, bytes], tuple[int, bytes]]
"""An operation and the body of its request; gives the status and the body of the answer."""


@cache
def in_process() -> Send:
    """An engine in this process."""
    engine = build_engine(Settings(worker_kind="inline"))
    engine.settle(threads=1, is_alone=True)

    def send(operation: str, body: bytes) -> tuple[int, bytes]:
        reply = engine.answer(Call(operation, body)).joined()
        return reply.status, reply.body

    return send
