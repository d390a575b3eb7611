"""Pictures of the page: squares on a photo, and what the networks see. All are HxWx3 uint8."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw

from fomm.face.crop import Rect
from fomm.media.resize import resize

ORANGE, BLUE, WHITE = (239, 125, 26), (35, 105, 176), (255, 255, 255)
SHOWN = 1024  # pixels: the longer side of what the page shows of a photo
_STEP = 5  # of the places of the flow that get an arrow


def as_figure(picture: np.ndarray, caption: str) -> str:
    """Return a picture with its caption as HTML that needs no other file."""
    written = BytesIO()
    Image.fromarray(picture).save(written, "JPEG", quality=92, subsampling=0)
    data = base64.b64encode(written.getvalue()).decode()
    height, width = picture.shape[:2]
    return (
        f'<figure class="shown"><img alt="{escape(caption)}" width="{width}" height="{height}" '
        f'src="data:image/jpeg;base64,{data}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


def draw_squares(picture: np.ndarray, squares: Sequence[Rect], chosen: Sequence[int]) -> np.ndarray:
    """Draw a numbered square around each face; those that are chosen are thicker, and orange.

    The picture becomes smaller, at most ``SHOWN`` pixels long.
    """
    scale = min(1.0, SHOWN / max(picture.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    image = Image.fromarray(resize(picture, (height, width)))
    pen = ImageDraw.Draw(image)
    thin = max(1, round(max(image.size) / 400))
    for number, square in enumerate(squares):
        colour, thick = (ORANGE, 3 * thin) if number in chosen else (WHITE, thin)
        x0, y0, x1, y1 = (scale * value for value in square)
        pen.rectangle((x0, y0, x1, y1), outline=colour, width=thick)
        if len(squares) > 1:
            place, size = (max(x0, 0) + 4 * thin, max(y0, 0) + 4 * thin), max(12, round((x1 - x0) / 6))
            pen.text(
                place, str(number), fill=colour, font_size=size, stroke_width=thin, stroke_fill=(0, 0, 0)
            )
    return np.asarray(image)


def draw_points(picture: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Draw key points at rest, orange, and where they go, blue; Kx2 xy in [-1, 1]."""
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    height, width = picture.shape[:2]
    side = np.array([width - 1, height - 1])
    here, there = (start + 1) / 2 * side, (end + 1) / 2 * side
    for (x0, y0), (x1, y1) in zip(here, there, strict=True):
        pen.line((x0, y0, x1, y1), fill=WHITE, width=2)
    for places, colour in ((here, ORANGE), (there, BLUE)):
        for x, y in places:
            pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour, outline=WHITE)
    return np.asarray(image)


def draw_flow(picture: np.ndarray, deformation: np.ndarray) -> np.ndarray:
    """Draw where each pixel of the result comes from, on the photo that is so moved; hxwx2 xy in [-1, 1]."""
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    side = np.array([picture.shape[1] - 1, picture.shape[0] - 1])
    height, width = deformation.shape[:2]
    y, x = (axis.ravel() for axis in np.mgrid[_STEP // 2 : height : _STEP, _STEP // 2 : width : _STEP])
    end = np.stack([x / (width - 1), y / (height - 1)], -1) * side
    start = (deformation[y, x] + 1) / 2 * side
    for (x0, y0), (x1, y1) in zip(start, end, strict=True):
        if np.hypot(x1 - x0, y1 - y0) > 1:
            pen.line((x0, y0, x1, y1), fill=WHITE, width=1)
            pen.ellipse((x1 - 1, y1 - 1, x1 + 1, y1 + 1), fill=WHITE)
    return np.asarray(image)


def draw_map(values: np.ndarray) -> np.ndarray:
    """Return a map hxw in [0, 1] in grey."""
    grey = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
