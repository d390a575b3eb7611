"""Single frames of a clip are exactly those of the whole, in every format."""

import ast
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fomm.data.clip_files import open_clip
from fomm.data.clips import find_clips, read_arrays, read_frames, sidecar_of
from fomm.errors import InputError, MediaError
from fomm.media import VideoWriter
from fomm.media.ffmpeg import find_executable
from fomm.media.paths import VIDEO_SUFFIXES

pytestmark = pytest.mark.smoke

COUNT = 53


def noise(count: int = COUNT, size: int = 32) -> np.ndarray:
    """Return frames of coarse coloured noise: none can be taken for another."""
    small = np.random.default_rng(0).integers(255, size=(count, size // 8, size // 8, 3), dtype=np.uint8)
    return small.repeat(8, 1).repeat(8, 2)


def write_video(path: Path, fps: float = 25, *, count: int = COUNT) -> Path:
    with VideoWriter(path, fps=fps) as writer:
        for frame in noise(count):
            writer.write(frame)
    return path


def encode(source: Path, target: Path, *arguments: str, before: tuple[str, ...] = ()) -> Path:
    """Encode the video ``source`` anew with these arguments of ffmpeg."""
    start = [find_executable(), "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *before]
    subprocess.run([*start, "-i", str(source), *arguments, str(target)], check=True)
    return target


def check_random_access(path: Path, count: int = COUNT, single: tuple[int, ...] = (0,)) -> None:
    whole = read_frames(path)
    clip = open_clip(path)
    assert clip.count == len(whole) == count
    rng = np.random.default_rng(1)
    drawn = rng.integers(count, size=(4, 2)).tolist()
    for numbers in (
        *([number] for number in single),
        [count - 1, 0],
        [7, 7],
        [count // 2, 3, count // 2 + 1],
        *drawn,
    ):
        read = clip.read(numbers)
        wrong = [n for n, frame in zip(numbers, read, strict=True) if not np.array_equal(frame, whole[n])]
        assert not wrong, f"{numbers}: {wrong} are others"
        assert read.shape == (len(numbers), *whole.shape[1:])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays(tmp_path, save, order):
    frames = noise()
    save(tmp_path / "a.npz", other=np.zeros(1000), frames=np.asarray(frames, order=order), more=np.ones(3))
    assert np.array_equal(read_frames(tmp_path / "a.npz"), frames)
    check_random_access(tmp_path / "a.npz")


def test_a_stored_array_with_a_long_header_and_extra_fields(tmp_path):
    """Whatever the zip file writes before the bytes of the array is skipped."""
    frames = noise(12)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        entry = zipfile.ZipInfo("frames.npy")
        entry.extra = b"\xfe\xca\x04\x00abcd"
        with archive.open(entry, "w") as member:
            np.lib.format.write_array(member, frames, version=(2, 0))
    check_random_access(tmp_path / "a.npz", 12)


@pytest.mark.parametrize("name", ["person#clip", "person#clip.mp4", "person#1.5"])
def test_folders_of_pictures(tmp_path, name):
    """As they are written here, and as the published tool names them, mp4 or not."""
    folder = tmp_path / name
    folder.mkdir()
    for number, frame in enumerate(noise(12)):
        Image.fromarray(frame).save(folder / f"{number}.png")  # 2 comes before 10
    assert np.array_equal(read_frames(folder), noise(12))
    check_random_access(folder, 12)
    assert find_clips(tmp_path) == [folder]
    assert sidecar_of(folder).name == {"person#1.5": "person#1.5"}.get(name, "person#clip") + ".landmarks.npz"


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_frames_side_by_side(tmp_path, mode):
    frames = noise(12)[:, :, :16]
    strip = Image.fromarray(np.concatenate(frames, 1)).convert(mode)
    strip.save(tmp_path / "a.png")
    clip = open_clip(tmp_path / "a.png", aspect=0.5)
    assert clip.count == 12
    expected = np.asarray(strip.convert("RGB")).reshape(32, 12, 16, 3)[:, [5, 2]].swapaxes(0, 1)
    assert np.array_equal(clip.read([5, 2]), expected)
    assert np.array_equal(read_frames(tmp_path / "a.png", 0.5)[[5, 2]], expected)
    with pytest.raises(MediaError, match=r"a\.png is 192x32, which is no row of frames of 28x32"):
        open_clip(tmp_path / "a.png", aspect=7 / 8)


@pytest.mark.parametrize(
    ("suffix", "fps"),
    [(".mp4", 25), (".mp4", 30000 / 1001), (".mp4", 7), (".webm", 24000 / 1001), (".gif", 10)],
)
def test_videos(tmp_path, suffix, fps):
    check_random_access(write_video(tmp_path / f"a{suffix}", fps))


@pytest.mark.parametrize(
    "options",
    [
        "keyint=20:scenecut=0:bframes=8:b-adapt=0:b-pyramid=normal",
        "keyint=20:scenecut=0:bframes=3:b-adapt=0:b-pyramid=normal:open-gop=1",
    ],
)
@pytest.mark.parametrize("rate", ["7", "30000/1001"])
def test_videos_whose_frames_are_coded_out_of_order(tmp_path, options, rate):
    """Some frames before a key frame are coded after it, and lean on it, and on frames before it."""
    video = write_video(tmp_path / "a.mp4")
    codec = ("-vf", f"setpts=N/({rate})/TB", "-r", rate, "-c:v", "libx264", "-x264-params", options)
    check_random_access(encode(video, tmp_path / "b.mov", *codec), single=(17, 18, 19, 20, 21, 38, 39))


MPEG2 = ("-c:v", "mpeg2video", "-q:v", "2")
CODECS = {
    ".webm": ("-c:v", "libvpx-vp9"), ".ogv": ("-c:v", "libtheora"), ".gif": (),
    ".mpg": MPEG2, ".mpeg": MPEG2, ".mxf": MPEG2,
}  # fmt: skip


@pytest.mark.parametrize("suffix", VIDEO_SUFFIXES)
@pytest.mark.parametrize("keys", [(), ("-g", "12")], ids=["few key frames", "many key frames"])
def test_containers_that_people_have(tmp_path, suffix, keys):
    codec = CODECS.get(suffix, ("-c:v", "libx264"))
    video = encode(write_video(tmp_path / "a.mp4"), tmp_path / f"b{suffix}", *codec, *keys)
    assert video in find_clips(tmp_path)
    check_random_access(video, len(read_frames(video)), single=(7, 17, 20, 33, 51))


def test_a_container_under_another_s_name(tmp_path):
    """Of MPEG-TS, which has no index, ffmpeg finds single frames by decoding from the start alone."""
    stream = encode(write_video(tmp_path / "a.mp4"), tmp_path / "b.ts", "-c:v", "libx264")
    check_random_access(stream.rename(tmp_path / "b.mp4"), single=(17, 20, 33))


def test_a_video_cut_without_coding_it_anew(tmp_path):
    """The file still holds what comes before its first frame, hidden by an edit list."""
    video = write_video(tmp_path / "a.mp4")
    cut = encode(video, tmp_path / "b.mp4", "-c", "copy", before=("-ss", "0.72"))
    check_random_access(cut, len(read_frames(cut)))


def test_a_video_of_variable_rate_is_counted_as_it_is_shown(tmp_path):
    video = write_video(tmp_path / "a.mp4")
    sparse = ("-vf", "select='lt(n,3)+gte(n,30)'", "-fps_mode", "vfr")
    varied = encode(video, tmp_path / "b.mp4", *sparse)
    check_random_access(varied, COUNT, single=(5, 20, 28))  # what frame 2 shows


def test_a_long_video_is_sought_anew_for_frames_far_apart(tmp_path):
    check_random_access(write_video(tmp_path / "a.mp4", count=440), 440, single=(0, 439))


def test_frames_that_are_not_there(tmp_path):
    np.savez(tmp_path / "a.npz", frames=noise(3))
    clip = open_clip(tmp_path / "a.npz")
    for numbers in ([3], [-1], [0, 5], []):
        with pytest.raises(InputError, match=r"a.npz has the frames 0 to 2, not \["):
            clip.read(numbers)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damaged_arrays(tmp_path, save):
    path = tmp_path / "a.npz"
    save(path, frames=noise())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])  # without the list at the end
    with pytest.raises(MediaError, match=r"a\.npz"):
        open_clip(path)
    with pytest.raises(MediaError, match=r"a\.npz"):
        read_frames(path)
    path.write_bytes(whole)
    clip = open_clip(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaError, match=r"a\.npz is damaged"):
        clip.read([COUNT - 1])


def test_arrays_of_something_else(tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "went off",)

    for name, frames in {
        "float": noise(2).astype("f4"),
        "grey": noise(2)[..., 0],
        "empty": noise(2)[:0],
        "pickled": np.array([Bomb()], object),
    }.items():
        path = tmp_path / f"{name}.npz"
        np.savez(path, frames=frames)
        for read in (open_clip, read_frames):
            with pytest.raises(MediaError, match=rf"{name}\.npz"):
                read(path)
    assert not (tmp_path / "went off").exists()
    np.savez(tmp_path / "other.npz", pictures=noise(2))
    with pytest.raises(MediaError, match="frames"):
        open_clip(tmp_path / "other.npz")
    with pytest.raises(MediaError, match=r"other\.npz cannot be read as an npz file with frames"):
        read_arrays(tmp_path / "other.npz", "frames")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (9000000000, 32, 32, 3)}", "ends within"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 32, 32, 4)}", "ends within"),
        (
            "{'descr': '|O', 'fortran_order': False, 'shape': (2, 32, 32, 3)}",
            "not that of an array of numbers",
        ),
        ("{'descr': '|u1', 'fortran_order': 1, 'shape': (2, 32, 32, 3)}", "not that of an array of numbers"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (-2, 32, 32, 3)}", "not that of an array"),
        (
            "{'descr': '|u9', 'fortran_order': False, 'shape': (2, 32, 32, 3)}",
            "not that of an array of numbers",
        ),
        ("", "not that of an array of numbers"),
        (" " * 20_000, "20000 bytes"),
    ],
)
def test_headers_that_are_wrong_are_refused(tmp_path, header, words):
    path, begin = tmp_path / "a.npz", b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("frames.npy", begin + header.encode() + noise(2).tobytes())
    with pytest.raises(MediaError, match=words):
        read_frames(path)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_headers_of_arrays_are_read_without_python_s_parser(tmp_path, monkeypatch, version):
    """Of CPython 3.11, it fails at times where threads run it at once, as those that read ahead would."""

    def fail(*_, **__):
        raise SystemError("AST constructor recursion depth mismatch")

    path, frames = tmp_path / "a.npz", noise(3)
    with zipfile.ZipFile(path, "w") as archive, archive.open("frames.npy", "w") as member:
        np.lib.format.write_array(member, np.asfortranarray(frames), version)
    with monkeypatch.context() as patch:
        patch.setattr(ast, "parse", fail)
        whole, single = read_frames(path), open_clip(path).read([2, 0])
    assert np.array_equal(whole, frames)
    assert np.array_equal(single, frames[[2, 0]])


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif", ".png", ".npz"])
def test_files_that_are_no_clips(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"<html>" * 100)
    for read in (open_clip, read_frames):
        with pytest.raises(MediaError, match=rf"a\{suffix}"):
            read(path)


