"""Follow one person's face through a video: the points of its mesh in every frame that is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from fomm.animation.progress import Progress, report_progress
from fomm.data.shots import CUT_LEVELS, make_thumbnail
from fomm.errors import InputError, MediaError
from fomm.face import Face, Mesh, face_identities, face_mesh, face_meshes
from fomm.face.crop import Rect, iou, published_box
from fomm.face.search import find_faces, shrink_for_detection
from fomm.media import VideoReader, read_image
from fomm.media.images import is_still
from fomm.swap.detectors import Detector as Detector
from fomm.swap.detectors import check_detector, find_faces_by
from fomm.swap.kalman import KalmanFilter

# Why a frame has no points: no face was found in it; faces of other people alone; a face that the mesh
# network does not take for one, as where a hand covers it.
Missing = Literal["", "nobody", "foreign", "covered"]

SAME_PERSON = 0.6  # identities that are farther apart are two people's: so dlib's network was trained
GAP = 0.25  # seconds: who was not seen for so long is told by identity, and by place no more
NEAR = 0.3  # a box that overlaps the expected one by so much is the same face: intersection over union
JUMP = 0.2  # widths of the face: where its points lie so far from where they were expected, the shot changed
REMEMBERED = 10  # the identity is the mean of the first so many times that the person was recognised
# The filters' noises, in widths of the face's box: a standard deviation of one measurement, and how fast the
# velocity may change (widths a second, within one second). On the driving clip that ships, points so smoothed
# tremble by three quarters of what they did, lie 0.3 % of the width from where they were.
BOX_NOISE, BOX_ACCELERATION = 0.02, 2.0
POINT_NOISE, POINT_ACCELERATION = 0.004, 0.6
SPEED = 1.0  # widths a second: how fast a face may move when it is first seen


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
    """Follow one person's face through a video, one frame at a time in memory; see ``FaceTracker``.

    Args:
        video: a path, or a reader; a reader is read to its end and not closed.
        every: take every so many frames, from the first on.
        detector: what finds the boxes of faces. The points are those of the face mesh for all of them.
        like: 128 numbers, see ``face_identities``: the person meant. None: the largest face of the first
            frame that shows one.
        progress: whom to tell, of all frames of the video.

    Yields:
        One ``TrackedFace`` for each frame that was asked for, in order, also for those without a face.

    Raises:
        InputError: an argument cannot be used. MediaError: the video cannot be read.
        MissingExtraError: the package of the detector cannot be loaded.
    """
    check_every(every)
    reader = video if isinstance(video, VideoReader) else VideoReader(video)
    with nullcontext() if isinstance(video, VideoReader) else reader:
        tracker = FaceTracker(reader.fps, detector=detector, like=like)
        frames = report_progress(reader, reader.num_frames, progress, "following the face")
        for number, frame in enumerate(frames):
            if number % every == 0:
                yield tracker.add(number, frame)


def find_identity(picture: str | os.PathLike[str]) -> np.ndarray:
    """Return who is in a picture, 128 numbers, see ``face_identities``; the largest face counts.

    Raises:
        InputError: no face was found in it. MediaError: it cannot be read.
    """
    if not is_still(picture) and Path(picture).exists():
        raise MediaError(f"cannot read {picture} as a picture of a person; give a picture file")
    pixels = read_image(picture)
    faces = find_faces(pixels, confirm=True)
    if not faces:
        raise InputError(f"{picture}: no face was found; give a picture that shows the person's face")
    mesh = face_mesh(pixels, max(faces, key=lambda face: published_box(face).area))
    return face_identities([pixels], [mesh])[0]


def check_every(every: int) -> None:
    """Raise ``InputError`` unless ``every`` is a number of frames, 1 or more."""
    if every < 1:
        raise InputError(f"every is a number of frames, at least 1, not {every}")


class FaceTracker:
    """Follows one person's face, frame by frame: ``add`` them in order.

    The person's face is the one that overlaps the place where it is expected. Where there is none, or more
    than one, after a gap, and where the picture or the points change as at a cut, it is the face whose
    identity is nearest to the person's, if it is near enough. Where the detector finds no face at all, the
    mesh is tried where the face is expected, for a quarter of a second.

    Kalman filters smooth the detector's box and points, from which the mesh starts, and the points of the
    mesh. They begin anew after a gap and at a jump.

    Args:
        fps: frames a second.
        detector, like: see ``follow_face``.

    Raises:
        InputError: there is no such detector, or ``like`` is not 128 finite numbers.
    """

    def __init__(self, fps: float, *, detector: Detector = "blazeface", like: np.ndarray | None = None):
        check_detector(detector)
        if like is not None and (like.shape != (128,) or not np.isfinite(like).all()):
            raise InputError(f"like is the 128 finite numbers of an identity, not {like.shape}")
        self._fps, self._detector = fps, detector
        self._person = None if like is None else like.astype(np.float64)
        self._recognised = REMEMBERED if like is not None else 0  # times, up to REMEMBERED
        self._thumbnail: np.ndarray | None = None  # of the frame before
        self._last: int | None = None  # the frame in which the face was seen last
        self._detected = 0  # the frame in which the detector, too, found it last, if it was ever seen
        self._boxes = KalmanFilter(noise=BOX_NOISE, acceleration=BOX_ACCELERATION, speed=SPEED)
        self._points = KalmanFilter(noise=POINT_NOISE, acceleration=POINT_ACCELERATION, speed=SPEED)

    @property
    def person(self) -> np.ndarray | None:
        """Who is followed, 128 numbers; None before a face was seen."""
        return self._person

    def add(self, number: int, frame: np.ndarray) -> TrackedFace:
        """Find the person's face in frame ``number``, HxWx3 uint8 RGB; numbers ascend."""
        before, self._thumbnail = self._thumbnail, make_thumbnail(shrink_for_detection(frame))
        faces = find_faces_by(self._detector, [frame])[0]
        cut = before is not None and float(np.abs(self._thumbnail - before).mean()) >= CUT_LEVELS
        seconds = (number - self._detected) / self._fps
        known = self._last is not None and seconds <= GAP and not cut
        if not faces and not known:
            return TrackedFace(number, frame, None, "nobody")
        if known:
            expected = _to_face(self._boxes.predict(seconds))
            place = published_box(expected)
            near = [face for face in faces if iou(published_box(face), place) >= NEAR]
            if len(near) == 1 or not faces:
                face = self._smooth_face(near[0], seconds) if near else expected
                mesh = face_mesh(frame, face)
                if mesh.is_sure and not self._jumps(number, face, mesh):
                    self._detected = number if near else self._detected
                    return self._take(number, frame, face, mesh)
                if not faces:
                    return TrackedFace(number, frame, None, "nobody")
                if not mesh.is_sure:
                    self._last = None
                    return TrackedFace(number, frame, None, "covered")
            faces = near or faces
        return self._recognise(number, frame, faces)

    def state(self) -> dict[str, np.ndarray]:
        """Return all that ``restore`` needs to go on from here, as arrays; empty before a face was seen."""
        if self._person is None or self._thumbnail is None:
            return {}
        arrays = {"person": self._person, "numbers": np.array([self._recognised, -1, self._detected])}
        arrays["thumbnail"] = self._thumbnail
        if self._last is not None:
            arrays["numbers"][1] = self._last
            for name, smooth in {"box": self._boxes, "point": self._points}.items():
                assert smooth.state is not None
                arrays |= {f"{name}_state": smooth.state, f"{name}_covariance": smooth.covariance}
        return arrays

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from where ``state`` was asked for."""
        if not arrays:
            return
        self._person, self._thumbnail = arrays["person"], arrays["thumbnail"]
        self._recognised, last, self._detected = arrays["numbers"].tolist()
        self._last = None if last < 0 else last
        if self._last is not None:
            for name, smooth in {"box": self._boxes, "point": self._points}.items():
                smooth.state, smooth.covariance = arrays[f"{name}_state"], arrays[f"{name}_covariance"]

    def _recognise(self, number: int, frame: np.ndarray, faces: Sequence[Face]) -> TrackedFace:
        """Take the face of the person, told by identity. The first one to be seen is the person."""
        self._last = None  # until the person is recognised, nobody's place is expected
        found = zip(faces, face_meshes([frame] * len(faces), faces), strict=True)
        sure = [(face, mesh) for face, mesh in found if mesh.is_sure]
        if not sure:
            return TrackedFace(number, frame, None, "covered")
        if self._person is None:
            sure = [max(sure, key=lambda pair: published_box(pair[0]).area)]
        identities = face_identities([frame] * len(sure), [mesh for _, mesh in sure]).astype(np.float64)
        if self._person is None:
            self._person = identities[0]
        distances = np.linalg.norm(identities - self._person, axis=1)
        best = int(distances.argmin())
        if distances[best] > SAME_PERSON:
            return TrackedFace(number, frame, None, "foreign")
        if self._recognised < REMEMBERED:
            self._recognised += 1
            self._person = self._person + (identities[best] - self._person) / self._recognised
        self._boxes.reset()
        self._points.reset()
        face = self._smooth_face(sure[best][0], 0.0)
        self._detected = number
        return self._take(number, frame, face, sure[best][1])

    def _jumps(self, number: int, face: Face, mesh: Mesh) -> bool:
        """Return whether the points of a face lie where they cannot have moved to since it was seen last."""
        if self._last is None:
            return False
        expected = self._points.predict((number - self._last) / self._fps).reshape(-1, 2)
        return bool(np.median(np.abs(mesh.points[:, :2] - expected).max(axis=1)) > JUMP * _width(face))

    def _smooth_face(self, face: Face, seconds: float) -> Face:
        """Return the face with its box and points smoothed."""
        values = np.concatenate([face.box, face.points.ravel()])
        return _to_face(self._boxes.update(values, seconds, _width(face)), face.score)

    def _take(self, number: int, frame: np.ndarray, face: Face, mesh: Mesh) -> TrackedFace:
        seconds = 0.0 if self._last is None else (number - self._last) / self._fps
        points = self._points.update(mesh.points[:, :2].ravel(), seconds, _width(face))
        self._last = number
        return TrackedFace(number, frame, points.reshape(-1, 2).astype(np.float32))


def _to_face(values: np.ndarray, score: float = 1.0) -> Face:
    """Return the face whose box and points are ``values``, 16 numbers."""
    return Face(values[:4].astype(np.float32), score, values[4:].reshape(-1, 2).astype(np.float32))


def _width(face: Face) -> float:
    return max(Rect(*(float(value) for value in face.box)).width, 1.0)
