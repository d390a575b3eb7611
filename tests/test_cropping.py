import json

import numpy as np
import pytest

from fomm.animation.crop_files import crop_files
from fomm.cli import main
from fomm.errors import InputError
from fomm.media import VideoReader, read_image, save_video, write_image

pytestmark = pytest.mark.smoke


@pytest.fixture
def folder(tmp_path, portraits):
    """Give a wide photo with two portraits, a clip of one that moves, and a wall."""
    photo = np.full((300, 700, 3), 120, np.uint8)
    photo[20:276, 20:276], photo[20:276, 400:656] = portraits
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "pair.png", photo)
    write_image(tmp_path / "in" / "wall.png", np.full((40, 40, 3), 120, np.uint8))
    save_video(tmp_path / "in" / "talk.mp4", [np.roll(photo[:, :340], 2 * t, axis=1) for t in range(5)], 10)
    return tmp_path


def test_photos_and_videos_of_a_folder(folder):
    lines = list(crop_files([folder / "in"], folder / "out", size=64))
    assert [line["file"].rpartition("/")[2] for line in lines] == ["pair.png", "talk.mp4", "wall.png"]
    pair, talk, wall = lines
    ((x, y, width, height),) = pair["boxes"]
    assert width == height and 0 <= x < x + width < 700 and y < 276
    assert len(talk["boxes"]) == 1 and "no face was found" in wall["error"]
    assert {path.name for path in (folder / "out").iterdir()} == {"pair.png", "talk.mp4"}
    assert read_image(folder / "out" / "pair.png").shape == (64, 64, 3)
    with VideoReader(folder / "out" / "talk.mp4") as reader:
        assert reader.size == (64, 64) and len(list(reader)) == 5 and reader.fps == 10


def test_all_faces_and_none_written(folder):
    (line,) = crop_files([folder / "in" / "pair.png"], folder / "out", face="all")
    assert len(line["boxes"]) == 2
    assert {path.name for path in (folder / "out").iterdir()} == {"pair-0.png", "pair-1.png"}
    (line,) = crop_files([folder / "in" / "pair.png"], None, crop=(5, 6, 70, 80))
    assert line["boxes"] == [[5, 6, 70, 80]] and len(list(folder.iterdir())) == 2


def test_what_cannot_be_cropped_is_said(folder):
    (folder / "empty").mkdir()
    (folder / "file").touch()
    for inputs, out, options, words in (
        ([folder / "empty"], None, {}, "no files to crop"),
        ([folder / "in"], None, {"size": 63}, "size is 63"),
        ([folder / "in"], folder / "file", {}, "cannot make the folder"),
    ):
        with pytest.raises(InputError, match=words):
            list(crop_files(inputs, out, **options))


def test_nothing_is_replaced(folder):
    given = folder / "in"
    before = {path.name: path.read_bytes() for path in given.iterdir()}
    with pytest.raises(InputError, match=r"pair\.png, which was given; choose another --out"):
        list(crop_files([given], given))
    write_image(given / "pair-0.png", read_image(given / "pair.png"))
    with pytest.raises(InputError, match=r"pair-0\.png, which was given"):
        list(crop_files([given], given, face="all"))
    (given / "pair-0.png").rename(given / "talk.png")
    write_image(given / "wall.jpg", np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(InputError, match=r"wall\.jpg and .*wall\.png would both become .*wall\.png"):
        list(crop_files([given], folder / "out"))
    assert all((given / name).read_bytes() == data for name, data in before.items())


def test_of_a_folder_pictures_and_videos_are_taken(folder):
    (folder / "in" / "notes.txt").write_text("not a picture")
    with VideoReader(folder / "in" / "talk.mp4") as reader:
        save_video(folder / "in" / "loop.gif", list(reader)[:2], 10)
    lines = {line["file"].rpartition("/")[2]: line for line in crop_files([folder / "in"], folder / "out")}
    assert set(lines) == {"pair.png", "talk.mp4", "wall.png", "loop.gif"}
    with VideoReader(folder / "out" / "loop.mp4") as reader:
        assert len(list(reader)) == 2


def test_the_command_prints_a_line_of_json_for_each_file(folder, capsys):
    assert main(["crop", str(folder / "in"), "--size", "64"]) == 1
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert len(lines) == 3 and sum("error" in line for line in lines) == 1
    assert said.err == "fomm: 1 of the files could not be cropped; their lines above say why\n"
    assert main(["crop", str(folder / "in" / "pair.png"), "--out", str(folder / "out"), "--face", "1"]) == 0
    assert (folder / "out" / "pair.png").is_file()
