"""Put an aligned face into the frame: where it shows, and how it meets what surrounds it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

from fomm.errors import InputError

BLENDS = ("alpha", "poisson")
MASK_CHOICES = ("learned", "hull", "eroded", "feathered")
MARGIN = 0.06  # of the aligned picture's side: there every mask falls to 0, so that its edge never shows
# Shares of the face: how far the eroded mask stays inside the hull, and how wide edges are.
ERODED, EDGE, FEATHER = 0.04, 0.03, 0.14
_SMALL = 24  # pixels: a grid no wider than this is solved exactly
_SWEEPS = 8  # over each larger grid


def choose_mask(choice: str, learned: np.ndarray, hull: np.ndarray) -> np.ndarray:
    """Return how much of the face shows in each pixel of the aligned picture.

    - ``learned``: the mask that the network made with the face.
    - ``hull``: the face of the mesh, see ``masks.draw_masks``.
    - ``eroded``: the hull less a rim of ``ERODED`` of the face.
    - ``feathered``: the hull, with a soft edge that is ``FEATHER`` of the face wide.

    The edges of hull and eroded hull are ``EDGE`` of the face wide: narrow, and yet without steps. All edges
    lie inside. The face's size is the side of the square that has the hull's area. All masks fall to 0
    towards the border of the picture, beyond which no face is known.

    Args:
        choice: one of ``MASK_CHOICES``.
        learned: SxS in [0, 1].
        hull: SxS bool.

    Returns:
        SxS float32 in [0, 1].

    Raises:
        InputError: there is no such mask.
    """
    from scipy.ndimage import distance_transform_edt

    if choice not in MASK_CHOICES:
        raise InputError(f"the mask is {', '.join(MASK_CHOICES)}, not {choice!r}")
    fade = _fade(hull.shape[0])
    if choice == "learned":
        return learned.astype(np.float32).clip(0, 1) * fade
    face = float(np.sqrt(max(hull.sum(), 1)))
    inset, width = {"hull": (0.0, EDGE), "eroded": (ERODED, EDGE), "feathered": (0.0, FEATHER)}[choice]
    inside = distance_transform_edt(np.pad(hull, 1))[1:-1, 1:-1] / face
    return _smooth_step((inside - inset) / width) * fade


def blend(
    frame: np.ndarray, face: np.ndarray, mask: np.ndarray, transform: np.ndarray, method: str
) -> np.ndarray:
    """Return a copy of the frame with the face in it.

    - ``alpha``: frame + mask * (face - frame). Where the mask is 0 the frame stays as it is, to the bit.
    - ``poisson``: where the mask is at least one half, the face keeps its gradients, and its colours meet the
      frame's at the edge. Elsewhere the frame stays as it is. Perez et al., "Poisson Image Editing", 2003,
      equations 3 and 5: the result is the face plus a correction, which is frame - face on the edge and
      harmonic (the Laplacian is 0) inside.

    Args:
        frame: HxWx3 uint8.
        face: SxSx3 in [0, 1], the aligned face.
        mask: SxS in [0, 1].
        transform: 2x3, a similarity from pixels of the frame to pixels of the aligned picture.
        method: one of ``BLENDS``.

    Returns:
        HxWx3 uint8.

    Raises:
        InputError: there is no such method, or the transform cannot be inverted.
    """
    if method not in BLENDS:
        raise InputError(f"a face is blended by {' or '.join(BLENDS)}, not by {method!r}")
    result = frame.copy()
    corner = _find_rectangle(mask, transform, frame.shape[:2])
    if corner is None:
        return result
    x0, y0, x1, y1 = corner
    there = result[y0:y1, x0:x1]
    pixels, share = _warp_back(face, mask, transform, corner)
    if method == "alpha":
        weight = share[..., None]
        mixed = there + weight * (pixels - there)
        there[:] = np.where(weight > 0, np.rint(mixed).clip(0, 255), there).astype(np.uint8)
        return result
    inside = share >= 0.5
    correction = fill_smoothly(there - pixels, inside)
    there[inside] = np.rint(pixels + correction).clip(0, 255).astype(np.uint8)[inside]
    return result


def fill_smoothly(values: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Return the values with the unknown ones filled in by the harmonic function that continues the others.

    It solves Laplace's equation with the known values as its boundary; the picture's own border lets nothing
    through (its derivative across is 0). The coarsest grid is solved exactly, and each finer one starts from
    the coarser one's answer and is relaxed: a cascade of grids. For masks of faces its error is at most
    1.5 % of the range of the known values. Where nothing is known, the answer is 0.

    Args:
        values: HxWxC; what is unknown is not looked at.
        unknown: HxW bool.

    Returns:
        HxWxC float32.
    """
    filled = np.where(unknown[..., None], 0, values).astype(np.float32)
    if unknown.all() or not unknown.any():
        return filled
    if max(unknown.shape) <= _SMALL:
        filled[unknown] = _solve(filled, unknown)
        return filled
    padding = [(0, size % 2) for size in unknown.shape]
    known = np.pad(~unknown, padding)
    blocks = known.reshape(known.shape[0] // 2, 2, -1, 2)
    counts = blocks.sum((1, 3))
    wide = np.pad(filled, (*padding, (0, 0))).reshape(*blocks.shape, -1)
    coarse = fill_smoothly(wide.sum((1, 3)) / np.maximum(counts, 1)[..., None], counts == 0)
    filled[unknown] = _enlarge(coarse, unknown.shape)[unknown]
    _relax(filled, unknown)
    return filled


def _enlarge(values: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return HxWxC at twice the size, interpolated linearly, cut to ``size`` (height, width)."""
    for axis in (0, 1):
        before = np.concatenate(
            [values.take([0], axis), values.take(range(values.shape[axis] - 1), axis)], axis
        )
        after = np.concatenate(
            [values.take(range(1, values.shape[axis]), axis), values.take([-1], axis)], axis
        )
        pair = np.stack([0.75 * values + 0.25 * before, 0.75 * values + 0.25 * after], axis + 1)
        values = pair.reshape(*values.shape[:axis], -1, *values.shape[axis + 1 :])
    return values[: size[0], : size[1]]


def _relax(values: np.ndarray, unknown: np.ndarray) -> None:
    """Change the unknown values towards the mean of their four neighbours, in sweeps of red and black."""
    rows, columns = np.ogrid[: unknown.shape[0], : unknown.shape[1]]
    red = unknown & ((rows + columns) % 2 == 0)
    planes = np.ascontiguousarray(np.moveaxis(values, -1, 0))  # quicker than with the colours innermost
    for plane, output in zip(planes, np.moveaxis(values, -1, 0), strict=True):
        padded = np.pad(plane, 1, mode="edge")
        middle, mean = padded[1:-1, 1:-1], np.empty_like(plane)
        for _ in range(_SWEEPS):
            for chosen in (red, unknown & ~red):
                np.add(padded[:-2, 1:-1], padded[2:, 1:-1], out=mean)
                mean += padded[1:-1, :-2]
                mean += padded[1:-1, 2:]
                mean *= 0.25
                np.copyto(middle, mean, where=chosen)
            padded[[0, -1]], padded[:, [0, -1]] = padded[[1, -2]], padded[:, [1, -2]]
        output[:] = middle


def _index_neighbours(chosen: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the flat indices of the chosen pixels, and of their neighbours; beyond the border, their own."""
    height, width = chosen.shape
    y, x = np.nonzero(chosen)
    places = y * width + x
    return places, [
        np.where(y > 0, places - width, places),
        np.where(y < height - 1, places + width, places),
        np.where(x > 0, places - 1, places),
        np.where(x < width - 1, places + 1, places),
    ]


def _solve(values: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Return the unknown values, NxC, by a sparse linear system."""
    from scipy.sparse import csc_matrix
    from scipy.sparse.linalg import splu

    places, neighbours = _index_neighbours(unknown)
    count = len(places)
    number = np.full(unknown.size, -1)
    number[places] = np.arange(count)
    flat = values.reshape(-1, values.shape[2])
    rows, columns, entries = [np.arange(count)], [np.arange(count)], [np.full(count, 4.0)]
    right = np.zeros((count, values.shape[2]))
    for there in neighbours:
        inside = number[there] >= 0
        rows.append(np.flatnonzero(inside))
        columns.append(number[there][inside])
        entries.append(np.full(inside.sum(), -1.0))
        right[~inside] += flat[there][~inside]
    shape = (count, count)
    matrix = csc_matrix((np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))), shape)
    return splu(matrix).solve(right)


def _find_rectangle(
    mask: np.ndarray, transform: np.ndarray, frame: tuple[int, ...]
) -> tuple[int, int, int, int] | None:
    """Return the part of a frame (height, width) where a mask (SxS) shows: x0, y0, x1, y1; None: nowhere."""
    linear, shift = np.asarray(transform, np.float64)[:, :2], np.asarray(transform, np.float64)[:, 2]
    if not np.isfinite(transform).all() or abs(np.linalg.det(linear)) < 1e-9:
        raise InputError(f"the transform of a face cannot be inverted: {np.asarray(transform).tolist()}")
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    # Interpolation carries the mask one pixel further, and Poisson's equation needs what lies around it.
    left, right, top, bottom = columns[0] - 2, columns[-1] + 3, rows[0] - 2, rows[-1] + 3
    corners = np.array([[left, top], [right, top], [left, bottom], [right, bottom]]) - shift
    corners = corners @ np.linalg.inv(linear).T
    x0, y0 = (np.floor(corners.min(0)) - 2).clip(0).astype(int)
    x1, y1 = (np.ceil(corners.max(0)) + 2).clip(None, frame[::-1]).astype(int)
    return (int(x0), int(y0), int(x1), int(y1)) if x0 < x1 and y0 < y1 else None


def _warp_back(
    face: np.ndarray, mask: np.ndarray, transform: np.ndarray, corner: tuple[int, int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return face (hxwx3 float32, 0 to 255) and mask (hxw float32) in the pixels of a part of the frame.

    Pillow samples both: the face by cubics, the mask linearly. Where the frame's face is smaller than the
    aligned one, both are shrunk first.
    """
    x0, y0, x1, y1 = corner
    matrix = np.asarray(transform, np.float64).copy()
    matrix[:, 2] += matrix[:, :2] @ [x0, y0]
    picture = Image.fromarray(np.rint(face.clip(0, 1) * 255).astype(np.uint8))
    weights = Image.fromarray(np.ascontiguousarray(mask, np.float32))
    factor = int(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if factor > 1:
        picture, weights = picture.reduce(factor), weights.reduce(factor)
        matrix /= factor
    size, data = (x1 - x0, y1 - y0), tuple(matrix.ravel())
    affine, resampling = Image.Transform.AFFINE, Image.Resampling
    pixels = np.asarray(picture.transform(size, affine, data, resampling.BICUBIC), np.float32)
    share = np.asarray(weights.transform(size, affine, data, resampling.BILINEAR), np.float32)
    return pixels, share.clip(0, 1)


@lru_cache(maxsize=4)
def _fade(size: int) -> np.ndarray:
    """Return SxS weights: 0 at the border, 1 from ``MARGIN`` on."""
    place = (np.arange(size) + 0.5) / size
    ramp = _smooth_step((np.minimum(place, 1 - place) - 1 / size) / MARGIN)
    return np.minimum(ramp[:, None], ramp)


def _smooth_step(share: np.ndarray) -> np.ndarray:
    """Return 0 below 0, 1 above 1, and 3 x^2 - 2 x^3 in between, float32."""
    share = share.clip(0, 1).astype(np.float32)
    return share * share * (3 - 2 * share)
