"""Small requests for one graph, many at a time, over a real socket: answered together, each with its own numbers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import numpy as np
import pytest
import safetensors.numpy

CLIENTS, EACH, KILLS = 48, 30, 16
GRAPH = "y = relu(x * x)"
FILE = "application/vnd.safetensors"
LESSONS = 6
SHOWN_IN_S = 20
SQUARINGS = [f"a{k} = a{k - 1} @ a0" for k in range(1, 40)]
SLOW = {"graph": "; ".join(["a0 = eye(1200)", *SQUARINGS, "y = a39.sum() * x"]), "inputs": {"x": 1.0}}


def body(k: float, **more: Any) -> dict[str, Any]:
    return {"graph": GRAPH, "inputs": {"x": [-1.0, k]}, "grad_tensors": {"y": [1.0, 0.5]}, **more}


async def ask(client: httpx.AsyncClient, number: int, **more: Any) -> Any:
    k = 1 + number / 7
    response = await client.post("/v1/backward", json=body(k, **more))
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["outputs"]["y"]["data"] == [1.0, k * k]
    assert answer["gradients"]["x"]["data"] == [-2.0, 0.5 * k + 0.5 * k]
    return answer["meta"]


async def ask_in_file(client: httpx.AsyncClient, number: int) -> Any:
    k = 1 + number / 7
    request = {"graph": GRAPH, "inputs": {"x": {"tensor": "x"}}, "grad_tensors": {"y": {"tensor": "v"}}}
    tensors = {"x": np.array([-1.0, k]), "v": np.array([1.0, 0.5])}
    content = safetensors.numpy.save(tensors, metadata={"request": json.dumps(request)})
    response = await client.post("/v1/backward", content=content, headers={"content-type": FILE, "accept": FILE})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == FILE
    found = safetensors.numpy.load(response.content)
    assert found["outputs/y"].tolist() == [1.0, k * k]
    assert found["gradients/x"].tolist() == [-2.0, 0.5 * k + 0.5 * k]
    size = int.from_bytes(response.content[:8], "little")
    header = json.loads(response.content[8 : 8 + size])
    return json.loads(header["__metadata__"]["result"])["meta"]


def behind_another(url: str, ask: Callable[..., Awaitable[Any]] = ask, **more: Any) -> list[Any]:
    """The meta of answers to requests that all waited for the same worker, each of which was right."""

    async def run() -> list[Any]:
        limits = httpx.Limits(max_connections=CLIENTS)
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as client:
            for number in range(LESSONS):
                await ask(client, number, **more)
            slow = asyncio.create_task(client.post("/v1/forward", json=SLOW))
            await shown(client, "busy", 1)
            tasks = [asyncio.create_task(ask(client, number, **more)) for number in range(CLIENTS - 2)]
            await shown(client, "waiting", CLIENTS - 2)
            assert not slow.done()
            await slow
            return await asyncio.gather(*tasks)

    return asyncio.run(run())


async def shown(client: httpx.AsyncClient, what: str, count: int) -> None:
    async with asyncio.timeout(SHOWN_IN_S):
        while (await client.get("/health/ready")).json()["workers"][what] != count:
            pass


async def ask_for_values(client: httpx.AsyncClient, number: int) -> Any:
    k = 1 + number / 7
    response = await client.post("/v1/forward", json={"graph": GRAPH, "inputs": {"x": [-1.0, k]}})
    assert response.status_code == 200, response.text
    assert response.json()["outputs"]["y"]["data"] == [1.0, k * k]
    return response.json()["meta"]


@pytest.mark.parametrize("asked", [ask, ask_in_file, ask_for_values])
def test_requests_that_wait_for_a_worker_are_answered_together(own_service, asked):
    _, url = own_service(WORKERS="1")
    assert [meta.get("together", 1) for meta in behind_another(url, asked)] == [CLIENTS - 2] * (CLIENTS - 2)


def test_deterministic_requests_are_answered_alone(own_service):
    _, url = own_service(WORKERS="1")
    assert {meta.get("together", 1) for meta in behind_another(url, deterministic=True)} == {1}


def test_workers_that_are_killed_meanwhile_cost_no_answer(own_service, processes_of):
    pid, url = own_service(WORKERS="1")

    async def run() -> int:
        limits = httpx.Limits(max_connections=CLIENTS)
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as client:
            tasks = [asyncio.create_task(ask(client, number)) for number in range(CLIENTS * EACH)]
            kills = 0
            for task in tasks[:: len(tasks) // KILLS]:
                await task
                for worker in processes_of(pid, "worker"):
                    os.kill(worker, signal.SIGKILL)
                    kills += 1
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            assert [answer for answer in answers if isinstance(answer, BaseException)] == []
            return kills

    assert asyncio.run(run())
