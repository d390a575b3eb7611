"""Videos come in upright and at a constant rate; results go out whole or not at all."""

import gc
import re
import shutil
import subprocess
import wave
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from fomm import __version__
from fomm.errors import InputError, MediaError
from fomm.media import VideoReader, VideoWriter, read_image, save_video, write_image
from fomm.media.encode import ENCODINGS
from fomm.media.ffmpeg import find_executable, probe, stop_all, to_exact_rate

CORNERS = np.array([[[230, 20, 20], [20, 230, 20]], [[20, 20, 230], [230, 230, 20]]], np.uint8)


def ffmpeg(*arguments) -> bytes:
    command = [
        find_executable(),
        "-hide_banner",
        "-loglevel",
        "error",
        "-nostdin",
        "-y",
        *map(str, arguments),
    ]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def describe(path) -> str:
    """Return what ffmpeg says of a file."""
    command = [find_executable(), "-hide_banner", "-nostdin", "-i", str(path)]
    return subprocess.run(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL).stderr.decode()


def gray_frames(count: int, step: int = 2, size: int = 32) -> list[np.ndarray]:
    """Make frames that tell their numbers: frame i has the gray level step * i everywhere."""
    return [np.full((size, size, 3), step * index, np.uint8) for index in range(count)]


def numbers(frames, step: int = 2) -> list[int]:
    return [round(float(frame.mean()) / step) for frame in frames]


def smooth_frames(count: int = 8, height: int = 96, width: int = 128) -> list[np.ndarray]:
    """Make coloured gradients that move, which half-size chroma can keep."""
    y, x = np.mgrid[0:height, 0:width]
    channels = (
        lambda t: x * 255 / (width - 1),
        lambda t: y * 255 / (height - 1),
        lambda t: 128 + 60 * np.sin((x + y) / 40 + t / 5),
    )
    return [np.stack([channel(t) for channel in channels], -1).astype(np.uint8) for t in range(count)]


def write_tone(path, silence: float, tone: float, rate: int = 44100) -> None:
    """Write a mono wave file: silence, then 440 Hz (seconds)."""
    times = np.arange(round(tone * rate)) / rate
    samples = np.concatenate([np.zeros(round(silence * rate)), 12000 * np.sin(2 * np.pi * 440 * times)])
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())


def read_sound(path) -> np.ndarray:
    """Return the sound of a file at 44100 Hz, mono, in [-1, 1]."""
    return (
        np.frombuffer(ffmpeg("-i", path, "-map", "0:a", "-ac", 1, "-ar", 44100, "-f", "s16le", "-"), "<i2")
        / 32768
    )


def names(folder) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture
def clip(tmp_path):
    """Write two seconds of numbered gray frames at 25 a second, without sound."""
    path = tmp_path / "clip.mp4"
    save_video(path, gray_frames(50, step=4), 25)
    return path


# ---- Reading ----


def test_facts_and_frames_of_a_clip(clip):
    with VideoReader(clip) as reader:
        assert (reader.fps, reader.size, reader.has_audio, reader.num_frames) == (25.0, (32, 32), False, 50)
        frames = list(reader)
    assert numbers(frames, step=4) == list(range(50))
    assert frames[0].dtype == np.uint8
    assert frames[0].shape == (32, 32, 3)
    assert frames[0].flags.writeable, "torch warns about arrays that it may not write"


@pytest.mark.parametrize(
    ("start", "duration", "expected"),
    [
        (1.0, None, range(25, 50)),
        (0.0, 0.4, range(10)),
        (0.52, 0.2, range(13, 18)),
        (1.9, 5.0, range(48, 50)),  # rounded: 1.9 s lies between frames 47 and 48
        (1.96, 0.04, range(49, 50)),
    ],
)
@pytest.mark.parametrize("kind", ["mp4", "folder"])
def test_start_and_duration(tmp_path, clip, kind, start, duration, expected):
    path = clip
    if kind == "folder":
        path = tmp_path / "frames"
        save_video(path, gray_frames(50, step=4), 25)
    with VideoReader(path, start=start, duration=duration) as reader:
        got = numbers(reader, step=4)
        assert got == list(expected)
        assert abs(reader.num_frames - len(got)) <= 1


