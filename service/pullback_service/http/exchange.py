"""One request and its answer at a connection, as an ASGI application has them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import chain
from typing import Protocol

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Scope

from pullback_schemas.problems import ProblemError
from pullback_service.access.quotas import Header
from pullback_service.forms import Piece
from pullback_service.http.answer_head import written_head
from pullback_service.http.files import SentFile
from pullback_service.http.problems import problem_response, unforeseen
from pullback_service.workers.base import ends

START, BODY, SEND_FILE = "http.response.start", "http.response.body", "http.response.zerocopysend"
EXTENSIONS: dict[str, dict[object, object]] = {SEND_FILE: {}}
"""What the scope offers beyond the usual: a part of a file as a part of the body (an extension of ASGI's own)."""

JOINED_BYTES = 2**16
"""Up to here head and body go in one piece: each piece costs a packet, and wakes the client."""

HELD_BYTES = 2**16
"""Of a body, before the client has to wait for the application to ask for it."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
TOO_SLOW = 408
WITHOUT_BODY = (204, 304)

_EXCHANGE = "pullback.exchange"


class Line(Protocol):
    """What an exchange needs of its connection."""

    transport: asyncio.Transport
    clogged: asyncio.Event | None
    """Set when the client has read most of what was written, where it has not."""

    @property
    def usual_headers(self) -> list[Header]:
        """What every answer says."""

    def pause_reading(self) -> None:
        """Let the client wait."""

    def resume_reading(self) -> None:
        """Do so no longer."""

    def on_answered(self) -> None:
        """The answer is complete."""


class Exchange:
    """A request, of which the connection tells what comes, and which an application answers."""

    def __init__(self, line: Line, *, is_head: bool, keeps_alive: bool, expects_to_continue: bool) -> None:
        self.keeps_alive = keeps_alive
        """Whether the connection may go on after the answer."""
        self.has_body = False
        """Whether all of the body is here."""
        self.is_left = False
        """Whether nobody waits for the answer any more."""
        self.has_begun = False
        """Whether some of the answer was sent."""
        self.is_answered = False
        """Whether all of it was."""
        self._line = line
        self._is_head = is_head
        self._expects_to_continue = expects_to_continue
        self._pieces: list[bytes] = []
        self._held = 0
        self._is_taken = False
        self._sink: Callable[[Piece], None] | None = None
        self._failure: Exception | None = None
        self._news: asyncio.Event | None = None
        self._head: bytes | None = None
        self._left: int | None = None
        self._file: SentFile | None = None

    # What the connection tells of.

    def take(self, piece: Piece) -> None:
        """The next piece of the body; the caller may use its memory again."""
        if self.is_answered:
            return
        if self._sink is not None:
            try:
                self._sink(piece)
            except Exception as error:
                self._sink, self._failure = None, error
                self._tell()
            return
        self._pieces.append(bytes(piece))
        self._held += len(piece)
        if self._held > HELD_BYTES:
            self._line.pause_reading()
        self._tell()

    def end_body(self) -> None:
        """There is no more of it."""
        self.has_body = True
        self._tell()

    def leave(self) -> None:
        """The client has gone, or is not to be told more."""
        self.is_left = self.is_left or not self.is_answered
        self._tell()
        if self._file is not None:
            self._file.leave()

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()

    # What the application does.

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Have the application answer; one that fails to, ends the connection."""
        scope[_EXCHANGE] = self
        try:
            await app(scope, self.receive, self.send)
            if not self.is_answered and not self.is_left:
                raise RuntimeError("the application has not answered")
        except Exception as error:
            await self._fail(unforeseen(error))
        except asyncio.CancelledError:
            await self._fail(ends())
            raise

    async def _fail(self, error: ProblemError) -> None:
        if self._has_ended:
            return
        if self.has_begun:
            self.abort()
            return
        response = problem_response(error)
        self._head, self.keeps_alive = None, False
        await self.send({"type": START, "status": error.status, "headers": response.raw_headers})
        await self.send({"type": BODY, "body": response.body})

    def abort(self) -> None:
        """End the connection without waiting for the client."""
        self.leave()
        self._line.transport.abort()

    async def receive(self) -> Message:
        """What comes next: as much of the body as is here, or that the client has gone."""
        self._let_continue()
        while not (self._has_ended or self._pieces or self.has_body > self._is_taken):
            await self._something()
        if self._has_ended:
            return {"type": "http.disconnect"}
        self._is_taken = self.has_body
        return {"type": "http.request", "body": self._pour_out(), "more_body": not self.has_body}

    async def pour(self, sink: Callable[[Piece], None]) -> None:
        """Give the rest of the body away, each piece as it comes. Raises ClientDisconnect, and what `sink` raises."""
        self._let_continue()
        sink(self._pour_out())
        self._sink = sink
        try:
            while not (self._has_ended or self.has_body or self._failure):
                await self._something()
        finally:
            self._sink = None
        if self._failure is not None:
            raise self._failure
        if self._has_ended:
            raise ClientDisconnect
        self._is_taken = True

    @property
    def _has_ended(self) -> bool:
        return self.is_left or self.is_answered

    def _pour_out(self) -> bytes:
        body = b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        return body

    async def _something(self) -> None:
        """Return when there is something new."""
        self._line.resume_reading()
        if self._news is None:
            self._news = asyncio.Event()
        self._news.clear()
        await self._news.wait()

    def _let_continue(self) -> None:
        if self._expects_to_continue and not self._has_ended and not self._line.transport.is_closing():
            self._line.transport.write(CONTINUE)
        self._expects_to_continue = False

    async def send(self, message: Message) -> None:
        """A part of the answer. The head waits for the first bytes of the body, and goes with them."""
        if self._line.clogged is not None:
            await self._line.clogged.wait()
        if self.is_left:
            return
        kind = message["type"]
        if (kind == START) is (self._head is not None or self.has_begun) or self.is_answered:
            raise RuntimeError(f"a message of type {kind} comes at the wrong time")
        if kind == START:
            self._start(message)
            return
        if kind == BODY:
            self._write(message.get("body", b""), is_last=not message.get("more_body", False))
        elif kind == SEND_FILE:
            await self._send_file(message["file"], message["offset"], message["count"])
        else:
            raise RuntimeError(f"messages of type {kind} are not known")
        if not self.is_left and not message.get("more_body", False):
            self._finish()

    def _start(self, message: Message) -> None:
        status, headers, left = message["status"], [], None
        for name, value in chain(self._line.usual_headers, message.get("headers", ())):
            name = name.lower()
            if name == b"content-length":
                left = int(value)
            elif name == b"connection" and value.lower() == b"close":
                self.keeps_alive = False
                continue
            headers.append((name, value))
        if status == TOO_SLOW or (self._expects_to_continue and not self.has_body):
            self.keeps_alive = False  # the client may send the body or not: nobody knows what comes next
        if not self.keeps_alive:
            headers.append((b"connection", b"close"))
        if self._is_head or status in WITHOUT_BODY:
            left = 0
        elif left is None:
            headers.append((b"transfer-encoding", b"chunked"))
        self._head = written_head(status, headers)
        self._left = left
        self._expects_to_continue = False

    def _write(self, body: Piece, *, is_last: bool) -> None:
        head = self._begin_answer()
        if self._is_head:
            body = b""
        elif self._left is None:
            chunk = b"%x\r\n%b\r\n" % (len(body), bytes(body)) if body else b""
            body = chunk + b"0\r\n\r\n" if is_last else chunk
        else:
            self._count(len(body))
        if head and len(body) > JOINED_BYTES:
            self._line.transport.write(head)
            head = b""
        self._line.transport.write(head + body if head else body)

    def _begin_answer(self) -> bytes:
        """The head, if it has not gone yet."""
        head, self._head = self._head or b"", None
        self.has_begun = True
        return head

    def _count(self, size: int) -> None:
        if self._left is None:
            raise RuntimeError("a file goes behind a content-length")
        if size > self._left:
            raise RuntimeError("the body is longer than its head says")
        self._left -= size

    async def _send_file(self, file: int, offset: int, count: int) -> None:
        if self._is_head:
            self._write(b"", is_last=True)
            return
        self._count(count)
        self._file = SentFile(self._line.transport, self._begin_answer(), file, offset, count)
        try:
            if not await self._file.send():
                self.abort()
        finally:
            self._file = None

    def _finish(self) -> None:
        if self._left:
            raise RuntimeError("the body is shorter than its head says")
        self.is_answered = True
        self._pieces.clear()  # nobody wants them now
        self._tell()
        if not self.keeps_alive:
            self._line.transport.close()
        self._line.on_answered()


def exchange_of(scope: Scope) -> Exchange | None:
    """The exchange behind a request, where it came over a connection of ours."""
    found: Exchange | None = scope.get(_EXCHANGE)
    return found
