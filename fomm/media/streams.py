"""Frames through ffmpeg: out of a video file, and into one."""

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
    VideoInfo,
    file_url,
    input_arguments,
    interrupts_wait,
    last_error,
    log_tail,
    run,
    start_process,
)
from fomm.media.images import over_white

# Exact rounding and chroma: with the fast defaults a picture comes back more than one level darker.
SCALE_FLAGS = "flags=bicubic+accurate_rnd+full_chroma_int"


class Sound(NamedTuple):
    """A part of a file's first audio stream."""

    path: Path
    start: float  # seconds
    duration: float | None  # seconds; None: to the end


def decode(
    path: Path,
    info: VideoInfo,
    first: int,
    limit: int | None,
    expected: int | None,
    chosen: Sequence[int] | None = None,
) -> Generator[np.ndarray, None, None]:
    """Yield the frames of ``path`` from number ``first`` on, at most ``limit`` of them, HxWx3 uint8, RGB.

    Of ``chosen`` (numbers, ascending, from ``first`` on) only those, on one thread: many such readers work
    side by side. What precedes ``first`` is decoded from the key frame before it, and dropped.

    Frames come at the constant rate ``info.rate``: a variable rate is resampled, so that frame ``i`` is what
    is shown at ``i / rate`` seconds. Transparent video is laid over white. The process ends with the
    generator. Raises ``MediaError`` when ffmpeg fails or gives no frame, and warns when a file is damaged; of
    one that ends early it tells how many frames came of how many that were ``expected``.
    """
    height, width = info.size
    channels = 4 if info.has_alpha else 3
    choice, threads = "", []
    if chosen is not None:
        choice = "select='" + "+".join(f"eq(n,{number - first})" for number in chosen) + "',"
        threads, limit = ["-threads", "1", "-filter_threads", "1"], len(chosen)
    filters = f"fps={info.rate}:start_time=0,{choice}scale={width}:{height}:{SCALE_FLAGS},setsar=1"
    output = ["-map", "0:V:0", "-vf", filters, "-pix_fmt", "rgba" if info.has_alpha else "rgb24"]
    output += [] if limit is None else ["-frames:v", str(limit)]
    output += "-fps_mode passthrough -f rawvideo pipe:1".split()
    # Containers round their times: a little before the frame is never after it, and rounds to it.
    start = float(max(Fraction(0), (first - Fraction(1, 4)) / info.rate))
    count = 0
    with tempfile.TemporaryFile() as log:
        arguments = ["-loglevel", "error", *threads, *input_arguments(path, start), *output]
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
                yield over_white(frame) if info.has_alpha else frame
            code = process.wait()
        finally:
            process.kill()
            process.stdout.close()
            process.wait()
        words = log_tail(log)
    if code or got:
        raise MediaError(f"reading {path} stopped after {count} frames: {last_error(words, code)}")
    if not count:
        reason = f": {last_error(words, code)}" if words.strip() else ""
        raise MediaError(
            f"no frame of {path} could be decoded from {float(first / info.rate):g} s on{reason}"
        )
    if words.strip():
        _warn_of_damage(path, count, expected, from_start=not first, reason=last_error(words, code))


def _warn_of_damage(path: Path, count: int, expected: int | None, from_start: bool, reason: str) -> None:
    if expected is not None and count < expected - 1:
        said = f"{path} is damaged: {count} of about {expected} frames were read; ffmpeg said: {reason}"
    elif from_start:  # further on, what is missing is what came before
        said = f"{path} is damaged, and some of its {count} frames may be too; ffmpeg said: {reason}"
    else:
        return
    warnings.warn(said, stacklevel=3)


class Timing(NamedTuple):
    """What the packets of a video tell of its frames."""

    frames: int  # that ``decode`` yields of the whole file
    constant: bool  # the file's own frames come at the constant rate, from zero seconds on


def find_timing(path: Path, info: VideoInfo) -> Timing:
    """Count the frames. Where the packets tell, nothing is decoded. Raises ``MediaError``."""
    if path.suffix.lower() != ".gif":  # whose packets are not all frames
        times = _times(path, "-c", "copy")
        if times and all(abs(time * info.rate - number) < 0.3 for number, time in enumerate(sorted(times))):
            return Timing(len(times), True)
    times = _times(path, "-vf", f"fps={info.rate}:start_time=0", "-fps_mode", "passthrough")
    return Timing(len(times), False)


def _times(path: Path, *output: str) -> list[float]:
    """The presentation times, in seconds, of the packets that ffmpeg makes of the video."""
    code, facts, log = run([*input_arguments(path), "-map", "0:V:0", *output, "-f", "framecrc", "pipe:1"])
    base = re.search(r"^#tb 0: (\d+)/(\d+)", facts, re.M)
    if code or base is None:
        raise MediaError(f"cannot read {path} as a video: {last_error(log, code)}")
    times = re.findall(r"^0,[^,]*, *(-?\d+),", facts, re.M)
    return [int(time) * int(base[1]) / int(base[2]) for time in times]


