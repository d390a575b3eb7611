"""Running ffmpeg: what it is asked, what it answers, and what it says when it fails.

The program that comes with imageio-ffmpeg is started directly, with lists of arguments and never through a
shell: its exit status and its own words on stderr are what tells a good file from a broken one. There is no
ffprobe beside it, so facts about a file come from decoding one frame. stderr goes to a temporary file, which
cannot fill up and stop ffmpeg as a pipe that nobody reads would.

File names are always given as absolute ``file:`` paths, with a white list of protocols and of containers, so
that no name and no content of a file makes ffmpeg open anything else.
"""

import codecs
import math
import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import FrameType
from typing import IO, NamedTuple

from fomm.errors import MediaError, MissingExtraError, shown
from fomm.media.images import is_still, most_pixels, too_many_pixels

# Containers that hold their own pictures and sound. Play lists and scripts (concat, hls, dash, sdp and
# others) are left out, since they make ffmpeg open what they name.
CONTAINERS = (
    "mov,matroska,avi,mpegts,mpeg,flv,ogg,asf,mxf,nut,dv,ivf,m4v,h264,hevc,mjpeg,yuv4mpegpipe,"
    "gif,apng,webp_anim,wav,mp3,aac,flac"
)
MAX_RATE = 1000  # frames per second
# Pixels further from square than this are stretched; a smaller deviation is a rounded size and stays
# untouched.
SQUARE_TOLERANCE = 0.02
# Lines that ffmpeg adds after the one that gives the reason.
_SUMMARY = re.compile(
    r"Error (opening|selecting)|Conversion failed|Nothing was written|Exiting|Last message repeated"
)
_ALPHA = r"bgra|rgba|argb|abgr|pal8|ya8|ya16\w*|yuva\w+|gbrap\w*|rgba64\w*"  # pixel formats
_LOG_TAIL = 64 * 1024  # bytes; a broken file can fill the log, its end is enough


class VideoInfo(NamedTuple):
    """What a file says about its first video stream."""

    size: tuple[int, int]  # (height, width) as shown: rotated, and with square pixels
    rate: Fraction  # frames per second; of a variable rate the nominal one, or the average
    seconds: float | None  # of the whole file
    has_audio: bool
    has_alpha: bool


def executable() -> str:
    """The path of the ffmpeg program that imageio-ffmpeg brings, or that its environment variable names."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ImportError as reason:
        raise MissingExtraError(
            "reading and writing videos needs imageio-ffmpeg: pip install imageio-ffmpeg"
        ) from reason
    try:
        return get_ffmpeg_exe()
    except RuntimeError as reason:
        raise MediaError(f"no ffmpeg program was found: {reason}") from reason


def last_error(log: str, exit_code: int) -> str:
    """ffmpeg's last line that gives a reason, without the part of the program that it names in brackets."""
    lines = [re.sub(r"^(\[[^\]]*\] *)+", "", line).strip() for line in log.splitlines()]
    lines = [re.sub(r"on whitelist '.*'", "on the white list", line) for line in lines if line]  # a long list
    reasons = [line for line in lines if not _SUMMARY.match(line)]
    if reasons or lines:
        return shown((reasons or lines)[-1], 200)
    if exit_code >= 0:
        return f"ffmpeg ended with {exit_code}"
    try:
        return f"ffmpeg was stopped: {signal.strsignal(-exit_code)}"
    except ValueError:
        return f"ffmpeg was stopped by signal {-exit_code}"


def probe(path: Path) -> VideoInfo:
    """Decode the first frame of ``path`` and return what ffmpeg says about the video.

    Raises ``MediaError`` when there is no video stream, or no frame can be decoded.
    """
    # At a constant rate framecrc's time base is the inverse of the rate, exactly, and it gives the size after
    # ffmpeg has rotated the picture.
    output = "-map 0:V:0 -frames:v 1 -fps_mode cfr -c:v rawvideo -f framecrc pipe:1".split()
    limit = most_pixels()
    code, facts, log = run([*input_arguments(path), *output])
    stream = _video_line(log)
    if "Input #0" in log and stream is None:
        raise MediaError(f"cannot read {path}: it has no video stream")
    size = re.search(r"^#dimensions 0: (\d+)x(\d+)", facts, re.M)
    time_base = re.search(r"^#tb 0: (\d+)/(\d+)", facts, re.M)
    if large := re.search(r"Picture size (\d{1,9})x(\d{1,9}) exceeds", log):
        raise MediaError(too_many_pixels(path, (int(large[2]), int(large[1])), limit))
    if code or stream is None:
        raise MediaError(f"cannot read {path} as a video: {_why_no_video(path, log, code)}")
    if not size or not time_base or not re.search(r"^0,", facts, re.M):
        raise MediaError(f"cannot read {path}: not one frame of its video could be decoded")
    width, height = int(size[1]), int(size[2])
    pixel = re.search(r"^#sar 0: (\d+)/(\d+)", facts, re.M)
    aspect = int(pixel[1]) / int(pixel[2]) if pixel and int(pixel[1]) and int(pixel[2]) else 1.0
    if abs(aspect - 1) > SQUARE_TOLERANCE:
        width = max(1, round(width * aspect))
    if height * width > limit:
        raise MediaError(too_many_pixels(path, (height, width), limit))
    rate = _frame_rate(Fraction(int(time_base[2]), int(time_base[1])), stream)
    if rate > MAX_RATE:
        raise MediaError(f"cannot read {path}: it claims {float(rate):g} frames a second; convert it first")
    return VideoInfo(
        size=(height, width),
        rate=rate,
        seconds=_duration(log),
        has_audio=_has_audio(log),
        has_alpha=re.search(rf", ({_ALPHA})[(,]", stream) is not None,
    )


