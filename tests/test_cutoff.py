"""What an animated square cuts off, on pictures whose changes are made by hand."""

import numpy as np
import pytest

from fomm.evaluation.cutoff import border_change, largest_change, straight_step
from fomm.face.crop import Rect

pytestmark = pytest.mark.smoke

SQUARE = Rect(20.0, 10.0, 120.0, 110.0)  # a side of 100 pixels: the outermost part is 3 pixels wide


def photo(height=130, width=150):
    return np.random.default_rng(0).integers(60, 180, (height, width, 3)).astype(np.uint8)


def changed(picture, y, x, levels):
    frame = picture.copy()
    frame[y, x, 1] = frame[y, x, 1].astype(int) + levels
    return frame


@pytest.mark.parametrize(
    ("y", "x", "inside"),
    [
        (50, 20, True), (50, 22, True), (50, 23, False), (50, 19, False),
        (50, 119, True), (50, 117, True), (50, 116, False), (50, 120, False),
        (10, 60, True), (12, 60, True), (13, 60, False), (9, 60, False),
        (109, 60, True), (107, 60, True), (106, 60, False), (110, 60, False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("levels", [-40, 9])
def test_the_outermost_three_pixels_of_a_hundred_count(y, x, inside, levels):
    there = photo()
    frames = [there, changed(there, y, x, levels), changed(there, 60, 60, 70)]
    assert border_change(there, frames, SQUARE) == (abs(levels) if inside else 0)


def test_a_square_that_leaves_the_photo_has_only_the_border_inside():
    there = photo()
    square = Rect(-10.0, 10.0, 90.0, 110.0)
    assert border_change(there, [changed(there, 50, 0, 50)], square) == 0  # its left border is outside
    assert border_change(there, [changed(there, 50, 88, 50)], square) == 50
    assert border_change(there, [changed(there, 50, 5, 50)], Rect(-10.0, -10.0, 300.0, 300.0)) == 0


def test_the_largest_change_is_that_of_any_frame_and_without_noise():
    there = np.full((40, 40, 3), 100, np.uint8)
    one, other = there.copy(), there.copy()
    one[10:20, 10:20, 0] = 160
    other[15:25, 15:25, 2] = 70
    change = largest_change(there, [there, one, other])
    assert change[12, 12] == pytest.approx(60) and change[22, 22] == pytest.approx(30)
    assert change[17, 17] == pytest.approx(60) and change[30, 30] == 0
    noise = np.random.default_rng(1).choice([90, 110], (40, 40, 3)).astype(np.uint8)
    assert largest_change(there, [noise]).mean() < 7  # of 10


def block(height=100, width=120):
    """Return a change of 100 levels in rows 20 to 69 of columns 30 to 89."""
    change = np.zeros((height, width))
    change[20:70, 30:90] = 100
    return change


def test_a_block_is_cut_along_its_longest_side():
    assert straight_step(block()) == 60
    assert straight_step(block().T) == 60
    assert straight_step(np.zeros((50, 50))) == 0


def test_each_of_the_four_sides_counts():
    """The others are washed out by ramps that are wider than ``reach``."""
    down, right = np.meshgrid(np.arange(100.0), np.arange(120.0), indexing="ij")
    ramps = {"left": right - 30, "right": 89 - right, "top": down - 20, "bottom": 69 - down}
    for sharp in ramps:
        change = np.full((100, 120), 100.0)
        for side, inwards in ramps.items():
            change = np.minimum(change, np.where(inwards < 0, 0, 100 if side == sharp else 2 * inwards))
        expected = (60 if sharp in ("top", "bottom") else 50) - 2 * 20  # the ramps reach 40 after 20 pixels
        assert straight_step(change) == pytest.approx(expected, abs=4), sharp


@pytest.mark.parametrize(("levels", "found"), [(12, 0), (40, 0), (41, 60)])
def test_a_weak_change_is_no_step(levels, found):
    assert straight_step(block() / 100 * levels) == found


def test_a_fade_is_found_up_to_its_width():
    """A smooth fade over 8 pixels at all sides, as the paste makes it."""
    change = block()
    for pixels in range(8):
        share = (pixels + 0.5) / 8
        share = share * share * (3 - 2 * share)
        inner = slice(20 + pixels, 70 - pixels), slice(30 + pixels, 90 - pixels)
        ring = np.zeros_like(change, bool)
        ring[inner] = True
        ring[20 + pixels + 1 : 70 - pixels - 1, 30 + pixels + 1 : 90 - pixels - 1] = False
        change[ring] = 100 * share
    assert straight_step(change, reach=8) == pytest.approx(60, abs=12)  # its corners are round
    assert straight_step(change, reach=1) == 0


def test_an_edge_may_lie_a_pixel_beside_its_line_and_no_more():
    change = np.zeros((60, 120))
    for row in range(60):
        change[row, 40 + row % 3 :] = 100  # wavers by one pixel to either side of column 41
    assert straight_step(change) == 60
    change[:] = 0
    for row in range(60):
        change[row, 40 + 2 * (row % 4) :] = 100
    assert straight_step(change) < 10


def test_a_slope_and_a_disc_are_hardly_straight():
    down, right = np.meshgrid(np.arange(200), np.arange(200), indexing="ij")
    assert straight_step(np.where(right > 40 + down / 2, 100, 0)) <= 6
    disc = np.where(np.hypot(down - 100, right - 100) < 70, 100, 0)
    assert straight_step(disc) <= 41  # a chord of that disc, three pixels high


def test_what_ends_with_the_photo_is_not_cut_off():
    change = np.zeros((60, 80))
    change[:, :40] = np.linspace(100, 0, 40)  # reaches the photo's left border, fades to the right
    assert straight_step(change) == 0
