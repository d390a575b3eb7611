import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from golden_data import GOLDEN
from PIL import Image

from fomm.cli import main
from fomm.data.clips import find_clips, read_frames
from fomm.data.prepare import choose_pieces, find_videos, prepare, split
from fomm.data.settings import Settings
from fomm.errors import InputError
from fomm.face import detect_faces
from fomm.face.crop import Rect, Tube
from fomm.media import save_video

QUICK = Settings(size=64, min_frames=6, min_size=64, every=2)


def head(number: int, size: int) -> np.ndarray:
    return np.asarray(Image.open(GOLDEN / "face" / f"head{number}.jpg").resize((size, size)))


def scene(*heads: tuple[np.ndarray, int, int]) -> np.ndarray:
    """160x280, with heads at their corners (x, y)."""
    frame = np.full((160, 280, 3), 90, np.uint8)
    for picture, x, y in heads:
        frame[y : y + len(picture), x : x + len(picture)] = picture
    return frame


def talk(number: int, frames: int = 12) -> list[np.ndarray]:
    """One head that moves to the right, a pixel a frame."""
    return [scene((head(number, 120), 40 + t, 20)) for t in range(frames)]


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Two people: two shots and a short one of the first; two heads at once and nobody of the second."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "anna").mkdir()
    (folder / "ben" / "films").mkdir(parents=True)
    save_video(folder / "anna" / "shots.mp4", talk(0) + talk(1) + talk(2, 4), 25)
    save_video(
        folder / "ben" / "films" / "two.mp4", [scene((head(1, 120), 5, 20), (head(2, 120), 150, 20))] * 10, 25
    )
    save_video(folder / "ben" / "empty.mp4", [scene()] * 8, 25)
    return folder


