"""What is exactly known of a drawn face: 68 landmarks, 16 key points, and the affine map around each."""

from functools import lru_cache

import numpy as np

from fomm.config import LABELS
from fomm.heads.bust import SKIN, load_bust

# The bust's vertex at each key point. Their order is that of ``LABELS`` in fomm/config/schema.py.
KEYPOINT_VERTICES = {
    "left upper eyelid": 2990,
    "right upper eyelid": 2,
    "left lower eyelid": 3030,
    "right lower eyelid": 42,
    "left mouth corner": 3476,
    "right mouth corner": 424,
    "upper lip": 466,
    "lower lip": 495,
    "nose tip": 297,
    "chin": 2360,
    "left outer brow": 3186,
    "right outer brow": 207,
    "forehead": 251,
    "left temple": 5437,
    "right temple": 2592,
    "neck": 809,
}
# The 68 points of the iBUG scheme, from left to right of a frontal picture: the person's right comes first.
LANDMARK_VERTICES = (
    2753, 868, 2427, 2430, 737, 1999, 916, 918, 2414, 3824, 3822, 4871, 3661, 5285, 5282, 3777, 5596,  # jaw
    2045, 2448, 896, 223, 228, 3205, 3201, 3802, 5302, 4917,  # brows
    136, 131, 201, 297, 288, 332, 343, 3298, 3261,  # nose: bridge, base
    1063, 0, 54, 1077, 1070, 2980, 3973, 3042, 2988, 3959, 5823, 3966,  # eyes
    2037, 410, 456, 455, 3419, 3374, 4909, 3370, 3445, 492, 486, 406,  # outer lips
    431, 515, 474, 3466, 3395, 3469, 523, 518,  # inner lips
)  # fmt: skip
# Metres. A surface that is nearer to the camera by more than this hides a landmark. By less it is the edge of
# the lid or lip that the landmark lies on.
_HIDDEN_BEHIND = 0.008
_NEIGHBOURS = 24  # vertices around a key point that its affine map is fitted to
_CANONICAL_SCALE = 7.0  # so that the maps of a frontal head are about the identity


def _order_vertices() -> list[int]:
    """Return the vertices of the key points in their order."""
    return [KEYPOINT_VERTICES[label] for label in LABELS]


@lru_cache(maxsize=1)
def _find_neighbours() -> tuple[np.ndarray, np.ndarray]:
    """Return the 24 vertices of skin around each key point, and where they lie in the canonical plane.

    Returns:
        Numbers of vertices 16x24, and places 16x24x2 with a mean of 0 for each key point.
    """
    bust = load_bust()
    skin = np.flatnonzero(bust.vertex_parts == SKIN)
    neighbours = []
    for vertex in _order_vertices():
        distance = np.linalg.norm(bust.template[skin] - bust.template[vertex], axis=1)
        neighbours.append(skin[np.argsort(np.round(distance, 7), kind="stable")[:_NEIGHBOURS]])
    index = np.array(neighbours)
    plane = np.stack([bust.template[index, 0], -bust.template[index, 2]], -1) * _CANONICAL_SCALE
    return index, plane - plane.mean(1, keepdims=True)


def pick_landmarks(points: np.ndarray) -> np.ndarray:
    """Pick the 68 landmarks, 68xC, out of projected vertices VxC."""
    return points[list(LANDMARK_VERTICES)]


def find_visible(points: np.ndarray, inverse_depth: np.ndarray) -> np.ndarray:
    """Return which landmarks lie in the picture with nothing before them, 68 bools.

    A point on an outline counts as seen where the surface is near enough in any of the nine pixels around it.

    Args:
        points: 68x3: x and y in [0, 1], and depth in metres.
        inverse_depth: NxN, the z-buffer that the picture was drawn with, 0 where it is empty.
    """
    n = len(inverse_depth)
    column, row = np.floor(points[:, :2] * n).astype(int).T
    inside = (column >= 0) & (column < n) & (row >= 0) & (row < n)
    around = np.pad(inverse_depth, 1)
    steps = np.arange(3)
    rows = np.clip(row, 0, n - 1)[:, None, None] + steps[:, None]
    columns = np.clip(column, 0, n - 1)[:, None, None] + steps
    nearest = around[rows, columns].min((1, 2))  # of the surface, so the farthest of the nine
    return inside & (nearest <= 1 / (points[:, 2] - _HIDDEN_BEHIND))


def pick_keypoints(points: np.ndarray) -> np.ndarray:
    """Pick the key points, 16x2, xy in [-1, 1] from edge to edge, out of projected vertices Vx2 in [0, 1]."""
    return points[_order_vertices()] * 2 - 1


def fit_jacobians(points: np.ndarray) -> np.ndarray:
    """Return the jacobian at each key point, 16x2x2, for projected vertices Vx2 in [0, 1].

    It is the linear map from the canonical plane to the picture in [-1, 1], by least squares over the 24
    vertices around the key point. The canonical plane shows a frontal, neutral head from far away. Directions
    that these vertices hardly span are left out (singular values below 1 % of the largest).
    """
    neighbours, plane = _find_neighbours()
    here = points[neighbours] * 2 - 1
    here = here - here.mean(1, keepdims=True)
    return np.einsum("kin,knj->kji", np.linalg.pinv(plane, rcond=1e-2), here)
