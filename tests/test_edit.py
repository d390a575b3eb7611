"""A hand on the parts of the face: strengths of a driver's motion, and edits of a photo."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fomm import Edit, Framing, InputError, Motion, animate_file, edit, load_checkpoints
from fomm.animation.edit import show_edit
from fomm.animation.motion import LABELLED_POINTS, measure_motion, neutral_face
from fomm.animation.option_table import parts_option, strength_option
from fomm.animation.options import EXACT, PARTS, Excerpt
from fomm.animation.photo import MovedPhoto
from fomm.animation.units import UNITS, act, measure_units
from fomm.animation.watch import watch_frames
from fomm.bundled import bundled
from fomm.cli import main
from fomm.face import detect_faces, face_mesh, face_meshes
from fomm.media import VideoReader, read_image

ASTRONAUT, HOPPER, CLIP = (
    bundled("examples", name) for name in ("astronaut.png", "grace_hopper.jpg", "driving.mp4")
)


@pytest.fixture(scope="module")
def networks():
    return load_checkpoints(cpu=True)


@pytest.fixture(scope="module")
def photos(networks):
    """Give both portraits, ready to be moved, and the mesh of each."""
    ready = {}
    for file in (ASTRONAUT, HOPPER):
        picture = read_image(file)
        (face,) = detect_faces(picture)
        ready[file.stem] = MovedPhoto(picture, file.name, *networks), face_mesh(picture, face).points
    return ready


def painted(photo, *edits):
    """Return how the face of a photo looks after each edit, by the mesh: a motion of T frames."""
    (animator,) = photo.animators
    pictures = [animator.painter.pictures(animator.edit(e))[0] for e in (Edit(), *edits)]
    (face,) = detect_faces(pictures[0])
    meshes = face_meshes(pictures, [face] * len(pictures))
    return measure_motion(np.stack([mesh.points for mesh in meshes]))


# -- edits -------------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_an_edit_that_changes_nothing_gives_the_photo(photos):
    for photo, _ in photos.values():
        assert np.array_equal(show_edit(photo, Edit()), photo.picture)


@pytest.mark.parametrize("name", ["astronaut", "grace_hopper"])
def test_an_edit_moves_its_part_and_leaves_the_rest(photos, name):
    """A mouth leaves all above the bridge of the nose, and eyes and brows leave all below the nose."""
    photo, mesh = photos[name]
    bridge, nose = int(mesh[197, 1]), int(mesh[2, 1])
    upper, lower = slice(None, bridge), slice(nose, None)
    for change, moves, stays in (
        (Edit(mouth=0.4), lower, upper),
        (Edit(smile=0.5), lower, upper),
        (Edit(eyes=0), upper, lower),
        (Edit(brows=1), upper, lower),
    ):
        difference = np.abs(show_edit(photo, change).astype(int) - photo.picture)
        assert difference[stays].max() <= 2, change
        assert difference[moves].max() > 50, change


@pytest.mark.parametrize("name", ["astronaut", "grace_hopper"])
def test_the_head_turns_by_the_angles_that_were_asked_for(photos, name):
    edits = (Edit(yaw=10), Edit(yaw=-10), Edit(pitch=8), Edit(pitch=-8), Edit(roll=10), Edit(roll=-10))
    motion = painted(photos[name][0], *edits)
    units = measure_units(motion.take(slice(1, None)), motion.take(0))
    for number, change in enumerate(edits):
        for angle in ("yaw", "pitch", "roll"):
            wanted = getattr(change, angle)
            assert units[angle][number] == pytest.approx(wanted, abs=4), (change, angle)


@pytest.mark.parametrize("name", ["astronaut", "grace_hopper"])
def test_mouth_eyes_smile_and_brows_follow(photos, name):
    """Each number of an edit, up and down, is seen by the mesh on what was painted."""
    photo, _ = photos[name]
    for unit, low, high, least in (
        ("mouth", Edit(), Edit(mouth=0.5), 0.2),
        ("eyes", Edit(eyes=0.3), Edit(), 0.25),
        ("smile", Edit(smile=-1), Edit(smile=1), 0.6),
        ("brows", Edit(brows=-1), Edit(brows=1), 0.2),
    ):
        motion = painted(photo, low, high)
        measured = measure_units(motion.take(slice(1, None)), motion.take(0))[unit]
        if unit in ("smile", "brows"):
            measured = measured / 0.5  # what is painted is the edit itself, not half of a driver's change
        assert measured[1] - measured[0] > least, (unit, measured)


def test_units_are_what_was_acted():
    """A neutral face that acts edits is measured as these edits."""
    edits = [Edit(), Edit(12, -5, 3, 0.4, 0.7, 0.5, 0.3), Edit(-20, 10, -8, 1, 1.2, -0.5, -1)]
    units = measure_units(act(edits), neutral_face())
    for name in UNITS:
        assert units[name] == pytest.approx([getattr(e, name) for e in edits]), name
    assert len(neutral_face().shape[0]) == len(LABELLED_POINTS)


def test_another_face_gives_its_pose_and_expression(photos):
    """Turned faces turn the photo as far, or with ``relative=False`` to their own pose."""
    photo, _ = photos["grace_hopper"]
    (animator,) = photo.animators
    rest = animator.face.rest
    other = act([Edit(yaw=-12, mouth=0.6)])
    other = replace(other, centre=other.centre + 5, size=other.size * 3)
    turns = {}
    for relative in (True, False):
        pictures = animator.painter.pictures(animator.edit(Edit(), other, relative=relative))
        (face,) = detect_faces(photo.sources[0])
        seen = measure_motion(face_mesh(pictures[0], face).points[None])
        turns[relative] = measure_units(seen, neutral_face())["yaw"][0]
        assert seen.lips[0] > rest.lips[0] + 0.15
    start = measure_units(rest, neutral_face())["yaw"][0]
    assert turns[True] == pytest.approx(start - 12, abs=4)
    assert turns[False] == pytest.approx(-12, abs=4)


def test_the_function_and_the_command_write_the_same(tmp_path, networks, capsys):
    change = Edit(yaw=10, smile=0.5)
    frame = edit(HOPPER, change, *networks, compute=EXACT)
    assert frame.shape == read_image(HOPPER).shape and frame.dtype == np.uint8
    options = ["--yaw", "10", "--smile", "0.5", "--engine", "torch", "--precision", "float32", "--no-mark"]
    assert main(["edit", str(HOPPER), "-o", str(tmp_path / "out.png"), *options]) == 0
    assert np.array_equal(read_image(tmp_path / "out.png"), frame)
    assert b"AI-generated" in (tmp_path / "out.png").read_bytes()
    like = edit(HOPPER, Edit(), *networks, like=ASTRONAUT, framing=Framing(paste_back=False))
    assert like.shape == (256, 256, 3)
    capsys.readouterr()


@pytest.mark.smoke
def test_what_cannot_be_edited_is_said(tmp_path, networks, tiny, capsys):
    with pytest.raises(InputError, match=r"smile is 3; expected a number in \[-1, 1\]"):
        Edit(smile=3)
    with pytest.raises(InputError, match=r"yaw is nan; expected"):
        Edit(yaw=float("nan"))
    with pytest.raises(InputError, match=r"eyes is -1; expected a number in \[0, 2\]"):
        Edit(eyes=-1)
    wall = np.full((300, 300, 3), 90, np.uint8)
    with pytest.raises(InputError, match=r"the photo: no face was found"):
        edit(wall, Edit(), *networks)
    with pytest.raises(InputError, match=r"the picture of the other face: no face was found"):
        edit(ASTRONAUT, Edit(), *networks, like=wall)
    with pytest.raises(InputError, match=r"needs weights whose key points are labelled"):
        edit(ASTRONAUT, Edit(), *tiny)
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    for words, message in (
        ([str(text), "-o", str(tmp_path / "a.png")], "it is not a picture"),
        ([str(ASTRONAUT), "-o", str(tmp_path / "a.mp4")], "the suffix must be .png"),
        ([str(ASTRONAUT), "-o", str(tmp_path / "no" / "a.png")], "no"),
        ([str(ASTRONAUT), "-o", str(tmp_path / "a.png"), "--yaw", "much"], "'much' is not a number"),
        ([str(ASTRONAUT), "-o", str(tmp_path / "a.png"), "--yaw", "400"], "yaw is 400"),
        ([str(ASTRONAUT), "-o", str(ASTRONAUT)], "is the photo itself"),
        ([str(ASTRONAUT), "-o", str(tmp_path / "a.png"), "--like", str(tmp_path / "b.png")], "b.png"),
    ):
        try:
            status = main(["edit", *words])
        except SystemExit as stop:
            status = stop.code
        assert status != 0 and message in capsys.readouterr().err, words
    assert [path.name for path in tmp_path.iterdir()] == ["text.jpg"]


# -- strengths ---------------------------------------------------------------------------------------


def driver():
    """Return a face that turns, opens its mouth, half shuts its eyes and lifts its brows, and one at rest."""
    moved = act([Edit(yaw=8, mouth=0.4, eyes=0.7, smile=0.5, brows=1)])
    return replace(moved, centre=np.full((1, 2), 0.2), size=np.full(1, 1.05)), neutral_face()


MOVED_BY = {  # which key points each part moves; the head's turn moves all of the face
    "mouth": {4, 5, 7, 9},  # and the upper lip, which this driver keeps still
    "eyes": {0, 1, 2, 3},
    "brows": {10, 11},
    "pose": set(range(15)),
}


def moved_points(photo: MovedPhoto, motion: Motion) -> set[int]:
    face = photo.animators[0].face
    change = (face.move(*driver(), motion).value - face.keypoints.value)[0].norm(dim=1)
    return set(torch.nonzero(change > 1e-6).flatten().tolist())


@pytest.mark.parametrize("part", PARTS)
def test_a_part_alone_moves_and_the_others_rest(photos, part):
    photo, _ = photos["astronaut"]
    assert moved_points(photo, Motion(parts=(part,))) == MOVED_BY[part]
    others = {name: 0.0 for name in PARTS if name != part}
    assert moved_points(photo, Motion(strength=others)) == MOVED_BY[part]
    assert moved_points(photo, Motion(parts=())) == set()


def test_a_strength_makes_more_or_less_of_a_part(photos):
    """The driver's turn, brows, lids and mouth, by half, once and twice."""
    face = photos["grace_hopper"][0].animators[0].face
    points = {}
    for strength in (0.5, 1, 2):
        for part in PARTS:
            moved = face.move(*driver(), Motion(parts=(part,), strength={part: strength}))
            points[part, strength] = float((moved.value - face.keypoints.value)[0].norm(dim=1).max())
    for part in PARTS:  # what lips are asked for is calibrated, and so is not in proportion
        share = 0.95 if part == "mouth" else 0.7
        assert points[part, 0.5] < share * points[part, 1] < share**2 * points[part, 2], part
    whole = face.move(*driver()).value
    assert torch.equal(face.move(*driver(), Motion(strength=dict.fromkeys(PARTS, 1.0))).value, whole)


