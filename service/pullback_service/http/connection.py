"""A connection as uvicorn has it, with bounds on what it may send and how long; problems are told as such."""

from __future__ import annotations

import asyncio
import logging
import sys
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import httptools
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pullback_schemas.problems import Busy, HeadTimeout, HeadTooLarge, NotHttp, ProblemError, describe
from pullback_service.http import framing
from pullback_service.http.edge import NO_CONTENT, NO_GUESS, NO_STORE
from pullback_service.http.exchange import ABORT, EXTENSIONS, Exchange
from pullback_service.http.limits import ConnectionLimits
from pullback_service.http.problems import PROBLEM_JSON, RETRY_AFTER_S
from pullback_service.patience import Patience
from pullback_service.settings import Settings
from pullback_service.telemetry.reporters import Reporters

MAX_HEAD_BYTES = 2**16
MAX_HEADERS = 256
TARGETS = 64
"""Addresses that are remembered in their parts."""

MAX_PIPELINED = 16
"""Requests that wait behind the one that is answered; the connection ends after them."""

MAX_REFUSED = 64
"""Refused connections that are told so at one time; others are just closed."""

TOLD_BETTER = "Invalid HTTP request received."
"""uvicorn's line for each of them."""

LINGER_S = 1.0
"""How long the last answer may be read before a connection ends. To end at once could take it from the client."""

MAX_DISREGARDED = 2**20
"""What a client may send meanwhile."""


