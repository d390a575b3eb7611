"""What is measured, as pure functions of numpy arrays.

Points are pixels of the picture, x right, y down, z away from the camera; pixel i covers [i, i + 1).
Angles are degrees. Pictures are float arrays in [0, 1] of shape HxWx3.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Box(NamedTuple):
    """Whole pixels: columns x0 to x1 - 1 of rows y0 to y1 - 1."""

    x0: int
    y0: int
    x1: int
    y1: int

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The part of ``image`` (HxWx...) inside the box."""
        return image[self.y0 : self.y1, self.x0 : self.x1]


def face_box(points: np.ndarray, size: tuple[int, int], margin: float = 0.2) -> Box:
    """The box that errors in the face are counted in.

    The rule: the smallest box around ``points`` (Nx2, pixels xy), each side moved outwards by ``margin``
    times the box's width (left, right) or height (above, below), outwards to whole pixels, then cut at the
    border of a picture of ``size`` (height, width). With the 68 points of a face, brows to chin, a margin of
    0.2 takes in most of the forehead, the cheeks and the outline of the jaw. At least one pixel is left.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    room = margin * (high - low)
    limit = np.array([size[1], size[0]])
    x0, y0 = np.clip(np.floor(low - room), 0, limit - 1).astype(int)
    x1, y1 = np.clip(np.ceil(high + room), [x0 + 1, y0 + 1], limit).astype(int)
    return Box(int(x0), int(y0), int(x1), int(y1))


def l1(one: np.ndarray, other: np.ndarray, box: Box | None = None) -> float:
    """Mean absolute difference of two pictures, of all of them or in ``box``; in [0, 1]."""
    if box is not None:
        one, other = box.cut(one), box.cut(other)
    return float(np.abs(one.astype(np.float64) - other).mean())


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's correlation of two series over time (T and T), in [-1, 1].

    Moments at which either is nan (no face was found) are left out. The result is nan where fewer than three
    moments are left, or one of the series is constant: what does not move can neither be followed nor follow,
    so such a clip says nothing and must not be counted as a zero. Constant is what has a standard deviation
    below 1e-4, or below 1e-4 of the mean where that is above 1: single precision makes noise of its own.
    """
    both = np.isfinite(one) & np.isfinite(other)
    one, other = one[both].astype(np.float64), other[both].astype(np.float64)
    if len(one) < 3:
        return float("nan")
    if any(series.std() < 1e-4 * max(1.0, abs(series.mean())) for series in (one, other)):
        return float("nan")
    return float(
        np.clip(np.mean((one - one.mean()) * (other - other.mean())) / (one.std() * other.std()), -1, 1)
    )


def centred(series: np.ndarray) -> np.ndarray:
    """A series less its mean over the moments that are not nan; all nan where there is none.

    Pooling centred clips measures how motion is followed, free of how one person differs from another.
    """
    return series - np.nanmean(series) if np.isfinite(series).any() else series


# A face at rest, for ``head_pose``: the points of the 468 that expressions move least. Columns: number of the
# point at the left of the picture, of its twin at the right, and the left one's place in hundredths of the
# distance between the outer eye corners: x (the twin's is the opposite), y down, z away from the camera. It
# is the median of the meshes of 24 synthetic heads in 16 frames each, turned back by the exact pose and made
# symmetric.
_STILL_POINTS = np.array(
    [
        (168, 168, 0, -26, -9),  # nose bridge, downwards
        (6, 6, 0, -15, -14),
        (197, 197, 0, -7, -19),
        (195, 195, 0, 0, -25),
        (5, 5, 0, 8, -31),
        (4, 4, 0, 17, -34),  # nose tip
        (128, 357, -15, -9, 0),  # side of the nose
        (114, 343, -15, -4, -5),
        (217, 437, -15, 3, -9),
        (126, 355, -19, 7, -5),
        (47, 277, -20, 0, -2),
        (121, 350, -20, -5, 1),  # under the eye
        (231, 451, -27, -7, 5),
        (120, 349, -27, -2, 3),
        (100, 329, -26, 4, 0),
        (119, 348, -36, 1, 5),
        (33, 263, -50, -20, 14),  # eye corners, outer and inner
        (133, 362, -19, -18, 7),
        (116, 345, -68, -1, 28),  # cheek bone
        (117, 346, -57, -1, 14),
        (50, 280, -53, 17, 8),
        (205, 425, -42, 26, 2),
        (36, 266, -32, 18, -1),
    ]
)
_PAIRS = _STILL_POINTS[_STILL_POINTS[:, 0] != _STILL_POINTS[:, 1]]
_STILL = np.concatenate([_STILL_POINTS[:, 0], _PAIRS[:, 1]])  # 40 numbers of points
_REST = np.concatenate([_STILL_POINTS[:, 2:], _PAIRS[:, 2:] * [-1, 1, 1]]).astype(np.float64)  # 40x3


