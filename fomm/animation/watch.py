"""Watches a face over the frames of a video: its mesh in every frame, and the motion that this makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from fomm.animation.framing import FEW, driver_faces
from fomm.animation.motion import (
    FaceMotion,
    fill_frames,
    hold_motion,
    join_motions,
    measure_motion,
    smooth_motion,
)
from fomm.animation.presence import Presence, find_gaps
from fomm.animation.progress import Progress, report_progress
from fomm.errors import InputError
from fomm.face import Face, face_mesh, face_meshes
from fomm.face.crop import published_box
from fomm.face.mesh import crop_around
from fomm.face.search import FaceFinder, find_faces

_BATCH = 8  # frames in memory
_FPS = 25.0  # of frames whose rate nobody knows


def watch_face(
    frames: Iterable[np.ndarray],
    faces: Mapping[int, Face],
    count: int,
    fps: float,
    presence: Presence,
    *,
    corner: tuple[int, int] = (0, 0),
    progress: Progress = False,
) -> FaceMotion:
    """Return the motion of a face in all frames of a video.

    Args:
        frames: HxWx3 uint8, one by one.
        faces: the face in some of the frames, by number, ascending; in between it is looked for between
            their places.
        count: frames of the video.
        fps: its rate.
        presence: when the face is seen. In its gaps the motion is held.
        corner: x and y of ``frames`` in larger ones, in whose pixels ``faces`` and the motion are.
        progress: whom to tell.

    Raises:
        InputError: the mesh sees no face in any frame.
    """
    shift = np.array([*corner, 0], np.float32)
    known: list[int] = []
    motions: list[FaceMotion] = []
    waiting: list[tuple[int, np.ndarray, Face]] = []

    def measure() -> None:
        if not waiting:
            return
        meshes = face_meshes(
            [frame for _, frame, _ in waiting], [_move_face(face, -shift[:2]) for *_, face in waiting]
        )
        seen = [
            (number, mesh.points + shift)
            for (number, *_), mesh in zip(waiting, meshes, strict=True)
            if mesh.is_sure
        ]
        if seen:
            known.extend(number for number, _ in seen)
            motions.append(measure_motion(np.stack([points for _, points in seen])))
        waiting.clear()

    places = _find_places(faces, count)
    for number, frame in enumerate(report_progress(frames, count, progress, "watching the face")):
        if number < count and presence.is_seen(number):
            waiting.append((number, frame, places[number]))
        if len(waiting) == _BATCH:
            measure()
    measure()
    if not known:
        raise InputError(
            "no face was found in the driving video that its mesh agrees with; give a video of a face, "
            "or take the driver 'keypoints'"
        )
    motion = fill_frames(join_motions(motions), known, count)
    return smooth_motion(hold_motion(motion, presence.gaps), fps)


def measure_face(picture: np.ndarray, name: str) -> FaceMotion:
    """Return the largest face of a picture (HxWx3 uint8), as a motion of one frame; ``name``: for errors.

    Raises:
        InputError: there is none.
    """
    faces = find_faces(picture, confirm=True)
    largest = max(faces, key=lambda face: published_box(face).area, default=None)
    mesh = None if largest is None else face_mesh(picture, largest)
    if mesh is None or not mesh.is_sure:
        raise InputError(f"{name}: no face was found; give a picture of a face")
    return measure_motion(mesh.points[None])


def watch_frames(frames: Sequence[np.ndarray]) -> tuple[FaceMotion, Presence] | None:
    """Return the motion of the driver's face in frames (HxWx3 uint8), and when it is seen.

    None where a face is seen in hardly any frame.
    """
    finder = FaceFinder(confirm=True)
    for number, frame in enumerate(frames):
        finder.add(number, frame)
    found = finder.results()
    faces = driver_faces(found)
    if not faces or len(faces) < FEW * len(found):
        return None
    presence = Presence(tuple(find_gaps(list(faces), 1, len(frames), _FPS)), _FPS)
    return watch_face(frames, faces, len(frames), _FPS, presence), presence


def find_watched_part(faces: Iterable[Face], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the part (x, y, width, height) of frames of ``size`` (height, width) that ``watch_face`` sees.

    ``faces``: those in some of the frames. In between it is looked for between their places, so no further.
    """
    crops = [crop_around(face) for face in faces]
    angle = max(abs(crop.angle) for crop in crops)
    turned = np.sqrt(2) if angle > np.pi / 4 else np.cos(angle) + np.sin(angle)  # at most so much wider
    reach = turned * np.array([crop.side for crop in crops]) / 2 + 2  # with a pixel beside the last sample
    centres = np.array([crop.centre for crop in crops])
    low = np.floor((centres - reach[:, None]).min(0)).clip(0, np.array(size[::-1]) - 1).astype(int)
    high = np.ceil((centres + reach[:, None]).max(0)).clip(low + 1, size[::-1]).astype(int)
    return int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])


def _move_face(face: Face, shift: np.ndarray) -> Face:
    """Return the face, moved by a number of pixels, x and y."""
    return Face(face.box + np.tile(shift, 2), face.score, face.points + shift)


def _find_places(faces: Mapping[int, Face], count: int) -> list[Face]:
    """Return the face in each of ``count`` frames, from those in some of them."""
    rows = np.stack([np.concatenate([face.box, face.points.ravel()]) for face in faces.values()])
    frames, numbers = np.arange(count), list(faces)
    between = np.stack([np.interp(frames, numbers, column) for column in rows.T], axis=1)
    return [Face(row[:4], 1.0, row[4:].reshape(-1, 2)) for row in between.astype(np.float32)]
