"""The driving frame whose face is most like the source's: relative motion starts best from it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from scipy.spatial import ConvexHull

from fomm.errors import InputError
from fomm.face.detector import detect_faces
from fomm.face.mesh import face_mesh


def find_best_frame(
    source: np.ndarray,
    frames: Iterable[np.ndarray],
    *,
    name: str = "the driving video",
    device: torch.device | str = "cpu",
) -> int:
    """Return the number of the frame nearest to ``source`` in pose and expression, from 0.

    The distance of two faces is that of the published demo, but with the 478 points of the face mesh instead
    of 68: the sum of squared distances between their ``normalize``d points.

    Args:
        source: HxWx3 uint8.
        frames: HxWx3 uint8, one by one; the largest face in each counts.
        name: of the video, for errors.

    Raises:
        InputError: no face was found in the source, or in no frame.
    """
    wanted = _shape_of(source, device)
    if wanted is None:
        raise InputError(
            "the best frame cannot be found: no face was found in the part of the photo that moves; "
            "name a frame's number"
        )
    best, least, number = -1, np.inf, -1
    for number, frame in enumerate(frames):
        shape = _shape_of(frame, device)
        if shape is not None and (distance := float(np.square(shape - wanted).sum())) < least:
            best, least = number, distance
    if best < 0:
        raise InputError(
            f"the best frame cannot be found: no face was found in any of the {number + 1} frames of {name}; "
            "name a frame's number"
        )
    return best


def normalize(points: np.ndarray) -> np.ndarray:
    """Return Nx2 points less their mean, divided by the square root of the area of their convex hull."""
    centred = points - points.mean(axis=0)
    return centred / np.sqrt(ConvexHull(centred).volume)  # of a plane figure, its area


def _shape_of(picture: np.ndarray, device: torch.device | str) -> np.ndarray | None:
    faces = detect_faces(picture, device=device)
    if not faces:
        return None
    largest = max(faces, key=lambda face: float(np.prod(face.box[2:] - face.box[:2])))
    return normalize(face_mesh(picture, largest, device=device).points[:, :2].astype(np.float64))
