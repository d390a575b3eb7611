"""Videos that are bombs, broken or none are refused with one sentence; damaged and odd ones are animated."""

import functools
import os
import re
import socket
import struct
import tempfile
import warnings
import wave
from collections.abc import Callable
from pathlib import Path

import hostile
import numpy as np
import pytest
from doors import check_only, check_sentence
from golden_data import GOLDEN
from hostile import ffmpeg
from in_processes import Case, check_refused, read_each, write_each

from fomm import animate_file, load_checkpoints
from fomm.animation.options import Framing
from fomm.cli import main
from fomm.errors import FommError, MediaError
from fomm.media import VideoReader, VideoWriter, read_image
from fomm.media.ffmpeg import probe

FRAMES = 40
WEIGHTS = ["--checkpoint", str(GOLDEN / "tiny-cpk.pth.tar"), "--config", str(GOLDEN / "tiny.yaml")]
SUFFIXES = ["mp4", "mov", "mkv", "webm", "avi", "ts", "flv", "mpg", "gif"]
TELLS_ITS_LENGTH = {"mp4", "mov", "mkv", "webm", "flv"}  # at the front, so that a cut file is known to be cut
SHORT = {"gif": [], "webm": ["-c:v", "libvpx-vp9", "-crf", "30"], "mpg": ["-q:v", "4"]}


@functools.cache
def whole(suffix: str) -> bytes:
    """Make a clip of noise. Its index, if it has one, is at the front."""
    with tempfile.TemporaryDirectory() as folder:
        more = SHORT.get(suffix, ["-c:v", "libx264", "-preset", "ultrafast", "-movflags", "+faststart"])
        return hostile.video_file(Path(folder), f"whole.{suffix}", FRAMES, 32, *more)


@functools.cache
def made(name: str, *arguments: str) -> bytes:
    """Make a file with these arguments of ffmpeg."""
    with tempfile.TemporaryDirectory() as folder:
        ffmpeg(*arguments, Path(folder) / name)
        return (Path(folder) / name).read_bytes()


# -- refused -----------------------------------------------------------------------------------------


