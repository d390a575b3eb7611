"""Hair and glasses as sheets of points that lie over a bust and move with the face below them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from fomm.heads.bust import SKIN, load_bust
from fomm.heads.figure import Person

SKULL_CENTRE = np.array([0.0, -0.065, 0.735])  # metres, on the unchanged bust


class Skull:
    """The scalp as seen from the skull's centre.

    In each direction it knows how far away the scalp is on the unchanged bust, and how far the person's own
    shape moves it.
    """

    def __init__(self, person: Person):
        from scipy.spatial import cKDTree

        bust = load_bust()
        move = (person.vertices - person.template)[: len(bust.template)]
        chosen = (bust.vertex_parts == SKIN) & (bust.template[:, 2] > 0.64)
        rays = bust.template[chosen] - SKULL_CENTRE
        self._radius = np.linalg.norm(rays, axis=1)
        outer = self._radius > 0.06  # not the inside of the mouth
        self._tree = cKDTree((rays / self._radius[:, None])[outer])
        self._radius, self._move = self._radius[outer], move[chosen][outer]

    def __call__(self, directions: np.ndarray, thickness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return points above the scalp, and how far the person's own shape moves them.

        Args:
            directions: ...x3 unit vectors from the skull's centre.
            thickness: ..., height above the scalp in metres.

        Returns:
            Points ...x3 on the unchanged bust and their displacement ...x3, metres.
        """
        index, weight = self._nearest(directions)
        radius = (self._radius[index] * weight).sum(-1) + thickness
        return SKULL_CENTRE + directions * radius[..., None], self._mean_move(index, weight)

    def move(self, points: np.ndarray) -> np.ndarray:
        """Return how far the person's own shape moves points ...x3 above the scalp or face: ...x3, metres."""
        rays = points - SKULL_CENTRE
        return self._mean_move(*self._nearest(rays / np.linalg.norm(rays, axis=-1, keepdims=True)))

    def _mean_move(self, index: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return the weighted mean of the neighbours' displacements, ...x8 -> ...x3."""
        return (self._move[index] * weight[..., None]).sum(-2)

    def _nearest(self, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the 8 scalp points nearest to directions ...x3: numbers ...x8, and weights that sum to 1."""
        distance, index = self._tree.query(directions, k=8)
        weight = 1 / (distance + 0.02) ** 2
        return index, weight / weight.sum(-1, keepdims=True)


class Sheet(NamedTuple):
    """A grid of RxC points with two triangles between each four neighbours."""

    points: np.ndarray  # RxCx3 on the unchanged bust, metres
    move: np.ndarray  # RxCx3, metres: how far the person's own shape moves them
    texcoords: np.ndarray  # RxCx2
    held: np.ndarray  # RxC in [0, 1]: a point at 1 turns with the head, one at 0 stays with the shoulders


def attach(person: Person, sheets: Sequence[Sheet], part: int) -> Person:
    """Return the person with sheets added as that part. Their vertices and triangles come last."""
    faces, count = [person.faces], len(person.template)
    for sheet in sheets:
        faces.append(_make_grid_faces(*sheet.held.shape) + count)
        count += sheet.held.size
    points, move, texcoords, held = (
        np.concatenate([array.reshape(-1, *array.shape[2:]) for array in arrays])
        for arrays in zip(*sheets, strict=True)
    )
    weights = np.zeros((len(points), 4))
    weights[:, 3] = held
    parts = np.full(sum(map(len, faces[1:])), part, person.parts.dtype)
    return replace(
        person,
        template=np.concatenate([person.template, points]),
        vertices=np.concatenate([person.vertices, points + move]),
        faces=np.concatenate(faces),
        texcoords=np.concatenate([person.texcoords, texcoords]),
        parts=np.concatenate([person.parts, parts]),
        skin_weights=np.concatenate([person.skin_weights, weights]),
    )


def _make_grid_faces(rows: int, columns: int) -> np.ndarray:
    """Return the triangles, Fx3, between the neighbours of a grid of points."""
    corner = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = corner[:-1, :-1], corner[1:, :-1], corner[1:, 1:], corner[:-1, 1:]
    return np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)]).reshape(-1, 3)
