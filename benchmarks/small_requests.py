"""A small `backward` against a bare FastAPI echo: interleaved rounds in one run, medians and their ratio.

Both servers run as real processes on loopback; one connection, one request at a time.
"""

from __future__ import annotations

import json
import statistics
import time
from contextlib import ExitStack
from http.client import HTTPConnection

from servers import echo, service

ROUNDS, REQUESTS = 9, 300
BODY = json.dumps(
    {"graph": "y = relu(x * x)", "inputs": {"x": [-1.0, 0.5, 2.0]}, "grad_tensors": {"y": [1.0, 1.0, 1.0]}}
).encode()
HEADERS = {"content-type": "application/json"}


def median_us(connection: HTTPConnection, path: str) -> float:
    times = []
    for _ in range(REQUESTS):
        start = time.perf_counter()
        connection.request("POST", path, BODY, HEADERS)
        response = connection.getresponse()
        answer = response.read()
        times.append(time.perf_counter() - start)
        assert response.status == 200, answer
    return statistics.median(times) * 1e6


def main() -> None:
    with ExitStack() as stack:
        servers = {
            "backward": (HTTPConnection("127.0.0.1", service(stack).port), "/v1/backward"),
            "echo": (HTTPConnection("127.0.0.1", echo(stack).port), "/echo"),
        }
        rounds = [{name: median_us(*server) for name, server in servers.items()} for _ in range(ROUNDS + 1)][1:]
        for connection, _ in servers.values():
            connection.close()
    for name in servers:
        print(f"{name:10} p50 {statistics.median(r[name] for r in rounds):8.0f} us")
    ratio = statistics.median(r["backward"] / r["echo"] for r in rounds)
    print(f"ratio      {ratio:.2f} (aim: at most 3)")


if __name__ == "__main__":
    main()
