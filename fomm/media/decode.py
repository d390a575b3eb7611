"""Frames come out of a video file, through ffmpeg."""

import math
import re
import subprocess
import tempfile
import warnings
from collections.abc import Generator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fomm.errors import MediaError
from fomm.media.ffmpeg import (
    SCALE_FLAGS,
    SHRINK_FLAGS,
    VideoInfo,
    find_reason,
    make_input_arguments,
    read_log_tail,
    run,
    start_process,
)
from fomm.media.images import lay_over_white
from fomm.media.resize import shrink

Part = tuple[int, int, int, int]  # x, y, width, height in pixels, inside of the frame
_BEYOND = 16  # pixels


def cut_part(frame: np.ndarray, part: Part, factor: int = 1) -> np.ndarray:
    """Return a part of a frame, in which each pixel is the mean of ``factor`` x ``factor``; by 1 a view."""
    x, y, width, height = part
    return shrink(frame[y : y + height, x : x + width], factor)


def decode(
    path: Path,
    info: VideoInfo,
    first: int,
    limit: int | None,
    expected: int | None,
    chosen: Sequence[int] | None = None,
    *,
    part: Part | None = None,
    factor: int = 1,
) -> Generator[np.ndarray, None, None]:
    """Yield the frames of ``path`` from number ``first`` on, at most ``limit`` of them, HxWx3 uint8, RGB.

    With ``chosen`` (numbers, ascending, from ``first`` on) only those are given, and ffmpeg uses one thread,
    since many such readers work side by side. What precedes ``first`` is decoded from the key frame before
    it, and dropped.

    With ``part`` each frame is that part of it, in which each pixel is the mean of ``factor`` x ``factor``;
    the four numbers of ``part`` are multiples of ``factor``. It is cut out and shrunk before colours are
    computed, which saves most of the time where little is left.

    Frames come at the constant rate ``info.rate``: a variable rate is resampled, so that frame ``i`` is what
    is shown at ``i / rate`` seconds. Transparent video is laid over white. The process ends with the
    generator.

    Raises ``MediaError`` when ffmpeg fails or gives no frame. Warns when a file is damaged. The warning about
    a file that ends early says how many frames came, and how many were ``expected``.
    """
    height, width = info.size
    cut, flags, left = "", SCALE_FLAGS, 1
    if part is not None and info.is_stretched:
        left = factor  # to shrink by: pixels that are not square cannot be cut out first
    elif part is not None:
        # Colours have half the size and are interpolated between a few pixels. So the border needs some
        # beyond it, and lies at a multiple of 8, as does the other one unless the frame ends there.
        step = math.lcm(8, factor)
        x0, y0 = (max(0, edge - _BEYOND) // step * step for edge in part[:2])
        ends = (-(-(part[axis] + part[axis + 2] + _BEYOND) // step) * step for axis in range(2))
        width, height = (
            min(length // factor * factor, end) - begin
            for length, end, begin in zip((width, height), ends, (x0, y0), strict=True)
        )
        cut = f"crop={width}:{height}:{x0}:{y0}:exact=1,"
        width, height = width // factor, height // factor
        x, y = (part[0] - x0) // factor, (part[1] - y0) // factor
        part = x, y, part[2] // factor, part[3] // factor
        flags = SCALE_FLAGS if factor == 1 else SHRINK_FLAGS
    channels = 4 if info.has_alpha else 3
    choice, threads = "", []
    if chosen is not None:
        choice = "select='" + "+".join(f"eq(n,{number - first})" for number in chosen) + "',"
        threads, limit = ["-threads", "1", "-filter_threads", "1"], len(chosen)
    filters = f"fps={info.rate}:start_time=0,{choice}{cut}scale={width}:{height}:{flags},setsar=1"
    output = ["-map", "0:V:0", "-vf", filters, "-pix_fmt", "rgba" if info.has_alpha else "rgb24"]
    output += [] if limit is None else ["-frames:v", str(limit)]
    output += ["-fps_mode", "passthrough", "-f", "rawvideo", "pipe:1"]
    # Containers round their times. A quarter of a frame earlier, the start is surely not after the frame, and
    # the filter rounds it to that frame.
    start = float(max(Fraction(0), (first - Fraction(1, 4)) / info.rate))
    count = 0
    with tempfile.TemporaryFile() as log:
        arguments = ["-loglevel", "error", *threads, *make_input_arguments(path, start), *output]
        process = start_process(arguments, log, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert process.stdout is not None  # asked for with PIPE
        try:
            while True:
                pixels = bytearray(height * width * channels)
                got = process.stdout.readinto(pixels)  # type: ignore[attr-defined]
                if got < len(pixels):
                    break
                count += 1
                frame = np.frombuffer(pixels, np.uint8).reshape(height, width, channels)
                frame = lay_over_white(frame) if info.has_alpha else frame
                yield frame if part is None else cut_part(frame, part, left)
            code = process.wait()
        finally:
            process.kill()
            process.stdout.close()
            process.wait()
        words = read_log_tail(log)
    if code or got:
        raise MediaError(f"reading {path} stopped after {count} frames: {find_reason(words, code)}")
    if not count:
        reason = f": {find_reason(words, code)}" if words.strip() else ""
        raise MediaError(
            f"no frame of {path} could be decoded from {float(first / info.rate):g} s on{reason}"
        )
    if words.strip():
        _warn_of_damage(path, count, expected, from_start=not first, reason=find_reason(words, code))


def _warn_of_damage(path: Path, count: int, expected: int | None, from_start: bool, reason: str) -> None:
    if expected is not None and count < expected - 1:
        said = f"{path} is damaged: {count} of about {expected} frames were read; ffmpeg said: {reason}"
    elif from_start:  # else frames before the start are missing, and ffmpeg complains of good files too
        said = f"{path} is damaged, and some of its {count} frames may be too; ffmpeg said: {reason}"
    else:
        return
    warnings.warn(said, stacklevel=3)


# Containers, by ffmpeg's names, in which seeking finds the very frame that was asked for. Others have no
# complete index, and ffmpeg lands on another frame, or on none.
_SEEKABLE = ("mov,", "matroska,")


class Timing(NamedTuple):
    """How many frames a video has, and how one of them is found."""

    frames: int  # as many as ``decode`` yields of the whole file
    seekable: bool  # its frames come at the constant rate from zero seconds on, and seeking finds them


def find_timing(path: Path, info: VideoInfo) -> Timing:
    """Count the frames, without decoding where the times of the packets suffice. Raises ``MediaError``."""
    times, container = _list_times(path, "-c", "copy")
    close = all(abs(time * info.rate - number) < 0.3 for number, time in enumerate(sorted(times)))
    if times and close and container.startswith(_SEEKABLE):
        return Timing(len(times), True)
    times, _ = _list_times(path, "-vf", f"fps={info.rate}:start_time=0", "-fps_mode", "passthrough")
    return Timing(len(times), False)


def _list_times(path: Path, *output: str) -> tuple[list[float], str]:
    """Return the times, in seconds, of the packets that ffmpeg makes of the video, and its container."""
    arguments = [*make_input_arguments(path), "-map", "0:V:0", *output, "-f", "framecrc", "pipe:1"]
    code, facts, log = run(arguments)
    base = re.search(r"^#tb 0: (\d+)/(\d+)", facts, re.M)
    if code or base is None:
        raise MediaError(f"cannot read {path} as a video: {find_reason(log, code)}")
    times = re.findall(r"^0,[^,]*, *(-?\d+),", facts, re.M)
    container = re.search(r"^Input #0, (\S+), from", log, re.M)
    return [int(time) * int(base[1]) / int(base[2]) for time in times], container[1] if container else ""
