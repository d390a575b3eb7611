"""Mouth and eyes of key points that are labelled, on top of relative motion.

Relative motion adds to a photo's lips how far the driving lips have moved since the reference frame. If they
were open there and the photo's are shut, it asks for less than shut, and the mouth rests while the other one
speaks. Key points that are known to be lips and lids allow for better.
"""

import torch
from torch import Tensor

from fomm.model.geometry import multiply_2x2, similarity
from fomm.model.keypoints import Keypoints, Openings

# Labels of key points.
LIPS = ("upper lip", "lower lip")
LIDS = (("left upper eyelid", "left lower eyelid"), ("right upper eyelid", "right lower eyelid"))
# How much of the lower lip's movement each point makes.
_JAW = {"lower lip": 1.0, "chin": 0.8, "left mouth corner": 0.3, "right mouth corner": 0.3}


def open_like(
    moved: Keypoints,
    kp_source: Keypoints,
    kp_driving: Keypoints,
    kp_driving_initial: Keypoints,
    openings: Openings,
) -> Keypoints:
    """Key points from relative motion with the mouth as far open as the driving one, and livelier lids.

    With S the turn and scale from the reference frame's key points to the source's, and g a vector from upper
    to lower lip or lid, the wanted one points as S g(driving) does, and is as long as

        lips: |g(source)| + mouth * (|S g(driving)| - |g(source)|)
        lids: |g(source)| + eyes * (|S g(driving)| - |S g(initial)|)

    or nothing where that is less. The upper lip stays where it was moved to, the jaw gives way; lids part
    around their middle. A mouth is shut in one way, so its opening is the driving one's; how wide eyes stand
    is a person's own, so of lids the movement alone is taken.

    Args:
        moved: of B frames, BxKx2 in [-1, 1], from ``relative_motion``; its jacobians stay as they are.
        kp_source, kp_driving_initial: of one image each, or of B.
        kp_driving: of B frames.
        openings: with a gain of 1 a movement is carried over as it is; more is for painters that follow it in
            part. Its ``labels`` say which key point is which.
    """
    index = openings.labels.index
    lips, *both_lids = ((index(upper), index(lower)) for upper, lower in (LIPS, *LIDS))
    face = similarity(kp_driving_initial.value, kp_source.value)
    driving, initial = (_laid(kp.value, face) for kp in (kp_driving, kp_driving_initial))
    value = moved.value.clone()

    def lacking(points: tuple[int, int], length: Tensor) -> Tensor:
        """Of a vector between two points, Bx2, if it shall be so long, Bx1, and point as the driving one."""
        wanted = _between(driving, points)
        return wanted * (length.clamp(min=0) / _length(wanted).clamp(min=1e-6)) - _between(value, points)

    rest, now = (_length(_between(points, lips)) for points in (kp_source.value, driving))
    lower = lacking(lips, rest + openings.mouth * (now - rest))
    for label, share in _JAW.items():
        value[:, index(label)] += share * lower
    for lids in both_lids:
        rest, now, start = (_length(_between(points, lids)) for points in (kp_source.value, driving, initial))
        apart = lacking(lids, rest + openings.eyes * (now - start)) / 2
        value[:, lids[0]] -= apart
        value[:, lids[1]] += apart
    return Keypoints(value, moved.jacobian)


def _laid(value: Tensor, matrix: Tensor) -> Tensor:
    """BxKx2 under Bx2x2 (or one for all)."""
    return multiply_2x2(matrix[:, None], value[..., None])[..., 0]


def _between(value: Tensor, points: tuple[int, int]) -> Tensor:
    return value[:, points[1]] - value[:, points[0]]


def _length(vectors: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
