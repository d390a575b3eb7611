"""Cut the square around a face that the detector's network sees, and put its answers back into the frame."""

from __future__ import annotations

import numpy as np

from fomm.face import Face
from fomm.face.mesh import Crop, sample_crop

SIZE = 128  # pixels: the side of what the network sees
# The side of the square over the longer side of the face's box, which reaches from the brows to the chin. So
# large it shows hair, neck and a little of the background: surroundings to compare the face with. A larger
# one would leave fewer pixels for the face.
MARGIN = 1.5


def find_square(face: Face) -> Crop:
    """Return the square around a face, with its sides along the frame's: it may leave the frame."""
    x0, y0, x1, y1 = (float(value) for value in face.box)
    return Crop(((x0 + x1) / 2, (y0 + y1) / 2), MARGIN * max(x1 - x0, y1 - y0, 1.0), 0.0)


def cut_square(picture: np.ndarray, square: Crop) -> np.ndarray:
    """Return the square of a picture, HxWx3 uint8, as SIZExSIZEx3 uint8.

    Where the square has more pixels, each of the result's is a mean of several; where it has fewer, they are
    interpolated. Beyond the picture's border lies the colour of the border.
    """
    pixels = sample_crop(picture, square, SIZE)[0]  # 3xSxS in [0, 1]
    return (pixels.permute(1, 2, 0) * 255).round().byte().numpy()


def put_back(heat: np.ndarray, square: Crop, size: tuple[int, int]) -> np.ndarray:
    """Return a heat map of the square, GxG in [0, 1], in a frame of ``size`` (height, width): HxW float32.

    It is 0 outside of the square, and interpolated linearly inside.
    """
    from scipy.ndimage import map_coordinates

    cells = len(heat)
    places = []
    for length, middle in zip(size, square.centre[::-1], strict=True):
        start = middle - square.side / 2
        places.append((np.arange(length) + 0.5 - start) / square.side * cells - 0.5)
    inside = [(place >= -0.5) & (place <= cells - 0.5) for place in places]
    grid = np.meshgrid(*(place.clip(0, cells - 1) for place in places), indexing="ij")
    spread = map_coordinates(heat.astype(np.float32), grid, order=1)
    return spread * (inside[0][:, None] & inside[1])