def test_start_and_duration_that_cannot_be(clip):
    with pytest.raises(InputError, match=r"start is 7 s, but .*clip\.mp4 lasts only 2 s"):
        VideoReader(clip, start=7)
    for start, duration in ((-1, None), (float("nan"), None), (0, 0), (0, float("inf"))):
        with pytest.raises(InputError, match="seconds, not"):
            VideoReader(clip, start=start, duration=duration)


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_rotation_is_applied_once(tmp_path, angle):
    upright = np.kron(CORNERS, np.ones((24, 32, 1), np.uint8))  # 48 high, 64 wide
    save_video(tmp_path / "stored.mp4", [upright] * 3, 25)
    ffmpeg("-display_rotation", angle, "-i", tmp_path / "stored.mp4", "-c", "copy", tmp_path / "phone.mp4")
    with VideoReader(tmp_path / "phone.mp4") as reader:
        frames = list(reader)
        assert reader.size == ((48, 64) if angle in (0, 180) else (64, 48))
    assert frames[0].shape[:2] == reader.size
    expected = np.rot90(CORNERS, angle // 90)  # both count counterclockwise
    height, width = reader.size
    got = frames[0][height // 4 :: height // 2, width // 4 :: width // 2]
    error = np.abs(got.astype(int) - expected).max()
    assert error <= 4, f"colours of the quarters are off by {error} levels"


def test_pixels_that_are_not_square_are_stretched(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=72x48:d=0.2,setsar=16/15", tmp_path / "wide.mkv")
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=72x48:d=0.2,setsar=72/73", tmp_path / "rounded.mkv")
    with VideoReader(tmp_path / "wide.mkv") as reader:
        assert reader.size == (48, 77)  # 72 * 16 / 15 = 76.8
        assert next(reader).shape == (48, 77, 3)
    with VideoReader(tmp_path / "rounded.mkv") as reader:
        assert reader.size == (48, 72)


def write_variable_rate(tmp_path):
    """Write a second of 30 frames, then three of 10: frame n of 120 is kept if n < 30 or 3 divides n."""
    save_video(tmp_path / "constant.mp4", gray_frames(120), 30)
    keep = "select='lt(n,30)+not(mod(n,3))'"
    path = tmp_path / "variable.mp4"
    ffmpeg("-i", tmp_path / "constant.mp4", "-vf", keep, "-fps_mode", "vfr", "-qp", 0, path)
    return path


def test_variable_frame_rate_keeps_its_duration(tmp_path):
    with VideoReader(write_variable_rate(tmp_path)) as reader:
        frames = list(reader)
    seconds = len(frames) / reader.fps
    # 4 s, or less by the time that the last frame is shown, which mp4 may lose.
    assert 4 - 0.1 - 1 / reader.fps <= seconds <= 4 + 1 / reader.fps, f"{seconds} s of 4 s"
    shown = [round(index * 30 / reader.fps) for index in range(len(frames))]
    expected = [number if number < 30 else number - number % 3 for number in shown]
    late = np.abs(np.subtract(numbers(frames), expected)).max()
    assert late <= 1, f"a frame is shown {late} thirtieths of a second away from its time"


def test_a_gif_with_pauses_keeps_its_duration(tmp_path):
    images = [Image.fromarray(frame) for frame in gray_frames(4, step=60)]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=[100, 500, 100, 300])
    with VideoReader(tmp_path / "a.gif") as reader:
        got = numbers(reader, step=60)
    assert abs(len(got) / reader.fps - 1.0) <= 1 / reader.fps, f"{len(got)} frames at {reader.fps}, not 1 s"
    assert [got.count(number) / reader.fps for number in range(4)] == pytest.approx([0.1, 0.5, 0.1, 0.3])


def test_transparency_of_a_gif_is_laid_over_white(tmp_path):
    image = Image.new("P", (4, 4))
    image.putpalette([0, 0, 0, 200, 0, 0])
    image.putpixel((1, 1), 1)
    image.save(tmp_path / "a.gif", transparency=0)
    frame = next(VideoReader(tmp_path / "a.gif"))
    assert frame[0, 0].tolist() == [255, 255, 255]
    assert frame[1, 1].tolist() == [200, 0, 0]


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (25, Fraction(25)),
        (29.97, Fraction(30000, 1001)),
        (30000 / 1001, Fraction(30000, 1001)),
        (23.98, Fraction(24000, 1001)),
        (23.976, Fraction(24000, 1001)),
        (12.5, Fraction(25, 2)),
        (59.94, Fraction(60000, 1001)),
        (15, Fraction(15)),
        (0.25, Fraction(1, 4)),
    ],
)
def test_rates_are_ratios(fps, expected):
    assert to_exact_rate(fps) == expected


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "frames"])
def test_the_rate_is_kept_as_a_ratio(tmp_path, name):
    save_video(tmp_path / name, gray_frames(6), 29.97)
    assert VideoReader(tmp_path / name).fps == 30000 / 1001


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".ts", ".mov", ".flv", ".mpg", ".ogv", ".wmv"])
def test_containers_that_people_have(tmp_path, clip, suffix):
    codec = {".ogv": ["-c:v", "libtheora", "-q:v", "9"], ".mpg": ["-q:v", "2"], ".wmv": ["-q:v", "2"]}
    ffmpeg(
        "-i", clip, *codec.get(suffix, ["-c:v", "libx264", "-qp", "0", "-bf", "0"]), tmp_path / f"a{suffix}"
    )
    with VideoReader(tmp_path / f"a{suffix}") as reader:
        got = numbers(reader, step=4)
    assert reader.fps == 25.0
    assert abs(len(got) - 50) <= 1, f"{len(got)} frames of 50"
    assert got[-10:] == list(range(40, 50))