@pytest.fixture(scope="module")
def prepared(videos, tmp_path_factory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("data") / "set"
    return out, prepare(videos, out, QUICK, progress=False)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_clips_of_every_face_in_every_shot(prepared):
    out, summary = prepared
    anna = ["anna#shots#000.mp4", "anna#shots#001.mp4"]
    ben = ["ben#films#two#000.mp4", "ben#films#two#001.mp4"]
    assert sorted([names(out / "train"), names(out / "test")]) == [anna, ben]
    assert [summary[part]["clips"] for part in ("train", "test")] == [2, 2]
    assert [summary[part]["people"] for part in ("train", "test")] == [1, 1]
    for part in ("train", "test"):
        for clip in find_clips(out / part):
            frames = read_frames(clip)
            assert frames.shape[1:] == (64, 64, 3)
            face = detect_faces(frames[len(frames) // 2])[0].box
            # The published margins: the head fills the square, the face is in its middle and below it.
            assert 0.4 < (face[2] - face[0]) / 64 < 0.8, clip
            assert 20 < (face[0] + face[2]) / 2 < 44, clip
            assert 28 < (face[1] + face[3]) / 2 < 48, clip


def test_the_summary_tells_what_was_dropped_and_why(prepared):
    out, summary = prepared
    assert summary == json.loads((out / "summary.json").read_text())
    assert summary["videos"] == 3
    assert summary["failed"] == summary["missing"] == {}
    assert summary["dropped"]["no face found"] == {"clips": 1, "frames": 8}
    assert summary["dropped"]["too short"]["clips"] == 1
    record = json.loads((out / "records" / "anna#shots.json").read_text())
    assert [clip["start"] for clip in record["clips"]] == [0, 12]
    assert record["dropped"][0]["start"] == 24


def test_parts_hold_when_videos_are_added(videos, tmp_path):
    """Others come after a run that was stopped before its first record."""
    films, out = tmp_path / "films", tmp_path / "set"
    films.mkdir()
    for number in range(4):
        (films / f"p{number}.mp4").symlink_to(videos / "ben" / "empty.mp4")
    prepare(films, out, Settings(test_fraction=0.5), progress=False)
    first = json.loads((out / "parts.json").read_text())
    assert sorted(first.values()) == ["test", "test", "train", "train"]
    for record in (out / "records").iterdir():
        record.unlink()
    for number in range(4, 12):
        (films / f"p{number}.mp4").symlink_to(videos / "ben" / "empty.mp4")
    prepare(films, out, Settings(test_fraction=0.5), progress=False)
    parts = json.loads((out / "parts.json").read_text())
    assert {key: parts[key] for key in first} == first
    assert list(parts.values()).count("test") == 6


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_killed_run_goes_on(videos, tmp_path, workers):
    """Killed when a video with faces is done: that one is not touched again, and the set ends up the same."""
    films, whole, out = tmp_path / "films", tmp_path / "whole", tmp_path / "set"
    shutil.copytree(videos, films)
    # The last one is not done yet when the first of the others is, however many are at work.
    shutil.copy(videos / "ben" / "films" / "two.mp4", films / "carl.mp4")
    options = ["--size", "64", "--min-frames", "6", "--min-size", "64", "--every", "2"]
    command = [
        sys.executable,
        "-m",
        "fomm",
        "data",
        "prepare",
        str(films),
        "--out",
        str(out),
        *options,
        "--workers",
        workers,
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 60
    clips: list[Path] = []
    while not clips and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.005)
        records = [json.loads(path.read_text()) for path in out.glob("records/[!.]*")]
        clips = [out / clip["file"] for record in records for clip in record["clips"]]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(clips) >= 2, "the run ended before its first record"
    assert not (out / "summary.json").exists(), "the run was over before it was killed"
    (out / "train" / ".ben#films#two#000.1234.part.mp4").write_bytes(b"half")
    times = [clip.stat().st_mtime_ns for clip in clips]
    assert main(command[3:]) == 0
    assert [clip.stat().st_mtime_ns for clip in clips] == times
    prepare(films, whole, QUICK, progress=False)
    assert contents(out) == contents(whole)


def test_whole_pictures_in_other_formats(videos, tmp_path):
    settings = Settings(size=32, format="png", crop=False, min_frames=5, split="video", test_fraction=0.34)
    summary = prepare(videos / "ben", tmp_path / "set", settings, progress=False)
    assert summary["train"]["clips"] == summary["test"]["clips"] == 1
    [clip] = [
        clip
        for part in ("train", "test")
        for clip in (tmp_path / "set" / part).iterdir()
        if "films" in clip.name
    ]
    assert clip.name == "films#two#000"
    assert read_frames(clip).shape == (10, 32, 32, 3)
    # The middle 160 columns, from 60 on: the head at the left reaches from 5 to 125, the other begins at 150.
    frame = read_frames(clip)[0].astype(int)
    assert (np.abs(frame[16, [14, 16]] - 90) <= 3).all(), "between the heads, at 60 + 5 * 15 = 135"
    assert np.abs(frame[16, 9] - 90).max() > 10


def test_a_video_that_cannot_be_read_stops_no_other(videos, tmp_path, capsys):
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "broken.mp4").write_bytes(b"no video at all")
    save_video(folder / "good.mp4", talk(0), 25)
    command = [
        "data",
        "prepare",
        str(folder),
        "--out",
        str(tmp_path / "set"),
        "--size",
        "64",
        "--test-fraction",
        "0",
    ]
    assert main([*command, "--min-frames", "6"]) == 1
    shown = capsys.readouterr()
    assert "failed: train/broken: cannot read" in shown.out
    assert "1 of 2 videos failed or are missing" in shown.err
    assert "summary.json" in shown.err
    assert names(tmp_path / "set" / "train") == ["good#000.mp4"]
    save_video(folder / "broken.mp4", talk(1), 25)  # mended, it is tried again
    assert main([*command, "--min-frames", "6"]) == 0
    assert names(tmp_path / "set" / "train") == ["broken#000.mp4", "good#000.mp4"]


def test_nothing_to_train_on_is_an_error(videos, tmp_path, capsys):
    assert main(["data", "prepare", str(videos), "--out", str(tmp_path / "set")]) == 1
    shown = capsys.readouterr()
    assert "dropped, too short" in shown.out
    assert "got no clip" in shown.err


def test_other_arguments_need_another_folder(videos, prepared):
    with pytest.raises(InputError, match=r"was begun with size=64, not 128: use the same arguments"):
        prepare(videos, prepared[0], Settings(size=128), progress=False)


PICTURE = (200, 300)  # height, width


@pytest.mark.parametrize(
    ("tube", "expected"),
    [
        (Tube(3, 13, Rect(0, 0, 0, 0), Rect(100, 50, 150, 100)), (3, 13, Rect(95, 45, 155, 105))),
        # 1.2 * 100 = 120 wide around x = 50, -10 to 110: moved right
        (Tube(0, 10, Rect(0, 0, 0, 0), Rect(0, 50, 100, 150)), (0, 10, Rect(0, 40, 120, 160))),
        (Tube(0, 9, Rect(0, 0, 0, 0), Rect(100, 50, 150, 100)), "too short"),
        (Tube(0, 10, Rect(0, 0, 0, 0), Rect(100, 50, 140, 90)), "too small"),  # 48 pixels
        (Tube(0, 10, Rect(0, 0, 0, 0), Rect(10, 50, 290, 100)), "moves too far for the picture"),
    ],
)
def test_what_is_kept(tube, expected):
    kept, dropped = choose_pieces([tube], PICTURE, Settings(size=60, min_frames=10))
    if isinstance(expected, str):
        assert kept == []
        assert [drop["reason"] for drop in dropped] == [expected]
        assert dropped[0]["frames"] == tube.stop
        assert dropped[0]["start"] == tube.start
    else:
        assert dropped == []
        assert kept[0][:2] == expected[:2]
        assert kept[0][2] == pytest.approx(expected[2])


def test_people_are_folders_or_stand_in_names(tmp_path):
    for name in ("anna/a.mp4", "anna/old/b.MOV", "cleo#1.webm", "dan.gif", "anna/notes.txt", ".hidden/x.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    for number in range(2):
        (tmp_path / "eve" / "pictures").mkdir(parents=True, exist_ok=True)
        (tmp_path / "eve" / "pictures" / f"{number}.png").write_bytes(b"")
    assert list(find_videos(tmp_path)) == ["anna#a", "anna#old#b", "cleo#1", "dan", "eve#pictures"]
    (tmp_path / "anna" / "a.mkv").write_bytes(b"")
    with pytest.raises(InputError, match=r"a\.mkv and .*a\.mp4 would give clips of one name"):
        find_videos(tmp_path)


@pytest.mark.parametrize(
    ("folder", "message"),
    [("", "holds no videos; expected files that end in .mp4"), ("none", "is not a folder")],
)
def test_no_videos(tmp_path, folder, message):
    with pytest.raises(InputError, match=message):
        prepare(tmp_path / folder, tmp_path / "set")


def test_nobody_is_in_both_parts():
    keys = [f"person{number % 20}#{number}" for number in range(100)]
    parts = split(keys, "person", 0.2, {})
    people = {part: {key.split("#")[0] for key in keys if parts[key] == part} for part in ("train", "test")}
    assert len(people["test"]) == 4
    assert not people["test"] & people["train"]
    assert split(keys[::-1], "person", 0.2, {}) == parts, "the order means nothing"
    assert sum(part == "test" for part in split(keys, "video", 0.2, {}).values()) == 20


def test_people_stay_where_they_are_when_others_come():
    first = split([f"p{number}#0" for number in range(10)], "person", 0.2, {})
    more = split([f"p{number}#{clip}" for number in range(40) for clip in (0, 1)], "person", 0.2, first)
    assert {key: more[key] for key in first} == first
    assert all(more[key.replace("#0", "#1")] == part for key, part in first.items())
    assert sum(part == "test" for part in more.values()) == 2 * 8


@pytest.mark.parametrize(
    ("people", "fraction", "test"), [(1, 0.5, 0), (2, 0.01, 1), (3, 0.99, 2), (3, 1, 3), (3, 0, 0)]
)
def test_small_sets_are_split_as_well(people, fraction, test):
    parts = split([f"p{number}" for number in range(people)], "person", fraction, {})
    assert list(parts.values()).count("test") == test


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size must be at least 1, not 0"),
        ({"min_size": 0}, "min_size must be at least 1, not 0"),
        ({"size": 65}, "size must be even for mp4, not 65"),
        ({"format": "avi"}, "format is one of mp4, png, npz, not 'avi'"),
        ({"split": "face"}, "split is one of person, video, not 'face'"),
        ({"test_fraction": 1.5}, "test_fraction lies between 0 and 1, not 1.5"),
        ({"max_frames": 10}, r"max_frames \(10\) is below min_frames \(64\)"),
    ],
)
def test_settings_are_checked(options, message):
    with pytest.raises(InputError, match=message):
        Settings(**options)
