"""Both clients over HTTP: against a real service, and against servers that fail."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import numpy as np
import pytest

from pullback import AnswerError, AsyncClient, Client, NoAnswerError


class Failing(BaseHTTPRequestHandler):
    """Drops the first connection, is busy for the second, answers the third."""

    protocol_version = "HTTP/1.1"
    seen: list[dict[str, str]]

    def do_GET(self) -> None:
        self.seen.append(dict(self.headers.items()))
        if len(self.seen) == 1:
            self.close_connection = True
            return
        body = b'{"status":"ok"}' if len(self.seen) == 3 else b""
        self.send_response(200 if body else 429)
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not into the tests' output."""


@pytest.fixture
def failing() -> Iterator[tuple[str, list[dict[str, str]]]]:
    handler = type("Own", (Failing,), {"seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler.seen
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_lost_connection_and_a_busy_service_cost_the_caller_only_time(failing):
    url, seen = failing
    with Client(url, api_key="k") as client:
        assert client.health().status == "ok"
    assert len({headers["x-request-id"] for headers in seen}) == 1
    assert {headers["authorization"] for headers in seen} == {"Bearer k"}


def test_the_asynchronous_client_waits_likewise(failing):
    url, seen = failing

    async def main() -> str:
        async with AsyncClient(url) as client:
            return (await client.health()).status

    assert asyncio.run(main()) == "ok"
    assert len(seen) == 3


def test_many_calls_of_the_asynchronous_client_run_at_once(real_url):
    async def main() -> list[list[float]]:
        async with AsyncClient(real_url) as client:
            calls = [client.backward("y = (x * x).sum()", {"x": np.array([i, 1.0])}) for i in range(8)]
            return [answer.gradients["x"].tolist() for answer in await asyncio.gather(*calls)]

    assert asyncio.run(main()) == [[2.0 * i, 2.0] for i in range(8)]


def test_a_problem_is_an_error_for_both_clients(real_url):
    async def main() -> None:
        async with AsyncClient(real_url) as client:
            await client.forward("y = rleu(x)", {"x": [1]})

    with pytest.raises(AnswerError) as caught:
        asyncio.run(main())
    with Client(real_url) as client, pytest.raises(AnswerError) as told:
        client.forward("y = rleu(x)", {"x": [1]})
    assert caught.value.problem == told.value.problem


def test_no_service_is_no_answer():
    with (
        Client("http://127.0.0.1:1", max_retries=0) as nobody,
        pytest.raises(NoAnswerError, match="no answer from http://127"),
    ):
        nobody.ops()


def test_address_and_key_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("PULLBACK_BASE_URL", "http://elsewhere:1234")
    monkeypatch.setenv("PULLBACK_API_KEY", "hidden")
    with Client() as client:
        assert (client.options.base_url, client.options.api_key) == ("http://elsewhere:1234", "hidden")
        assert "hidden" not in repr(client)
    with Client("http://here", api_key="own") as client:
        assert (client.options.base_url, client.options.api_key) == ("http://here", "own")
    monkeypatch.delenv("PULLBACK_BASE_URL")
    with Client() as client:
        assert client.options.base_url == "http://127.0.0.1:8000"


def test_other_options_share_the_connections(failing):
    url, seen = failing
    with Client(url) as client, client.with_options(max_retries=0, headers={"x-team": "blue"}) as patient:
        assert client.options.max_retries == 2
        with pytest.raises(NoAnswerError):
            patient.health()
        assert client.health().status == "ok"
    assert [headers.get("x-team") for headers in seen] == ["blue", None, None]


def test_an_http_client_of_the_callers_own_stays_open(failing):
    url, _ = failing
    with httpx.Client(base_url=url, headers={"x-own": "1"}) as own:
        with Client(http_client=own) as client:
            assert client.options.base_url == url
            assert client.health().status == "ok"
        assert not own.is_closed


def test_connections_are_kept(real_url):
    with httpx.Client() as own, Client(real_url, http_client=own) as client:
        for _ in range(3):
            client.forward("y = x", {"x": [1]})
        assert len(own._transport._pool.connections) == 1
