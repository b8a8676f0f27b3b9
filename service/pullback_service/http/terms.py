"""How long a request is waited for, and whether its client still does."""

from __future__ import annotations

import asyncio
import math
import re

from starlette.requests import ClientDisconnect
from starlette.types import Receive
from typing_extensions import override

from pullback_schemas.problems import BodyTimeout, InvalidField
from pullback_service.http.head import Head
from pullback_service.patience import AbstractInterruption, Patience

DECIMAL = re.compile(r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?")
PATIENCE_S = 0.02


def timeout_of(head: Head, deadline_s: float) -> float:
    """The seconds that the caller gives it, at most `deadline_s`. Raises InvalidField."""
    wanted = head.timeout
    return deadline_s if wanted is None else min(_seconds(wanted.decode("latin-1")), deadline_s)


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


class Attention(AbstractInterruption):
    """A request on its way, interrupted when its body takes too long, and then when its client goes away.

    Raises BodyTimeout or ClientDisconnect. Timer and watch begin once the patience is over: for every request, they
    would cost their share.
    """

    def __init__(self, receive: Receive, patience: Patience, body_timeout_s: float) -> None:
        super().__init__(patience)
        self._receive = receive
        self._body_timeout_s = body_timeout_s
        self._has_body = self._is_overdue = False
        self._watch: asyncio.Task[None] | None = None

    def has_body(self) -> None:
        """The body has been read."""
        self._has_body = True
        self.think_better_of_it()
        if self._is_overdue:
            self.on_overdue()

    @override
    def on_overdue(self) -> None:
        self._is_overdue = True
        if self._has_body:
            self._watch = asyncio.create_task(self._wait())
        else:
            self.interrupt_in(max(0.0, self._body_timeout_s - self._patience.seconds))

    @override
    def error(self) -> Exception:
        if self._has_body:
            return ClientDisconnect()
        return BodyTimeout(f"The body did not arrive within {self._body_timeout_s:g} s.")

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.interrupt()

    @override
    def __exit__(self, *_: object) -> None:
        if self._watch is not None:
            self._watch.cancel()
        super().__exit__()
