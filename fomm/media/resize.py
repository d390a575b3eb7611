"""Resize pictures and parts of them, by the filters of Pillow. None of them aliases."""

from typing import Literal

import numpy as np
from PIL import Image

Filter = Literal["box", "bilinear", "bicubic"]
Box = tuple[float, float, float, float]  # left, top, right and bottom edge, in pixels

_FILTERS: dict[Filter, Image.Resampling] = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def resize(
    picture: np.ndarray | Image.Image,
    size: tuple[int, int],
    filter: Filter = "bicubic",
    box: Box | None = None,
) -> np.ndarray:
    """Return a picture, or the part of it in ``box``, at ``size`` (height, width), uint8.

    Args:
        picture: HxWx3, HxWx4 (alpha, which changes no colour) or HxW uint8, or Pillow's image of it, but for
            that with alpha. One image for many parts saves time.
        size: an array that has it already is returned as it is.
        filter: how pixels are weighed.
        box: inside the picture. A border that rounding has moved outside is moved back.
    """
    if box is None and isinstance(picture, np.ndarray) and picture.shape[:2] == size:
        return picture
    if isinstance(picture, np.ndarray) and picture.shape[2:] == (4,):
        # Pillow would weigh the colours with alpha, and drop those of transparent pixels
        parts = (np.ascontiguousarray(part) for part in (picture[..., :3], picture[..., 3]))
        return np.dstack([resize(part, size, filter, box) for part in parts])
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    if box is not None:
        right, bottom = min(box[2], float(image.width)), min(box[3], float(image.height))
        box = max(box[0], 0.0), max(box[1], 0.0), right, bottom
    return np.asarray(image.resize(size[::-1], _FILTERS[filter], box=box))


def cut_out(picture: np.ndarray, box: Box, size: tuple[int, int]) -> np.ndarray:
    """Return the part of a picture, HxWx3 or HxWx4 uint8, in ``box``, at ``size`` (height, width).

    The box may leave the picture: beyond the border lies the mirror image of the picture.
    """
    height, width = picture.shape[:2]
    left, top, right, bottom = box
    before = [max(0, int(np.ceil(-edge))) for edge in (top, left)]
    after = [max(0, int(np.ceil(edge))) for edge in (bottom - height, right - width)]
    if any(before + after):
        picture = np.pad(picture, (*zip(before, after, strict=True), (0, 0)), mode="symmetric")
    y, x = before
    return resize(picture, size, box=(left + x, top + y, right + x, bottom + y))


def shrink(picture: np.ndarray, factor: int) -> np.ndarray:
    """Return a picture, HxWx3 uint8, in which each pixel is the mean of ``factor`` x ``factor`` pixels."""
    return picture if factor == 1 else np.asarray(Image.fromarray(picture).reduce(factor))
