"""What moves a live photo: smoothing, faces that come and go, by the mesh and by key points."""

import itertools

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from fomm import Animator, InputError, load_checkpoints
from fomm.animation import animator
from fomm.animation.motion import FaceMotion
from fomm.animation.options import EXACT, Framing, Motion
from fomm.animation.photo import MovedPhoto
from fomm.bundled import bundled
from fomm.face import face_mesh
from fomm.face.pose import eye_opening
from fomm.face.search import find_faces
from fomm.live import Live
from fomm.live.smoothing import Easing, MotionFilter, OneEuroFilter
from fomm.media import VideoReader, read_image
from fomm.media.resize import resize
from fomm.model import Keypoints

FPS = 25
PHOTO = bundled("examples", "astronaut.png")
SECOND = 1 / (2 * np.pi)  # Hz: the cutoff of a filter with a time constant of one second


@pytest.fixture(scope="module")
def shipped():
    return load_checkpoints(cpu=True)


@pytest.fixture(scope="module")
def talk():
    """Give frames of a drawn head that looks ahead, and some frames later is turned, HxWx3 uint8."""
    with VideoReader(bundled("examples", "driving.mp4"), start=1.6, duration=0.6) as reader:
        return list(reader)


def start(networks, *, framing=Framing(), photo=PHOTO, **motion):
    session = Live(*networks, framing=framing, motion=Motion(**motion), compute=EXACT)
    session.set_source(photo)
    return session


def on_canvas(*heads, size=(480, 640)):
    """Return a grey picture with heads in it: each a picture, its side, and its place x, y."""
    canvas = np.full((*size, 3), 90, np.uint8)
    for picture, side, (x, y) in heads:
        canvas[y : y + side, x : x + side] = resize(picture, (side, side))
    return canvas


def change(picture, other):
    """Return the mean difference of two pictures, in levels."""
    return float(np.abs(picture.astype(float) - other).mean())


# -- a filter for what trembles --------------------------------------------------------------------


def test_the_filter_at_rest_is_a_low_pass_filter():
    """With a time constant of one second, the newest value of a second later has half of the weight."""
    smooth = OneEuroFilter(SECOND, 0)
    one = np.ones(1)
    assert smooth(0 * one, 5.0) == 0
    assert smooth(one, 6.0) == pytest.approx(0.5)
    assert smooth(one, 7.0) == pytest.approx(0.75)
    assert smooth(one, 9.0) == pytest.approx(0.75 + 0.25 * 2 / 3)  # two seconds later two thirds


def test_its_cutoff_rises_with_the_speed():
    """A step of 5 in a second is a speed of 2.5 by its own filter: here that is 1 / (2 pi) Hz more."""
    smooth = OneEuroFilter(SECOND, SECOND / 2.5, SECOND)
    smooth(np.zeros(2), 0.0)
    np.testing.assert_allclose(smooth(np.array([3.0, 4.0]), 1.0), np.array([3, 4]) * 2 / 3)


def test_two_frames_at_once_do_no_harm():
    smooth = OneEuroFilter(1, 1)
    smooth(np.zeros(1), 1.0)
    assert 0 < smooth(np.ones(1), 1.0) < 0.2 and np.isfinite(smooth(np.ones(1), 1.0))


def make_motion(rotation, centre=(100.0, 80.0), size=20.0, lids=0.25):
    return FaceMotion(
        rotation.as_matrix()[None],
        np.array([centre], float),
        np.array([size], float),
        np.zeros((1, 15, 3)),
        np.array([0.1]),
        np.full((1, 2), lids),
    )


def test_a_still_face_is_steadier_than_it_is_measured():
    rng, smooth = np.random.default_rng(0), MotionFilter()
    noisy, calm = [], []
    for number in range(100):
        turn, place = rng.normal(0, 0.005, 3), 100 + rng.normal(0, 0.1, 2)
        motion = make_motion(Rotation.from_rotvec(turn), place, 20 + rng.normal(0, 0.1))
        for kept, one in ((noisy, motion), (calm, smooth(motion, number / FPS))):
            turned = Rotation.from_matrix(one.rotation).as_rotvec()[0]
            kept.append([*turned, *one.centre[0], one.size[0]])
            np.testing.assert_allclose(one.rotation[0] @ one.rotation[0].T, np.eye(3), atol=1e-9)
    steadier = np.std(calm[20:], axis=0) / np.std(noisy[20:], axis=0)
    assert steadier.max() < 0.65


