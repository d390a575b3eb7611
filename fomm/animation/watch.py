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
from fomm.face.search import FaceFinder, find_faces

_BATCH = 32  # frames in memory
_FPS = 25.0  # of frames whose rate nobody knows


def watch_face(
    frames: Iterable[np.ndarray],
    faces: Mapping[int, Face],
    count: int,
    fps: float,
    presence: Presence,
    *,
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
        progress: whom to tell.

    Raises:
        InputError: the mesh sees no face in any frame.
    """
    known: list[int] = []
    motions: list[FaceMotion] = []
    waiting: list[tuple[int, np.ndarray, Face]] = []

    def measure() -> None:
        if not waiting:
            return
        meshes = face_meshes([frame for _, frame, _ in waiting], [face for *_, face in waiting])
        seen = [
            (number, mesh.points) for (number, *_), mesh in zip(waiting, meshes, strict=True) if mesh.is_sure
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


def _find_places(faces: Mapping[int, Face], count: int) -> list[Face]:
    """Return the face in each of ``count`` frames, from those in some of them."""
    rows = np.stack([np.concatenate([face.box, face.points.ravel()]) for face in faces.values()])
    frames, numbers = np.arange(count), list(faces)
    between = np.stack([np.interp(frames, numbers, column) for column in rows.T], axis=1)
    return [Face(row[:4], 1.0, row[4:].reshape(-1, 2)) for row in between.astype(np.float32)]
