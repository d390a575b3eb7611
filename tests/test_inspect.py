"""What fomm writes says so, and ``fomm inspect`` reads it."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from golden_data import TINY_OPTIONS
from hostile import ffmpeg
from signing_key import make_key

from fomm import Framing, Marking, animate_file, display, load_checkpoints, make_animation, mark
from fomm.bundled import WEIGHTS, bundled, sha256_of
from fomm.cli import main
from fomm.commands.inspect import NOTHING
from fomm.errors import InputError, MediaError
from fomm.marks import Marker, Origin, inspect_file, read_mark
from fomm.marks.credentials import SOURCE_TYPE
from fomm.media import VideoReader, VideoWriter, read_comment, read_image, save_video, write_image

ASTRONAUT, CLIP = bundled("examples", "astronaut.png"), bundled("examples", "driving.mp4")
ORIGIN = Origin("fd8492", "0123abcd")
WHOLE = Framing(crop="none")


def inspect(capsys, *arguments) -> tuple[int, str]:
    status = main(["inspect", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """Give what the bundled weights make of the bundled photo and clip, with a sidecar."""
    path = tmp_path_factory.mktemp("result") / "talk.mp4"
    words = ["animate", str(ASTRONAUT), str(CLIP), "-o", str(path), "--duration", "0.4", "--crop", "none"]
    assert main([*words, "--paste-back", "--sidecar", "--device", "cpu"]) == 0
    return path


# -- what is written -----------------------------------------------------------------------------------


def test_a_result_says_what_made_it(result, capsys):
    status, words = inspect(capsys, result)
    assert status == 0
    assert beginnings(words) == {
        "comment": "Made with fomm",
        "mark": "made with fomm, weights fd8492 (heads-256.safetensors), number",
        "sidecar": "of fomm",
    }
    assert "once in a million" in words and "and of this very file" in words


def beginnings(words: str) -> dict[str, str]:
    """Return how the lines about comment, mark and sidecar begin, as far as it is always the same."""
    lines = dict(line.split(":", 1) for line in words.splitlines())
    kept = {"comment": 14, "mark": 63, "sidecar": 7}
    return {name: lines[name].strip()[:length].strip() for name, length in kept.items()}


def test_json_has_the_same(result, capsys):
    status, words = inspect(capsys, result, "--json")
    facts = json.loads(words)
    weights = WEIGHTS["heads-256.safetensors"]
    assert status == 0 and facts["made_with_fomm"] is True
    assert facts["mark"]["weights"] == weights[:6] and facts["mark"]["agreement"] > 0.7
    assert 0 < facts["false_alarm"] < 1e-6
    assert facts["sidecar"]["mark"] == {name: facts["mark"][name] for name in ("weights", "number")}
    assert facts["sidecar"]["matches"] is True


def test_the_sidecar_tells_how_it_was_made(result):
    facts = json.loads(result.with_name("talk.mp4.json").read_text(encoding="utf-8"))
    assert facts["result"] == {"name": "talk.mp4", "sha256": sha256_of(result)}
    assert facts["photo"] == {"name": "astronaut.png", "sha256": sha256_of(ASTRONAUT)}
    assert facts["driving"] == [{"name": "driving.mp4", "sha256": sha256_of(CLIP)}]
    assert facts["weights_sha256"] == WEIGHTS["heads-256.safetensors"]
    assert facts["options"]["duration"] == 0.4 and facts["options"]["paste_back"] is True
    assert facts["digital_source_type"] == SOURCE_TYPE


def test_a_sidecar_of_another_file_is_told(result, tmp_path, capsys):
    shutil.copy(result, tmp_path / "other.mp4")
    ffmpeg("-i", result, "-crf", "28", tmp_path / "small.mp4")
    shutil.copy(result.with_name("talk.mp4.json"), tmp_path / "small.mp4.json")
    status, words = inspect(capsys, tmp_path / "small.mp4")
    assert status == 0 and "but of another file" in words
    assert inspect_file(tmp_path / "other.mp4").sidecar is None


@pytest.mark.parametrize("name", ["r.mp4", "r.webm", "r.gif", "r/"])
def test_every_kind_of_result_carries_the_mark(name, tmp_path):
    with VideoReader(CLIP, duration=0.4) as frames:
        save_video(f"{tmp_path}/{name}", frames, 10, weights_hash="fd8492f161e9", mark=Marker(ORIGIN))
    found = inspect_file(tmp_path / name)
    assert found.mark is not None and found.mark.origin == ORIGIN
    assert found.comment.startswith("Made with fomm") and "fd8492f161e9" in found.comment


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "avif"])
def test_a_picture(tmp_path, suffix, capsys):
    write_image(tmp_path / f"p.{suffix}", mark(read_image(ASTRONAUT), ORIGIN))
    status, words = inspect(capsys, tmp_path / f"p.{suffix}")
    assert status == 0 and "comment:     none" in words and "number 0123abcd" in words


def test_without_the_mark_the_comment_is_left(files, tmp_path, tiny):
    result = tmp_path / "r.mp4"
    words = [
        "animate",
        str(files / "photo.png"),
        str(files / "driving.mp4"),
        "-o",
        str(result),
        *TINY_OPTIONS,
    ]
    assert main([*words, "--crop", "none", "--size", "256", "--no-mark"]) == 0
    assert inspect_file(result).mark is None and inspect_file(result).names_fomm
    assert main([*words, "--crop", "none", "--size", "256"]) == 0
    assert inspect_file(result).mark is not None


def test_jobs_are_marked_unless_the_list_says_no(files, capsys):
    lines = ["source,driving,output,crop,size,mark"]
    lines += [
        f"photo.png,driving.mp4,{name}.mp4,none,256,{word}" for name, word in (("one", ""), ("two", "no"))
    ]
    (files / "jobs.csv").write_text("\n".join(lines))
    assert main(["animate", "--jobs", str(files / "jobs.csv"), *TINY_OPTIONS, "--device", "cpu"]) == 0
    assert inspect_file(files / "one.mp4").mark is not None
    assert inspect_file(files / "two.mp4").mark is None


def test_a_live_recording_is_marked(tmp_path):
    with VideoReader(CLIP, duration=0.4) as frames:
        save_video(tmp_path / "d.mp4", frames, 25)
    words = ["live", str(ASTRONAUT), "--input", str(tmp_path / "d.mp4"), "-o", str(tmp_path / "r.mp4")]
    words += ["--crop", "0,0,256,256", "--crop-driving", "none", "--driver", "keypoints", *TINY_OPTIONS]
    assert main(words) == 0
    assert inspect_file(tmp_path / "r.mp4").mark is not None


def test_the_help_says_what_no_mark_means(capsys):
    assert main(["animate", "--help"]) == 0
    help_ = " ".join(capsys.readouterr().out.split())
    assert "without it, the result no longer says by itself that it is synthetic" in help_


def test_still_parts_of_the_photo_are_marked(result):
    """Far from the face, too: the left fifth of the picture moves by the mark alone."""
    with VideoReader(result) as frames:
        change = next(frames).astype(int)[:40, :50] - read_image(ASTRONAUT)[:40, :50]
    assert 0.3 < change.mean(axis=2).std() < 3


def test_arrays_are_not_marked():
    photo = np.asarray(read_image(ASTRONAUT))
    frames = make_animation(
        photo, [photo] * 2, *load_checkpoints(cpu=True), progress=False, driver="keypoints"
    )
    assert read_mark(frames) is None
    reading = read_mark(mark(frames, ORIGIN))
    assert reading is not None and reading.origin == ORIGIN
    assert "carry no mark" in " ".join(make_animation.__doc__.split())


def test_a_notebook_marks_what_it_shows(tmp_path):
    with VideoReader(CLIP, duration=0.2) as reader:
        frames = list(reader)
    for name, generated in (("with", frames), ("without", None)):
        (tmp_path / f"{name}.mp4").write_bytes(display(frames[0], frames, generated).mp4)
    assert inspect_file(tmp_path / "with.mp4").mark is not None
    assert inspect_file(tmp_path / "without.mp4").mark is None


# -- where nothing is said -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", [ASTRONAUT, CLIP])
def test_nothing_found_is_no_error(path, capsys):
    status, words = inspect(capsys, path)
    if path == ASTRONAUT:
        assert status == NOTHING and words.count("none") >= 3
    assert "mark:        none found; that proves nothing" in words


def test_nothing_found_in_json(capsys):
    status, words = inspect(capsys, ASTRONAUT, "--json")
    facts = json.loads(words)
    assert status == NOTHING
    assert facts["made_with_fomm"] is False and facts["mark"] is None and facts["sidecar"] is None


@pytest.mark.parametrize("comment", ["plain", "two\nlines; a=b \\ c", "Ünïcode"])
@pytest.mark.parametrize("name", ["c.mp4", "c.webm"])
def test_comments_of_videos(tmp_path, name, comment):
    with VideoWriter(tmp_path / "v.mp4", fps=10) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))
    ffmpeg("-i", tmp_path / "v.mp4", "-metadata", f"comment={comment}", tmp_path / name)
    assert read_comment(tmp_path / name) == comment


# -- content credentials -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    """Give a PEM file: a key, its certificate, and that of an authority; made here, for here."""
    pytest.importorskip("c2pa")
    return make_key(tmp_path_factory.mktemp("key") / "me.pem")


@pytest.mark.parametrize("name", ["r.mp4", "r.gif"])
def test_content_credentials(files, tiny, key, tmp_path, name, capsys):
    given = files / "photo.png", files / "driving.mp4"
    animate_file(*given, tmp_path / name, *tiny, marking=Marking(credentials=str(key)), framing=WHOLE)
    found = inspect_file(tmp_path / name).credentials
    assert found.state == "Valid" and found.signer == "Ann, test" and found.made_by.startswith("fomm ")
    assert found.source_type == "compositeWithTrainedAlgorithmicMedia"
    status, words = inspect(capsys, tmp_path / name)
    assert status == 0 and "signed and unchanged, by somebody who is on no list of trust here" in words
    with VideoReader(tmp_path / name) as frames:
        assert len(list(frames)) == 8


def test_a_changed_file_is_told(files, tiny, key, tmp_path, capsys):
    given = files / "photo.png", files / "driving.mp4"
    animate_file(*given, tmp_path / "r.mp4", *tiny, marking=Marking(credentials=str(key)), framing=WHOLE)
    content = bytearray((tmp_path / "r.mp4").read_bytes())
    content[content.index(b"mdat") + 40] ^= 1
    (tmp_path / "r.mp4").write_bytes(content)
    assert inspect_file(tmp_path / "r.mp4").credentials.state == "Invalid"
    assert "NOT valid: changed since it was signed" in inspect(capsys, tmp_path / "r.mp4")[1]


def test_nothing_is_left_where_signing_fails(files, tiny, key, tmp_path):
    """The first certificate is not that of the key."""
    parts = key.read_text().split("-----BEGIN CERTIFICATE-----")
    (files / "broken.pem").write_text("-----BEGIN CERTIFICATE-----".join([parts[0], parts[2]]))
    before = set(files.iterdir())
    marking = Marking(credentials=str(files / "broken.pem"))
    with pytest.raises((InputError, MediaError), match=r"broken\.pem"):
        animate_file(
            files / "photo.png", files / "driving.mp4", files / "r.mp4", *tiny, marking=marking, framing=WHOLE
        )
    assert set(files.iterdir()) == before
    marking = Marking(credentials=str(files / "none.pem"))
    with pytest.raises(InputError, match=r"none\.pem"):  # before the photo is read
        animate_file(files / "none.png", files / "driving.mp4", files / "r.mp4", *tiny, marking=marking)


def test_without_the_extra_it_says_what_to_install():
    code = (
        "import sys; sys.modules['c2pa'] = None\n"
        "from fomm.cli import main\n"
        f"sys.exit(main(['inspect', {str(ASTRONAUT)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (
        done.returncode == NOTHING and "credentials: not looked for; pip install 'fomm[c2pa]'" in done.stdout
    )
