"""`python -m pullback_conformance`: run PyTorch's samples through the service and write down how they fared.

`--dtypes float64 complex128` and `--only add linalg.det` narrow the run; only a whole one rewrites the committed files.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch

from pullback_conformance.judge import Verdict
from pullback_conformance.report import REQUIRED, summarise, write_reports
from pullback_conformance.run import judge_operator
from pullback_conformance.samples import operators

DTYPES = ("float64", "complex128", "float32", "complex64", "bfloat16", "float16")
MODES_IN = "float64"


def main() -> None:
    """Run, report, and fail when a required share is not reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    verdicts = run(options.dtypes, frozenset(options.only), options.processes)
    shares = summarise(verdicts)
    if not options.only and tuple(options.dtypes) == DTYPES:
        write_reports(verdicts)
    sys.exit(any(shares.get(dtype, 1.0) < share for dtype, share in REQUIRED.items()))


def run(dtypes: list[str], names: frozenset[str], processes: int) -> list[Verdict]:
    """The verdicts on every sample, operator by operator, several at once."""
    tasks = [(dtype, i) for dtype in dtypes for i in range(len(operators(getattr(torch, dtype), names)))]
    verdicts: list[Verdict] = []
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        found = [pool.submit(judge_operator, dtype, i, names, dtype == MODES_IN) for dtype, i in tasks]
        for done, future in enumerate(found, 1):
            verdicts += future.result()
            print(f"\r{done} of {len(tasks)} operators", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return verdicts


if __name__ == "__main__":
    main()
