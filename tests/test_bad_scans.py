"""Bad files to look for changes in: one sentence each, and no work is begun on a damaged network."""

import numpy as np
import pytest
from hostile import ffmpeg, picture_file
from test_bad_marks import FILES

from fomm.detect import scan
from fomm.detect.scan import scan_file
from fomm.errors import FommError, InputError, MediaError
from fomm.media import save_video, write_image


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_none(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name])
    with pytest.raises(MediaError) as caught:
        scan_file(tmp_path / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["missing.mp4", "folder"])
def test_no_file(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(FommError, match=name):
        scan_file(tmp_path / name)


@pytest.mark.parametrize("size", [(1, 1), (9, 300), (300, 40), (200, 200)])
def test_pictures_without_a_face(tmp_path, size):
    (tmp_path / "grey.png").write_bytes(picture_file("PNG", size=size))
    with pytest.raises(InputError, match=r"grey\.png: no face was found"):
        scan_file(tmp_path / "grey.png")


def test_a_video_without_a_face(tmp_path):
    save_video(tmp_path / "grey.mp4", [np.full((64, 64, 3), 128, np.uint8)] * 3, fps=25)
    with pytest.raises(InputError, match=r"grey\.mp4: no face was found"):
        scan_file(tmp_path / "grey.mp4")


def test_sound_alone(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", str(tmp_path / "tone.mp4"))
    with pytest.raises(MediaError, match=r"tone\.mp4"):
        scan_file(tmp_path / "tone.mp4")


def test_more_pixels_than_are_taken(tmp_path, monkeypatch):
    write_image(tmp_path / "large.png", np.zeros((300, 300, 3), np.uint8))
    monkeypatch.setenv("FOMM_MAX_PIXELS", "60000")
    monkeypatch.setattr(scan, "follow_face", None)  # nothing is looked at
    with pytest.raises(MediaError, match="are more than 60000"):
        scan_file(tmp_path / "large.png")
