"""A connection as uvicorn has it, with bounds on a request's head, in bytes and in time; problems are told as such."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pullback_schemas.problems import HeadTimeout, HeadTooLarge, NotHttp, ProblemError, describe
from pullback_service.http.problems import PROBLEM_JSON

MAX_HEAD_BYTES = 2**16
ABORT = "abort"
"""The connection's state has, under this name, what ends it without waiting for the client."""


class Connection(HttpToolsProtocol):
    """uvicorn itself takes a head of any size, for as long as it likes to take.

    A timer runs from the start, and whenever something came and no request is under way, until a head is complete.
    """

    head_timeout_s: float

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._is_in_head = True
        self._begun = self._head_bytes = self._trailer_bytes = 0
        self._timer: asyncio.TimerHandle | None = self.loop.call_later(self.head_timeout_s, self._give_up)
        # What gives up a client that leaves its answer unread; a close would wait for it.
        self.app_state = {**self.app_state, ABORT: transport.abort}

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        begun = self._begun
        super().data_received(data)
        if self._is_in_head and self._begun == begun:  # all of it belongs to a head that began before
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(HeadTooLarge(f"The request's head has more than {MAX_HEAD_BYTES:,} bytes."))
                return
        if not self._is_answering:
            self._start_timer()

    @override
    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_in_head:  # of the next request, which began before this answer was complete
            self._start_timer()

    @override
    def on_message_begin(self) -> None:
        self._is_in_head = True
        self._begun += 1
        self._head_bytes = self._trailer_bytes = 0
        super().on_message_begin()

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:
            super().on_header(name, value)
            return
        self._trailer_bytes += len(name) + len(value)  # nobody reads what follows a body in pieces
        if self._trailer_bytes > MAX_HEAD_BYTES:
            self.transport.abort()

    @override
    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._stop_timer()
        if self.parser.should_upgrade() and self._has_body:  # the parser would take the body for another protocol's
            self._refuse(NotHttp("A request with a body asks for another protocol.", hint="Speak HTTP/1.1 alone."))
            return
        super().on_headers_complete()

    @override
    def send_400_response(self, msg: str) -> None:
        self._refuse(NotHttp(msg))

    @property
    def _has_body(self) -> bool:
        return any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers)

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _give_up(self) -> None:
        self._timer = None
        if self._is_in_head and self._begun:
            self._refuse(HeadTimeout(f"The request's head did not arrive within {self.head_timeout_s:g} s."))
        else:
            self.transport.close()

    def _start_timer(self) -> None:
        if self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self.head_timeout_s, self._give_up)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, error: ProblemError) -> None:
        if self._is_answering:  # what is written now would be read as that answer
            self.transport.abort()
            return
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
