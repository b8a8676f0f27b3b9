"""A body of 100 MB with an answer as large costs no process more than a small multiple of it."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from pullback_schemas.safetensors import Stored, write

JSON, SAFETENSORS = "application/json", "application/vnd.safetensors"
BODY_BYTES = 100_000_000
WORKER_FACTOR, HTTP_FACTOR = 3.6, 2.5
"""Peak beyond idle, in bodies."""

NUMBERS = np.random.default_rng(5).standard_normal(BODY_BYTES // 8)
GRAPH = "y = x * 1.5"


def as_json() -> bytes:
    text = orjson.dumps(NUMBERS[: BODY_BYTES // 40], option=orjson.OPT_SERIALIZE_NUMPY)
    return b'{"graph":"%s","inputs":{"x":%s},"grad_tensors":{"y":%s}}' % (GRAPH.encode(), text, text)


def as_base64() -> bytes:
    count = BODY_BYTES * 3 // 4 // 16
    data = base64.b64encode(NUMBERS[:count].tobytes()).decode()
    tensor = {"dtype": "float64", "shape": [count], "encoding": "base64", "data": data}
    body = {"graph": GRAPH, "inputs": {"x": tensor}, "grad_tensors": {"y": tensor}, "encoding": "base64"}
    return json.dumps(body).encode()


def as_safetensors() -> bytes:
    count = BODY_BYTES // 16
    request = {"graph": GRAPH, "inputs": {"x": {"tensor": "x"}}, "grad_tensors": {"y": {"tensor": "v"}}}
    stored = Stored("F64", (count,), NUMBERS[:count].tobytes())
    return b"".join(write({"request": json.dumps(request)}, {"x": stored, "v": stored}))


def peak_bytes(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


@pytest.mark.parametrize(
    ("write_body", "media"), [(as_json, JSON), (as_base64, JSON), (as_safetensors, SAFETENSORS)], ids=str
)
def test_a_large_call_costs_a_small_multiple_of_its_body(
    own_service: Any, processes_of: Any, write_body: Any, media: str
) -> None:
    pid, url = own_service()
    (worker,) = processes_of(pid, "worker", 1)
    small = {"graph": GRAPH, "inputs": {"x": [1.0]}, "grad_tensors": {"y": [1.0]}}
    assert httpx.post(f"{url}/v1/backward", json=small).status_code == 200
    idle = {process: peak_bytes(process) for process in (worker, pid)}
    body = write_body()
    assert len(body) > 0.9 * BODY_BYTES
    headers = {"content-type": media, "accept": media}
    with httpx.stream("POST", f"{url}/v1/backward", content=body, headers=headers, timeout=120) as response:
        answered = sum(len(chunk) for chunk in response.iter_bytes())
    assert response.status_code == 200
    assert answered > 0.9 * len(body)
    assert (peak_bytes(worker) - idle[worker]) / len(body) < WORKER_FACTOR
    assert (peak_bytes(pid) - idle[pid]) / len(body) < HTTP_FACTOR


def test_large_requests_with_a_mistake_leave_nothing_behind(own_service: Any, processes_of: Any) -> None:
    pid, url = own_service(WORKERS="1")
    (worker,) = processes_of(pid, "worker", 1)
    body = b'{"graph":"y = rxlu(x)","inputs":{"x":[%s]}}' % b",".join([b"1.25"] * 100_000)
    codes = {httpx.post(f"{url}/v1/backward", content=body).json()["code"] for _ in range(50)}
    assert codes == {"unknown_op"}
    assert len(list(Path(f"/proc/{worker}/fd").iterdir())) < 10
