"""The invisible mark: nobody sees it, it outlives what happens to pictures, and is never found elsewhere."""

import io
from fractions import Fraction

import numpy as np
import pytest
from hostile import ffmpeg
from PIL import Image
from skimage.data import astronaut

from fomm import mark
from fomm.bundled import bundled
from fomm.errors import InputError
from fomm.marks import Marker, Origin, read_mark
from fomm.marks.pattern import make_pattern
from fomm.marks.payload import BITS, CODED_BITS, decode, encode
from fomm.marks.reading import FALSE_ALARM
from fomm.media import VideoReader, save_video

ORIGIN = Origin("fd8492", "0123abcd")
H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p")


def picture(height: int, width: int) -> np.ndarray:
    """Return the middle of scikit-image's astronaut, enlarged to this size."""
    photo = Image.fromarray(astronaut())
    scale = max(height / photo.height, width / photo.width)
    box = photo.width - width / scale, photo.height - height / scale
    edges = (box[0] / 2, box[1] / 2, photo.width - box[0] / 2, photo.height - box[1] / 2)
    return np.asarray(photo.resize((width, height), Image.Resampling.LANCZOS, edges))


def scaled(frame: np.ndarray, factor: float) -> np.ndarray:
    size = round(frame.shape[1] * factor), round(frame.shape[0] * factor)
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))


