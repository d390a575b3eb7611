"""The clips that a report shows: the best and the worst of a list, a few frames of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

COLUMNS = 8  # frames of a strip, evenly spread over the clip
ENDS = 3  # clips shown at either end


@dataclass(frozen=True)
class Strip:
    """Some frames of the results of one pair."""

    score: float  # the smaller, the better
    index: int  # of the pair, in the order of the list
    source: np.ndarray  # HxWx3 uint8
    rows: dict[str, np.ndarray]  # what is shown -> up to 8 frames, NxHxWx3 uint8


def thin(frames: np.ndarray) -> np.ndarray:
    """Up to 8 of TxHxWx3, the first and the last among them, as a copy."""
    picked = np.unique(np.linspace(0, len(frames) - 1, COLUMNS).round().astype(int))
    return frames[picked].copy()  # a view would keep the whole clip in memory


def as_picture(strips: Sequence[Strip]) -> Image.Image:
    """The strips below each other: the source at the left, and a row for each of the rows."""
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
    """Keeps the strips at both ends of a list and drops the others as they come."""

    strips: list[Strip] = field(default_factory=list)  # the best first

    def add(self, strip: Strip) -> None:
        self.strips.append(strip)
        self.strips.sort(key=lambda item: (item.score, item.index))
        if len(self.strips) > 2 * ENDS:
            del self.strips[ENDS]

    @property
    def best(self) -> list[Strip]:
        return self.strips[:ENDS]

    @property
    def worst(self) -> list[Strip]:
        """The worst first; none that is among the best."""
        return self.strips[ENDS:][::-1]
