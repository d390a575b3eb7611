"""The driver's mesh moves the photo: what is asked of the networks, and what is written."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from test_framing import backdrop, head

from fomm import Animator, Framing, InputError, Motion, animate_file, load_checkpoints, make_animation
from fomm.animation.framing import driver_faces, photo_squares
from fomm.animation.motion import (
    FaceMotion,
    choose_reference,
    fill_frames,
    hold_motion,
    join_motions,
    measure_motion,
    open_lids,
    smooth_motion,
)
from fomm.animation.options import Excerpt, Marking
from fomm.animation.photo import ROOM
from fomm.animation.photo_face import PhotoFace, find_photo_face, measure_rest
from fomm.animation.presence import ALWAYS, Presence
from fomm.animation.watch import watch_frames
from fomm.bundled import bundled
from fomm.evaluation.cutoff import border_change, largest_change, straight_step
from fomm.face import Face, detect_faces, face_mesh
from fomm.heads.bust import ASSETS
from fomm.media import VideoReader, read_image, save_video
from fomm.media.resize import resize
from fomm.model import Keypoints

UNMARKED = Marking(mark=False)  # for those who compare pixels
ASTRONAUT, HOPPER, GROUP, CLIP = (
    bundled("examples", name) for name in ("astronaut.png", "grace_hopper.jpg", "group.jpg", "driving.mp4")
)


@pytest.fixture(scope="module")
def networks():
    return load_checkpoints(cpu=True)


@pytest.fixture(scope="module")
def portrait():
    """Give the astronaut as the networks see her, and her face."""
    picture = read_image(ASTRONAUT)
    picture = resize(picture[: picture.shape[1]], (256, 256))
    face = find_photo_face(picture)
    assert face is not None
    return picture, face


@pytest.fixture(scope="module")
def mesh(portrait):
    return face_mesh(*portrait).points.astype(float)


def turned(points, degrees, about="y"):
    """Return a mesh, turned about the middle of the picture and its own depth."""
    rotation = Rotation.from_euler(about, degrees, degrees=True).as_matrix()
    middle = points.mean(0)
    return (points - middle) @ rotation.T + middle


# -- what is measured --------------------------------------------------------------------------------


@pytest.mark.smoke
def test_place_size_and_turn_are_apart_from_the_shape(mesh):
    """The same face, elsewhere, larger and turned: only what moves the head as a whole changes."""
    before = measure_motion(mesh[None])
    after = measure_motion((turned(mesh, 20) * 1.5 + [40, -10, 3])[None])
    assert after.size / before.size == pytest.approx(1.5)
    turn = Rotation.from_matrix(after.rotation[0] @ before.rotation[0].T).as_euler("xyz", degrees=True)
    assert turn == pytest.approx([0, 20, 0], abs=1e-6)
    for name in ("shape", "lips", "lids"):
        assert getattr(after, name) == pytest.approx(getattr(before, name)), name


@pytest.mark.smoke
def test_a_head_that_only_turns_keeps_its_centre(mesh):
    """It turns about a point inside of it. The middle of its face moves aside by a third of its width."""
    pivot = measure_motion(mesh[None])
    depth = pivot.rotation[0] @ np.array([0, 0.4, 1.6]) * pivot.size[0]
    inside = mesh[:, :2].mean(0)
    centre = np.append(pivot.centre[0], (mesh[:, 2].mean() + depth[2]))
    rotation = Rotation.from_euler("y", 25, degrees=True).as_matrix()
    after = (mesh - centre) @ rotation.T + centre
    assert np.abs(after[:, :2].mean(0) - inside)[0] > 15
    # not exactly: the mean of all points has another depth than that of the still ones
    moved = measure_motion(after[None]).centre[0] - pivot.centre[0]
    assert np.abs(moved).max() < 0.25 * np.abs(after[:, 0].mean() - inside[0])


def motion_of(meshes):
    return measure_motion(np.stack(meshes))


@pytest.mark.smoke
def test_frames_between_are_filled(mesh):
    motion = fill_frames(motion_of([mesh, turned(mesh, 20)]), [2, 6], 9)
    angles = Rotation.from_matrix(motion.rotation @ motion.rotation[0].T).magnitude()
    assert np.degrees(angles) == pytest.approx([0, 0, 0, 5, 10, 15, 20, 20, 20], abs=0.2)
    assert np.linalg.det(motion.rotation) == pytest.approx(np.ones(9))


@pytest.mark.smoke
def test_motion_is_held_in_gaps(mesh):
    motion = motion_of([turned(mesh, angle) for angle in range(8)])
    held = hold_motion(motion, [(0, 2), (4, 6)])
    assert held.centre[:, 0].tolist() == motion.centre[[2, 2, 2, 3, 3, 3, 6, 7], 0].tolist()


@pytest.mark.smoke
def test_smoothing_comes_at_no_delay(mesh):
    """A trembling face is calmer, and an even movement stays what it is."""
    rng = np.random.default_rng(0)
    steps = np.arange(50.0)[:, None, None] * [1.0, 0, 0]
    even = motion_of(mesh + steps)
    trembling = motion_of(mesh + steps + rng.normal(0, 0.3, (50, len(mesh), 3)))
    calm = smooth_motion(trembling, 25)
    inner = slice(5, -5)
    assert smooth_motion(even, 25).centre[inner] == pytest.approx(even.centre[inner])
    before, after = (np.std((m.centre - even.centre)[inner]) for m in (trembling, calm))
    assert after < 0.7 * before
    assert np.std((calm.lips - even.lips)[inner]) < 0.9 * np.std((trembling.lips - even.lips)[inner])


@pytest.mark.smoke
def test_motion_starts_from_the_first_frame_unless_it_is_turned_away(mesh):
    rest = measure_motion(mesh[None])
    motion = motion_of([turned(mesh, angle) for angle in (10, 5, 0, 30)])
    assert choose_reference(motion, rest, None, ALWAYS) == 0
    assert choose_reference(motion, rest, "auto", ALWAYS) == 2
    assert choose_reference(motion, rest, 3, ALWAYS) == 3
    far = motion_of([turned(mesh, angle) for angle in (25, 20, 2, 30)])
    assert choose_reference(far, rest, None, ALWAYS) == 2
    assert choose_reference(far, rest, None, Presence(((2, 4),), 25)) == 0  # the better ones are not seen
    for wrong in (-1, 4):
        with pytest.raises(InputError, match=rf"best_frame is {wrong}; expected a number from 0 to 3"):
            choose_reference(motion, rest, wrong, ALWAYS)


@pytest.mark.smoke
def test_a_blink_is_no_measure_of_open_eyes(mesh):
    motion = motion_of([mesh] * 8)
    blink = replace(motion, lids=motion.lids * np.array([0.1] + [1.0] * 7)[:, None])
    assert open_lids(blink.take(0), blink).lids == pytest.approx(motion.lids[:1])


# -- who drives --------------------------------------------------------------------------------------


def box(x0, x1):
    return Face(np.float32([x0, 0, x1, x1 - x0]), 1.0, np.zeros((6, 2), np.float32))


@pytest.mark.smoke
def test_who_stays_while_the_driver_is_gone_does_not_drive():
    """The larger one drives, is lost in two frames, and comes back elsewhere."""
    found = [
        (0, [box(0, 70), box(100, 130)]),
        (3, [box(1, 71), box(100, 130)]),
        (6, [box(100, 130)]),
        (9, [box(100, 130)]),
        (12, [box(200, 270), box(100, 130)]),
        (15, [box(201, 271), box(300, 308)]),
    ]
    places = {number: float(face.box[0]) for number, face in driver_faces(found).items()}
    assert places == {0: 0, 3: 1, 12: 200, 15: 201}
    assert driver_faces([(0, []), (3, [])]) == {}


# -- where the key points go -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photo_face(portrait):
    picture, face = portrait
    jacobian = torch.eye(2).repeat(1, 16, 1, 1)
    return PhotoFace(measure_rest(picture, face), Keypoints(torch.zeros(1, 16, 2), jacobian))


@pytest.mark.smoke
def test_a_face_that_keeps_still_moves_nothing(photo_face):
    rest = photo_face.rest
    moved = photo_face.move(rest, replace(rest, lids=rest.lids))
    assert moved.value == pytest.approx(photo_face.keypoints.value, abs=1e-5)
    assert moved.jacobian == pytest.approx(photo_face.keypoints.jacobian, abs=1e-5)


@pytest.mark.smoke
def test_a_head_that_leans_leans(photo_face):
    """Key points turn about the head's centre, the local maps with them; the neck stays."""
    rest = photo_face.rest
    lean = Rotation.from_euler("z", 10, degrees=True).as_matrix()
    moved = photo_face.move(replace(rest, rotation=lean[None] @ rest.rotation), rest)
    before = photo_face.keypoints.value[0, :15].numpy() - rest.centre
    angle = 40 * np.tanh(10 / 40)  # what is asked for is bounded
    softer = Rotation.from_euler("z", angle, degrees=True).as_matrix()[:2, :2]
    assert moved.value[0, :15].numpy() - rest.centre == pytest.approx(before @ softer.T, abs=1e-4)
    assert moved.jacobian[0, 0].numpy() == pytest.approx(softer, abs=1e-5)
    assert moved.value[0, 15].tolist() == [0, 0] and moved.jacobian[0, 15].tolist() == [[1, 0], [0, 1]]


