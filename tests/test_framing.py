import warnings

import numpy as np
import pytest
from golden_data import GOLDEN
from PIL import Image

from fomm.animation.framing import find_driver, follow, main_face, photo_squares
from fomm.animation.presence import Presence
from fomm.bundled import bundled
from fomm.errors import InputError
from fomm.face import Face
from fomm.face.crop import Rect, enlarged_square, iou, published_box, published_square
from fomm.face.detector import detect_faces
from fomm.media import VideoReader, save_video
from fomm.media.images import read_image
from fomm.media.resize import cut_out

pytestmark = pytest.mark.smoke


def head(number: int, size: int) -> Image.Image:
    return Image.open(GOLDEN / "face" / f"head{number}.jpg").resize((size, size))


def backdrop(size: tuple[int, int], *heads: tuple[Image.Image, int, int]) -> np.ndarray:
    """Return a grey picture of ``size`` (width, height) with heads at their corners (x, y)."""
    picture = Image.new("RGB", size, (90, 90, 90))
    for item, x, y in heads:
        picture.paste(item, (x, y))
    return np.asarray(picture)


GROUP = backdrop((900, 400), (head(0, 200), 20, 100), (head(1, 300), 260, 50), (head(2, 200), 640, 150))


def test_the_largest_face_or_one_by_its_number_or_all():
    every = photo_squares(GROUP, "auto", "all", "group.png", 64)
    assert len(every) == 3 and [round(square.x0) for square in every] == sorted(round(s.x0) for s in every)
    for square, (left, right) in zip(every, ((20, 220), (260, 560), (640, 840)), strict=True):
        assert left < (square.x0 + square.x1) / 2 < right
        assert square.width == pytest.approx(square.height)
    assert photo_squares(GROUP, "auto", None, "group.png", 64) == [every[1]]
    assert photo_squares(GROUP, "auto", 2, "group.png", 64) == [every[2]]


def test_what_cannot_be_cropped_is_said():
    with pytest.raises(InputError, match=r"group\.png: there is no face 3; 3 were found"):
        photo_squares(GROUP, "auto", 3, "group.png", 64)
    empty = np.zeros((50, 80, 3), np.uint8)
    with pytest.raises(InputError, match=r"wall\.png: no face was found; .*--crop none"):
        photo_squares(empty, "auto", None, "wall.png", 64)
    with pytest.raises(InputError, match=r"wall\.png is 80x50 pixels; the part 80,0,5,5"):
        photo_squares(empty, (80, 0, 5, 5), None, "wall.png", 64)
    with pytest.raises(InputError, match=r"the part 0,0,60000,60000 .* has more than \d+ pixels"):
        photo_squares(empty, (0, 0, 60000, 60000), None, "wall.png", 64)
    with pytest.warns(UserWarning, match=r"group\.png: the head is \d+ pixels wide, less than the 512"):
        photo_squares(GROUP, "auto", 0, "group.png", 512)
    assert photo_squares(empty, "none", None, "wall.png", 64) == [Rect(0, 0, 80, 50)]
    assert photo_squares(empty, (10, -5, 30, 20), None, "wall.png", 64) == [Rect(10, -5, 40, 15)]


def test_a_photo_that_was_prepared_for_the_networks_is_not_called_small():
    """Only where a larger one would show more of the head than the networks have seen of others."""

    def said(picture: np.ndarray, size: int) -> int:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            (square,) = photo_squares(picture, "auto", None, "photo.png", size)
        assert square.width < size, "else nobody would warn"
        return len(caught)

    astronaut = read_image(bundled("examples", "astronaut.png"))  # 256x256, most of it a head
    assert said(astronaut, 256) == 0
    assert said(np.pad(astronaut, ((0, 0), (0, 100), (0, 0))), 256) == 1  # cut out of a larger one, perhaps
    assert said(np.asarray(Image.fromarray(astronaut).resize((110, 110))), 256) == 1
    assert said(backdrop((256, 256), (head(0, 100), 80, 80)), 256) == 1


def test_a_part_beyond_the_border_is_mirrored():
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[..., 0] = np.arange(6) * 10
    part = cut_out(picture, Rect(-2, 0, 2, 4), (4, 4))
    assert part[0, :, 0].tolist() == [10, 0, 0, 10]
    part = cut_out(picture, Rect(4, 0, 8, 4), (4, 4))
    assert part[0, :, 0].tolist() == [40, 50, 50, 40]
    assert np.array_equal(cut_out(picture, Rect(1, 0, 5, 4), (4, 4)), picture[:, 1:5])


def test_fine_stripes_become_grey_where_they_are_made_small():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    small = cut_out(stripes, Rect(0, 0, 64, 64), (16, 16)).astype(int)
    assert abs(small[4:12, 4:12] - 100).max() <= 3


def test_crops_agree_with_the_published_recipe_on_the_original_detector(many_faces):
    """Portraits and 60 heads: the recipe on MediaPipe's boxes, raised as ours are, against our squares."""
    pictures, golden = many_faces
    overlaps = []
    for number, picture in enumerate(pictures):
        size = picture.shape[:2]
        box = golden["boxes"][golden["picture"] == number][0]
        original = Face(box, 1.0, np.zeros((6, 2), np.float32))
        wanted = published_square(published_box(original), size)
        ours = published_square(published_box(detect_faces(picture)[0]), size)
        overlaps.append(iou(wanted, ours))
    assert len(overlaps) == 62
    assert min(overlaps) > 0.99, f"picture {np.argmin(overlaps)}: {min(overlaps):.3f}"


