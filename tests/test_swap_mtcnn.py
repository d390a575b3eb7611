"""MTCNN finds what the original code finds."""

from pathlib import Path

import numpy as np
import pytest

from fomm.bundled import bundled
from fomm.errors import InputError
from fomm.face import Face
from fomm.face.crop import Rect, iou
from fomm.media import read_image
from fomm.swap.detectors import face_from_five, face_from_square, find_faces_by
from fomm.swap.mtcnn import detect_by_mtcnn, pyramid_scales, regress, square, suppress

GOLDEN = Path(__file__).parent / "golden" / "face" / "mtcnn.npz"


@pytest.mark.parametrize("name", ["astronaut.png", "grace_hopper.jpg", "group.jpg"])
def test_faces_are_those_of_the_original(name):
    """Its boxes are first and last pixel, counted from 1; ours are edges, and 0 is the picture's border."""
    with np.load(GOLDEN) as golden:
        boxes, points = golden[f"{name}.boxes"], golden[f"{name}.points"]
    order = np.argsort(-boxes[:, 4], kind="stable")
    found = detect_by_mtcnn(read_image(bundled("examples", name)))
    assert len(found) == len(boxes)
    ours = np.stack([face.box for face in found]) + np.array([1, 1, 0, 0])
    assert np.abs(ours - boxes[order, :4]).max() < 0.05, "pixels"
    assert np.abs([face.score for face in found] - boxes[order, 4]).max() < 1e-4
    assert np.abs(np.stack([face.points for face in found]) - points[order]).max() < 0.05, "pixels"


def test_no_faces():
    assert detect_by_mtcnn(np.full((100, 80, 3), 127, np.uint8)) == []
    assert detect_by_mtcnn(np.zeros((5, 5, 3), np.uint8)) == []
    with pytest.raises(InputError):
        detect_by_mtcnn(np.zeros((5, 5), np.uint8))


def test_pyramid_by_hand():
    assert pyramid_scales((39, 60), 20) == pytest.approx([0.6, 0.6 * 0.709])
    assert pyramid_scales((19, 60), 20) == []


def test_boxes_by_hand():
    box = np.array([[10.0, 20, 29, 59]])  # pixels 10 to 29 and 20 to 59: 20 wide and 40 high
    assert regress(box, np.array([[0.1, -0.1, 0.5, 0]])).tolist() == [[12, 16, 39, 59]]
    assert square(np.array([[0.0, 0, 10, 30]])).tolist() == [[-10, 0, 20, 30]]
    boxes = np.array([[0.0, 0, 10, 10], [0, 0, 10, 6], [2, 2, 6, 6], [20, 20, 30, 30]])
    scores = np.array([0.5, 0.9, 0.8, 0.7])
    # 1 is the best: it shares 60 of 100 with 0; of 2, whose area is 16, it holds all: 16 of 60 joined.
    assert list(suppress(boxes, scores, 0.5)) == [1, 2, 3]
    assert list(suppress(boxes, scores, 0.7)) == [1, 2, 3, 0]
    assert list(suppress(boxes, scores, 0.7, of_smaller=True)) == [1, 3]


@pytest.mark.parametrize("name", ["astronaut.png", "grace_hopper.jpg"])
def test_what_the_mesh_starts_from_is_where_blazeface_finds_it(name):
    picture = read_image(bundled("examples", name))
    (ours,), (expected,) = find_faces_by("mtcnn", [picture])[0], find_faces_by("blazeface", [picture])[0]
    assert iou(Rect(*ours.box), Rect(*expected.box)) > 0.7
    assert np.abs(ours.points[:2] - expected.points[:2]).max() < 0.08 * np.ptp(expected.box[::2])


def test_a_face_from_five_points_and_from_a_square():
    """Five points where they lie in BlazeFace's box, 100 pixels wide and from (200, 300) on."""
    places = np.array([[0.29, 0.265], [0.71, 0.265], [0.5, 0.508], [0.325, 0.72], [0.675, 0.72]])
    face = face_from_five(places * 100 + [200, 300], 0.9)
    assert face.box == pytest.approx(np.array([200, 300, 300, 400]), abs=1e-3)
    assert face.points[:3] == pytest.approx(places[:3] * 100 + [200, 300])
    square_face = face_from_square(0, 0, 100)
    assert square_face.box == pytest.approx([6.5, 16.5, 93.5, 103.5])
    assert isinstance(square_face, Face) and square_face.points.shape == (6, 2)
    assert face_from_five(np.zeros((5, 2)), 0.9).score == 0, "five points in one place are no face"
