"""What keeps live motion steady and soft, though nobody knows the next frame yet."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fomm.animation.animator import blend
from fomm.animation.motion import FaceMotion, nearest_rotations
from fomm.animation.presence import EASE, GAP, rise
from fomm.model import Keypoints

# Cutoffs at rest in Hz, and by how much they rise with each radian, or size of the face, in a second.
_POSE, _SIZE, _SHAPE = (1.5, 8.0), (1.0, 3.0), (2.0, 12.0)
_SPEED_CUTOFF = 3.0  # Hz, of the measured speed
_LEAST_STEP = 1e-3  # seconds, where two frames say that they came at once


class OneEuroFilter:
    """A low-pass filter whose cutoff rises with speed: steady at rest, and hardly late in fast motion.

    Casiez, Roussel and Vogel, "1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in
    Interactive Systems", 2012. The last axis of a value is one quantity: its length is its speed.

    Args:
        cutoff: in Hz, at rest.
        beta: how much is added to it for each unit of speed.
        speed_cutoff: in Hz, of the speed itself.
    """

    def __init__(self, cutoff: float, beta: float, speed_cutoff: float = _SPEED_CUTOFF) -> None:
        self._cutoff, self._beta, self._speed_cutoff = cutoff, beta, speed_cutoff
        self._last: tuple[float, np.ndarray, np.ndarray] | None = None  # time, value, speed

    def __call__(self, value: np.ndarray, time: float) -> np.ndarray:
        """Return the filtered value of a moment (seconds); the first one comes back as it is."""
        if self._last is None:
            self._last = time, value, np.zeros_like(value)
            return value
        before, filtered, speed = self._last
        step = max(time - before, _LEAST_STEP)
        speed = speed + _newest_share(self._speed_cutoff, step) * ((value - filtered) / step - speed)
        cutoff = self._cutoff + self._beta * np.linalg.norm(speed, axis=-1, keepdims=True)
        filtered = filtered + _newest_share(cutoff, step) * (value - filtered)
        self._last = time, filtered, speed
        return filtered


def _newest_share(cutoff: float | np.ndarray, step: float) -> float | np.ndarray:
    """Return how much of a low-pass filter's result is the newest value, ``step`` seconds after the last."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * step))


class MotionFilter:
    """One-euro filters for all that moves in a face."""

    def __init__(self) -> None:
        self._rotation, self._centre = OneEuroFilter(*_POSE), OneEuroFilter(*_POSE)
        self._size, self._shape = OneEuroFilter(*_SIZE), OneEuroFilter(*_SHAPE)
        self._lips, self._lids = OneEuroFilter(*_SHAPE), OneEuroFilter(*_SHAPE)
        self._unit: np.ndarray | None = None  # 1, the face's size in the first frame

    def __call__(self, motion: FaceMotion, time: float) -> FaceMotion:
        """Return a motion of one frame without its trembling; ``time``: of the frame, in seconds."""
        self._unit = unit = motion.size if self._unit is None else self._unit
        rotation = self._rotation(motion.rotation.reshape(1, 9), time).reshape(1, 3, 3)
        return FaceMotion(
            nearest_rotations(rotation),
            self._centre(motion.centre / unit, time) * unit,
            self._size(motion.size[:, None] / unit, time)[:, 0] * unit,
            self._shape(motion.shape, time),
            self._lips(motion.lips[:, None], time)[:, 0],
            self._lids(motion.lids[..., None], time)[..., 0],
        )


class Easing:
    """Where key points are while the driver's face comes and goes.

    While no face is seen, they stay for ``GAP`` seconds where they are, and then go to rest. When a face is
    seen again, they follow it again softly, the sooner the less time it was missed. They never jump.

    Attributes:
        resting: whether nobody is followed: no face has been seen, or not for so long that key points rest
            or are on their way.
    """

    def __init__(self) -> None:
        self.resting = True
        self._seen = -math.inf  # when a face was seen last, seconds
        self._missing = False  # in the last frame
        self._left = 0.0  # seconds of a change of course that was interrupted when the face was lost
        self._from: Sequence[Keypoints] | None = None  # where they were when a change of course began
        self._begun, self._span = 0.0, 0.0  # when it began, how long it takes; seconds
        self._shown: Sequence[Keypoints] | None = None

    def forget(self) -> None:
        """Go on from other key points: what moves is another photo."""
        self._from = self._shown = None

    def __call__(
        self, wanted: Sequence[Keypoints] | None, rest: Sequence[Keypoints], time: float
    ) -> Sequence[Keypoints]:
        """Return where the key points of each part are, one frame each.

        Args:
            wanted: where they follow the driver; None while no face is seen.
            rest: where they rest. The very object comes back when they have come there.
            time: of the frame, in seconds.
        """
        missed = time - self._seen
        if wanted is not None:
            if self._missing:
                self._turn(time, min(max(missed, self._left), EASE))
            self.resting, self._missing, self._seen = False, False, time
        else:
            if not self._missing:
                self._missing = True
                self._left = 0.0 if self._from is None else self._begun + self._span - self._seen
            if not self.resting and missed < GAP and self._shown is not None:
                return self._shown
            if not self.resting:
                self.resting = True
                self._turn(time, EASE)
        target = rest if wanted is None else wanted
        share = 1.0 if self._from is None else rise((time - self._begun) / self._span)
        if self._from is None or share == 1:
            self._from, self._shown = None, target
        else:
            pairs = zip(self._from, target, strict=True)
            self._shown = [blend(one, other, one.value.new_tensor([share])) for one, other in pairs]
        return self._shown

    def _turn(self, time: float, span: float) -> None:
        """Begin to change course, from where the key points are."""
        self._from, self._begun, self._span = self._shown, time, max(span, _LEAST_STEP)
