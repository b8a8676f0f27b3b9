"""Faults under load: whatever happens to the processes below, a caller gets the right number or an honest 5xx."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import cycle

import httpx
import pytest

CALLERS, CALLS = 8, 60
ANSWERS_PER_FAULT = 12
"""However slow the machine is, faults come no faster than answers, or there would be none."""

HONEST = {503, 504}
HUNGRY = {
    "graph": "y = nonzero(ones([5000, 5000], dtype='bool') | x).sum()",
    "inputs": {"x": {"dtype": "bool", "data": True}},
}
"""What takes more than 256 MiB, as only the run can tell."""

LONG = {
    "graph": "\n".join(["h0 = full([700, 700], 0.001) * x"] + [f"h{k + 1} = tanh(h{k} @ h0)" for k in range(200)]),
    "inputs": {"x": 1.0},
}
"""What takes seconds."""


def ask(url: str, caller: int, answered: deque[None] | None = None) -> list[int]:
    """Many gradients of sums of squares; their statuses. No answer is wrong. Each leaves a mark in `answered`."""
    statuses = []
    marks = deque() if answered is None else answered
    with httpx.Client(timeout=120) as client:
        for k in range(CALLS):
            x = [float(caller * CALLS + k), 0.5]
            response = client.post(f"{url}/v1/backward", json={"graph": "y = (x * x).sum()", "inputs": {"x": x}})
            statuses.append(response.status_code)
            marks.append(None)
            if response.status_code == 200:
                assert response.json()["gradients"]["x"]["data"] == [2 * x[0], 1.0]
            else:
                assert response.status_code in HONEST, response.text
                assert response.headers["retry-after"]
    return statuses


def under_load(url: str, fault) -> list[int]:
    """Do `fault` again and again while callers ask, and look after the service's health."""
    with ThreadPoolExecutor(CALLERS) as pool:
        answered: deque[None] = deque()
        asking = [pool.submit(ask, url, caller, answered) for caller in range(CALLERS)]
        faults = 0
        while wait(asking, timeout=0.02).not_done:
            if len(answered) < faults * ANSWERS_PER_FAULT:
                continue
            faults += 1
            fault()
            assert httpx.get(f"{url}/health/live", timeout=10).status_code == 200
            assert httpx.get(f"{url}/health/ready", timeout=10).status_code in (200, 503)
        statuses = [status for task in asking for status in task.result()]
    assert len(statuses) == CALLERS * CALLS
    assert 200 in statuses
    assert faults
    return statuses


def signal_one(pids: list[int], which: signal.Signals) -> None:
    for pid in pids[:1]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, which)


def test_workers_killed_again_and_again_cost_no_caller_a_right_answer(own_service, processes_of):
    pid, url = own_service(WORKERS="2")
    under_load(url, lambda: signal_one(processes_of(pid, "worker"), signal.SIGKILL))
    assert ask(url, 0) == [200] * CALLS


def test_a_worker_that_is_stopped_costs_its_own_request_only(own_service, processes_of):
    pid, url = own_service(WORKERS="2", DEADLINE_S="2")
    faults = iter([signal.SIGSTOP])

    def fault() -> None:
        for which in faults:
            signal_one(processes_of(pid, "worker"), which)

    statuses = under_load(url, fault)
    assert statuses.count(504) <= 1
    assert ask(url, 0) == [200] * CALLS


def test_a_fork_server_killed_under_load_costs_no_caller_a_right_answer(own_service, processes_of):
    pid, url = own_service(WORKERS="2")
    faults = iter([signal.SIGKILL])

    def fault() -> None:
        for which in faults:
            signal_one(processes_of(pid, "forks"), which)

    under_load(url, fault)
    assert ask(url, 0) == [200] * CALLS


def test_requests_that_fill_the_memory_cost_others_nothing(own_service):
    _, url = own_service(WORKERS="2", WORKER_MEMORY_BYTES=str(2**28))

    def fault() -> None:
        response = httpx.post(f"{url}/v1/forward", json=HUNGRY, timeout=60)
        assert response.json()["code"] == "memory_limit"

    assert set(under_load(url, fault)) == {200}


def test_faults_of_every_kind_at_once_cost_no_caller_a_right_answer(own_service, processes_of):
    """The graph is held to be what made its workers segfault: that is forgotten at once."""
    pid, url = own_service(WORKERS="2", DEADLINE_S="2", QUARANTINE_S="0.001")
    faults = cycle(
        [
            lambda: signal_one(processes_of(pid, "worker"), signal.SIGKILL),
            lambda: signal_one(processes_of(pid, "worker"), signal.SIGSEGV),
            lambda: signal_one(processes_of(pid, "worker"), signal.SIGSTOP),
            lambda: signal_one(processes_of(pid, "alone"), signal.SIGKILL),
            lambda: httpx.post(f"{url}/v1/forward", json=HUNGRY, timeout=60),
        ]
    )
    under_load(url, lambda: next(faults)())
    assert ask(url, 0) == [200] * CALLS


@pytest.mark.parametrize("single_use", ["false", "true"])
def test_without_a_fault_every_answer_is_right_and_no_worker_is_lost(own_service, single_use):
    """The answers are nearly as large as one that does not share memory; their senders end right after them."""
    _, url = own_service(WORKERS="2", SINGLE_USE=single_use)
    body = {"graph": "y = full([12500], 0.123456789012345678, dtype='float64') * x", "inputs": {"x": 1.0}}

    def ask_for_much(_: int) -> None:
        answer = httpx.post(f"{url}/v1/forward", json=body, timeout=60)
        assert 240_000 < len(answer.content) < 262_144
        assert answer.json()["outputs"]["y"]["data"] == [0.123456789012345678] * 12_500

    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(ask_for_much, range(CALLS)))
    assert httpx.get(f"{url}/health/ready").json()["workers"]["restarted"] == 0


def test_health_is_answered_again_and_again_while_every_worker_computes(own_service):
    _, url = own_service(WORKERS="2")
    with ThreadPoolExecutor(2) as pool, httpx.Client(timeout=10) as client:
        running = [pool.submit(httpx.post, f"{url}/v1/forward", json=LONG, timeout=60) for _ in range(2)]
        answered = 0
        while not any(task.done() for task in running):
            assert client.get(f"{url}/health/live").status_code == 200
            assert client.get(f"{url}/health/ready").status_code == 200
            answered += 1
        assert [task.result().status_code for task in running] == [200, 200]
    assert answered >= 10
