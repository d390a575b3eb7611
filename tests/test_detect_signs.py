"""Signs of a clip have the values that inputs made by hand ask for."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from fomm.detect.signs import (
    FrameSigns,
    compare_light,
    compare_sharpness,
    compare_with_sound,
    describe_signs,
    find_blinks,
    find_jitter,
    fit_slope,
)
from fomm.detect.sound import read_loudness
from fomm.errors import MediaError
from fomm.face.pose import FACE_AT_REST, STILL_POINTS, head_size
from fomm.media import save_video
from fomm.media.ffmpeg import run, to_file_url


def make_eyes(fps: float, *, at: float, closing: float, hold: float, opening: float, seconds: float):
    """Eyes that are open by 0.3, and close and open evenly once."""
    times = np.arange(round(seconds * fps)) / fps
    ramps = np.minimum((at - times) / closing, (times - at - hold) / opening + 1e-12)
    shut = np.where(times < at, (times - at + closing) / closing, (at + hold + opening - times) / opening)
    assert len(ramps) == len(shut)
    return 0.3 * (1 - np.clip(np.where((times >= at) & (times <= at + hold), 1, shut), 0, 1))


@pytest.mark.parametrize(("closing", "opening"), [(0.1, 0.2), (0.15, 0.3), (0.06, 0.06)])
def test_blinks_are_timed(closing, opening):
    eyes = make_eyes(100, at=1.0, closing=closing, hold=0.05, opening=opening, seconds=3)
    (blink,) = find_blinks(eyes, 100)
    assert blink.closing == pytest.approx(closing, abs=0.002)
    assert blink.opening == pytest.approx(opening, abs=0.002)
    assert blink.at == pytest.approx(1.0, abs=0.06)


def test_what_is_no_blink():
    asleep = make_eyes(25, at=1.0, closing=0.1, hold=1.5, opening=0.2, seconds=5)
    squint = 1 - 0.4 * (1 - make_eyes(25, at=1.0, closing=0.1, hold=0, opening=0.2, seconds=5) / 0.3)
    cut = make_eyes(25, at=4.95, closing=0.1, hold=0.5, opening=0.2, seconds=5)
    for eyes in (asleep, squint, cut, np.full(50, 0.3), np.full(50, math.nan), np.array([0.3])):
        assert find_blinks(eyes, 25) == []


def test_a_blink_beside_frames_without_a_face_has_no_time():
    eyes = make_eyes(25, at=1.0, closing=0.12, hold=0, opening=0.2, seconds=3)
    assert len(find_blinks(eyes, 25)) == 1
    eyes[22:25] = math.nan
    assert find_blinks(eyes, 25) == []


def test_blinks_a_minute():
    eyes = np.tile(make_eyes(25, at=1.0, closing=0.12, hold=0, opening=0.2, seconds=4), 5)
    signs = describe(eyes, fps=25)
    assert signs["blinks"].value == pytest.approx(15)  # one in four seconds
    assert signs["blinks"].is_usual
    assert describe(eyes[:100], fps=25)["blinks"].value is None  # four seconds make no rate
    assert describe(np.full(500, 0.3), fps=25)["blinks"].is_usual is False


def describe(eyes: np.ndarray, fps: float):
    frames = [FrameSigns(float(eye), 0.1, math.nan, math.nan) for eye in eyes]
    points = np.full((len(eyes), 478, 3), math.nan)
    return {sign.key: sign for sign in describe_signs(frames, points, fps, None)}


def test_what_cannot_be_measured_has_no_value():
    signs = describe(np.full(3, math.nan), fps=25)
    assert all(sign.value is None and sign.is_usual is None for sign in signs.values())
    assert all(sign.source and sign.limit for sign in signs.values())
    assert all(sign.usual is None or sign.usual[0] < sign.usual[1] for sign in signs.values())


def make_points(side: float = 100.0, middle: tuple[float, float] = (100.0, 100.0)) -> np.ndarray:
    """478 points that fill a square, those at rest in their places."""
    rng = np.random.default_rng(0)
    points = np.zeros((478, 3))
    points[:, :2] = middle + (rng.random((478, 2)) - 0.5) * side
    return points


def test_jitter_is_the_deviation_of_the_noise():
    rng = np.random.default_rng(1)
    points = np.zeros((400, 478, 3))
    points[:, STILL_POINTS] = FACE_AT_REST
    times = np.arange(400) / 25
    points[..., 0] += 30 * np.sin(times)[:, None]  # the whole head moves
    assert find_jitter(points) < 0.01
    size = float(head_size(points[:1])[0])
    noise = rng.normal(0, 0.004 * size, points.shape) * [1, 1, 0]
    # the shift that all points share is taken away: 39 of 40 parts of the variance stay
    assert find_jitter(points + noise) == pytest.approx(4 * math.sqrt(39 / 40), rel=0.03)
    assert math.isnan(find_jitter(points[:2]))


def test_sharpness_of_a_blurred_face():
    rng = np.random.default_rng(2)
    luma = 128 + 40 * gaussian_filter(rng.normal(size=(300, 300)), 1) / 0.28
    points = make_points(middle=(150, 150))
    assert compare_sharpness(luma, points) == pytest.approx(1, abs=0.03)
    soft = luma.copy()
    soft[95:205, 95:205] = gaussian_filter(luma, 2)[95:205, 95:205]
    # a Gaussian spectrum of width s has a ratio of second to first differences of 1 / s, about
    assert compare_sharpness(soft, points) == pytest.approx(1 / math.sqrt(1 + 4), abs=0.08)
    assert math.isnan(compare_sharpness(np.full((300, 300), 128.0), points))


@pytest.mark.parametrize("angle", [0, 60, 120, 180])
def test_light_from_another_side(angle):
    y, x = np.mgrid[:200, :200] + 0.5
    points = make_points()

    def ramp(degrees: float) -> np.ndarray:
        turned = math.radians(degrees)
        return 128 + 0.4 * ((x - 100) * math.cos(turned) + (y - 100) * math.sin(turned))

    luma = ramp(20)
    luma[50:150, 50:150] = ramp(20 + angle)[50:150, 50:150]
    assert compare_light(luma, points) == pytest.approx(angle, abs=8)
    assert math.isnan(compare_light(np.full((200, 200), 128.0), points))
    assert math.isnan(compare_light(luma, points + 190))  # hardly any of the face is in the frame


def test_the_slope_of_a_plane():
    places = np.random.default_rng(3).random((50, 2))
    bright = 100 + 20 * places[:, 0] - 50 * places[:, 1]
    assert fit_slope(places, bright) * bright.mean() == pytest.approx([20, -50])


@pytest.mark.parametrize("lag", [0, 4])
def test_lips_and_voice(lag):
    rng = np.random.default_rng(4)
    voice = gaussian_filter(rng.normal(size=300), 2)
    mouth = np.roll(voice, -lag)
    mouth[::9] = math.nan
    value, seconds = compare_with_sound(mouth, voice, 25)
    assert value > 0.95 and seconds == pytest.approx(lag / 25)
    other = gaussian_filter(rng.normal(size=300), 2)
    assert compare_with_sound(mouth, other, 25)[0] < 0.5
    assert math.isnan(compare_with_sound(mouth[:30], voice[:30], 25)[0])
    assert math.isnan(compare_with_sound(mouth, np.full(300, -80.0), 25)[0])


@dataclass
class Tone:
    """A sound file: a tone in the band of the voice whose second second is ten times as loud."""

    path: str

    def write(self) -> None:
        source = "aevalsrc='0.02*sin(2*PI*1000*t)*(1+9*between(t,1,2))':d=3:s=16000"
        code, _, log = run(["-f", "lavfi", "-i", source, "-y", to_file_url(self.path)])
        assert code == 0, log


def test_loudness_of_each_frame(tmp_path):
    Tone(tmp_path / "tone.wav").write()
    frames = [np.zeros((32, 32, 3), np.uint8)] * 80
    save_video(tmp_path / "a.mp4", frames, fps=20, audio=tmp_path / "tone.wav")
    loud = read_loudness(tmp_path / "a.mp4", 20, 80)
    assert loud is not None and len(loud) == 80
    quiet = 20 * math.log10(0.02 / math.sqrt(2))
    assert np.median(loud[2:18]) == pytest.approx(quiet, abs=1)
    assert np.median(loud[22:38]) == pytest.approx(quiet + 20, abs=1)
    assert loud[-10:] == pytest.approx(-80)  # the sound ends before the frames


def test_a_video_without_sound(tmp_path):
    save_video(tmp_path / "a.mp4", [np.zeros((32, 32, 3), np.uint8)] * 4, fps=20)
    assert read_loudness(tmp_path / "a.mp4", 20, 4) is None
    (tmp_path / "b.mp4").write_bytes(b"no sound at all")
    with pytest.raises(MediaError, match="cannot read sound"):
        read_loudness(tmp_path / "b.mp4", 20, 4)
