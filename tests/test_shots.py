import numpy as np
import pytest
from golden_data import GOLDEN
from PIL import Image

from fomm.data.shots import CutFinder, find_shots
from fomm.media import save_video

pytestmark = pytest.mark.smoke


def head(number: int, size: int) -> np.ndarray:
    return np.asarray(Image.open(GOLDEN / "face" / f"head{number}.jpg").resize((size, size)))


def scene(size: tuple[int, int], *heads: tuple[np.ndarray, int, int], level: int = 60) -> np.ndarray:
    """Make a picture of one gray level with heads at their corners (x, y)."""
    frame = np.full((*size, 3), level, np.uint8)
    for picture, x, y in heads:
        frame[y : y + len(picture), x : x + len(picture)] = picture
    return frame


def cuts_in(frames) -> list[int]:
    finder = CutFinder()
    for frame in frames:
        finder.add(frame)
    return finder.find_cuts()


def stripes(offset: int, width: int = 64) -> np.ndarray:
    columns = (np.arange(128) + offset) // width % 2 * 200
    return np.tile(columns.astype(np.uint8)[None, :, None], (96, 1, 3))


def test_a_cut_is_seen_and_noise_is_not():
    rng = np.random.default_rng(0)
    shots = [head(0, 128), head(1, 128)]
    frames = [
        np.clip(shots[t // 8] + rng.normal(0, 8, (128, 128, 3)), 0, 255).astype(np.uint8) for t in range(16)
    ]
    assert cuts_in(frames) == [8]


def test_a_flash_and_a_fade_are_no_cuts():
    picture = head(0, 128).astype(np.float32)
    flash = [picture, picture, np.clip(picture + 60, 0, 255), picture, picture]
    fade = [picture * (1 - step / 20) for step in range(20)]
    assert cuts_in([frame.astype(np.uint8) for frame in flash + fade]) == []


def test_a_pan_is_no_cut():
    """A sixteenth of the pixels change by 200 levels in each frame, from one to the next, and no more."""
    pan = [stripes(4 * step) for step in range(12)]
    assert cuts_in([pan[0]] * 4 + pan + [pan[-1]] * 4) == []
    assert cuts_in(pan + [head(0, 128)[:96]] * 4) == [12]


def test_quick_cuts_are_all_seen():
    frames = [head(number % 3, 128) for number in range(6) for _ in range(3)]
    assert cuts_in(frames) == [3, 6, 9, 12, 15]


def test_short_videos_have_no_cuts():
    assert cuts_in([]) == cuts_in([head(0, 64)]) == []
    assert cuts_in([head(0, 64), head(1, 64)]) == [1]


def test_a_face_too_small_for_the_whole_picture_is_found(tmp_path):
    frame = scene((540, 960), (head(0, 160), 780, 300))
    save_video(tmp_path / "wide.mp4", [frame] * 3, 25)
    shots = find_shots(tmp_path / "wide.mp4", faces=True, cuts=True, every=1, max_frames=None)
    [tube] = shots.tubes
    assert (tube.start, tube.stop) == (0, 3)
    assert 780 < tube.box.x0 < tube.box.x1 < 940
    assert 300 < tube.box.y0 < tube.box.y1 < 460
    assert tube.box.width < 960 / 10


def test_shots_and_faces_of_a_video(tmp_path):
    """Two faces; then, after a cut, another at the place of the first; then nobody."""
    one, two, three = head(0, 140), head(1, 140), head(2, 140)
    frames = [scene((200, 320), (one, 10 + t, 30), (two, 170, 30)) for t in range(12)]
    frames += [scene((200, 320), (three, 10, 30), level=160)] * 9
    frames += [scene((200, 320), level=160)] * 5
    save_video(tmp_path / "shots.mp4", frames, 25)
    shots = find_shots(tmp_path / "shots.mp4", faces=True, cuts=True, every=2, max_frames=None)
    assert (shots.size, shots.frames, shots.cuts) == ((200, 320), 26, [12, 21])
    assert [(tube.start, tube.stop) for tube in shots.tubes] == [(0, 11), (0, 11), (12, 21)]
    left, right, alone = shots.tubes
    assert left.box.x1 < 170 < right.box.x0
    assert alone.box.x1 < 160
    assert left.box.width - left.first.width == pytest.approx(10, abs=3), "it goes with the moving head"
    assert right.box.width - right.first.width == pytest.approx(0, abs=3)


def test_whole_pictures_are_divided_at_cuts(tmp_path):
    frames = [head(0, 64)] * 5 + [head(1, 64)] * 4
    save_video(tmp_path / "cut.mp4", frames, 25)

    def parts(**options):
        shots = find_shots(tmp_path / "cut.mp4", faces=False, every=1, **options)
        return [(tube.start, tube.stop, tuple(tube.box)) for tube in shots.tubes]

    whole = (0, 0, 64, 64)
    assert parts(cuts=True, max_frames=None) == [(0, 5, whole), (5, 9, whole)]
    assert parts(cuts=False, max_frames=4) == [(0, 4, whole), (4, 8, whole), (8, 9, whole)]
