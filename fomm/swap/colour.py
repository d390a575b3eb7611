"""Give a face the colours of the face whose place it takes, so that its light is that of the video."""

from __future__ import annotations

import numpy as np

from fomm.errors import InputError
from fomm.face.mesh import FACE_POINTS
from fomm.swap.masks import find_hull

COLOURS = ("none", "mean", "reinhard", "histogram")
_EYE_CORNERS = (33, 263)  # the outer ones, among the points of the mesh
_INNER = 0.85  # of the outline's size, what is measured
_DARK = 0.5  # of the skin's mean lightness: what is darker is hair, a pupil or the inside of a mouth


def draw_skin(points: np.ndarray, size: int) -> np.ndarray:
    """Return where the colours of an aligned face are measured, SxS bool: from the eyes down, less a rim.

    So neither hair on a forehead nor what lies behind a cheek counts as skin.

    Args:
        points: 478x2, pixels of the picture: the points of the face mesh.
        size: S, side of the picture in pixels.
    """
    outline = points[:FACE_POINTS][points[:FACE_POINTS, 1] >= points[list(_EYE_CORNERS), 1].min()]
    middle = outline.mean(0)
    return fill_hull(middle + (outline - middle) * _INNER, (size, size))


def fill_hull(points: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return the pixels of a picture, ``size`` (height, width), in the convex hull of points, Nx2: bool."""
    from skimage.draw import polygon2mask

    return polygon2mask(size, find_hull(points.astype(np.float64))[:, ::-1] - 0.5)


def match_colours(picture: np.ndarray, to: np.ndarray, mask: np.ndarray, method: str) -> np.ndarray:
    """Return a picture with the colours that ``to`` has, both measured within ``mask`` alone.

    What is measured changes all pixels of the picture, so that nothing jumps at the mask's edge.

    - ``none``: the picture as it is.
    - ``mean``: each channel is shifted by the difference of the means.
    - ``reinhard``: in CIELAB, each channel gets the other's mean and standard deviation: Reinhard et al.,
      "Color Transfer between Images", 2001, equations 10 and 11 (there in a space of their own). What is less
      than half as light as the mean changes less, and black not at all: the shift of a skin would tint hair.
    - ``histogram``: each channel gets the other's distribution: v goes to the value below which lies the same
      share of the other's pixels. Values beyond those in the mask are shifted as its nearest one is.

    Args:
        picture: HxWx3 in [0, 1], RGB.
        to: HxWx3 in [0, 1], RGB.
        mask: HxW bool. One that is empty gives the picture back.
        method: one of ``COLOURS``.

    Returns:
        HxWx3 float32 in [0, 1].

    Raises:
        InputError: there is no such method, or the shapes do not go together.
    """
    if method not in COLOURS:
        raise InputError(f"colours are matched by {', '.join(COLOURS)}, not by {method!r}")
    if picture.shape != to.shape or picture.shape != (*mask.shape, 3):
        raise InputError(
            f"a picture of {picture.shape}, one of {to.shape} and a mask of {mask.shape} came; "
            "expected HxWx3 twice and HxW"
        )
    picture = np.asarray(picture, np.float32)
    if method == "none" or not mask.any():
        return picture
    change = {"mean": _match_mean, "reinhard": _match_reinhard, "histogram": _match_histogram}[method]
    return np.clip(change(picture, np.asarray(to, np.float32), mask), 0, 1).astype(np.float32)


def _match_mean(picture: np.ndarray, to: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return picture + (to[mask].mean(0, np.float64) - picture[mask].mean(0, np.float64))


def _match_reinhard(picture: np.ndarray, to: np.ndarray, mask: np.ndarray) -> np.ndarray:
    from skimage.color import lab2rgb, rgb2lab

    own, other = rgb2lab(picture.astype(np.float64)), rgb2lab(to.astype(np.float64))
    mean, other_mean = own[mask].mean(0), other[mask].mean(0)
    spread, other_spread = own[mask].std(0), other[mask].std(0)
    # A channel without any spread has nothing to be stretched.
    gain = np.divide(other_spread, spread, out=np.ones(3), where=spread > 1e-6)
    change = (own - mean) * gain + other_mean - own
    lab = own + change * (own[..., :1] / (_DARK * mean[0])).clip(0, 1) if mean[0] > 0 else own + change
    lab[..., 0] = lab[..., 0].clip(0, 100)
    return lab2rgb(lab)


def _match_histogram(picture: np.ndarray, to: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Match the histograms. scikit-image's ``match_histograms`` has no mask, and no values beyond it."""
    matched = np.empty_like(picture)
    shares = (np.arange(mask.sum()) + 0.5) / mask.sum()
    for channel in range(3):
        own, counts = np.unique(picture[..., channel][mask], return_counts=True)
        middle = (
            np.cumsum(counts) - counts / 2
        ) / counts.sum()  # of each value, the share of pixels below it
        goal = np.interp(middle, shares, np.sort(to[..., channel][mask]))
        values = picture[..., channel]
        inside = values.clip(own[0], own[-1])
        matched[..., channel] = np.interp(inside, own, goal) + (values - inside)
    return matched
