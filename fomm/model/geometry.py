"""The maths of planes that the networks share: coordinate grid, Gaussians, 2x2 matrices and the one ``warp``.

Coordinates are xy in [-1, 1]: (-1, -1) is the centre of the top left pixel, (1, 1) of the bottom right one.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def coordinate_grid(height: int, width: int, like: Tensor) -> Tensor:
    """Return the coordinates of every pixel, HxWx2, xy in [-1, 1], of the device and dtype of ``like``.

    >>> coordinate_grid(2, 3, torch.zeros(1))[..., 0]
    tensor([[-1.,  0.,  1.],
            [-1.,  0.,  1.]])
    """
    x = torch.linspace(-1, 1, width, device=like.device, dtype=like.dtype)
    y = torch.linspace(-1, 1, height, device=like.device, dtype=like.dtype)
    return torch.stack((x.expand(height, width), y[:, None].expand(height, width)), dim=-1)  # HxWx2


def gaussian_maps(points: Tensor, height: int, width: int, variance: float) -> Tensor:
    """Draw a Gaussian of height 1 around each point.

    Args:
        points: BxKx2, xy in [-1, 1].
        height, width: of the maps, pixels.
        variance: of the Gaussian, in the same units squared.

    Returns:
        BxKxHxW in (0, 1].
    """
    rows, columns = gaussian_lines(points, height, width, variance)
    return rows[..., None] * columns[..., None, :]


def gaussian_lines(points: Tensor, height: int, width: int, variance: float) -> tuple[Tensor, Tensor]:
    """Return the factors of ``gaussian_maps``: a Gaussian over the rows, BxKxH, and the columns, BxKxW.

    exp(-(x^2 + y^2) / 2v) = exp(-y^2 / 2v) exp(-x^2 / 2v), so few exponentials are computed.
    """

    def draw(length: int, axis: int) -> Tensor:
        line = torch.linspace(-1, 1, length, device=points.device, dtype=points.dtype)
        return torch.exp((line - points[..., axis, None]).square() * (-0.5 / variance))

    return draw(height, 1), draw(width, 0)


def multiply_2x2(left: Tensor, right: Tensor) -> Tensor:
    """Multiply ...x2x2 matrices by ...x2xN ones in their own dtype, also where autocast would lower it.

    >>> multiply_2x2(torch.tensor([[1., 2.], [3., 4.]]), torch.tensor([[1.], [10.]]))
    tensor([[21.],
            [43.]])
    """
    return left[..., :1] * right[..., :1, :] + left[..., 1:] * right[..., 1:, :]


def inverse_2x2(matrix: Tensor, eps: float = 1e-12) -> Tensor:
    """Invert ...x2x2 matrices in closed form.

    A determinant nearer to zero than ``eps`` counts as ``eps`` with its sign, so the answer is always finite.

    >>> inverse_2x2(torch.tensor([[2., 0.], [0., 4.]]))
    tensor([[0.5000, -0.0000],
            [-0.0000, 0.2500]])
    """
    a, b, c, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 0], matrix[..., 1, 1]
    determinant = a * d - b * c
    smallest = torch.where(determinant < 0, torch.full_like(determinant, -eps), eps)
    determinant = torch.where(determinant.abs() < eps, smallest, determinant)
    adjugate = torch.stack((torch.stack((d, -b), -1), torch.stack((-c, a), -1)), -2)
    return adjugate / determinant[..., None, None]


def solve_symmetric(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve ``matrix @ x = right`` for x, BxKxN, by Gauss-Jordan elimination without exchanging rows.

    These are plain operations of tensors, which a graph can hold.

    Args:
        matrix: BxKxK, symmetric and positive definite; K is small.
        right: BxKxN.

    >>> solve_symmetric(torch.tensor([[[2., 1.], [1., 2.]]]), torch.tensor([[[3.], [3.]]]))
    tensor([[[1.],
             [1.]]])
    """
    rows = torch.cat((matrix, right), 2)
    count = matrix.shape[1]
    for k in range(count):
        row = rows[:, k : k + 1] / rows[:, k : k + 1, k : k + 1]
        rows = rows - rows[:, :, k : k + 1] * row  # the other rows lose their k-th number
        rows = torch.cat((rows[:, :k], row, rows[:, k + 1 :]), 1)
    return rows[:, :, count:]


def fit_similarity(points: Tensor, wanted: Tensor) -> Tensor:
    """Fit a turn and a scale, Bx2x2, that bring BxKx2 points next to the wanted ones, both less their means.

    Least squares: of centred p and q, scale * (cos, sin) = (sum p . q, sum p x q) / sum p . p.
    """
    p, q = points - points.mean(1, keepdim=True), wanted - wanted.mean(1, keepdim=True)
    size = p.square().sum((1, 2)).clamp(min=1e-12)
    cos = (p * q).sum((1, 2)) / size
    sin = (p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]).sum(1) / size
    return torch.stack((torch.stack((cos, -sin), -1), torch.stack((sin, cos), -1)), -2)


def warp(
    image: Tensor, grid: Tensor, *, align_corners: bool, padding_mode: str = "zeros", bicubic: bool = False
) -> Tensor:
    """Warp backward: each output pixel is the image at the coordinates that the grid holds for it.

    Any image is sampled in float32: coordinates that are rounded to 16 bits show in the picture.

    Args:
        image: BxCxHxW.
        grid: BxhxwxXY in [-1, 1]; ``padding_mode`` says what points outside of the image give.
        align_corners: True where -1 and 1 mean the centres of the outer pixels, which is what the published
            weights were trained with; False where they mean the outer edges.
        padding_mode: as in ``torch.nn.functional.grid_sample``.
        bicubic: between pixels by Keys' cubics (a = -0.75) over 4x4 of them instead of linearly over 2x2.

    Returns:
        BxCxhxw in the dtype of ``image``.
    """
    mode = "bicubic" if bicubic else "bilinear"
    warped = F.grid_sample(
        image.float(), grid.float(), mode=mode, padding_mode=padding_mode, align_corners=align_corners
    )
    return warped.to(image.dtype)


