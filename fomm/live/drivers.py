"""What moves a live photo: the driver's face as its mesh tells it, or the networks' own key points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from fomm.animation.driving import grow_to_shape
from fomm.animation.framing import MUCH_SMALLER, photo_squares
from fomm.animation.motion import FaceMotion, measure_motion
from fomm.animation.options import Crop
from fomm.animation.photo import MovedPhoto
from fomm.animation.presence import EASE, GAP
from fomm.face import Face, Mesh, detect_faces, face_mesh
from fomm.face.crop import Rect, enlarged_square, intersection, published_box
from fomm.face.pose import head_size
from fomm.face.search import find_faces, keep_confirmed
from fomm.live.smoothing import MotionFilter
from fomm.media.resize import cut_out
from fomm.model import Keypoints

ROOM = 0.2  # of a face's box, on each side: nobody knows yet where the head will move; published is 0.1
AROUND = 0.25  # of the networks' square, on each side: there the face is looked for again
LOOK_EVERY = 0.1  # seconds
NEAR = 3.0  # side of the square in which the next face is looked for, over the side of the last one's box
# The detector's box has so many times the face's size, ends at the chin as the mesh does, and has this share
# of the mesh's height.
_BOX_SIDE, _BOX_HEIGHT = 4.6, 0.88
# Seconds in which what is usual comes nearer to lids that are more open, and to those that are less: blinks
# hardly count
_WIDER, _NARROWER = 1.0, 10.0
_FACE_POINTS = (33, 263, 1, 13, 127, 356)  # of the mesh, near the detector's six points


class Driver(Protocol):
    """Follows a face from frame to frame, and tells where a photo's key points go by it."""

    def move(self, photo: MovedPhoto, frame: np.ndarray, time: float) -> Sequence[Keypoints] | None:
        """Return the key points of each part of the photo, one frame each; None while no face is seen.

        Args:
            photo: it may be another one than before.
            frame: HxWx3 uint8.
            time: of the frame, in seconds.
        """


class MeshDriver:
    """Follows the largest face by its mesh; motion starts at the first frame that shows it.

    In each frame the face is detected near the place of the last one. Where the mesh network sees none there,
    it is looked for everywhere.

    Args:
        part: where in the frames the face is looked for, as ``Framing.part_of_video``.
    """

    def __init__(self, part: Crop) -> None:
        self._part = part
        self._place: Face | None = None  # of the face in the last frame
        self._area, self._seen = 0.0, 0.0  # of its box in square pixels, and when it was seen last
        self._smooth = MotionFilter()
        self._first: FaceMotion | None = None
        self._usual_lids = np.zeros((1, 2))

    def move(self, photo: MovedPhoto, frame: np.ndarray, time: float) -> Sequence[Keypoints] | None:
        """Do as ``Driver.move``."""
        mesh = self._find_mesh(self._cut(frame), time)
        if mesh is None:
            self._place = None
            return None
        motion = self._smooth(measure_motion(mesh.points[None]), time)
        reference = self._find_reference(motion, time)
        self._place, self._seen = _find_place(mesh), time
        self._area = published_box(self._place).area
        return [animator.move_by_motion(motion, reference) for animator in photo.animators]

    def _cut(self, frame: np.ndarray) -> np.ndarray:
        """Return the part of a frame in which the face is looked for."""
        if isinstance(self._part, str):
            return frame
        (given,) = photo_squares(frame, self._part, None, "the driving frame", 0)
        return _cut_inside(frame, given)

    def _find_mesh(self, picture: np.ndarray, time: float) -> Mesh | None:
        """Return the driver's mesh: where it was, or else of the largest face that has one."""
        if self._place is not None:
            mesh = face_mesh(picture, _detect_near(picture, self._place))
            if mesh.is_sure:
                return mesh
        # whoever is much smaller than the driver was just now is somebody else
        least = self._area / MUCH_SMALLER if time - self._seen < GAP + EASE else 0.0
        found = find_faces(picture, confirm=True)
        sized = [(published_box(face).area, face) for face in found]
        for area, face in sorted(sized, key=lambda pair: -pair[0]):
            if area < least:
                break
            mesh = face_mesh(picture, face)
            if mesh.is_sure:
                return mesh
        return None

    def _find_reference(self, motion: FaceMotion, time: float) -> FaceMotion:
        """Return the driver's face where the photo is at rest: the first one, with the lids as open as usual.

        It may blink in the first frame. So it is learnt all the time how open they usually are.
        """
        if self._first is None:
            self._first, self._usual_lids = motion, motion.lids
        change = motion.lids - self._usual_lids
        step = max(time - self._seen, 0.0) / np.where(change > 0, _WIDER, _NARROWER)
        self._usual_lids = self._usual_lids + (1 - np.exp(-step)) * change
        return replace(self._first, lids=np.maximum(self._first.lids, self._usual_lids))


