"""Find all faces of a picture or a video, also the small ones, which the detector alone overlooks.

The detector sees a picture in 128x128 pixels. So a long picture is searched as a whole and in square tiles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fomm.face.crop import Rect, intersection, iou
from fomm.face.detector import OVERLAP, Face, detect_faces_in
from fomm.face.detector import SIZE as DETECTOR_SIZE
from fomm.face.mesh import MARGIN, crop_around, face_meshes, sample_crop
from fomm.media.resize import shrink

DETECTION_SIDE = 256  # pixels: the least shorter side to which a picture is reduced before the search
INSIDE = 0.6  # answers are one face if a larger part of the smaller one lies inside the other
SURE = 0.85  # the detector's score of faces that need no second opinion
# Such a face has this score or a better one where the detector sees it once more, upright and large.
SURE_CLOSELY = 0.65
BATCH = 16  # frames that are searched at once
LEAST_SIDE = 16  # pixels of a tile: a face that fits in fewer is none to the detector
# Share of a picture's longer side. In the whole picture the detector overlooks faces of half of it.
LARGE = 0.2


def find_faces(picture: np.ndarray, *, confirm: bool = False, largest: bool = False) -> list[Face]:
    """Find the faces of one picture, HxWx3 uint8 RGB, and return them from left to right.

    ``confirm``, ``largest``: see ``FaceFinder``.
    """
    finder = FaceFinder(confirm=confirm, largest=largest)
    finder.add(0, picture)
    ((_, faces),) = finder.results()
    return sorted(faces, key=lambda face: float(face.box[0]))


class FaceFinder:
    """Finds the faces of many frames, in batches: ``add`` them, then ask for the ``results``.

    Args:
        confirm: where the detector is not sure of a face, drop it unless ``keep_confirmed`` keeps it. So a
            picture of a street is no face, which the detector takes for one now and then at first sight.
        largest: only the largest face is wanted. Where the detector is sure of a large one at first sight,
            small ones are not looked for: a long picture is not searched in tiles. That saves most of the
            time.
    """

    def __init__(self, *, confirm: bool = False, largest: bool = False) -> None:
        self._confirm, self._largest = confirm, largest
        self._waiting: list[tuple[int, np.ndarray, float]] = []
        self._found: list[tuple[int, list[Face]]] = []

    def add(self, number: int, frame: np.ndarray, factor: int = 1) -> None:
        """Take ``frame``, HxWx3 uint8 RGB, into the search; ``number`` names it in the results.

        ``factor``: by how much it was shrunk before, see ``detection_factor``; faces are found in pixels of
        the picture before that.
        """
        full_height = frame.shape[0] * factor
        frame = shrink_for_detection(frame)
        self._waiting.append((number, frame, full_height / frame.shape[0]))
        if len(self._waiting) >= BATCH:
            self._detect()

    def results(self) -> list[tuple[int, list[Face]]]:
        """Return each frame's number and its faces, in pixels of the frame as it was added."""
        self._detect()
        return self._found

    def _detect(self) -> None:
        frames = [frame for _, frame, _ in self._waiting]
        found = detect_faces_in(frames)
        searched = [
            (faces, frame)
            for faces, frame in zip(found, frames, strict=True)
            if not (self._largest and _shows_large(faces, frame.shape[:2]))
        ]
        _add_small(searched)
        found = [keep_best_answers(faces) for faces in found]
        if self._confirm:
            found = _keep_confirmed_in(frames, found)
        for (number, _, scale), faces in zip(self._waiting, found, strict=True):
            self._found.append((number, [_scale_face(face, scale) for face in faces]))
        self._waiting = []


def _shows_large(faces: Sequence[Face], size: tuple[int, ...]) -> bool:
    """Return whether the detector is sure of a large face in a picture of ``size`` (height, width)."""
    return any(face.score >= SURE and face.box[2] - face.box[0] >= LARGE * max(size) for face in faces)


def _add_small(searched: Sequence[tuple[list[Face], np.ndarray]]) -> None:
    """Add to the faces of each frame those that are seen in its tiles."""
    tiles = [(faces, frame, corner) for faces, frame in searched for corner in tile_corners(frame.shape[:2])]
    answers = detect_faces_in([_cut_tile(frame, corner) for _, frame, corner in tiles])
    for (faces, frame, corner), seen in zip(tiles, answers, strict=True):
        faces += _to_whole_picture(seen, corner, frame.shape[:2])


