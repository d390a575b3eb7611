"""Start ffmpeg, ask it about a file, and find out why it failed.

The program that comes with imageio-ffmpeg is started directly, with a list of arguments and never through a
shell. Its exit status and its messages on stderr tell a good file from a broken one. There is no ffprobe
beside it, so facts about a file come from decoding one frame. stderr goes to a temporary file: a pipe that
nobody reads would fill up, and ffmpeg would wait for ever.

A file name is always given as an absolute ``file:`` path, with a white list of protocols and of containers.
So no name and no content of a file makes ffmpeg open anything else.
"""

import codecs
import math
import os
import re
import signal
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import FrameType
from typing import IO, NamedTuple

from fomm.errors import MediaError, MissingExtraError, shown
from fomm.media.images import check_pixels, get_max_pixels, is_still

# Containers that hold their own pictures and sound. Play lists and scripts (concat, hls, dash, sdp and
# others) are left out: they make ffmpeg open the files and addresses that they name.
CONTAINERS = (
    "mov,matroska,avi,mpegts,mpeg,flv,ogg,asf,mxf,nut,dv,ivf,m4v,h264,hevc,mjpeg,yuv4mpegpipe,"
    "gif,apng,webp_anim,wav,mp3,aac,flac"
)
MAX_RATE = 1000  # frames per second
# Pixels that are less square than this are stretched. A smaller deviation comes from rounding a size.
SQUARE_TOLERANCE = 0.02
# Of ffmpeg's scale filter: exact rounding and chroma. With its fast defaults a picture comes back more than
# one level darker.
SCALE_FLAGS = "flags=bicubic+accurate_rnd+full_chroma_int"
SHRINK_FLAGS = "flags=area+accurate_rnd+full_chroma_int"  # each pixel is the mean of those that it covers
# Lines that ffmpeg writes after the one that gives the reason.
_SUMMARY = re.compile(
    r"Error (opening|selecting)|Conversion failed|Nothing was written|Exiting|Last message repeated"
)
_ALPHA = r"bgra|rgba|argb|abgr|pal8|ya8|ya16\w*|yuva\w+|gbrap\w*|rgba64\w*"  # pixel formats
_LOG_TAIL = 64 * 1024  # bytes; a broken file can fill the log, and its end is enough
_started: "weakref.WeakSet[subprocess.Popen[bytes]]" = weakref.WeakSet()  # also those that have ended


class VideoInfo(NamedTuple):
    """What ffmpeg says about the first video stream of a file."""

    size: tuple[int, int]  # (height, width) as shown: rotated, and with square pixels
    is_stretched: bool  # whether it is stored in another size, since its pixels are not square
    rate: Fraction  # frames per second; of a variable rate the nominal one, or the average
    seconds: float | None  # of the whole file
    has_audio: bool
    has_alpha: bool


def find_executable() -> str:
    """Return the path of the ffmpeg program that imageio-ffmpeg brings, or that IMAGEIO_FFMPEG_EXE names."""
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


def find_reason(log: str, exit_code: int) -> str:
    """Return the last line of ``log`` that gives a reason, without the name of ffmpeg's part in brackets."""
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
    output = ["-map", "0:V:0", "-frames:v", "1", "-fps_mode", "cfr"]
    output += ["-c:v", "rawvideo", "-f", "framecrc", "pipe:1"]
    limit = get_max_pixels()
    code, facts, log = run([*make_input_arguments(path), *output])
    stream = _find_video_line(log)
    if "Input #0" in log and stream is None:
        raise MediaError(f"cannot read {path}: it has no video stream")
    size = re.search(r"^#dimensions 0: (\d+)x(\d+)", facts, re.M)
    time_base = re.search(r"^#tb 0: (\d+)/(\d+)", facts, re.M)
    if large := re.search(r"Picture size (\d{1,9})x(\d{1,9}) exceeds", log):
        check_pixels(path, (int(large[2]), int(large[1])), limit)
    picture = "Input #0, mov" in log and is_still(path)  # AVIF and HEIC lie in the container of videos
    if code or stream is None or picture:
        raise MediaError(f"cannot read {path} as a video: {_explain_failure(path, log, code)}")
    if not size or not time_base or not re.search(r"^0,", facts, re.M):
        raise MediaError(f"cannot read {path}: not one frame of its video could be decoded")
    width, height = stored = int(size[1]), int(size[2])
    pixel = re.search(r"^#sar 0: (\d+)/(\d+)", facts, re.M)
    aspect = int(pixel[1]) / int(pixel[2]) if pixel and int(pixel[1]) and int(pixel[2]) else 1.0
    if abs(aspect - 1) > SQUARE_TOLERANCE:
        width = max(1, round(width * aspect))
    check_pixels(path, (height, width), limit)
    rate = _choose_rate(Fraction(int(time_base[2]), int(time_base[1])), stream)
    if rate > MAX_RATE:
        raise MediaError(f"cannot read {path}: it claims {float(rate):g} frames a second; convert it first")
    return VideoInfo(
        size=(height, width),
        is_stretched=(width, height) != stored,
        rate=rate,
        seconds=_find_duration(log),
        has_audio=_has_audio(log),
        has_alpha=re.search(rf", ({_ALPHA})[(,]", stream) is not None,
    )


def _explain_failure(path: Path, log: str, code: int) -> str:
    """Return why ffmpeg could not read a video from ``path``, as far as that can be told."""
    if is_still(path):
        return "it is a picture; expected a video, a GIF that moves or a folder of numbered pictures"
    reason = find_reason(log, code)
    if _is_text(path):
        return "it is not a video, but text"
    if "Input #0" not in log and "Invalid data found" in reason:
        return f"it is not a video, or damaged from its beginning on; ffmpeg said: {reason}"
    return reason


