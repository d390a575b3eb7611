"""How the face in a clip moves: pose, mouth and eyes over time, and how well one clip follows another."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from fomm.evaluation import metrics
from fomm.evaluation.metrics import Box
from fomm.face import Face, detect_faces_in, face_meshes

TRAITS = ("yaw", "pitch", "roll", "mouth", "eyes")  # degrees, then ratios
MIN_PRESENCE = 0.5  # a mesh that is less sure of itself counts as no face

Traits = dict[str, np.ndarray]  # each of TRAITS: T numbers, nan where no face was found


def measure_traits(frames: np.ndarray, boxes: Sequence[Box], device: torch.device | str = "cpu") -> Traits:
    """Pose, mouth and eyes of the face that lies in the box of each frame (TxHxWx3 uint8)."""
    points = np.full((len(frames), 468, 3), np.nan)
    faces = [
        _face_in(found, box)
        for found, box in zip(detect_faces_in(list(frames), device=device), boxes, strict=True)
    ]
    seen = [index for index, face in enumerate(faces) if face is not None]
    meshes = face_meshes(
        [frames[index] for index in seen], [face for face in faces if face is not None], device=device
    )
    for index, mesh in zip(seen, meshes, strict=True):
        if mesh.presence >= MIN_PRESENCE:
            points[index] = mesh.points
    yaw, pitch, roll = metrics.head_pose(points).T
    mouth, eyes = metrics.mouth_opening(points), metrics.eye_opening(points)
    return dict(zip(TRAITS, (yaw, pitch, roll, mouth, eyes), strict=True))


def _face_in(faces: Sequence[Face], box: Box) -> Face | None:
    """The face that shares most with ``box``; a face seen elsewhere, in the background, is none."""

    def shared(face: Face) -> float:
        x0, y0, x1, y1 = face.box.tolist()
        return max(min(x1, box.x1) - max(x0, box.x0), 0) * max(min(y1, box.y1) - max(y0, box.y0), 0)

    best = max(faces, key=shared, default=None)
    return best if best is not None and shared(best) > 0 else None


def followed(driving: Sequence[np.ndarray], result: Sequence[np.ndarray]) -> dict[str, float]:
    """Correlations of the clips' series, over the whole list and clip by clip."""
    pairs = list(zip(driving, result, strict=True))
    # A moment without a face is taken out of both series before they are centred.
    seen = [(np.where(np.isnan(b), np.nan, a), np.where(np.isnan(a), np.nan, b)) for a, b in pairs]
    moving = [metrics.centred(a) for a, _ in seen], [metrics.centred(b) for _, b in seen]
    single = np.array([metrics.correlation(a, b) for a, b in pairs])
    single = single[~np.isnan(single)]
    return {
        "pooled": metrics.correlation(np.concatenate(driving), np.concatenate(result)),
        "pooled_centred": metrics.correlation(np.concatenate(moving[0]), np.concatenate(moving[1])),
        "clip_mean": mean_of(single),
        "clip_median": float(np.median(single)) if len(single) else math.nan,
        "clips": len(single),
    }


def mean_of(values: np.ndarray) -> float:
    """The mean of the numbers that exist."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else math.nan
