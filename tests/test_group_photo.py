"""A group photo and a film as they are, with no other option: the whole photo moves, with sound."""

import numpy as np
import pytest

from fomm.animation.framing import photo_squares
from fomm.bundled import bundled
from fomm.cli import main
from fomm.face.crop import Rect
from fomm.face.search import find_faces
from fomm.media import VideoReader, VideoWriter, read_image

FRAMES = 30
LARGEST = Rect(740, 190, 1020, 470)  # the face in the middle of the upper row, looked up by eye


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """1080p: the head of the driving clip at the left of a grey room, and its sound."""
    clip, path = bundled("examples", "driving.mp4"), tmp_path_factory.mktemp("film") / "talk-1080p.mp4"
    with VideoReader(clip) as reader, VideoWriter(path, fps=25, audio=clip) as writer:
        for _, frame in zip(range(FRAMES), reader, strict=False):
            room = np.full((1080, 1920, 3), 90, np.uint8)
            times = 800 // len(frame)
            head = frame.repeat(times, 0).repeat(times, 1)
            room[140 : 140 + len(head), 200 : 200 + len(head)] = head
            writer.write(room)
    return path


@pytest.mark.slow
def test_a_group_photo_with_no_other_option(film, tmp_path, capsys):
    group = bundled("examples", "group.jpg")
    assert main(["animate", str(group), str(film), "-o", str(tmp_path / "out.mp4")]) == 0
    photo = read_image(group).astype(float)
    with VideoReader(tmp_path / "out.mp4") as reader:
        assert reader.has_audio and reader.fps == 25
        frames = np.stack(list(reader))
    assert frames.shape == (FRAMES, 1000, 1600, 3)

    square = photo_squares(photo.astype(np.uint8), "auto", None, "group", 128)[0]
    assert square.x0 < LARGEST.x0 < LARGEST.x1 < square.x1 and square.y0 < LARGEST.y0 < LARGEST.y1 < square.y1
    inside = np.zeros(photo.shape[:2], bool)
    inside[max(0, round(square.y0)) : round(square.y1), max(0, round(square.x0)) : round(square.x1)] = True
    for number, frame in enumerate(frames):
        change = np.abs(frame - photo).mean(-1)
        assert change[~inside].mean() < 3, f"frame {number}: the rest of the photo stays, but for the codec"
    x0, y0, x1, y1 = (round(value) for value in LARGEST)
    face = frames[:, y0:y1, x0:x1].astype(float)
    moved = [np.abs(frame - face[0]).mean() for frame in face]
    assert max(moved) > 4, f"the face moves: {max(moved):.1f} grey levels"
    assert all(len(find_faces(np.ascontiguousarray(frame))) == 5 for frame in frames[::10])
