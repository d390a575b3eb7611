"""The pattern of a mark: waves that repeat in tiles of 96x96 cells, added to the brightness of a picture.

A cell is a pixel of pictures of up to 360 pixels along the shorter side. In larger ones it grows with the
picture, so that the mark outlives a copy made smaller. The waves are as long as 5 to 16 cells: short enough
to hide among the picture's details, long enough to survive compression. Each carries one coded bit or one
pilot in its cosine, and another in its sine. The reader knows the pilots, and finds the tiles by them.
"""

import hashlib

import numpy as np

from fomm.marks.payload import CODED_BITS, Origin, encode

TILE = 96  # cells along a side
SHORTER_SIDE = 360  # in cells, of pictures that have more pixels
_LOWEST, _HIGHEST = 6.0, 20.5  # waves in a tile
_TILT = 0.3  # how much weaker short waves are

_ROWS = np.arange(-int(_HIGHEST), int(_HIGHEST) + 1)  # waves in a tile, downwards
_COLUMNS = np.arange(int(_HIGHEST) + 1)  # to the right
_Y, _X = np.meshgrid(_ROWS, _COLUMNS, indexing="ij")
_RADIUS = np.hypot(_Y, _X)
_USED = (_RADIUS >= _LOWEST) & (_RADIUS <= _HIGHEST) & ((_X > 0) | (_Y > 0))  # one of each pair of opposites
Y, X = _Y[_USED], _X[_USED]  # of each wave
RADIUS = _RADIUS[_USED]
VALUES = 2 * len(RADIUS)  # that waves carry: their cosines, then their sines


def _shuffle(word: bytes) -> np.ndarray:
    """Return an order of the values that no version of any library changes."""
    return np.array(
        sorted(range(VALUES), key=lambda index: hashlib.sha256(b"fomm mark 1 %s %d" % (word, index)).digest())
    )


_ORDER = _shuffle(b"order")
CODED = _ORDER[: 2 * CODED_BITS].reshape(2, CODED_BITS)  # each coded bit twice
PILOTS = _ORDER[2 * CODED_BITS :]
SIGNS = np.where(_shuffle(b"signs") % 2, 1.0, -1.0)


def find_cell(height: int, width: int) -> float:
    """Return the size of a cell, in pixels, in a picture of this size."""
    return max(1.0, min(height, width) / SHORTER_SIDE)


def make_pattern(origin: Origin, height: int, width: int) -> np.ndarray:
    """Return the pattern, height x width float32, with a mean of 0 and a standard deviation of 1, about."""
    values = SIGNS * sign_values(origin)
    amplitudes = RADIUS**-_TILT
    amplitudes /= np.sqrt((amplitudes**2).sum())
    waves = np.zeros(_RADIUS.shape, np.complex64)
    waves[_USED] = (values[: len(RADIUS)] + 1j * values[len(RADIUS) :]) * amplitudes
    cell = find_cell(height, width)
    down = make_waves(_ROWS, height, cell) @ waves  # HxC
    right = make_waves(_COLUMNS, width, cell)  # WxC
    return down.real @ right.real.T - down.imag @ right.imag.T


def sign_values(origin: Origin) -> np.ndarray:
    """Return +1 or -1 for each value: what its coded bit says; pilots have +1."""
    values = np.ones(VALUES)
    values[CODED] = 1 - 2 * encode(origin)
    return values


def make_waves(counts: np.ndarray, pixels: int, cell: float) -> np.ndarray:
    """Return exp(2 pi i count x / tile) for each pixel x and count: complex64; ``cell`` in pixels."""
    place = (np.arange(pixels) + 0.5) / (cell * TILE)
    return np.exp(2j * np.pi * place[:, None] * counts).astype(np.complex64)


def measure_waves(picture: np.ndarray, cell: tuple[float, float]) -> np.ndarray:
    """Return how strong each wave is in a picture, HxW float32: complex64; ``cell`` has height and width."""
    down = make_waves(_ROWS, picture.shape[0], cell[0]).conj().T
    right = make_waves(_COLUMNS, picture.shape[1], cell[1]).conj()
    rows = np.concatenate([down.real, down.imag]) @ picture  # 2RxW; real numbers are quicker here
    real, imaginary = np.split(rows, 2)
    return ((real + 1j * imaginary) @ right)[_USED]
