"""What the service promises its callers: deadlines, cancellation, memory, quarantine, readiness, an orderly end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

CHANGED_IN_S = 30
FORM = {"graph": "y = (x * x).sum()", "inputs": {"x": [3.0]}}
HEAVY = {
    "graph": "\n".join(["h0 = full([700, 700], 0.001) * x"] + [f"h{k + 1} = tanh(h{k} @ h0)" for k in range(200)]),
    "inputs": {"x": 1.0},
}
"""A small request that takes seconds."""


def square(url: str) -> None:
    response = httpx.post(f"{url}/v1/backward", json=FORM, timeout=60)
    assert response.json()["gradients"]["x"]["data"] == [6.0], response.text


def ready(url: str) -> dict:
    return httpx.get(f"{url}/health/ready", timeout=10).json()


def await_count(url: str, what: str, count: int) -> None:
    bound = time.monotonic() + CHANGED_IN_S
    while ready(url)["workers"][what] != count:
        assert time.monotonic() < bound, f"there are never {count} {what}"


def await_busy(url: str, count: int = 1) -> None:
    await_count(url, "busy", count)


# Deadlines and cancellation


def test_a_caller_may_ask_for_less_time_than_the_service_gives(own_service):
    _, url = own_service()
    late = httpx.post(f"{url}/v1/forward", json=HEAVY, headers={"pullback-timeout": "0.2"}, timeout=60)
    assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
    assert "0.2 s" in late.json()["detail"]
    square(url)


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", "inf", "1_0", ""])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(real_url, value):
    response = httpx.post(f"{real_url}/v1/backward", json=FORM, headers={"pullback-timeout": value})
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "invalid_field")
    assert "Pullback-Timeout" in problem["detail"]
    assert problem["hint"]


def test_waiting_past_the_deadline_ends_no_worker(own_service, processes_of):
    pid, url = own_service()
    workers = processes_of(pid, "worker", 1)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(httpx.post, f"{url}/v1/forward", json=HEAVY, timeout=60)
        await_busy(url)
        late = httpx.post(f"{url}/v1/backward", json=FORM, headers={"pullback-timeout": "0.05"})
        assert running.result().status_code == 200
    assert (late.status_code, late.json()["code"]) == (503, "busy")
    assert late.headers["retry-after"]
    assert processes_of(pid, "worker", 1) == workers


def connect(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)))


def send_and_leave(url: str, body: dict, until) -> None:
    """Send a request, wait for `until()`, and hang up without having read the answer."""
    content = json.dumps(body).encode()
    head = f"POST /v1/forward HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n\r\n".encode()
    with connect(url) as connection:
        connection.sendall(head + content)
        until()


def test_a_client_that_leaves_frees_its_worker(own_service):
    _, url = own_service()
    send_and_leave(url, HEAVY, lambda: await_busy(url))
    await_busy(url, 0)
    await_count(url, "restarted", 1)
    square(url)


SHORT = {"graph": "h = full([300, 300], 0.001) * x; y = (h @ h @ h @ h).sum()", "inputs": {"x": 1.0}}
"""What takes some milliseconds."""


def test_callers_who_hardly_wait_cost_no_worker(own_service, processes_of):
    pid, url = own_service()
    workers = processes_of(pid, "worker", 1)
    for _ in range(40):
        late = httpx.post(f"{url}/v1/forward", json=SHORT, headers={"pullback-timeout": "1e-9"}, timeout=60)
        assert late.status_code in (503, 504)
        send_and_leave(url, SHORT, lambda: None)
    square(url)
    assert processes_of(pid, "worker", 1) == workers
    assert ready(url)["workers"]["restarted"] == 0


def test_a_client_that_leaves_frees_its_place_in_the_queue(own_service):
    _, url = own_service(MAX_WAITING="1")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(httpx.post, f"{url}/v1/forward", json=HEAVY, timeout=60)
        await_busy(url)
        send_and_leave(url, FORM, lambda: await_count(url, "waiting", 1))
        await_count(url, "waiting", 0)
        assert running.result().status_code == 200
    assert ready(url)["workers"]["restarted"] == 0


# Large bodies


def test_a_large_body_in_pieces_of_unknown_length_is_read_whole(real_url):
    x = [k / 7 for k in range(200_000)]
    content = json.dumps({"graph": "y = x * 1", "inputs": {"x": x}}).encode()
    pieces = (content[at : at + 100_000] for at in range(0, len(content), 100_000))
    headers = {"content-type": "application/json"}
    response = httpx.post(f"{real_url}/v1/forward", content=pieces, headers=headers, timeout=60)
    assert response.json()["outputs"]["y"]["data"] == x


def test_large_answers_one_after_the_other_are_each_their_own(real_url):
    for value in (1.5, 2.5, 3.5):
        body = {"graph": "y = full([100000], 1.0) * x", "inputs": {"x": value}}
        answer = httpx.post(f"{real_url}/v1/forward", json=body, timeout=60).json()
        assert answer["outputs"]["y"]["data"] == [value] * 100_000


@pytest.mark.parametrize("says_length", [True, False])
def test_a_body_beyond_the_limit_is_refused_while_it_is_read(own_service, says_length):
    _, url = own_service(MAX_BODY_BYTES="1000000")
    content = b" " * 3_000_000
    pieces = content if says_length else iter([content[:600_000]] * 5)
    with contextlib.suppress(httpx.WriteError):  # the service stops listening to it
        response = httpx.post(f"{url}/v1/forward", content=pieces, timeout=60)
        assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    square(url)


def test_an_answer_beyond_the_limit_is_refused(own_service):
    _, url = own_service(MAX_ANSWER_BYTES=str(2**20))
    body = {"graph": "y = full([1000000], 0.5) * x", "inputs": {"x": 1.0}}
    response = httpx.post(f"{url}/v1/forward", json=body, timeout=60)
    assert (response.status_code, response.json()["code"]) == (422, "limit_exceeded")
    square(url)


def test_bodies_that_together_hold_too_much_are_refused_for_now(own_service):
    _, url = own_service(MAX_HELD_BYTES="1000000")
    response = httpx.post(f"{url}/v1/forward", content=b" " * 1_500_000, timeout=60)
    assert (response.status_code, response.json()["code"]) == (503, "busy")
    response = httpx.post(f"{url}/v1/forward", content=b" " * 900_000, timeout=60)
    assert response.json()["code"] == "not_json"


def forward(url: str, count: int) -> httpx.Response:
    """A large answer to a small request."""
    body = {"graph": f"y = full([{count}], 0.123456789012345678, dtype='float64') * x", "inputs": {"x": 1.0}}
    return httpx.post(f"{url}/v1/forward", json=body, timeout=60)


def test_answers_that_hold_too_much_are_refused_for_now(own_service):
    _, url = own_service(MAX_HELD_BYTES="1000000")
    response = forward(url, 100_000)
    assert (response.status_code, response.json()["code"]) == (503, "busy")
    assert response.headers["retry-after"]
    square(url)


def test_an_answer_that_nobody_reads_is_given_up(own_service):
    """It holds memory: another one of its size finds no room meanwhile."""
    _, url = own_service(MAX_HELD_BYTES="60000000", BODY_TIMEOUT_S="1")
    graph = {"graph": "y = full([2000000], 0.123456789012345678, dtype='float64') * x", "inputs": {"x": 1.0}}
    statuses = []

    def ask_again() -> None:
        bound = time.monotonic() + CHANGED_IN_S
        while 503 not in statuses or statuses[-1] != 200:
            assert time.monotonic() < bound, statuses
            statuses.append(forward(url, 2_000_000).status_code)

    send_and_leave(url, graph, ask_again)
    assert set(statuses) == {200, 503}


# Memory


def test_memory_is_estimated_before_the_run_and_the_largest_node_named(own_service):
    _, url = own_service(WORKER_MEMORY_BYTES=str(2**28))
    body = {"graph": "a = zeros([4000, 4000], dtype='float64'); b = exp(a) + x; y = b.sum()", "inputs": {"x": 1.0}}
    problem = httpx.post(f"{url}/v1/forward", json=body, timeout=60).json()
    assert (problem["code"], problem["node"]) == ("memory_limit", "a")
    assert problem["got"] > problem["expected"] == 2**28


def test_memory_that_no_estimate_sees_is_refused_by_the_kernel_and_the_worker_is_well(own_service):
    _, url = own_service(WORKER_MEMORY_BYTES=str(2**28))
    inputs = {"x": {"dtype": "bool", "data": True}}
    body = {"graph": "y = nonzero(ones([5000, 5000], dtype='bool') | x).sum()", "inputs": inputs}
    response = httpx.post(f"{url}/v1/forward", json=body, timeout=60)
    assert (response.status_code, response.json()["code"]) == (422, "memory_limit")
    square(url)


def test_memory_that_ends_while_an_answer_is_encoded_is_told_and_no_crash(own_service):
    _, url = own_service(WORKER_MEMORY_BYTES=str(2**28))
    answers = [forward(url, count) for count in range(8_000_000, 32_000_000, 2_000_000)]
    codes = [None if answer.status_code == 200 else answer.json()["code"] for answer in answers]
    assert "memory_limit" in codes
    assert set(codes) <= {None, "memory_limit"}
    assert ready(url)["workers"]["restarted"] == 0
    square(url)


# Quarantine


def answer_while(url: str, processes_of, pid: int, which: signal.Signals, times: int) -> httpx.Response:
    """The answer to a heavy request whose worker gets a signal, so many times one after the other."""
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(httpx.post, f"{url}/v1/forward", json=HEAVY, timeout=60)
        struck: set[int] = set()
        while not pending.done() and len(struck) < times:
            busy = ready(url)["workers"]["busy"]
            for worker in set(processes_of(pid, "worker")) - struck if busy else ():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, which)
                struck.add(worker)
        return pending.result()


def test_a_graph_whose_run_crashed_twice_is_refused_whatever_its_numbers_and_others_are_not(own_service, processes_of):
    pid, url = own_service()
    for _ in range(5):  # a worker may be struck before it has the graph
        answer_while(url, processes_of, pid, signal.SIGSEGV, 2)
        again = httpx.post(f"{url}/v1/forward", json={**HEAVY, "inputs": {"x": 2.0}}, timeout=60)
        if again.status_code != 200:
            break
    assert (again.status_code, again.json()["code"]) == (422, "quarantined")
    square(url)


def test_a_graph_whose_worker_is_killed_from_outside_is_not_to_blame(own_service, processes_of):
    pid, url = own_service()
    for _ in range(3):
        assert answer_while(url, processes_of, pid, signal.SIGKILL, 1).status_code == 200


# Readiness and the end


def test_readiness_tells_of_a_full_queue(own_service):
    _, url = own_service(MAX_WAITING="0")
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(httpx.post, f"{url}/v1/forward", json=HEAVY, timeout=60)
        seen = set()
        while not pending.done():
            seen.add(ready(url)["status"])
    assert seen >= {"full"}


def test_workers_that_end_again_and_again_are_told_and_not_forked_without_pause(own_service, processes_of):
    pid, url = own_service()
    while (told := httpx.get(f"{url}/health/ready", timeout=10)).json()["status"] != "failing":
        for worker in processes_of(pid, "worker"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
    assert told.status_code == 503
    assert told.json()["reason"]
    square(url)
    assert ready(url)["status"] == "ok"


def test_told_to_end_the_service_finishes_what_runs(start_service):
    process, url = start_service(WORKERS="1")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(httpx.post, f"{url}/v1/forward", json=HEAVY, timeout=60)
        await_busy(url)
        process.terminate()
        assert running.result().status_code == 200
    assert process.wait(timeout=30) == 0
    process.stderr.close()


def test_told_to_end_the_service_says_so_before_it_stops_listening(start_service):
    process, url = start_service(WORKERS="1", NOTICE_S="2")
    process.terminate()
    with httpx.Client() as client:
        while client.get(f"{url}/health/ready").json()["status"] != "draining":
            pass
        refused = client.post(f"{url}/v1/backward", json=FORM)
        assert (refused.status_code, refused.json()["code"]) == (503, "busy")
        assert refused.headers["retry-after"]
    assert process.wait(timeout=30) == 0
    process.stderr.close()


def sending(url: str, body: bytes) -> socket.socket:
    """A connection over which all but the last byte of a body has come."""
    connection = connect(url)
    connection.sendall(b"POST /v1/backward HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n")
    connection.sendall(b"content-length: %d\r\n\r\n" % len(body))
    assert connection.recv(12) == b"HTTP/1.1 100"  # so it is being read
    connection.sendall(body[:-1])
    return connection


def test_told_to_end_the_service_finishes_what_has_begun_to_come(start_service):
    process, url = start_service(WORKERS="1")
    body = json.dumps(FORM).encode()
    with sending(url, body) as connection:
        process.terminate()
        with contextlib.suppress(httpx.TransportError):  # it listens no more
            while True:
                httpx.get(f"{url}/health/live")
        connection.sendall(body[-1:])
        assert b"HTTP/1.1 200" in b"".join(iter(lambda: connection.recv(2**16), b""))
    assert process.wait(timeout=30) == 0
    process.stderr.close()


def test_what_has_not_come_whole_within_the_grace_is_told_so(start_service):
    process, url = start_service(WORKERS="1", GRACE_S="0")
    with sending(url, json.dumps(FORM).encode()) as connection:
        process.terminate()
        came = b"".join(iter(lambda: connection.recv(2**16), b""))
    assert b"HTTP/1.1 503" in came
    assert b'"busy"' in came
    assert process.wait(timeout=30) == 0
    process.stderr.close()


def test_what_still_runs_and_waits_after_the_grace_is_given_up_and_told_so(start_service):
    process, url = start_service(WORKERS="1", GRACE_S="0")
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(httpx.post, f"{url}/v1/forward", json=HEAVY, timeout=60) for _ in range(2)]
        await_count(url, "waiting", 1)
        process.terminate()
        answers = [task.result() for task in asked]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(503, "busy")] * 2
    assert all(answer.headers["retry-after"] for answer in answers)
    assert process.wait(timeout=30) == 0
    process.stderr.close()


# What comes before a body


def told(connection: socket.socket) -> tuple[int, str]:
    """The status and the code of the problem that ends a connection."""
    connection.settimeout(CHANGED_IN_S)
    answer = b""
    while piece := connection.recv(2**16):
        answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["code"]


@pytest.mark.parametrize("piece", [b"x-a: abcdefgh\r\n" * 100, b"a" * 1000], ids=["many headers", "a long one"])
def test_a_head_without_end_is_refused(real_url, piece):
    with connect(real_url) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\nx-b: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(20_000):
                connection.sendall(piece)
            pytest.fail("20 MB of a head were taken")
        with contextlib.suppress(ConnectionError):  # what is said last may be lost with what was not read
            assert told(connection) == (431, "head_too_large")
    square(real_url)


@pytest.mark.parametrize(
    "start", [b"GET /health/live HTTP/1.1\r\nhost:", b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\nGET /h"]
)
def test_a_head_that_does_not_come_is_given_up(own_service, start):
    _, url = own_service(HEAD_TIMEOUT_S="0.5")
    with connect(url) as connection:
        connection.sendall(start)
        connection.settimeout(CHANGED_IN_S)
        answer = b""
        while piece := connection.recv(2**16):
            answer += piece
    assert b"head_timeout" in answer


def test_trailers_without_end_are_cut_off(real_url):
    with connect(real_url) as connection, contextlib.suppress(ConnectionError):
        connection.settimeout(CHANGED_IN_S)
        head = b"POST /v1/forward HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        connection.sendall(head + b"2\r\n{}\r\n0\r\n")
        for _ in range(5000):
            connection.sendall(b"x-a: abcdefgh\r\n" * 1000)
        pytest.fail("70 MB of trailers were taken")
    square(real_url)


def test_a_body_beside_an_upgrade_is_refused_and_not_lost(real_url):
    content = json.dumps(FORM).encode()
    head = b"POST /v1/backward HTTP/1.1\r\nhost: x\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n"
    with connect(real_url) as connection:
        connection.sendall(head + f"content-length: {len(content)}\r\n\r\n".encode() + content)
        assert told(connection) == (400, "not_http")


def test_a_connection_that_says_nothing_is_closed(own_service):
    _, url = own_service(HEAD_TIMEOUT_S="0.5")
    with connect(url) as connection:
        connection.settimeout(CHANGED_IN_S)
        assert connection.recv(1) == b""


def test_what_is_not_http_is_told_as_a_problem(real_url):
    with connect(real_url) as connection:
        connection.sendall(b"HELO there\r\n\r\n")
        assert told(connection) == (400, "not_http")


# Settings


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"DEADLINE_S": "inf"}, "PULLBACK_DEADLINE_S=inf: Input should be a finite number"),
        ({"GRACE_S": "nan"}, "PULLBACK_GRACE_S=nan"),
        ({"PORT": "http"}, "PULLBACK_PORT=http"),
        ({"MAX_HELD_BYTES": "0"}, "PULLBACK_MAX_HELD_BYTES=0"),
    ],
)
def test_a_setting_that_does_not_fit_ends_the_start_with_its_name_alone(settings, says):
    env = {**os.environ, **{f"PULLBACK_{name}": value for name, value in settings.items()}}
    ended = subprocess.run(
        [sys.executable, "-m", "pullback_service"], env=env, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    assert says in ended.stderr
    assert "factory" not in ended.stderr
