"""Pictures and parts of them get another size, with numbers that can be checked by hand."""

import numpy as np
import pytest
from PIL import Image

from fomm.media.resize import cut_out, resize, shrink

NOISE = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)


def test_a_picture_of_that_size_is_returned_as_it_is():
    assert resize(NOISE, (12, 20)) is NOISE
    assert shrink(NOISE, 1) is NOISE


@pytest.mark.parametrize("make", [lambda: resize(NOISE, (6, 10), "box"), lambda: shrink(NOISE, 2)])
def test_the_mean_of_squares(make):
    means = NOISE.reshape(6, 2, 10, 2, 3).mean(axis=(1, 3))
    assert np.abs(make() - means).max() <= 1


def test_bilinear_weighs_by_distance():
    """Enlarged twice, pixel centres lie a quarter of a pixel beside the old ones."""
    row = np.array([[0, 100, 200]], np.uint8)
    assert resize(row, (1, 6), "bilinear").tolist() == [[0, 25, 75, 125, 175, 200]]


@pytest.mark.parametrize("filter", ["box", "bilinear", "bicubic"])
def test_no_filter_aliases(filter):
    """Stripes of one pixel become gray, not stripes of another width."""
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    small = resize(stripes, (16, 16), filter).astype(int)
    assert np.abs(small - 127.5).max() <= 12, small


def test_a_part_of_a_picture():
    assert np.array_equal(resize(NOISE, (4, 6), box=(3, 2, 9, 6)), NOISE[2:6, 3:9])
    assert np.array_equal(resize(Image.fromarray(NOISE), (4, 6), box=(3, 2, 9, 6)), NOISE[2:6, 3:9])
    assert np.array_equal(cut_out(NOISE, (3, 2, 9, 6), (4, 6)), NOISE[2:6, 3:9])


def test_a_border_that_rounding_moved_outside():
    assert np.array_equal(resize(NOISE, (12, 20), box=(-1e-9, -1e-9, 20 + 1e-9, 12 + 1e-9)), NOISE)


def test_beyond_the_border_lies_the_mirror_image():
    part = cut_out(NOISE, (-2, -1, 22, 14), (15, 24))
    assert np.array_equal(part, np.pad(NOISE, ((1, 2), (2, 2), (0, 0)), mode="symmetric"))
