"""One person's face is followed, and nobody else's: by place, and after gaps and cuts by identity."""

import numpy as np
import pytest

from fomm.bundled import bundled
from fomm.errors import InputError, MissingExtraError
from fomm.face import detect_faces, face_mesh
from fomm.media import read_image
from fomm.media.reader import FramesReader
from fomm.media.resize import resize
from fomm.swap import tracking
from fomm.swap.detectors import find_faces_by
from fomm.swap.tracking import FaceTracker, find_identity, follow_face

SIDE = 256
FPS = 25.0


def portrait(name: str) -> np.ndarray:
    """Return the upper square of a portrait that ships, 256x256."""
    picture = read_image(bundled("examples", name))
    side = min(picture.shape[:2])
    return resize(picture[:side, :side], (SIDE, SIDE), "lanczos")


@pytest.fixture(scope="module")
def astronaut():
    return portrait("astronaut.png")


@pytest.fixture(scope="module")
def hopper():
    return portrait("grace_hopper.jpg")


EMPTY = np.full((SIDE, SIDE, 3), 127, np.uint8)


def follow(frames, **options):
    return list(follow_face(FramesReader(frames, FPS, "clip"), **options))


def test_every_frame_has_its_answer_and_points(astronaut):
    found = follow([astronaut] * 3 + [EMPTY] + [astronaut] * 3)
    assert [face.frame for face in found] == list(range(7))
    assert [face.missing for face in found] == ["", "", "", "nobody", "", "", ""]
    (face,) = detect_faces(astronaut)
    truth = face_mesh(astronaut, face).points[:, :2]
    assert found[3].points is None
    for item in found[:3] + found[4:]:
        assert item.points.shape == (478, 2) and item.points.dtype == np.float32
        assert np.abs(item.points - truth).max() < 2, "pixels"
    assert [face.frame for face in follow([astronaut] * 7, every=3)] == [0, 3, 6]


def miss(monkeypatch, missed):
    """Let the detector find nothing in the frames of these numbers."""
    count = iter(range(10**6))

    def find(detector, frames):
        return [[]] if next(count) in missed else find_faces_by(detector, frames)

    monkeypatch.setattr(tracking, "find_faces_by", find)


def test_a_face_that_the_detector_misses_is_looked_for_where_it_is_expected(astronaut, monkeypatch):
    frames = [np.roll(astronaut, number, axis=1) for number in range(16)]
    expected = follow(frames)
    miss(monkeypatch, {4, 7, 8})
    found = follow(frames)
    assert [face.missing for face in found] == [""] * 16
    for face, true in zip(found, expected, strict=True):
        assert np.abs(face.points - true.points).max() < 2, "pixels"


def test_it_is_looked_for_no_longer_than_a_quarter_of_a_second(astronaut, monkeypatch):
    miss(monkeypatch, set(range(4, 14)))
    found = follow([astronaut] * 16)
    assert [face.missing for face in found] == [""] * 10 + ["nobody"] * 4 + [
        ""
    ] * 2  # 6 frames of 25 a second


def test_what_is_no_face_is_not_taken_for_one(astronaut, monkeypatch):
    miss(monkeypatch, {3, 4, 5})
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, astronaut.shape, np.uint8)
    found = follow([astronaut] * 3 + [noise, np.roll(astronaut, SIDE // 2, axis=0), EMPTY] + [astronaut])
    assert [face.missing for face in found] == [""] * 3 + ["nobody"] * 3 + [""]


def test_jitter_falls(astronaut):
    rng = np.random.default_rng(0)
    frames = [
        (astronaut + rng.normal(0, 12, astronaut.shape)).clip(0, 255).astype(np.uint8) for _ in range(12)
    ]
    smooth = np.stack([face.points for face in follow(frames)])[4:]
    rough = np.stack([face_mesh(frame, detect_faces(frame)[0]).points[:, :2] for frame in frames])[4:]
    assert np.diff(smooth, axis=0).std() < 0.7 * np.diff(rough, axis=0).std()


def test_another_person_after_a_cut_is_foreign(astronaut, hopper):
    found = follow([astronaut] * 2 + [hopper] * 2 + [astronaut] * 2)
    assert [face.missing for face in found] == ["", "", "foreign", "foreign", "", ""]


def test_like_chooses_the_person(astronaut, hopper):
    person = find_identity(bundled("examples", "grace_hopper.jpg"))
    both = np.concatenate([astronaut, hopper], axis=1)
    swapped = np.concatenate([hopper, astronaut], axis=1)
    found = follow([both, both, swapped, swapped], like=person)
    assert [face.missing for face in found] == [""] * 4
    left = [float(face.points[:, 0].mean()) < SIDE for face in found]
    assert left == [False, False, True, True]
    assert [face.missing for face in follow([astronaut], like=person)] == ["foreign"]


def test_a_jump_is_not_smoothed(astronaut):
    """The same person at another place: the points are there at once, not on their way."""
    wide = np.full((SIDE, 2 * SIDE, 3), 127, np.uint8)
    left, right = wide.copy(), wide.copy()
    left[:, :SIDE], right[:, SIDE:] = astronaut, astronaut
    found = follow([left, left, right])
    moved = found[2].points - found[0].points
    assert np.median(moved[:, 0]) == pytest.approx(SIDE, abs=3)


def test_the_state_is_all_that_is_remembered(astronaut, hopper):
    frames = [astronaut, np.roll(astronaut, 2, axis=1), EMPTY, np.roll(astronaut, 3, axis=1), hopper]
    frames += [astronaut]
    whole = FaceTracker(FPS)
    expected = [whole.add(number, frame) for number, frame in enumerate(frames)]
    for stop in range(1, len(frames)):
        first, second = FaceTracker(FPS), FaceTracker(FPS)
        for number in range(stop):
            first.add(number, frames[number])
        second.restore(first.state())
        for number in range(stop, len(frames)):
            again = second.add(number, frames[number])
            assert again.missing == expected[number].missing
            if again.points is not None:
                assert np.array_equal(again.points, expected[number].points), (stop, number)


@pytest.mark.parametrize("detector", ["mtcnn", "haar"])
def test_other_detectors_lead_to_the_same_points(detector, astronaut):
    try:
        (face,) = follow([astronaut], detector=detector)
    except MissingExtraError as reason:
        pytest.skip(f"OpenCV 4 is needed: {reason}")
    (expected,) = follow([astronaut])
    width = np.ptp(expected.points[:, 0])
    assert np.linalg.norm(face.points - expected.points, axis=1).mean() < 0.03 * width


def test_arguments_that_cannot_be_used(astronaut):
    with pytest.raises(InputError, match="every is a number of frames, at least 1, not 0"):
        follow([astronaut], every=0)
    with pytest.raises(InputError, match="detector is one of blazeface, mtcnn, haar, not 'dlib'"):
        follow([astronaut], detector="dlib")
    with pytest.raises(InputError, match=r"like is the 128 finite numbers of an identity, not \(3,\)"):
        follow([astronaut], like=np.zeros(3))
