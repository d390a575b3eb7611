"""Follow one face over the frames of a clip: its points, its motion and its identity."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from tqdm import tqdm

from fomm.animation.framing import main_face
from fomm.errors import InputError, MissingExtraError
from fomm.evaluation import metrics
from fomm.evaluation.metrics import Box
from fomm.face import Face, detect_faces_in, face_identities, face_meshes
from fomm.face.alignment import face_alignment_is_ready, landmarks_68
from fomm.face.crop import Rect, published_box
from fomm.face.mesh import POINTS
from fomm.face.pose import eye_opening, gaze, head_pose, ibug_points, mouth_opening
from fomm.face.search import FaceFinder
from fomm.media import VideoReader

TRAITS = ("yaw", "pitch", "roll", "mouth", "eyes")  # degrees, then ratios
GAZE = ("gaze_x", "gaze_y")  # of the eye's width
FACE_ALIGNMENT = "face-alignment"  # the package of the published landmarks

Landmarks68 = Callable[[np.ndarray], np.ndarray]  # TxHxWx3 uint8 -> Tx68x2 pixels, nan where no face is
Traits = dict[str, np.ndarray]  # each of TRAITS: T numbers, nan where no face was found


@dataclass(frozen=True)
class FaceTrack:
    """One face over T frames; nan in the frames in which it was not found."""

    points: np.ndarray  # Tx478x3, pixels xyz
    identities: np.ndarray  # Tx128

    @cached_property
    def found(self) -> np.ndarray:
        """Return T bools: the frames in which the face was found."""
        return np.isfinite(self.points).all(axis=(1, 2))

    @cached_property
    def traits(self) -> Traits:
        """Return T numbers for each of ``TRAITS``: pose in degrees, openings of mouth and eyes as ratios."""
        yaw, pitch, roll = head_pose(self.points).T
        series = (yaw, pitch, roll, mouth_opening(self.points), eye_opening(self.points))
        return dict(zip(TRAITS, series, strict=True))

    @cached_property
    def gaze(self) -> Traits:
        """Return T numbers for each of ``GAZE``: where the eyes look, see ``pose.gaze``."""
        return dict(zip(GAZE, gaze(self.points).T, strict=True))

    @property
    def landmarks(self) -> np.ndarray:
        """Return the 68 points of the iBUG scheme, Tx68x2, pixels xy."""
        return ibug_points(self.points)[..., :2]

    @classmethod
    def join(cls, tracks: Sequence[FaceTrack]) -> FaceTrack:
        """Return one track of the frames of several, in their order."""
        return cls(
            np.concatenate([track.points for track in tracks]),
            np.concatenate([track.identities for track in tracks]),
        )

    def repeat_first(self, count: int) -> FaceTrack:
        """Return a track of ``count`` frames that are all like the first."""
        return FaceTrack(
            np.repeat(self.points[:1], count, axis=0), np.repeat(self.identities[:1], count, axis=0)
        )


def track_face(
    frames: np.ndarray, boxes: Sequence[Box | None], device: torch.device | str = "cpu"
) -> FaceTrack:
    """Find the face that lies in the box of each frame.

    Args:
        frames: TxHxWx3 uint8 RGB.
        boxes: T boxes; None stands for the face with the best score anywhere in the frame.
        device: where the networks run.
    """
    found = detect_faces_in(list(frames), device=device)
    faces = [face_in(answers, box) for answers, box in zip(found, boxes, strict=True)]
    return measure_faces(frames, faces, device)


def follow_face(
    video: VideoReader, number: int | None = None, *, progress: bool = False
) -> list[Face | None]:
    """Find one face in each frame of a video, which is read to its end; None where it is not seen.

    Args:
        video: its frames are read one by one.
        number: which face, counted from 0, left to right, in the first frame that has one. It is looked for
            at that place in all frames. None is the face that fills most, see ``framing.main_face``.
        progress: show a bar on stderr, where that is a terminal.

    Raises:
        InputError: there is no such face. MediaError: the video cannot be read.
    """
    finder = FaceFinder(confirm=True)
    shown = None if progress else True
    for index, frame in enumerate(tqdm(video, f"{video.path.name}: faces", video.num_frames, disable=shown)):
        finder.add(index, frame)
    found = finder.results()
    first = next((faces for _, faces in found if faces), None)
    if first is None:
        raise InputError(f"{video.path}: no face was found in any of its {len(found)} frames")
    if number is not None:
        if not 0 <= number < len(first):
            raise InputError(
                f"{video.path}: there is no face {number}; "
                f"{len(first)} were found, counted from 0 at the left"
            )
        place = published_box(sorted(first, key=lambda face: float(face.box[0]))[number])
        return [face_in(faces, place) for _, faces in found]
    track = main_face(found)
    return [track.get(index) for index, _ in found]


def measure_faces(
    frames: Sequence[np.ndarray] | np.ndarray,
    faces: Sequence[Face | None],
    device: torch.device | str = "cpu",
) -> FaceTrack:
    """Return the points and the identity of one face in each frame; nan where it is None.

    A face whose mesh is not sure of it counts as none. Frames are HxWx3 uint8 RGB.
    """
    points = np.full((len(frames), POINTS, 3), np.nan)
    identities = np.full((len(frames), 128), np.nan)
    seen = [index for index, face in enumerate(faces) if face is not None]
    meshes = face_meshes(
        [frames[index] for index in seen], [face for face in faces if face is not None], device=device
    )
    sure = [(index, mesh) for index, mesh in zip(seen, meshes, strict=True) if mesh.is_sure]
    if sure:
        kept = [index for index, _ in sure]
        points[kept] = [mesh.points for _, mesh in sure]
        identities[kept] = face_identities(
            [frames[index] for index in kept], [mesh for _, mesh in sure], device=device
        )
    return FaceTrack(points, identities)


def face_in(faces: Sequence[Face], box: Box | Rect | None) -> Face | None:
    """Return the face that overlaps ``box`` most; None where none does, as one in the background."""
    if box is None:
        return faces[0] if faces else None

    def shared(face: Face) -> float:
        x0, y0, x1, y1 = face.box.tolist()
        return max(min(x1, box.x1) - max(x0, box.x0), 0) * max(min(y1, box.y1) - max(y0, box.y0), 0)

    best = max(faces, key=shared, default=None)
    return best if best is not None and shared(best) > 0 else None


def find_landmarks(device: torch.device | str, choice: str | None = None) -> tuple[Landmarks68 | None, str]:
    """Return the published detector of 68 points and "", or None and the reason why there is none.

    Args:
        device: where its networks run. choice: ``"face-alignment"`` asks for it, and lets the package
        download its weights. None takes it where
            its weights are cached, and downloads nothing.

    Raises:
        MissingExtraError: it was asked for and cannot be loaded.
        InputError: ``choice`` is something else.
    """
    if choice not in (None, FACE_ALIGNMENT):
        raise InputError(f"landmarks are by {FACE_ALIGNMENT} or not measured, not by {choice!r}")
    if choice is None and not face_alignment_is_ready():
        return None, (
            "face-alignment's weights are not in torch hub's cache; --landmarks face-alignment downloads them"
        )
    try:
        landmarks_68([], device=device)  # loads the networks
    except MissingExtraError as reason:
        if choice is not None:
            raise
        return None, str(reason)

    def landmarks(frames: np.ndarray) -> np.ndarray:
        """Return the 68 points in each frame, Tx68x2 pixels; nan where no face is."""
        nowhere = np.full((68, 2), np.nan, np.float32)
        found = landmarks_68(list(frames), device=device)
        return np.stack([nowhere if points is None else points for points in found])

    return landmarks, ""


def compare_series(
    driving: Sequence[np.ndarray],
    result: Sequence[np.ndarray],
    measure: Callable[[np.ndarray, np.ndarray], float] = metrics.correlation,
) -> dict[str, float]:
    """Return the correlations of driving and result, over the whole list and clip by clip.

    Args:
        driving: a series over time for each clip, T numbers, nan where no face was found.
        result: the same of the result.
        measure: ``metrics.correlation``, or ``metrics.gain`` for the gains.

    Returns:
        ``pooled`` over all frames of all clips, ``pooled_centred`` over the series less each clip's mean,
        ``clip_mean`` and ``clip_median`` of the numbers of single clips, and ``clips``, how many have one.
    """
    pairs = list(zip(driving, result, strict=True))
    # A frame without a face is taken out of both series before their means are subtracted.
    seen = [(np.where(np.isnan(b), np.nan, a), np.where(np.isnan(a), np.nan, b)) for a, b in pairs]
    centred = [metrics.subtract_mean(a) for a, _ in seen], [metrics.subtract_mean(b) for _, b in seen]
    single = np.array([measure(a, b) for a, b in pairs])
    single = single[~np.isnan(single)]
    return {
        "pooled": measure(np.concatenate(driving), np.concatenate(result)),
        "pooled_centred": measure(np.concatenate(centred[0]), np.concatenate(centred[1])),
        "clip_mean": mean_of_known(single),
        "clip_median": float(np.median(single)) if len(single) else math.nan,
        "clips": len(single),
    }


def mean_of_known(values: np.ndarray) -> float:
    """Return the mean of the numbers that are not nan; nan where there is none."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else math.nan
