"""Compute the numbers of an evaluation, as pure functions of numpy arrays.

Points are pixels of the picture, x right, y down; pixel i covers [i, i + 1). Pictures are float arrays in
[0, 1] of shape HxWx3, RGB. A number that does not exist is nan.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

LUMA = np.array([0.299, 0.587, 0.114])  # of red, green, blue: Rec. 601
SSIM_WINDOW = 11  # pixels: the width of the Gaussian window in which ``ssim`` compares


class Box(NamedTuple):
    """A rectangle of whole pixels: columns x0 to x1 - 1 of rows y0 to y1 - 1."""

    x0: int
    y0: int
    x1: int
    y1: int

    def cut(self, image: np.ndarray) -> np.ndarray:
        """Return the part of ``image`` (HxWx...) inside the box, a view."""
        return image[self.y0 : self.y1, self.x0 : self.x1]


def face_box(points: np.ndarray, size: tuple[int, int], margin: float = 0.2) -> Box:
    """Return the box in which errors of the face are counted.

    It is the smallest box around ``points`` (Nx2, pixels xy), enlarged on each side by ``margin`` times its
    width (left, right) or height (above, below), rounded outwards to whole pixels, and cut at the border of a
    picture of ``size`` (height, width). At least one pixel is left. Around the 68 points of a face, brows to
    chin, a margin of 0.2 includes most of the forehead, the cheeks and the outline of the jaw.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    room = margin * (high - low)
    limit = np.array([size[1], size[0]])
    x0, y0 = np.clip(np.floor(low - room), 0, limit - 1).astype(int)
    x1, y1 = np.clip(np.ceil(high + room), [x0 + 1, y0 + 1], limit).astype(int)
    return Box(int(x0), int(y0), int(x1), int(y1))


# Pictures against pictures.


def l1(one: np.ndarray, other: np.ndarray, box: Box | None = None) -> float:
    """Return the mean absolute difference of two pictures, whole or in ``box``, in [0, 1]."""
    if box is not None:
        one, other = box.cut(one), box.cut(other)
    return float(np.abs(one.astype(np.float64) - other).mean())


def squared_error(one: np.ndarray, other: np.ndarray) -> float:
    """Return the mean squared difference of two pictures, in [0, 1]."""
    from skimage.metrics import mean_squared_error

    return float(mean_squared_error(one.astype(np.float64), other.astype(np.float64)))


def psnr(error: float) -> float:
    """Return the peak signal-to-noise ratio of a mean squared error: -10 log10(error) decibels, at most 100.

    scikit-image's ``peak_signal_noise_ratio`` takes two pictures. This takes the mean error of a clip, whose
    frames are not kept, and is finite where the error is 0.
    """
    return float(-10 * np.log10(max(error, 1e-10)))


def ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Return the structural similarity of two pictures, in [-1, 1]; 1 where they are equal.

    Wang et al., "Image quality assessment", 2004, equation 13, with the constants of that paper: a Gaussian
    window of sigma 1.5 (11 pixels wide), K1 = 0.01, K2 = 0.03 and a range of 1. It is the mean over the three
    channels and over the pixels that lie 5 or more from the border; nan for a picture that is less than 11
    pixels wide or high.
    """
    from skimage.metrics import structural_similarity

    if min(one.shape[:2]) < SSIM_WINDOW:
        return float("nan")
    return float(
        structural_similarity(
            one.astype(np.float64),
            other.astype(np.float64),
            data_range=1,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


# Pictures by themselves.


def sharpness(image: np.ndarray, box: Box | None = None, blur: float = 0.0) -> float:
    """Return the variance of the Laplacian (4 neighbours) of the luma in ``box``; 0 where there is no detail.

    Only the ratio of two pictures of one size and one motif means something. ``blur`` is the sigma, in
    pixels, of a Gaussian that first removes a camera's noise, which would count as detail otherwise.
    """
    luma = _blur(image.astype(np.float64) @ LUMA, blur)
    if box is not None:
        luma = box.cut(luma)
    if min(luma.shape) < 3:
        return 0.0
    inner = luma[1:-1, 1:-1]
    return float((luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inner).var())


def still_region(frames: Iterable[np.ndarray], change: float = 0.04, blur: float = 2.0) -> np.ndarray:
    """Return where nothing moves in a clip, HxW bool, from its frames, HxWx3 in [0, 1].

    A pixel is still if its luma stays within a range of ``change`` over the whole clip. The luma is blurred
    first by a Gaussian of ``blur`` pixels, so that noise does not count. Raises ValueError for a clip without
    frames.
    """
    low = high = None
    for frame in frames:
        luma = _blur(frame @ LUMA, blur)
        low = luma if low is None else np.minimum(low, luma)
        high = luma if high is None else np.maximum(high, luma)
    if low is None or high is None:
        raise ValueError("a clip has at least one frame")
    return high - low <= change


def flicker(frames: Iterable[np.ndarray], region: np.ndarray, blur: float = 1.0) -> float:
    """Return how much frames flicker in a ``region`` (HxW bool) that should stand still, in levels of 255.

    This is the absolute second difference of the luma over time, |x(t - 1) - 2 x(t) + x(t + 1)|, its mean
    over the frames and the pixels of the region. So a steady drift counts nothing, and a pixel that jumps and
    jumps back counts much. Frames are HxWx3 in [0, 1]. A Gaussian of ``blur`` pixels first removes most of a
    camera's noise. The result is nan for fewer than three frames, and for a region below a hundredth of the
    picture.
    """
    if region.mean() < 0.01:
        return float("nan")
    lumas = (_blur(frame @ LUMA, blur)[region] for frame in frames)
    differences = (after - before for before, after in pairwise(lumas))
    second = [float(np.abs(after - before).mean()) for before, after in pairwise(differences)]
    return 255 * float(np.mean(second)) if second else float("nan")


def _blur(luma: np.ndarray, sigma: float) -> np.ndarray:
    """Return ``luma`` (HxW) blurred by a Gaussian of ``sigma`` pixels; as it is for 0."""
    return gaussian_filter(luma, sigma) if sigma else luma


# Faces against faces.


def point_distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the mean absolute difference per coordinate of two sets of points (...xNxD): ..., in their unit.

    For detected points in pixels, this is the published average key-point distance (AKD) of a frame.
    """
    return np.abs(one.astype(np.float64) - other).mean(axis=(-1, -2))


