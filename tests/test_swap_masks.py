"""Masks of a face and its parts: where they lie on the mean face, and values by hand."""

import numpy as np
import pytest

from fomm.bundled import bundled
from fomm.errors import InputError
from fomm.face import detect_faces, face_mesh
from fomm.face.mesh import FACE_POINTS
from fomm.media import read_image
from fomm.swap.align import fit_similarity, move_points
from fomm.swap.faces import MASKS
from fomm.swap.masks import FOREHEAD, draw_masks, find_hull, lift_forehead

SIZE = 128


@pytest.fixture(scope="module", params=["astronaut.png", "grace_hopper.jpg"])
def points(request):
    """Return the points of a portrait's face in an aligned picture of 128 pixels."""
    picture = read_image(bundled("examples", request.param))
    (face,) = detect_faces(picture)
    found = face_mesh(picture, face).points[:, :2]
    return move_points(found, fit_similarity(found, SIZE))


def part(masks: np.ndarray, name: str) -> np.ndarray:
    return masks[..., MASKS.index(name)]


def test_points_of_a_part_lie_in_it_and_others_do_not(points):
    masks = draw_masks(points, SIZE)
    assert masks.shape == (SIZE, SIZE, len(MASKS)) and masks.dtype == bool

    def holds(name: str, number: int) -> bool:
        x, y = np.floor(points[number]).astype(int)
        return bool(part(masks, name)[y, x])

    inside = {"face": [4, 10, 50, 280, 468, 473], "eyes": [468, 473], "nose": [4, 5], "lips": [13, 14]}
    for name, numbers in inside.items():
        assert all(holds(name, number) for number in numbers), name
    for name, numbers in {"eyes": [4, 13, 105], "nose": [468, 13], "lips": [4, 468, 152]}.items():
        assert not any(holds(name, number) for number in numbers), name
    assert holds("brows", 105) or holds("brows", 52) or holds("brows", 65)
    assert not part(masks, "face")[[0, 0, -1, -1], [0, -1, 0, -1]].any(), "corners are background"
    for name in MASKS[1:]:
        assert not (part(masks, name) & ~part(masks, "face")).any(), f"{name} lie in the face"


def test_parts_have_the_size_of_their_outlines(points):
    """A mask has as many pixels as its outline has area, to within half a pixel along its edge."""
    masks = draw_masks(points, SIZE)
    hull = find_hull(lift_forehead(points[:FACE_POINTS].astype(float)))
    x, y = hull.T
    area = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    edge = np.linalg.norm(hull - np.roll(hull, -1, axis=0), axis=1).sum()
    assert abs(part(masks, "face").sum() - area) < edge / 2
    assert part(masks, "lips").sum() < part(masks, "face").sum() / 10
    assert 0 < part(masks, "eyes").sum() < part(masks, "lips").sum()


def test_the_forehead_is_lifted_to_the_hairline():
    """Chin at y = 100, eyes at 40, top at 0: e = 0.6. A point at 20 has h = 0.8: half the top's lift."""
    points = np.full((FACE_POINTS, 2), [3.0, 60.0])
    points[152], points[10], points[151] = (0, 100), (0, 0), (5, 20)
    points[[33, 263]] = [[-30, 40], [30, 40]]
    lifted = lift_forehead(points)
    assert lifted[10] == pytest.approx([0, -100 * FOREHEAD])
    assert lifted[151] == pytest.approx([5, 20 - 100 * FOREHEAD / 2])
    for number in (0, 33, 152, 263):
        assert lifted[number] == pytest.approx(points[number])
    with pytest.raises(InputError, match="lie in one point"):
        lift_forehead(np.zeros((FACE_POINTS, 2)))


def test_a_hull_by_hand():
    corners = np.array([[0.0, 0], [4, 0], [4, 4], [0, 4], [2, 2], [1, 3]])
    assert sorted(find_hull(corners).tolist()) == [[0, 0], [0, 4], [4, 0], [4, 4]]
    with pytest.raises(InputError, match="lie on one line"):
        find_hull(np.stack([np.arange(5.0), np.arange(5.0)], 1))


def test_points_beyond_the_picture_and_none(points):
    assert not draw_masks(points + 10 * SIZE, SIZE).any()
    half = draw_masks(points + np.array([SIZE / 2, 0]), SIZE)
    assert part(half, "face")[:, SIZE // 2 :].any() and not part(half, "face")[:, : SIZE // 4].any()
    for bad in (np.zeros((468, 2)), np.full((478, 2), np.nan)):
        with pytest.raises(InputError, match="478x2 finite numbers"):
            draw_masks(bad, SIZE)
