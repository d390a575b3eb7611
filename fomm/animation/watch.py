"""Watches a face over the frames of a video: its mesh in every frame, and the motion that this makes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

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
from fomm.animation.threads import map_in_threads, prefetch
from fomm.errors import InputError
from fomm.face import Face, face_mesh
from fomm.face.crop import published_box
from fomm.face.mesh import SIZE as MESH_SIZE
from fomm.face.mesh import Crop, crop_around, crop_meshes, sample_crop
from fomm.face.search import FaceFinder, find_faces
from fomm.media.decode import Part

_BATCH = 16  # faces in one pass; with fewer, PyTorch takes slower convolutions on one thread
# A face may be shrunk until so many of its pixels are left for one of the mesh network's. Its points move by
# less than 0.1 of the network's 192 pixels by that, in the mean; they tremble by 0.7 in any case.
_DETAIL = 1.25
_FPS = 25.0  # of frames whose rate nobody knows


class Watched(NamedTuple):
    """What of a video's frames is looked at while a face is watched."""

    part: Part
    factor: int  # by which it is shrunk


def watch_face(
    frames: Iterable[np.ndarray],
    faces: Mapping[int, Face],
    count: int,
    fps: float,
    presence: Presence,
    *,
    watched: Watched | None = None,
    progress: Progress = False,
) -> FaceMotion:
    """Return the motion of a face in all frames of a video.

    A thread of its own draws the frames and cuts the face out of them.

    Args:
        frames: HxWx3 uint8, one by one.
        faces: the face in some of the frames, by number, ascending; in between it is looked for between
            their places.
        count: frames of the video.
        fps: its rate.
        presence: when the face is seen. In its gaps the motion is held.
        watched: which part of larger frames ``frames`` are; ``faces`` and the motion are in pixels of those.
        progress: whom to tell.

    Raises:
        InputError: the mesh sees no face in any frame.
    """
    corner, factor = ((0, 0), 1) if watched is None else (watched.part[:2], watched.factor)
    shift = np.array([*corner, 0], np.float32)
    known: list[int] = []
    motions: list[FaceMotion] = []
    places = _find_places(faces, count)

    def cut_faces() -> Iterator[tuple[int, Tensor, Crop] | None]:
        for number, frame in enumerate(frames):
            if number < count and presence.is_seen(number):
                crop = crop_around(_move_face(places[number], -shift[:2], factor))
                yield number, sample_crop(frame, crop), crop
            else:
                yield None

    def measure(batch: Sequence[tuple[int, Tensor, Crop]]) -> list[tuple[int, np.ndarray]]:
        numbers, pictures, crops = zip(*batch, strict=True)
        meshes = zip(numbers, crop_meshes(pictures, crops), strict=True)
        return [(number, mesh.points * factor + shift) for number, mesh in meshes if mesh.is_sure]

    with prefetch(cut_faces(), depth=_BATCH) as cut:
        told = report_progress(cut, count, progress, "watching the face")
        present = (face for face in told if face is not None)
        batches = iter(lambda: list(itertools.islice(present, _BATCH)), [])
        for seen in map_in_threads(measure, batches):
            if seen:
                known.extend(number for number, _ in seen)
                motions.append(measure_motion(np.stack([points for _, points in seen])))
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
    faces = find_faces(picture, confirm=True, largest=True)
    largest = max(faces, key=lambda face: published_box(face).area, default=None)
    mesh = None if largest is None else face_mesh(picture, largest)
    if mesh is None or not mesh.is_sure:
        raise InputError(f"{name}: no face was found; give a picture of a face")
    return measure_motion(mesh.points[None])


def watch_frames(frames: Sequence[np.ndarray]) -> tuple[FaceMotion, Presence] | None:
    """Return the motion of the driver's face in frames (HxWx3 uint8), and when it is seen.

    None where a face is seen in hardly any frame.
    """
    finder = FaceFinder(confirm=True, largest=True)
    for number, frame in enumerate(frames):
        finder.add(number, frame)
    found = finder.results()
    faces = driver_faces(found)
    if not faces or len(faces) < FEW * len(found):
        return None
    presence = Presence(tuple(find_gaps(list(faces), 1, len(frames), _FPS)), _FPS)
    return watch_face(frames, faces, len(frames), _FPS, presence), presence


def find_watched_part(faces: Sequence[Face], size: tuple[int, int]) -> Watched:
    """Return the part of frames of ``size`` (height, width) that ``watch_face`` sees.

    ``faces``: those in some of the frames. In between it is looked for between their places, so no further.
    """
    crops = [crop_around(face) for face in faces]
    angle = max(abs(crop.angle) for crop in crops)
    turned = np.sqrt(2) if angle > np.pi / 4 else np.cos(angle) + np.sin(angle)  # at most so much wider
    sides = np.array([crop.side for crop in crops])
    factor = max(1, int(min(*sides, *size) / (_DETAIL * MESH_SIZE)))
    reach = turned * sides / 2 + 2 * factor  # with a pixel beside the last sample
    centres = np.array([crop.centre for crop in crops])
    last = np.array(size[::-1]) // factor  # whole pixels of the shrunk frames
    low = np.floor((centres - reach[:, None]).min(0) / factor).clip(0, last - 1).astype(int)
    high = np.ceil((centres + reach[:, None]).max(0) / factor).clip(low + 1, last).astype(int)
    x, y, width, height = (int(number) * factor for number in (*low, *(high - low)))
    return Watched((x, y, width, height), factor)


def _move_face(face: Face, shift: np.ndarray, factor: int) -> Face:
    """Return the face, moved by a number of pixels, x and y, and then shrunk."""
    return Face((face.box + np.tile(shift, 2)) / factor, face.score, (face.points + shift) / factor)


def _find_places(faces: Mapping[int, Face], count: int) -> list[Face]:
    """Return the face in each of ``count`` frames, from those in some of them."""
    rows = np.stack([np.concatenate([face.box, face.points.ravel()]) for face in faces.values()])
    frames, numbers = np.arange(count), list(faces)
    between = np.stack([np.interp(frames, numbers, column) for column in rows.T], axis=1)
    return [Face(row[:4], 1.0, row[4:].reshape(-1, 2)) for row in between.astype(np.float32)]
