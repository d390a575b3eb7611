"""Random motion of a head: it turns, nods, speaks, blinks and looks around, smoothly in time.

Motion has 25 frames a second.
"""

from dataclasses import dataclass

import numpy as np

from fomm.heads.bust import load_bust

FPS = 25

# Actions that ``make_motion`` does not also add at random: it gives them a rhythm of their own, or they make
# sense only beside another action.
_SCRIPTED = {"jawOpen", "mouthClose", "tongueOut", "eyeBlinkLeft", "eyeBlinkRight"}


@dataclass(frozen=True)
class HeadMotion:
    """The motion of one head over T frames."""

    angles: np.ndarray  # Tx3: yaw, pitch, roll in radians, signs as in bust.make_rotation
    shift: np.ndarray  # Tx2: metres to the right and up in the picture
    zoom: np.ndarray  # T, factors of the focal length
    actions: np.ndarray  # Tx52 amounts of the face actions, in [0, 1]

    def __getitem__(self, frames: slice) -> "HeadMotion":
        return HeadMotion(self.angles[frames], self.shift[frames], self.zoom[frames], self.actions[frames])


def wander(rng: np.random.Generator, frames: int, seconds: float) -> np.ndarray:
    """Return smooth noise, one number a frame, of mean 0 and standard deviation 1.

    Values that lie ``seconds`` or more apart hardly depend on each other.
    """
    sigma = max(seconds * FPS / 2.5, 1e-3)
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= np.sqrt((kernel**2).sum())
    return np.convolve(rng.normal(size=frames + 2 * reach), kernel, "valid")


def make_blinks(rng: np.random.Generator, frames: int, per_second: float) -> np.ndarray:
    """Return how far the lids are closed in each frame, 0 to 1.

    They close quickly and open more slowly. Now and then they stay closed for up to a second.
    """
    lids, start = np.zeros(frames), rng.exponential(FPS / per_second)
    while start < frames:
        hold = rng.exponential(2.0) if rng.random() < 0.8 else rng.uniform(5, 25)
        depth = rng.uniform(0.75, 1.0)
        time = np.arange(frames) - start
        closing, opening = (time + 2.5) / 2.5, (hold + 4.5 - time) / 4.5
        lids = np.maximum(lids, depth * np.clip(np.minimum(closing, opening), 0, 1))
        start += hold + 7 + rng.exponential(FPS / per_second)
    return lids


def make_speech(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Return how far the jaw is open in each frame, 0 to 0.9.

    There are four to six syllables a second, in phrases with pauses between them.
    """
    phrases = np.clip(1.2 * wander(rng, frames, 1.5) + 0.9, 0, 1)
    syllables = np.clip(0.6 * wander(rng, frames, 0.18) + 0.1, 0, 0.9)
    return np.clip(phrases * syllables + 0.1 * np.clip(wander(rng, frames, 1.0), 0, None), 0, 0.9)


def make_motion(rng: np.random.Generator, frames: int) -> HeadMotion:
    """Return random motion of so many frames, at 25 frames a second."""
    names = load_bust().action_names
    turning, place, mouth, eyes, brows, others, habits = rng.spawn(7)
    lively = habits.uniform(0.7, 1.3)
    angles = np.stack(
        [
            spread * lively * (0.95 * wander(child, frames, 1.5) + 0.31 * wander(child, frames, 0.5))
            for child, spread in zip(turning.spawn(3), (0.35, 0.18, 0.13), strict=True)
        ],
        1,
    )
    right, up, nearer = place.spawn(3)
    shift = np.stack([0.015 * wander(right, frames, 1.5), 0.012 * wander(up, frames, 1.5)], 1)
    zoom = 1 + 0.03 * wander(nearer, frames, 2.0)

    amounts = {name: np.zeros(frames) for name in names}
    jaw, smile, pucker, funnel, wide, grin = mouth.spawn(6)
    amounts["jawOpen"] = make_speech(jaw, frames)
    _add_both(amounts, "mouthSmile", 0.7 * np.clip(0.5 * wander(smile, frames, 1.0), 0, 1))
    _add(amounts, "mouthPucker", 0.6 * np.clip(0.5 * wander(pucker, frames, 0.3), 0, 1))
    _add(amounts, "mouthFunnel", 0.6 * np.clip(0.4 * wander(funnel, frames, 0.3), 0, 1))
    _add_both(amounts, "mouthStretch", 0.6 * np.clip(0.4 * wander(wide, frames, 0.3), 0, 1))
    teeth = np.clip(0.6 * wander(grin, frames, 1.0) - 0.1, 0, 0.8)  # shown in a smile
    _add_both(amounts, "mouthSmile", 0.7 * teeth)
    _add_both(amounts, "mouthUpperUp", 0.7 * teeth)
    _add_both(amounts, "mouthLowerDown", 0.5 * teeth)
    lids, across, updown, narrow = eyes.spawn(4)
    squint = np.clip(0.4 * wander(narrow, frames, 1.2) - 0.2, 0, 0.7)
    _add_both(amounts, "eyeBlink", np.maximum(make_blinks(lids, frames, habits.uniform(0.3, 1.5)), squint))
    look = np.clip(0.35 * wander(across, frames, 0.5), -1, 1)
    _add(amounts, "eyeLookOutLeft", np.maximum(look, 0))
    _add(amounts, "eyeLookInRight", np.maximum(look, 0))
    _add(amounts, "eyeLookInLeft", np.maximum(-look, 0))
    _add(amounts, "eyeLookOutRight", np.maximum(-look, 0))
    look = np.clip(0.3 * wander(updown, frames, 0.5), -1, 1)
    _add_both(amounts, "eyeLookUp", np.maximum(look, 0))
    _add_both(amounts, "eyeLookDown", np.maximum(-look, 0))
    raised = 0.5 * wander(brows, frames, 0.8)
    _add(amounts, "browInnerUp", np.clip(raised, 0, 1))
    _add_both(amounts, "browOuterUp", 0.8 * np.clip(raised, 0, 1))
    _add_both(amounts, "browDown", 0.6 * np.clip(-raised, 0, 1))
    free = [name for name in names if name not in _SCRIPTED]
    for name, child in zip(habits.choice(free, 6, replace=False), others.spawn(6), strict=True):
        _add(amounts, str(name), 0.7 * np.clip(0.5 * wander(child, frames, 0.6), 0, 1))
    actions = np.clip(np.stack([amounts[name] for name in names], 1), 0, 1)
    return HeadMotion(angles, shift, zoom, actions)


def _add(amounts: dict[str, np.ndarray], name: str, amount: np.ndarray) -> None:
    """Add to the amount of the action of that name."""
    amounts[name] = amounts[name] + amount


def _add_both(amounts: dict[str, np.ndarray], name: str, amount: np.ndarray) -> None:
    """Add to the amounts of the left and the right action of that name."""
    _add(amounts, name + "Left", amount)
    _add(amounts, name + "Right", amount)
