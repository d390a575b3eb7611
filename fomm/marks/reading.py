"""Marks are found again in pictures that were cut, scaled and compressed."""

from collections.abc import Iterable
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from scipy.fft import fft2
from scipy.ndimage import gaussian_filter

from fomm.errors import InputError
from fomm.marks.embedding import check_frame, to_brightness
from fomm.marks.pattern import (
    CODED,
    PILOTS,
    RADIUS,
    SHORTER_SIDE,
    SIGNS,
    TILE,
    VALUES,
    X,
    Y,
    measure_waves,
    sign_values,
)
from fomm.marks.payload import CHECKED_BITS, Origin, decode

FRAMES = 240  # of a video that are looked at, at most
_EVERY = 5  # of these are averaged: 1, 6, 11, ...
_STEP = 0.0035  # between two cells that are tried; over a picture's width they drift by a part of a wave
_CUT = 2.0  # a picture may have lost so much of its shorter side: a half
_SMALLEST, _LARGEST = 0.4, 1.1  # how pictures whose cell is a pixel may have been scaled
_CANDIDATES = 12  # places that are decoded, at most
_NEAR = 2.0  # cells around a pixel that its brightness is compared with
_NOISE = 0.4  # levels that are in every picture

_RINGS = (RADIUS + 0.5).astype(int)  # of waves of about one length
_PER_RING = np.maximum(np.bincount(_RINGS), 1)
_KNOWN = np.zeros(VALUES)
_KNOWN[PILOTS] = SIGNS[PILOTS]
_PILOTS = _KNOWN[: len(RADIUS)] + 1j * _KNOWN[len(RADIUS) :]


class Reading(NamedTuple):
    """A mark that was found.

    Attributes:
        origin: what it says.
        agreement: which share of the pattern's 1148 values has the sign that the mark gives it; 0.5 is none.
        cell: the size of the pattern's cells in the given pictures, in pixels.
    """

    origin: Origin
    agreement: float
    cell: float


# How probable it is, at most, that a mark is read in a picture or video that has none: the check passes by
# chance once in 2**24, for each place that is decoded.
FALSE_ALARM = _CANDIDATES / 2**CHECKED_BITS


class _Place(NamedTuple):
    """Where a mark may be."""

    peak: float  # how well the pilots fit, in standard deviations
    cell: tuple[float, float]  # height and width, in pixels
    values: np.ndarray  # what the waves carry, if the tiles are where they fit best


def read_mark(frames: Any) -> Reading | None:
    """Return the mark in a video or a picture, or None where none is found.

    The picture may have been compressed, scaled to between 0.4 and 1.1 of its size (large ones further) and
    cut, but not turned or mirrored. By chance a mark is found with a probability of at most ``FALSE_ALARM``.
    It proves nothing against someone who means to deceive: the pattern is public, and a mark can be added or
    removed.

    Args:
        frames: an array TxHxWx3, a list or another iterable of frames HxWx3, all of one size; or one picture,
            an array HxWx3. RGB, uint8 or floats in [0, 1]. Of a video the first 240 are looked at.

    Raises:
        InputError: a frame cannot be used.
    """
    levels = _average(frames)
    if min(levels.shape) < _SMALLEST * TILE:
        return None  # less than a tile
    height, width = levels.shape
    shrunk = max(1.0, min(height, width) / SHORTER_SIDE)
    size = round(height / shrunk), round(width / shrunk)
    if shrunk > 1:
        levels = np.asarray(Image.fromarray(levels).resize(size[::-1], Image.Resampling.BICUBIC))
    cells = _list_cells(min(height, width), shrunk)
    picture = _whiten(levels, float(np.sqrt(cells[0] * cells[-1])))
    places = [_find_place(picture, (cell, cell), 1) for cell in cells]
    for place in _choose(places):
        place = _refine(picture, place)
        origin = decode(_weigh(place.values)[CODED].sum(0))
        if origin is not None:
            agreement = float((place.values * sign_values(origin) > 0).mean())
            return Reading(origin, agreement, place.cell[1] * width / size[1])
    return None