def test_a_video_has_one_square_around_all_places_of_the_face(tmp_path):
    frames = [backdrop((320, 240), (head(0, 160), 60 + 2 * t, 40)) for t in range(12)]
    save_video(tmp_path / "talk.mp4", frames, 25)
    (square,) = find_driver(VideoReader(tmp_path / "talk.mp4"), "auto").squares
    assert square.width == pytest.approx(square.height)
    for frame in (frames[0], frames[9]):
        face = published_box(detect_faces(frame)[0])
        assert square.x0 <= face.x0 + 2 and square.x1 >= face.x1 - 2
    with pytest.raises(
        InputError, match=r"wall\.mp4: no face was found in any of its 3 frames; .*--crop-driving none"
    ):
        save_video(tmp_path / "wall.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 3, 25)
        find_driver(VideoReader(tmp_path / "wall.mp4"), "auto")
    small = [backdrop((320, 240), (head(0, 56), 100 + 2 * t, 40)) for t in range(4)]
    save_video(tmp_path / "far.mp4", small, 25)
    with pytest.warns(UserWarning, match=r"far\.mp4: the head is \d\d pixels wide, less than the 64"):
        find_driver(VideoReader(tmp_path / "far.mp4"), "auto")
    assert find_driver(VideoReader(tmp_path / "wall.mp4"), "none").squares == [Rect(0, 0, 64, 64)]
    assert find_driver(VideoReader(tmp_path / "wall.mp4"), (8, 8, 32, 32)).squares == [Rect(8, 8, 40, 40)]


def test_where_the_face_is_missing_is_told(tmp_path):
    wall, talk = backdrop((320, 240)), backdrop((320, 240), (head(0, 160), 80, 40))
    save_video(tmp_path / "gone.mp4", [talk] * 12 + [wall] * 18 + [talk] * 6, 12)
    words = r"gone\.mp4: no face in 18 of 36 frames \(1\.0 to 2\.5 s\); nothing is followed there"
    with pytest.warns(UserWarning, match=words):
        part = find_driver(VideoReader(tmp_path / "gone.mp4"), "auto")
    assert part.squares[0].width > 100
    assert part.presence == Presence(((12, 30),), 12.0)
    save_video(tmp_path / "street.mp4", [talk] + [wall] * 71, 12)
    with pytest.raises(
        InputError, match=r"street\.mp4: a face was found in only 1 of the 24 frames .*--crop-driving none"
    ):
        find_driver(VideoReader(tmp_path / "street.mp4"), "auto")


def test_a_face_that_comes_back_elsewhere_is_seen(tmp_path):
    """Its boxes do not overlap, so that it counts as another person; the photo must not rest for that."""
    left, right = (backdrop((640, 240), (head(0, 160), x, 40)) for x in (20, 440))
    save_video(tmp_path / "jump.mp4", [left] * 24 + [right] * 12, 12)
    presence = find_driver(VideoReader(tmp_path / "jump.mp4"), "auto").presence
    assert presence == Presence((), 12.0)


def test_a_face_that_wanders_is_followed(tmp_path):
    frames = [backdrop((640, 200), (head(0, 140), 14 * t, 30)) for t in range(36)]
    save_video(tmp_path / "walk.mp4", frames, 25)
    squares = find_driver(VideoReader(tmp_path / "walk.mp4"), "auto").squares
    assert len(squares) == 36 and len({round(square.width) for square in squares}) == 1
    steps = np.diff([square.x0 for square in squares])
    assert (steps >= 0).all() and steps.max() < 20  # forwards, and never with a jump


def test_the_path_is_smooth_and_keeps_still_what_stands_still():
    track = {0: Rect(0, 0, 10, 10), 30: Rect(0, 0, 10, 10)}
    path = np.array(follow(track, 31, 25, 20))
    assert path.shape == (31, 4) and np.allclose(path, (-5, -5, 15, 15))


def test_the_driver_is_the_face_that_fills_most_and_stays_the_driver():
    def face(x0, x1):
        return Face(np.float32([x0, 0, x1, x1 - x0]), 1.0, np.zeros((6, 2), np.float32))

    # for a moment another one is larger
    found = [
        (0, [face(0, 10), face(50, 80)]),
        (3, [face(52, 82), face(0, 40)]),
        (6, []),
        (9, [face(0, 10), face(54, 84)]),
    ]
    track = main_face(found)
    assert [(number, face.box[0]) for number, face in track.items()] == [(0, 50), (3, 52), (9, 54)]
    assert enlarged_square(published_box(track[0])).width > 30


def test_who_passes_by_at_first_is_not_the_driver():
    def face(x0, x1):
        return Face(np.float32([x0, 0, x1, x1 - x0]), 1.0, np.zeros((6, 2), np.float32))

    found = [(0, [face(200, 280)]), *((3 * t, [face(10 + t, 60 + t)]) for t in range(1, 9))]
    assert list(main_face(found)) == list(range(3, 27, 3))
    assert main_face([(0, []), (3, [])]) == {}
