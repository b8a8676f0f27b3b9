"""Worker processes come and go: killed, recycled, used once, crashed alone; the answers stay right."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
import torch.nn.functional as F

ROOT = Path(__file__).parents[2]
CTC = "y = ctc_loss(log_softmax(x, 2), t, [5, 4], [2, 2])"
X = torch.arange(40, dtype=torch.float64).reshape(5, 2, 4).sin()
TARGETS = [[1, 2], [3, 3]]
WORKING_TICKS = 20
"""More than a worker computes before it has a request."""


def square(url: str, k: float = 3.0) -> list[float]:
    body = {"graph": "y = (x * x).sum()", "inputs": {"x": [k]}}
    response = httpx.post(f"{url}/v1/backward", json=body, timeout=60)
    assert response.status_code == 200, response.text
    gradient: list[float] = response.json()["gradients"]["x"]["data"]
    return gradient


def ctc(url: str) -> httpx.Response:
    inputs = {"x": X.tolist(), "t": {"dtype": "int64", "data": TARGETS}}
    return httpx.post(f"{url}/v1/backward", json={"graph": CTC, "inputs": inputs}, timeout=60)


def segments(*names: str) -> dict[str, Any]:
    """Isolated nodes of these names behind some seconds of work."""
    work = [{"id": "m0", "op": "eye", "args": [1500], "kwargs": {"dtype": "float64"}}]
    work += [{"id": f"m{k}", "op": "matmul", "args": [f"$m{k - 1}", "$m0"]} for k in range(1, 60)]
    node = {"op": "segment_reduce", "args": ["$x", "sum"], "kwargs": {"offsets": "$o"}}
    return {"nodes": [*work, *({"id": name, **node} for name in names)], "outputs": list(names)}


def crash(url: str, alone: int, *names: str) -> httpx.Response:
    """The process `alone` ends, as by a kernel's fault, in the middle of a graph with isolated operators."""
    inputs = {"x": [1.0, 2.0, 3.0, 4.0], "o": {"dtype": "int64", "data": [0, 4]}}
    body = {"graph": segments(*names), "inputs": inputs}
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(httpx.post, f"{url}/v1/forward", json=body, timeout=60)
        while cpu_ticks(alone) < WORKING_TICKS:
            assert not pending.done()
        os.kill(alone, signal.SIGKILL)
        return pending.result()