def _why_no_video(path: Path, log: str, code: int) -> str:
    """Return what is known of a file that ffmpeg could not read."""
    if is_still(path):
        return "it is a picture; expected a video, a GIF that moves or a folder of numbered pictures"
    reason = last_error(log, code)
    if _is_text(path):
        return "it is not a video, but text"
    if "Input #0" not in log and "Invalid data found" in reason:
        return f"it is not a video, or damaged from its beginning on; ffmpeg said: {reason}"
    return reason


def _is_text(path: Path) -> bool:
    """Whether a file begins with nothing but characters that people write, in UTF-8."""
    with open(path, "rb") as file:
        start = file.read(1024)
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start)  # the last one may be cut
    except UnicodeDecodeError:
        return False
    return bool(text) and all(sign.isprintable() or sign.isspace() for sign in text)


def has_sound(path: Path) -> bool:
    """Whether ``path`` has an audio stream; raises ``MediaError`` when ffmpeg cannot read it at all."""
    code, _, log = run(input_arguments(path))  # no output is asked for, so ffmpeg fails in any case
    if "Input #0" not in log:
        raise MediaError(f"cannot read sound from {path}: {last_error(log, code)}")
    return _has_audio(log)


def file_url(path: Path) -> str:
    """The name of a file in a form that ffmpeg takes for nothing else."""
    return "file:" + os.path.abspath(path)


def input_arguments(path: Path, start: float = 0.0, duration: float | None = None) -> list[str]:
    """Arguments that open a file of this machine, from ``start`` for ``duration`` seconds.

    What the file refers to is not opened.
    """
    seek = ["-ss", f"{start:.6f}"] if start else []
    cut = ["-t", f"{duration:.6f}"] if duration is not None else []
    allowed = ["-protocol_whitelist", "file", "-format_whitelist", CONTAINERS]
    room = most_pixels() * 17 // 16 + 2**16  # decoders fill frames up to whole blocks
    return [*seek, *cut, *allowed, "-max_pixels", str(min(room, 2**31 - 1)), "-i", file_url(path)]


def start_process(arguments: list[str], log: IO[bytes], stdin: int, stdout: int) -> "subprocess.Popen[bytes]":
    """Start ffmpeg; ``log`` takes its stderr.

    A Ctrl-C at the terminal goes to Python alone, which ends ffmpeg in its own time: were both to get it, the
    end of ffmpeg could be taken for a failure.
    """
    command = [executable(), "-hide_banner", "-nostdin", *arguments]
    alone = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # these two exist on Windows only
    alone |= getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    try:
        return subprocess.Popen(
            command, stdin=stdin, stdout=stdout, stderr=log, creationflags=alone, start_new_session=True
        )
    except OSError as reason:
        raise MediaError(f"cannot start {command[0]}: {reason.strerror or reason}") from reason


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Signals that Python handles, Ctrl-C first of all, are handled when the block has ended.

    For the moment in which a process has been started and nobody knows of it yet: interrupted there, it would
    be left to itself. Elsewhere than in the main thread nothing interrupts.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    handlers: dict[int, Callable[[int, FrameType | None], object]] = {}
    for asked in (signal.SIGINT, signal.SIGTERM):
        if callable(handler := signal.getsignal(asked)):
            handlers[asked] = handler
    try:
        for number in handlers:
            signal.signal(number, lambda *what: came.append(what))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for number, frame in came:
        handlers[number](number, frame)


def run(arguments: list[str]) -> tuple[int, str, str]:
    """Run ffmpeg to its end: exit status, stdout, and the end of stderr."""
    with tempfile.TemporaryFile() as log:
        process = start_process(arguments, log, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        with process:
            try:
                out, _ = process.communicate()
            finally:
                process.kill()
        return process.returncode, out.decode(errors="replace"), log_tail(log)


def log_tail(log: IO[bytes]) -> str:
    """The end of what ffmpeg wrote to ``log``."""
    log.seek(0, os.SEEK_END)
    log.seek(max(0, log.tell() - _LOG_TAIL))
    return log.read().decode(errors="replace")


# Below: ffmpeg's description of its input. Lines about streams are indented by two blanks, tags by more, so
# that no title that someone gave to a video is taken for a stream.


def _video_line(log: str) -> str | None:
    lines = re.findall(r"^  Stream #0:\d+[^\n]*?: (Video: [^\n]*)", log, re.M)
    pictures = [line for line in lines if "(attached pic)" not in line and "(timed thumbnails)" not in line]
    return pictures[0] if pictures else None


def _has_audio(log: str) -> bool:
    return re.search(r"^  Stream #0:\d+[^\n]*?: Audio: ", log, re.M) is not None


def _duration(log: str) -> float | None:
    found = re.search(r"^  Duration: (\d+):(\d+):(\d+(?:\.\d+)?)", log, re.M)
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else None


def _frame_rate(nominal: Fraction, stream: str) -> Fraction:
    """The nominal rate, unless it is high and far above the average: then it only divides all times."""
    found = re.search(r", (\d+(?:\.\d+)?) fps\b", stream)
    average = Fraction(found[1]) if found else Fraction(0)
    if average and nominal > max(Fraction(30), 2 * average):
        return exact_rate(float(average))
    return nominal


def exact_rate(fps: float) -> Fraction:
    """The ratio that a decimal rate stands for: 25.0 -> 25, 29.97 -> 30000/1001, 12.5 -> 25/2."""
    if round(fps) and math.isclose(fps, round(fps), rel_tol=1e-6):
        return Fraction(round(fps))
    broadcast = Fraction(round(fps * 1.001) * 1000, 1001)
    if broadcast and math.isclose(fps, broadcast, rel_tol=2e-4):  # two digits are enough: 23.98
        return broadcast
    return Fraction(fps).limit_denominator(1000)