def y4m(width: int, height: int, rate: str = "25:1", aspect: str = "1:1") -> bytes:
    head = f"YUV4MPEG2 W{width} H{height} F{rate} Ip A{aspect} C420jpeg\n"
    return head.encode() + b"FRAME\n" + bytes(width * height * 3 // 2)


def scripts() -> dict[str, Case]:
    """Texts that make ffmpeg open other files or addresses, if one lets it."""
    address = "http://127.0.0.1:9/other.mp4"
    texts = {
        "an ffconcat script": "ffconcat version 1.0\nfile other.mp4\n",
        "an ffconcat script of an address": f"ffconcat version 1.0\nfile {address}\n",
        "a play list": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nother.mp4\n#EXT-X-ENDLIST\n",
        "a play list of addresses": f"#EXTM3U\n#EXTINF:2,\n{address}\n#EXT-X-ENDLIST\n",
        "a play list of files": "#EXTM3U\n#EXTINF:2,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        "a DASH manifest": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011">'
        f"<BaseURL>{address}</BaseURL></MPD>",
        "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
        "an ASX list": f'<asx version="3.0"><entry><ref href="{address}"/></entry></asx>',
        "an address": address,
        "a filter graph": "movie=other.mp4",
        "metadata": ";FFMETADATA1\ntitle=x\n",
        "subtitles": "1\n00:00:00,000 --> 00:00:01,000\nhello\n",
        "a text": "hello",
        "a web page": "<html>not found</html>",
        "SVG": '<svg xmlns="http://www.w3.org/2000/svg"/>',
    }
    words = "cannot read .* as a video: it is not a video, but text$"
    return {name: (lambda t=text: t.encode(), words) for name, text in texts.items()}


def bombs() -> dict[str, Case]:
    large = r"pixels are more than 120000000; scale it down, or set FOMM_MAX_PIXELS"
    return {
        "144 million pixels": (large_frame, f"12000x12000 {large}"),
        "144 million pixels that are not there": (lambda: y4m(12_000, 12_000)[:5000], large),
        "pixels that are 500 times as wide as high": (lambda: y4m(512, 512, aspect="500:1"), large),
        "a million frames a second": (lambda: y4m(16, 16, "1000000:1"), r"claims 1e\+06 frames a second"),
    }


def large_frame() -> bytes:
    source = "color=s=12000x12000:r=25:d=0.04"
    return made("a.mkv", "-f", "lavfi", "-i", source, "-c:v", "mjpeg", "-q:v", "31", "-pix_fmt", "yuvj420p")


def tone() -> bytes:
    with tempfile.TemporaryFile() as file:
        with wave.open(file, "wb") as sound:
            sound.setparams((1, 2, 8000, 0, "NONE", ""))
            sound.writeframes(bytes(8000))
        file.seek(0)
        return file.read()


def without(data: bytes, box: bytes) -> bytes:
    """Make an mp4 file without its top-level ``box``."""
    at, rest = 0, b""
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        rest += b"" if kind == box else data[at : at + size]
        at += size
    return rest


def broken() -> dict[str, Case]:
    mp4 = functools.partial(whole, "mp4")
    silence = ("-f", "lavfi", "-i", "anullsrc", "-t", "0.5")
    cover = ("-f", "lavfi", "-i", "color=s=32x32", *silence, "-map", "1", "-map", "0", "-frames:v", "1")
    shown = ("-c:v", "mjpeg", "-disposition:v", "attached_pic")
    late = ("-f", "lavfi", "-i", "testsrc=s=32x32:d=1", "-c:v", "libx264")
    return {
        "no bytes": (lambda: b"", "as a video"),
        "one byte": (lambda: b"\0", "as a video"),
        "zeros": (lambda: bytes(5000), "as a video"),
        "noise": (lambda: np.random.default_rng(0).bytes(5000), "as a video"),
        "no index": (lambda: without(mp4(), b"moov"), "moov atom not found"),
        "cut before its index": (lambda: (d := made("a.mp4", *late))[: len(d) // 2], "moov atom not found"),
        "an index and nothing else": (lambda: without(mp4(), b"mdat"), "not one frame|as a video"),
        "an index of zeros": (lambda: zeroed(mp4(), b"moov"), "no video stream|as a video|not one frame"),
        "no frames": (
            lambda: made("a.mp4", "-f", "lavfi", "-i", "color=s=32x32", "-frames:v", "0"),
            "no video stream|not one frame|as a video",
        ),
        "the head of a webm": (lambda: whole("webm")[:300], "not one frame|as a video|no video stream"),
        "frames of noise": (lambda: noisy(mp4(), b"mdat"), "not one frame|as a video"),
        "sound alone, wav": (tone, "it has no video stream"),
        "sound alone, mp3": (lambda: made("a.mp3", *silence), "it has no video stream"),
        "sound alone, mp4": (lambda: made("a.mp4", *silence), "it has no video stream"),
        "sound with a cover": (lambda: made("a.mp4", *cover, *shown), "it has no video stream"),
        "a picture": (lambda: hostile.picture_file("PNG"), "it is a picture; expected a video, a GIF"),
        "weights": (lambda: hostile.smallest_checkpoint("safetensors"), "as a video"),
        "a sample size of gigabytes": (lambda: patched_sizes(mp4()), "not one frame|as a video"),
    }


def box_content(data: bytes, box: bytes) -> tuple[int, int]:
    at = data.index(box) + 4
    return at, at - 8 + int.from_bytes(data[at - 8 : at - 4], "big")


def zeroed(data: bytes, box: bytes) -> bytes:
    start, end = box_content(data, box)
    return data[:start] + bytes(end - start) + data[end:]


def noisy(data: bytes, box: bytes) -> bytes:
    start, end = box_content(data, box)
    return data[:start] + np.random.default_rng(0).bytes(end - start) + data[end:]


def patched_sizes(data: bytes) -> bytes:
    """Every frame is said to have two gigabytes."""
    start, end = box_content(data, b"stsz")
    sizes = b"\x7f\xff\xff\xff" * ((end - start - 12) // 4)
    return data[: start + 12] + sizes + data[end:]


CASES: dict[str, Case] = {**scripts(), **bombs(), **broken()}


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return write_each(CASES, tmp_path_factory.mktemp("videos"), "clip.mp4")


@pytest.fixture(scope="module")
def told(paths):
    return read_each("read_video", paths)


@pytest.mark.parametrize("name", CASES)
def test_refused(told, paths, name):
    check_refused(told[name], paths[name], CASES[name][1])


@pytest.mark.parametrize("kind", ["missing", "pipe", "device", "circle", "empty folder", "broken folder"])
def test_no_files(tmp_path, kind):
    path = tmp_path / "clip.mp4"
    words = {"pipe": "not a regular file", "device": "not a regular file", "empty folder": "has no pictures"}
    words["broken folder"] = "not a picture"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "circle":
        path.symlink_to(path)
    elif kind.endswith("folder"):
        path.mkdir()
        if kind == "broken folder":
            (path / "1.png").write_text("no picture")
    with pytest.raises(MediaError, match=words.get(kind, "there is no such file")) as caught:
        VideoReader(path)
    check_sentence(caught.value, MediaError, path)


def test_the_cap_on_pixels_can_be_set(tmp_path, monkeypatch):
    path = tmp_path / "clip.mp4"
    path.write_bytes(whole("mp4"))
    monkeypatch.setenv("FOMM_MAX_PIXELS", "1023")
    with pytest.raises(MediaError, match=r"clip\.mp4: its 32x32 pixels are more than 1023"):
        VideoReader(path)
    monkeypatch.setenv("FOMM_MAX_PIXELS", "1024")
    assert len(list(VideoReader(path))) == FRAMES


# -- damaged: what can be read is given, with a warning ----------------------------------------------


def read_damaged(path: Path) -> tuple[int, str]:
    """Return how many frames came, and what the warnings said."""
    with warnings.catch_warnings(record=True) as said, VideoReader(path) as reader:
        warnings.simplefilter("always")
        count = sum(1 for _ in reader)
    return count, "; ".join(str(warning.message) for warning in said)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_cut_at_half(tmp_path, suffix):
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(whole(suffix)[: len(whole(suffix)) // 2])
    count, said = read_damaged(path)
    assert 10 <= count <= 30, f"{count} of {FRAMES} frames"
    if suffix in TELLS_ITS_LENGTH:
        wanted = rf"cut\.{suffix} is damaged: {count} of about 4[0-2] frames were read; ffmpeg said: \w"
    else:  # may be cut between two frames, and then nothing is known to be missing
        wanted = rf"^$|cut\.{suffix} is damaged.* frames .*; ffmpeg said: \w"
    assert re.search(wanted, said), said
    check_only(tmp_path, path)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm", "avi", "ts", "flv", "mpg"])
def test_corrupt_packets(tmp_path, suffix):
    data = bytearray(whole(suffix))
    at = len(data) // 2
    # ffmpeg notices nothing of some other bytes, such as those of seed 0 in ts
    data[at : at + len(data) // 20] = np.random.default_rng(1).bytes(len(data) // 20)
    path = tmp_path / f"corrupt.{suffix}"
    path.write_bytes(data)
    count, said = read_damaged(path)
    assert FRAMES // 3 <= count <= FRAMES + 3, f"{count} of {FRAMES} frames"
    assert re.search(rf"corrupt\.{suffix} is damaged.*ffmpeg said: \w", said), said or "no word of it"
    check_only(tmp_path, path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_whole_files_are_not_called_damaged(tmp_path, suffix):
    path = tmp_path / f"whole.{suffix}"
    path.write_bytes(whole(suffix))
    count, said = read_damaged(path)
    assert not said
    assert abs(count - FRAMES) <= 2, f"{count} frames"


# -- odd, and animated all the same ------------------------------------------------------------------


def source(size: str = "48x32", seconds: float = 0.4, more: str = "") -> tuple[str, ...]:
    return "-f", "lavfi", "-i", f"testsrc2=s={size}:r=25:d={seconds}{more}"


def rotated(angle: int) -> Callable[[], bytes]:
    def make() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            stored = Path(folder) / "stored.mp4"
            stored.write_bytes(made("a.mp4", *source()))
            return made("b.mp4", "-display_rotation", str(angle), "-i", str(stored), "-c", "copy")

    return make


def variable_rate() -> bytes:
    """One second at 30 frames a second, then three at 10."""
    keep = "select='lt(n,30)+not(mod(n,3))'"
    clip = "testsrc2=s=48x32:r=30:d=4"
    return made("v.mp4", "-f", "lavfi", "-i", clip, "-vf", keep, "-fps_mode", "vfr", "-c:v", "libx264")


RAW = (*source(), "-c:v", "ffv1")
CLEAR = source(more=",format=yuva420p")
ODD: dict[str, tuple[Callable[[], bytes], int, tuple[int, int]]] = {  # the file, frames, (height, width)
    "one frame": (lambda: made("a.mp4", *source(), "-frames:v", "1"), 1, (32, 48)),
    "one frame, gif": (lambda: made("a.gif", *source(), "-frames:v", "1"), 1, (32, 48)),
    "one pixel": (lambda: made("a.mkv", *source("16x16"), "-vf", "scale=1:1", "-c:v", "ffv1"), 10, (1, 1)),
    "odd sizes": (
        lambda: made("a.mkv", "-f", "lavfi", "-i", "testsrc=s=47x33:d=0.4", "-c:v", "ffv1"),
        10,
        (33, 47),
    ),
    "turned by 0": (rotated(0), 10, (32, 48)),
    "turned by 90": (rotated(90), 10, (48, 32)),
    "turned by 180": (rotated(180), 10, (32, 48)),
    "turned by 270": (rotated(270), 10, (48, 32)),
    "alpha, webm": (
        lambda: made("a.webm", *CLEAR, "-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p"),
        10,
        (32, 48),
    ),
    "alpha, mov": (lambda: made("a.mov", *source(more=",format=argb"), "-c:v", "qtrle"), 10, (32, 48)),
    "alpha, gif": (lambda: made("a.gif", *source(more=",colorkey=red")), 10, (32, 48)),
    "10 bits, H.264": (lambda: made("a.mp4", *source(), "-pix_fmt", "yuv420p10le"), 10, (32, 48)),
    "10 bits, VP9": (
        lambda: made("a.webm", *source(), "-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p10le"),
        10,
        (32, 48),
    ),
    "12 bits of gray": (lambda: made("a.mkv", *RAW, "-pix_fmt", "gray12le"), 10, (32, 48)),
    "16 bits, RGB": (lambda: made("a.mkv", *RAW, "-pix_fmt", "gbrp16le"), 10, (32, 48)),
    "interlaced": (
        lambda: made("a.mp4", *source(), "-flags", "+ilme+ildct", "-c:v", "mpeg2video"),
        10,
        (32, 48),
    ),
    "8K": (
        lambda: made("a.mkv", *source("7680x4320", 0.04), "-c:v", "mjpeg", "-pix_fmt", "yuvj420p"),
        1,
        (4320, 7680),
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "8K" else ()) for name in ODD]
)
def test_odd_videos_are_animated(tiny, tmp_path, name):
    make, count, size = ODD[name]
    photo, driving, result = tmp_path / "photo.png", tmp_path / "driving.mp4", tmp_path / "result.mp4"
    driving.write_bytes(make())
    photo.write_bytes(hostile.picture_file("PNG", size=(64, 64)))
    with VideoReader(driving) as reader, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reader.size == size
        assert (
            animate_file(photo, driving, result, *tiny, framing=Framing(crop="none"), progress=False) == count
        )
    with VideoReader(result) as reader:
        assert reader.size == (64, 64)
        assert len(list(reader)) == count
    check_only(tmp_path, photo, driving, result)


def test_a_variable_rate_keeps_its_duration(tiny, tmp_path):
    (tmp_path / "driving.mp4").write_bytes(variable_rate())
    (tmp_path / "photo.png").write_bytes(hostile.picture_file("PNG", size=(64, 64)))
    given = tmp_path / "photo.png", tmp_path / "driving.mp4"
    animate_file(*given, tmp_path / "result.mp4", *tiny, framing=Framing(crop="none"))
    result = probe(tmp_path / "result.mp4")
    assert abs(result.seconds - 4) <= 1 / result.rate + 0.005, f"{result.seconds} s of 4 s"


# -- names -------------------------------------------------------------------------------------------

NAMES = [
    "-i.mp4",
    "-y",
    "a:b.mp4",
    "concat:x|y.mp4",
    "file:a.mp4",
    "pipe:0",
    "http:a.mp4",
    "frame%03d.mp4",
    "p%41c.mp4",
    "it's $(touch canary);.mp4",
    '"a\\b.mp4',
    "[a],b=c.mp4",
    "ünï-日本.mp4",
    "a b.mp4",
    "two\nlines.mp4",
]


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_are_names(tiny, tmp_path, monkeypatch, name):
    """Of the photo, the driving video with its sound and the result; the name may stand alone."""
    for folder in ("driving", "photo", "result"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "photo")
    Path(name).write_bytes(hostile.picture_file("PNG", size=(64, 64)))
    monkeypatch.chdir(tmp_path / "driving")
    sound = ("-f", "lavfi", "-i", "sine=d=0.4", "-shortest")
    Path(name).write_bytes(made("a.mp4", *source(), *sound))
    result = tmp_path / "result" / (name if name.endswith(".mp4") else f"{name}.mp4")
    photo = tmp_path / "photo" / name
    assert animate_file(photo, name, result, *tiny, framing=Framing(crop="none"), progress=False) == 10
    monkeypatch.chdir(tmp_path / "result")
    with VideoReader(result.name) as reader:
        assert reader.has_audio
        assert len(list(reader)) == 10
    assert sorted(path.name for path in tmp_path.glob("*/*")) == sorted([name, name, result.name])


ADDRESSES = [
    "http://HOST/a.mp4",
    "tcp://HOST",
    "rtsp://HOST/a",
    "concat:http://HOST/a.mp4|b",
    "file:http://HOST/a",
]


def test_nobody_is_called(tiny, tmp_path, monkeypatch, capsys):
    """Names and contents that are addresses, in every place of the command line: no connection is opened."""
    monkeypatch.chdir(tmp_path)
    photo, driving = Path("photo.png"), Path("driving.mp4")
    photo.write_bytes(hostile.picture_file("PNG", size=(64, 64)))
    driving.write_bytes(made("a.mp4", *source()))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        host = f"127.0.0.1:{server.getsockname()[1]}"

        def refuse(*arguments: object) -> None:
            assert main(["animate", *WEIGHTS, *map(str, arguments), "--device", "cpu", "--crop", "none"]) == 1
            said = capsys.readouterr().err
            assert re.fullmatch(r"fomm: .*\n", said), said

        contents = []
        for number, (make, _) in enumerate(scripts().values()):
            contents.append(f"script{number}.mp4")
            Path(contents[-1]).write_bytes(make().replace(b"127.0.0.1:9", host.encode()))
        before = sorted(os.listdir())
        addresses = [address.replace("HOST", host) for address in ADDRESSES]
        for name in [*addresses, *contents]:
            refuse(photo, name, "-o", "result.mp4")
            with pytest.raises(MediaError, match="cannot read"):
                VideoWriter("result.mp4", fps=25, audio=name)
        for name in addresses:  # as they are: a path on the command line loses one of two slashes
            for call, *arguments in (
                (VideoReader, name),
                (read_image, name),
                (animate_file, photo, name, "result.mp4", *tiny),
                (animate_file, name, driving, "result.mp4", *tiny),
                (load_checkpoints, None, name),
                (load_checkpoints, name, WEIGHTS[1]),
            ):
                with pytest.raises(FommError):
                    call(*arguments)
        for name in addresses:
            refuse(name, driving, "-o", "result.mp4")
            refuse(photo, driving, "-o", "result.mp4", "--checkpoint", name)
            refuse(photo, driving, "-o", "result.mp4", "--config", name)
        for name in addresses[:3]:
            refuse(photo, driving, "-o", name)
        assert sorted(os.listdir()) == before
        with pytest.raises(BlockingIOError):  # nobody knocked
            server.accept()