def identity_distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the Euclidean distance of identity vectors (...xD): ..., without a unit."""
    return np.linalg.norm(one.astype(np.float64) - other, axis=-1)


def mark_missing(expected: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return in which frames a face is missing: T numbers.

    It is 1 where a face is ``expected`` and not ``found``, 0 where it is found, nan where none is expected.
    Both arguments are T bools.
    """
    return np.where(expected, ~found, np.nan)


# Series over time.


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return Pearson's correlation of two series over time (T numbers each), in [-1, 1].

    Frames in which either is nan (no face was found) are left out. The result is nan where fewer than three
    frames are left, or where one of the series is constant. A face that stands still can neither be followed
    nor follow, so its clip must not count as a correlation of zero. A series is constant if its standard
    deviation is below 1e-4, or below 1e-4 of a mean above 1: rounding to single precision varies as much.
    """
    one, other = _known_in_both(one, other)
    if len(one) < 3 or _is_constant(one) or _is_constant(other):
        return float("nan")
    return float(
        np.clip(np.mean((one - one.mean()) * (other - other.mean())) / (one.std() * other.std()), -1, 1)
    )


def gain(driving: np.ndarray, result: np.ndarray) -> float:
    """Return how much of a driver's movement comes through: the slope of the result over the driver.

    The line is fitted by least squares to T pairs of numbers: the slope is their covariance over the driver's
    variance. It is 1 where the result moves as far as the driver, 0.5 where it moves half as far, and 0 where
    it is constant or moves independently. Frames in which either is nan are left out; the result is nan
    where fewer than three are left, or where the driver is constant, see ``correlation``.
    """
    driving, result = _known_in_both(driving, result)
    if len(driving) < 3 or _is_constant(driving):
        return float("nan")
    if _is_constant(result):
        return 0.0  # a mean of equal numbers is rounded, so the sum below would not quite be
    return float(np.mean((driving - driving.mean()) * (result - result.mean())) / driving.var())


def breathing(driving: np.ndarray, result: np.ndarray) -> float:
    """Return by how much a head's size varies without the driver's doing so, a share of the size.

    Of T sizes each, it is the standard deviation of the logarithm of the result's, after the line over the
    logarithm of the driver's, fitted by least squares, is taken away. nan where fewer than three frames have
    both.
    """
    driving, result = _known_in_both(driving, result)
    if len(driving) < 3:
        return float("nan")
    driving, result = np.log(driving), np.log(result)
    slope = 0.0 if _is_constant(driving) else gain(driving, result)
    return float((result - slope * driving).std())


def motion_at_rest(driving: np.ndarray, result: np.ndarray, window: int, rest: float) -> float:
    """Return how far a result moves by itself while the driver rests, in the series' unit.

    The driver rests in ``window`` frames in a row if its numbers stay within a range of ``rest``. How much
    wider the range of the result's numbers is there, or 0 where it is not, is averaged over all such windows.
    Windows with a nan in either do not count; nan where no window is left.
    """
    if len(driving) < window:
        return float("nan")
    theirs, ours = (
        np.ptp(np.lib.stride_tricks.sliding_window_view(series, window), axis=1)
        for series in (driving, result)
    )
    resting = (theirs <= rest) & np.isfinite(ours)
    return float((ours - theirs)[resting].clip(min=0).mean()) if resting.any() else float("nan")


def _known_in_both(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of two series where neither is nan, in double precision."""
    both = np.isfinite(one) & np.isfinite(other)
    return one[both].astype(np.float64), other[both].astype(np.float64)


def _is_constant(series: np.ndarray) -> bool:
    return bool(series.std() < 1e-4 * max(1.0, abs(series.mean())))


def subtract_mean(series: np.ndarray) -> np.ndarray:
    """Return a series less its mean over the frames that are not nan; all nan where there is none.

    Clips are pooled in this form, so that differences between people do not count as motion.
    """
    return series - np.nanmean(series) if np.isfinite(series).any() else series


# Sets of features.


class Gaussian(NamedTuple):
    """Mean and covariance of a set of features, from which the Fréchet distance is computed."""

    mean: np.ndarray  # D
    covariance: np.ndarray  # DxD, divided by N - 1


def frechet_distance(one: Gaussian, other: Gaussian) -> float:
    """Return the Fréchet distance of two sets of features: |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)).

    It is 0 where they are equal. Heusel et al., "GANs trained by a two time-scale update rule", 2017,
    equation 6. The trace of the root is the sum of the roots of the eigenvalues of C1^(1/2) C2 C1^(1/2). That
    matrix is symmetric and has the eigenvalues of C1 C2, so sets with fewer features than dimensions give no
    complex numbers.
    """
    values, vectors = np.linalg.eigh(one.covariance)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    trace = np.sqrt(np.linalg.eigvalsh(root @ other.covariance @ root).clip(min=0)).sum()
    distance = np.square(one.mean - other.mean).sum()
    return float(distance + np.trace(one.covariance) + np.trace(other.covariance) - 2 * trace)
