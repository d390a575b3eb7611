"""Compute how a head is turned, how far mouth and eyes are open and where they look, from a mesh of a face.

Points are pixels of the picture, x right, y down, z away from the camera. Angles are degrees.
"""

from __future__ import annotations

import numpy as np

# A face at rest, for ``head_pose``: those of the 478 points that expressions move least. Columns: number of
# the point at the left of the picture, number of its twin at the right, and the left point's x (the twin's is
# the opposite), y (down) and z (away from the camera), in hundredths of the distance between the outer
# corners of the eyes. It is the median of the meshes of 24 synthetic heads in 16 frames each, turned back by
# the exact pose and made symmetric. These meshes were MediaPipe's without attention; those with attention
# follow the exact pose as closely.
_REST_TABLE = np.array(
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
_PAIRS = _REST_TABLE[_REST_TABLE[:, 0] != _REST_TABLE[:, 1]]
STILL_POINTS = np.concatenate([_REST_TABLE[:, 0], _PAIRS[:, 1]])  # 40 numbers of points
FACE_AT_REST = np.concatenate([_REST_TABLE[:, 2:], _PAIRS[:, 2:] * [-1, 1, 1]]).astype(np.float64)  # 40x3


def fit_rotation(rest: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Return the rotation (...x3x3) that, scaled and shifted, takes ``rest`` (Nx3) to ``moved`` (...xNx3).

    This is Kabsch's least-squares solution: of the covariance U S V^T, R = V diag(1, 1, det(V U^T)) U^T.
    scikit-image's ``SimilarityTransform`` finds the same, but for one set of points at a time, which takes 25
    times as long for the frames of a clip.
    """
    rest = rest - rest.mean(axis=0)
    moved = moved - moved.mean(axis=-2, keepdims=True)
    u, _, vt = np.linalg.svd(np.einsum("ni,...nj->...ij", rest, moved))
    v, ut = np.swapaxes(vt, -1, -2), np.swapaxes(u, -1, -2)
    handedness = np.ones(v.shape[:-1])
    handedness[..., 2] = np.sign(np.linalg.det(v @ ut))
    return (v * handedness[..., None, :]) @ ut


def euler_angles(rotation: np.ndarray) -> np.ndarray:
    """Return yaw, pitch and roll (...x3, degrees) of rotations ...x3x3 in the axes x right, y down, z away.

    Positive yaw turns the nose to the right of the picture, positive pitch lowers it, positive roll leans the
    top of the head to the right: R = yaw @ pitch @ roll, so that the nose (0, 0, -1) goes to
    (sin yaw cos pitch, sin pitch, -cos yaw cos pitch).
    """
    yaw = np.arctan2(-rotation[..., 0, 2], rotation[..., 2, 2])
    pitch = -np.arcsin(np.clip(rotation[..., 1, 2], -1, 1))
    roll = np.arctan2(rotation[..., 1, 0], rotation[..., 1, 1])
    return np.degrees(np.stack([yaw, pitch, roll], axis=-1))


def head_pose(points: np.ndarray) -> np.ndarray:
    """Return yaw, pitch and roll (...x3, degrees) of faces, from meshes ...x478x3.

    Their signs are those of ``euler_angles``. The points that expressions move least are aligned with those
    of a face at rest. Compared with the exact pose of synthetic heads, yaw and roll are right to one or two
    degrees. Pitch follows a head's motion as closely, but its zero depends on the shape of the face, and
    differs by some degrees between people. A mesh with nan gives nan.
    """
    still = points[..., STILL_POINTS, :].astype(np.float64)
    known = np.isfinite(still).all(axis=(-1, -2))
    pose = np.full((*still.shape[:-2], 3), np.nan)
    pose[known] = euler_angles(fit_rotation(FACE_AT_REST, still[known]))
    return pose


def head_size(points: np.ndarray) -> np.ndarray:
    """Return how large faces are (..., in pixels), of meshes ...x478x3.

    It is the root of the mean squared distance of the points that expressions move least from their middle,
    in three dimensions, so that turning the head does not change it.
    """
    still = points[..., STILL_POINTS, :].astype(np.float64)
    return np.sqrt(np.square(still - still.mean(axis=-2, keepdims=True)).sum(axis=-1).mean(axis=-1))


_INNER_LIPS = ((13, 14), (81, 178), (311, 402))  # pairs of points, above and below
_LIDS = (((159, 145), (158, 153), (160, 144)), ((386, 374), (385, 380), (387, 373)))
_EYE_CORNERS = ((33, 133), (362, 263))  # of each eye, at the left and at the right
_IRISES = (468, 473)  # the middle of each eye's iris


def _distance(points: np.ndarray, *pairs: tuple[int, int]) -> np.ndarray:
    """Return the distance (...) of two points of meshes ...x478x3, the mean over ``pairs`` of them."""
    above, below = np.array(pairs).T
    return np.linalg.norm(points[..., above, :] - points[..., below, :], axis=-1).mean(axis=-1)


def eye_distance(points: np.ndarray) -> np.ndarray:
    """Return the distance of the outer eye corners (..., in pixels), of meshes ...x478x3."""
    return _distance(points, (33, 263))


def inner_lip_gap(points: np.ndarray) -> np.ndarray:
    """Return the distance between the inner lips (...), of meshes ...x478x3 in the unit of their points."""
    return _distance(points, *_INNER_LIPS)


def lid_gaps(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gaps between the lids of the eye at the left of the picture, and at the right (each ...).

    They are of meshes ...x478x3, in the unit of their points.
    """
    left, right = (_distance(points, *pairs) for pairs in _LIDS)
    return left, right


def mouth_opening(points: np.ndarray) -> np.ndarray:
    """Return the gap between the lips over the distance of the outer eye corners (...), of meshes ...x478x3.

    It is 0 for a closed mouth and about 0.3 for one that is wide open. Distances are in three dimensions, so
    that turning the head does not change them.
    """
    return inner_lip_gap(points) / eye_distance(points)


def eye_width(points: np.ndarray) -> np.ndarray:
    """Return the width of an eye (..., in pixels), the mean of both, of meshes ...x478x3."""
    return _distance(points, *_EYE_CORNERS)


def eye_opening(points: np.ndarray) -> np.ndarray:
    """Return the gap between the lids over the width of the eye (...), of meshes ...x478x3.

    It is the mean of both eyes: below 0.1 for closed ones, about 0.3 for open ones.
    """
    pairs = zip(lid_gaps(points), _EYE_CORNERS, strict=True)
    left, right = (gap / _distance(points, corners) for gap, corners in pairs)
    return (left + right) / 2


def gaze(points: np.ndarray) -> np.ndarray:
    """Return where the eyes look (...x2), of meshes ...x478x3.

    It is how far the middle of the iris lies from the middle between the corners of its eye, over the eye's
    width: along the line between the corners, positive to the right of the picture, then across it, positive
    downwards. It is the mean of both eyes, measured in the plane of the picture.
    """
    places = []
    for iris, (left, right) in zip(_IRISES, _EYE_CORNERS, strict=True):
        start, end = points[..., left, :2].astype(np.float64), points[..., right, :2].astype(np.float64)
        along = end - start
        offset = points[..., iris, :2] - (start + end) / 2
        across = np.stack([-along[..., 1], along[..., 0]], axis=-1)  # along, turned by 90 degrees: downwards
        square = np.square(along).sum(axis=-1)
        places.append(np.stack([(offset * along).sum(-1) / square, (offset * across).sum(-1) / square], -1))
    return (places[0] + places[1]) / 2


# For each of the 68 points of the iBUG scheme, in its order, the nearest point of the mesh: of all symmetric
# choices, this one had the least mean error against the exact landmarks of synthetic heads, by MediaPipe's
# mesh without attention. By the mesh with attention its error is smaller, and within 4 % of the least.
IBUG_POINTS = (
    127, 93, 132, 58, 136, 150, 149, 148, 152, 377, 378, 379, 365, 288, 361, 323, 356,  # jaw
    70, 105, 66, 65, 55, 285, 295, 296, 334, 300,  # brows
    168, 197, 5, 1, 98, 60, 2, 290, 327,  # nose: bridge, base
    33, 159, 158, 133, 153, 144, 362, 385, 386, 263, 373, 380,  # eyes
    61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91,  # outer lips
    78, 81, 13, 311, 308, 402, 14, 178,  # inner lips
)  # fmt: skip


def ibug_points(points: np.ndarray) -> np.ndarray:
    """Return the 68 points of the iBUG scheme, ...x68xD, of meshes ...x478xD."""
    return points[..., list(IBUG_POINTS), :]
