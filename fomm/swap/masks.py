"""Draw where a face and its parts are in an aligned picture, from the points of its mesh.

Points are xy in pixels of the picture. A pixel belongs to a part if its middle lies in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fomm.errors import InputError
from fomm.face.mesh import FACE_POINTS, LEFT_EYE, LIDS, LIPS, RIGHT_EYE
from fomm.swap.align import check_points
from fomm.swap.faces import MASKS

# The mesh ends on the forehead. The hairline lies higher by so large a share of the mesh's height, chin to
# top. By an old rule of drawing, hairline to brows, brows to base of the nose and base of the nose to chin
# are one length. In the mean face's hundredths of the distance of the outer eye corners the brows' root is at
# -40, the base of the nose at 32, the chin at 99 and the mesh's top at -75; so the hairline is at -110, 35
# above the top, and the mesh is 174 high.
FOREHEAD = 0.2

_CHIN, _TOP = 152, 10  # lowest and uppermost point of the mesh
_EYE_CORNERS = (33, 263)  # the outer ones; what lies above them is lifted
_OUTER_LIPS = 20  # the first so many points of the lips are their outer line
_BROWS = (  # along the upper edge from the outer end to the root, and back along the lower edge
    (70, 63, 105, 66, 107, 55, 65, 52, 53, 46),
    (300, 293, 334, 296, 336, 285, 295, 282, 283, 276),
)
_NOSE = (  # bridge, tip and base; then side and wing, at the left and at the right
    168, 6, 197, 195, 5, 4, 1, 19, 94, 2,
    122, 128, 114, 217, 126, 198, 209, 129, 102, 48, 64, 98,
    351, 357, 343, 437, 355, 420, 429, 358, 331, 278, 294, 327,
)  # fmt: skip


def draw_masks(points: np.ndarray, size: int) -> np.ndarray:
    """Return where the face and its parts are, SxSx5 bool in the order of ``MASKS``.

    - face: the convex hull of the mesh, whose upper part is lifted to the hairline, see ``lift_forehead``;
    - brows: both;
    - eyes: what is open between the lids of both;
    - nose: the convex hull of bridge, tip and wings;
    - lips: all inside their outer line, with the mouth where it is open.

    Parts may overlap where a head is turned.

    Args:
        points: 478x2, pixels of the picture: the points of the face mesh. They may leave the picture.
        size: S, side of the picture in pixels.

    Raises:
        InputError: the points are not 478x2, not finite, or lie on one line.
    """
    check_points(points)
    points = points.astype(np.float64)
    eyes = [_ring(lids[:LIDS], 9) for lids in (LEFT_EYE, RIGHT_EYE)]
    outlines = {
        "face": [find_hull(lift_forehead(points[:FACE_POINTS]))],
        "brows": [points[list(brow)] for brow in _BROWS],
        "eyes": [points[eye] for eye in eyes],
        "nose": [find_hull(points[list(_NOSE)])],
        "lips": [points[_ring(LIPS[:_OUTER_LIPS], 11)]],
    }
    return np.stack([_fill(outlines[name], size) for name in MASKS], axis=-1)


def lift_forehead(points: np.ndarray) -> np.ndarray:
    """Return the points of a mesh, 468x2 or more, with the forehead lifted to the hairline.

    With the chin c, the top t and the face's height along its own axis, h(p) = (p - c).(t - c) / |t - c|^2,
    0 at the chin and 1 at the top, and e the height of the outer eye corners:

        p' = p + FOREHEAD * clip((h(p) - e) / (1 - e), 0, 1) * (t - c)

    So the top moves by FOREHEAD times the face's height, temples less, and nothing below the eyes.
    """
    axis = points[_TOP] - points[_CHIN]
    length = float(axis @ axis)
    if length == 0:
        raise InputError(f"chin and forehead of a face lie in one point, {points[_TOP]}; detect it again")
    height = (points - points[_CHIN]) @ axis / length
    eyes = float(height[list(_EYE_CORNERS)].mean())
    share = np.clip((height - eyes) / max(1 - eyes, 1e-6), 0, 1)
    return points + FOREHEAD * share[:, None] * axis


def find_hull(points: np.ndarray) -> np.ndarray:
    """Return the corners, Kx2 in order, of the convex hull of points Nx2. Raises InputError for a line."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        return points[ConvexHull(points).vertices]
    except QhullError as reason:
        raise InputError("the points of a face lie on one line; detect the face again") from reason


def _ring(numbers: Sequence[int], lower: int) -> list[int]:
    """Return the mesh's numbers of a line around eye or mouth, in order.

    ``numbers`` go along the lower edge from left to right, ``lower`` of them, then along the upper one too.
    """
    return [*numbers[:lower], *reversed(numbers[lower:])]


def _fill(outlines: Sequence[np.ndarray], size: int) -> np.ndarray:
    """Return which pixels have their middle inside one of the outlines (each Kx2, xy): SxS bool."""
    from skimage.draw import polygon2mask

    filled = np.zeros((size, size), bool)
    for outline in outlines:
        filled |= polygon2mask((size, size), outline[:, ::-1] - 0.5)
    return filled
