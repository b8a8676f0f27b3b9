"""Small and mixed load at several concurrencies, with and without faults, beside a bare FastAPI echo in the same run.

All servers run as real processes on loopback, and so does this client, on the same cores: only ratios carry over. Every
answer is compared with the right one. Faults: every half second a worker is killed (SIGKILL) or stopped (SIGSTOP), in
turn. Health is asked for all the while.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import os
import signal
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pullback_bench.servers import Server, descendants, echo, service

CONCURRENCIES = (1, 8, 32, 64)
ROUNDS, ROUND_S = 2, 4.0
FAULT_EVERY_S, HEALTH_EVERY_S = 0.5, 0.02
DEADLINE_S = "2"


@dataclass(frozen=True)
class Request:
    """What is sent, and what a right answer holds."""

    kind: str
    path: str
    body: bytes
    expected: bytes

    def raw(self) -> bytes:
        head = f"POST {self.path} HTTP/1.1\r\nhost: l\r\ncontent-type: application/json\r\n"
        return f"{head}content-length: {len(self.body)}\r\n\r\n".encode() + self.body


@dataclass
class Tally:
    """What came of a round."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    problems: Counter[str] = field(default_factory=Counter)
    health: list[float] = field(default_factory=list)

    def add(self, kind: str, seconds: float, problem: str | None) -> None:
        if problem is None:
            self.seconds.setdefault(kind, []).append(seconds)
        else:
            self.problems[problem] += 1


def backward(kind: str, graph: str, x: np.ndarray, gradient: np.ndarray) -> Request:
    """A gradient of a sum; large tensors travel as base64."""

    encoding = "base64" if x.size > 100 else "nested"

    def data(tensor: np.ndarray) -> object:
        return base64.b64encode(tensor.tobytes()).decode() if encoding == "base64" else tensor.tolist()

    sent = {"dtype": "float64", "shape": list(x.shape), "encoding": encoding, "data": data(x)}
    body = {"graph": graph, "inputs": {"x": sent}, "encoding": encoding}
    answered = json.dumps(data(gradient), separators=(",", ":"))
    return Request(kind, "/v1/backward", json.dumps(body).encode(), answered.encode())


def small() -> Request:
    x = np.array([-1.0, 0.5, 2.0])
    return backward("small", "y = (x * x).sum()", x, 2 * x)


def large() -> Request:
    """2.7 MB in and as much out."""
    x = np.linspace(-1, 1, 250_000)
    return backward("large", "y = (x * x).sum()", x, 2 * x)


def heavy() -> Request:
    """Some tenths of a second of computing."""
    x = np.array([0.5])
    product = " @ ".join(["m"] * 12)
    graph = f"m = x * ones([700, 700], dtype='float64'); n = {product}; y = (n * 0).sum() + x.sum()"
    return backward("heavy", graph, x, np.ones(1))


def mixture() -> Iterator[Request]:
    """Of a hundred: 96 small ones, 3 large and 1 heavy."""
    light, wide, slow = small(), large(), heavy()
    return itertools.cycle(
        [light] * 24 + [wide] + [light] * 24 + [wide] + [light] * 24 + [wide] + [light] * 24 + [slow]
    )


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, raw: bytes) -> tuple[int, bytes]:
    writer.write(raw)
    await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    return int(head.split(b" ", 2)[1]), await reader.readexactly(size)


