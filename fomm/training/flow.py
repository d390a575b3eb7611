"""The true motion between two frames whose surface is known: where each pixel was, and if it shows there.

A drawn clip comes with a map of its surface, see ``fomm.heads.surface``: equal places and parts are the same
piece of the head, wherever it is in the picture. The background is taken to stand still.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fomm.model.geometry import coordinate_grid, inverse_2x2, multiply_2x2

_PART = 10_000.0  # between two parts, in steps of the surface's places: more than any distance within one
_NEAR = 400.0  # steps (8 mm): no nearer piece in the source means that it is hidden there
_SPREAD = 150.0  # steps (3 mm): of the weights of the pieces around the nearest one


class Flow(NamedTuple):
    """The motion from the driving frame back to the source, on the grid of the surface's map."""

    position: Tensor  # Bxhxwx2, xy in [-1, 1]: where in the source the piece at each driving pixel is
    seen: Tensor  # Bxhxw bool: whether the source shows it; else the position means nothing
    known: Tensor  # Bxhxw bool: whether anything is known of this driving pixel

    def resized(self, height: int, width: int) -> "Flow":
        """The flow on another grid, each of whose points takes the motion of the nearest one here."""
        old_height, old_width = self.seen.shape[1:]
        if (old_height, old_width) == (height, width):
            return self
        device = self.position.device
        rows = ((torch.arange(height, device=device) + 0.5) * old_height / height).long()[:, None]
        columns = ((torch.arange(width, device=device) + 0.5) * old_width / width).long()
        motion = self.position - coordinate_grid(old_height, old_width, self.position)
        position = coordinate_grid(height, width, self.position) + motion[:, rows, columns]
        return Flow(position, self.seen[:, rows, columns], self.known[:, rows, columns])

    def under_cameras(self, matrix: Tensor, shift: Tensor) -> "Flow":
        """The flow between the same frames seen by other cameras.

        Args:
            matrix, shift: 2xBx2x2 and 2xBx2, of the source and of the driving frame: what a new picture shows
                at z, the old one showed at matrix @ z + shift.
        """
        height, width = self.seen.shape[1:]
        grid = coordinate_grid(height, width, self.position)
        source, driving = (m[:, None, None] for m in matrix)
        source_shift, driving_shift = (s[:, None, None] for s in shift)
        old = multiply_2x2(driving, grid[..., None])[..., 0] + driving_shift  # Bxhxwx2
        size = torch.tensor([width - 1, height - 1], device=old.device)
        column, row = (
            ((old + 1) / 2 * size).round().clamp(min=torch.zeros_like(size), max=size).long().unbind(-1)
        )
        batch = torch.arange(len(old), device=old.device)[:, None, None]
        motion = (self.position - grid)[batch, row, column]
        position = multiply_2x2(inverse_2x2(source), (old + motion - source_shift)[..., None])[..., 0]
        known = self.known[batch, row, column] & (old.abs() <= 1).all(-1)
        return Flow(position, self.seen[batch, row, column] & (position.abs() <= 1).all(-1), known)


@torch.no_grad()
def true_flow(source: Tensor, driving: Tensor) -> Flow:
    """The flow between two maps of the surface, Bxhxwx4: place in steps, and part, 0 for the background.

    Whole numbers below 65536; int16 stands for the uint16 of the same bits.

    A piece is looked for among the centres of the source's cells: the nearest one by place, and then the mean
    of the nine around it, weighted by gaussians of the distance, for a position between the centres. Between
    equal maps nothing moves.
    """
    source, driving = source.int() & 0xFFFF, driving.int() & 0xFFFF
    batch, height, width = source.shape[:3]
    grid = coordinate_grid(height, width, torch.zeros((), device=source.device))
    position = grid.expand(batch, height, width, 2).clone()
    seen = torch.zeros(batch, height, width, dtype=torch.bool, device=source.device)
    for index in range(batch):
        if torch.equal(source[index], driving[index]):
            seen[index] = True
            continue
        head = driving[index, ..., 3] > 0
        seen[index] = ~head & (source[index, ..., 3] == 0)
        wanted = _points(driving[index])[head]
        position[index][head], seen[index][head] = _find(wanted, _points(source[index]), grid)
    return Flow(position, seen, torch.ones_like(seen))


def _points(surface: Tensor) -> Tensor:
    """Places with the part as a fourth, long axis."""
    points = surface.float()
    points[..., 3] *= _PART
    return points


def _find(wanted: Tensor, source: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Positions Mx2 of ``wanted`` Mx4 in the map ``source`` hxwx4, and whether there is such a piece."""
    height, width = source.shape[:2]
    distance, nearest = torch.cdist(wanted, source.flatten(0, 1)).min(1)
    padded = F.pad(source, (0, 0, 1, 1, 1, 1), value=-_PART)  # nothing beyond the border is like anything
    steps = torch.arange(-1, 2, device=source.device)
    rows = (nearest // width)[:, None, None] + steps[:, None]  # Mx3x1
    columns = (nearest % width)[:, None, None] + steps  # Mx1x3
    around = padded[rows + 1, columns + 1].flatten(1, 2)  # Mx9x4
    places = grid[rows.clamp(0, height - 1), columns.clamp(0, width - 1)].flatten(1, 2)  # Mx9x2
    farther = (around - wanted[:, None]).square().sum(-1) - distance.square()[:, None]
    weights = torch.softmax(-farther / (2 * _SPREAD**2), dim=1)
    return (weights[..., None] * places).sum(1), distance < _NEAR
