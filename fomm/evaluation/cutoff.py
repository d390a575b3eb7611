"""Measure what an animated square cuts off: what changes at its border, and straight edges in the change.

Pictures are HxWx3 uint8; changes are in levels of 255.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.ndimage import maximum_filter1d, uniform_filter

from fomm.face.crop import Rect

RING = 0.03  # of the square's side: the outermost part, in which nothing should change
STILL = 12.0  # levels: a change that counts as none; a video's compression stays below
CHANGED = 40.0  # levels: a change that is seen as an edge beside what is still
TOLERANCE = 1  # pixels that an edge may lie beside a line


def border_change(photo: np.ndarray, frames: Iterable[np.ndarray], square: Rect) -> float:
    """Return how far frames differ from the photo in the outermost part of the animated square, in levels.

    It is the largest difference of a colour, in any frame, over the pixels of the square that lie within 3 %
    of its side from its border. A square may leave the photo: what lies outside of it counts nothing.

    Args:
        photo: HxWx3 uint8.
        frames: as many as there are, of the same size.
        square: where the animated part lies, in pixels of the photo.
    """
    rows, columns = np.arange(photo.shape[0]) + 0.5, np.arange(photo.shape[1]) + 0.5
    depth_y = np.minimum(rows - square.y0, square.y1 - rows)[:, None]  # how far inside a pixel's centre lies
    depth_x = np.minimum(columns - square.x0, square.x1 - columns)[None]
    depth = np.minimum(depth_y, depth_x)
    ring = (depth >= 0) & (depth < RING * square.width)
    if not ring.any():
        return 0.0
    there = photo[ring].astype(np.int16)
    return float(max((np.abs(frame[ring] - there).max() for frame in frames), default=0))


def largest_change(photo: np.ndarray, frames: Iterable[np.ndarray]) -> np.ndarray:
    """Return how far each pixel ever gets from the photo's, HxW in levels, for ``straight_step``.

    It is the largest difference of a colour over all frames. Differences are first averaged over 3x3 pixels,
    so that the noise of a compressed video does not count.
    """
    largest = np.zeros(photo.shape[:2], np.float32)
    there = photo.astype(np.float32)
    for frame in frames:
        change = np.abs(uniform_filter(frame - there, (3, 3, 1))).max(axis=-1)
        np.maximum(largest, change, out=largest)
    return largest


def straight_step(change: np.ndarray, reach: int = 8) -> int:
    """Return the length in pixels of the longest straight step in the change from a photo; 0 for none.

    What a square cuts off ends along a line: on one side nothing changes, on the other much. A step runs
    along a row or a column of pixels. On one side, ``reach`` pixels in a row change by at most 12 levels. On
    the other, the very next pixel changes by more, and one within ``reach`` pixels by more than 40. The step
    may lie one pixel beside the line. So a fade at the square's border is found that is as wide as ``reach``.

    The outline of a round head that moves is straight for a while too, where it runs along the pixels: up to
    a third of the side of the square around the head. So do walls and poles behind it.

    Args:
        change: HxW in levels, such as ``largest_change`` returns, or that of a single frame.
        reach: pixels, at least 1.
    """
    sides = change, change[:, ::-1], change.T, change.T[:, ::-1]
    return max(_longest_run(_find_rises(side, reach)) for side in sides)


def _find_rises(change: np.ndarray, reach: int) -> np.ndarray:
    """Return where ``change`` (HxW) rises from still to changed, from left to right, HxW bool."""
    behind = np.pad(change, ((0, 0), (reach, 0)), mode="edge")
    ahead = np.pad(change, ((0, 0), (0, reach)), mode="edge")
    width = change.shape[1]

    def largest(padded: np.ndarray, first: int) -> np.ndarray:
        """Return the largest of ``reach`` pixels, from number ``first`` of the padded row on."""
        windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=1)
        return windows[:, first : first + width].max(axis=-1)

    still = largest(behind, 1) <= STILL  # the pixel itself and those behind it
    return still & (ahead[:, 1 : 1 + width] > STILL) & (largest(ahead, 1) > CHANGED)


def _longest_run(marks: np.ndarray) -> int:
    """Return how many rows in a row have a mark (HxW bool) in one column, or at most one pixel beside it."""
    near = maximum_filter1d(marks.astype(np.uint8), 2 * TOLERANCE + 1, axis=1, mode="constant") > 0
    run, longest = np.zeros(marks.shape[1], int), 0
    for row in near:
        run = np.where(row, run + 1, 0)
        longest = max(longest, int(run.max()))
    return longest