def test_damaged_pictures(tmp_path):
    folder = tmp_path / "a#0"
    folder.mkdir()
    for number, frame in enumerate(noise(3)):
        Image.fromarray(frame).save(folder / f"{number}.png")
    clip = open_clip(folder)
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:60])
    Image.fromarray(noise(1, 16)[0]).save(folder / "2.png")
    with pytest.raises(MediaError, match=r"1\.png"):
        clip.read([0, 1])
    with pytest.raises(MediaError, match=r"2\.png is 16x16, but the first picture of the folder is 32x32"):
        clip.read([0, 2])


def test_a_video_that_lost_its_end(tmp_path):
    video = write_video(tmp_path / "a.mp4")
    whole = video.read_bytes()
    clip = open_clip(video)
    video.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(MediaError, match=r"a\.mp4"):
        clip.read([COUNT - 1])


def test_what_is_a_clip_in_a_folder(tmp_path):
    for name in ("b#1.npz", "a#0.MP4", "c#0.landmarks.npz", ".half.npz", "notes.txt", "d#0.png"):
        (tmp_path / name).touch()
    for name in ("e#0", "empty", ".half"):
        (tmp_path / name).mkdir()
    (tmp_path / "e#0" / "0000000.png").touch()
    (tmp_path / ".half" / "0000000.png").touch()
    names = [clip.name for clip in find_clips(tmp_path)]
    assert names == ["a#0.MP4", "b#1.npz", "d#0.png", "e#0"]
    assert [clip.name for clip in find_clips(tmp_path, 2)] == names[:2]
    with pytest.raises(InputError, match="at least 1"):
        find_clips(tmp_path, 0)
    with pytest.raises(InputError, match="holds no clips"):
        find_clips(tmp_path / "empty")
    with pytest.raises(InputError, match="is not a folder"):
        find_clips(tmp_path / "nothing")
