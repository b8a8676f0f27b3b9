"""The doors that tests go through: the service in process, and as a real process on a real socket."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import torch
from anyio.from_thread import BlockingPortal, start_blocking_portal

from pullback_service.app import create_app
from pullback_service.settings import Settings

STARTED_IN_S = 120

Post = Callable[..., httpx.Response]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """As many threads as a worker has: some kernels sum in another order on more.

    And einsum contracts in the order that is written, as its operator does, even where opt_einsum is installed.
    """
    torch.set_num_threads(1)
    torch.backends.opt_einsum.enabled = False


class PortalTransport(httpx.BaseTransport):
    """A synchronous transport onto an ASGI application that runs in a thread of its own."""

    def __init__(self, app: Any, portal: BlockingPortal) -> None:
        self._inner = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._portal = portal

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._portal.call(self._handle, request)

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        stream = httpx.ByteStream(request.read())
        sent = httpx.Request(request.method, request.url, headers=request.headers, stream=stream)
        response = await self._inner.handle_async_request(sent)
        content = await response.aread()
        return httpx.Response(response.status_code, headers=response.headers, content=content)


def in_process(settings: Settings) -> Iterator[httpx.Client]:
    """A client of the service in this process, its lifespan run."""
    app = create_app(settings)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(app.router.lifespan_context(app)),
        httpx.Client(transport=PortalTransport(app, portal), base_url="http://service") as client,
    ):
        yield client


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--worker-kind", default="inline", choices=["inline", "processes"], help="where the fixture `service` computes"
    )
    parser.addoption(
        "--url", help="a service that is up, for the tests of what is printed, in place of one of their own"
    )


@pytest.fixture(scope="session")
def service(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """The service in process, with the default limits and, unless told otherwise, an inline worker."""
    yield from in_process(Settings(worker_kind=request.config.getoption("--worker-kind")))


@pytest.fixture(scope="session")
def post(service: httpx.Client) -> Post:
    """`post("backward", graph=..., inputs=...)`: the response of `POST /v1/backward`."""

    def call(operation: str, **body: Any) -> httpx.Response:
        return service.post(f"/v1/{operation}", json=body)

    return call


@pytest.fixture(scope="session")
def answer(post: Post) -> Callable[..., Any]:
    """As `post`, but the parsed answer of a request that must succeed."""

    def call(operation: str, **body: Any) -> Any:
        response = post(operation, **body)
        assert response.status_code == 200, response.text
        return response.json()

    return call


def _start(**settings: str) -> tuple[subprocess.Popen[str], str]:
    """The real service as a process on a free port, and its base URL once it takes requests."""
    env = {**os.environ, "PULLBACK_PORT": "0", **{f"PULLBACK_{name}": value for name, value in settings.items()}}
    process = subprocess.Popen(
        [sys.executable, "-m", "pullback_service"],
        env=env,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    watchdog = threading.Timer(STARTED_IN_S, process.kill)
    watchdog.start()
    try:
        url = _announced_url(process)
        while httpx.get(f"{url}/health/ready").status_code != 200:
            assert process.poll() is None, "the service ended before it was ready"
    finally:
        watchdog.cancel()
    return process, url


def _announced_url(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        found = re.search(r"running on (http://[^ ]+)", line)
        if found:
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return found[1]
    raise AssertionError("the service ended before it was ready")


def _stop(process: subprocess.Popen[str]) -> int:
    """Ask the service to stop; its exit status."""
    process.terminate()
    status = process.wait(timeout=30)
    assert process.stderr is not None
    process.stderr.close()
    return status


@pytest.fixture(scope="session")
def start_service() -> Callable[..., tuple[subprocess.Popen[str], str]]:
    """`start_service(WORKERS="1")`: a real service with these settings, and its URL."""
    return _start


@pytest.fixture(scope="session")
def stop_service() -> Callable[[subprocess.Popen[str]], int]:
    """Stop what `start_service` started."""
    return _stop


@pytest.fixture(scope="session")
def real_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The base URL of a real service with two worker processes."""
    if given := request.config.getoption("--url"):
        yield given
        return
    process, url = _start(WORKERS="2")
    yield url
    _stop(process)


@pytest.fixture
def own_service(start_service, stop_service) -> Iterator[Callable[..., tuple[int, str]]]:
    """A service of this test's own, with one worker: `own_service(DEADLINE_S="1")` gives pid and URL."""
    started = []

    def start(**settings: str) -> tuple[int, str]:
        process, url = start_service(**{"WORKERS": "1", **settings})
        started.append(process)
        return process.pid, url

    yield start
    for process in started:
        stop_service(process)
