"""Which piece of surface each pixel shows, so that it can be found again in another frame, seen or hidden.

Every point of the bust has a place of its own: where it lies on the unchanged bust with the mouth open, so
that lips which touch in a picture lie apart here. Pixels with the same place and part show the same piece.
Where a piece is in a frame that does not show it, the corners of its triangle tell.
"""

from functools import cache

import numpy as np

from fomm.heads.bust import load_bust
from fomm.heads.figure import Person

SURFACE_SIZE = 64  # of the map, as the networks of motion see the picture
SURFACE_STEP = 2e-5  # metres
_ORIGIN = np.array([-0.65, -0.65, 0.0])  # metres: no place lies below


@cache
def _open_mouth() -> np.ndarray:
    """What the open mouth adds to the places of the bust's vertices, Vx3 metres."""
    return load_bust().action("jawOpen")


def surface_map(person: Person, face_ids: np.ndarray, barycentric: np.ndarray) -> np.ndarray:
    """The pieces of surface at the middles of 64x64 cells of a picture.

    Args:
        person: who is shown.
        face_ids, barycentric: NxN triangles (-1 where none is) and NxNx2 weights of their first two corners.

    Returns:
        64x64x8 uint16, zeros where the background shows: the place, x, y and z in steps of SURFACE_STEP; the
        part plus 1; the corners of the triangle, numbers of the person's vertices; and the weights of the
        first two of them in steps of 1/255, the first one times 256.
    """
    index = ((np.arange(SURFACE_SIZE) + 0.5) * len(face_ids) / SURFACE_SIZE).astype(int)
    chosen = np.ix_(index, index)
    faces, weights = face_ids[chosen], barycentric[chosen]
    shown = faces >= 0
    corners = person.faces[faces[shown]]  # Mx3
    places = person.template.copy()
    places[: len(_open_mouth())] += _open_mouth()
    shares = np.concatenate([weights[shown], 1 - weights[shown].sum(-1, keepdims=True)], -1)  # Mx3
    place = np.einsum("mk,mkc->mc", shares, places[corners]) - _ORIGIN
    surface = np.zeros((SURFACE_SIZE, SURFACE_SIZE, 8), np.uint16)
    surface[shown, :3] = np.clip(np.round(place / SURFACE_STEP), 0, 65535)
    surface[shown, 3] = person.parts[faces[shown]] + 1
    surface[shown, 4:7] = corners
    surface[shown, 7] = np.clip(np.round(weights[shown] * 255), 0, 255) @ [256, 1]
    return surface


def shown_vertices(surfaces: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep the vertices that the maps name, and number them anew.

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
