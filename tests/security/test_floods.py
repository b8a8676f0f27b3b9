"""Clients that are slow, many, or send without end: they are given up, and others are answered meanwhile."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.security.raw import BODY, CHUNKED, HOST, LAST, LENGTH, LIVE, POST, connect, exchange, read, square

CHANGED_IN_S = 30
STRANGER, OTHER = "127.0.0.2", "127.0.0.3"
"""Addresses of this machine that are no trusted proxy's."""


def admitted(url: str, source: str = "127.0.0.1") -> bool:
    """Whether a new client is answered; otherwise it is told that there are too many."""
    with connect(url, source) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(LAST)
        answers = read(connection)
        if answers and answers[0].status == 200:
            return True
        assert not answers or answers[0].body["code"] == "busy"
    return False


def await_room(url: str) -> None:
    bound = time.monotonic() + CHANGED_IN_S
    while not admitted(url):
        assert time.monotonic() < bound, "whoever was first keeps the service to itself"


def assert_answered(connection: socket.socket) -> None:
    connection.sendall(LIVE)
    came = b""
    while not came.endswith(b'{"status":"ok"}'):
        piece = connection.recv(2**16)
        assert piece, came
        came += piece


# Slow clients


@pytest.fixture(scope="module")
def hasty_url(start_service: Callable[..., Any], stop_service: Callable[..., int]) -> Iterator[str]:
    """A service that waits for nobody."""
    process, url = start_service(WORKERS="1", HEAD_TIMEOUT_S="2", BODY_TIMEOUT_S="1")
    yield url
    assert stop_service(process) == 0


SLOW = {
    "a first line": (b"", b"a", "not_http|head_timeout"),
    "a head": (LIVE[:-2] + b"x: ", b"a", "head_timeout"),
    "headers": (LIVE[:-2], b"a: b\r\n", "head_timeout"),
    "a second head": (LIVE + LIVE[:-2] + b"x: ", b"a", "head_timeout"),
    "a body": (POST + HOST + b"content-length: 100000\r\n\r\n", b" ", "body_timeout"),
    "chunks": (POST + HOST + CHUNKED + b"\r\n", b"1\r\n \r\n", "body_timeout"),
    "an extension": (POST + HOST + CHUNKED + b"\r\n1;", b"a", "body_timeout"),
    "trailers": (POST + HOST + CHUNKED + b"\r\n2\r\n{}\r\n0\r\n", b"a: b\r\n", "body_timeout"),
}


@pytest.mark.parametrize(("start", "drip", "code"), SLOW.values(), ids=SLOW)
def test_a_client_that_sends_drop_by_drop_is_given_up(hasty_url, start, drip, code):
    bound = time.monotonic() + CHANGED_IN_S
    with connect(hasty_url) as connection:
        connection.sendall(start)
        connection.settimeout(0.02)
        came = None
        while came is None or not re.search(rb'"code":"\w+"', came):
            assert time.monotonic() < bound
            with contextlib.suppress(TimeoutError):
                piece = connection.recv(2**16)
                assert piece, "the connection ended without a word"
                came = (came or b"") + piece
            connection.sendall(drip)
    assert re.search(rb'"code":"(\w+)"', came)[1].decode() in code.split("|")
    square(hasty_url)


def test_a_body_that_nobody_wants_may_not_drip_for_ever(own_service):
    _, url = own_service(HEAD_TIMEOUT_S="2", MAX_CONNECTIONS="1")
    with connect(url) as connection:
        connection.sendall(LIVE.replace(b"\r\n\r\n", b"\r\ncontent-length: 100000\r\n\r\n"))
        connection.settimeout(0.02)
        bound = time.monotonic() + CHANGED_IN_S
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < bound:
                with contextlib.suppress(TimeoutError):
                    if not connection.recv(2**16):
                        break
                connection.sendall(b" ")
            else:
                pytest.fail("it is still listened to")
    await_room(url)


LARGE = b'{"graph": "y = full([12500], 0.123456789012345678, dtype=\'float64\') * x", "inputs": {"x": 1.0}}'
LARGE_ANSWER = POST.replace(b"backward", b"forward") + HOST + b"content-length: %d\r\n\r\n" % len(LARGE) + LARGE
"""Its answer has some 250 kB."""


@pytest.mark.parametrize("end", [b"", LAST, b"NONSENSE\r\n\r\n"], ids=["stays", "wants to end", "is refused"])
def test_a_client_that_reads_no_answer_is_given_up(own_service, end):
    """It holds the only place that there is."""
    _, url = own_service(BODY_TIMEOUT_S="0.5", KEEP_ALIVE_S="1", MAX_CONNECTIONS="1")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        connection.sendall(LARGE_ANSWER * 15 + end)
        await_room(url)


HUGE = b'{"graph": "y = ones([2000000], dtype=\'float64\') * x", "inputs": {"x": 1.0}}'
HUGE_ANSWER = POST.replace(b"backward", b"forward") + HOST + b"content-length: %d\r\n\r\n" % len(HUGE) + HUGE


