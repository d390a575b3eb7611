"""Which piece of surface each pixel shows, so that the same piece can be found in another frame.

Every point of a head is named by its place: where it lies on the unchanged bust with the mouth open. The
mouth is open there so that lips which touch in a picture have different places. Pixels of the same place and
part show the same piece of surface. Where a frame does not show a piece, the corners of its triangle tell
where it is.
"""

from functools import cache

import numpy as np

from fomm.heads.bust import load_bust
from fomm.heads.figure import Person

SURFACE_SIZE = 64  # height and width of the map; the network of motion sees pictures of this size
SURFACE_STEP = 2e-5  # metres
_ORIGIN = np.array([-0.65, -0.65, 0.0])  # metres, less than any place, so that steps are not negative


@cache
def _compute_open_mouth() -> np.ndarray:
    """Return how far an open mouth moves the vertices of the bust: Vx3, metres."""
    return load_bust().find_action("jawOpen")


def map_surface(person: Person, face_ids: np.ndarray, barycentric: np.ndarray) -> np.ndarray:
    """Return which piece of surface lies in the middle of each of 64x64 cells of a picture.

    Args:
        person: who is shown.
        face_ids, barycentric: NxN triangles (-1 where none is) and NxNx2 weights of their first two corners.

    Returns:
        64x64x8 uint16. A cell that shows the background is all zeros. Else its numbers are
        0 to 2: the place, x, y and z in steps of SURFACE_STEP;
        3: the part, plus 1;
        4 to 6: the corners of the triangle, as numbers of the person's vertices;
        7: the weights of the first two corners in steps of 1/255, the first one times 256.
    """
    index = ((np.arange(SURFACE_SIZE) + 0.5) * len(face_ids) / SURFACE_SIZE).astype(int)
    chosen = np.ix_(index, index)
    faces, weights = face_ids[chosen], barycentric[chosen]
    shown = faces >= 0
    corners = person.faces[faces[shown]]  # Mx3
    places = person.template.copy()
    places[: len(_compute_open_mouth())] += _compute_open_mouth()
    shares = np.concatenate([weights[shown], 1 - weights[shown].sum(-1, keepdims=True)], -1)  # Mx3
    place = np.einsum("mk,mkc->mc", shares, places[corners]) - _ORIGIN
    surface = np.zeros((SURFACE_SIZE, SURFACE_SIZE, 8), np.uint16)
    surface[shown, :3] = np.clip(np.round(place / SURFACE_STEP), 0, 65535)
    surface[shown, 3] = person.parts[faces[shown]] + 1
    surface[shown, 4:7] = corners
    surface[shown, 7] = np.clip(np.round(weights[shown] * 255), 0, 255) @ [256, 1]
    return surface


def keep_shown_vertices(surfaces: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep the vertices that the maps name, and number these from 0.

    Args:
        surfaces: Tx64x64x8, of all frames of a clip.
        points: TxVx2, where the vertices are in each.

    Returns:
        The maps with the new numbers, and TxUx2 points.
    """
    corners = surfaces[..., 4:7]
    used, numbers = np.unique(corners, return_inverse=True)
    surfaces = surfaces.copy()
    surfaces[..., 4:7] = numbers.reshape(corners.shape)
    return surfaces, points[:, used]
