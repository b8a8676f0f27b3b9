"""What a request leaves behind: nothing that only the collector of circles would find, late."""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import closing
from http.client import HTTPConnection
from threading import Thread

import pytest
import uvicorn
from tests.security.raw import BODY

from pullback_service.app import create_app
from pullback_service.http.connection import Connection, connection_class
from pullback_service.http.exchange import Exchange
from pullback_service.settings import Settings

CHANGED_IN_S = 30


@pytest.fixture
def port():
    """The port of a service all of which is in this process."""
    settings = Settings(worker_kind="inline")
    app = create_app(settings)
    config = uvicorn.Config(app, port=0, http=connection_class(settings, app.reporters), ws="none", log_config=None)
    server = uvicorn.Server(config)
    thread = Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive()
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.fixture
def uncollected():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def ask(connection: HTTPConnection, path: str, body: bytes, times: int) -> int:
    """The last status."""
    for _ in range(times):
        connection.request("POST", path, body)
        answer = connection.getresponse()
        answer.read()
    return answer.status


@pytest.mark.parametrize("size", [len(BODY), 2**19], ids=["small", "large"])
def test_answered_requests_leave_no_circles(port, size):
    body = BODY + b" " * (size - len(BODY))
    with closing(HTTPConnection("127.0.0.1", port)) as connection:
        assert ask(connection, "/v1/backward", body, times=20) == 200
        gc.collect()
        gc.disable()
        try:
            assert ask(connection, "/v1/backward", body, times=50) == 200
            assert gc.collect() < 50
        finally:
            gc.enable()


@pytest.mark.parametrize(("path", "status"), [("/v1/backward", 200), ("/nothing", 404)])
def test_connections_that_have_ended_are_gone(port, path, status, uncollected):
    for _ in range(50):
        with closing(HTTPConnection("127.0.0.1", port)) as connection:
            assert ask(connection, path, BODY, times=1) == status
    bound = time.monotonic() + CHANGED_IN_S
    while sum(issubclass(type(found), Connection | Exchange) for found in gc.get_objects()) > 4:
        assert time.monotonic() < bound
