"""Motion templates: what they keep, what they leave out, and what they do to a photo."""

import csv

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fomm import Excerpt, Framing, Marking, animate_file, load_checkpoints
from fomm.animation.motion import neutral_face
from fomm.animation.presence import Presence
from fomm.animation.template import (
    SUFFIX,
    Template,
    find_template,
    read_template,
    watch_video,
    write_template,
)
from fomm.animation.units import measure_units
from fomm.animation.watch import watch_frames
from fomm.bundled import MOTIONS, bundled
from fomm.cli import main
from fomm.media import VideoReader, read_image

HOPPER, CLIP = (bundled("examples", name) for name in ("grace_hopper.jpg", "driving.mp4"))


@pytest.fixture(scope="module")
def networks():
    return load_checkpoints(cpu=True)


@pytest.fixture(scope="module")
def watched():
    """Give the motion of the bundled clip's first second and a half."""
    return watch_video(CLIP, Excerpt(0.0, 1.5))


def read_frames(path) -> list[np.ndarray]:
    with VideoReader(path) as reader:
        return list(reader)


def test_a_template_keeps_how_a_face_moves(tmp_path, watched):
    """What comes back turns, speaks and blinks as the clip does, to the precision of 16 bits."""
    file = tmp_path / f"clip{SUFFIX}"
    write_template(file, watched)
    back = read_template(file)
    assert (back.num_frames, back.fps) == (watched.num_frames, watched.fps)
    turns = Rotation.from_matrix(back.motion.rotation @ watched.motion.rotation.swapaxes(1, 2))
    assert np.degrees(turns.magnitude()).max() < 0.05
    before, after = measure_units(watched.motion), measure_units(back.motion)
    for unit in before:
        assert after[unit] == pytest.approx(before[unit], abs=0.05), unit
    assert file.stat().st_size < 160 * watched.num_frames + 1000


def test_a_template_does_not_tell_whose_face_it_was(tmp_path, watched):
    """A longer nose, a wider mouth and another camera give the same file."""
    motion = watched.motion
    other = type(motion)(
        motion.rotation,
        motion.centre * 3 + 70,
        motion.size * 3,
        motion.shape + np.random.default_rng(0).normal(size=(15, 3)),
        motion.lips,
        motion.lids * 1.5,
    )
    files = [tmp_path / f"{name}{SUFFIX}" for name in ("a", "b")]
    for file, moved in zip(files, (motion, other), strict=True):
        write_template(file, Template(moved, watched.presence))
    one, two = (read_template(file).motion for file in files)
    for name in ("rotation", "centre", "size", "shape", "lips", "lids"):
        assert getattr(one, name) == pytest.approx(getattr(two, name), abs=2e-3), name
    assert one.shape.mean(axis=0) == pytest.approx(neutral_face().shape[0], abs=0.2)


def test_a_part_of_a_template_in_time(watched, tmp_path):
    file = tmp_path / f"clip{SUFFIX}"
    gone = Template(watched.motion, Presence(((5, 20),), watched.fps))
    write_template(file, gone)
    part = read_template(file, Excerpt(0.4, 0.6))
    assert (part.num_frames, part.presence.gaps) == (15, ((0, 10),))
    assert part.motion.lips == pytest.approx(read_template(file).motion.lips[10:25])


def test_a_template_moves_a_photo_as_its_video_does(tmp_path, networks, watched):
    """The same frames, but for what 16 bits and the face in the clip make."""
    file = tmp_path / f"clip{SUFFIX}"
    write_template(file, watched)
    framing, excerpt = Framing(paste_back=False), Excerpt(0.0, 1.5)
    for driving, name in ((CLIP, "video"), (file, "template")):
        animate_file(
            HOPPER, driving, tmp_path / name, *networks,
            framing=framing, excerpt=excerpt, marking=Marking(mark=False), progress=False,
        )  # fmt: skip
    made = [
        [read_image(f).astype(int) for f in sorted((tmp_path / n).iterdir())] for n in ("video", "template")
    ]
    assert len(made[0]) == len(made[1]) == watched.num_frames
    moved = max(np.abs(frame - made[0][0]).mean() for frame in made[0])
    for one, two in zip(*made, strict=True):
        assert np.abs(one - two).mean() < 0.1 * moved


WANTED = {  # the unit that each template moves most, and by how much it has to range in the result
    "nod": ("pitch", 8), "look-around": ("yaw", 18), "blink": ("eyes", 0.25), "smile": ("smile", 0.25),
    "surprise": ("mouth", 0.2), "talk": ("mouth", 0.2),
}  # fmt: skip


@pytest.mark.parametrize("name", MOTIONS)
def test_the_templates_that_ship_do_what_they_are_called(tmp_path, networks, name, capsys):
    """From the command line to a video, in which the mesh sees it; the photo is at rest at the end."""
    unit, least = WANTED[name]
    result = tmp_path / "out.mp4"
    # without the mark, whose random bits are noise to the mesh: eyes behind glasses range by 0.25 to 0.35
    given = ["--motion", name, "-o", str(result), "--duration", "2.2", "--no-mark"]
    assert main(["animate", str(HOPPER), *given]) == 0
    template = read_template(find_template(name))
    assert find_template(name).stat().st_size < 15_000 and template.fps == 25
    frames = read_frames(result)
    assert len(frames) == min(template.num_frames, 55)
    motion, _ = watch_frames(frames)
    units = measure_units(motion, motion.take(0))
    assert np.ptp(units[unit]) > least, units[unit]
    others = {"yaw", "pitch"} - {unit} if name in ("blink", "smile") else set()
    for other in others:
        assert np.ptp(units[other]) < 6, other
    capsys.readouterr()


def test_the_numbers_of_a_clip_as_a_table_and_a_page(tmp_path, capsys):
    """The drawn clip is 25 frames a second; its numbers are those of the mesh."""
    table, page, kept = tmp_path / "a.csv", tmp_path / "a.html", tmp_path / f"a{SUFFIX}"
    asked = ["motion", str(CLIP), "--duration", "0.6", "-o", str(kept)]
    assert main([*asked, "--describe", str(table)]) == 0
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    units = measure_units(watch_video(CLIP, Excerpt(0.0, 0.6)).motion)
    assert list(rows[0]) == ["frame", "seconds", *units] and len(rows) == 15
    for unit, values in units.items():
        assert [float(row[unit]) for row in rows] == pytest.approx(values, abs=1e-3), unit
    assert main(["motion", str(kept), "--describe", str(page)]) == 0
    text = page.read_text()
    assert text.count("<svg") == len(units) and "yaw, degrees" in text and "<script" not in text
    assert "a.motion.safetensors: 15 frames" in capsys.readouterr().out
