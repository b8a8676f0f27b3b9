"""A connection: requests come in and are answered one after the other, with bounds on what is sent and how long."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Scope
from typing_extensions import override
from uvicorn.protocols.utils import get_local_addr, get_remote_addr
from uvicorn.server import ServerState

from pullback_schemas.problems import Busy, HeadTimeout, ProblemError
from pullback_service.access.quotas import Header
from pullback_service.http.answer_head import written_head
from pullback_service.http.edge import NO_CONTENT, NO_GUESS, NO_STORE
from pullback_service.http.exchange import EXTENSIONS, Exchange
from pullback_service.http.limits import ConnectionLimits
from pullback_service.http.problems import problem_response
from pullback_service.http.requests import Arrived, Requests
from pullback_service.patience import Patience
from pullback_service.settings import Settings
from pullback_service.telemetry.reporters import Reporters

MAX_PIPELINED = 16
"""Requests that wait behind the one that is answered; the connection ends after them."""

MAX_REFUSED = 64
"""Refused connections that are told so at one time; others are just closed."""

LINGER_S = 1.0
"""How long the last answer may be read before a connection ends. To end at once could take it from the client."""

MAX_DISREGARDED = 2**20
"""What a client may send meanwhile."""

READ_BYTES = 2**17
"""At a time. Twice as many would save a tenth of a large request's time, and cost small ones beside it a third."""

ASGI = {"version": "3.0", "spec_version": "2.3"}


