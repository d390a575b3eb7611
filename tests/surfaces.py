"""Maps of a surface, as ``fomm.heads.surface`` makes them, of pieces that lie in whole cells."""

import numpy as np


def surface_maps(
    size: int, cells: np.ndarray, places: np.ndarray, parts: int | np.ndarray = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return the maps TxSxSx8 and vertices TxUx2 of U pieces, each with a vertex in its middle.

    Args:
        cells: TxUx2, column and row of each piece in each frame; it may be out of the picture, and of several
            in one cell the last one shows.
        places: Ux3, in steps.
        parts: of the pieces, from 1 on.
    """
    maps = np.zeros((len(cells), size, size, 8), np.uint16)
    parts = np.broadcast_to(parts, len(places))
    for surface, frame in zip(maps, cells, strict=True):
        for number, (column, row) in enumerate(frame):
            if 0 <= column < size and 0 <= row < size:
                surface[row, column] = (*places[number], parts[number], number, number, number, 255 * 256)
    return maps, ((2 * cells + 1) / size - 1).astype(np.float16)


def patch(side: int, first: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Cells and places of a square of pieces, 1 mm apart, with its corner in the picture's."""
    y, x = (axis.ravel() for axis in np.mgrid[:side, :side])
    return np.stack((x, y), 1), np.stack((first + 50 * x, 1000 + 50 * y, np.full_like(x, 1000)), 1)
