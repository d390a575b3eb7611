"""How a face moves over the frames of a video, told by its mesh and without whose face it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.spatial.transform import Rotation

from fomm.animation.presence import Presence
from fomm.errors import InputError
from fomm.face.pose import (
    FACE_AT_REST,
    STILL_POINTS,
    fit_rotation,
    head_size,
    inner_lip_gap,
    lid_gaps,
)

# How the trembling is taken out of a measured motion: the weights over time, which are symmetric, so that
# nothing comes late (standard deviations in seconds), and how far the values tremble: angles in radians, then
# shares of the head's size. What differs by more is a movement, and is left alone.
_POSE_SECONDS, _SIZE_SECONDS, _SHAPE_SECONDS = 0.04, 0.15, 0.03
_TURN_NOISE, _PLACE_NOISE, _SHAPE_NOISE = 0.02, 0.04, 0.04
USUAL_LIDS = 75  # percentile of the gaps between lids
_FAR = 15.0  # degrees by which another frame has to be nearer to the photo's pose than the first

# Where a head turns about: from the middle of its still points down, and into the head, in units of its size.
_PIVOT = np.array([0.0, 0.4, 1.6])

# The points of the mesh that lie where the labelled key points do, in the order of ``config.schema.LABELS``;
# the neck, the last of them, has none.
LABELLED_POINTS = (386, 159, 374, 145, 291, 61, 0, 17, 1, 152, 300, 70, 10, 356, 127)

# A face that looks into the camera, with lips shut and eyes open: ``FaceMotion.shape`` in hundredths, and
# ``lids``. It is the median of 31 synthetic people's faces while their lips are shut, made symmetric.
_NEUTRAL_SHAPE = np.array(
    [
        (97, -102, -147), (-97, -102, -147), (94, -79, -144), (-94, -79, -144),  # lids
        (74, 107, -148), (-74, 107, -148), (0, 82, -202), (0, 139, -187),  # corners of the mouth, lips
        (0, 27, -246), (0, 227, -140), (166, -153, -115), (-166, -153, -115),  # nose tip, chin, outer brows
        (0, -252, -170), (202, -82, 19), (-202, -82, 19),  # forehead, temples
    ]
)  # fmt: skip
_NEUTRAL_LIDS = 0.23


@dataclass(frozen=True)
class FaceMotion:
    """A face in T frames: what moves the head as a whole, what turns it, and its expression.

    Attributes:
        rotation: Tx3x3, from a face that looks into the camera to the one in the frame.
        centre: Tx2, the point that the head turns about, inside of it; pixels xy.
        size: T, see ``face.pose.head_size``; pixels.
        shape: Tx15x3, the ``LABELLED_POINTS`` from ``centre``, turned back, in units of ``size``.
        lips: T, the gap between the inner lips in units of ``size``.
        lids: Tx2, the gaps between the lids of the eye at the left of the person, and at the right.
    """

    rotation: np.ndarray
    centre: np.ndarray
    size: np.ndarray
    shape: np.ndarray
    lips: np.ndarray
    lids: np.ndarray

    def __len__(self) -> int:
        return len(self.size)

    def take(self, frames: int | slice | Sequence[int] | np.ndarray) -> FaceMotion:
        """Return the motion in some frames; a number takes one frame."""
        if isinstance(frames, int):
            frames = [frames]
        return self._map(lambda values: values[frames])

    def _map(self, change: Callable[[np.ndarray], np.ndarray]) -> FaceMotion:
        return FaceMotion(**{field.name: change(getattr(self, field.name)) for field in fields(self)})


def measure_motion(points: np.ndarray) -> FaceMotion:
    """Return the motion of a face from its meshes in T frames, Tx478x3 in pixels.

    The head's place, size and turn are a rigid fit of the points that expressions move least.
    """
    points = points.astype(np.float64)
    still = points[:, STILL_POINTS]
    size = head_size(points)
    rotation = fit_rotation(FACE_AT_REST, still)
    centre = still.mean(axis=1) + rotation @ _PIVOT * size[:, None]
    shape = (points[:, LABELLED_POINTS] - centre[:, None]) @ rotation / size[:, None, None]
    right, left = lid_gaps(points)
    gaps = np.stack([left, right], axis=1) / size[:, None]
    return FaceMotion(rotation, centre[:, :2], size, shape, inner_lip_gap(points) / size, gaps)


def join_motions(motions: Sequence[FaceMotion]) -> FaceMotion:
    """Return one motion after the other."""
    parts = {f.name: np.concatenate([getattr(m, f.name) for m in motions]) for f in fields(FaceMotion)}
    return FaceMotion(**parts)


def fill_frames(motion: FaceMotion, numbers: Sequence[int], count: int) -> FaceMotion:
    """Return the motion in ``count`` frames of one that is known in the frames ``numbers`` (ascending) alone.

    In between it goes on evenly; before the first and behind the last known frame it stands still.
    """
    frames = np.arange(count)

    def fill(values: np.ndarray) -> np.ndarray:
        flat = values.reshape(len(values), -1)
        filled = np.stack([np.interp(frames, numbers, column) for column in flat.T], axis=1)
        return filled.reshape(count, *values.shape[1:])

    filled = motion._map(fill)
    return replace(filled, rotation=nearest_rotations(filled.rotation))


def smooth_motion(motion: FaceMotion, fps: float) -> FaceMotion:
    """Return the motion without its trembling; ``fps``: frames a second.

    Each value becomes a mean of those near in time, in which those that differ by more than the trembling
    count little: a bilateral filter.
    """

    def smooth(values: np.ndarray, seconds: float, noise: float) -> np.ndarray:
        deviation = max(seconds * fps, 1e-3)
        reach = min(int(np.ceil(3 * deviation)), len(values) - 1)
        flat = values.reshape(len(values), -1)
        total, sums = np.zeros((len(flat), 1)), np.zeros_like(flat)
        for step in range(-reach, reach + 1):
            near = flat[np.clip(np.arange(len(flat)) + step, 0, len(flat) - 1)]
            far = np.square(near - flat).mean(1, keepdims=True) / noise**2
            weight = np.exp(-0.5 * ((step / deviation) ** 2 + far))
            total, sums = total + weight, sums + weight * near
        return (sums / total).reshape(values.shape)

    size = float(np.median(motion.size))
    return FaceMotion(
        nearest_rotations(smooth(motion.rotation, _POSE_SECONDS, _TURN_NOISE)),
        smooth(motion.centre, _POSE_SECONDS, _PLACE_NOISE * size),
        smooth(motion.size, _SIZE_SECONDS, _PLACE_NOISE * size),
        smooth(motion.shape, _SHAPE_SECONDS, _SHAPE_NOISE),
        smooth(motion.lips, _SHAPE_SECONDS, _SHAPE_NOISE),
        smooth(motion.lids, _SHAPE_SECONDS, _SHAPE_NOISE),
    )


def hold_motion(motion: FaceMotion, gaps: Sequence[tuple[int, int]]) -> FaceMotion:
    """Return the motion, held still in each gap, from its first frame to the one before its end."""
    frames = np.arange(len(motion))
    for begin, end in gaps:
        frames[begin:end] = begin - 1 if begin else min(end, len(motion) - 1)
    return motion.take(frames)


def open_lids(reference: FaceMotion, motion: FaceMotion) -> FaceMotion:
    """Return the reference with eyes as wide as usual in ``motion``, since it may blink just then."""
    return replace(reference, lids=np.percentile(motion.lids, USUAL_LIDS, axis=0)[None])


def neutral_face() -> FaceMotion:
    """Return a face at rest, one frame, of a size of 1: it looks straight ahead, with its lips shut."""
    return FaceMotion(
        np.eye(3)[None],
        np.zeros((1, 2)),
        np.ones(1),
        _NEUTRAL_SHAPE[None] / 100,
        np.zeros(1),
        np.full((1, 2), _NEUTRAL_LIDS),
    )


def choose_reference(
    motion: FaceMotion, wanted: FaceMotion, best_frame: int | str | None, presence: Presence
) -> int:
    """Return the number of the frame in which the photo is at rest.

    Args:
        motion: of the driver.
        wanted: the photo's face, one frame.
        best_frame: a frame's number; ``"auto"`` for the frame whose pose and expression are most like the
            photo's; None for the first, or where that is turned far from the photo, the frame most like it.
        presence: when the driver's face is seen.

    Raises:
        InputError: there is no such frame.
    """
    if isinstance(best_frame, int):
        if not 0 <= best_frame < len(motion):
            raise InputError(
                f"best_frame is {best_frame}; expected a number from 0 to {len(motion) - 1}, "
                "the last frame of the driving video"
            )
        return best_frame
    if best_frame not in (None, "auto"):
        raise InputError(f"best_frame is {best_frame!r}; expected a frame's number or 'auto'")
    seen = presence.seen_among(len(motion))
    angles = angle_between(wanted.rotation[0], motion.rotation[seen])
    other_shape = np.sqrt(np.square(motion.shape[seen] - wanted.shape).sum(-1).mean(-1))  # in face's sizes
    best = int(np.argmin(np.radians(angles) + other_shape))
    if best_frame is None and angles[0] - angles[best] < _FAR:
        return seen[0]
    return seen[best]


def angle_between(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the angles (T, degrees) between one rotation 3x3 and T others."""
    return np.degrees(Rotation.from_matrix(others @ one.T).magnitude())


def nearest_rotations(matrices: np.ndarray) -> np.ndarray:
    """Return the rotations nearest to Tx3x3 matrices, such as means of rotations."""
    u, _, vt = np.linalg.svd(matrices)
    return u @ vt
