"""Mouth and eyes of labelled key points, on top of relative motion.

Relative motion adds to a photo's lips how far the driving lips have moved since the reference frame. Say that
the driving mouth is open in that frame and closes later, while the photo's mouth is closed: then relative
motion pushes the photo's lower lip above the upper one, and the mouth does not open while the other one
speaks. Where it is known which key points are lips and lids, the gap between them is carried over instead.
"""

import torch
from torch import Tensor

from fomm.model.base import Keypoints, Openings
from fomm.model.geometry import fit_similarity, multiply_2x2

# Labels of key points.
LIPS = ("upper lip", "lower lip")
LIDS = (("left upper eyelid", "left lower eyelid"), ("right upper eyelid", "right lower eyelid"))
# What is on the face and not on its outline, the lids aside: points that stay visible while the head turns.
FEATURES = (
    *("left outer brow", "right outer brow", "left mouth corner", "right mouth corner"),
    *(*LIPS, "nose tip", "chin"),
)
# How much of the lower lip's movement each point makes.
_JAW = {"lower lip": 1.0, "chin": 0.8, "left mouth corner": 0.3, "right mouth corner": 0.3}


def open_like(
    moved: Keypoints,
    kp_source: Keypoints,
    kp_driving: Keypoints,
    kp_driving_initial: Keypoints,
    openings: Openings,
) -> Keypoints:
    """Open the mouth of moved key points as far as the driving one, and move their lids by a gain.

    S is the turn and scale from the reference frame's key points to the source's, and g a vector from upper
    to lower lip or lid. The wanted vector points as S g(driving) does, and its length is

        lips: |g(source)| + mouth * (|S g(driving)| - |g(source)|)
        lids: |g(source)| + eyes * (|S g(driving)| - |S g(initial)|)

    or 0 where that is negative. The upper lip stays where it was moved to; the lower lip moves, and chin and
    mouth corners with it. Lids part around their middle.

    All closed mouths are alike, so the mouth's opening is the driving one's. How wide eyes stand differs
    between people, so of the lids only the change since the reference frame is taken.

    Args:
        moved: of B frames, BxKx2 in [-1, 1], from ``relative_motion``; its jacobians stay as they are.
        kp_source, kp_driving_initial: of one image each, or of B.
        kp_driving: of B frames.
        openings: the gains; 1 carries a movement over as it is, and more suits generators that follow key
            points only in part. Its ``labels`` say which key point is which.
    """
    index = openings.labels.index
    lips, *both_lids = ((index(upper), index(lower)) for upper, lower in (LIPS, *LIDS))
    face = fit_similarity(kp_driving_initial.value, kp_source.value)
    driving, initial = (_transform(kp.value, face) for kp in (kp_driving, kp_driving_initial))
    value = moved.value.clone()

    def missing(points: tuple[int, int], length: Tensor) -> Tensor:
        """Return what a vector Bx2 between two points lacks to point as the driving one, ``length`` long."""
        wanted = _vector(driving, points)
        return wanted * (length.clamp(min=0) / _length(wanted).clamp(min=1e-6)) - _vector(value, points)

    rest, now = (_length(_vector(points, lips)) for points in (kp_source.value, driving))
    lower = missing(lips, rest + openings.mouth * (now - rest))
    for label, share in _JAW.items():
        value[:, index(label)] += share * lower
    for lids in both_lids:
        rest, now, start = (_length(_vector(points, lids)) for points in (kp_source.value, driving, initial))
        apart = missing(lids, rest + openings.eyes * (now - start)) / 2
        value[:, lids[0]] -= apart
        value[:, lids[1]] += apart
    return Keypoints(value, moved.jacobian)


def _transform(value: Tensor, matrix: Tensor) -> Tensor:
    """Multiply BxKx2 by Bx2x2, or by one matrix for all."""
    return multiply_2x2(matrix[:, None], value[..., None])[..., 0]


def _vector(value: Tensor, points: tuple[int, int]) -> Tensor:
    """Return the vector from the first to the second of two points of BxKx2: Bx2."""
    return value[:, points[1]] - value[:, points[0]]


def _length(vectors: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