def jpeg(frame: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


@pytest.fixture(scope="module")
def clip() -> list[np.ndarray]:
    with VideoReader(bundled("examples", "driving.mp4"), duration=1) as reader:
        return list(reader)


@pytest.fixture(scope="module")
def written(clip, tmp_path_factory):
    """Give the marked clip, 256x256, as fomm writes it."""
    path = tmp_path_factory.mktemp("marked") / "result.mp4"
    save_video(path, map(Marker(ORIGIN), clip), 25)
    return path


def test_a_mark_holds_64_bits_and_any_of_them_changes_it():
    coded = {encode(ORIGIN).tobytes(), encode(Origin("fd8492", "0123abcc")).tobytes()}
    coded |= {encode(Origin("7d8492", "0123abcd")).tobytes(), encode(Origin("fd8492", "8123abcd")).tobytes()}
    assert len(coded) == 4
    assert CODED_BITS == 6 * BITS == 6 * (64 + 16)


@pytest.mark.parametrize("noise", [0.0, 1.5])
def test_the_code_corrects_errors(noise):
    """With a deviation of 1.5 a quarter of the coded bits have the wrong sign."""
    soft = 1.0 - 2 * encode(ORIGIN) + noise * np.random.default_rng(0).standard_normal(CODED_BITS)
    assert decode(soft) == ORIGIN


def test_the_code_finds_nothing_in_noise():
    noise = np.random.default_rng(1).standard_normal((20, CODED_BITS))
    assert [decode(soft) for soft in noise] == [None] * 20
    assert decode(np.zeros(CODED_BITS)) is None


def test_the_pattern_is_the_one_that_others_read():
    """A change of the format would hide all marks that were written before; then FORMAT has to change too."""
    found = make_pattern(ORIGIN, 96, 96)[::24, ::24]
    expected = [
        [1.365, -1.1, 0.479, 1.671],
        [-1.009, -1.346, -0.074, 1.104],
        [-1.134, 0.762, 1.195, 1.602],
        [0.338, 0.646, -1.253, -0.621],
    ]
    assert np.abs(found - expected).max() < 0.002


def test_a_random_number_for_each_result():
    assert len({Origin.of("fd8492f161e9").number for _ in range(20)}) == 20
    assert Origin.of("FD8492f161e9").weights == "fd8492" and Origin.of(None).weights == "000000"


@pytest.mark.parametrize(("weights", "number"), [("fd849", "0123abcd"), ("fd8492", "0123abcg"), ("", "")])
def test_an_origin_has_hexadecimal_digits(weights, number):
    with pytest.raises(InputError, match=r"expected [68] hexadecimal digits"):
        Origin(weights, number)


# -- how it looks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(256, 256), (480, 640), (720, 1280)])
def test_the_mark_is_at_least_40_db_below_the_picture(size):
    frame = picture(*size)
    error = np.mean((mark(frame, ORIGIN).astype(float) - frame) ** 2)
    assert 10 * np.log10(255**2 / error) >= 40


def test_noise_and_the_finest_details_get_no_more_of_it():
    noise = np.random.default_rng(0).integers(0, 256, (256, 320, 3), np.uint8)
    change = mark(noise, ORIGIN).astype(float) - noise
    assert np.abs(change).max() <= 10
    assert 10 * np.log10(255**2 / np.mean(change**2)) >= 40


def test_smooth_parts_get_less_of_it():
    frame = np.full((256, 256, 3), 128, np.uint8)
    frame[:, 128:] = np.random.default_rng(0).integers(64, 192, (256, 128, 1), np.uint8)
    change = mark(frame, ORIGIN)[..., 0].astype(float) - frame[..., 0]
    smooth, edge, detailed = change[:, :110].std(), change[:, 112:126].std(), change[:, 140:].std()
    assert smooth < 1 < 2.5 < detailed
    assert edge < 1  # nothing shows beside an edge either


def test_nothing_flickers(clip):
    """Each frame gets the very same pattern, whatever it shows."""
    marker = Marker(ORIGIN)
    first, again = marker(clip[0]), marker(clip[0])
    grey = np.full_like(clip[0], 128)
    pattern = marker(grey).astype(int) - grey
    marker(clip[20])
    assert np.array_equal(first, again)
    assert np.array_equal(marker(grey).astype(int) - grey, pattern)
    middle = (clip[12] > 10) & (clip[12] < 245)  # elsewhere it stops at 0 and 255
    assert np.array_equal((marker(clip[12]).astype(int) - clip[12])[middle], pattern[middle])
    assert pattern.any() and np.ptp(pattern, axis=2).max() == 0  # brightness alone


# -- frames of all kinds -------------------------------------------------------------------------------


def test_arrays_lists_iterators_and_pictures(clip):
    video = np.stack(clip[:3])
    expected = np.stack([*map(Marker(ORIGIN), clip[:3])])
    assert not np.array_equal(expected, video)
    assert np.array_equal(mark(video, ORIGIN), expected)
    assert isinstance(mark(list(video), ORIGIN), list)
    assert np.array_equal(mark(list(video), ORIGIN), expected)
    streamed = mark(iter(video), ORIGIN)
    assert np.array_equal(next(streamed), expected[0])
    assert np.array_equal(mark(video[0], ORIGIN), expected[0])


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_floats_stay_floats(clip, kind):
    frames = [(frame / 255).astype(kind) for frame in clip[:2]]
    marked = mark(frames, ORIGIN)
    assert marked[0].dtype == kind
    assert np.abs(marked[1] * 255 - mark(clip[:2], ORIGIN)[1]).max() < 1.001  # rounded elsewhere
    reading = read_mark(marked)
    assert reading is not None and reading.origin == ORIGIN


# -- what it outlives ----------------------------------------------------------------------------------

CROPS = {
    "left": np.s_[:, 64:],
    "right": np.s_[:, :192],
    "top": np.s_[64:],
    "bottom": np.s_[:192],
    "all sides": np.s_[17:239, 11:233],  # three quarters of the pixels
    "an odd corner": np.s_[37:, :225],
}


@pytest.mark.parametrize("name", CROPS)
def test_a_quarter_cropped(clip, name):
    reading = read_mark(mark(clip[0], ORIGIN)[CROPS[name]])
    assert reading is not None and reading.origin == ORIGIN


@pytest.mark.parametrize("factor", [0.5, 0.75, 1.1])
def test_scaled(clip, factor):
    reading = read_mark(scaled(mark(clip[0], ORIGIN), factor))
    assert reading is not None and reading.origin == ORIGIN
    assert abs(reading.cell - factor) < 0.01 * factor


@pytest.mark.parametrize("quality", [75, 50])
def test_a_jpeg(clip, quality):
    reading = read_mark(jpeg(mark(clip[0], ORIGIN), quality))
    assert reading is not None and reading.origin == ORIGIN


def test_a_large_picture_outlives_all_at_once():
    frame = mark(picture(1080, 1920), ORIGIN)
    reading = read_mark(jpeg(scaled(frame[200:, 55:], 0.4), 50))
    assert reading is not None and reading.origin == ORIGIN


def encoded(video, folder, *passes):
    """Encode a video again, once for each list of ffmpeg's arguments, and return a reader of the last."""
    for number, words in enumerate(passes):
        ffmpeg("-i", video, *words, *H264, folder / f"{number}.mp4")
        video = folder / f"{number}.mp4"
    return VideoReader(video)


VIDEOS = {
    "as written": (),
    "crf 28": (("-crf", "28"),),
    "crf 28 twice": (("-crf", "28"), ("-crf", "28")),
    "half": (("-crf", "17", "-vf", "scale=iw/2:ih/2"),),
    "a quarter cropped": (("-crf", "23", "-vf", "crop=256:192:0:21"),),
    "crf 28 and cropped": (("-crf", "28", "-vf", "crop=192:256:37:0"),),
}


@pytest.mark.parametrize("name", VIDEOS)
def test_a_video_of_256_pixels_encoded_again(written, tmp_path, name):
    with encoded(written, tmp_path, *VIDEOS[name]) as frames:
        reading = read_mark(frames)
    assert reading is not None and reading.origin == ORIGIN


def test_one_frame_of_a_compressed_video(written, tmp_path):
    with encoded(written, tmp_path, ("-crf", "28")) as frames:
        reading = read_mark(list(frames)[9])
    assert reading is not None and reading.origin == ORIGIN


def test_a_video_of_720_lines_outlives_all_at_once(tmp_path):
    """It is cropped by a quarter, scaled to half and encoded at crf 28."""
    frame = picture(720, 1280)
    moving = [frame.copy() for _ in range(6)]
    for step, changed in enumerate(moving):
        changed[200:500, 500:800] = np.roll(frame[200:500, 500:800], 2 * step, axis=1)
    save_video(tmp_path / "result.mp4", map(Marker(ORIGIN), moving), Fraction(25))
    crop = "crop=1280:540:0:101,scale=640:270"
    with encoded(tmp_path / "result.mp4", tmp_path, ("-crf", "28", "-vf", crop)) as frames:
        reading = read_mark(frames)
    assert reading is not None and reading.origin == ORIGIN


# -- where there is none -------------------------------------------------------------------------------


def test_no_mark_is_found_where_none_is(clip):
    rng = np.random.default_rng(3)
    unmarked = [clip[:3], clip[3][:, 64:], rng.integers(0, 256, (200, 300, 3), np.uint8), clip[0][:1]]
    unmarked += [np.zeros((128, 128, 3), np.uint8), np.full((9, 9, 3), 128, np.uint8)]
    unmarked += [np.tile(rng.integers(0, 256, (96, 96, 3), np.uint8), (2, 2, 1))]
    assert [read_mark(frames) for frames in unmarked] == [None] * len(unmarked)


def test_the_bound_of_false_alarms():
    """Thirteen places are decoded, and 24 bits of each have to be right: less than one in a million."""
    assert 7.7e-7 < FALSE_ALARM < 7.8e-7


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([], "no frames"),
        ("result.mp4", "is a str; expected an array"),
        (None, "is a NoneType; expected"),
        ([np.zeros((64, 64), np.uint8)], r"shape \(64, 64\)"),
        ([np.zeros((64, 64, 3), np.int32)], "of int32"),
        ([np.full((64, 64, 3), 128.0)], "beyond"),
        ([np.full((64, 64, 3), np.nan, np.float32)], "beyond"),
        (["frame"], "not str"),
    ],
)
def test_what_is_no_picture_is_refused(frames, words):
    with pytest.raises(InputError, match=words):
        read_mark(frames)
    if frames:
        with pytest.raises(InputError, match=words):
            mark(frames)


def test_frames_of_two_sizes_are_refused():
    two = [np.zeros((64, 64, 3), np.uint8), np.zeros((64, 66, 3), np.uint8)]
    with pytest.raises(InputError, match="66x64, but the first is 64x64"):
        mark(two)
    with pytest.raises(InputError, match="expected one"):
        read_mark([two[0]] * 2 + [two[1]])
