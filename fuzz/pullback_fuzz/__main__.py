"""`make fuzz`: random calls of every operator for a while; exit status 1 if one outside the isolated tier did harm."""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from pathlib import Path

CHECKING_MALLOC = Path("/usr/lib/x86_64-linux-gnu/libc_malloc_debug.so.0")
ENOUGH = 4
"""Findings about one overload, after which it is left out."""


def main() -> int:
    """Run, report."""
    parser = argparse.ArgumentParser(prog="pullback_fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long to go on")
    parser.add_argument("--seed", type=int, default=0, help=environment_for.__doc__)
    parser.add_argument("--only", help="only overloads whose names contain this")
    parser.add_argument("--call", type=int, help="make this one call, here, and show it with its answer")
    options = parser.parse_args()
    wanted = environment_for(options.seed)
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, "-m", "pullback_fuzz", *sys.argv[1:]], {**os.environ, **wanted})
    warnings.simplefilter("ignore")
    return _run(options)


def environment_for(seed: int) -> dict[str, str]:
    """What calls are drawn from. Even: watch for writes past a block's end; odd: for answers from unwritten memory."""
    malloc = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0", "MALLOC_PERTURB_": "90", "OMP_NUM_THREADS": "1"}
    if seed % 2 or not CHECKING_MALLOC.exists():
        return malloc
    return malloc | {"MALLOC_CHECK_": "3", "LD_PRELOAD": str(CHECKING_MALLOC)}


def _run(options: argparse.Namespace) -> int:
    from pullback_fuzz.calls import Calls, operators_in_random_order
    from pullback_fuzz.corpus import read_corpus
    from pullback_fuzz.findings import Tally
    from pullback_fuzz.session import build_small_engine, fuzz, show

    engine = build_small_engine()
    calls = Calls(options.seed, operators_in_random_order(options.seed, options.only), read_corpus())
    if options.call is not None:
        show(engine, calls, options.call)
        return 0
    tally = Tally(calls)
    fuzz(engine, calls, tally, time.monotonic() + options.seconds, ENOUGH)
    print(tally.report())
    return 1 if tally.outside() else 0


if __name__ == "__main__":
    sys.exit(main())