def _cut_tile(frame: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
    """Return the square of ``frame`` whose upper left corner (x, y) is given."""
    (x, y), side = corner, min(frame.shape[:2])
    return frame[y : y + side, x : x + side]


def keep_confirmed(frame: np.ndarray, faces: Sequence[Face]) -> list[Face]:
    """Return the faces of a frame that the detector is sure of, or that bear a second look.

    At the second look the mesh network sees a face, and the detector sees one in a picture that is turned
    upright and twice as wide as the face. Together they keep 90 % of drawn faces that are small, dark, noisy
    or cut, and 4 % of what else the detector takes for a face; the mesh network alone keeps 27 % of that.
    """
    return _keep_confirmed_in([frame], [faces])[0]


def _keep_confirmed_in(frames: Sequence[np.ndarray], found: Sequence[Sequence[Face]]) -> list[list[Face]]:
    """Do as ``keep_confirmed`` for each of many frames, with all second looks in one pass."""
    unsure = [
        (frame, face)
        for frame, faces in zip(frames, found, strict=True)
        for face in faces
        if face.score < SURE
    ]
    meshes = face_meshes([frame for frame, _ in unsure], [face for _, face in unsure])
    again = detect_faces_in([_cut_upright(frame, face) for frame, face in unsure], min_score=SURE_CLOSELY)
    looks = zip(unsure, meshes, again, strict=True)
    denied = {id(face) for (_, face), mesh, seen in looks if not (mesh.is_sure and seen)}
    return [[face for face in faces if id(face) not in denied] for faces in found]


def _cut_upright(frame: np.ndarray, face: Face) -> np.ndarray:
    """Return the square around ``face``, turned upright and twice as wide as its box, 128x128x3 uint8."""
    crop = crop_around(face)
    pixels = sample_crop(frame, crop._replace(side=crop.side * 2 / MARGIN), DETECTOR_SIZE)
    return (pixels[0].permute(1, 2, 0) * 255).round().byte().numpy()


def shrink_for_detection(frame: np.ndarray) -> np.ndarray:
    """Return the frame, each pixel the mean of as many as ``detection_factor`` says."""
    return shrink(frame, detection_factor(frame.shape[:2]))


def detection_factor(size: tuple[int, ...]) -> int:
    """Return the largest whole factor that leaves a shorter side of 256 pixels or more.

    ``size``: height and width. Below 512 pixels it is 1.
    """
    return max(1, min(size) // DETECTION_SIDE)


def _scale_face(face: Face, scale: float) -> Face:
    """Return the face in a picture ``scale`` times as large."""
    return Face(face.box * scale, face.score, face.points * scale)


def tile_corners(size: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the upper left corners (x, y) of square tiles that cover a picture of ``size`` (height, width).

    A tile's side is the picture's shorter side. Neighbours share half of it or more, so that every face up to
    half a tile lies whole in one of them. A picture that is nearly square needs no tiles, and in one of less
    than ``LEAST_SIDE`` nothing is to be seen: the list is empty.
    """
    height, width = size
    side, room = min(size), max(size) - min(size)
    if room < side / 4 or side < LEAST_SIDE:
        return []
    steps = math.ceil(room / (side / 2))
    offsets = [round(room * step / steps) for step in range(steps + 1)]
    return [(offset, 0) if width > height else (0, offset) for offset in offsets]


def _to_whole_picture(faces: Sequence[Face], place: tuple[int, int], size: tuple[int, ...]) -> list[Face]:
    """Return the faces of a tile as faces of the whole picture, without those cut by its inner borders.

    A face that an inner border cuts lies whole in the neighbouring tile. ``place`` is the tile's upper left
    corner (x, y), ``size`` the picture's height and width.
    """
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


def keep_best_answers(faces: Sequence[Face]) -> list[Face]:
    """Return the best-scored answer for each face, the best first."""
    kept: list[tuple[Face, Rect]] = []
    for face in sorted(faces, key=lambda face: -face.score):
        box = Rect(*(float(value) for value in face.box))
        if not any(_same(box, other) for _, other in kept):
            kept.append((face, box))
    return [face for face, _ in kept]


def _same(one: Rect, other: Rect) -> bool:
    smaller = max(min(one.area, other.area), 1e-9)
    return iou(one, other) > OVERLAP or intersection(one, other).area / smaller > INSIDE
