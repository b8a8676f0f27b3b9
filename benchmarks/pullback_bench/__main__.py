"""`python -m pullback_bench`: everything side by side, as a table here and, if wanted, as a page with a plot."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from pullback_bench.parts import FULL, PARTS, QUICK, take_turns
from pullback_bench.plot import plot
from pullback_bench.report import aims_table, page, skipped, table
from pullback_bench.results import Results
from pullback_bench.rows import OURS, ROWS, Row
from pullback_bench.servers import DidNotStart, Server, starters


def main() -> None:
    """Measure, tell, and fail if it is Pullback that did not answer rightly."""
    options = _options()
    rows = [row for row in ROWS if set(row.parts) & set(options.parts) and row.name in options.rows]
    scale, results = QUICK if options.quick else FULL, Results()
    with ExitStack() as stack:
        taking_part = _start(stack, rows, options.peers, results)
        for part in options.parts:
            those = {row: server for row, server in taking_part.items() if part in row.parts}
            if those:
                take_turns(part, PARTS[part](those, scale), scale.rounds, results)
            print(f"\n{part}\n\n{table(results, part)}", flush=True)
    print(f"\naims\n\n{aims_table(results)}\n\n{skipped(results)}")
    if options.page:
        options.page.write_text(page(results, PARTS, scale))
        options.page.with_suffix(".svg").write_text(plot(results))
    sys.exit(any(row.startswith(OURS) for _, row in results.skipped))


def _options() -> argparse.Namespace:
    names = list(dict.fromkeys(row.name for row in ROWS))
    parser = argparse.ArgumentParser(prog="pullback_bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round with small tensors: that it runs")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure")
    parser.add_argument("--rows", nargs="+", choices=names, default=names, help="whom to measure")
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers"), help="the virtual environment of the peers")
    parser.add_argument("--page", type=Path, help="where to write the page; the plot goes beside it")
    return parser.parse_args()


def _start(stack: ExitStack, rows: Iterable[Row], peers: Path, results: Results) -> Mapping[Row, Server]:
    """Every server that is needed, once; whoever does not come up is left out."""
    started: dict[str, Server | DidNotStart] = {}
    taking_part = {}
    for row in rows:
        if row.server not in started:
            try:
                started[row.server] = starters(peers.absolute())[row.server](stack)
            except DidNotStart as failure:
                started[row.server] = failure
        server = started[row.server]
        if isinstance(server, DidNotStart):
            for part in row.parts:
                results.skip(part, row.name, str(server))
        else:
            taking_part[row] = server
    return taking_part


if __name__ == "__main__":
    main()
