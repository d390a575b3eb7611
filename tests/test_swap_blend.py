"""A face goes into a frame: untouched where it should be, exact where the answer is known."""

import numpy as np
import pytest

from fomm.errors import InputError
from fomm.swap.blend import BLENDS, MASK_CHOICES, blend, choose_mask, fill_smoothly

SIZE = 64


def make_disc(radius=22.0, size=SIZE):
    y, x = np.indices((size, size)) + 0.5
    return np.hypot(x - size / 2, y - size / 2) < radius


def make_frame(height=150, width=180):
    """Return a frame of smooth colours and noise, HxWx3 uint8."""
    rng = np.random.default_rng(0)
    y, x = np.indices((height, width))
    smooth = np.stack([0.4 * x, 60 + 0.5 * y, 120 + 20 * np.sin(x / 20)], -1)
    return (smooth + 20 + rng.integers(0, 20, smooth.shape)).astype(np.uint8)


UNTURNED = np.array([[1, 0, -60], [0, 1, -40]], np.float32)  # the picture's corner lies at 60, 40
TURNED = np.array([[0.62, 0.2, -40], [-0.2, 0.62, 5]], np.float32)  # larger in the frame, and turned


def cut(frame):
    """Return the aligned picture that ``UNTURNED`` cuts out, in [0, 1]."""
    return frame[40 : 40 + SIZE, 60 : 60 + SIZE].astype(np.float32) / 255


@pytest.mark.parametrize("method", BLENDS)
@pytest.mark.parametrize("transform", [UNTURNED, TURNED])
def test_an_empty_mask_leaves_the_frame(method, transform):
    frame = make_frame()
    result = blend(frame, np.ones((SIZE, SIZE, 3)), np.zeros((SIZE, SIZE)), transform, method)
    assert np.array_equal(result, frame)
    assert result is not frame


@pytest.mark.parametrize("method", BLENDS)
def test_outside_of_the_mask_nothing_changes(method):
    frame = make_frame()
    disc = make_disc()
    result = blend(frame, np.ones((SIZE, SIZE, 3)), disc.astype(np.float32), UNTURNED, method)
    there = np.zeros(frame.shape[:2], bool)
    there[40 : 40 + SIZE, 60 : 60 + SIZE] = disc
    assert np.array_equal(result[~there], frame[~there])
    assert (result[there] != frame[there]).mean() > 0.9


def test_alpha_mixes_by_the_mask():
    frame = np.full((150, 180, 3), 40, np.uint8)
    mask = np.zeros((SIZE, SIZE), np.float32)
    mask[20:40, 20:40] = 0.25
    result = blend(frame, np.full((SIZE, SIZE, 3), 0.8), mask, UNTURNED, "alpha")
    assert (result[60:80, 80:100] == 81).all()  # 40 + (204 - 40) / 4
    assert (result == 40).sum() == result.size - 20 * 20 * 3


@pytest.mark.parametrize("transform", [UNTURNED, TURNED, 2.5 * UNTURNED + [[0, 0, 0], [0, 0, 20]]])
def test_a_face_lands_where_it_was_cut_out(transform):
    """A gradient in the frame, seen through the transform, comes back to its place."""
    y, x = np.indices((150, 180)) + 0.5
    frame = np.stack([x, y, 0 * x], -1)
    places = np.indices((SIZE, SIZE))[::-1].reshape(2, -1) + 0.5
    linear, shift = transform[:, :2].astype(float), transform[:, 2:].astype(float)
    x, y = np.linalg.solve(linear, places - shift).reshape(2, SIZE, SIZE)
    seen = np.stack([x, y, 0 * x], -1)
    assert seen.min() >= 0 and seen.max() < 180
    result = blend(
        np.zeros((150, 180, 3), np.uint8), seen / 255, make_disc(20).astype(float), transform, "alpha"
    )
    inner = blend(
        np.zeros((150, 180, 3), np.uint8), np.ones_like(seen), make_disc(17).astype(float), transform, "alpha"
    )
    whole = inner[..., 0] == 255
    assert whole.sum() > 60
    assert np.abs(result.astype(float) - frame)[whole].max() < 1.1


def test_a_constant_offset_vanishes_under_poisson():
    frame = make_frame()
    face = cut(frame) + np.array([0.2, -0.05, 0.1])
    mask = make_disc().astype(np.float32)
    assert np.abs(blend(frame, face, mask, UNTURNED, "poisson").astype(int) - frame).max() <= 1
    assert np.abs(blend(frame, face, mask, UNTURNED, "alpha").astype(int) - frame).max() >= 50


