"""A video as source, and one driver for each face of a photo."""

import numpy as np
import pytest
from test_framing import backdrop, head

from fomm import Framing, InputError, Motion, animate_file, load_checkpoints
from fomm.animation.options import Edit, Marking
from fomm.animation.presence import Presence
from fomm.animation.source_video import replace_expression
from fomm.animation.template import SUFFIX, Template, find_template, match_lengths, write_template
from fomm.animation.units import act, measure_units
from fomm.animation.watch import watch_frames
from fomm.bundled import bundled
from fomm.cli import main
from fomm.evaluation.score import score
from fomm.face.search import find_faces
from fomm.media import VideoReader, read_image, save_video, write_image

ASTRONAUT, CLIP = (bundled("examples", name) for name in ("astronaut.png", "driving.mp4"))


@pytest.fixture(scope="module")
def networks():
    return load_checkpoints(cpu=True)


def read_frames(path) -> list[np.ndarray]:
    with VideoReader(path) as reader:
        return list(reader)


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Give a template that opens the mouth widely, twice, and nothing else."""
    times = np.arange(40) / 25
    mouth = 0.45 - 0.45 * np.cos(2 * np.pi * times / 0.8)
    file = tmp_path_factory.mktemp("speech") / f"speech{SUFFIX}"
    write_template(file, Template(act([Edit(mouth=float(m)) for m in mouth]), Presence((), 25.0)))
    return file


def correlation(one, two) -> float:
    return float(np.corrcoef(one, two)[0, 1])


def test_a_video_keeps_its_head_and_takes_another_expression(tmp_path, networks, speech):
    """The head turns as in the source, the mouth opens as the driver's; the clip's own speech is gone."""
    frames = read_frames(CLIP)[40:80]
    save_video(tmp_path / "source.mp4", frames, 25)
    result = tmp_path / "out.mp4"
    count = replace_expression(tmp_path / "source.mp4", speech, result, *networks, progress=False)
    made = read_frames(result)
    assert count == len(made) == 40 and made[0].shape == frames[0].shape
    before, _ = watch_frames(frames)
    after, _ = watch_frames(made)
    own, now = measure_units(before), measure_units(after)
    assert correlation(own["yaw"], now["yaw"]) > 0.95
    wanted = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(40) / 20)
    assert correlation(now["mouth"], wanted) > 0.8 > correlation(own["mouth"], wanted)
    assert np.ptp(now["mouth"]) > 0.25
    kept = score(tmp_path / "source.mp4", result)
    assert kept["correlation"]["yaw"] > 0.95 and kept["gain"]["yaw"] > 0.85


def test_where_either_shows_no_face_the_frame_stays(tmp_path, networks):
    """The driver's face comes late: until then the source is as it was, to what a second encoding makes."""
    frames = read_frames(CLIP)[40:70]
    save_video(tmp_path / "source.mp4", frames, 25)
    late = Template(act([Edit(mouth=0.9)] * 30), Presence(((0, 20),), 25.0))
    write_template(tmp_path / f"late{SUFFIX}", late)
    out = tmp_path / "out"
    replace_expression(
        tmp_path / "source.mp4", tmp_path / f"late{SUFFIX}", out, *networks,
        marking=Marking(mark=False), progress=False,
    )  # fmt: skip
    source = read_frames(tmp_path / "source.mp4")
    changes = [
        int(np.abs(read_image(file).astype(int) - frame).max())
        for file, frame in zip(sorted(out.iterdir()), source, strict=True)
    ]
    assert max(changes[:20]) == 0 and changes[29] > 60


def test_what_a_source_video_cannot_be_is_said(tmp_path, networks, speech, tiny, capsys):
    wall = tmp_path / "wall.mp4"
    save_video(wall, [np.full((64, 64, 3), 90, np.uint8)] * 5, 25)
    out = tmp_path / "out.mp4"
    for words, message in (
        ({"framing": Framing(side_by_side=True)}, "leave side_by_side and paste_back out"),
        ({"framing": Framing(face=1)}, "leave crop and face out"),
        ({"motion": Motion(relative=False)}, "relative to a reference frame"),
    ):
        with pytest.raises(InputError, match=message):
            replace_expression(CLIP, speech, out, *networks, progress=False, **words)
    with pytest.raises(InputError, match="no face was found in any of its 5 frames"):
        replace_expression(wall, speech, out, *networks, progress=False)
    with pytest.raises(InputError, match="needs weights whose key points are labelled"):
        replace_expression(CLIP, speech, out, *tiny, progress=False)
    with pytest.raises(InputError, match="is the source video itself"):
        replace_expression(wall, speech, wall, *networks, progress=False)
    asked = ["animate", str(ASTRONAUT), str(CLIP), "-o", str(out), "--source-video"]
    assert main([*asked, "--side-by-side"]) == 1 and "side_by_side" in capsys.readouterr().err
    assert not out.exists()