def test_a_fast_turn_comes_hardly_late():
    """60 degrees a second, and a head that moves as wide as its face in a second."""
    smooth = MotionFilter()
    for number in range(25):
        time = number / FPS
        result = smooth(make_motion(Rotation.from_rotvec([0, time, 0]), (100 + 20 * time, 80)), time)
    late = time - Rotation.from_matrix(result.rotation[0]).as_rotvec()[1]
    assert 0 < late < 0.02
    assert 0 < time - (result.centre[0, 0] - 100) / 20 < 0.025


def test_pixels_do_not_matter():
    results = []
    for scale in (1, 3):
        smooth = MotionFilter()
        for number in range(5):
            place = np.array([100 + number**2, 80 - number]) * scale
            result = smooth(make_motion(Rotation.identity(), place, (20 + number) * scale), number / FPS)
        results.append(np.append(result.centre, result.size) / scale)
    np.testing.assert_allclose(*results)


# -- key points while faces come and go --------------------------------------------------------------


def at(place: float) -> list[Keypoints]:
    return [Keypoints(torch.full((1, 2, 2), place), torch.full((1, 2, 2, 2), 2 * place))]


REST = at(0.0)


def follow(easing, moments, place):
    """Return where the first key point is at some moments (seconds), while it is wanted at ``place``."""
    wanted = None if place is None else at(place)
    places = []
    for moment in moments:
        (points,) = easing(wanted, REST, moment)
        assert torch.allclose(points.jacobian, 2 * points.value[..., None].expand(1, 2, 2, 2))
        places.append(float(points.value[0, 0, 0]))
    return places


def test_what_is_seen_from_the_first_frame_on_is_followed_at_once():
    easing, wanted = Easing(), at(1.0)
    assert easing.resting and easing(wanted, REST, 7.0) is wanted and not easing.resting


def test_a_face_that_is_gone_is_held_and_eased_to_rest_and_taken_up_softly():
    easing = Easing()
    assert follow(easing, [0.0, 1.0], 1.0) == [1, 1]
    assert follow(easing, [1.1, 1.3, 1.49], None) == [1, 1, 1] and not easing.resting
    assert follow(easing, [1.5, 1.75], None) == [1, 0.5] and easing.resting
    assert easing(None, REST, 2.0) is REST and easing(None, REST, 9.0) is REST
    assert follow(easing, [10.0, 10.25, 10.5, 11.0], 2.0) == [0, 1, 2, 2] and not easing.resting


def test_a_face_that_was_missed_shortly_is_taken_up_as_shortly():
    easing = Easing()
    follow(easing, [0.0], 0.0)
    follow(easing, [0.1, 0.2], None)
    assert follow(easing, [0.2, 0.3, 0.4], 1.0) == pytest.approx([0, 0.5, 1])


def test_nothing_jumps_whatever_comes_and_goes():
    """A hundred frames a second, and a face that is seen and lost by chance, for longer and shorter."""
    rng, easing, places, time = np.random.default_rng(3), Easing(), [0.0], 0.0
    follow(easing, [0.0], None)
    for _ in range(40):
        seen, frames = rng.random() < 0.5, int(rng.choice([1, 5, 30, 80]))
        place = 1.0 if seen else None
        for _ in range(frames):
            time += 0.01
            places += follow(easing, [time], place)
    steps = np.abs(np.diff(places))
    assert np.ptp(places) == 1 and steps.max() < 2 * 0.01 / 0.5  # twice as fast as evenly in half a second


def test_another_photo_does_not_come_from_the_last_ones_key_points():
    easing = Easing()
    follow(easing, [0.0], 1.0)
    easing.forget()
    assert follow(easing, [0.1], 3.0) == [3]
    easing.forget()
    assert easing(None, REST, 0.2) is REST


# -- a photo that is moved live ------------------------------------------------------------------------


