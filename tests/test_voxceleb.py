import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from fomm.cli import main
from fomm.data.clips import read_frames
from fomm.data.voxceleb import Row, place, read_metadata, voxceleb
from fomm.errors import InputError, MissingExtraError
from fomm.face.crop import Rect
from fomm.media import VideoWriter

HEADER = "video_id,start,end,bbox,fps,width,height,partition,person_id\n"
# The list speaks of 25 frames a second and of 128x64 pixels.
ROWS = (
    "abc,25,50,0-0-64-64,25,128,64,train,id1\n"  # seconds 1 to 2, the left half
    "abc,40,60,64-0-128-64,25,128,64,train,id1\n"  # 1.6 to 2.4 s, the right half
    "abc,25,50,0-0-64-64,25,128,64,train,id1\n"  # listed twice
    "abc,2500,2600,0-0-64-64,25,128,64,train,id1\n"  # after the end
    "-gone-------,0,50,0-0-64-64,25,128,64,test,id2\n"
)


def write_video(path: Path, size: tuple[int, int] = (128, 256), fps: int = 10) -> None:
    """Write 3 seconds. The left half of frame t has the level 4 t, the right half 255 - 4 t."""
    with VideoWriter(path, fps=fps, for_training=True) as writer:
        for t in range(3 * fps):
            frame = np.full((*size, 3), 4 * t, np.uint8)
            frame[:, size[1] // 2 :] = 255 - 4 * t
            writer.write(frame)


@pytest.fixture
def files(tmp_path, monkeypatch) -> Path:
    """Write the list, and abc.mp4 at 10 frames a second and twice the size. There is no yt-dlp."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "list.csv").write_text(HEADER + ROWS)
    (tmp_path / "videos" / "deep").mkdir(parents=True)
    write_video(tmp_path / "videos" / "deep" / "abc.mp4")
    return tmp_path


def cut(files: Path, **options) -> dict:
    return voxceleb(files / "list.csv", files / "videos", files / "set", size=32, progress=False, **options)


def levels(path: Path) -> list[int]:
    return [round(float(frame[:, 4:-4].mean())) for frame in read_frames(path)]


def test_clips_at_another_rate_and_size(files):
    summary = cut(files)
    train = files / "set" / "train"
    assert sorted(path.name for path in train.iterdir()) == [
        "id1#abc#000025#000050.mp4",
        "id1#abc#000040#000060.mp4",
    ]
    # At 10 a second: the frames from 1.0 to before 2.0 s are 10 to 19, from 1.6 to before 2.4 s 16 to 23.
    left, right = levels(train / "id1#abc#000025#000050.mp4"), levels(train / "id1#abc#000040#000060.mp4")
    np.testing.assert_allclose(left, [4 * t for t in range(10, 20)], atol=2)
    np.testing.assert_allclose(right, [255 - 4 * t for t in range(16, 24)], atol=2)
    assert summary["train"] == {"clips": 2, "people": 1, "frames": 18}
    assert summary["dropped"] == {"after the end of the video": {"clips": 1, "frames": 40}}


def test_missing_videos_are_listed_and_tried_again(files, capsys):
    command = ["data", "voxceleb", "--metadata", str(files / "list.csv"), "--videos", str(files / "videos")]
    command += ["--out", str(files / "set"), "--size", "32"]
    assert main(command) == 1
    shown = capsys.readouterr()
    assert "missing: -gone-------: no file has that name" in shown.out
    assert "1 of 2 videos failed or are missing" in shown.err
    assert json.loads((files / "set" / "summary.json").read_text())["missing"] == {
        "-gone-------": "no file has that name"
    }
    done = (files / "set" / "train" / "id1#abc#000025#000050.mp4").stat().st_mtime_ns
    write_video(files / "videos" / "-gone-------.mp4", size=(64, 128), fps=20)
    assert main(command) == 0
    assert (files / "set" / "train" / "id1#abc#000025#000050.mp4").stat().st_mtime_ns == done
    assert len(levels(files / "set" / "test" / "id2#-gone-------#000000#000050.mp4")) == 40


DOWNLOADER = """#!{python}
import json, pathlib, shutil, sys
arguments = sys.argv[1:]
with open({log!r}, "a") as log:
    log.write(json.dumps(arguments) + "\\n")
if arguments[-1].endswith("{gone}"):
    sys.exit("WARNING: something\\nERROR: [youtube] {gone}: Video unavailable")
folder = arguments[arguments.index("--paths") + 1].removeprefix("home:")
shutil.copy({video!r}, pathlib.Path(folder, arguments[-1].partition("v=")[2] + ".webm"))
"""


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for yt-dlp is a script with a #! line")
def test_yt_dlp_fetches_what_is_missing(files, capsys):
    """The ids reach it behind --, and none reaches a shell."""
    script = files / "bin" / "yt-dlp"
    script.parent.mkdir()
    video, log = files / "videos" / "deep" / "abc.mp4", files / "log"
    script.write_text(
        DOWNLOADER.format(python=sys.executable, log=str(log), video=str(video), gone="-gone------")
    )
    script.chmod(0o755)
    rows = "".join(
        f"{name},0,50,0-0-64-64,25,128,64,train,id1\n"
        for name in ("abc", "-gone------", "--exec-echo", "own-film")
    )
    (files / "list.csv").write_text(HEADER + rows)
    summary = cut(files)
    assert summary["missing"] == {
        "-gone------": "yt-dlp could not fetch it: [youtube] -gone------: Video unavailable",
        "own-film": "no file has that name, and it is no id of YouTube",
    }
    asked = [json.loads(line) for line in log.read_text().splitlines()]
    assert [arguments[-2:] for arguments in asked] == [
        ["--", "https://www.youtube.com/watch?v=-gone------"],
        ["--", "https://www.youtube.com/watch?v=--exec-echo"],
    ]
    assert (files / "videos" / "--exec-echo.webm").exists()
    assert (files / "set" / "train" / "id1#--exec-echo#000000#000050.mp4").exists()
    assert len(log.read_text().splitlines()) == 2
    cut(files, download=False)
    assert len(log.read_text().splitlines()) == 2, "not asked again"


def test_downloading_needs_yt_dlp(files):
    with pytest.raises(MissingExtraError, match="pip install yt-dlp"):
        cut(files, download=True)


ROW = Row("v", 25, 50, Rect(20, 10, 40, 60), 25, 128, 64, "train", "id1")


@pytest.mark.parametrize(
    ("stretch", "box"),
    [
        (True, Rect(40, 20, 80, 120)),
        (False, Rect(10, 20, 110, 120)),  # 100 high: as wide, around x = 60
    ],
)
def test_boxes_are_scaled_and_widened(stretch, box):
    piece = place(ROW, (128, 256), 29.97, stretch=stretch)
    assert piece.box == pytest.approx(box)
    assert (piece.start, piece.stop) == (30, 60)  # 1 s is frame 29.97, 2 s frame 59.94
    assert piece.name == "train/id1#v#000025#000050"


def test_times_that_fall_on_frames_are_exact():
    """30 frames of 30 a second, whatever 0.3 / 25 * 30 is in floating point."""
    for start in range(0, 500, 5):
        piece = place(ROW._replace(start=start, end=start + 25), (64, 128), 30.0, stretch=True)
        assert (piece.start, piece.stop) == (start * 30 // 25, start * 30 // 25 + 30)


def test_a_box_outside_the_picture_has_no_place():
    assert place(ROW._replace(bbox=Rect(200, 0, 300, 60)), (64, 128), 25.0, stretch=False) is None
    inside = place(ROW._replace(bbox=Rect(100, 0, 300, 60)), (64, 128), 25.0, stretch=True)
    assert inside.box == pytest.approx((100, 0, 128, 60))


def test_another_aspect_is_noted(files):
    write_video(files / "videos" / "deep" / "abc.mp4", size=(128, 128))
    assert "is 128x128, the list says 128x64" in cut(files)["notes"]["abc"][0]


def test_other_clips_need_another_folder(files):
    cut(files)
    with pytest.raises(InputError, match="was begun with stretch=False, not True"):
        cut(files, stretch=True)
    (files / "list.csv").write_text(HEADER + "abc,0,50,0-0-64-64,25,128,64,train,id1\n")
    with pytest.raises(InputError, match="was begun with metadata_sha256="):
        cut(files)


def line(**values: str) -> str:
    row = dict(
        zip(
            HEADER.strip().split(","),
            ["abc", "25", "50", "0-0-64-64", "25", "128", "64", "train", "id1"],
            strict=True,
        )
    )
    return ",".join({**row, **values}.values()) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + line() + line(start="x"), "line 3, column start: 'x' is not a number of 0 or more"),
        (HEADER + line(end="25"), "line 2, column end: '25' is not after the start, 25"),
        (HEADER + line(end="nan"), "line 2, column end: 'nan' is not a number"),
        (HEADER + line(bbox="5-5-5-9"), "line 2, column bbox: '5-5-5-9' is not left-top-right-bottom"),
        (HEADER + line(bbox="-1-0-5-5"), "line 2, column bbox: '-1-0-5-5'"),
        (HEADER + line(fps="0"), "line 2, column fps: '0' is not a number of 0.01 or more"),
        (HEADER + line(width="0"), "line 2, column width"),
        (HEADER + line(partition="val"), "line 2, column partition: 'val' is not train or test"),
        (HEADER + line(video_id="../../etc/x"), "line 2, column video_id: '../../etc/x' is not a name"),
        (HEADER + line(person_id=""), "line 2, column person_id: '' is not a name"),
        (HEADER + "abc,25\n", "line 2, column end: None is not a number"),
        ("video_id,start\nabc,2\n", "line 1: column end is missing; expected video_id,start,end,bbox"),
        ("", "line 1: column video_id is missing"),
        (HEADER, "lists no clips"),
        (HEADER + 'abc,"25\n', "cannot be read as a CSV table"),
    ],
)
def test_mistakes_in_the_list_are_named(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError) as error:
        read_metadata(tmp_path / "list.csv")
    assert "list.csv" in str(error.value)
    assert message in str(error.value)


def test_a_list_that_is_no_text(tmp_path):
    (tmp_path / "list.csv").write_bytes(bytes(range(128, 256)))
    with pytest.raises(InputError, match="cannot be read as a CSV table"):
        read_metadata(tmp_path / "list.csv")
    with pytest.raises(InputError, match="cannot be read as a CSV table"):
        read_metadata(tmp_path / "none.csv")
