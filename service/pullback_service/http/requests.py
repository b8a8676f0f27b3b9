"""Requests in the bytes of a connection: heads, within bounds, and bodies."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

import httptools

from pullback_schemas.problems import HeadTooLarge, NotHttp, ProblemError
from pullback_service.access.quotas import Header
from pullback_service.http import framing
from pullback_service.http.exchange import Exchange
from pullback_service.http.problems import unforeseen

MAX_HEAD_BYTES = 2**16
MAX_HEADERS = 256
TARGETS = 64
"""Addresses that are remembered in their parts."""

PLAIN_BYTES = 2**16
"""What is missing of a body of known length, from here on, need not pass the parser, which copies it."""


class Target(NamedTuple):
    """What is asked for: path, path as it was sent, and query."""

    path: str
    raw_path: bytes
    query: bytes


class Arrived(NamedTuple):
    """A request whose head is whole."""

    method: str
    version: str
    target: Target
    headers: list[Header]
    keeps_alive: bool
    expects_to_continue: bool
    is_last: bool
    """Whether what follows is none of ours to read."""


class Requests:
    """Reads them one after the other, and tells each one's exchange of its body."""

    def __init__(self, begin: Callable[[Arrived], Exchange]) -> None:
        self.is_in_head = True
        """Whether a head is on its way; so it is at first, when nothing has come."""
        self.are_over = False
        """Whether another one is one too many."""
        self.latest: Exchange | None = None
        """What was begun last."""
        self._begin = begin
        self._missing = 0
        """Bytes of the body, where the head told them."""
        self._is_plain = False
        """Whether nothing but the body comes next."""
        self._begun = self._head_bytes = self._trailer_bytes = self._fed = 0
        self._new_parser()

    def _new_parser(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)  # what is behind, `are_over` tells

    @property
    def has_begun(self) -> bool:
        """Whether something of a head is here, and not all."""
        return self.is_in_head and self._begun > 0

    @property
    def is_in_body(self) -> bool:
        """Whether the latest one has not come whole."""
        return self.latest is not None and not self.latest.has_body

    def end(self) -> None:
        """Nothing more comes. What refers to the connection would be a circle."""
        del self._parser, self._begin
        self.latest = None

    def feed(self, data: memoryview) -> None:
        """Read what came, whose memory may be used again. Raises NotHttp or HeadTooLarge."""
        if self._is_plain:
            data = self._pass_by(data)
            if not data:
                return
        begun = self._begun
        self._fed = self._fed + len(data) if self.is_in_head else len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            raise _told(error) from None
        if not self.is_in_head:
            self._is_plain = self._missing >= PLAIN_BYTES
        elif self._begun == begun:  # all of it belongs to a head that began before
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                raise _head_too_large()

    def _pass_by(self, data: memoryview) -> memoryview:
        """Give the exchange what is of its body; the rest."""
        assert self.latest is not None
        body, rest = data[: self._missing], data[self._missing :]
        self._missing -= len(body)
        self.latest.take(body)
        if not self._missing:
            self._is_plain = False
            self._new_parser()
            self.on_message_complete()
        return rest

    # What the parser tells of.

    def on_message_begin(self) -> None:
        """The next request."""
        if self.are_over:
            raise NotHttp("More requests came at once than are answered.")
        self.is_in_head = True
        self._begun += 1
        self._head_bytes = self._trailer_bytes = self._missing = 0
        self._url = b""
        self._headers: list[Header] = []
        self._decisive: list[Header] = []

    def on_url(self, url: bytes) -> None:
        """A part of its address."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a line behind a body in pieces, which nobody reads."""
        if self.is_in_head:
            header = (name.lower(), value)
            self._headers.append(header)
            if header[0] in framing.DECISIVE:
                self._decisive.append(header)
            elif header[0] == b"content-length":
                self._missing = int(value)
            return
        self._trailer_bytes += len(name) + len(value)
        if self._trailer_bytes > MAX_HEAD_BYTES:
            raise _head_too_large()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        version = self._parser.get_http_version()
        framing.check(version, self._decisive)
        if len(self._headers) > MAX_HEADERS or (self._fed > MAX_HEAD_BYTES and self._head_size() > MAX_HEAD_BYTES):
            raise _head_too_large()
        upgrades = self._parser.should_upgrade()
        if upgrades and any(name in framing.OF_BODY for name, _ in self._headers):
            raise NotHttp("A request with a body asks for another protocol.", hint="Speak HTTP/1.1 alone.")
        self.is_in_head = False
        self.latest = self._begin(
            Arrived(
                self._parser.get_method().decode(),
                version,
                _target(self._url),
                self._headers,
                version != "1.0" and self._parser.should_keep_alive(),
                len(self._decisive) > 1 and framing.expects_to_continue(self._decisive),
                upgrades,
            )
        )

    def on_body(self, body: bytes) -> None:
        """A piece of its body."""
        assert self.latest is not None
        self._missing -= len(body)
        self.latest.take(body)

    def on_message_complete(self) -> None:
        """Its body is whole."""
        assert self.latest is not None
        self.latest.end_body()

    def _head_size(self) -> int:
        return len(self._url) + sum(len(name) + len(value) for name, value in self._headers)


@lru_cache(TARGETS)
def _target(url: bytes) -> Target:
    try:
        parsed = httptools.parse_url(url)
        raw_path = parsed.path or b""
        return Target(unquote(raw_path.decode("ascii")), raw_path, parsed.query or b"")
    except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
        raise NotHttp("The request's address is none.", got=url[:64].decode("latin-1")) from None


def _told(error: httptools.HttpParserError) -> ProblemError:
    """What the parser makes of an exception: its own, or one of the methods above."""
    if not isinstance(error, httptools.HttpParserCallbackError):
        return NotHttp(f"The request is not HTTP/1.1: {error}.")
    cause = error.__context__
    return cause if isinstance(cause, ProblemError) else unforeseen(cause or error)


def _head_too_large() -> HeadTooLarge:
    return HeadTooLarge(
        f"The request's head has more than {MAX_HEAD_BYTES:,} bytes or {MAX_HEADERS} headers.",
        hint="Send what is large in the body.",
    )