def test_the_process_ends_with_the_reader(clip, processes):
    with VideoReader(clip) as reader:
        next(reader)

    def fail():
        with VideoReader(clip) as reader:
            next(reader)
            raise RuntimeError("of the one who reads")

    with pytest.raises(RuntimeError, match="of the one who reads"):
        fail()
    reader = VideoReader(clip)
    next(reader)
    del reader
    gc.collect()
    list(VideoReader(clip))
    assert len(processes) == 4
    assert all(process.poll() is not None for process in processes)
    assert all(process.stdout.closed for process in processes)


def test_every_ffmpeg_can_be_ended(clip, processes):
    reader = VideoReader(clip)
    next(reader)
    (process,) = processes
    assert process.poll() is None
    stop_all()
    with pytest.raises(MediaError, match="stopped after"):
        list(reader)
    assert process.poll() is not None


@pytest.mark.parametrize("kind", ["mp4", "folder"])
def test_the_same_frames_are_read_again(tmp_path, clip, ffmpegs, kind):
    """By another reader, from the first on; the first reader stays where it is. The file is examined once."""
    path = clip
    if kind == "folder":
        path = tmp_path / "frames"
        save_video(path, gray_frames(50, step=4), 25)
    ffmpegs.clear()
    with VideoReader(path, start=0.4, duration=1) as reader:
        first = next(reader)
        for _ in range(2):
            with reader.reopen() as again:
                assert (again.fps, again.size, again.num_frames) == (25.0, (32, 32), 25)
                assert numbers(again, step=4) == list(range(10, 35))
        assert numbers([first, *reader], step=4) == list(range(10, 35))
    asked = [process for process in ffmpegs if "framecrc" in process.args]
    assert len(asked) == (1 if kind == "mp4" else 0)


@pytest.mark.parametrize("kind", ["mp4", "stretched", "folder"])
@pytest.mark.parametrize("part", [(37, 22, 50, 41), (0, 0, 9, 90), (85, 3, 43, 93)])
def test_a_part_of_each_frame_is_as_in_the_whole(tmp_path, kind, part):
    path = tmp_path / ("frames" if kind == "folder" else "clip.mp4")
    rng = np.random.default_rng(0)
    with VideoWriter(path, fps=25) as writer:
        for _ in range(3):  # fine colours, which the whole picture interpolates
            writer.write(rng.integers(0, 255, (96, 128, 3), dtype=np.uint8))
    if kind == "stretched":
        wide = tmp_path / "wide.mp4"
        ffmpeg("-i", path, "-vf", "setsar=2", "-c:v", "libx264", wide)
        path = wide
    x, y, width, height = part
    with VideoReader(path) as reader, reader.reopen(part) as cut:
        assert cut.size == (height, width)
        for frame, piece in zip(reader, cut, strict=True):
            np.testing.assert_array_equal(piece, frame[y : y + height, x : x + width])