def warp_all(small: Tensor, motions: Tensor, *, align_corners: bool) -> Tensor:
    """Warp one picture, 1xCxhxw, by each of BxKxhxwx2 motions: BxKxCxhxw."""
    count, height, width = motions.shape[1:4]
    # all warps one below the other, so that the picture is not copied
    rows = motions.reshape(1, -1, width, 2)
    deformed = warp(small, rows, align_corners=align_corners)[0]  # CxBKhxw
    return deformed.view(deformed.shape[0], -1, count, height, width).permute(1, 2, 0, 3, 4)


def resize_maps(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize BxCxhxw to a size (height, width), linearly between the centres of pixels."""
    if maps.shape[2:] == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)


def resize_deformation(deformation: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize a deformation Bxhxwx2 to a size (height, width) as the published code does: BxHxWx2.

    The coordinates are resized like any other map, so what does not move is shifted by a part of a pixel.
    The published weights were trained with it; ``enlarge_deformation`` is exact.
    """
    if deformation.shape[1:3] == size:
        return deformation
    return resize_maps(deformation.permute(0, 3, 1, 2), size).permute(0, 2, 3, 1)


def enlarge_deformation(deformation: Tensor, height: int, width: int) -> Tensor:
    """Enlarge a deformation Bxhxwx2 to BxHxWx2, for ``warp`` without ``align_corners``.

    Where nothing moves, the picture stays as it is, to the pixel.
    """
    planes = F.interpolate(displacement(deformation), (height, width), mode="bilinear", align_corners=False)
    return pixel_centres(height, width, deformation) + planes.permute(0, 2, 3, 1)


def pixel_centres(height: int, width: int, like: Tensor) -> Tensor:
    """Return the coordinates of every pixel, HxWx2, where -1 and 1 are the outer edges of the picture.

    So ``warp`` without ``align_corners`` counts, while ``coordinate_grid`` counts from centre to centre.

    >>> pixel_centres(1, 2, torch.zeros(1))[..., 0]
    tensor([[-0.5000,  0.5000]])
    """
    return _from_centres_to_edges(coordinate_grid(height, width, like))


def displacement(deformation: Tensor) -> Tensor:
    """Return how far a deformation Bxhxwx2 moves each cell: Bx2xhxw, in halves of the picture's sides.

    A deformation counts from centre to centre of its outer cells, and these are not the centres of the outer
    pixels of a larger picture. So it is the displacement that can be enlarged, and then added to the
    ``pixel_centres`` of the larger picture.
    """
    height, width = deformation.shape[1:3]
    moved = deformation - coordinate_grid(height, width, deformation)
    return _from_centres_to_edges(moved, dim=1)


def _from_centres_to_edges(places: Tensor, dim: int = -1) -> Tensor:
    """Convert ...HxWx2 from units where the outer pixels' centres are 1 to units where their edges are 1.

    ``dim``: where x and y are in the result.
    """
    height, width = places.shape[-3:-1]
    # by numbers, not by a tensor of them, which a GPU would have to fetch
    x, y = places[..., 0] * ((width - 1) / width), places[..., 1] * ((height - 1) / height)
    return torch.stack((x, y), dim)


def mean_around(image: Tensor, side: int) -> Tensor:
    """Return the mean of the square of ``side`` (odd) pixels around each pixel of BxCxHxW.

    At the border it is the mean of what of the square lies within the picture.

    The gradient is right on every device because the planes are averaged one after another, as BCxHxW: for
    BxCxHxW in the memory format channels_last, with padding, the backward of ``avg_pool2d`` in CUDA is wrong
    in versions of PyTorch without the fix of pytorch/pytorch#188344, and nothing says so.

    >>> mean_around(torch.tensor([[[[0., 3., 6.]]]]), 3)
    tensor([[[[1.5000, 3.0000, 4.5000]]]])
    """
    planes = F.avg_pool2d(image.flatten(0, 1), side, 1, side // 2, count_include_pad=False)  # BCxHxW
    return planes.view(image.shape)


def finest_details(image: Tensor) -> Tensor:
    """Return BxCxHxW less its blur by a 5x5 binomial filter, which is a Gaussian of one pixel."""
    height, width = image.shape[2:]
    padded = F.pad(image, (2, 2, 2, 2), mode="replicate")
    taps = [1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16]
    rows = torch.stack([tap * padded[:, :, i : i + height] for i, tap in enumerate(taps)]).sum(0)
    return image - torch.stack([tap * rows[..., i : i + width] for i, tap in enumerate(taps)]).sum(0)


def convex_hull_area(points: Tensor) -> float:
    """Return the area of the convex hull of Nx2 points; 0 where they lie on a line.

    >>> convex_hull_area(torch.tensor([[0., 0.], [2., 0.], [2., 1.], [0., 1.], [1., .5]]))
    2.0
    """
    Point = tuple[float, ...]
    ordered: list[Point] = sorted(map(tuple, points.tolist()))

    def cross(o: Point, a: Point, b: Point) -> float:
        return (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0])

    def half_hull(points: list[Point]) -> list[Point]:
        hull: list[Point] = []
        for point in points:
            while len(hull) > 1 and cross(hull[-2], hull[-1], point) <= 0:
                hull.pop()
            hull.append(point)
        return hull[:-1]

    hull = half_hull(ordered) + half_hull(ordered[::-1])
    following = hull[1:] + hull[:1]
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(hull, following, strict=True))) / 2
