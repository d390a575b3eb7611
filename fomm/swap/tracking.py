"""Follow one person's face through a video: the points of its mesh in every frame that is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Literal, NamedTuple, get_args

import numpy as np

from fomm.animation.framing import main_face
from fomm.animation.progress import Progress, report_progress
from fomm.errors import InputError
from fomm.face import face_mesh
from fomm.face.search import find_faces
from fomm.media import VideoReader

Detector = Literal["blazeface", "mtcnn", "haar"]
DETECTORS: tuple[Detector, ...] = get_args(Detector)
# Why a frame has no points: no face was found in it; faces of other people alone; a face that the mesh
# network does not take for one, as where a hand covers it.
Missing = Literal["", "nobody", "foreign", "covered"]


class TrackedFace(NamedTuple):
    """A frame of a video, and the face that is followed in it."""

    frame: int  # its number, counted from 0
    picture: np.ndarray  # HxWx3 uint8 RGB, the whole frame
    points: np.ndarray | None  # 478x2 float32, pixels of the frame: the points of the face mesh; None: none
    missing: Missing = ""  # why there are none


def follow_face(
    video: VideoReader | str | os.PathLike[str],
    *,
    every: int = 1,
    detector: Detector = "blazeface",
    like: np.ndarray | None = None,
    progress: Progress = False,
) -> Iterator[TrackedFace]:
    """Follow one person's face through a video, a few frames at a time in memory.

    Args:
        video: a path, or a reader; a reader is read to its end and not closed.
        every: take every so many frames, from the first on.
        detector: what finds the boxes of faces. The points are those of the face mesh for all of them.
        like: 128 numbers, see ``face_identities``: the person meant. None: whose face fills most of the first
            frames that show one.
        progress: whom to tell, of all frames of the video.

    Yields:
        One ``TrackedFace`` for each frame that was asked for, in order, also for those without a face.

    Raises:
        InputError: an argument cannot be used. MediaError: the video cannot be read.
        MissingExtraError: the package of the detector cannot be loaded.
    """
    if every < 1:
        raise InputError(f"every is a number of frames, at least 1, not {every}")
    if detector not in DETECTORS:
        raise InputError(f"detector is one of {', '.join(DETECTORS)}, not {detector!r}")
    reader = video if isinstance(video, VideoReader) else VideoReader(video)
    with nullcontext() if isinstance(video, VideoReader) else reader:
        frames = report_progress(reader, reader.num_frames, progress, "following the face")
        yield from follow_frames(frames, reader.fps, every=every, detector=detector, like=like)


def follow_frames(
    frames: Iterable[np.ndarray],
    fps: float,
    *,
    every: int = 1,
    detector: Detector = "blazeface",
    like: np.ndarray | None = None,
) -> Iterator[TrackedFace]:
    """Follow one person's face as ``follow_face`` does, in frames HxWx3 uint8 at the rate ``fps``."""
    for number, frame in enumerate(frames):
        if number % every:
            continue
        face = main_face([(number, find_faces(frame, confirm=True))]).get(number)
        mesh = None if face is None else face_mesh(frame, face)
        if mesh is None or not mesh.is_sure:
            yield TrackedFace(number, frame, None, "nobody" if mesh is None else "covered")
        else:
            yield TrackedFace(number, frame, mesh.points[:, :2])
