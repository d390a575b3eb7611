"""Pairs of frames of one person, driven as if by another: relative motion, learned.

Where one person's film drives another's picture, the key points that the motion is made from fit no face:
they are the source's, moved as those of a head of other proportions that is held otherwise. Drawn clips come
with the key points of such a head in the same motion, and the driving frame shows what should come of them.
"""

import torch
from torch import Tensor

from fomm.model import Keypoints, relative_motion
from fomm.model.geometry import fit_similarity, inverse_2x2, multiply_2x2
from fomm.training.dataset import Batch


def transfer(kp_driving: Keypoints, batch: Batch, chosen: Tensor) -> Keypoints:
    """The driving key points as they were found, those of the chosen pairs as another person would ask.

    They are changed by what lies between the true ones and those that ``relative_motion`` makes of the
    other's: values by the difference, jacobians by the map from the one to the other. Errors of the detector
    so remain. What a turn, a scale and a shift of the whole head undo is no part of it: the driving frame is
    what should come out, and shows the head where it is.

    Args:
        kp_driving: BxKx2 and BxKx2x2, as the detector found them.
        batch: with true key points, and those of another person.
        chosen: B bools.
    """
    source, driving, initial, other = (
        batch.truth_source, batch.truth_driving, batch.other_source, batch.other_driving,
    )  # fmt: skip
    assert source is not None and driving is not None and initial is not None and other is not None
    scale = (_spread(source.value) / _spread(initial.value)).sqrt()  # as ``movement_scale``
    asked = _laid_over(relative_motion(source, other, initial, scale[:, None, None]), driving.value)
    where = chosen.to(driving.value.device, non_blocking=True)[:, None, None]
    value = torch.where(where, kp_driving.value + asked.value - driving.value, kp_driving.value)
    if kp_driving.jacobian is None or asked.jacobian is None or driving.jacobian is None:
        return Keypoints(value)
    change = multiply_2x2(asked.jacobian, inverse_2x2(driving.jacobian))
    changed = multiply_2x2(change, kp_driving.jacobian)
    return Keypoints(value, torch.where(where[..., None], changed, kp_driving.jacobian))


def _spread(points: Tensor) -> Tensor:
    """The mean squared distance of BxKx2 from their middle, B: it grows as the area of their hull does."""
    return (points - points.mean(1, keepdim=True)).square().sum(-1).mean(-1)


def _laid_over(points: Keypoints, wanted: Tensor) -> Keypoints:
    """``points`` under the turn, scale and shift that bring their values next to ``wanted``, BxKx2."""
    turn = fit_similarity(points.value, wanted)[:, None]
    centred = points.value - points.value.mean(1, keepdim=True)
    value = multiply_2x2(turn, centred[..., None])[..., 0] + wanted.mean(1, keepdim=True)
    return Keypoints(value, None if points.jacobian is None else multiply_2x2(turn, points.jacobian))
