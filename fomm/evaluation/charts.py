"""Small charts as SVG, for a page without scripts: colours and text come from the page's style sheet.

A series is drawn with the classes ``s0``, ``s1``, ... in its order. Axes carry a few round numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT = 240, 130
LEFT, RIGHT, TOP, BOTTOM = 36, 6, 20, 18  # room around the plot

Series = Sequence[float | None]


def curves(title: str, series: dict[str, Series]) -> str:
    """Numbers over the frames of a clip, one line each; a gap where there is none."""
    known = [value for values in series.values() for value in values if value is not None]
    if not known:
        return ""
    low, high = _rounded(min(known), max(known))
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


def histogram(title: str, series: dict[str, Series], bins: int = 12) -> str:
    """How many clips have which number; one outline each, filled faintly."""
    samples = [np.array([v for v in values if v is not None], float) for values in series.values()]
    known = np.concatenate(samples) if samples else np.empty(0)
    if not len(known):
        return ""
    low, high = _rounded(known.min(), known.max())
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
    """The frame of a chart, and where a value lies in it."""

    def __init__(self, across: tuple[float, float], up: tuple[float, float]) -> None:
        self.across, self.up = across, up

    def x(self, value: float) -> float:
        low, high = self.across
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.up
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def svg(self, title: str, shapes: list[str], note: str) -> str:
        low, high = self.up
        grid = []
        for value in (low, (low + high) / 2, high):
            y = self.y(value)
            grid.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
            grid.append(f'<text class="end" x="{LEFT - 5}" y="{y + 3.5:.1f}">{_tick(value)}</text>')
        for value, anchor in ((self.across[0], "start"), (self.across[1], "end")):
            grid.append(
                f'<text class="{anchor}" x="{self.x(value):.1f}" y="{HEIGHT - 5}">{_tick(value)}</text>'
            )
        centre = (LEFT + WIDTH - RIGHT) / 2
        grid.append(f'<text class="middle" x="{centre}" y="{HEIGHT - 5}">{note}</text>')
        head = f'<text class="title" x="{LEFT}" y="13">{escape(title)}</text>'
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
            f"{head}{''.join(grid)}{''.join(shapes)}</svg>"
        )


def _rounded(low: float, high: float) -> tuple[float, float]:
    """Round numbers around a range, never equal."""
    if high - low < 1e-9:
        low, high = low - max(abs(low), 1) * 0.05, high + max(abs(high), 1) * 0.05
    step = 10 ** math.floor(math.log10((high - low) / 2))
    return math.floor(low / step) * step, math.ceil(high / step) * step


def _tick(value: float) -> str:
    return f"{value:.3g}"