class Encoder:
    """One running ffmpeg that takes RGB frames and writes a video; a context manager that always ends it.

    ``path`` is the file to write, ``target`` its name in messages, ``container`` a key of ``ENCODINGS``,
    ``rate`` in frames per second; ``encoding`` (arguments) stands for the container's usual one.
    """

    def __init__(
        self,
        path: Path,
        target: Path,
        container: str,
        rate: Fraction,
        comment: str,
        encoding: Sequence[str] | None = None,
    ) -> None:
        self.count = 0  # frames written
        self._encoding = ENCODINGS[container] if encoding is None else encoding
        self._path, self._target = path, target
        self._container, self._rate, self._comment = container, rate, comment
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()

    def __enter__(self) -> "Encoder":
        return self

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, HxWx3 uint8; the first sets the size. Raises ``MediaError`` when ffmpeg died."""
        if self._container == "mp4" and (frame.shape[0] % 2 or frame.shape[1] % 2):
            # Half-size chroma needs even sizes: the last row and column are repeated.
            frame = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
        if self._process is None:
            with interrupts_wait():
                self._process = self._open(height=frame.shape[0], width=frame.shape[1])
        assert self._process.stdin is not None  # asked for with PIPE
        try:
            self._process.stdin.write(np.ascontiguousarray(frame).data)
        except OSError as reason:  # a broken pipe; on Windows an invalid argument
            raise self._failure() from reason
        self.count += 1

    def finish(self) -> None:
        """Let ffmpeg end the file. Raises ``MediaError`` when it fails, or when no frame was written."""
        if self._process is None:
            raise MediaError(f"cannot write {self._target}: no frames were given; give at least one")
        if self._wait():
            raise self._failure()

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._wait()
        self._log.close()

    def _open(self, height: int, width: int) -> "subprocess.Popen[bytes]":
        frames = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{width}x{height}"]
        frames += ["-framerate", str(self._rate), "-i", "pipe:0"]
        output = [*self._encoding, *_tags(self._comment), "-y", file_url(self._path)]
        return start_process(
            ["-loglevel", "error", *frames, *output], self._log, subprocess.PIPE, subprocess.DEVNULL
        )

    def _wait(self) -> int:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.close()
        except OSError:
            pass  # what was left to write cannot be written any more; the exit status says why
        return self._process.wait()

    def _failure(self) -> MediaError:
        code = self._wait()  # before its log is read
        reason = last_error(log_tail(self._log), code)
        return MediaError(f"writing {self._target} stopped after {self.count} frames: {reason}")


def _yuv420(codec: str) -> list[str]:
    """Arguments for a codec with half-size chroma: the colour tags, and the conversion that they promise."""
    matrix = f"scale=in_range=full:out_range=limited:out_color_matrix=bt709:{SCALE_FLAGS},format=yuv420p"
    tags = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=limited"
    return ["-vf", f"{matrix},{tags}", *codec.split()]


# One palette for each frame: a common one would need all frames in memory before the first is written.
# Browsers slow down what is faster than 50 frames a second.
_GIF = (
    "fps=fps='min(source_fps,50)',split[frames][copy];"
    "[copy]palettegen=stats_mode=single[palette];[frames][palette]paletteuse=new=1"
)
ENCODINGS = {
    "mp4": _yuv420("-c:v libx264 -crf 17 -preset medium -movflags +faststart -f mp4"),
    "webm": _yuv420("-c:v libvpx-vp9 -crf 24 -b:v 0 -row-mt 1 -cpu-used 4 -f webm"),
    "gif": ["-filter_complex", _GIF, "-f", "gif"],
}
# For clips that networks learn from: hardly any loss, and a key frame so often that a frame is found quickly.
TRAINING_ENCODING = _yuv420("-c:v libx264 -crf 10 -preset medium -g 16 -movflags +faststart -f mp4")
SOUND_ENCODINGS = {
    "mp4": "-c:a aac -b:a 160k -movflags +faststart -f mp4".split(),
    "webm": "-c:a libopus -b:a 128k -f webm".split(),
}


def add_sound(
    video: Path, sound: Sound, out: Path, target: Path, container: str, seconds: float, comment: str
) -> None:
    """Write ``video`` (of ``seconds``) with ``sound`` to ``out``; the sound is cut to the video's length.

    ``target`` is the name of ``out`` in messages.

    The pictures are copied as they are. This second pass is what makes the cut exact: while the frames come,
    the length of the video is not known. Raises ``MediaError`` when ffmpeg fails.
    """
    length = seconds if sound.duration is None else min(seconds, sound.duration)
    inputs = [*input_arguments(video), *input_arguments(sound.path, sound.start, length)]
    output = "-map 0:v -map 1:a:0 -c:v copy -af aformat=channel_layouts=stereo|mono".split()
    output += [*SOUND_ENCODINGS[container], *_tags(comment), "-y", file_url(out)]
    code, _, log = run(["-loglevel", "error", *inputs, *output])
    if code:
        raise MediaError(f"cannot add the sound of {sound.path} to {target}: {last_error(log, code)}")


def _tags(comment: str) -> list[str]:
    """Only our comment: what the driving video says of place, device and owner does not go to the result."""
    return ["-map_metadata", "-1", "-map_chapters", "-1", "-metadata", f"comment={comment}"]
