import doctest

import pytest
import torch

from fomm.model import geometry
from fomm.model.geometry import (
    convex_hull_area,
    coordinate_grid,
    enlarge_deformation,
    finest_details,
    gaussian_maps,
    inverse_2x2,
    pixel_centres,
    solve_symmetric,
    warp,
)


def test_doctests():
    failed, attempted = doctest.testmod(geometry)
    assert attempted >= 3
    assert failed == 0


def test_gaussian_is_one_at_its_point_and_falls_as_the_variance_says():
    points = torch.tensor([[[-1.0, 0.0], [1.0, 1.0]]])
    maps = gaussian_maps(points, 3, 3, variance=0.5)
    assert maps.shape == (1, 2, 3, 3)
    assert maps[0, 0, 1, 0] == maps[0, 1, 2, 2] == 1
    torch.testing.assert_close(maps[0, 0, 1, 1], torch.tensor(-1.0).exp())  # distance 1: exp(-0.5 * 1 / 0.5)


def test_inverse_agrees_with_linalg():
    matrices = torch.randn(50, 3, 2, 2, generator=torch.Generator().manual_seed(0)) + 2 * torch.eye(2)
    torch.testing.assert_close(inverse_2x2(matrices), torch.linalg.inv(matrices), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("matrix", [torch.zeros(2, 2), torch.ones(2, 2)])
def test_inverse_of_a_singular_matrix_is_finite(matrix):
    assert torch.isfinite(inverse_2x2(matrix)).all()


@pytest.mark.parametrize("align_corners", [True, False])
def test_warp_shifts_by_whole_pixels(align_corners):
    image = torch.arange(12.0).view(1, 1, 3, 4)
    # the distance between the centres of two neighbours in [-1, 1] depends on what the ends mean
    step = 2 / 3 if align_corners else 2 / 4
    ends = 1 if align_corners else 1 - 1 / 4
    x = torch.linspace(-ends, ends, 4) + step
    y = torch.linspace(-1, 1, 3) * (1 if align_corners else 1 - 1 / 3)
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)[None]
    moved = warp(image, grid, align_corners=align_corners)
    torch.testing.assert_close(moved[..., :3], image[..., 1:], atol=1e-4, rtol=0)
    torch.testing.assert_close(moved[..., 3], torch.zeros(1, 1, 3), atol=1e-4, rtol=0)


def test_warp_samples_in_float32_and_keeps_the_dtype():
    image = torch.rand(1, 1, 8, 8).to(torch.bfloat16)
    grid = torch.zeros(1, 2, 2, 2)
    assert warp(image, grid, align_corners=True).dtype == torch.bfloat16


def test_an_enlarged_deformation_moves_pixels_as_it_moves_cells():
    image = torch.rand(1, 2, 24, 32, generator=torch.Generator().manual_seed(0))
    still = coordinate_grid(6, 8, image)[None]
    enlarged = enlarge_deformation(still, 24, 32)
    assert torch.allclose(enlarged[0], pixel_centres(24, 32, image), atol=1e-6)
    assert torch.allclose(warp(image, enlarged, align_corners=False), image, atol=1e-5)
    a_cell_to_the_left = still + torch.tensor([2 / 7, 0.0])
    moved = warp(image, enlarge_deformation(a_cell_to_the_left, 24, 32), align_corners=False)
    assert torch.allclose(moved[..., :-4], image[..., 4:], atol=1e-5)
    assert (moved[..., -3:] == 0).all()  # from outside of the picture


def test_finest_details_are_what_a_binomial_filter_takes_away():
    assert finest_details(torch.full((1, 3, 7, 5), 0.3)).abs().max() < 1e-6  # also at the border
    point = torch.zeros(1, 1, 9, 9)
    point[0, 0, 4, 4] = 256
    taps = torch.tensor([1.0, 4, 6, 4, 1])
    assert torch.equal(finest_details(point)[0, 0, 2:7, 2:7], point[0, 0, 2:7, 2:7] - torch.outer(taps, taps))


@pytest.mark.parametrize(
    ("points", "area"),
    [
        ([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], 0.5),
        ([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]], 0.0),
        ([[0.0, 0.0]], 0.0),
        ([[0.0, 0.0], [1.0, 0.0]], 0.0),
        ([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0], [0.0, 0.0], [0.0, 0.0]], 4.0),
    ],
)
def test_hull_area(points, area):
    assert convex_hull_area(torch.tensor(points)) == pytest.approx(area)


def test_hull_area_agrees_with_scipy():
    from scipy.spatial import ConvexHull

    for seed in range(20):
        points = torch.rand(10, 2, generator=torch.Generator().manual_seed(seed)) * 2 - 1
        assert convex_hull_area(points) == pytest.approx(ConvexHull(points.numpy()).volume, rel=1e-6)


def test_elimination_agrees_with_linalg():
    rng = torch.Generator().manual_seed(0)
    factor = torch.randn(3, 10, 10, generator=rng, dtype=torch.float64)
    matrix, right = factor @ factor.mT + torch.eye(10), torch.randn(3, 10, 2, generator=rng).double()
    assert torch.allclose(solve_symmetric(matrix, right), torch.linalg.solve(matrix, right))
