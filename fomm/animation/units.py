"""What a face does, in few numbers: the same as of an ``Edit``, for each frame.

Lengths are in units of the face's size (``FaceMotion.size``), which is about half the distance of the outer
corners of the eyes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
from scipy.spatial.transform import Rotation

from fomm.animation.motion import LABELLED_POINTS, FaceMotion, neutral_face
from fomm.animation.options import Edit
from fomm.face.pose import euler_angles

UNITS = tuple(field.name for field in fields(Edit))

# How much of the driver's change of shape a photo takes over; the rest is another person's face.
EXPRESSION = 0.5

# What a number of 1 is. The left corner of a mouth lies at the right of the picture.
WIDE_OPEN = 0.6  # gap between the inner lips
SMILE, BROWS = np.zeros((len(LABELLED_POINTS), 3)), np.zeros((len(LABELLED_POINTS), 3))
SMILE[[4, 5]] = [[0.16, -0.2, 0.04], [-0.16, -0.2, 0.04]]  # corners of the mouth
BROWS[[10, 11]] = [0, -0.3, 0]  # outer brows


def turn_of(edit: Edit) -> Rotation:
    """Return the turn of an edit."""
    return Rotation.from_euler("YXZ", [-edit.yaw, edit.pitch, edit.roll], degrees=True)


def act(edits: Sequence[Edit]) -> FaceMotion:
    """Return the motion of a neutral face that does what each of T edits says."""
    numbers = {name: np.array([getattr(edit, name) for edit in edits], np.float64) for name in UNITS}
    count = len(edits)
    rest = neutral_face()
    change = numbers["smile"][:, None, None] * SMILE + numbers["brows"][:, None, None] * BROWS
    return FaceMotion(
        np.stack([turn_of(edit).as_matrix() for edit in edits]),
        np.repeat(rest.centre, count, axis=0),
        np.ones(count),
        rest.shape + change / EXPRESSION,
        np.maximum(numbers["mouth"], 0) * WIDE_OPEN,
        rest.lids * numbers["eyes"][:, None],
    )


def measure_units(motion: FaceMotion, reference: FaceMotion | None = None) -> dict[str, np.ndarray]:
    """Return T numbers for each of ``UNITS``: what a face does in each frame of a motion.

    Args:
        motion: T frames.
        reference: the same face at rest, one frame. None: the median of the motion stands for it, and for a
            head at rest one that looks into the camera.
    """
    rotation = np.eye(3) if reference is None else reference.rotation[0]
    shape = np.median(motion.shape, axis=0) if reference is None else reference.shape[0]
    open_lids = np.percentile(motion.lids, 75, axis=0) if reference is None else reference.lids[0]
    yaw, pitch, roll = euler_angles(motion.rotation @ rotation.T).T
    change = (motion.shape - shape) * EXPRESSION

    def along(unit: np.ndarray) -> np.ndarray:
        """Return how much of a unit is in the change, by least squares over the points that it moves."""
        return np.einsum("tij,ij->t", change, unit) / np.square(unit).sum()

    return {
        "yaw": yaw,
        "pitch": pitch,
        "roll": roll,
        "mouth": motion.lips / WIDE_OPEN,
        "eyes": (motion.lids / np.maximum(open_lids, 1e-6)).mean(axis=1),
        "smile": along(SMILE),
        "brows": along(BROWS),
    }