def test_an_answer_that_is_being_sent_ends_with_its_connection(own_service):
    """Long before it would be given up for not being read."""
    _, url = own_service(BODY_TIMEOUT_S="300")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        connection.sendall(HUGE_ANSWER)
        assert connection.recv(12) == b"HTTP/1.1 200"
        assert "\npullback_requests_in_progress 2.0\n" in httpx.get(f"{url}/metrics").text
        connection.shutdown(socket.SHUT_WR)
        bound = time.monotonic() + 30
        while "\npullback_requests_in_progress 1.0\n" not in httpx.get(f"{url}/metrics").text:  # but for this one
            assert time.monotonic() < bound


# Many connections


def test_hundreds_of_idle_connections_keep_nobody_out_and_end_by_themselves(hasty_url):
    with ExitStack() as stack:
        idle = [stack.enter_context(connect(hasty_url, STRANGER)) for _ in range(400)]
        square(hasty_url)
        assert [read(connection) for connection in idle] == [[]] * 400


def test_a_connection_that_asks_nothing_more_ends_by_itself(own_service):
    _, url = own_service(KEEP_ALIVE_S="1")
    (answer,) = exchange(url, LIVE)
    assert answer.status == 200


def test_connections_beyond_the_bound_are_told_so_and_ended(own_service):
    _, url = own_service(MAX_CONNECTIONS="20", TRUSTED_PROXIES="none")
    with ExitStack() as stack:
        held = [stack.enter_context(connect(url)) for _ in range(20)]
        for connection in held:
            assert_answered(connection)
        (refusal,) = exchange(url, b"")
        assert (refusal.status, refusal.body["code"], refusal.body["expected"]) == (503, "busy", 20)
        assert refusal.headers["retry-after"]
        assert refusal.headers["connection"] == "close"
        assert refusal.body["hint"]
        (refusal,) = exchange(url, POST + HOST + LENGTH + b"\r\n" + BODY)
        assert refusal.status == 503
        assert_answered(held[0])
    await_room(url)


def test_a_flood_of_connections_beyond_the_bound_is_ended_and_whoever_is_in_is_answered(own_service):
    _, url = own_service(MAX_CONNECTIONS="2", TRUSTED_PROXIES="none")
    with connect(url) as inside, connect(url), ExitStack() as stack:
        assert_answered(inside)
        flood = [stack.enter_context(connect(url)) for _ in range(300)]
        told = [read(connection) for connection in flood]
        assert {answer.status for answers in told for answer in answers} == {503}
        assert_answered(inside)
    await_room(url)


def test_one_address_may_not_take_all_places_and_a_trusted_proxy_may(own_service):
    _, url = own_service(MAX_CONNECTIONS_PER_CLIENT="3")
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(connect(url, STRANGER)).sendall(LIVE[:5])
        for _ in range(10):
            stack.enter_context(connect(url)).sendall(LIVE[:5])
        assert not admitted(url, STRANGER)
        assert admitted(url, OTHER)
        assert admitted(url)
    bound = time.monotonic() + CHANGED_IN_S
    while not admitted(url, STRANGER):
        assert time.monotonic() < bound


# Without end


def peak_bytes(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


@pytest.mark.parametrize("request_sent", [LIVE, b"POST /v1/forward HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"])
def test_requests_without_end_that_wait_for_no_answer_take_no_memory(own_service, request_sent):
    pid, url = own_service(BODY_TIMEOUT_S="1")
    square(url)
    before = peak_bytes(pid)
    with connect(url) as connection:
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                connection.sendall(request_sent * 5000)
        assert len(read(connection)) < 20
    square(url)
    assert peak_bytes(pid) - before < 64 * 2**20


def test_a_body_behind_an_answer_that_nobody_reads_takes_no_memory(own_service):
    pid, url = own_service()
    square(url)
    before = peak_bytes(pid)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        connection.sendall(HUGE_ANSWER + POST + HOST + b"content-length: %d\r\n\r\n" % 2**27)
        connection.settimeout(1)
        with pytest.raises(TimeoutError):
            connection.sendall(bytes(2**27))
    square(url)
    assert peak_bytes(pid) - before < 32 * 2**20


def head_of(size: int) -> bytes:
    first = LAST[:-2]
    return first + b"x: " + b"a" * (size - len(first) - 7) + b"\r\n\r\n"


def test_a_head_of_nearly_64_kib_is_taken_and_a_larger_one_is_not(real_url):
    assert exchange(real_url, head_of(2**16 - 100))[0].status == 200
    for size in (2**16 + 100, 2**17):
        (refusal,) = exchange(real_url, head_of(size))
        assert (refusal.status, refusal.body["code"]) == (431, "head_too_large")


def test_a_head_of_many_headers_is_refused_however_short_they_are(real_url):
    assert exchange(real_url, LAST[:-2] + b"a:\r\n" * 200 + b"\r\n")[0].status == 200
    (refusal,) = exchange(real_url, LAST[:-2] + b"a:\r\n" * 300 + b"\r\n")
    assert (refusal.status, refusal.body["code"]) == (431, "head_too_large")


def test_an_address_of_64_kib_is_refused(real_url):
    (refusal,) = exchange(real_url, LAST.replace(b"/health", b"/" + b"a" * 2**16))
    assert (refusal.status, refusal.body["code"]) == (431, "head_too_large")