@pytest.mark.smoke
@pytest.mark.parametrize(("asked", "comes"), [(0.02, 0.02), (0.3, 0.2285), (3.0, 0.3)])
def test_small_shifts_are_whole_and_large_ones_bounded(photo_face, asked, comes):
    """In units of the head's size; 0.3 tanh(1) is 0.2285."""
    rest = photo_face.rest
    away = replace(rest, centre=rest.centre + np.array([asked * rest.size[0], 0]))
    for shift in (1.0, 0.5, 0.0):
        moved = photo_face.move(away, rest, Motion(shift=shift)).value - photo_face.keypoints.value
        assert moved[0, :15, 0].numpy() == pytest.approx(shift * comes * rest.size[0], rel=0.01, abs=1e-6)
        assert moved[0, :15, 1].abs().max() < 1e-6 and moved[0, 15].abs().max() == 0


@pytest.mark.smoke
def test_lips_and_lids_are_as_far_apart_as_asked(photo_face):
    """Lips absolutely, in units of the face's size; lids as shares of open ones, 1.3 times."""
    rest = photo_face.rest
    size = rest.size[0]

    def gap(points, pair):
        return float(np.linalg.norm(points[0, pair[1]] - points[0, pair[0]]))

    before = photo_face.keypoints.value.numpy()
    for lips in (0.0, 0.1, 0.5):
        after = photo_face.move(replace(rest, lips=np.array([lips])), rest).value.numpy()
        opened = gap(after, (6, 7)) - gap(before, (6, 7))
        assert opened == pytest.approx((lips - rest.lips[0]) * size, abs=1e-4)
    half = photo_face.move(replace(rest, lids=rest.lids * 0.8), rest).value.numpy()
    shut = photo_face.move(replace(rest, lids=rest.lids * 0.1), rest).value.numpy()
    for eye, pair in enumerate(((0, 2), (1, 3))):
        wide = rest.lids[0, eye] * size
        assert gap(half, pair) - gap(before, pair) == pytest.approx(-0.26 * wide, abs=1e-4)
        assert gap(shut, pair) - gap(before, pair) == pytest.approx(-wide, abs=1e-4)


