"""On what terms a request is answered: who sent it, how long they wait, and whether they still do."""

from __future__ import annotations

import asyncio
import math
from types import TracebackType

from starlette.requests import ClientDisconnect, Request

from pullback_schemas.problems import InvalidField
from pullback_service.workers.base import Terms

TIMEOUT = "pullback-timeout"
PATIENCE_S = 0.02


def terms_of(request: Request, deadline_s: float) -> Terms:
    """Who sent it, and the seconds they give it, at most `deadline_s`. Raises InvalidField."""
    wanted = request.headers.get(TIMEOUT)
    timeout_s = deadline_s if wanted is None else min(_seconds(wanted), deadline_s)
    return Terms(request.client.host if request.client else "", timeout_s)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InvalidField(
            f"The header Pullback-Timeout does not hold a number of seconds: {text[:64]!r}.",
            expected="a number above 0",
            got=text[:64],
            hint="Pullback-Timeout: 2.5",
        )
    return seconds


class while_present:  # reads as a conjunction: `with while_present(request):`
    """The block is cancelled when the client goes away, and raises ClientDisconnect. The body must have been read.

    Nobody watches before PATIENCE_S: most answers come sooner, and a task for each of them would cost its share.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._watch: asyncio.Task[None] | None = None
        self._has_gone = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._timer = asyncio.get_running_loop().call_later(PATIENCE_S, self._begin)

    def _begin(self) -> None:
        self._watch = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self._has_gone = True
        self._task.cancel()

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()
        if self._has_gone:
            self._task.uncancel()
            raise ClientDisconnect from None
