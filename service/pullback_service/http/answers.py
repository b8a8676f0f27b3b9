"""Workers' replies as HTTP responses."""

from __future__ import annotations

import asyncio
import logging

from starlette.types import Scope, Send

from pullback_service.forms import Form
from pullback_service.http.exchange import SEND_FILE, exchange_of
from pullback_service.http.holdings import Holdings
from pullback_service.http.problems import PROBLEM_JSON
from pullback_service.workers.base import Answer, Reply

MEDIA = {form: form.value.encode() for form in Form}
PROBLEM = PROBLEM_JSON.encode()

log = logging.getLogger(__name__)


class Answers:
    """Sends replies; large ones no faster than the client reads them, and given up when it stops reading."""

    def __init__(self, holdings: Holdings, timeout_s: float) -> None:
        self._holdings = holdings
        self._timeout_s = timeout_s

    async def send(self, reply: Reply, form: Form, scope: Scope, send: Send) -> None:
        """Send one. Raises Busy, before anything is sent, when other large answers are still being read."""
        if reply.shared is None:
            await send(_start(reply, form, len(reply.body)))
            await send({"type": "http.response.body", "body": reply.body})
            return
        size = len(reply.shared)
        self._holdings.take(size)
        try:
            async with asyncio.timeout(self._timeout_s):
                await send(_start(reply, form, size))
                await send(_rest(reply.shared))
        except TimeoutError:
            log.warning("a client did not read its answer within %g s", self._timeout_s)
            exchange = exchange_of(scope)
            if exchange is not None:
                exchange.abort()
        finally:
            reply.shared.memory.close()
            self._holdings.give_back(size)


def _start(reply: Reply, form: Form, size: int) -> dict[str, object]:
    headers = [
        (b"content-type", MEDIA[form] if reply.status < 400 else PROBLEM),
        (b"content-length", b"%d" % size),
    ]
    if reply.server_timing:
        headers.append((b"server-timing", reply.server_timing.encode()))
    return {"type": "http.response.start", "status": reply.status, "headers": headers}


def _rest(answer: Answer) -> dict[str, object]:
    return {"type": SEND_FILE, "file": answer.memory.descriptor, "offset": answer.start, "count": len(answer)}
