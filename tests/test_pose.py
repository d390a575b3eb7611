import numpy as np
import pytest

from fomm.face import pose


def turn(axis, degrees):
    """Right-handed rotation about an axis of the picture: x right, y down, z away."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    first, second = [(1, 2), (2, 0), (0, 1)]["xyz".index(axis)]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = cos
    matrix[first, second], matrix[second, first] = -sin, sin
    return matrix


def mesh_of(rotation, scale=1.0, shift=(0.0, 0.0, 0.0)):
    """Return a mesh whose still points are the face at rest, moved; the other points are all 0."""
    points = np.zeros((478, 3))
    points[pose.STILL_POINTS] = scale * pose.FACE_AT_REST @ rotation.T + shift
    return points


def test_the_fitted_rotation_undoes_scale_and_shift():
    rest = np.random.default_rng(1).normal(size=(7, 3))
    rotation = turn("y", 33) @ turn("x", -12) @ turn("z", 140)
    moved = np.stack([2.5 * rest @ rotation.T + [1, 2, 3], rest])
    np.testing.assert_allclose(pose.fit_rotation(rest, moved), [rotation, np.eye(3)], atol=1e-12)


def test_the_fitted_rotation_never_mirrors():
    rest = np.random.default_rng(2).normal(size=(7, 3))
    mirrored = pose.fit_rotation(rest, rest * [-1, 1, 1])
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
    np.testing.assert_allclose(pose.euler_angles(rotation), expected, atol=1e-9)
    np.testing.assert_allclose(pose.head_pose(mesh_of(rotation, 3.7, (80, 90, 5))), expected, atol=1e-6)
    if nose is not None:
        np.testing.assert_allclose(rotation @ [0, 0, -1], nose, atol=1e-9)


def test_roll_leans_the_top_to_the_right():
    top = turn("z", 30) @ [0, -1, 0]
    np.testing.assert_allclose(top, [0.5, -(0.75**0.5), 0], atol=1e-9)


def test_head_pose_of_many_and_of_none():
    meshes = np.stack([mesh_of(turn("y", -25)), np.full((478, 3), np.nan)])[None]  # 1x2x478x3
    np.testing.assert_allclose(pose.head_pose(meshes), [[[25, 0, 0], [np.nan] * 3]], atol=1e-6)


def test_the_face_at_rest_is_symmetric():
    rest = dict(zip(pose.STILL_POINTS.tolist(), pose.FACE_AT_REST, strict=True))
    assert len(rest) == 40
    np.testing.assert_array_equal(rest[263], rest[33] * [-1, 1, 1])
    assert rest[263][0] - rest[33][0] == 100


def test_mouth_and_eyes_by_hand():
    points = np.zeros((478, 3))
    points[33], points[133] = (0, 0, 0), (4, 0, 3)  # an eye 5 wide, seen from the side
    points[362], points[263] = (10, 0, 0), (20, 0, 0)  # an eye 10 wide
    for above, below in ((159, 145), (158, 153), (160, 144)):
        points[above], points[below] = (2, 0, 0), (2, 1, 0)  # open by 1: 0.2
    for above, below in ((386, 374), (385, 380), (387, 373)):
        points[above], points[below] = (15, 0, 0), (15, 4, 0)  # open by 4: 0.4
    for gap, (above, below) in enumerate(((13, 14), (81, 178), (311, 402)), start=1):
        points[above], points[below] = (10, 20, 0), (10, 20 + gap, 0)  # 1, 2 and 3: 2 on average
    assert pose.mouth_opening(points) == pytest.approx(2 / 20)
    assert pose.eye_opening(points) == pytest.approx(0.3)
    np.testing.assert_allclose(pose.mouth_opening(np.stack([points, points * 7])), [0.1, 0.1])
    np.testing.assert_allclose(pose.eye_opening(np.stack([points, points * 7])), [0.3, 0.3])


def test_sizes_by_hand():
    points = mesh_of(turn("y", 30), 2.0, (5, 6, 7))
    rest = pose.FACE_AT_REST - pose.FACE_AT_REST.mean(axis=0)
    assert pose.head_size(points) == pytest.approx(2 * np.sqrt(np.square(rest).sum() / 40))
    assert pose.eye_distance(points) == pytest.approx(200)
    points[33], points[133], points[362], points[263] = (0, 0, 0), (4, 0, 3), (10, 0, 0), (20, 0, 0)
    assert pose.eye_width(points) == pytest.approx(7.5)
    np.testing.assert_allclose(pose.eye_width(np.stack([points, 2 * points])), [7.5, 15])


@pytest.mark.parametrize("angle", [0, 25])
def test_gaze_by_hand(angle):
    points = np.zeros((478, 3))
    points[33], points[133], points[468] = (10, 50, 0), (30, 50, 0), (25, 48, 0)  # 5 of 20 right, 2 of 20 up
    points[362], points[263], points[473] = (60, 50, 0), (100, 50, 0), (82, 54, 0)  # 2 of 40 right, 4 down
    points = points @ turn("z", angle).T  # a head that leans looks as before
    np.testing.assert_allclose(pose.gaze(points), [(0.25 + 0.05) / 2, (-0.1 + 0.1) / 2], atol=1e-9)
    points[468] += turn("z", angle) @ (0, 4, 0)
    np.testing.assert_allclose(pose.gaze(np.stack([points, 3 * points])), [[0.15, 0.1]] * 2, atol=1e-9)
    points[468] = np.nan
    assert np.isnan(pose.gaze(points)).all()


def test_ibug_points_are_the_faces_68():
    points = np.arange(478.0)[None, :, None] * [1, 1, 1]
    chosen = pose.ibug_points(points)
    assert chosen.shape == (1, 68, 3)
    assert chosen[0, 8, 0] == 152 and chosen[0, 36, 0] == 33 and chosen[0, 45, 0] == 263  # chin, eye corners
    assert len(set(pose.IBUG_POINTS)) == 68


@pytest.mark.slow
def test_the_68_points_lie_on_rendered_landmarks():
    """Within 2 pixels of 128 on average: the schemes place the jaw and the brows a little differently."""
    from fomm.evaluation.faces import track_face
    from fomm.evaluation.metrics import face_box, point_distance
    from fomm.heads.dataset import render_clip

    for person in range(3):
        clip = render_clip(7, person, 0, 6, 128, step=3)
        boxes = [face_box(points, (128, 128)) for points in clip.landmarks]
        error = np.nanmean(point_distance(track_face(clip.frames, boxes).landmarks, clip.landmarks))
        assert error < 2, f"person {person}: {error:.2f} pixels"
