"""Marks go into pictures: one pattern for all frames of a video, made for its first."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, minimum_filter

from fomm.errors import InputError
from fomm.marks.pattern import find_cell, make_pattern
from fomm.marks.payload import Origin

# In levels of 0 to 255. The root of the mean square bounds what is lost: 255 / 2.3 is 40.9 dB.
_WEAKEST, _STRONGEST, _MEAN = 1.0, 8.0, 2.3
_LIMIT = 10  # levels; hardly a pixel in a thousand would have more
_GAIN = 0.8  # levels of the mark for each level of the picture's own detail
_CELLS = 256 * 256  # a picture of more cells needs less of the mark in each


class Marker:
    """Marks the frames of one video, or one picture: a function from frame to frame.

    The mark says where the frame comes from, see ``Origin``. The first frame decides where it is strong: more
    among details than in smooth parts. The same pattern is then added to each frame, and nothing flickers. A
    marked frame differs from the frame itself by at most 10 levels, with a PSNR of 40 dB or more.
    """

    def __init__(self, origin: Origin | None = None) -> None:
        self.origin = Origin() if origin is None else origin
        self._shape: tuple[int, ...] = ()

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Return a marked copy of a frame.

        Args:
            frame: HxWx3, RGB, uint8 or floats in [0, 1]; or HxWx4, whose alpha stays as it is.

        Returns:
            The same shape and kind.

        Raises:
            InputError: it is something else, or its size is not that of the first.
        """
        if isinstance(frame, np.ndarray) and frame.ndim == 3 and frame.shape[2] == 4:
            return np.concatenate((self(frame[..., :3]), frame[..., 3:]), 2)
        check_frame(frame)
        if not self._shape:
            self._shape = frame.shape
            self._place(frame)
        elif frame.shape != self._shape:
            raise InputError(
                f"a frame is {frame.shape[1]}x{frame.shape[0]}, but the first is "
                f"{self._shape[1]}x{self._shape[0]}; take another Marker for another video"
            )
        if frame.dtype != np.uint8:
            change = self._change.astype(frame.dtype) / 255
            return np.clip(frame + change, 0, 1).astype(frame.dtype)
        # In bytes alone, which is quicker. Adding wraps at 256, as for a negative change it has to.
        marked = np.minimum(frame, self._most)
        np.maximum(marked, self._least, out=marked)
        marked += self._change.view(np.uint8)
        return marked

    def _place(self, frame: np.ndarray) -> None:
        levels = to_brightness(frame)
        pattern = np.rint(_choose_strength(levels) * make_pattern(self.origin, *levels.shape))
        self._change = np.repeat(np.clip(pattern, -_LIMIT, _LIMIT).astype(np.int8)[..., None], 3, axis=2)
        # what a pixel may have for the sum to stay in 0 to 255
        self._most = 255 - self._change.clip(0).view(np.uint8)
        self._least = (-self._change).clip(0).view(np.uint8)


def mark(frames: Any, origin: Origin | None = None) -> Any:
    """Return marked copies of frames, as fomm marks what it writes; functions that return arrays do not mark.

    Args:
        frames: one video: an array TxHxWx3, a list or another iterable of frames HxWx3, all of one size; or
            one picture, an array HxWx3. RGB, uint8 or floats in [0, 1].
        origin: what the mark says; by default a new random number, and no weights.

    Returns:
        An array for an array, a list for a list, of the same kind; else an iterator, which marks as it goes.

    Raises:
        InputError: a frame cannot be used.
    """
    marker = Marker(origin)
    if isinstance(frames, np.ndarray) and frames.ndim == 3:
        return marker(frames)
    if not isinstance(frames, Iterable) or isinstance(frames, (str, bytes)):
        raise InputError(f"frames is a {type(frames).__name__}; expected an array, a list or an iterator")
    if isinstance(frames, np.ndarray):
        if frames.ndim != 4 or not len(frames):
            raise InputError(f"frames has shape {frames.shape}; expected frames x height x width x 3")
        return np.stack([marker(frame) for frame in frames])
    marked: Iterator[np.ndarray] = map(marker, frames)
    return list(marked) if isinstance(frames, (list, tuple)) else marked


def to_brightness(frame: np.ndarray) -> np.ndarray:
    """Return the brightness (luma) of a frame HxWx3, uint8 or floats in [0, 1]: HxW float32 in [0, 255]."""
    levels = frame @ np.array([0.299, 0.587, 0.114], np.float32)
    return levels if frame.dtype == np.uint8 else (levels * 255).astype(np.float32)


def check_frame(frame: np.ndarray) -> None:
    """Raise ``InputError`` unless ``frame`` is HxWx3, uint8 or floats in [0, 1]."""
    if not isinstance(frame, np.ndarray):
        raise InputError(f"a frame must be a numpy array, HxWx3, not {type(frame).__name__}")
    if frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
        raise InputError(f"a frame has shape {frame.shape}; expected height x width x 3 (RGB)")
    if frame.dtype == np.uint8:
        return
    if not np.issubdtype(frame.dtype, np.floating):
        raise InputError(f"a frame is of {frame.dtype}; expected uint8, or floats in [0, 1]")
    if not (frame.min() >= -0.01 and frame.max() <= 1.01):  # also where a value is no number
        raise InputError("a frame holds floats beyond [0, 1]; divide by 255, or pass uint8")


def _choose_strength(levels: np.ndarray) -> np.ndarray:
    """Return how strong the mark is at each pixel, HxW float32, in levels (standard deviation).

    Detail hides it. What counts is the least detail around a pixel: beside an edge, a smooth part shows all.
    """
    cell = find_cell(*levels.shape)
    height, width = levels.shape
    size = max(1, round(height / cell)), max(1, round(width / cell))
    picture = np.asarray(Image.fromarray(levels).resize(size[::-1], Image.Resampling.BOX))
    detail = np.abs(picture - gaussian_filter(picture, 3.0))
    detail = 1.5 * gaussian_filter(np.sqrt(detail), 1.5) ** 2  # of white noise, its standard deviation
    detail = gaussian_filter(minimum_filter(detail, 5), 2.0)
    enough = min(1.0, (_CELLS / picture.size) ** 0.2)
    strength = enough * np.minimum(enough * _WEAKEST + _GAIN * detail, _STRONGEST)
    strength *= min(1.0, enough * _MEAN / float(np.sqrt((strength**2).mean())))
    return np.asarray(Image.fromarray(strength).resize((width, height), Image.Resampling.BILINEAR))
