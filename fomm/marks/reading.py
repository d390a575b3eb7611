"""Marks are found again in pictures that were cut, scaled and compressed."""

from collections.abc import Iterable, Iterator
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
    find_cell,
    measure_waves,
    sign_values,
)
from fomm.marks.payload import CHECKED_BITS, Origin, decode

FRAMES = 96  # of a video that are looked at, at most
_EVERY = 2  # of these are averaged: 1, 3, 5, ...
_STEP = 0.0035  # between two cells that are tried; over a picture's width they drift by a part of a wave
_CUT = 2.0  # a picture may have lost so much of its shorter side: a half
_SMALLEST, _LARGEST = 0.4, 1.1  # how pictures whose cell is a pixel may have been scaled
_UNCUT = (
    1.5  # standard deviations that the pilots may fit worse where nothing was cut off, the likeliest place
)
_CANDIDATES = 12  # places that are found and decoded, at most
_NEAR = 1.5  # pixels around one that its brightness is compared with
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
        agreement: which share of the pattern's 1204 values has the sign that the mark gives it; 0.5 is none.
        cell: the size of the pattern's cells in the given pictures, in pixels.
    """

    origin: Origin
    agreement: float
    cell: float


# How probable it is, at most, that a mark is read in a picture or video that has none: the check passes by
# chance once in 2**24, for each place that is decoded.
FALSE_ALARM = (1 + _CANDIDATES) / 2**CHECKED_BITS


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
            an array HxWx3. RGB, uint8 or floats in [0, 1]. Of a video the first 96 are looked at.

    Raises:
        InputError: a frame cannot be used.
    """
    picture, shrunk = _average(frames)
    if min(picture.shape) < _SMALLEST * TILE:
        return None  # less than a tile
    for place in _list_places(picture, shrunk):
        origin = decode(_weigh(place.values)[CODED].sum(0))
        if origin is not None:
            agreement = float((place.values * sign_values(origin) > 0).mean())
            return Reading(origin, agreement, place.cell[1] * shrunk)
    return None


def _list_places(picture: np.ndarray, shrunk: float) -> Iterator[_Place]:
    """Yield the places where a mark may be, the likeliest first: where it was put, if nothing was cut off."""
    cell = find_cell(*picture.shape)
    yield _Place(0.0, (cell, cell), _carried(_measure(picture, (cell, cell))))
    places = [_find_place(picture, (cell, cell), 1) for cell in _list_cells(min(picture.shape), shrunk)]
    for place in _choose(places):
        yield _refine(picture, place)


def _average(frames: Any) -> tuple[np.ndarray, float]:
    """Return the mean of some of the frames, whitened, HxW float32, and by which factor they were shrunk."""
    if isinstance(frames, np.ndarray) and frames.ndim == 3:
        frames = [frames]
    if not isinstance(frames, Iterable) or isinstance(frames, (str, bytes)):
        raise InputError(f"frames is a {type(frames).__name__}; expected an array, a list or an iterator")
    total, shape = np.zeros((0, 0), np.float32), None
    for frame in islice(frames, 0, FRAMES, _EVERY):
        check_frame(frame)
        if shape is not None and frame.shape != shape:
            raise InputError(f"frames have the shapes {shape} and {frame.shape}; expected one")
        shape = frame.shape
        shrunk = max(1.0, min(shape[:2]) / SHORTER_SIDE)
        levels = Image.fromarray(to_brightness(frame))
        if shrunk > 1:
            size = round(shape[1] / shrunk), round(shape[0] / shrunk)
            levels = levels.resize(size, Image.Resampling.BICUBIC)
        whitened = _whiten(np.asarray(levels))
        total = total + whitened if total.size else whitened
    if shape is None:
        raise InputError("there are no frames; expected at least one")
    return total, shrunk


def _list_cells(shorter: int, shrunk: float) -> np.ndarray:
    """Return the sizes of cells to try, in pixels of a picture that was ``shrunk`` to this shorter side."""
    first, last = shorter / SHORTER_SIDE, _CUT * shorter / SHORTER_SIDE
    if shorter * shrunk <= _LARGEST * SHORTER_SIDE:  # a cell may have been a pixel
        first, last = _SMALLEST / shrunk, max(last, _LARGEST / shrunk)
    return np.exp(np.arange(np.log(first), np.log(last) + _STEP, _STEP))


def _whiten(levels: np.ndarray) -> np.ndarray:
    """Return how far each pixel is from those around it, in units of their deviation, HxW float32."""
    detail = levels - gaussian_filter(levels, _NEAR)
    deviation = np.sqrt(gaussian_filter(detail * detail, _NEAR))
    detail /= deviation + _NOISE
    for axis, pixels in enumerate(detail.shape):  # softly to zero at the borders
        fade = np.minimum(1, (np.minimum(np.arange(pixels), np.arange(pixels)[::-1]) + 1) / 6)
        detail *= np.expand_dims(fade, 1 - axis).astype(np.float32)
    return detail


def _measure(picture: np.ndarray, cell: tuple[float, float]) -> np.ndarray:
    """Return the waves in a picture, complex64; noise has a mean power of 1, whatever their length."""
    waves = measure_waves(picture, cell)
    power = np.bincount(_RINGS, np.abs(waves) ** 2) / _PER_RING
    return waves / np.sqrt(power + 1e-20)[_RINGS]


def _carried(waves: np.ndarray) -> np.ndarray:
    """Return the values that waves carry, of whole tiles."""
    return np.sqrt(2) * np.concatenate([waves.real, waves.imag]) * SIGNS


def _find_place(picture: np.ndarray, cell: tuple[float, float], finer: int) -> _Place:
    """Find where tiles of this cell are, from the pilots, to the ``finer``-th part of a cell."""
    waves = _measure(picture, cell)
    grid = np.zeros((TILE * finer, TILE * finer), np.complex64)
    grid[Y, X] = waves.conj() * _PILOTS
    fit = fft2(grid, overwrite_x=True).real * np.float32(np.sqrt(2 / len(PILOTS)))
    fit[0, 0] += _UNCUT
    best = int(fit.argmax())
    row, column = divmod(best, TILE * finer)
    turn = np.exp(2j * np.pi * (Y * row + X * column) / (TILE * finer))
    return _Place(float(fit.flat[best]), cell, _carried(waves * turn))


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