@pytest.mark.parametrize("driver", ["mesh", "keypoints"])
def test_where_the_face_is_gone_the_photo_is_as_it_was(shipped, talk, driver):
    """A head turns, a wall is shown for two seconds, and the head comes back, turned."""
    session, still = start(shipped, driver=driver), read_image(PHOTO)
    wall = np.full_like(talk[0], 90)
    assert change(session.step(talk[0], 0.0), still) < 1.5
    moved = [session.step(frame, number / FPS) for number, frame in enumerate(talk[1:9], 1)][-1]
    turned, last = talk[8], 8 / FPS
    far = change(moved, still)
    assert far > 2 and not session.waiting
    held = [session.step(wall, last + after) for after in (0.1, 0.3, 0.49)]
    assert all((picture == held[0]).all() for picture in held) and change(held[0], moved) < 0.2 * far
    eased = [change(session.step(wall, last + after), still) for after in (0.55, 0.7, 0.85)]
    session.step(wall, last + 1.0)
    assert far >= eased[0] > eased[1] > eased[2] > 0 and session.waiting
    for after in (1.2, 2.0):
        assert (session.step(wall, last + after) == still).all()
    back = [change(session.step(turned, last + 2.1 + number / 10), still) for number in range(7)]
    assert back[0] == 0 and back[1] < 0.5 * far and (np.diff(back[:5]) > 0).all()
    assert abs(back[-1] - far) < 0.25 * far and not session.waiting


def test_key_points_of_a_part_that_was_given_need_no_face(tiny, talk):
    """As published: who takes the frames as they are gets what the networks make of them."""
    for part in ("none", (0, 0, 200, 200)):
        session = start(
            tiny, framing=Framing(crop="none", crop_driving=part), photo=resize(talk[0], (64, 64))
        )
        wall = np.full((256, 256, 3), 90, np.uint8)
        for moment in (0.0, 1.0, 5.0):
            session.step(wall, moment)
        assert not session.waiting


def test_key_points_are_those_of_an_animator(tiny, talk):
    small = [resize(frame, (64, 64)) for frame in talk[:6]]
    session = start(tiny, framing=Framing(crop="none"), photo=small[0])
    alone = Animator(small[0], *tiny)
    reference = alone.find_reference(small[1])
    for number, frame in enumerate(small[1:]):
        (wanted,) = alone.animate([frame], reference)
        assert (session.step(frame, number / FPS) == (wanted * 255).round().astype(np.uint8)).all()


def test_the_head_is_followed_wherever_it_goes(shipped, talk):
    """The square of key points stays; the mesh follows, and ``shift`` says how much the photo does."""
    results = {}
    places = [*range(20, 230, 10), 220, 220, 220]
    for shift in (0.0, 1.0):
        session = start(shipped, shift=shift)
        steps = enumerate(on_canvas((talk[0], 240, (x, 100))) for x in places)
        pictures = [session.step(frame, number / FPS) for number, frame in steps]
        assert not session.waiting
        results[shift] = change(pictures[0], pictures[-1])
    assert results[0.0] < 0.3 * results[1.0] and results[1.0] > 2


def test_the_largest_face_drives(shipped, talk, portraits):
    alone, beside = start(shipped), start(shipped)
    other = portraits[1]
    for number, frame in enumerate(talk[:9:2]):
        big = frame, 440, (0, 20)
        wanted = alone.step(on_canvas(big), number / FPS)
        place = 445, 40 + 8 * number  # the other one moves
        got = beside.step(on_canvas(big, (other, 190, place)), number / FPS)
    assert change(wanted, read_image(PHOTO)) > max(3, 6 * change(got, wanted))
    time = number / FPS
    left = on_canvas((other, 190, (445, 60)))  # much smaller: it is not the driver who has come back
    held = [beside.step(left, time + after) for after in (0.1, 0.4)]
    assert (held[0] == held[1]).all()
    beside.step(left, time + 0.6)
    assert beside.waiting
    beside.step(left, time + 1.2)  # the driver is gone, and who is there drives
    assert not beside.waiting


def test_the_face_is_looked_for_in_the_part_that_was_given(shipped, talk, portraits):
    still = read_image(PHOTO)
    session = start(shipped, framing=Framing(crop_driving=(340, 0, 300, 480)))
    for number, frame in enumerate(talk[:9:2]):
        picture = session.step(
            on_canvas((frame, 300, (20, 100)), (portraits[1], 200, (400, 100))), number / FPS
        )
    assert not session.waiting and change(picture, still) < 1.5  # the large one moves, the other does not
    for number in range(10, 15):
        picture = session.step(on_canvas((portraits[1], 300, (20, 100))), number)
    assert session.waiting and (picture == still).all()
    everywhere = start(shipped, framing=Framing(crop_driving="none"))
    everywhere.step(on_canvas((talk[0], 300, (20, 100))), 0.0)
    assert not everywhere.waiting


