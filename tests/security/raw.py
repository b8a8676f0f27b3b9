"""Bytes to the service as they are written here, and the answers that come back, whole."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx

ANSWERED_IN_S = 30

REQUEST = {"graph": "y = x * x", "inputs": {"x": [3.0]}, "grad_tensors": {"y": [1.0]}}
BODY = json.dumps(REQUEST).encode()
POST = b"POST /v1/backward HTTP/1.1\r\n"
HOST = b"host: x\r\n"
LENGTH = b"content-length: %d\r\n" % len(BODY)
CHUNKED = b"transfer-encoding: chunked\r\n"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
LIVE = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"
LAST = b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
SMUGGLED = b"GET /v1/ops/smuggled HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
"""A request that nobody sent, if the bytes before it are read as they were meant."""


class Answer(NamedTuple):
    """One answer; `body` is parsed where it is JSON."""

    status: int
    headers: dict[str, str]
    body: Any


@contextmanager
def connect(url: str, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    parts = httpx.URL(url)
    address = (parts.host, parts.port or 80)
    with socket.create_connection(address, ANSWERED_IN_S, source_address=(source, 0)) as connection:
        yield connection


def read(connection: socket.socket) -> list[Answer]:
    """Every answer until the service ends the connection; fails where it does not."""
    came = b""
    try:
        while piece := connection.recv(2**16):
            came += piece
    except ConnectionError:
        pass  # so it ended, too
    return list(_answers(came))


def exchange(url: str, sent: bytes) -> list[Answer]:
    """What the service answers on a connection of its own until it ends it."""
    with connect(url) as connection:
        connection.sendall(sent)
        return read(connection)


def _answers(came: bytes) -> Iterator[Answer]:
    while came:
        head, _, came = came.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = int(headers.get("content-length", 0))
        body, came = came[:length], came[length:]
        assert len(body) == length, "an answer is cut off"
        yield Answer(int(first.split()[1]), headers, json.loads(body) if body else None)


def square(url: str) -> None:
    """The next client gets the right answer."""
    answer = httpx.post(f"{url}/v1/backward", json=REQUEST, timeout=ANSWERED_IN_S)
    assert answer.status_code == 200, answer.text
    assert answer.json()["gradients"]["x"]["data"] == [6.0]