# -- one driver for each face ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Give a photo of two people side by side."""
    file = tmp_path_factory.mktemp("pair") / "pair.png"
    write_image(file, backdrop((640, 300), (head(0, 220), 30, 40), (head(1, 220), 380, 40)))
    return file


def test_each_face_has_its_own_driver(tmp_path, networks, pair, speech, capsys):
    """The left one looks around, the right one speaks, and rests when its motion is over."""
    asked = ["animate", str(pair), "--face", "0=look-around", "--face", f"1={speech}", "--duration", "2.4"]
    assert main([*asked, "-o", str(tmp_path / "out.mp4")]) == 0
    frames = read_frames(tmp_path / "out.mp4")
    assert len(frames) == 60
    units = []
    for half in (slice(None, 320), slice(320, None)):
        motion, _ = watch_frames([np.ascontiguousarray(frame[:, half]) for frame in frames])
        units.append(measure_units(motion, motion.take(0)))
    left, right = units
    assert np.ptp(left["yaw"]) > 15 > 6 > np.ptp(right["yaw"])
    wanted = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(40) / 20)
    assert correlation(right["mouth"][:40], wanted) > 0.8 > 0.4 > correlation(left["mouth"][:40], wanted)
    assert np.ptp(right["mouth"][:40]) > 0.25
    assert np.ptp(right["mouth"][54:]) < 0.05
    capsys.readouterr()


def test_drivers_of_faces_that_cannot_be_used_are_said(tmp_path, networks, pair, capsys):
    out, nod = tmp_path / "out.mp4", find_template("nod")
    faces = find_faces(read_image(pair))
    assert len(faces) == 2
    for drivers, keywords, message in (
        ({5: nod}, {}, "there is no face 5; 2 were found"),
        ({}, {}, "there is none; give one"),
        ({0: nod}, {"framing": Framing(face=0)}, "leave face out"),
        ({0: nod}, {"motion": Motion(driver="keypoints")}, "does not go with the driver 'keypoints'"),
        ({0: nod}, {"framing": Framing(side_by_side=True)}, "leave side_by_side out"),
        ({0: nod, 1: tmp_path / f"none{SUFFIX}"}, {}, "does not exist"),
    ):
        with pytest.raises(InputError, match=message):
            animate_file(pair, drivers, out, *networks, progress=False, **keywords)
    for words, message in (
        (["--face", "0=nod", "--face", "0=talk"], "--face 0 has two drivers"),
        (["--face", "x=nod"], "is not a number from 0"),
        (["--face", "0="], "is not a face's number and its driver"),
        (["--face", "0=nod", "--motion", "nod"], "stands in for DRIVING"),
    ):
        try:
            status = main(["animate", str(pair), "-o", str(out), *words])
        except SystemExit as stop:
            status = stop.code
        assert status in (1, 2) and message in capsys.readouterr().err, words
    assert not out.exists()


def test_templates_of_different_length_and_rate_are_matched():
    fast = Template(act([Edit(yaw=t) for t in range(40)]), Presence(((10, 20),), 50.0))
    slow = Template(act([Edit(pitch=t) for t in range(30)]), Presence((), 25.0))
    one, two = match_lengths([fast, slow])
    assert (one.fps, one.num_frames, two.num_frames) == (50.0, 60, 60)
    assert one.presence.gaps == ((10, 20), (40, 60)) and two.presence.gaps == ()
    assert measure_units(two.motion, two.motion.take(0))["pitch"][::2] == pytest.approx(
        np.arange(30), abs=1e-6
    )
    two, one = match_lengths([slow, fast])
    assert (one.num_frames, one.presence.gaps) == (30, ((5, 10), (20, 30)))