def test_poisson_meets_the_frame_and_keeps_gradients():
    """On a frame that is plain the face keeps its differences, and its edge has the frame's colour."""
    frame = np.full((150, 180, 3), 100, np.uint8)
    y, x = np.indices((SIZE, SIZE)) + 0.5
    bump = np.exp(-(((x - 32) / 6) ** 2) - ((y - 32) / 6) ** 2)[..., None].repeat(3, 2)
    disc = make_disc(22)
    result = blend(frame, 0.7 + 0.2 * bump, disc.astype(np.float32), UNTURNED, "poisson")[40:104, 60:124]
    edge = disc & ~make_disc(20)
    assert np.abs(result[edge].astype(int) - 100).max() <= 1
    assert np.abs(result - (100 + 51 * bump))[disc].max() <= 1.5


def solve_directly(values, unknown):
    """Solve Laplace's equation by a dense system, pixel by pixel."""
    places = np.argwhere(unknown)
    number = {tuple(place): index for index, place in enumerate(places)}
    matrix, right = np.zeros((len(places), len(places))), np.zeros((len(places), values.shape[2]))
    for (y, x), index in number.items():
        for there in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if not (0 <= there[0] < unknown.shape[0] and 0 <= there[1] < unknown.shape[1]):
                continue
            matrix[index, index] += 1
            if there in number:
                matrix[index, number[there]] -= 1
            else:
                right[index] += values[there]
    filled = values.copy()
    filled[unknown] = np.linalg.solve(matrix, right)
    return filled


@pytest.mark.parametrize("size", [(20, 24), (61, 70)])
def test_the_filling_is_the_solution_of_laplace(size):
    rng = np.random.default_rng(1)
    y, x = np.indices(size)
    values = np.stack([40 * np.sin(x / 9) + 3 * y, 100 * (x > size[1] / 2)], -1) + rng.normal(
        0, 4, (*size, 2)
    )
    unknown = np.hypot((x - size[1] / 2) / size[1], (y - size[0] / 2) / size[0]) < 0.4
    unknown |= (x < 9) & (y < 9)  # reaches the border, which lets nothing through
    found, truth = fill_smoothly(values, unknown), solve_directly(values, unknown)
    assert np.array_equal(found[~unknown], values[~unknown].astype(np.float32))
    assert np.abs(found - truth).max() < (1e-3 if max(size) <= 24 else 0.015 * np.ptp(values[~unknown]))
    assert np.abs(found - truth)[unknown].mean() < 0.006 * np.ptp(values[~unknown])


def test_a_linear_function_is_harmonic_at_any_size():
    y, x = np.indices((300, 280))
    plane = (0.3 * x + 0.5 * y)[..., None]
    unknown = make_disc(130, 300)[:, 10:290]
    hidden = np.where(unknown[..., None], -1e6, plane)
    assert np.abs(fill_smoothly(hidden, unknown) - plane).max() < 0.01 * np.ptp(plane)


def test_masks_by_value():
    disc, learned = make_disc(24), np.full((SIZE, SIZE), 0.5)
    masks = {choice: choose_mask(choice, learned, disc) for choice in MASK_CHOICES}
    for choice, mask in masks.items():
        assert mask.dtype == np.float32 and mask.shape == disc.shape
        assert not mask[[0, -1]].any() and not mask[:, [0, -1]].any(), choice
        assert mask[32, 32] == (0.5 if choice == "learned" else 1)
    assert np.array_equal(masks["hull"] > 0, disc)
    assert np.array_equal(masks["feathered"] > 0, disc)
    assert (masks["eroded"] <= masks["hull"]).all() and (masks["feathered"] <= masks["hull"]).all()
    side = np.sqrt(disc.sum())
    for choice, (outer, inner) in (("eroded", (0.04, 0.07)), ("feathered", (0.0, 0.14))):
        radii = [np.sqrt(part.sum() / np.pi) for part in (masks[choice] > 0, masks[choice] == 1)]
        expected = [24 - share * side for share in (outer, inner)]
        assert np.abs(np.subtract(radii, expected)).max() < 1, choice
    assert not choose_mask("feathered", learned, np.zeros_like(disc)).any()


@pytest.mark.parametrize("method", BLENDS)
def test_a_face_that_leaves_the_frame(method):
    frame = make_frame(60, 60)
    for shift in ((-30, -30), (20, 25), (500, 0)):
        transform = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], float)
        result = blend(
            frame, np.full((SIZE, SIZE, 3), 0.9), make_disc().astype(np.float32), transform, method
        )
        assert result.shape == frame.shape
        assert (result != frame).any() == (shift[0] < 100)


def test_what_cannot_be_done():
    frame, face, mask = make_frame(), np.zeros((SIZE, SIZE, 3)), np.ones((SIZE, SIZE))
    with pytest.raises(InputError, match="alpha or poisson, not by 'seamless'"):
        blend(frame, face, mask, UNTURNED, "seamless")
    with pytest.raises(InputError, match="cannot be inverted"):
        blend(frame, face, mask, np.zeros((2, 3)), "alpha")
    with pytest.raises(InputError, match="learned, hull, eroded, feathered, not 'oval'"):
        choose_mask("oval", mask, mask > 0)