def test_an_edit_is_added_to_a_driven_face(photos):
    face = photos["grace_hopper"][0].animators[0].face
    rest = neutral_face()
    turned = act([Edit(yaw=8)])
    both = face.move(turned, rest, Motion(edit=Edit(yaw=-8)))
    assert torch.allclose(both.value, face.move(rest, rest).value, atol=1e-5)
    shut = face.move(turned, rest, Motion(edit=Edit(eyes=0))).value[0]
    seen = face.move(turned, rest).value[0]
    assert (shut[2] - shut[0]).norm() < 0.2 * (seen[2] - seen[0]).norm()


@pytest.mark.smoke
def test_strengths_that_cannot_be_used_are_said(photos, tiny):
    with pytest.raises(InputError, match=r"a face has no part ears; its parts are pose, mouth, eyes, brows"):
        Motion(strength={"ears": 1})
    with pytest.raises(InputError, match=r"a face has no part nose"):
        Motion(parts=("nose",))
    with pytest.raises(InputError, match=r"the strength of mouth is 3; expected a number in \[0, 2\]"):
        Motion(strength={"mouth": 3})
    with pytest.raises(InputError, match=r"a strength of a part.*does not go with the driver 'keypoints'"):
        Motion(parts=("mouth",), driver="keypoints")
    with pytest.raises(InputError, match=r"an edit of the face moves a photo relative"):
        Motion(edit=Edit(yaw=3), relative=False)
    with pytest.raises(InputError, match=r"a strength of a part of the face needs weights whose key points"):
        Motion(strength={"mouth": 1}).uses_mesh(labelled=False)
    assert strength_option("mouth=1.2, pose=0.5") == {"mouth": 1.2, "pose": 0.5}
    assert parts_option("mouth, eyes") == ("mouth", "eyes")
    for read, text, message in (
        (strength_option, "mouth", "'mouth' is not a part of a face and a number"),
        (strength_option, "mouth=x", "'x' is not a number"),
        (strength_option, "mouth=1,mouth=2", "two strengths of mouth"),
        (strength_option, "ear=1", "'ear' is not a part of a face"),
        (parts_option, "", "'' is not a part of a face"),
    ):
        with pytest.raises(Exception, match=message):
            read(text)


def test_a_face_that_speaks_with_a_still_head(tmp_path, networks):
    """From file to file: with ``parts`` the head's turn is gone from the result, and the mouth is not."""
    spread = {}
    for name, parts in (("all", None), ("mouth", ("mouth", "eyes"))):
        result = tmp_path / f"{name}.mp4"
        animate_file(
            HOPPER, CLIP, result, *networks,
            excerpt=Excerpt(1.0, 1.6), motion=Motion(parts=parts), progress=False,
        )  # fmt: skip
        with VideoReader(result) as reader:
            motion, _ = watch_frames(list(reader))
        units = measure_units(motion)
        spread[name] = {unit: float(np.ptp(units[unit])) for unit in ("yaw", "mouth")}
    assert spread["all"]["yaw"] > 8 > 3 > spread["mouth"]["yaw"], spread
    assert spread["mouth"]["mouth"] > 0.5 * spread["all"]["mouth"] > 0.1, spread
