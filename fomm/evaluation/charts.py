"""Draw small charts as SVG, for a page without scripts.

Colours and fonts come from the page's style sheet: the series have the classes ``s0``, ``s1``, ... in order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT = 240, 130
LEFT, RIGHT, TOP, BOTTOM = 36, 6, 20, 18  # margins of the plot

Series = Sequence[float | None]


def draw_curves(title: str, series: dict[str, Series]) -> str:
    """Return a chart of numbers over the frames of a clip, a line for each series.

    A line has a gap where a number is None. The chart is empty ("") where there is no number at all.
    """
    known = [value for values in series.values() for value in values if value is not None]
    if not known:
        return ""
    low, high = _round_outwards(min(known), max(known))
    count = max(len(values) for values in series.values())
    plot = _Plot((0, max(count - 1, 1)), (low, high))
    lines = []
    for index, values in enumerate(series.values()):
        pen, parts = "M", []
        for frame, value in enumerate(values):
            if value is None:
                pen = "M"
                continue
            parts.append(f"{pen}{plot.x(frame):.1f} {plot.y(value):.1f}")
            pen = "L"
        lines.append(f'<path class="line s{index}" d="{" ".join(parts)}"/>')
    return plot.svg(title, lines, "frame")


def draw_histogram(title: str, series: dict[str, Series], bins: int = 12) -> str:
    """Return a chart of how many clips have which number, an outline for each series; "" for no numbers."""
    samples = [np.array([v for v in values if v is not None], float) for values in series.values()]
    known = np.concatenate(samples) if samples else np.empty(0)
    if not len(known):
        return ""
    low, high = _round_outwards(known.min(), known.max())
    edges = np.linspace(low, high, bins + 1)
    counts = [np.histogram(sample, edges)[0] for sample in samples]
    most = max(int(count.max()) for count in counts)
    plot = _Plot((low, high), (0, most + most % 2))  # even, for a whole number in the middle
    shapes = []
    for index, count in enumerate(counts):
        corners = [f"M{plot.x(low):.1f} {plot.y(0):.1f}"]
        for left, right, number in zip(edges, edges[1:], count, strict=False):
            top = plot.y(number)
            corners.append(f"L{plot.x(left):.1f} {top:.1f} L{plot.x(right):.1f} {top:.1f}")
        corners.append(f"L{plot.x(high):.1f} {plot.y(0):.1f} Z")
        shapes.append(f'<path class="area s{index}" d="{" ".join(corners)}"/>')
    return plot.svg(title, shapes, "height: clips")


class _Plot:
    """The axes of a chart: where a value lies in it, and the SVG around its shapes."""

    def __init__(self, across: tuple[float, float], up: tuple[float, float]) -> None:
        self.across, self.up = across, up

    def x(self, value: float) -> float:
        """Return where a value of the horizontal axis lies."""
        low, high = self.across
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Return where a value of the vertical axis lies."""
        low, high = self.up
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def svg(self, title: str, shapes: list[str], note: str) -> str:
        """Return the whole chart; ``note`` names the horizontal axis."""
        low, high = self.up
        grid = []
        for value in (low, (low + high) / 2, high):
            y = self.y(value)
            grid.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
            grid.append(f'<text class="end" x="{LEFT - 5}" y="{y + 3.5:.1f}">{_format_tick(value)}</text>')
        for value, anchor in ((self.across[0], "start"), (self.across[1], "end")):
            place = f'x="{self.x(value):.1f}" y="{HEIGHT - 5}"'
            grid.append(f'<text class="{anchor}" {place}>{_format_tick(value)}</text>')
        centre = (LEFT + WIDTH - RIGHT) / 2
        grid.append(f'<text class="middle" x="{centre}" y="{HEIGHT - 5}">{note}</text>')
        head = f'<text class="title" x="{LEFT}" y="13">{escape(title)}</text>'
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
            f"{head}{''.join(grid)}{''.join(shapes)}</svg>"
        )


def _round_outwards(low: float, high: float) -> tuple[float, float]:
    """Return two round numbers, never equal, between which the range lies."""
    if high - low < 1e-9:
        low, high = low - max(abs(low), 1) * 0.05, high + max(abs(high), 1) * 0.05
    step = 10 ** math.floor(math.log10((high - low) / 2))
    return math.floor(low / step) * step, math.ceil(high / step) * step


def _format_tick(value: float) -> str:
    return f"{value:.3g}"
