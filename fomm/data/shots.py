"""Find where the shots of a video begin, and where the faces are in them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fomm.face.crop import Rect, Tube, published_box, tubes
from fomm.face.search import FaceFinder, shrink_for_detection
from fomm.media.resize import resize

THUMBNAIL = 32  # pixels along each side of what is compared from frame to frame
CUT_LEVELS = 12.0  # of 255: a smaller difference is no cut
CUT_RATIO = 4.0  # over the median difference of the frames around
AROUND = 6  # frames before, and as many after


class Shots(NamedTuple):
    """The shots and faces of a video."""

    size: tuple[int, int]  # height, width
    frames: int
    cuts: list[int]  # first frames of new shots, without the video's first
    tubes: list[Tube]


class CutFinder:
    """Finds the frames at which new shots begin.

    Frames are compared as thumbnails less their mean colour, so that noise and fades count little. The
    novelty of frame t is the smallest of three differences: between the frames t and t-1, t and t-2, t+1 and
    t-1. So a flash or a torn frame, which is gone a frame later, is not new. Frame t begins a shot where its
    novelty is at least CUT_LEVELS, and CUT_RATIO times the median difference around it. So a fast pan, whose
    frames all differ as much, has no cuts. Dissolves are not found.
    """

    def __init__(self) -> None:
        self._last: deque[np.ndarray] = deque(maxlen=2)
        self._one: list[float] = []  # each frame's difference from the one before
        self._two: list[float] = []  # and from the one before that

    def add(self, frame: np.ndarray) -> None:
        """Take the next frame, HxWx3 uint8."""
        thumbnail = make_thumbnail(frame)
        differences = [float(np.abs(thumbnail - last).mean()) for last in self._last]
        self._one.append(differences[-1] if differences else 0.0)
        self._two.append(differences[0] if len(differences) == 2 else math.inf)
        self._last.append(thumbnail)

    def find_cuts(self) -> list[int]:
        """Return the first frames of all shots but the first."""
        found = []
        for frame, difference in enumerate(self._one):
            novelty = min(difference, *self._two[frame : frame + 2])
            around = self._one[max(frame - AROUND, 1) : frame] + self._one[frame + 1 : frame + 1 + AROUND]
            usual = float(np.median(around)) if around else 0.0
            if novelty >= max(CUT_LEVELS, CUT_RATIO * usual):
                found.append(frame)
        return found


def make_thumbnail(frame: np.ndarray) -> np.ndarray:
    """Return a frame, HxWx3 uint8, as what is compared: a float32 thumbnail less its mean colour."""
    thumbnail = resize(frame, (THUMBNAIL, THUMBNAIL), "box").astype(np.float32)
    return thumbnail - thumbnail.mean(axis=(0, 1))


def find_shots(video: Path, *, faces: bool, cuts: bool, every: int, max_frames: int | None) -> Shots:
    """Read ``video`` once from end to end, one frame at a time in memory, and find its shots and faces.

    With ``faces``, faces are looked for in every ``every``-th frame, and each is followed in a tube. A tube
    goes on if its face is missed once. Without ``faces``, the whole picture of each shot is a tube. Without
    ``cuts`` the video counts as one shot. Tubes hold at most ``max_frames`` frames.

    Raises ``MediaError`` when the video cannot be read.
    """
    from fomm.media import VideoReader

    finder, found = CutFinder(), FaceFinder()
    count = 0
    with VideoReader(video) as reader:
        size = reader.size
        for frame in reader:
            small = shrink_for_detection(frame)
            if cuts:
                finder.add(small)
            if faces and count % every == 0:
                found.add(count, frame)
            count += 1
    borders = finder.find_cuts()
    if faces:
        boxes = ((number, [published_box(face) for face in faces]) for number, faces in found.results())
        tracked = tubes(boxes, cuts=borders, missed=1, max_frames=max_frames)
    else:
        whole = Rect(0.0, 0.0, float(size[1]), float(size[0]))
        tracked = [Tube(start, stop, whole, whole) for start, stop in _parts(borders, count, max_frames)]
    return Shots(size, count, borders, tracked)


def _parts(borders: Sequence[int], count: int, max_frames: int | None) -> Iterator[tuple[int, int]]:
    """Yield first frame and end of the parts between borders, none longer than ``max_frames``."""
    for start, stop in zip([0, *borders], [*borders, count], strict=True):
        step = max_frames or max(stop - start, 1)
        for first in range(start, stop, step):
            yield first, min(first + step, stop)
