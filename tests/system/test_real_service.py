"""The service as a process, over a real socket, with real worker processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
SQUARE = {"graph": "y = x * x", "inputs": {"x": [1.0, 2.0, 3.0]}, "grad_tensors": {"y": [1.0, 0.5, 0.25]}}

HEAVY = {
    "graph": "\n".join(["h0 = x @ x"] + [f"h{k + 1} = h{k} @ x" for k in range(1000)]),
    "inputs": {"x": {"dtype": "float64", "shape": [500, 500], "data": [0.001] * 250_000}},
}
"""A request that takes longer than any deadline here, on a quiet machine too."""


@pytest.mark.parametrize("name", ["relu.json", "relu-text.json"])
def test_the_readmes_first_request_gives_80_zeros_and_80_ones(real_url, name):
    body = (ROOT / "examples" / name).read_bytes()
    headers = {"content-type": "application/json"}
    gradient = httpx.post(f"{real_url}/v1/backward", content=body, headers=headers).json()["gradients"]["x"]["data"]
    assert gradient == [0.0] * 80 + [1.0] * 80


def test_many_clients_at_once_get_their_own_answers(real_url):
    def ask(k: int) -> list[float]:
        body = {"graph": "y = (x * x).sum()", "inputs": {"x": [float(k), 2.0 * k]}}
        return httpx.post(f"{real_url}/v1/backward", json=body, timeout=60).json()["gradients"]["x"]["data"]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(100)))
    assert answers == [[2.0 * k, 4.0 * k] for k in range(100)]


def test_a_large_body_goes_both_ways_bit_for_bit(real_url):
    x = [k / 7 for k in range(300_000)]
    body = {"graph": "y = x * 1", "inputs": {"x": x}, "grad_tensors": {"y": x}}
    result = httpx.post(f"{real_url}/v1/backward", json=body, timeout=60).json()
    assert result["outputs"]["y"]["data"] == x
    assert result["gradients"]["x"]["data"] == x


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_a_gpu_is_refused_where_the_service_has_none(own_service, device):
    _, url = own_service(DEVICES="cpu")
    problem = httpx.post(f"{url}/v1/backward", json={**SQUARE, "device": device}, timeout=60).json()
    assert (problem["status"], problem["code"], problem["pointer"]) == (422, "device_unavailable", "/device")
    assert problem["expected"] == ["auto", "cpu"]
    assert httpx.get(f"{url}/health/ready").json()["devices"] == {"cpu": "ok"}


@pytest.mark.parametrize("kind", ["processes", "inline"])
def test_a_service_that_is_to_have_a_gpu_that_is_not_there_does_not_start_and_says_what_there_is(kind):
    settings = {"PULLBACK_DEVICES": "cpu,cuda:999", "PULLBACK_WORKER_KIND": kind, "PULLBACK_PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "pullback_service"], env={**os.environ, **settings}, capture_output=True, timeout=120
    )
    assert done.returncode != 0
    assert b"PULLBACK_DEVICES names cuda:999; what is there: cpu" in done.stderr


def test_a_service_whose_address_is_in_use_says_how_to_choose_another(real_url):
    settings = {"PULLBACK_PORT": str(httpx.URL(real_url).port)}
    done = subprocess.run(
        [sys.executable, "-m", "pullback_service"], env={**os.environ, **settings}, capture_output=True, timeout=120
    )
    assert done.returncode == 1
    assert f"cannot be reached at 127.0.0.1:{settings['PULLBACK_PORT']}" in done.stderr.decode()
    assert b"PULLBACK_PORT" in done.stderr.splitlines()[-1]


def test_a_worker_killed_while_idle_is_replaced_and_nobody_notices(own_service, processes_of):
    pid, url = own_service()
    (worker,) = processes_of(pid, "worker", 1)
    os.kill(worker, signal.SIGKILL)
    assert httpx.post(f"{url}/v1/backward", json=SQUARE, timeout=60).json()["gradients"]["x"]["data"] == [2, 2, 1.5]
    assert httpx.get(f"{url}/health/ready").json()["workers"]["restarted"] == 1


def test_a_request_past_its_deadline_gets_504_and_the_next_one_an_answer(own_service):
    _, url = own_service(DEADLINE_S="2")
    late = httpx.post(f"{url}/v1/forward", json=HEAVY, timeout=60)
    assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
    while httpx.get(f"{url}/health/ready").status_code != 200:
        assert httpx.get(f"{url}/health/live").status_code == 200
    assert httpx.post(f"{url}/v1/backward", json=SQUARE, timeout=60).status_code == 200


def test_a_worker_that_dies_in_every_try_costs_its_request_an_honest_503(own_service, processes_of):
    pid, url = own_service()
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(httpx.post, f"{url}/v1/forward", json=HEAVY, timeout=120)
        killed: set[int] = set()
        while not pending.done():
            busy = httpx.get(f"{url}/health/ready").json()["workers"]["busy"]
            for worker in set(processes_of(pid, "worker")) - killed:
                if busy:
                    os.kill(worker, signal.SIGKILL)
                    killed.add(worker)
        response = pending.result()
    assert (response.status_code, response.json()["code"]) == (503, "worker_died")
    assert len(killed) >= 2


def test_health_answers_while_every_worker_is_busy(own_service):
    _, url = own_service(DEADLINE_S="3")
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(httpx.post, f"{url}/v1/forward", json=HEAVY, timeout=60)
        seen_busy = False
        while not pending.done():
            health = httpx.get(f"{url}/health/ready", timeout=2).json()
            seen_busy = seen_busy or health["workers"]["busy"] == 1
        assert pending.result().status_code == 504
    assert seen_busy


def test_a_full_queue_says_503_with_retry_after(own_service):
    _, url = own_service(DEADLINE_S="3", MAX_WAITING="0")
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(httpx.post, f"{url}/v1/forward", json=HEAVY, timeout=60)
        while httpx.get(f"{url}/health/ready").json()["workers"]["busy"] == 0:
            assert not pending.done()
        response = httpx.post(f"{url}/v1/backward", json=SQUARE)
        assert (response.status_code, response.json()["code"]) == (503, "busy")
        assert int(response.headers["retry-after"]) >= 1
        pending.result()


def test_sigterm_ends_the_service_and_its_workers(start_service, stop_service, processes_of):
    process, _ = start_service(WORKERS="2")
    below = processes_of(process.pid)
    assert len(below) >= 2
    assert stop_service(process) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in below)


def test_the_catalogue_is_answered_by_workers_that_can_read_no_file(real_url):
    page = httpx.get(f"{real_url}/v1/ops/relu")
    assert (page.status_code, page.json()["name"]) == (200, "relu")
    assert len(httpx.get(f"{real_url}/v1/ops").json()["ops"]) > 500


def test_a_connection_that_breaks_off_costs_nobody_anything(real_url):
    host, port = real_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST /v1/backward HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{")
    assert httpx.post(f"{real_url}/v1/backward", json=SQUARE, timeout=60).status_code == 200


def test_the_http_process_has_not_loaded_torch(own_service, processes_of):
    pid, url = own_service()
    assert httpx.post(f"{url}/v1/backward", json=SQUARE, timeout=60).status_code == 200
    assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()
    (worker,) = processes_of(pid, "worker", 1)
    assert "libtorch" in Path(f"/proc/{worker}/maps").read_text()
