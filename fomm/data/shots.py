"""What a video shows: where its shots begin, and where the faces are in them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from fomm.face import Face, detect_faces_in
from fomm.face.crop import Rect, Tube, intersection, iou, published_box, tubes

DETECTION_SIDE = 256  # pixels of the shorter side, at least, in which faces are looked for
OVERLAP = 0.3  # answers that overlap more are one face; the detector's own limit
INSIDE = 0.6  # so is an answer of which more lies inside another
BATCH = 64  # pictures in one call of the detector

THUMBNAIL = 32  # pixels along each side of what is compared from frame to frame
CUT_LEVELS = 12.0  # of 255: a smaller difference is no cut
CUT_RATIO = 4.0  # over the median difference of the frames around
AROUND = 6  # frames before, and as many after


class Shots(NamedTuple):
    """What the first pass over a video found."""

    size: tuple[int, int]  # height, width
    frames: int
    cuts: list[int]  # first frames of new shots, without the video's first
    tubes: list[Tube]


class CutFinder:
    """Finds where new shots begin.

    Frames are compared as thumbnails less their mean colour, so that noise and fades count little. A frame
    is as new as it differs from both frames before it, and the next frame from the last: a flash or a torn
    frame is gone a frame later. It begins a shot where that is at least CUT_LEVELS, and CUT_RATIO times what
    is usual around it: a fast pan differs as much from frame to frame, but does so all the time. Dissolves
    are not seen.
    """

    def __init__(self) -> None:
        self._last: deque[np.ndarray] = deque(maxlen=2)
        self._one: list[float] = []  # each frame's difference from the one before
        self._two: list[float] = []  # and from the one before that

    def add(self, frame: np.ndarray) -> None:
        """The next frame, HxWx3 uint8."""
        small = Image.fromarray(frame).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
        thumbnail = np.asarray(small, np.float32)
        thumbnail = thumbnail - thumbnail.mean(axis=(0, 1))
        differences = [float(np.abs(thumbnail - last).mean()) for last in self._last]
        self._one.append(differences[-1] if differences else 0.0)
        self._two.append(differences[0] if len(differences) == 2 else math.inf)
        self._last.append(thumbnail)

    def cuts(self) -> list[int]:
        """The first frames of all shots but the first."""
        found = []
        for frame, difference in enumerate(self._one):
            novelty = min(difference, *self._two[frame : frame + 2])
            around = self._one[max(frame - AROUND, 1) : frame] + self._one[frame + 1 : frame + 1 + AROUND]
            usual = float(np.median(around)) if around else 0.0
            if novelty >= max(CUT_LEVELS, CUT_RATIO * usual):
                found.append(frame)
        return found


def look(video: Path, *, faces: bool, cuts: bool, every: int, max_frames: int | None) -> Shots:
    """Watch ``video`` once from end to end, one frame at a time in memory.

    With ``faces`` the tubes of the faces are followed, looked for in every ``every``-th frame; a face may be
    missed once without its tube ending. Without, the whole picture of each shot is a tube. ``cuts``: shots
    are told apart; else the video is one. Tubes hold at most ``max_frames`` frames.

    Raises ``MediaError`` when the video cannot be read.
    """
    from fomm.media import VideoReader

    shots, found = CutFinder(), _FaceFinder()
    count = 0
    with VideoReader(video) as reader:
        size = reader.size
        for frame in reader:
            small = _shrunk(frame)
            if cuts:
                shots.add(small)
            if faces and count % every == 0:
                found.add(count, small, frame.shape[0] / small.shape[0])
            count += 1
    borders = shots.cuts()
    if faces:
        tracked = tubes(found.all(), cuts=borders, missed=1, max_frames=max_frames)
    else:
        whole = Rect(0.0, 0.0, float(size[1]), float(size[0]))
        tracked = [Tube(start, stop, whole, whole) for start, stop in _parts(borders, count, max_frames)]
    return Shots(size, count, borders, tracked)


def _shrunk(frame: np.ndarray) -> np.ndarray:
    """The frame at a whole fraction of its size, averaged, its shorter side at least DETECTION_SIDE."""
    factor = max(1, min(frame.shape[:2]) // DETECTION_SIDE)
    return frame if factor == 1 else np.asarray(Image.fromarray(frame).reduce(factor))


def _parts(borders: Sequence[int], count: int, max_frames: int | None) -> Iterator[tuple[int, int]]:
    """First frame and end of the parts between borders, none longer than ``max_frames``."""
    for start, stop in zip([0, *borders], [*borders, count], strict=True):
        step = max_frames or max(stop - start, 1)
        for first in range(start, stop, step):
            yield first, min(first + step, stop)


class _FaceFinder:
    """Collects frames and looks for faces in many at once."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, list[tuple[int, int]], np.ndarray, float]] = []
        self._pictures: list[np.ndarray] = []
        self._found: list[tuple[int, list[Rect]]] = []

    def add(self, number: int, frame: np.ndarray, scale: float) -> None:
        """Look for the faces of ``frame`` (HxWx3 uint8), which is ``scale`` times smaller than the video."""
        places = tiles(frame.shape[:2])
        side = min(frame.shape[:2])
        self._waiting.append((number, places, frame, scale))
        self._pictures += [frame, *(frame[y : y + side, x : x + side] for x, y in places)]
        if len(self._pictures) >= BATCH:
            self._detect()

    def all(self) -> list[tuple[int, list[Rect]]]:
        """The frames' numbers, and the boxes in each, in pixels of the video."""
        self._detect()
        return self._found

    def _detect(self) -> None:
        answers = iter(detect_faces_in(self._pictures)) if self._pictures else iter(())
        for number, places, frame, scale in self._waiting:
            faces = list(next(answers))
            for place in places:
                faces += _in_whole(next(answers), place, frame.shape[:2])
            boxes = [published_box(face).scaled(scale, scale) for face in one_of_each(faces)]
            self._found.append((number, boxes))
        self._waiting, self._pictures = [], []


