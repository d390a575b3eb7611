"""Pairs of frames of one person that are driven as if by another person.

When a video of one person animates the photo of another, relative motion moves the photo's key points as
those of a head with other proportions and another pose. The result fits no face exactly, and the networks
have to paint a good picture from it. Drawn clips let them learn that: beside each clip lie the key points of
another head in the same motion, and the driving frame shows what should be painted.
"""

import torch
from torch import Tensor

from fomm.model import Keypoints, relative_motion
from fomm.model.geometry import fit_similarity, inverse_2x2, multiply_2x2
from fomm.training.dataset import Batch


def transfer(kp_driving: Keypoints, batch: Batch, chosen: Tensor) -> Keypoints:
    """Change the driving key points of some pairs to those that another person's video would ask for.

    Relative motion of the other person's key points asks for some driving key points. The true ones are
    known too. The difference, asked for less true, is added to the values that were found. The jacobians that
    were found are multiplied by the map that leads from the true ones to those asked for. So errors of the
    detector stay in the result, as they do in use.

    Before that, the points asked for are turned, scaled and shifted as a whole to lie on the true ones. The
    driving frame is what should be painted, and it shows the head where the true points are.

    Args:
        kp_driving: BxKx2, xy in [-1, 1], and BxKx2x2, as the detector found them.
        batch: with true key points, and those of another person.
        chosen: B bools, the pairs that are changed.

    Returns:
        Key points of the same shapes.
    """
    source, driving, initial, other = (
        batch.truth_source, batch.truth_driving, batch.other_source, batch.other_driving,
    )  # fmt: skip
    # open_pairs has seen to these
    assert source is not None
    assert driving is not None
    assert initial is not None
    assert other is not None
    scale = (_spread(source.value) / _spread(initial.value)).sqrt()  # in place of ``movement_scale``
    asked = _align(relative_motion(source, other, initial, scale[:, None, None]), driving.value)
    where = chosen.to(driving.value.device, non_blocking=True)[:, None, None]
    value = torch.where(where, kp_driving.value + asked.value - driving.value, kp_driving.value)
    if kp_driving.jacobian is None or asked.jacobian is None or driving.jacobian is None:
        return Keypoints(value)
    change = multiply_2x2(asked.jacobian, inverse_2x2(driving.jacobian))
    changed = multiply_2x2(change, kp_driving.jacobian)
    return Keypoints(value, torch.where(where[..., None], changed, kp_driving.jacobian))


def _spread(points: Tensor) -> Tensor:
    """Return the mean squared distance of points BxKx2 from their middle: B, in proportion to their area."""
    return (points - points.mean(1, keepdim=True)).square().sum(-1).mean(-1)


def _align(points: Keypoints, wanted: Tensor) -> Keypoints:
    """Turn, scale and shift key points as a whole, so that their values come nearest to ``wanted``, BxKx2."""
    turn = fit_similarity(points.value, wanted)[:, None]
    centred = points.value - points.value.mean(1, keepdim=True)
    value = multiply_2x2(turn, centred[..., None])[..., 0] + wanted.mean(1, keepdim=True)
    return Keypoints(value, None if points.jacobian is None else multiply_2x2(turn, points.jacobian))
