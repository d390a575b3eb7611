import numpy as np
import pytest
from golden_data import GOLDEN
from PIL import Image

from fomm.face import Face
from fomm.face.search import find_faces, keep_best_answers, tile_corners


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((100, 100), []),
        ((100, 120), []),
        ((100, 150), [(0, 0), (50, 0)]),
        ((90, 160), [(0, 0), (35, 0), (70, 0)]),
        ((160, 90), [(0, 0), (0, 35), (0, 70)]),
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