@pytest.mark.parametrize("kind", ["mp4", "stretched", "folder"])
@pytest.mark.parametrize(("part", "factor"), [(None, 3), ((36, 24, 48, 36), 3), ((84, 4, 44, 88), 4)])
def test_a_shrunk_part_holds_the_means_of_its_pixels(tmp_path, kind, part, factor):
    path = tmp_path / ("frames" if kind == "folder" else "clip.mp4")
    y, x = np.mgrid[:96, :128] / 10
    with VideoWriter(path, fps=25) as writer:
        for t in range(3):
            waves = [np.sin(x + t) + np.cos(y), np.sin(x - y), np.cos(x / 2 + y)]
            writer.write((120 + 50 * np.stack(waves, 2)).astype(np.uint8))
    if kind == "stretched":
        wide = tmp_path / "wide.mp4"
        ffmpeg("-i", path, "-vf", "setsar=2", "-c:v", "libx264", wide)
        path = wide
    with VideoReader(path) as reader, reader.reopen(part, factor) as small:
        x, y, width, height = part or (0, 0, reader.size[1] // factor * factor, 96)
        assert small.size == (height // factor, width // factor)
        for frame, piece in zip(reader, small, strict=True):
            cut = frame[y : y + height, x : x + width]
            mean = cut.reshape(height // factor, factor, width // factor, factor, 3).mean((1, 3))
            # colours, which H.264 halves, are averaged before they are converted
            np.testing.assert_allclose(piece, mean, atol=5)
            assert np.abs(piece - mean).mean() < 0.8


# ---- A folder of pictures ----


def test_a_folder_in_natural_order(tmp_path):
    for number in (1, 2, 10, 9, 100):
        write_image(tmp_path / f"Frame{number}.png", np.full((8, 6, 3), number, np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "._Frame1.png").write_bytes(b"what a Mac leaves on a memory stick")
    with VideoReader(tmp_path) as reader:
        assert (reader.size, reader.fps, reader.num_frames, reader.has_audio) == ((8, 6), 25.0, 5, False)
        assert [int(frame[0, 0, 0]) for frame in reader] == [1, 2, 9, 10, 100]


def test_folders_that_are_no_video(tmp_path):
    with pytest.raises(MediaError, match="has no pictures"):
        VideoReader(tmp_path)
    write_image(tmp_path / "1.png", np.zeros((8, 8, 3), np.uint8))
    write_image(tmp_path / "2.png", np.zeros((8, 9, 3), np.uint8))
    with pytest.raises(MediaError, match=r"2\.png is 9x8, but the first .* is 8x8"):
        list(VideoReader(tmp_path))


def test_a_start_after_the_last_frame(tmp_path, clip):
    write_tone(tmp_path / "long.wav", 0, 5)
    ffmpeg("-i", clip, "-i", tmp_path / "long.wav", "-c:v", "copy", tmp_path / "long.mp4")
    with pytest.raises(MediaError, match=r"no frame of .*long\.mp4 could be decoded from 4 s on"):
        list(VideoReader(tmp_path / "long.mp4", start=4))


# ---- Writing ----


@pytest.mark.parametrize(
    ("name", "mean", "largest"),
    [("a.mp4", 1.5, 20), ("a.webm", 1.7, 20), ("a.gif", 6, 200), ("frames", 0, 0)],
)
def test_pictures_come_back(tmp_path, name, mean, largest):
    frames = smooth_frames()
    save_video(tmp_path / name, frames, 25)
    with VideoReader(tmp_path / name) as reader:
        assert reader.size == (96, 128)
        error = np.abs(np.stack(list(reader)).astype(int) - np.stack(frames))
    assert error.mean() <= mean, f"mean error {error.mean():.2f} levels"
    assert error.max() <= largest, f"largest error {error.max()} levels"


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif"])
def test_flat_colours_come_back(tmp_path, name):
    colors = np.concatenate(
        [np.indices((2, 2, 2)).reshape(3, 8).T * 255, [[128] * 3, [200, 100, 50], [9, 9, 90]]]
    )
    save_video(tmp_path / name, [np.full((32, 32, 3), color, np.uint8) for color in colors], 25)
    got = np.array([frame[16, 16] for frame in VideoReader(tmp_path / name)], int)
    error = np.abs(got - colors).max()
    assert error <= 1, f"off by {error} levels: {got - colors}"


@pytest.mark.parametrize("name", ["a.mp4", "a.webm"])
def test_colour_tags(tmp_path, name):
    save_video(tmp_path / name, gray_frames(3), 25)
    assert "yuv420p(tv, bt709, progressive)" in describe(tmp_path / name)


def test_odd_sizes_are_padded_to_even(tmp_path):
    frames = smooth_frames(3, height=47, width=33)
    save_video(tmp_path / "a.mp4", frames, 25)
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert reader.size == (48, 34)
        frame = next(reader).astype(int)
    assert np.abs(frame[:47, :33] - frames[0]).mean() <= 2
    assert np.abs(frame[:47, 33] - frames[0][:, 32]).mean() <= 4, "the last column is repeated"
    assert np.abs(frame[47, :33] - frames[0][46]).mean() <= 4, "the last row is repeated"
    for name in ("a.webm", "a.gif", "frames"):
        save_video(tmp_path / name, frames, 25)
        assert VideoReader(tmp_path / name).size == (47, 33), name


def test_one_frame_and_one_pixel(tmp_path):
    for name in ("a.mp4", "a.webm", "a.gif", "frames"):
        save_video(tmp_path / name, [np.full((1, 1, 3), 200, np.uint8)], 25)
        frames = list(VideoReader(tmp_path / name))
        assert len(frames) == 1, name
        assert abs(int(frames[0][0, 0, 0]) - 200) <= 3, name


def test_views_of_arrays_are_written(tmp_path):
    frame = smooth_frames(1)[0]
    frame.flags.writeable = False
    save_video(tmp_path / "frames", [frame[::2, ::-1]], 25)
    save_video(tmp_path / "a.mp4", [frame[::2, ::-1]], 25)
    assert np.array_equal(next(VideoReader(tmp_path / "frames")), frame[::2, ::-1])
    assert np.abs(next(VideoReader(tmp_path / "a.mp4")).astype(int) - frame[::2, ::-1]).mean() <= 2


def test_gifs_faster_than_browsers_show_keep_their_duration(tmp_path):
    save_video(tmp_path / "a.gif", gray_frames(60), 60)
    assert probe(tmp_path / "a.gif").seconds == pytest.approx(1.0, abs=0.021)
    assert VideoReader(tmp_path / "a.gif").fps == 50.0


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif"])
@pytest.mark.parametrize("sound", [False, True])
def test_the_comment_says_what_made_it(tmp_path, name, sound):
    write_tone(tmp_path / "tone.wav", 0, 1)
    audio = tmp_path / "tone.wav" if sound else None
    save_video(tmp_path / name, gray_frames(3), 25, audio=audio, weights_hash="1a2b3c4d5e6f7890")
    expected = f"Made with fomm {__version__} (weights 1a2b3c4d5e6f). AI-generated."
    assert re.search(r"^    comment +: (.*)$", describe(tmp_path / name), re.M | re.I)[1] == expected


def test_the_comment_of_a_folder(tmp_path):
    save_video(tmp_path / "frames", gray_frames(2), 25)
    for name in names(tmp_path / "frames"):
        with Image.open(tmp_path / "frames" / name) as image:
            assert image.info["Comment"] == f"Made with fomm {__version__}. AI-generated."


def test_clips_for_training(tmp_path):
    """Closer to the pictures than other videos, a key frame in 16, and no word of AI."""
    noise = np.random.default_rng(0).normal(0, 6, (33, 96, 128, 1))  # of the brightness alone
    frames = [np.clip(f + n, 0, 255).astype(np.uint8) for f, n in zip(smooth_frames(33), noise, strict=True)]
    with VideoWriter(tmp_path / "clip.mp4", fps=25, for_training=True) as writer:
        for frame in frames:
            writer.write(frame)
    save_video(tmp_path / "usual.mp4", frames, 25)
    loss = {
        name: np.abs(np.stack(list(VideoReader(tmp_path / name))).astype(float) - np.stack(frames)).mean()
        for name in ("clip.mp4", "usual.mp4")
    }
    assert loss["clip.mp4"] < 0.8 * loss["usual.mp4"], loss
    keys = ffmpeg(
        "-skip_frame", "nokey", "-i", tmp_path / "clip.mp4", "-fps_mode", "passthrough", "-f", "framecrc", "-"
    )
    assert len(re.findall(rb"^0,", keys, re.M)) >= 3
    said = describe(tmp_path / "clip.mp4")
    assert f"Cut out by fomm {__version__}." in said
    assert "AI" not in said


def test_clips_for_training_are_mp4_or_pictures(tmp_path):
    with pytest.raises(InputError, match="mp4 files or folders of PNGs"):
        VideoWriter(tmp_path / "clip.gif", fps=25, for_training=True)
    with VideoWriter(tmp_path / "clip", fps=25, for_training=True) as writer:
        writer.write(gray_frames(1)[0])
    with Image.open(tmp_path / "clip" / "frame000001.png") as picture:
        assert picture.info["Comment"] == f"Cut out by fomm {__version__}."


def test_the_driving_video_keeps_its_secrets(tmp_path, clip):
    write_tone(tmp_path / "tone.wav", 0, 1)
    tags = ["-metadata", "title=At home", "-metadata", "location=+47.37+008.54/"]
    driving = tmp_path / "driving.mp4"
    ffmpeg("-i", clip, "-i", tmp_path / "tone.wav", "-c:v", "copy", *tags, driving)
    assert "At home" in describe(driving)
    save_video(tmp_path / "result.mp4", gray_frames(3), 25, audio=driving)
    assert "At home" not in describe(tmp_path / "result.mp4")
    assert "47.37" not in describe(tmp_path / "result.mp4")


# ---- Sound ----


@pytest.mark.parametrize("name", ["a.mp4", "a.webm"])
@pytest.mark.parametrize("seconds", [0.5, 3.0])
def test_sound_is_cut_to_the_video(tmp_path, name, seconds):
    write_tone(tmp_path / "tone.wav", 0, seconds)
    save_video(tmp_path / name, gray_frames(25, step=8), 25, audio=tmp_path / "tone.wav")
    heard = len(read_sound(tmp_path / name)) / 44100
    assert heard == pytest.approx(min(seconds, 1.0), abs=0.03), f"{heard} s of sound"
    assert numbers(VideoReader(tmp_path / name), step=8) == list(range(25)), "sound shortens no video"


@pytest.mark.parametrize("name", ["a.mp4", "a.webm"])
def test_sound_starts_where_asked(tmp_path, name):
    write_tone(tmp_path / "tone.wav", 1.0, 2.0)
    options = {"audio": tmp_path / "tone.wav", "audio_start": 0.75, "audio_duration": 0.5}
    save_video(tmp_path / name, gray_frames(25), 25, **options)
    sound = read_sound(tmp_path / name)
    assert len(sound) / 44100 == pytest.approx(0.5, abs=0.03)
    began = np.flatnonzero(np.abs(sound) > 0.1)[0] / 44100
    assert began == pytest.approx(0.25, abs=0.02), f"the tone begins at {began} s"


def test_a_reader_gives_the_sound_of_its_part(tmp_path, clip):
    write_tone(tmp_path / "tone.wav", 1.0, 2.0)
    ffmpeg("-i", clip, "-i", tmp_path / "tone.wav", "-c:v", "copy", tmp_path / "talk.mp4")
    part = VideoReader(tmp_path / "talk.mp4", start=0.75, duration=0.5)
    save_video(tmp_path / "a.mp4", gray_frames(25), 25, audio=part)
    sound = read_sound(tmp_path / "a.mp4")
    assert len(sound) / 44100 == pytest.approx(0.5, abs=0.03)
    began = np.flatnonzero(np.abs(sound) > 0.1)[0] / 44100
    assert began == pytest.approx(0.25, abs=0.03), f"the tone begins at {began} s"
    with pytest.raises(InputError, match="leave out audio_start"):
        VideoWriter(tmp_path / "b.mp4", fps=25, audio=part, audio_start=1)


def test_surround_sound_is_mixed_down(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "sine=d=1,pan=5.1(side)|c0=c0|c1=c0|c4=c0", tmp_path / "six.wav")
    for name in ("a.mp4", "a.webm"):
        save_video(tmp_path / name, gray_frames(5), 25, audio=tmp_path / "six.wav")
        assert "stereo" in describe(tmp_path / name), name


def test_no_sound_is_no_error(tmp_path, clip):
    frames = gray_frames(3)
    save_video(tmp_path / "frames", frames, 25, audio=clip)
    write_tone(tmp_path / "tone.wav", 0, 1)
    save_video(tmp_path / "a.gif", frames, 25, audio=tmp_path / "tone.wav")
    for audio in (clip, tmp_path / "frames", tmp_path / "a.gif", VideoReader(clip)):
        save_video(tmp_path / "a.mp4", frames, 25, audio=audio)
        assert not VideoReader(tmp_path / "a.mp4").has_audio


def test_sound_that_cannot_be_read_is_said_before_the_work(tmp_path):
    (tmp_path / "text.mp4").write_text("no sound")
    with pytest.raises(MediaError, match=r"text\.mp4: moov atom not found"):
        VideoWriter(tmp_path / "a.mp4", fps=25, audio=tmp_path / "text.mp4")
    with pytest.raises(MediaError, match=r"missing\.wav: there is no such file"):
        VideoWriter(tmp_path / "a.mp4", fps=25, audio=tmp_path / "missing.wav")
    with pytest.raises(InputError, match="audio_start"):
        VideoWriter(tmp_path / "a.mp4", fps=25, audio=tmp_path / "text.mp4", audio_start=-1)


# ---- Whole or not at all ----

TARGETS = ["a.mp4", "a.webm", "a.gif", "frames"]


def test_the_last_words_of_ffmpeg_are_told(tmp_path, monkeypatch):
    monkeypatch.setitem(ENCODINGS, "mp4", ["-c:v", "nosuchcodec", "-f", "mp4"])
    with pytest.raises(MediaError, match=r"a\.mp4 stopped after \d+ frames: Unknown encoder 'nosuchcodec'"):
        save_video(tmp_path / "a.mp4", smooth_frames(50), 25)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", TARGETS)
def test_no_frames_is_an_error(tmp_path, name):
    with pytest.raises(MediaError, match=f"{name}: no frames were given"):
        save_video(tmp_path / name, [], 25)
    assert names(tmp_path) == []


def test_what_a_writer_cannot_take(tmp_path):
    frames = gray_frames(2)
    (tmp_path / "plain").write_text("a file")
    with pytest.raises(MediaError, match="exists already"):
        save_video(tmp_path / "plain", frames, 25)
    with pytest.raises(MediaError, match=r"a\.mkv: the suffix must be one of \.mp4, \.webm, \.gif, or none"):
        save_video(tmp_path / "a.mkv", frames, 25)
    for fps in (0, -1, float("nan"), 1e9):
        with pytest.raises(InputError, match="fps"):
            save_video(tmp_path / "a.mp4", frames, fps)
    with pytest.raises(InputError, match="with block"):
        VideoWriter(tmp_path / "a.mp4", fps=25).write(frames[0])
    assert names(tmp_path) == ["plain"]


def test_a_folder_of_pngs(tmp_path):
    save_video(f"{tmp_path / 'clip.v2'}/", gray_frames(2, step=9), 25)
    assert names(tmp_path / "clip.v2") == ["frame000001.png", "frame000002.png"]
    assert read_image(tmp_path / "clip.v2" / "frame000002.png").max() == 9
    (tmp_path / "empty").mkdir()
    save_video(tmp_path / "empty", gray_frames(1), 25)
    assert names(tmp_path / "empty") == ["frame000001.png"]
    with pytest.raises(MediaError, match="new or empty folder"):
        save_video(tmp_path / "empty", gray_frames(2), 25)
    assert names(tmp_path / "empty") == ["frame000001.png"]
    shutil.rmtree(tmp_path / "empty")
    assert names(tmp_path) == ["clip.v2"]
