from pathlib import Path

import numpy as np
import pytest

from fomm.data.clips import read_frames
from fomm.data.cutting import Piece, clip_path, cut_pieces
from fomm.errors import InputError, MediaError
from fomm.face.crop import Rect
from fomm.media import VideoReader, VideoWriter, save_video

LEFT, RIGHT = Rect(0, 0, 32, 32), Rect(32, 0, 64, 32)


@pytest.fixture
def video(tmp_path) -> Path:
    """Write 20 frames of 32x64 at 10 a second. The left half has the level 5 t, the right half 255 - 5 t."""
    frames = []
    for t in range(20):
        frame = np.full((32, 64, 3), 5 * t, np.uint8)
        frame[:, 32:] = 255 - 5 * t
        frames.append(frame)
    with VideoWriter(tmp_path / "video.mp4", fps=10, for_training=True) as writer:
        for frame in frames:
            writer.write(frame)
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
    return tmp_path / "video.mp4"


def levels(path: Path) -> list[int]:
    return [round(float(frame[:, 4:-4].mean())) for frame in read_frames(path)]


@pytest.mark.parametrize("format", ["mp4", "png", "npz"])
def test_pieces_of_many_times_and_places(video, format):
    folder = video.parent
    pieces = [
        Piece("train/b#1", 8, 12, RIGHT),
        Piece("train/a#0", 2, 10, LEFT),  # begins before, overlaps
        Piece("test/c#late.x", 18, 30, LEFT),  # the video ends first
        Piece("test/c#never", 25, 30, LEFT),
    ]
    assert cut_pieces(video, pieces, folder, size=16, format=format) == [4, 8, 2, 0]
    one, two, late, never = (clip_path(folder, piece.name, format) for piece in pieces)
    np.testing.assert_allclose(levels(one), [255 - 5 * t for t in range(8, 12)], atol=2)
    np.testing.assert_allclose(levels(two), [5 * t for t in range(2, 10)], atol=2)
    np.testing.assert_allclose(levels(late), [90, 95], atol=2)
    assert read_frames(one).shape == (4, 16, 16, 3)
    assert not never.exists()
    assert sorted(path.name for path in folder.glob("t*/*")) == sorted([one.name, two.name, late.name])
    if format != "npz":
        assert VideoReader(one).fps == 10


def test_a_box_that_is_no_square_is_stretched(video):
    cut_pieces(video, [Piece("train/a#0", 0, 1, Rect(0, 0, 64, 32))], video.parent, size=32, format="npz")
    row = read_frames(video.parent / "train" / "a#0.npz")[0, 16, :, 0]
    assert (row[:14] < 10).all()
    assert (row[18:] > 245).all()


def test_what_a_stopped_run_left_is_replaced(video):
    (video.parent / "train" / "a#0").mkdir()
    (video.parent / "train" / "a#0" / "frame000007.png").write_bytes(b"old")
    cut_pieces(video, [Piece("train/a#0", 0, 2, LEFT)], video.parent, size=16, format="png")
    assert sorted(path.name for path in (video.parent / "train" / "a#0").iterdir()) == [
        "frame000001.png",
        "frame000002.png",
    ]


@pytest.mark.parametrize("format", ["mp4", "png", "npz"])
def test_nothing_is_left_of_clips_that_are_not_whole(video, format):
    frames = video.parent / "frames"
    save_video(frames, VideoReader(video), 10)
    (frames / "frame000009.png").write_bytes(b"no picture")
    pieces = [Piece("train/whole#0", 0, 4, LEFT), Piece("train/broken#0", 0, 20, LEFT)]
    with pytest.raises(MediaError, match=r"frame000009\.png: it is not a picture"):
        cut_pieces(frames, pieces, video.parent, size=16, format=format)
    assert list(video.parent.glob("t*/*")) == [clip_path(video.parent, "train/whole#0", format)]


def test_unknown_format(video):
    with pytest.raises(InputError, match="format is one of mp4, png, npz, not 'webm'"):
        cut_pieces(video, [Piece("train/a#0", 0, 2, LEFT)], video.parent, size=16, format="webm")


def test_nothing_to_cut(video):
    assert cut_pieces(video, [], video.parent, size=16, format="mp4") == []
