import numpy as np
import pytest
import skimage.data
from golden_data import GOLDEN
from PIL import Image

from fomm.face import Face, detect_faces, search
from fomm.face.search import find_faces, keep_best_answers, keep_confirmed, tile_corners


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((100, 100), []),
        ((100, 120), []),
        ((100, 150), [(0, 0), (50, 0)]),
        ((90, 160), [(0, 0), (35, 0), (70, 0)]),
        ((160, 90), [(0, 0), (0, 35), (0, 70)]),
        ((1, 4000), []),  # a line shows no face
        ((15, 40), []),
        ((40, 16), [(0, 0), (0, 8), (0, 16), (0, 24)]),
    ],
)
def test_tiles_cover_long_pictures(size, expected):
    assert tile_corners(size) == expected


def test_one_answer_for_each_face():
    def answer(x0, x1, score):
        return Face(np.float32([x0, 0, x1, 10]), score, np.zeros((6, 2), np.float32))

    faces = [answer(0, 10, 0.6), answer(2, 12, 0.9), answer(30, 40, 0.5), answer(4, 8, 0.8)]
    assert [face.score for face in keep_best_answers(faces)] == [0.9, 0.5]


def test_faces_of_a_wide_picture_from_left_to_right():
    head = [Image.open(GOLDEN / "face" / f"head{number}.jpg") for number in (0, 1)]
    picture = Image.new("RGB", (1600, 600), (60, 60, 60))
    picture.paste(head[1].resize((300, 300)), (1200, 200))
    picture.paste(head[0].resize((200, 200)), (100, 300))
    left, right = find_faces(np.asarray(picture))
    assert 100 < left.box[0] < left.box[2] < 300 and 1200 < right.box[0] < right.box[2] < 1500
    assert find_faces(np.zeros((100, 300, 3), np.uint8)) == []


def test_beside_a_large_face_small_ones_are_looked_for_only_if_wanted(monkeypatch):
    """What is found as the largest is the same; without a large one the tiles are searched in any case."""
    head = [Image.open(GOLDEN / "face" / f"head{number}.jpg") for number in (0, 1)]
    large = Image.new("RGB", (1280, 720), (60, 60, 60))
    large.paste(head[0].resize((660, 660)), (60, 30))
    large.paste(head[1].resize((300, 300)), (900, 300))
    small = Image.new("RGB", (1280, 720), (60, 60, 60))
    small.paste(head[1].resize((300, 300)), (900, 300))
    searched: list[int] = []
    cut = search._cut_tile
    monkeypatch.setattr(search, "_cut_tile", lambda *args: searched.append(1) or cut(*args))
    found = []
    for picture, largest, tiles in ((large, False, 3), (large, True, 0), (small, True, 3)):
        searched.clear()
        found.append(find_faces(np.asarray(picture), confirm=True, largest=largest))
        assert len(searched) == tiles
    assert [len(faces) for faces in found] == [2, 1, 1]
    # in a tile the same face is seen from nearer
    assert np.abs(found[0][0].box - found[1][0].box).max() < 0.1 * (found[1][0].box[2] - found[1][0].box[0])


@pytest.mark.parametrize(
    ("name", "top", "left"), [("rocket", 128, 256), ("rocket", 64, 256), ("coffee", 256, 320)]
)
def test_what_does_not_bear_a_second_look_is_no_face(name, top, left):
    """At first sight the detector takes a rocket and a spoon for faces, and so does the mesh network."""
    picture = getattr(skimage.data, name)()[top : top + 128, left : left + 128]
    found = detect_faces(picture)
    assert len(found) == 1
    assert keep_confirmed(picture, found) == []


@pytest.mark.parametrize("change", ["small", "dark", "cut"])
def test_a_face_that_is_hard_to_see_is_one(many_faces, change):
    """The detector is not sure of it at first sight, but a second look confirms it."""
    unsure = confirmed = 0
    for picture in many_faces[0]:
        if change == "small":
            picture = np.asarray(Image.fromarray(picture).resize((40, 40)).resize((256, 256)))
        elif change == "dark":
            picture = picture // 8 + 10
        else:
            picture = np.ascontiguousarray(picture[:, 110:])
        found = [face for face in detect_faces(picture)[:1] if face.score < 0.85]
        unsure += len(found)
        confirmed += len(keep_confirmed(picture, found))
    assert unsure >= 5 and confirmed > 0.85 * unsure, f"{confirmed} of {unsure}"
