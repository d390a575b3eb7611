"""What befalls a clip before and after a change: the camera that took it, programs, and the codec."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from fomm.detect.changes import face_hull
from fomm.face.mesh import Crop, sample_crop
from fomm.heads.motion import FPS
from fomm.media import VideoReader
from fomm.media.encode import TRAINING_ENCODING, Encoder
from fomm.media.resize import resize

FRAMES = 5  # of a clip
DRAWN = 256  # pixels: its sides


def film_scenery(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return frames of a part of a picture, HxWx3 uint8, over which the camera moves: TxSxSx3 uint8."""
    scale = float(rng.uniform(1, min(2.0, min(picture.shape[:2]) / DRAWN)))
    room = np.array(picture.shape[:2]) - scale * DRAWN
    corner, end = rng.random((2, 2)) * room
    end = corner + 0.1 * (end - corner)
    frames = []
    for share in np.linspace(0, 1, FRAMES):
        y, x = corner + share * (end - corner)
        square = Crop((float(x + scale * DRAWN / 2), float(y + scale * DRAWN / 2)), scale * DRAWN, 0.0)
        pixels = sample_crop(picture, square, DRAWN)[0]
        frames.append((pixels.permute(1, 2, 0) * 255).round().byte().numpy())
    return np.stack(frames)


def apply_camera(
    frames: np.ndarray, rng: np.random.Generator, landmarks: np.ndarray | None = None
) -> np.ndarray:
    """Return a clip as some camera would have taken and written it, TxSxSx3 uint8.

    It may be soft or sharpened or come from fewer pixels; a part of it, or all but the face, may be out of
    focus; there is noise, mostly; and it may have been written as a video before. Whatever is changed later
    is changed in such footage.

    Args:
        frames: TxSxSx3 uint8. landmarks: Tx68x2, pixels: of a face that stays in focus; the default is none.
    """
    size, choice = frames.shape[1], rng.random()
    floats = frames.astype(np.float32)
    if choice < 0.1:
        small = int(size * rng.uniform(0.5, 0.9))
        floats = np.stack(
            [resize(resize(f, (small, small), "box"), (size, size), "bilinear") for f in frames]
        )
        floats = floats.astype(np.float32)
    elif choice < 0.5:
        soft = gaussian_filter(floats, (0, *(rng.uniform(0.4, 1.2),) * 2, 0))
        floats = soft if choice < 0.3 else floats + rng.uniform(0.3, 1.0) * (floats - soft)
    if rng.random() < 0.2:
        soft = gaussian_filter(floats, (0, *(rng.uniform(0.6, 3.0),) * 2, 0))
        if landmarks is not None and rng.random() < 0.5:
            focus = np.stack([face_hull(points, size) for points in landmarks])
            focus = gaussian_filter(focus.astype(np.float32), (0, 12, 12)) * 4
        else:
            wave = gaussian_filter(rng.normal(size=(size, size)), size / 8)
            focus = np.tile(
                4 * (wave - np.quantile(wave, rng.uniform(0.2, 0.8))) / wave.std(), (len(frames), 1, 1)
            )
        focus = focus.clip(0, 1).astype(np.float32)[..., None]
        floats = soft + focus * (floats - soft)
    if rng.random() < 0.85:
        grain = rng.normal(0, 1, floats.shape).astype(np.float32)
        if rng.random() < 0.5:  # noise of neighbours is alike, as after a camera's interpolation
            grain = gaussian_filter(grain, (0, 0.6, 0.6, 0)) * 2
        floats = floats + rng.uniform(1, 5) * grain
    taken = floats.round().clip(0, 255).astype(np.uint8)
    return recode(taken, int(rng.integers(12, 24))) if rng.random() < 0.4 else taken


def finish_clip(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a clip as a program leaves it that was used after any change: often as it is.

    Else it is blurred or sharpened a little, or gets noise. It is the same for the whole clip, and for
    changed and untouched ones, so that blur is no sign of change.
    """
    choice = rng.random()
    if choice < 0.75:
        return frames
    floats = frames.astype(np.float32)
    if choice < 0.95:
        soft = gaussian_filter(floats, (0, *(rng.uniform(0.3, 0.8),) * 2, 0))
        floats = soft if choice < 0.85 else floats + rng.uniform(0.2, 0.8) * (floats - soft)
    else:
        floats = floats + rng.normal(0, rng.uniform(0.5, 2), floats.shape).astype(np.float32)
    return floats.round().clip(0, 255).astype(np.uint8)


def recode(frames: np.ndarray, crf: int) -> np.ndarray:
    """Return frames, TxHxWx3 uint8 of even sizes, as they come back from a video of H.264 at ``crf``."""
    arguments = list(TRAINING_ENCODING)
    arguments[arguments.index("-crf") + 1] = str(crf)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        with Encoder(path, path, "mp4", Fraction(FPS), "", arguments) as encoder:
            for frame in frames:
                encoder.write(frame)
            encoder.finish()
        with VideoReader(path) as video:
            return np.stack(list(video))