def _is_text(path: Path) -> bool:
    """Return whether a file begins with nothing but printable characters and white space, in UTF-8."""
    with open(path, "rb") as file:
        start = file.read(1024)
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start)  # the last one may be cut
    except UnicodeDecodeError:
        return False
    return bool(text) and all(sign.isprintable() or sign.isspace() for sign in text)


def has_sound(path: Path) -> bool:
    """Return whether ``path`` has an audio stream. Raise ``MediaError`` when ffmpeg cannot read it at all."""
    code, _, log = run(make_input_arguments(path))  # it always fails: no output is asked for
    if "Input #0" not in log:
        raise MediaError(f"cannot read sound from {path}: {find_reason(log, code)}")
    return _has_audio(log)


def to_file_url(path: Path) -> str:
    """Return the name of a file in a form that ffmpeg takes for nothing else."""
    return "file:" + os.path.abspath(path)


def make_input_arguments(path: Path, start: float = 0.0, duration: float | None = None) -> list[str]:
    """Return the arguments that open a file of this machine, from ``start`` for ``duration`` seconds.

    They forbid ffmpeg to open what the file refers to.
    """
    seek = ["-ss", f"{start:.6f}"] if start else []
    cut = ["-t", f"{duration:.6f}"] if duration is not None else []
    allowed = ["-protocol_whitelist", "file", "-format_whitelist", CONTAINERS]
    room = get_max_pixels() * 17 // 16 + 2**16  # decoders fill frames up to whole blocks
    return [*seek, *cut, *allowed, "-max_pixels", str(min(room, 2**31 - 1)), "-i", to_file_url(path)]


def start_process(arguments: list[str], log: IO[bytes], stdin: int, stdout: int) -> "subprocess.Popen[bytes]":
    """Start ffmpeg; ``log`` takes its stderr.

    A Ctrl-C at the terminal reaches Python alone, which then ends ffmpeg. If it reached both, Python could
    take the end of ffmpeg for a failure.
    """
    command = [find_executable(), "-hide_banner", "-nostdin", *arguments]
    alone = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # these two exist on Windows only
    alone |= getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    try:
        process = subprocess.Popen(
            command, stdin=stdin, stdout=stdout, stderr=log, creationflags=alone, start_new_session=True
        )
    except OSError as reason:
        raise MediaError(f"cannot start {command[0]}: {reason.strerror or reason}") from reason
    _started.add(process)
    for pipe in filter(None, (process.stdin, process.stdout)):
        _widen(pipe)
    return process


def _widen(pipe: IO[bytes]) -> None:
    """Let a pipe hold 1 MiB where the system can; with 64 KiB both ends wait some 40 times for each frame."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl  # not on Windows

        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, 2**20)  # Linux alone


def stop_all() -> None:
    """End each ffmpeg that this process has started; whoever waits for one gets a ``MediaError``."""
    for process in list(_started):
        process.kill()


@contextmanager
def delay_interrupts() -> Iterator[None]:
    """Handle signals that come in the block, such as Ctrl-C, when it has ended.

    It is for the moment in which a process has been started and no variable holds it yet. An interrupt at
    that moment would leave the process running. In other threads than the main one nothing interrupts.
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
    """Run ffmpeg to its end. Return the exit status, stdout, and the end of stderr."""
    with tempfile.TemporaryFile() as log:
        process = start_process(arguments, log, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        with process:
            try:
                out, _ = process.communicate()
            finally:
                process.kill()
        return process.returncode, out.decode(errors="replace"), read_log_tail(log)


def read_log_tail(log: IO[bytes]) -> str:
    """Return the end of what ffmpeg wrote to ``log``."""
    log.seek(0, os.SEEK_END)
    log.seek(max(0, log.tell() - _LOG_TAIL))
    return log.read().decode(errors="replace")


# Below, ffmpeg's description of its input is parsed. Lines about streams are indented by two blanks, and tags
# by more. So the title that someone gave to a video is never taken for a stream.


def _find_video_line(log: str) -> str | None:
    lines = re.findall(r"^  Stream #0:\d+[^\n]*?: (Video: [^\n]*)", log, re.M)
    pictures = [line for line in lines if "(attached pic)" not in line and "(timed thumbnails)" not in line]
    return pictures[0] if pictures else None


def _has_audio(log: str) -> bool:
    return re.search(r"^  Stream #0:\d+[^\n]*?: Audio: ", log, re.M) is not None


def _find_duration(log: str) -> float | None:
    found = re.search(r"^  Duration: (\d+):(\d+):(\d+(?:\.\d+)?)", log, re.M)
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else None


def _choose_rate(nominal: Fraction, stream: str) -> Fraction:
    """Return the nominal rate, or the average one where the nominal is only a common divisor of all times.

    That is so where the nominal rate is high and far above the average.
    """
    found = re.search(r", (\d+(?:\.\d+)?) fps\b", stream)
    average = Fraction(found[1]) if found else Fraction(0)
    if average and nominal > max(Fraction(30), 2 * average):
        return to_exact_rate(float(average))
    return nominal


def to_exact_rate(fps: float) -> Fraction:
    """Return the ratio that a decimal rate stands for: 25.0 -> 25, 29.97 -> 30000/1001, 12.5 -> 25/2."""
    if round(fps) and math.isclose(fps, round(fps), rel_tol=1e-6):
        return Fraction(round(fps))
    broadcast = Fraction(round(fps * 1.001) * 1000, 1001)
    if broadcast and math.isclose(fps, broadcast, rel_tol=2e-4):  # two digits are enough: 23.98
        return broadcast
    return Fraction(fps).limit_denominator(1000)
