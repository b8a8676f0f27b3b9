"""Clients that cost next to nothing, since they share the cores with the servers.

Many small requests: one event loop, a keep-alive connection a client, one request of prebuilt bytes at a time, answers
told apart by content-length. Large bodies: a blocking socket that sends in one piece and receives into one buffer.
"""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import cast

import uvloop

from pullback_bench.forms import Exchange

HEALTH = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"
HEALTH_EVERY_S = 0.02
BOUND_S = 120
"""No single answer may take longer."""


class Unanswered(Exception):
    """A server refused, broke off, or gave a wrong answer."""


@dataclass
class Tally:
    """What came of a turn: the seconds of each answer and of all, and the body of the last one."""

    seconds: list[float] = field(default_factory=list)
    passed_s: float = 0
    last: bytes = b""

    def centile(self, share: float) -> float:
        """Seconds that this share of the answers did not take longer than."""
        return sorted(self.seconds)[min(len(self.seconds) - 1, int(share * len(self.seconds)))]


class _Client(asyncio.Protocol):
    """Sends again as soon as it is answered, or after a pause, until the turn ends."""

    def __init__(self, raw: bytes, tally: Tally, pause_s: float = 0) -> None:
        self._raw, self._tally, self._pause_s = raw, tally, pause_s
        self._received = b""
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        data = self._received = self._received + data
        head, size = _measure(data)
        if size < 0 or len(data) < head + size:
            return
        now = perf_counter()
        self._tally.seconds.append(now - self._sent)
        self._received = b""
        if not data.startswith(b"HTTP/1.1 200"):
            self._finish(Unanswered(_told(data)))
        elif now < self._end:
            self._loop.call_later(self._pause_s, self._send) if self._pause_s else self._send()
        else:
            self._tally.last = data[head:]
            self._finish(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(Unanswered(f"it broke the connection off ({exc})"))

    def start(self, end: float) -> None:
        """Send until `end`, and an answer more."""
        self._end = end
        self._send()

    def _send(self) -> None:
        self._sent = perf_counter()
        self._transport.write(self._raw)

    def _finish(self, failure: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None) if failure is None else self.done.set_exception(failure)
            self._transport.close()


def _measure(data: bytes) -> tuple[int, int]:
    """Where the head ends and how long the body is; -1 while that is not known."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return 0, -1
    head = data[:end].lower() + b"\r"
    at = head.find(b"\r\ncontent-length:") + 17
    if at < 17:
        raise Unanswered("its answers have no content-length")
    return end + 4, int(head[at : head.index(b"\r", at)])


def _told(answer: bytes) -> str:
    return f"it answers {answer[9:400].decode(errors='replace').splitlines()[0]}"


def drive(port: int, raw: bytes, *, clients: int, seconds: float, health: Tally | None = None) -> Tally:
    """So many clients, each sending the same request again and again; `health` is asked for meanwhile."""

    async def run() -> Tally:
        tally = Tally()
        asked = [_Client(raw, tally) for _ in range(clients)]
        asked += [] if health is None else [_Client(HEALTH, health, HEALTH_EVERY_S)]
        loop = asyncio.get_running_loop()
        for client in asked:
            await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
        start = perf_counter()
        for client in asked:
            client.start(start + seconds)
        async with asyncio.timeout(BOUND_S):
            await asyncio.gather(*(client.done for client in asked))
        tally.passed_s = perf_counter() - start
        return tally

    try:
        with _no_collections():
            return uvloop.run(run())
    except OSError as error:
        raise Unanswered(f"it cannot be reached, or took longer than {BOUND_S} s ({error})") from error


def require_right(exchange: Exchange, answer: bytes) -> None:
    """Raise if the answer is wrong."""
    if not exchange.is_right(answer):
        raise Unanswered("its answer is wrong")


@contextmanager
def _no_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Connection:
    """A blocking connection for large bodies; its buffer is kept from answer to answer."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=BOUND_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(2**16)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def exchange(self, raw: bytes) -> memoryview:
        """The body of the answer, until the next exchange."""
        try:
            self._socket.sendall(raw)
            return self._receive()
        except OSError as error:
            raise Unanswered(f"it broke the connection off ({error})") from error

    def _receive(self) -> memoryview:
        filled, head, size = 0, 0, -1
        while size < 0 or filled < head + size:
            view = memoryview(self._buffer)[filled:]
            count = self._socket.recv_into(view)
            view.release()
            filled += count
            if not count:
                raise ConnectionError("no more bytes")
            if size < 0:
                head, size = _measure(bytes(self._buffer[:filled]))
                if head + size > len(self._buffer):
                    self._buffer = self._buffer.ljust(head + size, b"\0")
        if not self._buffer.startswith(b"HTTP/1.1 200"):
            raise Unanswered(_told(bytes(self._buffer[:filled])))
        return memoryview(self._buffer)[head : head + size]
