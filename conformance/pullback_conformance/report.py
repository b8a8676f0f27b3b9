"""What a whole run says, written down: a table for the service's catalogue, the exceptions, and a page for people."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import torch

from pullback_conformance.judge import BITS, CLOSE, Verdict
from pullback_service.program.catalogue import CONFORMANCE, MODES, catalogue

REQUIRED = {"float64": 0.995, "complex128": 0.99}
"""The least share of right samples, by dtype."""

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operators.md"
EXCEPTIONS = Path(__file__).with_name("exceptions.tsv")
"""Every sample that does not give torch's numbers: dtype, sample, outcome, reason."""


def summarise(verdicts: Iterable[Verdict]) -> dict[str, float]:
    """Print the counts, and give the share of right samples in reverse mode by dtype."""
    shares: dict[str, float] = {}
    for dtype, counts in _outcomes(verdicts).items():
        right, total = counts[BITS] + counts[CLOSE], counts.total()
        shares[dtype] = right / total
        print(
            f"{dtype}: {right} of {total} samples right ({right / total:.2%}), {counts[BITS]} of them to the last bit"
        )
    return shares


def write_reports(verdicts: list[Verdict]) -> None:
    """Rewrite the committed files from a whole run."""
    CONFORMANCE.write_text(_table(verdicts))
    EXCEPTIONS.write_text(_exceptions(verdicts))
    PAGE.write_text(page())


def known_exceptions() -> dict[tuple[str, str], tuple[str, str]]:
    """The committed exceptions: (dtype, sample) -> outcome and reason."""
    rows = [line.split("\t") for line in EXCEPTIONS.read_text().splitlines()]
    return {(dtype, sample): (outcome, reason) for dtype, sample, outcome, reason in rows if not outcome.isdigit()}


def _outcomes(verdicts: Iterable[Verdict]) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for verdict in verdicts:
        if verdict.mode == "reverse":
            found[verdict.dtype][verdict.outcome] += 1
    return found


def _table(verdicts: list[Verdict]) -> str:
    """A row a packet: right/tried in each mode, over all float64 samples whose graph calls it."""
    counts: dict[str, dict[str, list[int]]] = defaultdict(lambda: {mode: [0, 0] for mode in MODES})
    for verdict in verdicts:
        for packet in verdict.packets if verdict.dtype == "float64" else ():
            counts[packet][verdict.mode][0] += verdict.is_right
            counts[packet][verdict.mode][1] += 1
    served = set(catalogue().packets)
    rows = ((packet, *(f"{right}/{tried}" for right, tried in modes.values())) for packet, modes in counts.items())
    return "".join("\t".join(row) + "\n" for row in sorted(rows) if row[0] in served)


def _exceptions(verdicts: list[Verdict]) -> str:
    """The counts by dtype, then each sample that is not right."""
    lines = [
        "\t".join((dtype, "samples", str(counts.total()), str(counts[BITS])))
        for dtype, counts in _outcomes(verdicts).items()
    ]
    lines += [
        "\t".join((v.dtype, v.sample, v.outcome, " ".join(v.reason.split())[:200]))
        for v in verdicts
        if v.mode == "reverse" and not v.is_right
    ]
    return "".join(line + "\n" for line in lines)


def page() -> str:
    """docs/operators.md, from the committed files."""
    return "\n".join([*_introduction(), *_remainder(), *_operators(), ""])


def _introduction() -> list[str]:
    rows = [line.split("\t") for line in EXCEPTIONS.read_text().splitlines()]
    totals = {dtype: (int(total), int(bits)) for dtype, sample, total, bits in rows if sample == "samples"}
    wrong = Counter(dtype for dtype, sample, *_ in rows if sample != "samples")
    lines = [
        "# Operators",
        "",
        "<!-- Written by `make conformance`; do not edit. -->",
        "",
        f"Measured with torch {torch.__version__.split('+')[0]}: every autograd sample that PyTorch has for its",
        "own operators (`op_db`) was traced to a graph and sent through the service, and outputs and gradients were",
        "compared with `torch.autograd` on the original function.",
        "",
        "| dtype | samples | torch's numbers | to the last bit |",
        "|---|---|---|---|",
    ]
    for dtype, (total, bits) in totals.items():
        right = total - wrong[dtype]
        lines.append(f"| {dtype} | {total:,} | {right:,} ({right / total:.2%}) | {bits:,} |")
    return lines


def _remainder() -> list[str]:
    grouped: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for (dtype, sample), (outcome, reason) in known_exceptions().items():
        operator, _, number = sample.removesuffix("]").rpartition("[")
        grouped[operator, outcome, reason].append(f"{dtype} {number}")
    lines = ["", "## The remainder", "", "| samples of | which | what happens | why |", "|---|---|---|---|"]
    for (operator, outcome, reason), places in sorted(grouped.items()):
        shown = ", ".join(places[:6]) + (f" and {len(places) - 6} more" if len(places) > 6 else "")
        lines.append(f"| `{operator}` | {shown} | {outcome} | {_escaped(reason)} |")
    return lines


def _operators() -> list[str]:
    counts = {packet: modes for packet, *modes in (line.split("\t") for line in CONFORMANCE.read_text().splitlines())}
    lines = [
        "",
        "## What is served",
        "",
        "Right/tried samples in float64 by kind of derivative: v^T J, many v at once, J t, the derivative of v^T J;",
        "`-` where no sample calls the operator. Names stand without `aten.`; `GET /v1/ops/{name}` shows signatures.",
        "",
        "| operator | tier | reverse | batched reverse | forward | second order |",
        "|---|---|---|---|---|---|",
    ]
    for packet in catalogue().packets:
        tiers = {operator.tier for operator in catalogue().overloads(packet)}
        cells = ["-" if count.endswith("/0") else count for count in counts.get(packet, ["0/0"] * len(MODES))]
        lines.append(f"| `{packet}` | {', '.join(sorted(tiers))} | {' | '.join(cells)} |")
    return lines


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<")
