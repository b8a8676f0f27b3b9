"""What was found, as tables in Markdown and as a page."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from string import Template

from pullback_bench.aims import AIMS, Aim
from pullback_bench.parts import FULL, Scale
from pullback_bench.results import Results
from pullback_bench.servers import PEERS

PAGE = Path(__file__).with_name("page.md")
OWN_PACKAGES = ("torch", "fastapi", "pydantic", "uvicorn", "uvloop", "httptools", "numpy")
PEER_PACKAGES = ("tesseract-core", "umbridge", "torch", "fastapi", "pydantic", "uvicorn", "aiohttp", "numpy")


def page(results: Results, parts: Iterable[str], scale: Scale) -> str:
    """The whole page: prose around the tables of the parts that were measured."""
    tables = {part: table(results, part) or "Not measured in this run." for part in parts}
    return Template(PAGE.read_text()).substitute(
        tables,
        aims=aims_table(results),
        skipped=skipped(results),
        machine=machine(),
        date=date.today().isoformat(),
        scale=_extent(scale),
    )


def _extent(scale: Scale) -> str:
    if scale == FULL:
        return f"{scale.rounds} rounds; figures are medians of rounds"
    return "**a quick run with small tensors, which shows that it runs, not how fast**"


def table(results: Results, part: str) -> str:
    """Medians of the rounds: a line a row, a column a measure."""
    measures = list(dict.fromkeys(measure for measure, _ in results.figures if measure.part == part))
    if not measures:
        return ""
    heads = [f"{measure.name}, {measure.unit}" if measure.unit else measure.name for measure in measures]
    lines = [[row, *(told(results.median(measure, row)) for measure in measures)] for row in results.rows(part)]
    return _markdown(["", *heads], lines)


def aims_table(results: Results) -> str:
    """Each aim, what was found, and whether it is met."""
    lines = []
    for aim in AIMS:
        found = aim.found(results)
        met = "not measured" if found is None else "yes" if aim.is_met(found) else "no"
        lines.append([_sentence(aim), told(found) + (" x" if aim.other and found is not None else ""), met])
    return _markdown(["aim", "found", "met"], lines)


def _sentence(aim: Aim) -> str:
    bound = f"at {'least' if aim.is_at_least else 'most'} {aim.bound:g}"
    against = f" x {aim.other}" if aim.other else f" {aim.measure.unit}"
    return f"{aim.row}: {aim.measure.name}{_context(aim)}, {bound}{against}"


def _context(aim: Aim) -> str:
    return {"large": ", 1e6 numbers", "bulk": ", 100 MB"}.get(aim.measure.part, "")


def skipped(results: Results) -> str:
    """Who was left out, and why."""
    if not results.skipped:
        return "Nobody was left out."
    return "\n".join(f"- Left out ({part}): {row}: {reason}." for (part, row), reason in results.skipped.items())


def told(figure: float | None) -> str:
    """About three digits."""
    if figure is None:
        return ""
    return f"{figure:,.{0 if figure >= 100 else 1 if figure >= 10 else 2}f}"


def machine() -> str:
    """What this ran on and with."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    own = ", ".join(f"{name} {version(name)}" for name in OWN_PACKAGES)
    peers = ", ".join(f"{name} {_pinned(name)}" for name in PEER_PACKAGES)
    return "\n".join(
        [
            f"- {len(os.sched_getaffinity(0))} cores ({_processor()}), {memory:.0f} GiB of memory, "
            f"Linux {platform.release()}, Python {platform.python_version()}",
            f"- Pullback, the naive handler and the echoes: {own}",
            f"- The peers: {peers}",
        ]
    )


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _pinned(package: str) -> str:
    found = re.search(rf"^{package}==(\S+)$", (PEERS / "requirements.txt").read_text(), re.MULTILINE)
    return found[1] if found else "unknown"


def _markdown(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [heads, ["---", *["---:"] * (len(heads) - 1)], *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
