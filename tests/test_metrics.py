import numpy as np
import pytest

from fomm.evaluation import metrics
from fomm.evaluation.metrics import Box


def turn(axis, degrees):
    """Right-handed rotation about an axis of the picture: x right, y down, z away."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    first, second = [(1, 2), (2, 0), (0, 1)]["xyz".index(axis)]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = cos
    matrix[first, second], matrix[second, first] = -sin, sin
    return matrix


def mesh_of(rotation, scale=1.0, shift=(0.0, 0.0, 0.0)):
    """A mesh whose still points are the face at rest, moved; the other points are nowhere."""
    points = np.zeros((468, 3))
    points[metrics._STILL] = scale * metrics._REST @ rotation.T + shift
    return points


def test_face_box_by_hand():
    points = np.array([[10.0, 20.0], [30.0, 60.0], [20.0, 30.0]])  # 20 wide, 40 high
    assert metrics.face_box(points, (100, 100), margin=0.0) == (10, 20, 30, 60)
    assert metrics.face_box(points, (100, 100), margin=0.25) == (5, 10, 35, 70)
    assert metrics.face_box(points + 0.5, (100, 100), margin=0.25) == (
        5,
        10,
        36,
        71,
    )  # outwards to whole pixels
    assert metrics.face_box(points, (64, 32), margin=0.25) == (5, 10, 32, 64)  # cut at the border
    assert metrics.face_box(points - 200, (64, 32)) == (0, 0, 1, 1)  # never empty
    assert metrics.face_box(points + 200, (64, 32)) == (31, 63, 32, 64)


def test_l1_by_hand():
    one = np.zeros((4, 4, 3), np.float32)
    other = one.copy()
    other[1, 2] = 0.6
    assert metrics.l1(one, other) == pytest.approx(0.6 / 16)
    assert metrics.l1(one, other, Box(2, 0, 4, 2)) == pytest.approx(
        0.6 / 4
    )  # columns 2 and 3 of rows 0 and 1
    assert metrics.l1(one, other, Box(0, 1, 2, 4)) == 0


def test_correlation_by_hand():
    one = np.array([0.0, 1.0, 2.0, 3.0])
    assert metrics.correlation(one, 5 - 2 * one) == pytest.approx(-1)
    # Deviations (-1.5, -.5, .5, 1.5) and (-.5, .5, -.5, .5): 1 / sqrt(5 * 1).
    assert metrics.correlation(one, np.array([0.0, 1.0, 0.0, 1.0])) == pytest.approx(1 / np.sqrt(5))
    noise = np.random.default_rng(0).normal(size=(2, 50))
    assert metrics.correlation(*noise) == pytest.approx(np.corrcoef(noise)[0, 1])


def test_correlation_leaves_out_what_was_not_seen():
    nan = float("nan")
    one = np.array([0.0, nan, 1.0, 2.0, 9.0])
    other = np.array([0.0, 50.0, 2.0, 4.0, nan])
    assert metrics.correlation(one, other) == pytest.approx(1)
    assert np.isnan(metrics.correlation(one[:3], other[:3]))  # two moments are left


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_a_constant_series_has_no_correlation(value):
    assert np.isnan(metrics.correlation(np.full(7, value), np.arange(7.0)))
    assert np.isnan(metrics.correlation(np.arange(7.0), np.full(7, value)))


def test_noise_of_single_precision_is_constant():
    noise = np.random.default_rng(0).normal(size=50)
    assert np.isnan(metrics.correlation(30 + 1e-4 * noise, noise))
    assert metrics.correlation(30 + 1e-2 * noise, noise) == pytest.approx(1)


def test_centred():
    np.testing.assert_array_equal(metrics.centred(np.array([1.0, np.nan, 3.0])), [-1, np.nan, 1])
    assert np.isnan(metrics.centred(np.full(3, np.nan))).all()


def test_rotation_between_undoes_scale_and_shift():
    rest = np.random.default_rng(1).normal(size=(7, 3))
    rotation = turn("y", 33) @ turn("x", -12) @ turn("z", 140)
    moved = np.stack([2.5 * rest @ rotation.T + [1, 2, 3], rest])
    np.testing.assert_allclose(metrics.rotation_between(rest, moved), [rotation, np.eye(3)], atol=1e-12)


def test_rotation_between_never_mirrors():
    rest = np.random.default_rng(2).normal(size=(7, 3))
    mirrored = metrics.rotation_between(rest, rest * [-1, 1, 1])
    assert np.linalg.det(mirrored) == pytest.approx(1)


@pytest.mark.parametrize(
    ("rotation", "expected", "nose"),
    [
        (turn("y", -30), (30, 0, 0), (0.5, 0, -(0.75**0.5))),  # the nose goes right
        (turn("x", 30), (0, 30, 0), (0, 0.5, -(0.75**0.5))),  # the nose goes down
        (turn("z", 30), (0, 0, 30), (0, 0, -1)),  # the top of the head goes right
        (turn("y", -40) @ turn("x", 10) @ turn("z", -20), (40, 10, -20), None),
    ],
)
def test_angles_and_their_signs(rotation, expected, nose):
    np.testing.assert_allclose(metrics.angles_of(rotation), expected, atol=1e-9)
    np.testing.assert_allclose(metrics.head_pose(mesh_of(rotation, 3.7, (80, 90, 5))), expected, atol=1e-6)
    if nose is not None:
        np.testing.assert_allclose(rotation @ [0, 0, -1], nose, atol=1e-9)


def test_roll_leans_the_top_to_the_right():
    top = turn("z", 30) @ [0, -1, 0]
    np.testing.assert_allclose(top, [0.5, -(0.75**0.5), 0], atol=1e-9)


def test_head_pose_of_many_and_of_none():
    meshes = np.stack([mesh_of(turn("y", -25)), np.full((468, 3), np.nan)])[None]  # 1x2x468x3
    np.testing.assert_allclose(metrics.head_pose(meshes), [[[25, 0, 0], [np.nan] * 3]], atol=1e-6)


def test_the_face_at_rest_is_symmetric():
    rest = {number: place for number, place in zip(metrics._STILL.tolist(), metrics._REST, strict=True)}
    assert len(rest) == 40
    np.testing.assert_array_equal(rest[263], rest[33] * [-1, 1, 1])
    assert rest[263][0] - rest[33][0] == 100


def test_mouth_and_eyes_by_hand():
    points = np.zeros((468, 3))
    points[33], points[133] = (0, 0, 0), (4, 0, 3)  # an eye 5 wide, seen from the side
    points[362], points[263] = (10, 0, 0), (20, 0, 0)  # an eye 10 wide
    for above, below in ((159, 145), (158, 153), (160, 144)):
        points[above], points[below] = (2, 0, 0), (2, 1, 0)  # open by 1: 0.2
    for above, below in ((386, 374), (385, 380), (387, 373)):
        points[above], points[below] = (15, 0, 0), (15, 4, 0)  # open by 4: 0.4
    for gap, (above, below) in enumerate(((13, 14), (81, 178), (311, 402)), start=1):
        points[above], points[below] = (10, 20, 0), (10, 20 + gap, 0)  # 1, 2 and 3: 2 on average
    assert metrics.mouth_opening(points) == pytest.approx(2 / 20)
    assert metrics.eye_opening(points) == pytest.approx(0.3)
    np.testing.assert_allclose(metrics.mouth_opening(np.stack([points, points * 7])), [0.1, 0.1])
    np.testing.assert_allclose(metrics.eye_opening(np.stack([points, points * 7])), [0.3, 0.3])


def test_sharpness_by_hand():
    image = np.zeros((5, 4, 3))
    image[2, 1] = 1  # luma 1: the Laplacian of the 3x2 inner pixels is 1 1, -4 1 -> rows (1 0), (-4 1), (1 0)
    assert metrics.sharpness(image) == pytest.approx(np.var([1, 0, -4, 1, 1, 0]))
    assert metrics.sharpness(image, Box(0, 0, 4, 3)) == pytest.approx(np.var([1, 0]))
    assert metrics.sharpness(image, Box(0, 0, 2, 2)) == 0
    green = np.zeros((5, 4, 3))
    green[2, 1, 1] = 1
    assert metrics.sharpness(green) == pytest.approx(0.587**2 * metrics.sharpness(image))


def test_a_blurred_picture_is_less_sharp():
    image = np.random.default_rng(3).random((20, 20, 3))
    blurred = (image + np.roll(image, 1, 0) + np.roll(image, 1, 1)) / 3
    assert metrics.sharpness(blurred) < 0.5 * metrics.sharpness(image)
