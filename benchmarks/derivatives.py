"""Dense Jacobians, Hessians and H v: the service's derivatives in process against torch.func called directly.

Times are medians of interleaved rounds in one process on one thread; the peak of memory is that of a fresh process for
each contender. Only the ratios carry over to another machine.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from derivatives_cases import CASES, Case

BUDGET_S, MAX_ROUNDS = 12.0, 15
BLOCK_S = 0.01
"""What is faster is called so often in a row that it takes this long: as a loop would call it."""

OURS = "pullback"
MIB = 2**20


def contenders(case: Case) -> dict[str, Callable[[], Any]]:
    """Every way to the case's derivative; each call runs forward too."""
    return {OURS: case.ours(), **case.direct()}


def check(case: Case, ways: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Seconds of one run of each, after all have been seen to give the same numbers."""
    seconds, expected = {}, None
    for name, run in ways.items():
        start = time.perf_counter()
        result = run()
        seconds[name] = time.perf_counter() - start
        found = case.flatten(result)
        expected = found if expected is None else expected
        torch.testing.assert_close(found, expected, msg=lambda text, name=name: f"{case.name}, {name}: {text}")
    return seconds


def time_ratios(case: Case) -> dict[str, float]:
    """Median seconds of each contender, in interleaved rounds while the budget lasts; a slow one takes part less."""
    ways = contenders(case)
    once = check(case, ways)
    rounds = {name: max(1, min(MAX_ROUNDS, int(BUDGET_S / len(ways) / once[name]))) for name in ways}
    rounds[OURS] = max(rounds.values())
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(max(rounds.values())):
        for name, run in ways.items():
            if turn < rounds[name]:
                calls = max(1, int(BLOCK_S / once[name]))
                start = time.perf_counter()
                for _ in range(calls):
                    run()
                seconds[name].append((time.perf_counter() - start) / calls)
    return {name: statistics.median(times) for name, times in seconds.items()}


def peak_bytes() -> int:
    """The high-water mark of this process; getrusage would begin with that of the parent."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def measure_memory(case: Case, name: str) -> None:
    """In a fresh process: print by how much the contender raises the peak, after a small run of the same kind."""
    contenders(case.smaller())[name]()
    run = contenders(case)[name]
    before = peak_bytes()
    run()
    print(peak_bytes() - before)


def memory(case: Case, name: str) -> int:
    command = [sys.executable, __file__, "--case", case.name, "--memory", name]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout)


def row(case: Case) -> str:
    seconds = time_ratios(case)
    best = min((name for name in seconds if name not in (OURS, case.naive)), key=seconds.__getitem__)
    grown = {name: memory(case, name) / MIB for name in (OURS, best)}
    ratio = grown[OURS] / grown[best] if grown[best] else math.nan
    cells = [
        case.name,
        f"{seconds[OURS] * 1e3:.1f}",
        best,
        f"{seconds[OURS] / seconds[best]:.2f}",
        f"{seconds[case.naive] / seconds[OURS]:.1f}",
        f"{grown[OURS]:.0f} / {grown[best]:.0f}",
        f"{ratio:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", help="only cases whose name contains this")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory:
        measure_memory(next(case for case in CASES if case.name == options.case), options.memory)
        return
    print("| | ms | best of torch | time / best | naive / time | peak MiB, ours / best | peak / best |")
    print("|---|---|---|---|---|---|---|")
    for case in CASES:
        if options.case is None or options.case in case.name:
            print(row(case), flush=True)


if __name__ == "__main__":
    main()
