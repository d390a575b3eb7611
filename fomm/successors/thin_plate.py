"""Thin-plate splines: the smoothest maps of the plane that bring some points near to others."""

import torch
from torch import Tensor

from fomm.model.geometry import coordinate_grid

RIDGE = 0.01  # on the whole diagonal of the equations: points may be missed by a little
_TINY = 1e-9  # added to a squared distance before its logarithm


def spline_grids(source: Tensor, driving: Tensor, height: int, width: int) -> Tensor:
    """Return, for every driving pixel, where each of K splines takes it in the source.

    A spline is T(z) = A (z, 1) + sum_i w_i U(|z - p_i|), with U(r) = r^2 log r^2, for its driving points p_i.
    A and w solve T(p_i) = q_i for the source's points q_i, with sum_i w_i (p_i, 1) = 0, each but for
    ``RIDGE`` times the unknown itself.

    Args:
        source: 1xKxNx2 or BxKxNx2, xy in [-1, 1]: N points of each spline.
        driving: BxKxNx2.
        height, width: of the grids, pixels.

    Returns:
        BxKxHxWx2, xy in [-1, 1].
    """
    zeros = driving * 0  # not ``zeros_like``, which a graph keeps as a constant of one batch
    plane = torch.cat((driving, zeros[..., :1] + 1), -1)  # BxKxNx3
    upper = torch.cat((_radial(driving, driving), plane), -1)
    lower = torch.cat((plane.transpose(-1, -2), plane[..., :3, :] * 0), -1)
    matrix = torch.cat((upper, lower), -2)  # BxKx(N+3)x(N+3)
    matrix = matrix + RIDGE * torch.eye(matrix.shape[-1], device=driving.device, dtype=driving.dtype)
    right = torch.cat((source.expand_as(driving), zeros[..., :3, :]), -2)
    unknowns = solve(matrix, right)  # BxKx(N+3)x2
    pixels = coordinate_grid(height, width, driving).flatten(0, 1)  # HWx2
    pixels = pixels + zeros[..., :1, :]  # BxKxHWx2
    terms = torch.cat((_radial(pixels, driving), pixels, pixels[..., :1] * 0 + 1), -1)
    # a sum of products, not a matrix product: autocast and TF32 would make the coordinates coarse
    grid = (terms[..., None] * unknowns[:, :, None]).sum(-2)
    return grid.unflatten(2, (height, width))


def _radial(at: Tensor, points: Tensor) -> Tensor:
    """Return U of the distances between ...xMx2 and ...xNx2 points, ...xMxN."""
    squared = (at[..., :, None, :] - points[..., None, :, :]).square().sum(-1)
    return squared * torch.log(squared + _TINY)


def solve(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve ``matrix @ x = right`` for x, ...xNxM, by Gauss-Jordan elimination with partial pivoting.

    These are plain operations of tensors, which a graph can hold.

    Args:
        matrix: ...xNxN, not singular; N is small.
        right: ...xNxM.

    >>> solve(torch.tensor([[0., 2.], [1., 1.]]), torch.tensor([[4.], [5.]]))
    tensor([[3.],
            [2.]])
    """
    rows = torch.cat((matrix, right), -1)
    size = matrix.shape[-1]
    numbers = torch.arange(size, device=matrix.device)
    left = rows[..., 0] * 0 + 1  # 1 for each row that was no pivot yet
    order = []
    for column in range(size):
        best = torch.where(left > 0, rows[..., column].abs(), -1.0).argmax(-1, keepdim=True)
        chosen = (numbers == best).to(rows.dtype)  # ...xN, 1 for the pivot's row
        row = (chosen[..., None] * rows).sum(-2, keepdim=True)
        row = row / row[..., column : column + 1]
        factors = rows[..., column : column + 1]
        # the pivot's row becomes ``row``, and the others lose their number in this column
        rows = torch.where(chosen[..., None] > 0, row, rows - factors * row)
        left = left * (1 - chosen)
        order.append(chosen)
    return (torch.stack(order, -2)[..., None] * rows[..., None, :, size:]).sum(-2)
