"""Keep the clips that a report shows: the best and the worst of a list, a few frames of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

COLUMNS = 8  # frames of a strip, evenly spread over the clip
ENDS = 3  # clips shown at either end


@dataclass(frozen=True)
class Strip:
    """A few frames of the results of one pair of source and driving clip."""

    score: float  # the smaller, the better
    index: int  # of the pair, in the order of the list
    source: np.ndarray  # HxWx3 uint8
    rows: dict[str, np.ndarray]  # what is shown -> up to 8 frames, NxHxWx3 uint8


def pick_frames(frames: np.ndarray) -> np.ndarray:
    """Return a copy of up to 8 of T frames (TxHxWx3), evenly spread, the first and the last among them."""
    picked = np.unique(np.linspace(0, len(frames) - 1, COLUMNS).round().astype(int))
    return frames[picked].copy()  # a view would keep the whole clip in memory


def draw_strips(strips: Sequence[Strip]) -> Image.Image:
    """Return a picture of the strips below each other: the source at the left, a row for each result."""
    gap = 4
    height, width = strips[0].source.shape[:2]
    rows = sum(len(strip.rows) for strip in strips)
    size = (COLUMNS + 1) * width + gap, rows * height + (len(strips) - 1) * gap
    picture = Image.new("RGB", size, "white")
    top = 0
    for strip in strips:
        picture.paste(Image.fromarray(strip.source), (0, top))
        for frames in strip.rows.values():
            for column, frame in enumerate(frames):
                picture.paste(Image.fromarray(frame), ((column + 1) * width + gap, top))
            top += height
        top += gap
    return picture


@dataclass
class Gallery:
    """Keeps the best and the worst strips of a list; the others are dropped as they come."""

    strips: list[Strip] = field(default_factory=list)  # the best first

    def add(self, strip: Strip) -> None:
        """Add a strip, and drop one from the middle where there are too many."""
        self.strips.append(strip)
        self.strips.sort(key=lambda item: (item.score, item.index))
        if len(self.strips) > 2 * ENDS:
            del self.strips[ENDS]

    @property
    def best(self) -> list[Strip]:
        """Return the best strips, the best first."""
        return self.strips[:ENDS]

    @property
    def worst(self) -> list[Strip]:
        """Return the worst strips, the worst first, without those that are among the best."""
        return self.strips[ENDS:][::-1]
