"""On what terms a request is answered: who sent it, how long they wait, and whether they still do."""

from __future__ import annotations

import asyncio
import math
import re

from starlette.requests import ClientDisconnect
from starlette.types import Receive
from typing_extensions import override

from pullback_schemas.problems import InvalidField
from pullback_service.http.head import Head
from pullback_service.patience import AbstractInterruption, Patience
from pullback_service.workers.base import Terms

DECIMAL = re.compile(r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?")
PATIENCE_S = 0.02


def terms_of(head: Head, deadline_s: float) -> Terms:
    """Who sent it, and the seconds they give it, at most `deadline_s`. Raises InvalidField."""
    wanted = head.timeout
    return Terms(head.caller, deadline_s if wanted is None else min(_seconds(wanted.decode("latin-1")), deadline_s))


def _seconds(text: str) -> float:
    seconds = float(text) if DECIMAL.fullmatch(text.strip()) else 0.0
    if not 0 < seconds < math.inf:
        raise InvalidField(
            f"The header Pullback-Timeout does not hold a number of seconds above 0: {text[:64]!r}.",
            expected="a number above 0",
            got=text[:64],
            hint="Pullback-Timeout: 2.5",
        )
    return seconds


class WhilePresent(AbstractInterruption):
    """A block that is interrupted when the client goes away, and raises ClientDisconnect. The body must have been read.

    The client is watched once the patience is over: a task for every request would cost its share.
    """

    def __init__(self, receive: Receive, patience: Patience) -> None:
        super().__init__(patience, ClientDisconnect)
        self._receive = receive
        self._watch: asyncio.Task[None] | None = None

    @override
    def on_overdue(self) -> None:
        self._watch = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.interrupt()

    @override
    def __exit__(self, *_: object) -> None:
        if self._watch is not None:
            self._watch.cancel()
        super().__exit__()