async def client(server: Server, requests: Iterator[Request], end: float, tally: Tally) -> None:
    """One connection, one request at a time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    while time.perf_counter() < end:
        request = next(requests)
        start = time.perf_counter()
        try:
            status, body = await exchange(reader, writer, request.raw())
        except (ConnectionError, asyncio.IncompleteReadError):
            tally.add(request.kind, 0, "connection lost")
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            continue
        tally.add(request.kind, time.perf_counter() - start, problem_in(request, status, body))
    writer.close()


def problem_in(request: Request, status: int, body: bytes) -> str | None:
    """What is not right about an answer."""
    if status == 200:
        return None if request.expected in body else "wrong"
    return f"{status} {json.loads(body)['code']} ({request.kind})"


async def probe(server: Server, end: float, tally: Tally) -> None:
    """How soon health is answered."""
    raw = b"GET /health/live HTTP/1.1\r\nhost: l\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    while time.perf_counter() < end:
        start = time.perf_counter()
        await exchange(reader, writer, raw)
        tally.health.append(time.perf_counter() - start)
        await asyncio.sleep(HEALTH_EVERY_S)
    writer.close()


async def harm(server: Server, end: float) -> None:
    """Kill a worker, stop another, and so on."""
    for number in itertools.count():
        await asyncio.sleep(FAULT_EVERY_S)
        if time.perf_counter() > end:
            return
        workers = [pid for pid in descendants(server.pid) if name_of(pid) == "pullback-worker"]
        if workers:
            with suppress(ProcessLookupError):
                os.kill(workers[number % len(workers)], (signal.SIGKILL, signal.SIGSTOP)[number % 2])


def name_of(pid: int) -> str:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


async def one_round(server: Server, requests: Iterator[Request], count: int, *, faults: bool, health: bool) -> Tally:
    tally = Tally()
    end = time.perf_counter() + ROUND_S
    tasks = [client(server, requests, end, tally) for _ in range(count)]
    tasks += [probe(server, end, tally)] if health else []
    tasks += [harm(server, end)] if faults else []
    await asyncio.gather(*tasks)
    return tally


def centile(values: list[float], share: float) -> float:
    """In milliseconds."""
    return 1e3 * sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def row(name: str, count: int, tallies: list[Tally]) -> str:
    kind_seconds: dict[str, list[float]] = {}
    for tally in tallies:
        for kind, seconds in tally.seconds.items():
            kind_seconds.setdefault(kind, []).extend(seconds)
    answered = sum(map(len, kind_seconds.values()))
    lights = kind_seconds.get("small", [])
    health = [seconds for tally in tallies for seconds in tally.health]
    problems = sum((tally.problems for tally in tallies), Counter())
    told = ", ".join(f"{number} x {what}" for what, number in sorted(problems.items())) or "none"
    cells = [
        name,
        str(count),
        f"{answered / (ROUND_S * len(tallies)):,.0f}",
        f"{centile(lights, 0.5):.2f}",
        f"{centile(lights, 0.99):.1f}",
        f"{centile(health, 0.99):.1f} / {centile(health, 1):.1f}" if health else "",
        told,
    ]
    return f"| {' | '.join(cells)} |"


async def measure(concurrencies: list[int]) -> None:
    with ExitStack() as stack:
        ours, floor = service(stack, DEADLINE_S=DEADLINE_S), echo(stack)
        light = small()
        bare = Request("small", "/echo", light.body, light.body)
        print(
            "| load | clients | answers/s | small p50 ms | p99 ms | health p99 / max ms | other than a right answer |"
        )
        print("|---|---|---|---|---|---|---|")
        for count in concurrencies:
            found: dict[str, list[Tally]] = {}
            for _ in range(ROUNDS):
                rounds = {
                    "echo": one_round(floor, itertools.repeat(bare), count, faults=False, health=False),
                    "small": one_round(ours, itertools.repeat(light), count, faults=False, health=True),
                    "mixed": one_round(ours, mixture(), count, faults=False, health=True),
                    "small, faults": one_round(ours, itertools.repeat(light), count, faults=True, health=True),
                    "mixed, faults": one_round(ours, mixture(), count, faults=True, health=True),
                }
                for name, turn in rounds.items():
                    found.setdefault(name, []).append(await turn)
            for name, tallies in found.items():
                print(row(name, count, tallies), flush=True)
            ratio = statistics.median(
                centile(a.seconds["small"], 0.5) / centile(b.seconds["small"], 0.5)
                for a, b in zip(found["small"], found["echo"], strict=True)
            )
            print(f"| small / echo, p50 | {count} | | {ratio:.2f} | | | |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", nargs="+", type=int, default=list(CONCURRENCIES))
    asyncio.run(measure(parser.parse_args().clients))


if __name__ == "__main__":
    main()
