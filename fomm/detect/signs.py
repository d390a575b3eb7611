"""Signs that are measured on a clip by the mesh of its face: blinks, sharpness, light, voice, jitter.

They know nothing of how a clip was made. Each has a range that is usual, and says little outside of what it
measures: real clips leave the ranges, and changed ones may keep to them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from fomm.detect.squares import MARGIN
from fomm.evaluation.metrics import LUMA
from fomm.face.mesh import FACE_POINTS, LEFT_EYE, LIPS, RIGHT_EYE
from fomm.face.pose import STILL_POINTS, eye_opening, head_size, mouth_opening

_SKIN = np.array(sorted(set(range(FACE_POINTS)) - {*LIPS, *LEFT_EYE, *RIGHT_EYE}))
_CLOSED = 0.5  # an eye is closed below this share of its usual opening
_LONGEST_BLINK = 1.0  # seconds; whoever closes the eyes for longer does not blink
_RAMP = (0.2, 0.8)  # a lid's way is timed between these shares of it
_LEAST_SECONDS = 10.0  # in less time blinks are counted, but make no rate
_LEAST_SPEECH = 2.0  # seconds of sound and face, to compare them
_LAGS = (-0.1, 0.4)  # seconds by which the voice may follow the lips
_LEAST_SLOPE = 0.03  # a brightness that changes less over the face comes from no side
_LEAST_STEP = 3.0  # levels of 255: deviation of the slopes of a part that has any detail


class FrameSigns(NamedTuple):
    """What one frame shows of a face; nan where it cannot be measured."""

    eyes: float  # opening of the eyes, see ``pose.eye_opening``
    mouth: float  # opening of the mouth, see ``pose.mouth_opening``
    sharpness: float  # of the face over that of its surroundings, see ``compare_sharpness``
    light: float  # degrees between the light on the face and around it, see ``compare_light``


class Blink(NamedTuple):
    """One blink; times are seconds."""

    at: float  # when the lids are lowest
    closing: float  # how long the lids fall
    opening: float  # how long they rise


class _Kind(NamedTuple):
    """What is known of a sign before it is measured; see ``Sign``."""

    key: str
    label: str
    unit: str
    usual: tuple[float, float] | None
    source: str
    limit: str


class Sign(NamedTuple):
    """One number of a clip, and how to read it."""

    key: str
    label: str
    value: float | None  # None: it could not be measured
    unit: str
    usual: tuple[float, float] | None  # the range that is usual; None: there is none
    source: str  # where the range comes from
    limit: str  # what it cannot tell

    @property
    def is_usual(self) -> bool | None:
        """Whether the value lies in the usual range; None where there is no value or no range."""
        if self.value is None or self.usual is None:
            return None
        return self.usual[0] <= self.value <= self.usual[1]


def measure_frame(frame: np.ndarray, points: np.ndarray) -> FrameSigns:
    """Return what a frame, HxWx3 uint8, shows of the face whose mesh is ``points``, 478x3."""
    luma = frame.astype(np.float32) @ LUMA.astype(np.float32)
    return FrameSigns(
        float(eye_opening(points)),
        float(mouth_opening(points)),
        compare_sharpness(luma, points),
        compare_light(luma, points),
    )


def compare_sharpness(luma: np.ndarray, points: np.ndarray) -> float:
    """Return how sharp a face is over how sharp its surroundings are.

    The sharpness of an area is the deviation of its second differences (Laplacian) over that of its first
    ones: the share of the finest detail in all detail, which depends less on what is shown than detail
    itself. The face is the middle of the mesh's box, its surroundings are a square around it 1.8 times as
    large without the box. nan where one of them has hardly any detail.

    Args:
        luma: HxW in [0, 255]. points: 478x3, pixels.
    """
    low, high = points[:FACE_POINTS, :2].min(0), points[:FACE_POINTS, :2].max(0)
    middle, half = (low + high) / 2, (high - low) / 2
    inner = _cut_box(middle, 0.8 * half, luma.shape)
    near = _cut_box(middle, half, luma.shape)
    outer = _cut_box(middle, np.full(2, MARGIN * half.max()), luma.shape)
    first, second = _differences(luma)
    inside = np.zeros(luma.shape, bool)
    inside[inner] = True
    around = np.zeros(luma.shape, bool)
    around[outer] = True
    around[near] = False
    shares = []
    for area in (inside, around):
        area = area[1:-1, 1:-1]
        slope = float(first[:, area].std()) if area.sum() > 64 else 0.0
        if slope < _LEAST_STEP / 255 * 10:
            return math.nan
        shares.append(float(second[area].std()) / slope)
    return shares[0] / shares[1] if shares[1] else math.nan


def _cut_box(middle: np.ndarray, half: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the rows and columns of a box, as far as they lie in a picture."""
    limits = np.array(shape[1::-1])
    low = np.floor(middle - half).clip(0, limits).astype(int)
    high = np.ceil(middle + half).clip(0, limits).astype(int)
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def _differences(luma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first differences across and down, 2x(H-2)x(W-2), and the Laplacian, (H-2)x(W-2)."""
    if min(luma.shape) < 3:
        return np.zeros((2, 0, 0)), np.zeros((0, 0))
    middle = luma[1:-1, 1:-1]
    left, right, up, down = luma[1:-1, :-2], luma[1:-1, 2:], luma[:-2, 1:-1], luma[2:, 1:-1]
    return np.stack([right - left, down - up]) / 2, left + right + up + down - 4 * middle


def compare_light(luma: np.ndarray, points: np.ndarray) -> float:
    """Return the angle, 0 to 180 degrees, between the brighter side of a face and that of its surroundings.

    A plane is fitted to the brightness of the mesh's points on skin, and another one to that of the square
    around the face without the face. Each rises towards a side. nan where one of them hardly rises.

    Args:
        luma: HxW in [0, 255]. points: 478x3, pixels.
    """
    flat = points[:FACE_POINTS, :2].astype(np.float64)
    low, high = flat.min(0), flat.max(0)
    middle, half = (low + high) / 2, (high - low) / 2
    soft = gaussian_filter(luma, max(1.0, float(half.max()) / 20))
    skin = flat[_SKIN]
    inside = ((skin >= 1) & (skin <= np.array(luma.shape[1::-1]) - 1)).all(1)
    if inside.sum() < len(skin) / 2:
        return math.nan
    skin = skin[inside]
    bright = map_coordinates(soft, [skin[:, 1] - 0.5, skin[:, 0] - 0.5], order=1, mode="nearest")
    outer, near = (_cut_box(middle, size, luma.shape) for size in (np.full(2, MARGIN * half.max()), half))
    around = np.zeros(luma.shape, bool)
    around[outer] = True
    around[near] = False
    rows, columns = np.nonzero(around)
    if len(rows) < 64:
        return math.nan
    scale = float(half.max())
    one = fit_slope((skin - middle) / scale, bright)
    other = fit_slope((np.stack([columns, rows], 1) + 0.5 - middle) / scale, soft[rows, columns])
    lengths = np.hypot(*one), np.hypot(*other)
    if min(lengths) < _LEAST_SLOPE:
        return math.nan
    return float(np.degrees(np.arccos(np.clip(one @ other / (lengths[0] * lengths[1]), -1, 1))))


def fit_slope(places: np.ndarray, bright: np.ndarray) -> np.ndarray:
    """Return how a brightness rises across and down, 2, over its mean: the plane of least squares.

    Args:
        places: Nx2, xy. bright: N, at least 0.
    """
    table = np.concatenate([places, np.ones((len(places), 1))], 1)
    plane = np.linalg.lstsq(table, bright.astype(np.float64), rcond=None)[0]
    return plane[:2] / max(float(bright.mean()), 1.0)


def find_blinks(eyes: np.ndarray, fps: float) -> list[Blink]:
    """Return the blinks in a series of openings of the eyes, T, nan where no face was seen.

    The eyes are usually open as far as the upper quarter of the openings says. A blink is where they fall
    below half of that, for less than a second, and rise again. Closing and opening are timed while the lids
    pass between a fifth and four fifths of their way, between frames by interpolation, and divided by that
    share. So a lid that moves evenly gets the very time that it needs.
    """
    known = eyes[np.isfinite(eyes)]
    if len(known) < 3:
        return []
    open_level = float(np.percentile(known, 75))
    closed = np.where(np.isfinite(eyes), eyes < _CLOSED * open_level, False)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], closed, [False]]).astype(int)))
    blinks = []
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        lowest = start + int(np.argmin(eyes[start:end]))
        depth = open_level - eyes[lowest]
        levels = [open_level - share * depth for share in _RAMP]
        falling = [_cross(eyes, lowest, -1, level) for level in levels]
        rising = [_cross(eyes, lowest, 1, level) for level in levels]
        if None in falling or None in rising or (end - start) / fps > _LONGEST_BLINK:
            continue
        way = (_RAMP[1] - _RAMP[0]) * fps
        closing, opening = ((side[0] - side[1]) / way for side in (falling, rising))  # type: ignore[operator]
        blinks.append(Blink(lowest / fps, abs(closing), abs(opening)))
    return blinks


def _cross(eyes: np.ndarray, start: int, step: int, level: float) -> float | None:
    """Return where the series first rises to a level, from a frame in one direction; None: nowhere."""
    place = start
    while 0 <= place + step < len(eyes):
        here, there = eyes[place], eyes[place + step]
        if not np.isfinite(there):
            return None
        if there >= level:
            return place + step * float((level - here) / max(there - here, 1e-9))
        place += step
    return None


def find_jitter(points: np.ndarray) -> float:
    """Return how much the points of a face tremble, in thousandths of the head's size; nan for few frames.

    It is the deviation of independent noise that would explain the second differences over time of those
    points that expressions move least, less what all of them do together: the root of the mean of
    (p(t-1) - 2 p(t) + p(t+1))^2 over 6. Smooth motion has hardly any.

    Args:
        points: Tx478x3, pixels, nan where no face was seen.
    """
    still = points[:, STILL_POINTS, :2].astype(np.float64)
    still = (still - still.mean(1, keepdims=True)) / head_size(points)[:, None, None]
    change = still[:-2] - 2 * still[1:-1] + still[2:]
    known = np.isfinite(change).all(axis=(1, 2))
    return 1000 * math.sqrt(np.square(change[known]).mean() / 6) if known.any() else math.nan


def compare_with_sound(mouth: np.ndarray, loudness: np.ndarray, fps: float) -> tuple[float, float]:
    """Return how lips and voice go together: the largest correlation, and the lag there in seconds.

    Lips open before the voice is heard, so the voice is looked for from 0.1 seconds before to 0.4 after. Both
    series are smoothed over 0.08 seconds. nan where sound and face are there for less than two seconds, or
    one of them does not change.

    Args:
        mouth: T openings, nan where no face was seen. loudness: T, dB. fps: their rate.
    """
    best = (math.nan, math.nan)
    known = np.isfinite(mouth)
    if known.sum() < max(_LEAST_SPEECH * fps, 3):
        return best
    filled = np.interp(np.arange(len(mouth)), np.flatnonzero(known), mouth[known])
    series = [gaussian_filter(one, 0.08 * fps / 2) for one in (filled, loudness.astype(np.float64))]
    for lag in range(math.ceil(_LAGS[0] * fps), math.floor(_LAGS[1] * fps) + 1):
        first, last = max(0, -lag), min(len(mouth), len(mouth) - lag)
        one, other = series[0][first:last], series[1][first + lag : last + lag]
        both = known[first:last]
        if both.sum() < max(_LEAST_SPEECH * fps, 3) or min(one[both].std(), other[both].std()) < 1e-6:
            continue
        value = float(np.corrcoef(one[both], other[both])[0, 1])
        if not value <= best[0]:  # also where best is nan
            best = value, lag / fps
    return best


def describe_signs(
    frames: Sequence[FrameSigns], points: np.ndarray, fps: float, loudness: np.ndarray | None
) -> list[Sign]:
    """Return all signs of a clip of T frames, in a fixed order; those of time alone for two frames or more.

    Args:
        frames: T. points: Tx478x3, nan where no face was seen. fps: their rate.
        loudness: T, see ``sound.read_loudness``; None: there is no sound.
    """
    eyes, mouth, sharp, light = (np.array(values, float) for values in zip(*frames, strict=True))
    seen = np.isfinite(eyes)
    seconds = float(seen.sum()) / fps
    blinks = find_blinks(eyes, fps)
    rate = 60 * len(blinks) / seconds if seconds >= _LEAST_SECONDS else None
    voice = (math.nan, math.nan) if loudness is None else compare_with_sound(mouth, loudness, fps)
    values = {
        "blinks": rate,
        "closing": _median([blink.closing * 1000 for blink in blinks]),
        "opening": _median([blink.opening * 1000 for blink in blinks]),
        "sharpness": _median(sharp),
        "light": _median(light),
        "voice": voice[0],
        "lag": voice[1] * 1000,
        "jitter": find_jitter(points) if len(points) > 2 else math.nan,
    }
    known = {
        key: None if value is None or not math.isfinite(value) else value for key, value in values.items()
    }
    return [Sign(kind.key, kind.label, known[kind.key], *kind[2:]) for kind in _KINDS]


def _median(values: Sequence[float] | np.ndarray) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.median(known)) if known else math.nan


_KINDS = tuple(_Kind(*row) for row in (
    (
        "blinks", "blinks", "a minute", (4.0, 40.0),
        "17 at rest, 26 in talk, 4 to 5 in reading (Bentivoglio et al., Movement Disorders 12, 1997), and "
        "people differ widely.",
        "A clip shorter than 10 seconds has no rate. Someone who reads or concentrates hardly blinks, and "
        "today's fakes blink.",
    ),
    (
        "closing", "blink, closing", "ms", (40.0, 200.0),
        "a blink lasts 100 to 400 ms in all (Schiffman, Sensation and Perception, 1990), and lids fall in "
        "less time than they rise (Evinger, Manning and Sibony, 1991).",
        "At 25 frames a second one frame is 40 ms, so that a blink is known by a handful of frames.",
    ),
    (
        "opening", "blink, opening", "ms", (60.0, 350.0),
        "as for the closing.",
        "Also half-closed eyes, glasses and a low resolution change it.",
    ),
    (
        "sharpness", "sharpness, face over surroundings", "", (0.8, 1.6),
        "eight untouched clips, seven drawn and one filmed, gave 0.96 to 1.34.",
        "A camera focused on the face, or make-up filters, leave this range, and a change of the whole "
        "frame keeps to it.",
    ),
    (
        "light", "light, face against frame", "degrees", None,
        "eight untouched clips gave 29 to 170, so there is no usual range.",
        "A bright wall behind a head is no light on it. Compare clips of one scene, and nothing else.",
    ),
    (
        "voice", "lips and voice, correlation", "", (0.3, 1.0),
        "the example clip, whose lips and voice were made for each other, gave 0.87; the same voice at wrong "
        "times gave 0.27 in the middle, and 0.64 at most.",
        "Music, noise, other voices and a mouth at rest give a small one. A dubbed film is no fake.",
    ),
    (
        "lag", "voice after lips", "ms", (-50.0, 300.0),
        "lips open 100 to 300 ms before the voice is heard (Chandrasekaran et al., PLoS Computational "
        "Biology 5, 2009); nobody notices sound that is up to 45 ms early (ITU-R BT.1359, 1998).",
        "Without a clear correlation the lag means nothing.",
    ),
    (
        "jitter", "jitter of the landmarks", "thousandths of the head", (3.0, 12.0),
        "seven untouched clips gave 5.8 to 9.4, and an eighth, of a head turned to profile, 20.",
        "It is also the mesh network's own noise: small or dark faces tremble more, and a smoothed fake does "
        "not at all.",
    ),
))  # fmt: skip
