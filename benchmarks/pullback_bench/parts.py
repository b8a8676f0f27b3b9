"""What is measured: each part gives its turns, by row a function that asks for a while and gives a round's figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from time import perf_counter

from pullback_bench import in_process
from pullback_bench import results as r
from pullback_bench.bombardment import Bombardment, bombarded
from pullback_bench.case import Case, case
from pullback_bench.clients import Connection, Tally, Unanswered, drive, require_right
from pullback_bench.forms import Exchange
from pullback_bench.results import Measure, Results
from pullback_bench.rows import BESIDE, IN_PROCESS, Row
from pullback_bench.servers import Server

CLIENTS, BESIDE_CLIENTS = 64, 8

Figures = dict[Measure, float]
Turns = Mapping[str, Callable[[], Figures]]


@dataclass(frozen=True)
class Scale:
    """How much is measured: sizes in float64 numbers, of each of x, grad_tensors, y and gradient."""

    rounds: int
    alone_s: float
    many_s: float
    large_s: float
    beside_s: float
    small_n: int = 3
    large_n: int = 1_000_000
    bulk_n: int = 6_250_000


FULL = Scale(rounds=7, alone_s=0.7, many_s=1.5, large_s=0.3, beside_s=3)
"""A few minutes."""

QUICK = Scale(rounds=1, alone_s=0.05, many_s=0.1, large_s=0, beside_s=0.1, large_n=10_000, bulk_n=100_000)
"""Seconds, and figures that mean nothing: that it runs."""


def take_turns(part: str, turns: Turns, rounds: int, results: Results) -> None:
    """Everyone once a round, A B A B; a first round is not counted. Who fails once is left out of the part."""
    for number in range(rounds + 1):
        for row, turn in turns.items():
            if (part, row) in results.skipped:
                continue
            try:
                figures = turn()
            except Unanswered as failure:
                results.skip(part, row, str(failure))
                continue
            for measure, figure in figures.items():
                if number:
                    results.add(measure, row, figure)


def small(rows: Mapping[Row, Server], scale: Scale) -> Turns:
    """One client, then many, with a handful of numbers."""
    asked = case(scale.small_n)
    turns = {row.name: partial(_small_turn, server, row.form(asked), scale) for row, server in rows.items()}
    return {**turns, IN_PROCESS: partial(_small_turn_in_process, asked, scale.many_s)}


def _small_turn(server: Server, exchange: Exchange, scale: Scale) -> Figures:
    raw = exchange.raw()
    alone = drive(server.port, raw, clients=1, seconds=scale.alone_s)
    cpu = server.cpu_s()
    many = drive(server.port, raw, clients=CLIENTS, seconds=scale.many_s)
    cpu = server.cpu_s() - cpu
    for tally in (alone, many):
        require_right(exchange, tally.last)
    return {
        r.P50_ALONE: 1e6 * alone.centile(0.5),
        r.RATE_MANY: len(many.seconds) / many.passed_s,
        r.P50_MANY: 1e3 * many.centile(0.5),
        r.P99_MANY: 1e3 * many.centile(0.99),
        r.CPU_MANY: 1e6 * cpu / len(many.seconds),
    }


def _small_turn_in_process(asked: Case, seconds: float) -> Figures:
    x, v, right = asked.x.tolist(), asked.grad_tensors.tolist(), (asked.y.tolist(), asked.gradient.tolist())
    times, cpu, end = [], time.process_time(), perf_counter() + seconds
    while (start := perf_counter()) < end:
        answer = in_process.gradient_of_lists(x, v)
        times.append(perf_counter() - start)
    cpu = time.process_time() - cpu
    assert answer == right
    return {
        r.P50_ALONE: 1e6 * Tally(times).centile(0.5),
        r.CPU_MANY: 1e6 * cpu / len(times),
    }


def large(rows: Mapping[Row, Server], scale: Scale) -> Turns:
    """A million numbers in each tensor, one request at a time."""
    asked = case(scale.large_n)
    measures = r.LARGE, r.LARGE_CPU
    turns = {
        row.name: partial(_sized_turn, server, row.form(asked), scale.large_s, *measures)
        for row, server in rows.items()
    }
    return {**turns, IN_PROCESS: partial(_large_turn_in_process, asked, scale.large_s)}


def bulk(rows: Mapping[Row, Server], scale: Scale) -> Turns:
    """100 MB in and 100 MB out, one request at a time."""
    asked = case(scale.bulk_n)
    measures = r.BULK, r.BULK_CPU
    return {
        row.name: partial(_sized_turn, server, row.form(asked), scale.large_s, *measures)
        for row, server in rows.items()
    }


def _sized_turn(server: Server, exchange: Exchange, seconds: float, took: Measure, cost: Measure) -> Figures:
    raw = exchange.raw()
    with Connection(server.port) as connection:
        require_right(exchange, bytes(connection.exchange(raw)))
        cpu = server.cpu_s()
        times = _repeat(lambda: connection.exchange(raw), seconds)
        cpu = server.cpu_s() - cpu
    return {took: 1e3 * Tally(times).centile(0.5), cost: 1e3 * cpu / len(times)}


def _large_turn_in_process(asked: Case, seconds: float) -> Figures:
    assert asked.holds(in_process.gradient_of_arrays(asked))
    cpu = time.process_time()
    times = _repeat(lambda: in_process.gradient_of_arrays(asked), seconds)
    cpu = time.process_time() - cpu
    return {r.LARGE: 1e3 * Tally(times).centile(0.5), r.LARGE_CPU: 1e3 * cpu / len(times)}


def _repeat(act: Callable[[], object], seconds: float) -> list[float]:
    """Seconds of each time, of one at least."""
    times: list[float] = []
    end = perf_counter() + seconds
    while not times or perf_counter() < end:
        start = perf_counter()
        act()
        times.append(perf_counter() - start)
    return times


def beside(rows: Mapping[Row, Server], scale: Scale) -> Turns:
    """Small requests and health, alone and while 100 MB requests are worked on."""
    server, exchange = next((server, row.form(case(scale.small_n))) for row, server in rows.items())
    alone, accompanied = BESIDE
    return {
        alone: partial(_beside_turn, server, exchange, scale.beside_s, None),
        accompanied: partial(_beside_turn, server, exchange, scale.beside_s, scale.bulk_n),
    }


def _beside_turn(server: Server, exchange: Exchange, seconds: float, n: int | None) -> Figures:
    health = Tally()
    with nullcontext(Bombardment()) if n is None else bombarded(server.port, n) as large_ones:
        tally = drive(server.port, exchange.raw(), clients=BESIDE_CLIENTS, seconds=seconds, health=health)
    require_right(exchange, tally.last)
    return {
        r.BESIDE_P50: 1e3 * tally.centile(0.5),
        r.BESIDE_P99: 1e3 * tally.centile(0.99),
        r.BESIDE_HEALTH: 1e3 * health.centile(1),
        r.BESIDE_RATE: len(tally.seconds) / tally.passed_s,
        r.BESIDE_BULK: large_ones.answered / tally.passed_s,
    }


PARTS = {"small": small, "large": large, "bulk": bulk, "beside": beside}
