"""The true motion between two frames of a drawn head: where each pixel was, and whether it was seen there.

A drawn clip comes with a map of its surface, see ``fomm.heads.surface``. It names for each pixel a part of
the head and a place on that part. Pixels with the same part and place show the same piece of the head, in any
frame. A piece moves as the corners of its triangle do. The background is taken to stand still.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from fomm.model.geometry import coordinate_grid, inverse_2x2, multiply_2x2

_PART = 10_000.0  # distance between two parts, in steps of places: more than any distance within a part
_NEAR = 400.0  # steps (8 mm): a piece is hidden in the source if none so near to it is seen there


class Flow(NamedTuple):
    """The motion from the driving frame back to the source, on the grid of the surface's map."""

    position: Tensor  # Bxhxwx2, xy in [-1, 1]: where in the source the piece at each driving pixel is
    seen: Tensor  # Bxhxw bool: whether the source shows it; else it is hidden or outside of the picture
    known: Tensor  # Bxhxw bool: whether anything is known of this driving pixel

    def resize(self, height: int, width: int) -> "Flow":
        """Return the flow on another grid; each point takes the motion of the nearest point of this one."""
        old_height, old_width = self.seen.shape[1:]
        if (old_height, old_width) == (height, width):
            return self
        device = self.position.device
        rows = ((torch.arange(height, device=device) + 0.5) * old_height / height).long()[:, None]
        columns = ((torch.arange(width, device=device) + 0.5) * old_width / width).long()
        motion = self.position - coordinate_grid(old_height, old_width, self.position)
        position = coordinate_grid(height, width, self.position) + motion[:, rows, columns]
        return Flow(position, self.seen[:, rows, columns], self.known[:, rows, columns])

    def move_cameras(self, matrix: Tensor, shift: Tensor) -> "Flow":
        """Return the flow between the same frames seen by other cameras.

        What a new picture shows at z, the old one showed at matrix @ z + shift.

        Args:
            matrix: 2xBx2x2, of the source and of the driving frame.
            shift: 2xBx2, likewise.
        """
        height, width = self.seen.shape[1:]
        grid = coordinate_grid(height, width, self.position)
        source, driving = (m[:, None, None] for m in matrix)
        source_shift, driving_shift = (s[:, None, None] for s in shift)
        old = multiply_2x2(driving, grid[..., None])[..., 0] + driving_shift  # Bxhxwx2
        size = torch.tensor([width - 1, height - 1]).to(old.device, non_blocking=True)
        column, row = (
            ((old + 1) / 2 * size).round().clamp(min=torch.zeros_like(size), max=size).long().unbind(-1)
        )
        batch = torch.arange(len(old), device=old.device)[:, None, None]
        motion = (self.position - grid)[batch, row, column]
        position = multiply_2x2(inverse_2x2(source), (old + motion - source_shift)[..., None])[..., 0]
        known = self.known[batch, row, column] & (old.abs() <= 1).all(-1)
        return Flow(position, self.seen[batch, row, column] & (position.abs() <= 1).all(-1), known)


@torch.no_grad()
def compute_true_flow(surfaces: Tensor, vertices: Tensor) -> Flow:
    """Return the flow between two frames, source and driving.

    A piece counts as seen if its position lies in the source, and one of the nine cells around that position
    shows a piece of the same part whose place is near.

    Args:
        surfaces: 2xBxhxwx8, of both frames: place in steps, part (0 for the background), the three corners of
            the triangle, and their weights, see ``fomm.heads.surface``. Whole numbers below 65536; int16
            stands for the uint16 of the same bits.
        vertices: 2xBxUx2, xy in [-1, 1] from edge to edge of the picture.
    """
    source, driving = surfaces.int() & 0xFFFF
    batch, height, width = source.shape[:3]
    size = torch.tensor([width, height]).to(source.device, non_blocking=True)
    grid = coordinate_grid(height, width, vertices.float())
    # -1 and 1 are edges of the picture for the vertices, but middles of the outer cells for the grid.
    motion = (vertices[0] - vertices[1]).float() * (size / (size - 1))  # BxUx2
    head = driving[..., 3] > 0
    index = torch.arange(batch, device=source.device)[:, None, None]
    first, second = driving[..., 7] // 256 / 255, driving[..., 7] % 256 / 255
    weights = torch.stack((first, second, 1 - first - second), -1) * head[..., None]  # Bxhxwx3
    moved = motion[index[..., None], driving[..., 4:7].long()]  # Bxhxwx3x2
    position = grid + (weights[..., None] * moved).sum(-2)
    column, row = ((position + 1) / 2 * (size - 1)).round().long().unbind(-1)
    here, around = _points(driving), _points(source)
    nearest = torch.full(head.shape, torch.inf, device=source.device)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            there = around[index, (row + down).clamp(0, height - 1), (column + right).clamp(0, width - 1)]
            nearest = torch.minimum(nearest, (here - there).square().sum(-1))
    inside = (position.abs() <= size / (size - 1)).all(-1)
    seen = torch.where(head, (nearest < _NEAR**2) & inside, source[..., 3] == 0)
    return Flow(position, seen, torch.ones_like(seen))


def _points(surface: Tensor) -> Tensor:
    """Return places with the part as a fourth axis, along which parts lie far from each other."""
    points = surface[..., :4].float()
    points[..., 3] *= _PART
    return points
