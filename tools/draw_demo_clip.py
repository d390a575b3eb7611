"""Draw the driving clip that ships: one drawn head that turns, nods, blinks and speaks.

    python tools/draw_demo_clip.py examples/driving.mp4

No real person is in it or heard: the head is drawn, and the voice is a buzz filtered by two resonances.
"""

import sys
import tempfile
import wave
from pathlib import Path

import numpy as np
from scipy.signal import lfilter

from fomm.heads.bust import load_bust, make_action_amounts
from fomm.heads.motion import FPS, HeadMotion
from fomm.heads.people import make_person
from fomm.heads.render import Renderer, pose
from fomm.heads.scene import make_scene
from fomm.media import VideoWriter

SECONDS = 7
SIZE = 256
RATE = 24000  # of the sound, samples a second
_PERSON, _SCENE = (9, 0, 34), (9, 1, 34)
# Syllables: start in seconds, and the vowel. They lie where the head holds still or moves slowly.
_STARTS = (0.8, 1.05, 1.3, 1.6, 2.9, 3.15, 3.45, 3.7, 4.0, 5.2, 5.5, 5.75, 6.0)
_SYLLABLES = tuple(zip(_STARTS, "aeoaiaoeaoaie", strict=True))
_SYLLABLE_SECONDS = 0.22
_BLINKS = (0.5, 2.35, 4.45, 6.45)  # seconds
# Of each vowel: jaw, lips rounded, lips wide (0 to 1), and the two resonances in hertz.
_VOWELS = {
    "a": (0.75, 0.0, 0.1, 750, 1250),
    "e": (0.45, 0.0, 0.45, 500, 1850),
    "i": (0.2, 0.0, 0.7, 300, 2250),
    "o": (0.5, 0.6, 0.0, 450, 800),
}


def write_demo_clip(path: Path) -> None:
    """Draw the clip (256x256 pixels, 25 frames a second, 7 seconds) and write it with its sound."""
    person = make_person(np.random.default_rng(_PERSON))
    scene = make_scene(np.random.default_rng(_SCENE), SIZE)
    motion, renderer = make_demo_motion(), Renderer(SIZE)
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "voice.wav"
        _write_wave(sound, make_demo_voice())
        with VideoWriter(path, fps=FPS, audio=sound) as writer:
            for frame in range(SECONDS * FPS):
                view = pose(person, scene, motion, frame)
                writer.write(renderer.draw(person, scene, view, np.random.default_rng(frame)))


def make_demo_motion() -> HeadMotion:
    """Return the motion: first facing the camera at rest, then turning, tilting, nodding and speaking."""
    time = np.arange(SECONDS * FPS) / FPS
    yaw = _sweep(time, 1.4, 2.6, 0.45) + _sweep(time, 2.6, 4.4, -0.5)
    pitch = _sweep(time, 4.4, 5.2, 0.22) + _sweep(time, 5.0, 5.8, -0.15)
    roll = _sweep(time, 0.4, 1.6, 0.1) + _sweep(time, 5.4, 6.9, -0.14)
    bust = load_bust()
    actions = np.stack([make_action_amounts(bust, _make_expression(moment)) for moment in time])
    still = np.zeros((len(time), 2))
    return HeadMotion(np.stack([yaw, pitch, roll], 1), still, np.ones(len(time)), actions)


def make_demo_voice() -> np.ndarray:
    """Return the sound: float64 samples in [-1, 1], a train of pulses filtered by each vowel's resonances."""
    time = np.arange(SECONDS * RATE) / RATE
    pitch = 125 * (1 + 0.06 * np.sin(2 * np.pi * 0.7 * time))
    pulses = np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0.0)
    voice = np.zeros_like(time)
    for start, vowel in _SYLLABLES:
        loudness = _swell(time, start, _SYLLABLE_SECONDS)
        part = pulses * loudness
        for resonance in _VOWELS[vowel][3:]:
            radius, angle = np.exp(-np.pi * 90 / RATE), 2 * np.pi * resonance / RATE
            part = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], part)
        voice += part / np.abs(part).max() * loudness.max()
    return 0.6 * voice / np.abs(voice).max()


def _make_expression(moment: float) -> dict[str, float]:
    """Return how strong each of the face's actions is (in [0, 1]) at ``moment``, in seconds."""
    time = np.array([moment])
    jaw = rounded = wide = 0.0
    for start, vowel in _SYLLABLES:
        amount = float(_swell(time, start, _SYLLABLE_SECONDS)[0])
        jaw, rounded, wide = (
            max(old, amount * new) for old, new in zip((jaw, rounded, wide), _VOWELS[vowel][:3], strict=True)
        )
    lids = max(float(_swell(time, start, 0.24)[0]) for start in _BLINKS)
    smile = 0.6 * float(_sweep(time, 6.2, 7.4, 1.0)[0])
    brows = 0.7 * float(_sweep(time, 3.4, 4.2, 1.0)[0])
    pairs = {"eyeBlink": lids, "mouthSmile": smile, "mouthStretch": wide, "browOuterUp": brows}
    both = {f"{name}{side}": amount for name, amount in pairs.items() for side in ("Left", "Right")}
    return {"jawOpen": jaw, "mouthFunnel": rounded, "browInnerUp": brows, **both}


def _sweep(time: np.ndarray, start: float, end: float, height: float) -> np.ndarray:
    """Return a smooth curve from 0 to ``height`` and back between ``start`` and ``end``, in seconds."""
    return height * np.sin(np.pi * np.clip((time - start) / (end - start), 0, 1)) ** 2


def _swell(time: np.ndarray, start: float, seconds: float) -> np.ndarray:
    """Return a half-wave from 0 to 1 and back that begins at ``start`` and takes ``seconds``."""
    return np.sin(np.pi * np.clip((time - start) / seconds, 0, 1))


def _write_wave(path: Path, samples: np.ndarray) -> None:
    """Write samples in [-1, 1] as a WAV file of 16 bits and one channel."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


if __name__ == "__main__":
    write_demo_clip(Path(sys.argv[1]))
