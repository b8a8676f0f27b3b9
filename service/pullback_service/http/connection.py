"""A connection as uvicorn has it, with bounds on a request's head, in bytes and in time; problems are told as such."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pullback_schemas.problems import HeadTimeout, HeadTooLarge, NotHttp, ProblemError, describe
from pullback_service.http.problems import PROBLEM_JSON

MAX_HEAD_BYTES = 2**16


class Connection(HttpToolsProtocol):
    """uvicorn itself takes a head of any size, for as long as it likes to take."""

    head_timeout_s: float

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_bytes = 0
        self._is_in_head = True
        self._timer: asyncio.TimerHandle | None = self.loop.call_later(self.head_timeout_s, self._give_up)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if not self._is_in_head:
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(HeadTooLarge(f"The request's head has more than {MAX_HEAD_BYTES:,} bytes."))
        elif self._timer is None:
            self._timer = self.loop.call_later(self.head_timeout_s, self._give_up)

    @override
    def on_message_begin(self) -> None:
        self._is_in_head, self._head_bytes = True, 0
        super().on_message_begin()

    @override
    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._stop_timer()
        super().on_headers_complete()

    @override
    def send_400_response(self, msg: str) -> None:
        self._refuse(NotHttp(msg))

    def _give_up(self) -> None:
        self._timer = None
        if self._head_bytes:
            self._refuse(HeadTimeout(f"The request's head did not arrive within {self.head_timeout_s:g} s."))
        else:
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, error: ProblemError) -> None:
        problem = describe(error)
        body = problem.model_dump_json(exclude_none=True).encode()
        head = (
            f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\ncontent-type: {PROBLEM_JSON}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def connection_class(head_timeout_s: float) -> type[Connection]:
    """The class of connections whose heads must arrive in this time."""
    return type("TimedConnection", (Connection,), {"head_timeout_s": head_timeout_s})