def _average(frames: Any) -> np.ndarray:
    """Return the mean brightness of some of the frames, HxW float32 in [0, 255]."""
    if isinstance(frames, np.ndarray) and frames.ndim == 3:
        frames = [frames]
    if not isinstance(frames, Iterable) or isinstance(frames, (str, bytes)):
        raise InputError(f"frames is a {type(frames).__name__}; expected an array, a list or an iterator")
    total, count = None, 0
    for frame in islice(frames, 0, FRAMES, _EVERY):
        check_frame(frame)
        levels = to_brightness(frame)
        if total is not None and total.shape != levels.shape:
            raise InputError(f"frames have the shapes {total.shape} and {levels.shape}; expected one")
        total = levels if total is None else total + levels
        count += 1
    if total is None:
        raise InputError("there are no frames; expected at least one")
    return total / np.float32(count)


def _list_cells(shorter: int, shrunk: float) -> np.ndarray:
    """Return the sizes of cells to try, in pixels of a picture that was ``shrunk`` from this shorter side."""
    first, last = shorter / SHORTER_SIDE, _CUT * shorter / SHORTER_SIDE
    if shorter <= _LARGEST * SHORTER_SIDE:  # its cell may have been a pixel
        first, last = _SMALLEST, max(last, _LARGEST)
    steps = np.arange(np.log(first), np.log(last) + _STEP, _STEP)
    return np.exp(steps) / shrunk


def _whiten(levels: np.ndarray, cell: float) -> np.ndarray:
    """Return how far each pixel is from those around it, in units of their deviation, HxW float32."""
    detail = levels - gaussian_filter(levels, _NEAR * cell)
    deviation = np.sqrt(gaussian_filter(detail * detail, _NEAR * cell))
    detail /= deviation + _NOISE
    for axis, pixels in enumerate(detail.shape):  # softly to zero at the borders
        fade = np.minimum(1, (np.minimum(np.arange(pixels), np.arange(pixels)[::-1]) + 1) / 6)
        detail *= np.expand_dims(fade, 1 - axis).astype(np.float32)
    return detail


def _find_place(picture: np.ndarray, cell: tuple[float, float], finer: int) -> _Place:
    """Find where tiles of this cell are, from the pilots, to the ``finer``-th part of a cell."""
    waves = measure_waves(picture, cell)
    power = np.bincount(_RINGS, np.abs(waves) ** 2) / _PER_RING
    waves /= np.sqrt(power + 1e-20)[_RINGS]  # noise has a deviation of 1, whatever the length of the waves
    grid = np.zeros((TILE * finer, TILE * finer), np.complex64)
    grid[Y, X] = waves.conj() * _PILOTS
    fit = fft2(grid, overwrite_x=True).real
    best = int(fit.argmax())
    row, column = divmod(best, TILE * finer)
    waves = waves * np.exp(2j * np.pi * (Y * row + X * column) / (TILE * finer))
    values = np.sqrt(2) * np.concatenate([waves.real, waves.imag]) * SIGNS
    return _Place(float(fit.flat[best]) * np.sqrt(2 / len(PILOTS)), cell, values)


def _choose(places: list[_Place]) -> list[_Place]:
    """Return the best, of those whose cell fits better than the next larger and smaller."""
    peaks = np.array([0.0, *(place.peak for place in places), 0.0])
    tops = [place for index, place in enumerate(places) if place.peak >= peaks[index : index + 3].max()]
    return sorted(tops, key=lambda place: -place.peak)[:_CANDIDATES]


def _refine(picture: np.ndarray, place: _Place) -> _Place:
    """Find a place exactly: the size of its cells, first of both sides, then of their height alone."""
    for both in (1, 0):
        height, width = place.cell
        factors = np.exp(_STEP * np.linspace(-1, 1, 9))
        tried = [_find_place(picture, (height * factor, width * factor**both), 2) for factor in factors]
        place = max(tried, key=lambda place: place.peak)
    return place


def _weigh(values: np.ndarray) -> np.ndarray:
    """Weigh the values by how well waves of their length came through, as the pilots tell."""
    radius = np.concatenate([RADIUS, RADIUS])
    slope, level = np.polyfit(radius[PILOTS], values[PILOTS], 1)
    gain = np.clip(slope * radius + level, 0.02, 0.9)
    return values * gain / (1 - gain**2)
