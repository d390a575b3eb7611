"""``fomm detect``: files of every kind, what it says first, its page, and what it refuses."""

import json

import numpy as np
import pytest

from fomm.bundled import bundled
from fomm.cli import main
from fomm.detect import network, page, scan
from fomm.detect.scan import LIMITS, scan_file
from fomm.errors import CheckpointError, InputError, MediaError
from fomm.media import read_image, save_video, write_image

ASTRONAUT = bundled("examples", "astronaut.png")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Give a portrait that is shaken for 12 frames, without sound."""
    path = tmp_path_factory.mktemp("clip") / "still.mp4"
    picture = read_image(ASTRONAUT)
    save_video(path, [np.roll(picture, number % 3, axis=1) for number in range(12)], fps=10)
    return path


def test_what_it_cannot_do_comes_first(clip):
    found = scan_file(clip)
    text = page.format_scan(found)
    assert text.startswith(LIMITS + "\n")
    assert "still.mp4: 12 frames at 10 a second, 12 with a face" in text
    for words in ("changed: ", "jitter of the landmarks", "comment:     Made with fomm", "mark:        "):
        assert words in text
    html = page.format_scan_page(found)
    assert html.index("Its answer is no proof") < html.index("Changed: <b>")
    assert "<script" not in html and "http" not in html and html.count("data:image/jpeg") == 6


def test_numbers_as_json(clip):
    facts = json.loads(json.dumps(page.to_facts(scan_file(clip)), allow_nan=False))
    assert facts["limits"] == LIMITS and 0 <= facts["probability"] <= 1
    assert [look["frame"] for look in facts["looks"]] == [0, 2, 4, 6, 8, 10]  # five a second
    assert {sign["key"]: sign["value"] for sign in facts["signs"]}["voice"] is None  # there is no sound
    assert facts["measured"]["clips"]["count"] > 100 and facts["measured"]["untouched"]


def test_a_picture_has_no_signs_of_time():
    found = scan_file(ASTRONAUT)
    assert found.fps is None and found.signs == [] and len(found.looks) == 1
    assert found.probability == pytest.approx(found.looks[0].probability)
    assert "a picture" in page.format_scan(found) and "Signs" not in page.format_scan_page(found)


def test_a_video_of_one_frame(tmp_path):
    save_video(tmp_path / "one.mp4", [read_image(ASTRONAUT)], fps=25)
    found = scan_file(tmp_path / "one.mp4")
    assert found.frames == 1 and len(found.looks) == 1
    known = {sign.key for sign in found.signs if sign.value is not None}
    assert known <= {"sharpness", "light"}


def test_frames_without_the_face(tmp_path):
    picture = read_image(ASTRONAUT)
    frames = [picture] * 3 + [np.full_like(picture, 90)] * 4
    save_video(tmp_path / "gone.mp4", frames, fps=5)
    found = scan_file(tmp_path / "gone.mp4")
    assert (found.frames, found.frames_with_face) == (7, 3)
    assert [look.frame for look in found.looks] == [0, 1, 2]


def test_the_sound_is_compared_with_the_lips():
    found = scan_file(bundled("examples", "driving.mp4"))
    signs = {sign.key: sign.value for sign in found.signs}
    assert signs["voice"] is not None and -1 <= signs["voice"] <= 1
    assert signs["jitter"] > 0 and len(found.shown) == 6


def test_the_heat_is_laid_over():
    picture = np.full((4, 4, 3), 100, np.uint8)
    heat = np.zeros((4, 4))
    heat[0], heat[1] = 1.0, 0.3
    found = page.lay_heat_over(picture, heat)
    assert found[0, 0].tolist() == [193, 40, 40]  # 0.4 of the grey and 0.6 of red
    assert found[1, 0].tolist() == [193, 172, 40]  # yellow
    assert found[2:].tolist() == picture[2:].tolist()


def test_files_that_are_refused(tmp_path, monkeypatch):
    (tmp_path / "text.mp4").write_text("This is a text.\n" * 50)
    with pytest.raises(MediaError, match=r"text\.mp4 as a video: it is not a video, but text"):
        scan_file(tmp_path / "text.mp4")
    write_image(tmp_path / "grey.png", np.full((200, 200, 3), 128, np.uint8))
    with pytest.raises(InputError, match=r"grey\.png: no face was found"):
        scan_file(tmp_path / "grey.png")
    with pytest.raises(MediaError, match="nowhere"):
        scan_file(tmp_path / "nowhere.mp4")
    monkeypatch.setenv("FOMM_MAX_PIXELS", "60000")
    with pytest.raises(MediaError, match="are more than 60000"):
        scan_file(ASTRONAUT)


def test_damaged_weights_are_told_before_the_work(tmp_path, monkeypatch):
    path = tmp_path / "traces.safetensors"
    path.write_bytes(network.WEIGHTS.read_bytes()[:-1] + b"x")
    monkeypatch.setattr(network, "WEIGHTS", path)
    monkeypatch.setattr(scan, "follow_face", None)
    network.load_network.cache_clear()
    try:
        with pytest.raises(CheckpointError, match="it was changed or damaged; install fomm again"):
            scan_file(ASTRONAUT)
    finally:
        network.load_network.cache_clear()


def test_the_command(clip, tmp_path, capsys):
    assert main(["detect", str(clip), "--report", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out.startswith(LIMITS)
    assert "Its answer is no proof" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert main(["detect", str(clip), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["limits"] == LIMITS


@pytest.mark.parametrize("name", ["page.txt", "nowhere/page.html"])
def test_reports_that_cannot_be_written(name, tmp_path, capsys):
    assert main(["detect", str(ASTRONAUT), "--report", str(tmp_path / name)]) == 1
    assert "cannot write" in capsys.readouterr().err


def test_inspect_tells_of_changes_below_the_marks(clip, capsys):
    status = main(["inspect", str(clip)])
    marks = capsys.readouterr().out
    assert "changed:" not in marks
    assert main(["inspect", str(clip), "--changes"]) == status
    told = capsys.readouterr().out
    assert (
        told.startswith(marks) and told.removeprefix(marks).startswith("\nchanged:     ") and LIMITS in told
    )
    assert main(["inspect", str(clip), "--changes", "--json"]) == status
    facts = json.loads(capsys.readouterr().out)
    assert (
        facts["comment"]
        and 0 <= facts["changes"]["probability"] <= 1
        and facts["changes"]["limits"] == LIMITS
    )
