"""Align faces to the mean face: the similarity that takes a face of a frame to its place in a small picture.

A similarity scales, turns and shifts. It is a 2x3 matrix (A | t) that takes a point p to A p + t, with
A = s ((cos a, -sin a), (sin a, cos a)). Points are xy in pixels; pixel i covers [i, i + 1).
"""

from __future__ import annotations

import math

import numpy as np

from fomm.errors import InputError
from fomm.face.blocks import check_image
from fomm.face.mesh import POINTS, Crop, sample_crop
from fomm.face.pose import FACE_AT_REST, STILL_POINTS

# The side of an aligned picture over the distance of the outer eye corners. So large it shows a face from the
# hairline to the chin of an open mouth, and from cheek to cheek where the head is turned by 30 degrees.
SIDE = 2.56
# Where those points of the mesh that expressions move least, ``STILL_POINTS``, lie in an aligned picture:
# 40x2 float64 in [0, 1], xy. They are a face at rest that looks at the camera, its nose in the middle.
MEAN_FACE = 0.5 + FACE_AT_REST[:, :2] / (100 * SIDE)


def fit_similarity(points: np.ndarray, size: int) -> np.ndarray:
    """Return the similarity that takes a face to the mean face, by least squares.

    Only the points that expressions move least are fitted: a picture does not shake when its face speaks.
    Of the similarities this is the one with the least sum of squared distances, after S. Umeyama,
    "Least-squares estimation of transformation parameters between two point patterns", 1991.

    Args:
        points: 478x2, pixels of the frame: the points of the face mesh.
        size: side of the aligned picture in pixels.

    Returns:
        2x3 float32: from pixels of the frame to pixels of the aligned picture.

    Raises:
        InputError: the points are not 478x2, not finite, or lie in one place.
    """
    from skimage.transform import SimilarityTransform

    check_points(points)
    here = points[STILL_POINTS].astype(np.float64)
    fit = SimilarityTransform.from_estimate(here, MEAN_FACE * size)
    if not fit or not np.isfinite(fit.params).all():  # skimage answers with the reason where it cannot fit
        raise InputError(f"the points of a face lie in one place, {here[0]}; detect the face again")
    return fit.params[:2].astype(np.float32)


def cut_face(frame: np.ndarray, transform: np.ndarray, size: int) -> np.ndarray:
    """Return the aligned picture of a face, SxSx3 uint8 RGB.

    Where the frame has more pixels than the picture, each pixel is a mean of several, so that fine patterns
    do not alias. Beyond the frame's border lies the colour of the border.

    Args:
        frame: HxWx3 uint8 RGB.
        transform: 2x3, a similarity from pixels of the frame to pixels of the picture.
        size: S, side of the picture in pixels.

    Raises:
        InputError: the frame is not HxWx3 uint8, or the transform is no 2x3 similarity.
    """
    check_image(frame)
    pixels = sample_crop(frame, _find_square(transform, size), size)[0]  # 3xSxS in [0, 1]
    return (pixels.permute(1, 2, 0) * 255).round().byte().numpy()


def move_points(points: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Return points (...x2, pixels) moved by a transform (2x3), as float32 ...x2."""
    linear, shift = np.asarray(transform, np.float64)[:, :2], np.asarray(transform, np.float64)[:, 2]
    return (points @ linear.T + shift).astype(np.float32)


def check_points(points: np.ndarray) -> None:
    """Raise ``InputError`` unless ``points`` are the 478 finite points xy of a face mesh."""
    if points.shape != (POINTS, 2) or not np.isfinite(points).all():
        raise InputError(f"the points of a face are {POINTS}x2 finite numbers, not {points.shape}")


def _find_square(transform: np.ndarray, size: int) -> Crop:
    """Return the square of the frame that a similarity takes to the picture."""
    linear = np.asarray(transform, np.float64)
    if linear.shape != (2, 3):
        raise InputError(f"a transform is a 2x3 matrix, not {linear.shape}")
    (a, minus_b, x), (b, d, y) = linear.tolist()
    scale = math.hypot(a, b)
    if not 0 < scale < math.inf or abs(a - d) + abs(b + minus_b) > 1e-3 * scale:
        raise InputError(f"a transform scales, turns and shifts, and does nothing else; this is {linear}")
    centre = np.linalg.solve(linear[:, :2], size / 2 - np.array([x, y]))
    return Crop((float(centre[0]), float(centre[1])), size / scale, -math.atan2(b, a))
