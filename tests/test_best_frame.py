import numpy as np
import pytest
from golden_data import GOLDEN
from PIL import Image

from fomm.animation.best_frame import find_best_frame, normalize
from fomm.errors import InputError

WALL = np.full((128, 128, 3), 90, np.uint8)


def test_size_and_place_do_not_matter():
    square = np.array([[0, 0], [2, 0], [2, 2], [0, 2], [1, 1]], float)
    shape = normalize(square)
    assert np.allclose(shape[0], [-0.5, -0.5])  # a square of area 1 around the middle
    assert np.allclose(normalize(5 * square + [7, -3]), shape)


def test_the_frame_that_shows_the_same_is_the_best(portraits):
    """Among other heads the source itself, smaller and elsewhere."""
    source = portraits[0]
    heads = [np.asarray(Image.open(GOLDEN / "face" / f"head{number}.jpg")) for number in range(3)]
    same = np.full((300, 400, 3), 90, np.uint8)
    same[40:240, 150:350] = np.asarray(Image.fromarray(source).resize((200, 200)))
    assert find_best_frame(source, [heads[0], WALL, heads[1], same, heads[2]]) == 3


def test_without_a_face_it_is_said(portraits):
    source = portraits[0]
    with pytest.raises(InputError, match=r"in any of the 2 frames of talk\.mp4"):
        find_best_frame(source, [WALL, WALL], name="talk.mp4")
    with pytest.raises(InputError, match="no face was found in the part of the photo"):
        find_best_frame(WALL, [source])