def cpu_ticks(pid: int) -> int:
    """How long a process has computed, in clock ticks."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


def counts(url: str) -> dict[str, int]:
    workers: dict[str, int] = httpx.get(f"{url}/health/ready").json()["workers"]
    return workers


# Replacement


def test_a_worker_that_is_killed_again_and_again_is_forked_again_by_the_same_server(own_service, processes_of):
    pid, url = own_service()
    (server,) = processes_of(pid, "forks", 1)
    for k in range(5):
        (worker,) = processes_of(pid, "worker", 1)
        os.kill(worker, signal.SIGKILL)
        assert square(url, k) == [2.0 * k]
    assert processes_of(pid, "forks", 1) == [server]
    assert counts(url)["restarted"] == 5


def test_a_worker_that_ends_by_a_signal_without_a_name_ends_no_fork_server(own_service, processes_of, await_end):
    pid, url = own_service()
    (forks,) = processes_of(pid, "forks", 1)
    (worker,) = processes_of(pid, "worker", 1)
    os.kill(worker, signal.SIGRTMIN + 6)
    await_end(worker)
    assert square(url) == [6.0]
    assert processes_of(pid, "forks", 1) == [forks]


def test_the_service_recovers_when_its_fork_server_is_killed(own_service, processes_of, await_end):
    pid, url = own_service()
    (server,) = processes_of(pid, "forks", 1)
    workers = processes_of(server)
    os.kill(server, signal.SIGKILL)
    for process in [server, *workers]:
        await_end(process)
    assert square(url) == [6.0]
    assert processes_of(pid, "forks", 1) != [server]


def test_a_fork_server_that_hangs_costs_nothing_while_workers_live_and_is_replaced_when_they_do_not(
    own_service, processes_of, await_end
):
    pid, url = own_service()
    (worker,) = processes_of(pid, "worker", 1)
    (server,) = processes_of(pid, "forks", 1)
    os.kill(server, signal.SIGSTOP)
    assert square(url) == [6.0]
    os.kill(worker, signal.SIGKILL)
    await_end(server)
    assert square(url) == [6.0]


def test_nothing_outlives_a_service_that_is_killed(start_service, processes_of, await_end):
    process, _ = start_service(WORKERS="2")
    processes_of(process.pid, "alone", 1)
    below = processes_of(process.pid)
    process.kill()
    process.wait()
    process.stderr.close()
    for pid in below:
        await_end(pid)


# Lifetimes


def test_a_worker_is_replaced_after_its_number_of_requests(own_service, processes_of, await_end):
    pid, url = own_service(RECYCLE_AFTER="2")
    (worker,) = processes_of(pid, "worker", 1)
    assert [square(url, k) for k in (1, 2, 3)] == [[2.0], [4.0], [6.0]]
    await_end(worker)
    assert counts(url)["restarted"] == 0


def test_in_strict_mode_every_request_has_a_process_of_its_own(own_service, processes_of, await_end):
    pid, url = own_service(SINGLE_USE="true")
    seen = set()
    for k in range(4):
        (spare,) = processes_of(pid, "once", 1)
        assert square(url, k) == [2.0 * k]
        await_end(spare)
        seen.add(spare)
    assert len(seen) == 4
    assert processes_of(pid, "worker") == []
    assert counts(url)["restarted"] == 0


# Isolated operators


def test_an_isolated_operator_gives_torchs_numbers(own_service):
    _, url = own_service()
    x = X.clone().requires_grad_()
    y = F.ctc_loss(torch.log_softmax(x, 2), torch.tensor(TARGETS), [5, 4], [2, 2])
    y.backward()
    answer = ctc(url).json()
    assert answer["outputs"]["y"]["data"] == y.item()
    assert answer["gradients"]["x"]["data"] == x.grad.tolist()


@pytest.mark.parametrize("single_use", ["false", "true"])
def test_a_crash_of_an_isolated_operator_is_told_and_the_next_request_is_right(own_service, processes_of, single_use):
    pid, url = own_service(SINGLE_USE=single_use)
    response = crash(url, *processes_of(pid, "alone", 1), "y")
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "op_crashed")
    assert (problem["pointer"], problem["node"]) == ("/graph/nodes/60", "y")
    assert "aten.segment_reduce.default" in problem["detail"]
    assert square(url) == [6.0]
    assert ctc(url).status_code == 200


def test_an_isolated_operator_never_runs_in_a_worker_that_others_use(own_service, processes_of, await_end):
    pid, url = own_service()
    workers = processes_of(pid, "worker", 1)
    (alone,) = processes_of(pid, "alone", 1)
    assert ctc(url).status_code == 200
    await_end(alone)
    assert crash(url, *processes_of(pid, "alone", 1), "y").json()["code"] == "op_crashed"
    assert processes_of(pid, "worker", 1) == workers


def test_several_isolated_operators_are_all_named_when_one_crashes(own_service, processes_of):
    pid, url = own_service()
    problem = crash(url, *processes_of(pid, "alone", 1), "a", "b").json()
    assert problem["code"] == "op_crashed"
    assert problem["pointer"] == "/graph"
    assert [(found["node"], found["pointer"]) for found in problem["got"]] == [
        ("a", "/graph/nodes/60"),
        ("b", "/graph/nodes/61"),
    ]


# Torch inside the fences


def test_torch_computes_on_several_threads_behind_the_fences(own_service, processes_of):
    pid, url = own_service(TORCH_THREADS="2")
    n = 600
    a = torch.arange(n * n, dtype=torch.float64).reshape(n, n).cos() + n * torch.eye(n, dtype=torch.float64)
    graph = "y = linalg.solve(a, a @ a).sum() + tanh(a).sum() + linalg.svdvals(a).sum()"
    answer = httpx.post(f"{url}/v1/forward", json={"graph": graph, "inputs": {"a": a.tolist()}}, timeout=120).json()
    expected = torch.linalg.solve(a, a @ a).sum() + torch.tanh(a).sum() + torch.linalg.svdvals(a).sum()
    assert answer["outputs"]["y"]["data"] == pytest.approx(expected.item(), rel=1e-12)
    (worker,) = processes_of(pid, "worker", 1)
    assert len(list(Path(f"/proc/{worker}/task").iterdir())) == 2


def test_a_request_beyond_the_memory_of_a_worker_is_told_and_the_next_one_is_right(own_service, processes_of):
    pid, url = own_service(WORKER_MEMORY_BYTES=str(2**28))
    workers = processes_of(pid, "worker", 1)
    body = {"graph": "y = (zeros([6000, 6000], dtype='float64') + x).sum()", "inputs": {"x": 1.0}}
    response = httpx.post(f"{url}/v1/forward", json=body, timeout=60)
    assert (response.status_code, response.json()["code"]) == (422, "memory_limit")
    assert square(url) == [6.0]
    assert processes_of(pid, "worker", 1) == workers


def test_every_operators_gradients_are_right_in_a_sealed_worker_too():
    """A sealed process can import and open nothing, and torch does both late in places."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "tests/flows/test_operators.py", "--worker-kind", "processes"),
            *("-p", "no:cacheprovider", "-k", "test_the_gradients_are or test_batched_grad_tensors"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