def test_what_is_asked_for_is_what_gives_the_wanted(photo_face, portrait):
    """A painter that moves lips by half of what is asked is asked for twice as much."""
    picture, face = portrait
    learned = PhotoFace(measure_rest(picture, face), photo_face.keypoints)
    asked = []

    def render(keypoints):
        asked.append(keypoints)
        return np.repeat(picture[None], len(keypoints.value), 0)

    learned.calibrate(render, face)  # by a painter that paints nothing of it
    assert len(asked[0].value) == 13
    # it is useless to ask more of it than nothing, and turns are asked for as far as is allowed
    still = learned.move(replace(photo_face.rest, lips=np.array([0.5])), photo_face.rest)
    lowest = learned.move(replace(photo_face.rest, lips=np.array([0.0])), photo_face.rest)
    assert still.value == pytest.approx(lowest.value)
    turn = Rotation.from_euler("y", 5, degrees=True).as_matrix()[None] @ photo_face.rest.rotation
    after = learned.move(replace(photo_face.rest, rotation=turn), photo_face.rest).value
    before = photo_face.move(replace(photo_face.rest, rotation=turn), photo_face.rest).value
    nose, nose_after, nose_before = (v[0, 8, 0] for v in (photo_face.keypoints.value, after, before))
    assert 1.6 < (nose_after - nose) / (nose_before - nose) < 1.9


