"""Small requests for one graph, many at a time, over a real socket: answered together, each with its own numbers."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import httpx

CLIENTS, EACH = 48, 20
GRAPH = "y = relu(x * x)"


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


def all_at_once(url: str, **more: Any) -> list[Any]:
    """The meta of many answers, each of which was right."""

    async def run() -> list[Any]:
        limits = httpx.Limits(max_connections=CLIENTS)
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as client:
            return await asyncio.gather(*(ask(client, number, **more) for number in range(CLIENTS * EACH)))

    return asyncio.run(run())


def test_requests_that_wait_for_a_worker_are_answered_together(own_service):
    _, url = own_service(WORKERS="1")
    metas = all_at_once(url)
    assert max(meta.get("together", 1) for meta in metas) > 1


def test_deterministic_requests_are_answered_alone(own_service):
    _, url = own_service(WORKERS="1")
    assert {meta.get("together", 1) for meta in all_at_once(url, deterministic=True)} == {1}


def test_workers_that_are_killed_meanwhile_cost_no_answer(own_service, processes_of):
    pid, url = own_service(WORKERS="1")

    async def run() -> int:
        limits = httpx.Limits(max_connections=CLIENTS)
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as client:
            tasks = [asyncio.create_task(ask(client, number)) for number in range(CLIENTS * EACH)]
            kills = 0
            for task in tasks[:: len(tasks) // 4]:
                await task
                for worker in processes_of(pid, "worker"):
                    os.kill(worker, signal.SIGKILL)
                    kills += 1
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            assert [answer for answer in answers if isinstance(answer, BaseException)] == []
            return kills

    assert asyncio.run(run())