class Connection(HttpToolsProtocol):
    """uvicorn itself takes a head of any size, for as long as it likes to take, and as many requests as are sent.

    A timer runs from the start, and whenever something came and no request is under way, until a head is complete.
    """

    idle: Patience
    """A timer a connection would cost more; uvicorn makes one for each answer."""
    head_timeout_s: float
    unread_timeout_s: float
    limits: ConnectionLimits
    refused: set[Connection]
    reporters: Reporters

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._is_in_head, self._is_over, self._is_last = True, False, False
        self._begun = self._head_bytes = self._trailer_bytes = self._fed = self._disregarded = 0
        self._decisive: list[tuple[bytes, bytes]] = []
        self._counted_as: str | None = None
        self._running: Exchange | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        # What gives up a client that leaves its answer unread; a close would wait for it.
        self.app_state = {**self.app_state, ABORT: transport.abort}
        try:
            self._counted_as = self.limits.admit(self.client[0] if self.client else "")
        except Busy as error:
            self._turn_away(error)
        else:
            self._start_timer()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self.idle.end(self)
        self.resume_writing()
        if self._counted_as is not None:
            self.limits.leave(self._counted_as)
        self.refused.discard(self)
        if self._running is not None:
            self._running.leave()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        if self._is_over or (self._is_last and not self.cycle.more_body) or self.transport.is_closing():
            self._disregard(data)
            return
        begun = self._begun
        self._fed = self._fed + len(data) if self._is_in_head else len(data)
        super().data_received(data)
        if self._is_over:
            return
        if self._is_in_head and self._begun == begun:  # all of it belongs to a head that began before
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(_head_too_large())
                return
        if not self._is_answering:
            self._start_timer()

    @override
    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._end_in(self.unread_timeout_s)
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self.idle.begin(self)
        if self._is_in_head:  # of the next request, which began before this answer was complete
            self._start_timer()

    @override
    def on_message_begin(self) -> None:
        if self._is_last:
            raise NotHttp("More requests came at once than are answered.")
        self._is_in_head = True
        self._begun += 1
        self._head_bytes = self._trailer_bytes = 0
        self._decisive = []
        super().on_message_begin()

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:  # uvicorn's own way costs more, with what is added here
            header = (name.lower(), value)
            self.headers.append(header)
            if header[0] in framing.DECISIVE:
                self._decisive.append(header)
            return
        self._trailer_bytes += len(name) + len(value)  # nobody reads what follows a body in pieces
        if self._trailer_bytes > MAX_HEAD_BYTES:
            self.transport.abort()

    @override
    def on_headers_complete(self) -> None:
        version = self.parser.get_http_version()
        framing.check(version, self._decisive)
        self.expect_100_continue = len(self._decisive) > 1 and framing.expects_to_continue(self._decisive)
        if len(self.headers) > MAX_HEADERS or (self._fed > MAX_HEAD_BYTES and self._head_size() > MAX_HEAD_BYTES):
            raise _head_too_large()
        upgrades = self.parser.should_upgrade()
        if upgrades and self._has_body:  # the parser would take the body for another protocol's
            raise NotHttp("A request with a body asks for another protocol.", hint="Speak HTTP/1.1 alone.")
        self._is_in_head = False
        self._stop_timer()
        self._begin(version)
        if upgrades or len(self.pipeline) >= MAX_PIPELINED:
            self._end_after_answers()

    @override
    def send_400_response(self, msg: str) -> None:
        """What the parser made of an exception: one of the callbacks', or its own."""
        error = sys.exception()
        if isinstance(error, httptools.HttpParserCallbackError):
            error = error.__context__
        self._refuse(error if isinstance(error, ProblemError) else NotHttp(f"The request is not HTTP/1.1: {error}."))

    @override
    def _unsupported_upgrade_warning(self) -> None:
        """Not into the log, at every client's wish."""

    @override
    def _unset_keepalive_if_required(self) -> None:
        self.idle.end(self)

    def on_overdue(self) -> None:
        """It was idle for too long."""
        self._close()

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self.unread_timeout_s, self.transport.abort)

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    @override
    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _begin(self, version: str) -> None:
        """As uvicorn does it, but for the class of the exchange, which it does not let others choose."""
        path, raw_path, query = _target(self.url)
        scope = self.scope
        scope["method"], scope["http_version"] = self.parser.get_method().decode(), version
        scope["path"], scope["raw_path"], scope["query_string"] = path, raw_path, query
        scope["extensions"] = EXTENSIONS
        latest = self.cycle
        self.cycle = Exchange(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if latest is None or latest.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    @property
    def _has_body(self) -> bool:
        return any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers)

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _disregard(self, data: bytes) -> None:
        self._disregarded += len(data)
        if self._is_over and self._disregarded > MAX_DISREGARDED:
            self.transport.abort()

    def _give_up(self) -> None:
        self._timer = None
        if self._is_in_head and self._begun:
            self._refuse(HeadTimeout(f"The request's head did not arrive within {self.head_timeout_s:g} s."))
        else:
            self._close()

    def _start_timer(self) -> None:
        if self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self.head_timeout_s, self._give_up)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _turn_away(self, error: Busy) -> None:
        if len(self.refused) < MAX_REFUSED:
            self.refused.add(self)
            self._refuse(error)
        else:
            self._is_over = True
            self.transport.abort()

    def _refuse(self, error: ProblemError) -> None:
        """Tell of the problem and end the connection, where what is written now would not be read as another answer."""
        if self._is_answering and not self.cycle.more_body:
            self._end_after_answers()
        elif self._is_answering and (self.pipeline or self.cycle.response_started):
            self.transport.abort()
        else:
            self._tell(error)

    def _end_after_answers(self) -> None:
        """What came whole is answered, and nothing that follows."""
        self._is_last = True
        self.cycle.keep_alive = False

    def _tell(self, error: ProblemError) -> None:
        self._is_over = True
        if self._is_answering:  # a request whose body went wrong
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        problem = describe(error)
        client = self.client[0] if self.client else ""
        name = self.reporters.refused(problem.status, problem.code, problem.detail, client)
        body = problem.model_dump_json(exclude_none=True).encode()
        lines = [
            f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}",
            f"content-type: {PROBLEM_JSON}",
            f"content-length: {len(body)}",
            "connection: close",
            f"x-request-id: {name.decode()}",
            *([f"retry-after: {RETRY_AFTER_S}"] if problem.status == 503 else []),
            *(f"{name.decode()}: {value.decode()}" for name, value in (NO_GUESS, NO_STORE, NO_CONTENT)),
        ]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.write_eof()
        self._end_in(LINGER_S)

    def _close(self) -> None:
        self._is_over = True
        self.transport.close()
        self._end_in(LINGER_S)

    def _end_in(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self.transport.abort)


@lru_cache(TARGETS)
def _target(url: bytes) -> tuple[str, bytes, bytes]:
    """Path, path as it was sent, and query."""
    parsed = httptools.parse_url(url)
    raw_path = parsed.path
    return unquote(raw_path.decode("ascii")), raw_path, parsed.query or b""


def _head_too_large() -> HeadTooLarge:
    return HeadTooLarge(
        f"The request's head has more than {MAX_HEAD_BYTES:,} bytes or {MAX_HEADERS} headers.",
        hint="Send what is large in the body.",
    )


def connection_class(settings: Settings, reporters: Reporters) -> type[Connection]:
    """The class of one service's connections, with its limits, and who tells of what they refuse."""
    logging.getLogger("uvicorn.error").addFilter(lambda line: line.msg != TOLD_BETTER)
    own = {
        "idle": Patience(settings.keep_alive_s),
        "head_timeout_s": settings.head_timeout_s,
        "unread_timeout_s": settings.body_timeout_s,
        "limits": ConnectionLimits(settings),
        "refused": set(),
        "reporters": reporters,
    }
    return type("BoundedConnection", (Connection,), own)