class KeypointDriver:
    """Follows what one square of the frames shows by the networks' key points, as published.

    Args:
        part: of the frames; ``"auto"``: the square around the largest face when one is first seen.
    """

    def __init__(self, part: Crop) -> None:
        self._part = part
        self._square: Rect | None = None
        self._looked, self._sees = 0.0, False  # when a face was looked for, and whether one was seen
        self._reference: Keypoints | None = None

    def move(self, photo: MovedPhoto, frame: np.ndarray, time: float) -> Sequence[Keypoints] | None:
        """Do as ``Driver.move``."""
        seen = frame
        if self._part != "none":
            if self._square is None:
                self._square, self._looked = self._find_square(frame, photo.network_size), time
                self._sees = self._square is not None
            if self._square is None or not self._is_seen(frame, self._square, time):
                return None
            seen = cut_out(frame, self._square, photo.network_size)
        if self._reference is None:
            self._reference = photo.animators[0].find_reference(seen)
        return [animator.move_by_frame(seen, self._reference) for animator in photo.animators]

    def _find_square(self, frame: np.ndarray, size: tuple[int, int]) -> Rect | None:
        if self._part != "auto":
            (part,) = photo_squares(frame, self._part, None, "the driving frame", 0)
            return grow_to_shape(part, size)
        boxes = [published_box(face) for face in find_faces(frame, confirm=True, largest=True)]
        largest = max(boxes, key=lambda box: box.area, default=None)
        return None if largest is None else grow_to_shape(enlarged_square(largest, ROOM), size)

    def _is_seen(self, frame: np.ndarray, square: Rect, time: float) -> bool:
        """Return whether a face is in or near the square; it is looked for from time to time."""
        if self._part == "auto" and time - self._looked >= LOOK_EVERY:
            nearby = _cut_inside(frame, enlarged_square(square, AROUND))
            self._looked = time
            self._sees = bool(nearby.size and keep_confirmed(nearby, detect_faces(nearby)))
        return self._sees


def _cut_inside(frame: np.ndarray, part: Rect) -> np.ndarray:
    """Return the pixels of a frame inside a part of it."""
    height, width = frame.shape[:2]
    inner = intersection(part, Rect(0.0, 0.0, float(width), float(height)))
    x0, y0, x1, y1 = (max(round(value), 0) for value in inner)
    return np.ascontiguousarray(frame[y0:y1, x0:x1])


def _find_place(mesh: Mesh) -> Face:
    """Return the face that a mesh lies on, with a box such as the detector's."""
    points = mesh.points[:, :2]
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    centre = np.array([(x0 + x1) / 2, y1 - _BOX_HEIGHT * (y1 - y0) / 2])
    half = _BOX_SIDE * float(head_size(mesh.points)) / 2
    box = np.concatenate([centre - half, centre + half]).astype(np.float32)
    return Face(box, mesh.presence, points[list(_FACE_POINTS)])


def _detect_near(picture: np.ndarray, place: Face) -> Face:
    """Return the face that the detector finds nearest to a place, or the place itself if it finds none.

    A mesh's own place is coarser: lids measured there follow those of the whole search less closely.
    """
    centre, side = (place.box[:2] + place.box[2:]) / 2, float(place.box[2] - place.box[0])
    corner = np.maximum(np.round(centre - NEAR * side / 2), 0).astype(int)
    end = np.maximum(np.round(centre + NEAR * side / 2), 0).astype(int)
    part = np.ascontiguousarray(picture[corner[1] : end[1], corner[0] : end[0]])
    shift = corner.astype(np.float32)
    found = [
        Face(face.box + np.tile(shift, 2), face.score, face.points + shift)
        for face in (detect_faces(part) if part.size else ())
    ]

    def distance(face: Face) -> float:
        return float(np.linalg.norm((face.box[:2] + face.box[2:]) / 2 - centre))

    return min(found, key=distance, default=place)
