"""Aligned faces: the similarity is found that was applied, and pixels land where it says."""

import numpy as np
import pytest

from fomm.errors import InputError
from fomm.face.pose import STILL_POINTS
from fomm.swap.align import MEAN_FACE, cut_face, fit_similarity, move_points

SIZE = 64


def place(matrix: np.ndarray) -> np.ndarray:
    """Return 478 points of which the fitted ones are those that ``matrix`` takes to the mean face."""
    points = np.random.default_rng(0).random((478, 2)) * 100
    inverse = np.linalg.inv(matrix[:, :2])
    points[STILL_POINTS] = (MEAN_FACE * SIZE - matrix[:, 2]) @ inverse.T
    return points.astype(np.float32)


def test_the_mean_face():
    assert MEAN_FACE.shape == (40, 2)
    assert MEAN_FACE.min() > 0 and MEAN_FACE.max() < 1
    mirrored = np.sort(1 - MEAN_FACE[:, 0])
    assert np.sort(MEAN_FACE[:, 0]) == pytest.approx(mirrored), "it is symmetric, its middle at 1/2"


@pytest.mark.parametrize(
    ("scale", "degrees", "shift"), [(1, 0, (0, 0)), (0.4, 25, (-30, 12)), (3, -80, (5, 9))]
)
def test_the_similarity_that_was_applied_is_found(scale, degrees, shift):
    angle = np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.column_stack([turn, shift])
    points = place(matrix)
    found = fit_similarity(points, SIZE)
    assert found.dtype == np.float32
    assert found == pytest.approx(matrix, abs=1e-3)
    assert move_points(points, found)[STILL_POINTS] == pytest.approx(MEAN_FACE * SIZE, abs=1e-3)


def test_points_by_hand():
    matrix = np.array([[0.0, -2, 10], [2, 0, 20]])
    assert move_points(np.array([[3.0, 4], [0, 0]]), matrix).tolist() == [[2, 26], [10, 20]]


def test_pixels_land_where_the_transform_says():
    frame = np.zeros((100, 120, 3), np.uint8)
    frame[40:44, 70:74] = (250, 100, 50)
    picture = cut_face(frame, np.array([[2.0, 0, -120], [0, 2, -60]]), SIZE)  # (70, 40) -> (20, 20)
    assert picture.shape == (SIZE, SIZE, 3)
    assert picture[22:26, 22:26].reshape(-1, 3).tolist() == [[250, 100, 50]] * 16
    assert not picture[:18].any() and not picture[30:].any() and not picture[:, :18].any()
    # A quarter turn takes (x, y) to (-y, x): right of the middle goes below it.
    turned = cut_face(frame, np.array([[0.0, -1, 74], [1, 0, -40]]), SIZE)
    ys, xs = np.nonzero(turned[..., 0] > 125)
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (30, 33, 30, 33)


def test_what_cannot_be_used():
    with pytest.raises(InputError, match="lie in one place"):
        fit_similarity(np.ones((478, 2)), SIZE)
    with pytest.raises(InputError, match="478x2 finite numbers"):
        fit_similarity(np.ones((68, 2)), SIZE)
    frame = np.zeros((10, 10, 3), np.uint8)
    with pytest.raises(InputError, match="a 2x3 matrix"):
        cut_face(frame, np.eye(3), SIZE)
    for matrix in ([[1, 0, 0], [0, 2, 0]], [[1, 0, 0], [0, -1, 0]], [[0, 0, 0], [0, 0, 0]]):
        with pytest.raises(InputError, match="scales, turns and shifts"):
            cut_face(frame, np.array(matrix, float), SIZE)
