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
    batch, splines, points, _ = driving.shape
    ones = driving.new_ones(batch, splines, points, 1)
    plane = torch.cat((driving, ones), -1)  # BxKxNx3
    upper = torch.cat((_radial(driving, driving), plane), -1)
    lower = torch.cat((plane.mT, driving.new_zeros(batch, splines, 3, 3)), -1)
    size = points + 3
    matrix = torch.cat((upper, lower), -2) + RIDGE * torch.eye(
        size, device=driving.device, dtype=driving.dtype
    )
    right = torch.cat(
        (source.expand(batch, -1, -1, -1), driving.new_zeros(batch, splines, 3, 2)), -2
    )  # BxKx(N+3)x2
    unknowns = solve(matrix.flatten(0, 1), right.flatten(0, 1)).unflatten(0, (batch, splines))
    pixels = coordinate_grid(height, width, driving).flatten(0, 1)  # HWx2
    terms = torch.cat(
        (
            _radial(pixels.expand(batch, splines, -1, -1), driving),
            pixels.expand(batch, splines, -1, -1),
            driving.new_ones(batch, splines, height * width, 1),
        ),
        -1,
    )  # BxKxHWx(N+3)
    # a sum of products, not a matrix product: autocast and TF32 would make the coordinates coarse
    grid = (terms[..., None] * unknowns[:, :, None]).sum(-2)
    return grid.unflatten(2, (height, width))


def _radial(at: Tensor, points: Tensor) -> Tensor:
    """Return U of the distances between ...xMx2 and ...xNx2 points, ...xMxN."""
    squared = (at[..., :, None, :] - points[..., None, :, :]).square().sum(-1)
    return squared * torch.log(squared + _TINY)


def solve(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve ``matrix @ x = right`` for x, BxNxM, by Gauss-Jordan elimination with partial pivoting.

    These are plain operations of tensors, which a graph can hold.

    Args:
        matrix: BxNxN, not singular; N is small.
        right: BxNxM.

    >>> solve(torch.tensor([[[0., 2.], [1., 1.]]]), torch.tensor([[[4.], [5.]]]))
    tensor([[[3.],
             [2.]]])
    """
    rows = torch.cat((matrix, right), 2)
    size = matrix.shape[1]
    numbers = torch.arange(size, device=matrix.device)
    left = torch.ones_like(rows[:, :, 0])  # 1 for each row that was no pivot yet
    order = []
    for column in range(size):
        best = torch.where(left > 0, rows[:, :, column].abs(), -1.0).argmax(1, keepdim=True)
        chosen = (numbers == best).to(rows.dtype)  # BxN, 1 for the pivot's row
        row = (chosen[..., None] * rows).sum(1, keepdim=True)
        row = row / row[:, :, column : column + 1]
        factors = rows[:, :, column : column + 1] * (1 - chosen[..., None])
        rows = (rows - factors * row) * (1 - chosen[..., None]) + chosen[..., None] * row
        left = left * (1 - chosen)
        order.append(chosen)
    return (torch.stack(order, 1)[..., None] * rows[:, None, :, size:]).sum(2)