# -- what is written ---------------------------------------------------------------------------------


def changes_at_the_border(photo, frames, square):
    """Return the longest straight step in the change from the photo near the square's border, over its side.

    Inside of the square, heads and walls have straight outlines of their own.
    """
    x0, y0, x1, y1 = (round(value) for value in square)
    depth = round(0.12 * square.width)
    longest = 0
    for frame in frames:
        change = largest_change(photo, [frame])[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
        for part in (change[:depth], change[-depth:], change[:, :depth], change[:, -depth:]):
            longest = max(longest, straight_step(part))
    return longest / square.width


def drawn_driver(path, shift):
    """Write a drawn head that wanders by a quarter of the picture while it speaks and turns."""
    with VideoReader(CLIP, start=1.6, duration=1.2) as reader:
        talk = [resize(frame, (180, 180)) for frame in reader]
    frames = []
    for t, frame in enumerate(talk):
        picture = np.full((360, 360, 3), 110, np.uint8)
        x, y = (round(90 + 90 * axis * min(t / 20, 1)) for axis in shift)
        picture[y : y + 180, x : x + 180] = frame
        frames.append(picture)
    save_video(path, frames, 25)


@pytest.mark.parametrize("shift", [None, (1, 0), (-1, 0), (0, 1), (0, -1)])
@pytest.mark.parametrize("photo", [ASTRONAUT, HOPPER], ids=["astronaut", "hopper"])
def test_nothing_is_cut_off(tmp_path, networks, photo, shift):
    """No pixel in the outermost 3 % of the square differs from the photo by more than 8 levels."""
    excerpt, driver = Excerpt(start=1.6, duration=3.0), CLIP
    if shift is not None:
        excerpt, driver = Excerpt(), tmp_path / "drawn.mp4"
        drawn_driver(driver, shift)
    animate_file(
        photo, driver, tmp_path / "out", *networks, excerpt=excerpt, marking=UNMARKED, progress=False
    )
    picture = read_image(photo)
    frames = [read_image(file) for file in sorted((tmp_path / "out").iterdir())]
    (square,) = photo_squares(picture, "auto", None, "photo", 0, room=ROOM)
    assert border_change(picture, frames, square) <= 8
    assert changes_at_the_border(picture, frames[::3], square) <= 1 / 8
    assert max(np.abs(frame.astype(int) - picture).max() for frame in frames) > 60  # it does move


def test_nothing_is_cut_off_in_a_group(tmp_path, networks):
    framing = Framing(face="all")
    excerpt = Excerpt(start=1.8, duration=0.6)
    options = {"framing": framing, "excerpt": excerpt, "marking": UNMARKED}
    animate_file(GROUP, CLIP, tmp_path / "out", *networks, **options, progress=False)
    picture = read_image(GROUP)
    frames = [read_image(file) for file in sorted((tmp_path / "out").iterdir())]
    squares = photo_squares(picture, "auto", "all", "photo", 0, room=ROOM)
    # where squares overlap, another face may move in the border of one
    inside = np.zeros((len(squares), *picture.shape[:2]), bool)
    for part, (x0, y0, x1, y1) in zip(inside, squares, strict=True):
        part[max(round(y0), 0) : round(y1), max(round(x0), 0) : round(x1)] = True
    for number, square in enumerate(squares):
        others = np.delete(inside, number, 0).any(0)
        alone = [np.where(others[..., None], picture, frame) for frame in frames]
        assert border_change(picture, alone, square) <= 8


def test_a_clip_that_begins_turned_starts_from_a_better_frame(tmp_path, networks):
    with VideoReader(CLIP, start=2.0, duration=1.6) as reader:
        talk = list(reader)
    poses = [measure_motion(face_mesh(f, detect_faces(f)[0]).points[None]).rotation[0] for f in talk]
    angles = [np.degrees(Rotation.from_matrix(p @ poses[-1].T).magnitude()) for p in poses]
    most = int(np.argmax(angles))
    save_video(tmp_path / "turned.mp4", talk[most:], 25)
    with pytest.warns(UserWarning, match=r"turned away .* from frame \d+, .*best_frame 0 is the first"):
        animate_file(ASTRONAUT, tmp_path / "turned.mp4", tmp_path / "out", *networks, progress=False)


# -- which driver ------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_options_that_cannot_be_used_are_said(networks, tiny):
    with pytest.raises(InputError, match=r"driver is eyes; expected 'mesh' or 'keypoints'"):
        Motion(driver="eyes")
    with pytest.raises(InputError, match=r"shift is 2; expected a number in \[0, 1\]"):
        Motion(shift=2)
    with pytest.raises(InputError, match=r"'mesh' moves a photo relative to a reference frame.*'keypoints'"):
        Motion(driver="mesh", relative=False)
    noise = np.random.default_rng(0).random((64, 64, 3), dtype=np.float32)
    with pytest.raises(InputError, match=r"needs weights whose key points are labelled.*'keypoints'"):
        Animator(noise, *tiny, motion=Motion(driver="mesh"))
    wall = np.full((256, 256, 3), 90, np.uint8)
    with pytest.raises(InputError, match=r"no face was found in the part of the photo.*'keypoints'"):
        Animator(wall, *networks, motion=Motion(driver="mesh"))


def test_without_a_face_the_key_points_drive(networks, portrait):
    """Where nobody asked for the mesh, a photo or a video without a face moves as before, and it is said."""
    picture, _ = portrait
    street = resize(read_image(ASSETS / "venice.png"), (256, 256))
    frames = [np.roll(street, 3 * t, 1) for t in range(3)]
    with pytest.warns(UserWarning, match=r"driving_video: hardly any face was found; .* own key points"):
        made = make_animation(picture, frames, *networks, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = make_animation(picture, frames, *networks, driver="keypoints", progress=False)
    assert np.array_equal(made, same)
    with pytest.warns(UserWarning, match=r"no face was found in the part of the photo"):
        made = make_animation(street, [picture] * 2, *networks, progress=False)
    assert len(made) == 2
    with pytest.raises(InputError, match=r"driving_video: hardly any face was found.*'keypoints'"):
        make_animation(picture, frames, *networks, driver="mesh", progress=False)


def test_a_part_of_the_video_that_is_given_is_looked_at_alone(tmp_path, networks):
    """Two faces: the left one is larger; the rectangle asks for the right one, or for the wall."""
    frames = [backdrop((640, 256), (head(0, 200), 20, 30), (head(1, 140), 420, 60))] * 4
    save_video(tmp_path / "two.mp4", frames, 10)
    motions = {}
    for name, crop in (("auto", "auto"), ("right", (400, 40, 200, 200)), ("wall", (250, 0, 100, 100))):
        from fomm.animation.driving import DrivingVideo

        motions[name] = DrivingVideo(VideoReader(tmp_path / "two.mp4"), crop, (256, 256), watch=True).motion
    assert motions["auto"].centre[0, 0] < 240 < 420 < motions["right"].centre[0, 0]
    assert motions["wall"] is None
    framing = Framing(crop_driving=(250, 0, 100, 100))
    with pytest.warns(UserWarning, match=r"two\.mp4: hardly any face was found; .* own key points"):
        animate_file(
            ASTRONAUT, tmp_path / "two.mp4", tmp_path / "out", *networks, framing=framing, progress=False
        )


def test_arrays_and_files_are_moved_alike(tmp_path, networks, portrait):
    """The same frames, from a lossless file and from memory, with the driver found in both."""
    with VideoReader(CLIP, start=1.8, duration=0.4) as reader:
        frames = list(reader)
    made = make_animation(portrait[0], frames, *networks, progress=False)
    animator = Animator(portrait[0], *networks)
    watched = watch_frames(frames)
    assert watched is not None and isinstance(watched[0], FaceMotion)
    again = list(animator.animate_motion(*watched))
    assert np.array_equal(made, again)
    assert np.array_equal(made, list(animator.animate(frames)))
    with pytest.raises(InputError, match=r"give Motion a best_frame"):
        next(animator.animate(frames, Keypoints(torch.zeros(1, 16, 2))))
    joined = join_motions([watched[0].take(slice(0, 4)), watched[0].take(slice(4, None))])
    assert np.array_equal(joined.lips, watched[0].lips)
