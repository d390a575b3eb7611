"""Faces of a video in a file: which frames are kept and why not, and that a stop changes nothing."""

from dataclasses import fields

import numpy as np
import pytest

from fomm.bundled import bundled
from fomm.cli import main
from fomm.errors import InputError
from fomm.media import read_image, write_image
from fomm.media.resize import resize
from fomm.swap import FaceSet, extract, extract_faces, read_faces
from fomm.swap.align import move_points
from fomm.swap.extract import find_blurred, measure_sharpness

SIDE = 256


def portrait(name: str) -> np.ndarray:
    """Return the upper square of a portrait that ships, 256x256."""
    picture = read_image(bundled("examples", name))
    side = min(picture.shape[:2])
    return resize(picture[:side, :side], (SIDE, SIDE), "lanczos")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Sixteen frames: the astronaut, moving.

    She is blurred in 5 and covered from the nose down in 10. Nobody is in 6 and 7, another person in 12, 13.
    """
    from scipy.ndimage import gaussian_filter

    folder = tmp_path_factory.mktemp("clip")
    astronaut, hopper = portrait("astronaut.png"), portrait("grace_hopper.jpg")
    for number in range(16):
        frame = np.roll(astronaut, number, axis=1)
        if number == 5:
            frame = gaussian_filter(frame, (2.5, 2.5, 0))
        elif number in (6, 7):
            frame = np.full_like(frame, 127)
        elif number == 10:
            frame[102:177, 81:199] = (150, 110, 90)
        elif number in (12, 13):
            frame = hopper
        write_image(folder / f"{number:02d}.png", frame)
    return folder


@pytest.fixture(scope="module")
def whole(clip, tmp_path_factory):
    """Return what one call without a stop gives."""
    out = tmp_path_factory.mktemp("out") / "a.npz"
    return extract_faces(clip, out, every=1, size=64), out


def test_what_is_kept_and_why_others_are_not(whole):
    done, out = whole
    assert (done.kept, done.blurred, done.covered, done.foreign, done.nobody) == (10, 1, 1, 2, 2)
    assert done.looked_at == 16
    faces = read_faces(out)
    assert faces.frames.tolist() == [0, 1, 2, 3, 4, 8, 9, 11, 14, 15]
    assert not out.with_suffix(".part.npz").exists()


def test_faces_lie_where_they_belong(whole):
    """The astronaut moves by one pixel from frame to frame: the aligned pictures and points do not."""
    faces = read_faces(whole[1])
    assert np.ptp(faces.points, axis=0).max() < 2, "pixels of 64"
    assert np.abs(faces.pictures.astype(float) - faces.pictures[0]).mean() < 6
    for index in (0, -1):
        inverse = np.linalg.inv(np.vstack([faces.transforms[index], [0, 0, 1]]))[:2]
        in_frame = move_points(faces.points[index], inverse)
        first = move_points(faces.points[0], np.linalg.inv(np.vstack([faces.transforms[0], [0, 0, 1]]))[:2])
        shift = float(np.median((in_frame - first)[:, 0]))
        assert shift == pytest.approx(faces.frames[index], abs=1)
    inside = faces.masks[..., 0].mean(axis=(1, 2))
    assert ((inside > 0.2) & (inside < 0.8)).all()


@pytest.mark.parametrize("stop", [3, 6, 9, 13])
def test_a_stop_changes_nothing(stop, clip, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(extract, "SAVE_EVERY", 2)
    out = tmp_path / "a.npz"
    seen: list[int] = []
    original = extract.FaceTracker.add

    def add(self, number, frame):
        seen.append(number)
        return original(self, number, frame)

    monkeypatch.setattr(extract.FaceTracker, "add", add)

    def interrupt(number: int, total: int | None) -> None:
        if number == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_faces(clip, out, every=1, size=64, progress=interrupt)
    assert not out.exists() and out.with_suffix(".part.npz").exists()
    before = len(seen)
    assert extract_faces(clip, out, every=1, size=64) == whole[0]
    assert seen[before] == stop // 2 * 2, "it goes on where the last save was"
    one, other = read_faces(out), read_faces(whole[1])
    for field in fields(FaceSet):
        assert np.array_equal(getattr(one, field.name), getattr(other, field.name)), field.name
    assert not out.with_suffix(".part.npz").exists()


def test_another_job_does_not_take_up_what_is_there(clip, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(extract, "SAVE_EVERY", 2)
    out = tmp_path / "a.npz"

    def interrupt(number: int, total: int | None) -> None:
        if number == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_faces(clip, out, every=3, size=64, progress=interrupt)
    assert extract_faces(clip, out, every=1, size=64) == whole[0]
    out.with_suffix(".part.npz").write_bytes(b"PK damaged")
    assert extract_faces(clip, out, every=1, size=64) == whole[0]


def test_blurred_is_measured_against_the_person():
    """A quarter of the median is the limit; a pixel that becomes more than 2.5 counts as blurred too."""
    scale = np.array([1, 1, 1, 1, 2.6])[:, None, None]
    transforms = scale * np.array([[[1.0, 0, 0], [0, 1, 0]]])
    sharp = np.array([4.0, 4.0, 1.01, 0.99, 4.0])
    assert find_blurred(sharp, transforms, np.ones(5, bool)).tolist() == [False, False, False, True, True]
    flat = np.full((64, 64, 3), 90, np.uint8)
    assert measure_sharpness(flat) == 0
    edge = flat.copy()
    edge[:16] = 255
    assert measure_sharpness(edge) == pytest.approx(0, abs=1e-6), "only the middle counts"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 100}, "size is 64, 128, 160 pixels, not 100"),
        ({"every": 0}, "every is a number of frames, at least 1, not 0"),
        ({"detector": "dlib"}, "detector is one of"),
    ],
)
def test_arguments_that_cannot_be_used(options, message, clip, tmp_path):
    with pytest.raises(InputError, match=message):
        extract_faces(clip, tmp_path / "a.npz", **options)
    assert not list(tmp_path.iterdir())


def test_names_and_videos_that_cannot_be_used(clip, tmp_path):
    with pytest.raises(InputError, match=r"choose one that ends in \.npz"):
        extract_faces(clip, tmp_path / "a.zip")
    with pytest.raises(InputError, match=r"the folder .* does not exist"):
        extract_faces(clip, tmp_path / "none" / "a.npz")
    gray = tmp_path / "gray"
    gray.mkdir()
    for number in range(2):
        write_image(gray / f"{number}.png", np.full((SIDE, SIDE, 3), 127, np.uint8))
    with pytest.raises(InputError, match=r"no face could be taken .*\(2 without a face\)"):
        extract_faces(gray, tmp_path / "a.npz", every=1)
    assert not (tmp_path / "a.npz").exists()


def test_the_command(clip, tmp_path, capsys):
    out = tmp_path / "a.npz"
    like = bundled("examples", "grace_hopper.jpg")
    command = ["swap", "extract", str(clip), "-o", str(out), "--every", "4", "--size", "64"]
    assert main([*command, "--like", str(like)]) == 0
    assert read_faces(out).frames.tolist() == [12]
    said = capsys.readouterr().out
    assert "a.npz: 1 faces of 4 frames looked at; left out: 3 of other people" in said
    assert main([*command]) == 0
    assert "(replaced): 3 faces of 4 frames looked at; left out: 1 of other people" in capsys.readouterr().out


def test_no_face_is_good_enough(clip, tmp_path):
    """The frames that are looked at, 0 and 12, show two people, and neither is meant."""
    person = np.full(128, 0.5)  # far from everybody
    with pytest.raises(InputError, match=r"no face could be taken .*\(2 with other people alone\)"):
        extract_faces(clip, tmp_path / "a.npz", every=12, size=64, like=person)