def test_reset_takes_the_pose_of_the_next_frame_for_rest(shipped, talk):
    session, still = start(shipped), read_image(PHOTO)
    session.step(talk[0], 0.0)
    moved = [session.step(frame, number / FPS) for number, frame in enumerate(talk[1:9], 1)][-1]
    session.reset()
    assert session.waiting
    again = session.step(talk[8], 9 / FPS)
    assert not session.waiting and change(again, still) < 0.4 * change(moved, still)


def test_a_driver_who_blinks_at_first_has_open_eyes_soon(shipped):
    """The lids of rest are learnt: what is usual, not what the first frame shows."""
    blinking, looking = draw_eyes(1.0), draw_eyes(0.0)
    photo = read_image(PHOTO)
    (face,) = find_faces(photo)

    def opening(picture):
        return float(eye_opening(face_mesh(picture, face).points))

    session, rest = start(shipped), opening(photo)
    session.step(blinking, 0.0)
    openings = [opening(session.step(looking, number / 2)) for number in range(1, 14)]
    assert openings[0] > 1.15 * rest and openings[-1] - rest < 0.5 * (openings[0] - rest)
    shut = [opening(session.step(blinking, 7 + number / 25)) for number in range(8)][-1]
    again = [opening(session.step(looking, 7.4 + number / 25)) for number in range(8)][-1]
    assert shut < 0.75 * rest and again == pytest.approx(openings[-1], rel=0.1)  # a blink hardly counts


def draw_eyes(shut):
    """Draw a head that looks into the camera, its eyes as far shut as told, 256x256x3 uint8."""
    from fomm.heads.bust import load_bust
    from fomm.heads.motion import HeadMotion
    from fomm.heads.people import make_person
    from fomm.heads.render import Renderer, pose
    from fomm.heads.scene import make_scene

    names = load_bust().action_names
    actions = np.array([[shut * name.startswith("eyeBlink") for name in names]], float)
    motion = HeadMotion(np.zeros((1, 3)), np.zeros((1, 2)), np.ones(1), actions)
    someone = make_person(np.random.default_rng([7, 0, 1]))
    scene = make_scene(np.random.default_rng([7, 1, 0]), 256)
    head = pose(someone, scene, motion, 0)
    return Renderer(256).draw(someone, scene, head, np.random.default_rng(0))


def test_another_photo_goes_on_with_the_same_motion(shipped, talk, portraits):
    session, other = start(shipped), start(shipped, photo=portraits[1])
    for number, frame in enumerate(talk[:8]):
        session.step(frame, number / FPS)
        other.step(frame, number / FPS)
    session.set_source(portraits[1])
    wanted = other.step(talk[8], 8 / FPS)
    assert (session.step(talk[8], 8 / FPS) == wanted).all() and change(wanted, portraits[1]) > 2


def test_a_photo_without_a_face_is_moved_by_key_points(shipped, talk):
    wall = np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)
    framing = Framing(crop="none", crop_driving="auto")
    with pytest.warns(UserWarning, match="no face was found in the part of the photo"):
        session = start(shipped, framing=framing, photo=wall)
    wanted = start(shipped, framing=framing, photo=wall, driver="keypoints")
    for number, frame in enumerate(talk[:9:4]):
        assert (session.step(frame, number / FPS) == wanted.step(frame, number / FPS)).all()
    with pytest.raises(InputError, match="the driver 'mesh' needs one"):
        start(shipped, framing=framing, photo=wall, driver="mesh")


def test_all_faces_are_moved_by_key_points_if_one_has_no_mesh(shipped, portraits, monkeypatch):
    """The second face of a photo is not found again in its square."""
    look, calls = animator.find_photo_face, itertools.count()
    monkeypatch.setattr(animator, "find_photo_face", lambda part: None if next(calls) else look(part))
    with pytest.warns(UserWarning, match="moved by the networks' own key points"):
        photo = MovedPhoto(np.concatenate(portraits, 1), "two", *shipped, framing=Framing(face="all"))
    assert len(photo.animators) == 2 and not photo.is_watching
    for source, part in zip(photo.sources, photo.animators, strict=True):
        wanted = Animator(source, *shipped, motion=Motion(driver="keypoints")).painter.encoded
        assert part.painter.encoded.freedom is None
        assert torch.allclose(part.painter.encoded.keypoints.value, wanted.keypoints.value)


def test_a_live_photo_is_shown_alone(tiny):
    with pytest.raises(InputError, match="leave side_by_side out"):
        start(tiny, framing=Framing(side_by_side=True))
