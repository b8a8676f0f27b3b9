"""Bars on a logarithmic axis, as SVG."""

from __future__ import annotations

import math
from xml.sax.saxutils import escape

from pullback_bench import results as r
from pullback_bench.report import told
from pullback_bench.results import Results
from pullback_bench.rows import OURS

PANELS = {
    r.CPU_MANY: "small request: server CPU, us",
    r.P50_ALONE: "small request: p50 with 1 client, us",
    r.RATE_MANY: "small request: answers/s with 64 clients (more is better)",
    r.LARGE: "1e6 float64 in each tensor: time, ms",
    r.BULK: "100 MB in and out: time, ms",
}
LABELS, BARS, MARGIN, LINE, BAR = 250, 520, 80, 22, 15
BLUE, GREY = "#2563eb", "#9ca3af"


def plot(results: Results) -> str:
    """A panel a measure that has figures, a bar a row, the median in figures beside it."""
    drawn: list[str] = []
    top = 10
    for measure, title in PANELS.items():
        rows = {row: results.median(measure, row) for row in results.rows(measure.part)}
        figures = {row: figure for row, figure in rows.items() if figure}
        if figures:
            drawn += _panel(title, figures, top)
            top += LINE * (len(figures) + 3)
    width = LABELS + BARS + MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top}" font-family="sans-serif" font-size="13">'
    )
    return "\n".join([head, f'<rect width="{width}" height="{top}" fill="white"/>', *drawn, "</svg>", ""])


def _panel(title: str, figures: dict[str, float], top: int) -> list[str]:
    low = math.floor(math.log10(min(figures.values())) - 0.01)
    high = math.ceil(math.log10(max(figures.values())))
    scale = BARS / (high - low)
    bottom = top + LINE * (len(figures) + 1)
    drawn = [f'<text x="10" y="{top + BAR}" font-weight="bold">{escape(title)}</text>']
    for decade in range(low, high + 1):
        x = LABELS + (decade - low) * scale
        drawn.append(f'<line x1="{x:.0f}" x2="{x:.0f}" y1="{top + LINE}" y2="{bottom}" stroke="#e5e7eb"/>')
        drawn.append(
            f'<text x="{x:.0f}" y="{bottom + BAR}" text-anchor="middle" fill="#6b7280">{10.0**decade:,g}</text>'
        )
    for number, (row, figure) in enumerate(figures.items(), 1):
        y = top + LINE * number
        length = (math.log10(figure) - low) * scale
        colour = BLUE if row.startswith(OURS) else GREY
        drawn.append(f'<text x="{LABELS - 8}" y="{y + BAR}" text-anchor="end">{escape(row)}</text>')
        drawn.append(f'<rect x="{LABELS}" y="{y + 3}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>')
        drawn.append(f'<text x="{LABELS + length + 5:.1f}" y="{y + BAR}">{told(figure)}</text>')
    return drawn
