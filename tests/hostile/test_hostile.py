"""No request, however hostile, gets more than an honest refusal, or makes the service answer the next one wrongly."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from tests.hostile.budgets import BUDGETS
from tests.hostile.case import SOME, Case
from tests.hostile.crashes import CRASHES
from tests.hostile.graphs import GRAPHS
from tests.hostile.operators import OPERATORS
from tests.hostile.sizes import SIZES
from tests.hostile.wire import WIRE

CASES = [*OPERATORS, *SIZES, *BUDGETS, *WIRE, *GRAPHS, *CRASHES]
ORDINARY = {"graph": "y = x * x", "inputs": {"x": [1.0, 2.0, 3.0]}, "grad_tensors": {"y": [1.0, 0.5, 0.25]}}
ANSWERED_IN_S = 30
LITTLE = {
    "DEADLINE_S": "10",
    "MAX_TOUCHED_ELEMENTS": str(2**32),
    "MAX_FLOPS": str(2**39),
    "WORKER_MEMORY_BYTES": str(2**32),
}
"""A deadline much shorter than usual, and budgets that go with it."""

Reply = tuple[int | None, bytes]


@pytest.fixture(scope="module")
def url(start_service: Callable[..., Any], stop_service: Callable[..., int]) -> Iterator[str]:
    """One service with two workers, little patience and small budgets, for all cases."""
    process, address = start_service(WORKERS="2", **LITTLE)
    yield address
    assert stop_service(process) == 0


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=ANSWERED_IN_S) as connected:
        yield connected


def send(url: str, case: Case) -> Reply:
    """What the service answers; no status if it closes the connection instead."""
    parts = httpx.URL(url)
    with socket.create_connection((parts.host, parts.port or 80), timeout=ANSWERED_IN_S) as connection:
        try:
            connection.sendall(case.request())
            if case.code is None:
                with suppress(OSError):  # the service may have closed it by now
                    connection.shutdown(socket.SHUT_WR)
            with http.client.HTTPResponse(connection) as response:
                response.begin()
                return response.status, response.read()
        except (ConnectionError, http.client.HTTPException):
            return None, b""


def workers_lost(client: httpx.Client) -> int:
    lost: int = client.get("/health/ready").json()["workers"]["restarted"]
    return lost


@pytest.mark.parametrize("case", CASES, ids=[ascii(case.id).strip("'\"") for case in CASES])
def test_a_hostile_request_is_refused_at_its_place_and_the_next_one_is_right(
    url: str, client: httpx.Client, case: Case
) -> None:
    before = workers_lost(client)
    status, body = send(url, case)
    gradient = client.post("/v1/backward", json=ORDINARY).json()["gradients"]["x"]["data"]
    assert gradient == [2.0, 2.0, 1.5]
    assert workers_lost(client) - before <= case.costs_worker
    if case.code is None:
        assert status in (None, 400, 431), body[:1000]
        return
    problem = json.loads(body)
    assert case.answers.get(problem["code"]) == status, body[:1000]
    assert problem.get("pointer") == case.pointer, body[:1000]
    assert case.node in (None, SOME, problem.get("node")), body[:1000]
    assert case.node is None or problem.get("node"), body[:1000]
    assert len(body) < 20_000


def test_the_corpus_is_large_and_every_case_has_a_name_of_its_own() -> None:
    names = [case.id for case in CASES]
    assert len(names) == len(set(names)) >= 150


def test_a_case_names_a_place_unless_the_bytes_have_none() -> None:
    placeless = {"not_json", "duplicate_key", "too_deep", "not_found", "body_too_large", None}
    placeless |= {"unsupported_media_type", "not_acceptable", "invalid_coding", "invalid_safetensors"}
    nowhere = [case.id for case in CASES if case.pointer is None and case.node is None and case.code not in placeless]
    assert nowhere == []