def rotation_between(rest: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """The rotation R (...x3x3) that, with a scale and a shift, takes ``rest`` (Nx3) to ``moved`` (...xNx3).

    Kabsch's solution of least squares: of the covariance U S V^T, R = V diag(1, 1, det(V U^T)) U^T.
    """
    rest = rest - rest.mean(axis=0)
    moved = moved - moved.mean(axis=-2, keepdims=True)
    u, _, vt = np.linalg.svd(np.einsum("ni,...nj->...ij", rest, moved))
    v, ut = np.swapaxes(vt, -1, -2), np.swapaxes(u, -1, -2)
    handedness = np.ones(v.shape[:-1])
    handedness[..., 2] = np.sign(np.linalg.det(v @ ut))
    return (v * handedness[..., None, :]) @ ut


def angles_of(rotation: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll (...x3, degrees) of rotations ...x3x3 in the axes x right, y down, z away.

    Positive yaw turns the nose to the right of the picture, positive pitch lowers it, positive roll leans the
    top of the head to the right: R = yaw @ pitch @ roll, so that the nose (0, 0, -1) goes to
    (sin yaw cos pitch, sin pitch, -cos yaw cos pitch).
    """
    yaw = np.arctan2(-rotation[..., 0, 2], rotation[..., 2, 2])
    pitch = -np.arcsin(np.clip(rotation[..., 1, 2], -1, 1))
    roll = np.arctan2(rotation[..., 1, 0], rotation[..., 1, 1])
    return np.degrees(np.stack([yaw, pitch, roll], axis=-1))


def head_pose(points: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll (...x3, degrees, signs as in ``angles_of``) of faces given by meshes ...x468x3.

    The points that expressions move least are aligned with those of a face at rest. Against the exact pose
    of synthetic heads, yaw and roll are right to one or two degrees. Pitch follows a head's motion as well,
    but its zero depends on the shape of the face: it is off by some degrees from one person to another. A
    mesh with nan gives nan.
    """
    still = points[..., _STILL, :].astype(np.float64)
    known = np.isfinite(still).all(axis=(-1, -2))
    pose = np.full((*still.shape[:-2], 3), np.nan)
    pose[known] = angles_of(rotation_between(_REST, still[known]))
    return pose


_INNER_LIPS = ((13, 14), (81, 178), (311, 402))  # above and below
_LIDS = (((159, 145), (158, 153), (160, 144)), ((386, 374), (385, 380), (387, 373)))
_EYE_CORNERS = ((33, 133), (362, 263))


def _distance(points: np.ndarray, pair: tuple[int, int]) -> np.ndarray:
    return np.linalg.norm(points[..., pair[0], :] - points[..., pair[1], :], axis=-1)


def mouth_opening(points: np.ndarray) -> np.ndarray:
    """The gap between the lips over the distance of the outer eye corners (...), of meshes ...x468x3.

    0 is closed, a wide-open mouth about 0.3. Distances are taken in three dimensions, so that a turned head
    counts like one that faces the camera.
    """
    gap = sum(_distance(points, pair) for pair in _INNER_LIPS) / len(_INNER_LIPS)
    return gap / _distance(points, (33, 263))


def eye_opening(points: np.ndarray) -> np.ndarray:
    """The gap between the lids over the width of the eye (...), the mean of both eyes, of meshes ...x468x3.

    A closed eye is about 0.1, an open one 0.3.
    """
    ratios = []
    for lids, corners in zip(_LIDS, _EYE_CORNERS, strict=True):
        gap = sum(_distance(points, pair) for pair in lids) / len(lids)
        ratios.append(gap / _distance(points, corners))
    return (ratios[0] + ratios[1]) / 2


def sharpness(image: np.ndarray, box: Box | None = None) -> float:
    """Variance of the Laplacian (4 neighbours) of the luma, in ``box``; 0 for a picture without any detail.

    Meant for ratios of pictures of one size that show the same. The luma is Rec. 601's.
    """
    if box is not None:
        image = box.cut(image)
    luma = image.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    if min(luma.shape) < 3:
        return 0.0
    inner = luma[1:-1, 1:-1]
    return float((luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inner).var())