def tiles(size: tuple[int, ...]) -> list[tuple[int, int]]:
    """Corners (x, y) of squares as high or wide as the shorter side that cover a long picture; else none.

    The detector overlooks faces smaller than a tenth of the longer side. Neighbours share half their side
    or more, so that a face as large as that lies whole in one of them.
    """
    height, width = size
    side, room = min(size), max(size) - min(size)
    if room < side / 4:
        return []
    steps = math.ceil(room / (side / 2))
    offsets = [round(room * step / steps) for step in range(steps + 1)]
    return [(offset, 0) if width > height else (0, offset) for offset in offsets]


def _in_whole(faces: Sequence[Face], place: tuple[int, int], size: tuple[int, ...]) -> list[Face]:
    """Faces of a tile as faces of the whole picture, without those that the tile's inner border cuts."""
    side = min(size)
    shift = np.array(place, np.float32)
    kept = []
    for face in faces:
        x0, y0, x1, y1 = face.box
        inner = [
            place[0] > 0 and x0 < 0,
            place[1] > 0 and y0 < 0,
            place[0] + side < size[1] and x1 > side,
            place[1] + side < size[0] and y1 > side,
        ]
        if not any(inner):
            kept.append(Face(face.box + np.tile(shift, 2), face.score, face.points + shift))
    return kept


def one_of_each(faces: Sequence[Face]) -> list[Face]:
    """The best-scored answer of those that show one face."""
    kept: list[tuple[Face, Rect]] = []
    for face in sorted(faces, key=lambda face: -face.score):
        box = Rect(*(float(value) for value in face.box))
        if not any(_same(box, other) for _, other in kept):
            kept.append((face, box))
    return [face for face, _ in kept]


def _same(one: Rect, other: Rect) -> bool:
    smaller = max(min(one.area, other.area), 1e-9)
    return iou(one, other) > OVERLAP or intersection(one, other).area / smaller > INSIDE
