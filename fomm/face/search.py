"""All faces of a picture or a video, however small they are in it: the detector alone overlooks them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fomm.face.crop import Rect, intersection, iou
from fomm.face.detector import Face, detect_faces_in
from fomm.media.resize import shrink

DETECTION_SIDE = 256  # pixels of the shorter side, at least, in which faces are looked for
OVERLAP = 0.3  # answers that overlap more are one face; the detector's own limit
INSIDE = 0.6  # so is an answer of which more lies inside another
BATCH = 64  # pictures in one call of the detector


def find_faces(picture: np.ndarray) -> list[Face]:
    """The faces of one picture, HxWx3 uint8, from left to right."""
    finder = FaceFinder()
    finder.add(0, picture)
    ((_, faces),) = finder.all()
    return sorted(faces, key=lambda face: float(face.box[0]))


class FaceFinder:
    """Collects frames and looks for faces in many at once."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, list[tuple[int, int]], np.ndarray, float]] = []
        self._pictures: list[np.ndarray] = []
        self._found: list[tuple[int, list[Face]]] = []

    def add(self, number: int, frame: np.ndarray) -> None:
        """Look for the faces of ``frame``, HxWx3 uint8."""
        full_height = frame.shape[0]
        frame = shrunk(frame)
        scale = full_height / frame.shape[0]
        places = tiles(frame.shape[:2])
        side = min(frame.shape[:2])
        self._waiting.append((number, places, frame, scale))
        self._pictures += [frame, *(frame[y : y + side, x : x + side] for x, y in places)]
        if len(self._pictures) >= BATCH:
            self._detect()

    def all(self) -> list[tuple[int, list[Face]]]:
        """The frames' numbers, and the faces in each, in pixels of the frame that was given."""
        self._detect()
        return self._found

    def _detect(self) -> None:
        answers = iter(detect_faces_in(self._pictures)) if self._pictures else iter(())
        for number, places, frame, scale in self._waiting:
            faces = list(next(answers))
            for place in places:
                faces += _in_whole(next(answers), place, frame.shape[:2])
            self._found.append((number, [_scaled(face, scale) for face in one_of_each(faces)]))
        self._waiting, self._pictures = [], []


def shrunk(frame: np.ndarray) -> np.ndarray:
    """The frame at a whole fraction of its size, averaged, its shorter side at least DETECTION_SIDE."""
    factor = max(1, min(frame.shape[:2]) // DETECTION_SIDE)
    return shrink(frame, factor)


def _scaled(face: Face, scale: float) -> Face:
    return Face(face.box * scale, face.score, face.points * scale)


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
