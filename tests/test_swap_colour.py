"""Colours of one face for another: exact where the answer is known."""

import numpy as np
import pytest

from fomm.errors import InputError
from fomm.swap.colour import COLOURS, draw_skin, match_colours


@pytest.fixture
def face():
    """Return a picture 24x32x3 in [0.25, 0.65], and a mask of its middle."""
    rng = np.random.default_rng(3)
    mask = np.zeros((24, 32), bool)
    mask[5:20, 8:28] = True
    return (0.25 + 0.4 * rng.random((24, 32, 3))).astype(np.float32), mask


@pytest.mark.parametrize("method", COLOURS)
def test_a_picture_that_has_the_colours_stays(face, method):
    picture, mask = face
    # "reinhard" goes through Lab and back, whose matrices have four digits
    assert np.abs(match_colours(picture, picture, mask, method) - picture).max() < 1e-4


@pytest.mark.parametrize("method", COLOURS)
def test_an_empty_mask_gives_the_picture_back(face, method):
    picture, mask = face
    assert np.array_equal(match_colours(picture, picture[::-1], np.zeros_like(mask), method), picture)


@pytest.mark.parametrize("method", ["mean", "histogram"])
def test_a_shift_of_each_channel_is_undone(face, method):
    picture, mask = face
    shifted = picture + np.array([0.2, -0.1, 0.05], np.float32)
    assert np.abs(match_colours(shifted, picture, mask, method) - picture).max() < 1e-6


def test_a_shift_and_a_stretch_in_lab_are_undone(face):
    from skimage.color import lab2rgb, rgb2lab

    picture, mask = face
    lab = rgb2lab(0.4 + (picture - 0.45) * 0.25)  # mild colours: none leaves RGB below
    changed = lab2rgb(lab * [1.3, 0.7, 1.2] + [10, 5, -8])
    assert changed.min() > 0.05 and changed.max() < 0.95
    back = match_colours(changed, lab2rgb(lab), mask, "reinhard")
    assert np.abs(back - lab2rgb(lab)).max() < 1e-3


def test_a_curve_of_each_channel_is_undone_by_the_histogram(face):
    picture, mask = face
    changed = picture**2
    back = match_colours(changed, picture, mask, "histogram")
    assert np.abs(back - picture)[mask].max() < 1e-6
    assert np.abs(match_colours(changed, picture, mask, "mean") - picture)[mask].max() > 0.02  # it cannot


@pytest.mark.parametrize("method", ["mean", "reinhard", "histogram"])
def test_only_the_mask_is_measured(face, method):
    picture, mask = face
    to = picture + np.float32(0.1)
    elsewhere, other = picture.copy(), to.copy()
    elsewhere[~mask], other[~mask] = 0.9, 0.0
    expected = match_colours(picture, to, mask, method)
    assert np.array_equal(match_colours(picture, other, mask, method), expected)
    assert np.array_equal(match_colours(elsewhere, to, mask, method)[mask], expected[mask])


def test_a_plain_picture_becomes_the_mean(face):
    picture, mask = face
    plain = np.full_like(picture, 0.5)
    for method in ("mean", "reinhard"):
        result = match_colours(plain, plain * 0.5, mask, method)
        assert np.abs(result - 0.25).max() < 1e-4, method


def test_what_is_dark_keeps_its_colour_beside_skin_that_changes(face):
    """Hair, pupils and the inside of a mouth: the shift of the skin would make them glow red."""
    picture, mask = face
    picture = 0.5 + 0.2 * (picture - 0.45) + np.array([0.1, 0, -0.05], np.float32)
    to = picture * np.array([1.1, 0.85, 0.7], np.float32)
    dark = picture.copy()
    dark[0], dark[1] = 0.0, [0.08, 0.07, 0.06]
    result = match_colours(dark, to, mask, "reinhard")
    assert np.abs(result[0]).max() < 2e-3
    assert np.abs(result[1] - dark[1]).max() < 0.03
    assert np.array_equal(result[2:], match_colours(picture, to, mask, "reinhard")[2:])


def test_values_beyond_the_mask_are_shifted_as_the_nearest():
    picture = np.array([[0.2, 0.3, 0.4, 0.9, 0.1]], np.float32)[..., None].repeat(3, 2)
    mask = np.array([[True, True, True, False, False]])
    result = match_colours(picture, picture + np.float32(0.05), mask, "histogram")
    assert np.abs(result[0, :, 0] - [0.25, 0.35, 0.45, 0.95, 0.15]).max() < 1e-6


def test_what_does_not_go_together(face):
    picture, mask = face
    with pytest.raises(InputError, match=r"none, mean, reinhard, histogram, not by 'lab'"):
        match_colours(picture, picture, mask, "lab")
    with pytest.raises(InputError, match="expected HxWx3 twice and HxW"):
        match_colours(picture, picture, mask[1:], "mean")


def test_skin_is_measured_below_the_eyes():
    """Of a mesh that lies on a disc, what is below the eyes counts, less the rim."""
    rng = np.random.default_rng(0)
    angles, radii = rng.uniform(0, 2 * np.pi, 478), 20 * np.sqrt(rng.random(478))
    points = 32 + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    points[[33, 263]] = (16, 28), (48, 28)
    skin = draw_skin(points.astype(np.float32), 64)
    y, x = np.indices((64, 64)) + 0.5
    assert not skin[:28].any()
    assert skin[(np.hypot(x - 32, y - 32) < 14) & (y > 32)].all()
    assert not skin[np.hypot(x - 32, y - 32) > 20].any()
    assert not skin[50:].any()
