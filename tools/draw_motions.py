"""Write the motion templates that ship: ``examples/NAME.motion.safetensors``.

    python tools/draw_motions.py

Nobody was filmed for them. Each is a few lines of numbers of an ``Edit`` over time, at 25 frames a second.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from fomm.animation.options import Edit
from fomm.animation.presence import Presence
from fomm.animation.template import SUFFIX, Template, write_template
from fomm.animation.units import act
from fomm.bundled import MOTIONS
from fomm.heads.motion import make_speech, wander

FPS = 25
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def swell(times: np.ndarray, start: float, end: float, rise: float = 0.35) -> np.ndarray:
    """Return a curve that goes softly from 0 to 1 after ``start`` and back before ``end``, in seconds."""
    share = np.clip(np.minimum(times - start, end - times) / rise, 0, 1)
    return share * share * (3 - 2 * share)


def blink(times: np.ndarray, *moments: float) -> np.ndarray:
    """Return how far eyes are open that blink at some moments, in seconds."""
    shut = [np.exp(-0.5 * ((times - moment) / 0.055) ** 4) for moment in moments]
    return 1 - np.max(shut, axis=0)


def settle(times: np.ndarray, seconds: float) -> np.ndarray:
    """Return a curve that is 1, and 0 at both ends of so many seconds."""
    return swell(times, 0.0, seconds, 0.5)


def talk(times: np.ndarray) -> dict[str, np.ndarray]:
    """Speak, with a head that moves a little, and two blinks."""
    rng = np.random.default_rng(3)
    end = float(times[-1])
    calm = settle(times, end)
    jaw = make_speech(rng, len(times)) * calm
    move = [scale * wander(rng, len(times), 1.2) * calm for scale in (4.0, 2.0, 1.5)]
    raised = 0.25 * np.clip(wander(rng, len(times), 0.8), 0, 2) * calm
    smile = 0.12 * np.clip(wander(rng, len(times), 0.7), -1, 1) * calm
    return {
        "yaw": move[0], "pitch": move[1], "roll": move[2], "mouth": jaw, "smile": smile,
        "brows": raised, "eyes": blink(times, 1.3, 3.6),
    }  # fmt: skip


def nod(times: np.ndarray) -> dict[str, np.ndarray]:
    """Nod twice."""
    calm = swell(times, 0.2, 2.0)
    return {"pitch": 9 * np.sin(2 * np.pi * (times - 0.2) / 0.9) * calm, "eyes": blink(times, 2.2)}


def look_around(times: np.ndarray) -> dict[str, np.ndarray]:
    """Turn to one side, to the other, up, and back."""
    yaw = -16 * swell(times, 0.2, 1.8, 0.6) + 16 * swell(times, 1.5, 3.2, 0.6)
    pitch = -7 * swell(times, 2.9, 4.4, 0.5)
    return {"yaw": yaw, "pitch": pitch, "roll": 0.15 * yaw, "eyes": blink(times, 1.6, 3.0)}


def blink_twice(times: np.ndarray) -> dict[str, np.ndarray]:
    """Blink twice, and keep still."""
    return {"eyes": blink(times, 0.5, 1.2)}


def smile(times: np.ndarray) -> dict[str, np.ndarray]:
    """Smile for two seconds."""
    grown = swell(times, 0.2, 2.8, 0.5)
    return {"smile": 0.8 * grown, "brows": 0.2 * grown, "eyes": blink(times, 2.6) * (1 - 0.1 * grown),
            "roll": 2 * grown, "pitch": -1.5 * grown}  # fmt: skip


def surprise(times: np.ndarray) -> dict[str, np.ndarray]:
    """Be surprised: brows up, mouth and eyes open, the head goes back."""
    grown = swell(times, 0.3, 2.0, 0.25)
    return {"brows": grown, "mouth": 0.9 * grown, "eyes": (1 + 0.25 * grown) * blink(times, 0.25, 2.2),
            "pitch": -5 * grown}  # fmt: skip


SECONDS: dict[str, tuple[float, Callable[[np.ndarray], dict[str, np.ndarray]]]] = {
    "talk": (5.0, talk),
    "nod": (2.6, nod),
    "look-around": (4.8, look_around),
    "blink": (1.8, blink_twice),
    "smile": (3.2, smile),
    "surprise": (2.6, surprise),
}


def main() -> None:
    """Write all of them."""
    for name in MOTIONS:
        seconds, make = SECONDS[name]
        times = np.arange(round(seconds * FPS)) / FPS
        units = make(times)
        edits = [Edit(**{unit: float(v[t]) for unit, v in units.items()}) for t in range(len(times))]
        write_template(EXAMPLES / f"{name}{SUFFIX}", Template(act(edits), Presence((), FPS)))


if __name__ == "__main__":
    main()
