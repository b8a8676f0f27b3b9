"""Faults under load: whatever happens to the processes below, a caller gets the right number or an honest 5xx."""

from __future__ import annotations

import contextlib
import os
import signal
from concurrent.futures import ThreadPoolExecutor, wait

import httpx

CALLERS, CALLS = 8, 60
HONEST = {503, 504}


def ask(url: str, caller: int) -> list[int]:
    """Many gradients of sums of squares; their statuses. No answer is wrong."""
    statuses = []
    with httpx.Client(timeout=120) as client:
        for k in range(CALLS):
            x = [float(caller * CALLS + k), 0.5]
            response = client.post(f"{url}/v1/backward", json={"graph": "y = (x * x).sum()", "inputs": {"x": x}})
            statuses.append(response.status_code)
            if response.status_code == 200:
                assert response.json()["gradients"]["x"]["data"] == [2 * x[0], 1.0]
            else:
                assert response.status_code in HONEST, response.text
                assert response.headers["retry-after"]
    return statuses


def under_load(url: str, fault) -> list[int]:
    """Do `fault` again and again while callers ask, and look after the service's health."""
    with ThreadPoolExecutor(CALLERS) as pool:
        asking = [pool.submit(ask, url, caller) for caller in range(CALLERS)]
        while wait(asking, timeout=0.05).not_done:
            fault()
            assert httpx.get(f"{url}/health/live", timeout=10).status_code == 200
            assert httpx.get(f"{url}/health/ready", timeout=10).status_code in (200, 503)
        statuses = [status for task in asking for status in task.result()]
    assert len(statuses) == CALLERS * CALLS
    assert 200 in statuses
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
    inputs = {"x": {"dtype": "bool", "data": True}}
    body = {"graph": "y = nonzero(ones([5000, 5000], dtype='bool') | x).sum()", "inputs": inputs}

    def fault() -> None:
        response = httpx.post(f"{url}/v1/forward", json=body, timeout=60)
        assert response.json()["code"] == "memory_limit"

    assert set(under_load(url, fault)) == {200}