class Connection(asyncio.BufferedProtocol):
    """What uvicorn's server serves.

    A timer runs from the start, and whenever something came and no request is under way, until a head is complete.
    """

    idle: Patience
    """A timer a connection would cost more."""
    head_timeout_s: float
    unread_timeout_s: float
    limits: ConnectionLimits
    refused: set[Connection]
    reporters: Reporters
    arrived: memoryview
    """Where the loop puts what it reads, for all connections, since it is dealt with before the loop reads on."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.clogged: asyncio.Event | None = None
        self._app: ASGIApp = config.loaded_app
        self._server = server_state
        self._state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._requests = Requests(self._begin)
        self._waiting: list[tuple[Exchange, Scope]] = []
        self._answering: Exchange | None = None
        self._is_over = self._is_paused = False
        self._disregarded = 0
        self._counted_as: str | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None

    # What the loop tells of.

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        client = get_remote_addr(transport)
        self._client = client[0] if client else ""
        self._scope = {
            "type": "http",
            "asgi": ASGI,
            "scheme": "http",
            "server": get_local_addr(transport),
            "client": client,
            "root_path": "",
            "extensions": EXTENSIONS,
        }
        self._server.connections.add(self)  # type: ignore[arg-type]
        try:
            self._counted_as = self.limits.admit(self._client)
        except Busy as error:
            self._turn_away(error)
        else:
            self._start_timer()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._is_over = True
        self._stop_timer()
        self.idle.end(self)
        self.resume_writing()
        self._server.connections.discard(self)
        if self._counted_as is not None:
            self.limits.leave(self._counted_as)
        self.refused.discard(self)
        for exchange in (self._answering, self._requests.latest):
            if exchange is not None:
                exchange.leave()
        self._answering = None
        self._requests.end()

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        return self.arrived

    @override
    def buffer_updated(self, nbytes: int) -> None:
        if self._is_over or self.transport.is_closing() or (self._requests.are_over and not self._requests.is_in_body):
            self._disregard(nbytes)
            return
        self.idle.end(self)
        if nbytes == READ_BYTES:  # there is more, which the loop would read on and on
            self._give_way()
        try:
            self._requests.feed(self.arrived[:nbytes])
        except ProblemError as error:
            self._refuse(error)
        else:
            if self._answering is None:
                self._start_timer()

    @override
    def eof_received(self) -> None:
        """Half a connection gets no answers: it ends."""

    @override
    def pause_writing(self) -> None:
        self.clogged = asyncio.Event()
        self._unread = self._loop.call_later(self.unread_timeout_s, self.transport.abort)

    @override
    def resume_writing(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        if self.clogged is not None:
            self.clogged.set()
            self.clogged = None

    # What the server, the patience and exchanges tell of.

    def shutdown(self) -> None:
        """The service is about to end."""
        if self._answering is None:
            self.transport.close()
        elif self._requests.latest is not None:
            self._requests.latest.keeps_alive = False

    def on_overdue(self) -> None:
        """It was idle for too long."""
        self._close()

    def on_answered(self) -> None:
        """The answer is complete."""
        self._answering = None
        self._server.total_requests += 1
        if self.transport.is_closing():
            self._end_in(self.unread_timeout_s)
            return
        self.resume_reading()
        if self._waiting:
            self._start(*self._waiting.pop(0))
        else:
            self.idle.begin(self)
        if self._requests.is_in_head:  # of the next request, which began before this answer was complete
            self._start_timer()

    @property
    def usual_headers(self) -> list[Header]:
        """What every answer says."""
        return self._server.default_headers

    def pause_reading(self) -> None:
        """Let the client wait."""
        if not self._is_paused:
            self._is_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Do so no longer."""
        if self._is_paused:
            self._is_paused = False
            self._read_on()

    # Requests.

    def _begin(self, request: Arrived) -> Exchange:
        """A head is here: answer it, once those before it are answered."""
        self._stop_timer()
        exchange = Exchange(
            self,
            is_head=request.method == "HEAD",
            keeps_alive=request.keeps_alive,
            expects_to_continue=request.expects_to_continue,
        )
        scope = {
            **self._scope,
            "http_version": request.version,
            "method": request.method,
            "path": request.target.path,
            "raw_path": request.target.raw_path,
            "query_string": request.target.query,
            "headers": request.headers,
            "state": self._state.copy(),
        }
        if self._answering is None:
            self._start(exchange, scope)
        else:
            self.pause_reading()
            self._waiting.append((exchange, scope))
        if request.is_last or len(self._waiting) >= MAX_PIPELINED:
            self._end_after(exchange)
        return exchange

    def _start(self, exchange: Exchange, scope: Scope) -> None:
        self._answering = exchange
        tasks = self._server.tasks
        task = self._loop.create_task(exchange.run(self._app, scope))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def _give_way(self) -> None:
        """Let other connections have their turn."""
        if not self._is_paused:
            self.transport.pause_reading()
            self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if not self._is_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def _disregard(self, count: int) -> None:
        self._disregarded += count
        if self._is_over and self._disregarded > MAX_DISREGARDED:
            self.transport.abort()

    # Problems, and the end.

    def _give_up(self) -> None:
        self._timer = None
        if self._requests.has_begun:
            self._refuse(HeadTimeout(f"The request's head did not arrive within {self.head_timeout_s:g} s."))
        else:
            self._close()

    def _start_timer(self) -> None:
        if self._timer is None and not self.transport.is_closing():
            self._timer = self._loop.call_later(self.head_timeout_s, self._give_up)

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
        answering = self._answering
        if answering is None and self._requests.is_in_body:  # it has its answer
            self._close()
        elif answering is None:
            self._tell(error)
        elif not self._requests.is_in_body:
            self._end_after(self._requests.latest or answering)
        elif self._waiting or answering.has_begun:
            self.transport.abort()
        else:
            answering.leave()  # its body went wrong
            self._tell(error)

    def _end_after(self, exchange: Exchange) -> None:
        """It came last, and is answered, and nothing that follows."""
        self._requests.are_over = True
        exchange.keeps_alive = False

    def _tell(self, error: ProblemError) -> None:
        self._is_over = True
        name = self.reporters.refused(error.status, error.code, error.detail, self._client)
        response = problem_response(error)
        headers = [
            *response.raw_headers,
            (b"connection", b"close"),
            (b"x-request-id", name),
            *(NO_GUESS, NO_STORE, NO_CONTENT),
        ]
        self.transport.write(written_head(error.status, headers) + bytes(response.body))
        self.transport.write_eof()
        self._end_in(LINGER_S)

    def _close(self) -> None:
        self._is_over = True
        self.transport.close()
        self._end_in(LINGER_S)

    def _end_in(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self._loop.call_later(seconds, self.transport.abort)


def connection_class(settings: Settings, reporters: Reporters) -> type[asyncio.Protocol]:
    """The class of one service's connections, with its limits, and who tells of what they refuse."""
    own = {
        "idle": Patience(settings.keep_alive_s),
        "head_timeout_s": settings.head_timeout_s,
        "unread_timeout_s": settings.body_timeout_s,
        "limits": ConnectionLimits(settings),
        "refused": set(),
        "reporters": reporters,
        "arrived": memoryview(bytearray(READ_BYTES)),
    }
    return type("BoundedConnection", (Connection,), own)
