"""What nginx keeps from the service, what it passes on, and how."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
from collections.abc import Iterator

import httpx
import pytest
from tests.docker.stack import HERE, ROOT, Stack, await_that, docker, inspect, run

from pullback_schemas import Problem
from pullback_schemas.problems import problem_classes

PATIENCE_S = 30
PARTIAL = b"POST /v1/check HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
LONG = b"a" * 40_000


def connect(stack: Stack) -> socket.socket:
    return socket.create_connection(("127.0.0.1", stack.port), PATIENCE_S)


def read_all(connection: socket.socket) -> bytes:
    with connection, contextlib.suppress(ConnectionResetError):
        return b"".join(iter(lambda: connection.recv(65536), b""))
    return b""


def send(stack: Stack, request: bytes) -> bytes:
    """All that comes back until nginx closes."""
    connection = connect(stack)
    connection.sendall(request)
    return read_all(connection)


def problem_in(answer: httpx.Response) -> Problem:
    """The problem, which must be told as the service tells its own."""
    assert answer.headers["content-type"] == "application/problem+json"
    assert "/" not in answer.headers["server"]
    assert answer.headers["x-request-id"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    problem = Problem.model_validate_json(answer.content)
    kind = problem_classes()[problem.code]
    assert (problem.status, problem.title) == (kind.status, kind.title)
    assert problem.status == answer.status_code
    assert problem.type == f"urn:pullback:problem:{problem.code}"
    assert problem.detail
    assert problem.hint
    return problem


def parsed(raw: bytes) -> httpx.Response:
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return httpx.Response(int(first.split()[1]), headers=[tuple(line.split(": ", 1)) for line in lines], content=body)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "not_http"),
        (b"GET / HTTP/1.1\r\n\r\n", "not_http"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "not_http"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "not_http"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", "not_http"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", "not_http"),
        (b"GET / nonsense\r\n\r\n", "not_http"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "not_http"),
        (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "method_not_allowed"),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "method_not_allowed"),
        (b"GET /?" + LONG + b" HTTP/1.1\r\nHost: a\r\n\r\n", "head_too_large"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + LONG + b"\r\n\r\n", "head_too_large"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 268435457\r\n\r\n", "body_too_large"),
    ],
    ids=lambda value: value[:48].decode() if isinstance(value, bytes) else value,
)
def test_what_nginx_refuses_it_tells_as_the_service_would(stack, request_, code):
    assert problem_in(parsed(send(stack, request_))).code == code


@pytest.mark.parametrize(
    "path", ["/metrics", "//metrics", "/metrics/", "/%6detrics", "/x/../metrics", "/metrics?x=1", "/problems/busy"]
)
def test_what_is_for_the_inside_is_not_found(stack, path):
    raw = send(stack, f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    assert problem_in(parsed(raw)).code == "not_found"


def test_a_head_that_does_not_arrive_in_time_ends_its_connection(stack):
    assert send(stack, b"GET /health/live HTTP/1.1\r\nHost: a\r\nX: ") == b""


@pytest.fixture
def partial_bodies(stack) -> Iterator[list[socket.socket]]:
    """Many connections, fewer than an address may have, each of them with a body that stays incomplete."""
    with contextlib.ExitStack() as open_connections:
        made = [open_connections.enter_context(connect(stack)) for _ in range(30)]
        for connection in made:
            connection.sendall(PARTIAL)
        yield made


def test_a_body_that_is_not_complete_does_not_reach_the_service(stack, partial_bodies):
    """Others are answered all the while; the service has no more connections than nginx keeps for those."""
    await_that(lambda: httpx.get(f"{stack.url}/health/live").status_code == 200, "there is room for one more")
    table = stack.execute("cpu", "cat", "/proc/net/tcp").splitlines()[1:]
    established = [line for line in table if line.split()[1].endswith(":1F40") and line.split()[3] == "01"]
    assert len(established) < len(partial_bodies) / 2


def test_more_connections_than_an_address_may_have_are_refused(stack, partial_bodies):
    with contextlib.ExitStack() as more:

        def is_full() -> bool:
            more.enter_context(connect(stack)).sendall(PARTIAL)
            return httpx.get(f"{stack.url}/health/live").status_code == 503

        await_that(is_full, "the address has all that it may have")
        refused = httpx.get(f"{stack.url}/health/live")
    assert problem_in(refused).code == "busy"
    assert refused.headers["retry-after"] == "1"


def test_only_nginx_is_published_and_on_loopback_alone(stack):
    assert not any(inspect(stack.container("cpu"))["NetworkSettings"]["Ports"].values())
    published = inspect(stack.container("nginx"))["NetworkSettings"]["Ports"]
    assert published == {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(stack.port)}]}


def test_where_there_is_no_service_nginx_says_so_and_finds_it_again(stack, ask):
    """Its address may be another one afterwards: here something else has taken the old one meanwhile."""
    name, network = stack.container("cpu"), f"{stack.name}_inside"
    address = inspect(name)["NetworkSettings"]["Networks"][network]["IPAddress"]
    squatter = f"{stack.name}-squatter"
    docker("stop", name)
    try:
        answer = ask(stack.url)
        assert problem_in(answer).code == "busy"
        docker("run", "--detach", "--name", squatter, "--network", network, "python:3.11-slim", "sleep", "600")
        docker("start", name)
        assert inspect(name)["NetworkSettings"]["Networks"][network]["IPAddress"] != address
        await_that(lambda: ask(stack.url).status_code == 200, "the service is found at its new address")
    finally:
        docker("rm", "--force", squatter)


@pytest.fixture(scope="module")
def echo(start_stack) -> Stack:
    """nginx as shipped, before something that answers with what it was sent."""
    return start_stack("echo", HERE / "echo.yml")


def told(answer: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.json()["headers"]}


def test_the_service_is_told_who_calls_by_nginx_alone(echo):
    lies = {"x-forwarded-for": "1.2.3.4", "forwarded": "for=1.2.3.4", "x-forwarded-proto": "https"}
    headers = told(httpx.get(echo.url, headers=lies))
    gateway = inspect(echo.container("nginx"))["NetworkSettings"]["Networks"][f"{echo.name}_outside"]["Gateway"]
    assert headers["x-forwarded-for"] == gateway
    assert headers["x-forwarded-proto"] == "http"
    assert "forwarded" not in headers


def test_ids_of_requests_and_traces_are_passed_on(echo):
    trace = f"00-{'1' * 32}-{'2' * 16}-01"
    answer = httpx.get(echo.url, headers={"x-request-id": "mine-1", "traceparent": trace, "authorization": "Bearer k"})
    headers = told(answer)
    assert headers["x-request-id"] == answer.headers["x-request-id"] == "mine-1"
    assert headers["traceparent"] == trace
    assert headers["authorization"] == "Bearer k"
    assert headers["host"] == f"127.0.0.1:{echo.port}"


@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, "<b>"])
def test_an_id_that_is_none_is_replaced(echo, sent):
    answer = httpx.get(echo.url, headers={"x-request-id": sent})
    made = answer.headers["x-request-id"]
    assert told(answer)["x-request-id"] == made
    assert len(made) == 32


def test_connections_to_the_service_are_kept(echo):
    assert len({httpx.get(echo.url).json()["connection"] for _ in range(20)}) <= 2


def test_a_body_in_pieces_arrives_whole_with_its_length(echo):
    answer = httpx.post(echo.url, content=iter([b"a" * 100_000] * 50))
    assert answer.json()["bytes"] == 5_000_000
    assert told(answer)["content-length"] == "5000000"


def test_nginx_logs_what_it_answers_itself_a_json_line_each(stack):
    httpx.get(f"{stack.url}/health/live", headers={"x-request-id": "not-looked-for"})
    secret = {"authorization": "Bearer secret-of-mine"}
    httpx.get(f"{stack.url}/metrics", headers={"x-request-id": "looked-for", **secret})
    await_that(lambda: any('"looked-for"' in line for line in stack.logs("nginx")), "it is logged")
    lines = stack.logs("nginx")
    line = json.loads(next(line for line in lines if '"looked-for"' in line))
    assert (line["status"], line["path"]) == (404, "/metrics")
    assert not any("not-looked-for" in line or "secret-of-mine" in line for line in lines)


def test_tls_is_as_the_documentation_says(start_stack, ask, tmp_path):
    tmp_path.chmod(0o755)
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    done = run(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, "-keyout", key, "-out", certificate
    )
    assert done.returncode == 0, done.stderr
    key.chmod(0o644)
    [printed] = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs/deployment.md").read_text(), re.DOTALL)
    (tmp_path / "tls.conf").write_text(printed)
    stack = start_stack("tls", PULLBACK_NGINX_EXTRA=str(tmp_path), PULLBACK_NGINX_PORT="8443")
    trusted = ssl.create_default_context(cafile=certificate)
    assert ask(stack.url.replace("http:", "https:"), verify=trusted).status_code == 200
    assert problem_in(ask(stack.url)).code == "not_http"
