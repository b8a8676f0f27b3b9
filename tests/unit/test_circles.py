"""What a request leaves behind: nothing that only the collector of circles would find, late."""

from __future__ import annotations

import asyncio
import gc
from http.client import HTTPConnection
from threading import Thread

import pytest
import uvicorn
from tests.security.raw import BODY

from pullback_service.app import create_app
from pullback_service.http.connection import connection_class
from pullback_service.settings import Settings


@pytest.fixture
def connection():
    """A connection to the service, all of which is in this process."""
    settings = Settings(worker_kind="inline")
    app = create_app(settings)
    config = uvicorn.Config(app, port=0, http=connection_class(settings, app.reporters), ws="none", log_config=None)
    server = uvicorn.Server(config)
    thread = Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive()
    port = server.servers[0].sockets[0].getsockname()[1]
    connection = HTTPConnection("127.0.0.1", port)
    yield connection
    connection.close()
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("size", [len(BODY), 2**19], ids=["small", "large"])
def test_answered_requests_leave_no_circles(connection, size):
    body = BODY + b" " * (size - len(BODY))

    def ask(times: int) -> None:
        for _ in range(times):
            connection.request("POST", "/v1/backward", body)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200

    ask(20)
    gc.collect()
    gc.disable()
    try:
        ask(50)
        assert gc.collect() < 50
    finally:
        gc.enable()
