"""Frames and sound go into a video file, through ffmpeg."""

import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from fomm.errors import MediaError
from fomm.media.ffmpeg import (
    SCALE_FLAGS,
    delay_interrupts,
    find_reason,
    make_input_arguments,
    read_log_tail,
    run,
    start_process,
    to_file_url,
)


class Sound(NamedTuple):
    """A part of a file's first audio stream."""

    path: Path
    start: float  # seconds
    duration: float | None  # seconds; None: to the end


class Encoder:
    """A running ffmpeg that takes RGB frames and writes a video; a context manager that always ends it.

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

    def __enter__(self) -> "Encoder":
        self._log: IO[bytes] = tempfile.TemporaryFile()
        return self

    def write(self, frame: np.ndarray) -> None:
        """Append a frame, HxWx3 uint8, for .webm also HxWx4; the first sets size and kind.

        Raise ``MediaError`` when ffmpeg died.
        """
        if self._container == "mp4" and (frame.shape[0] % 2 or frame.shape[1] % 2):
            # Half-size chroma needs even sizes, so the last row and column are repeated.
            frame = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
        if self._process is None:
            with delay_interrupts():
                self._process = self._open(*frame.shape)
        assert self._process.stdin is not None  # asked for with PIPE
        try:
            self._process.stdin.write(np.ascontiguousarray(frame).data)
        except OSError as reason:  # a broken pipe; on Windows an invalid argument
            raise self._failure() from reason
        self.count += 1

    def finish(self) -> None:
        """Let ffmpeg end the file. Raise ``MediaError`` when it fails, or when no frame was written."""
        if self._process is None:
            raise MediaError(f"cannot write {self._target}: no frames were given; give at least one")
        if self._wait():
            raise self._failure()

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._wait()
        self._log.close()

    def _open(self, height: int, width: int, channels: int) -> "subprocess.Popen[bytes]":
        pixels, encoding = ("rgba", _WEBM_WITH_ALPHA) if channels == 4 else ("rgb24", self._encoding)
        frames = ["-f", "rawvideo", "-pixel_format", pixels, "-video_size", f"{width}x{height}"]
        frames += ["-framerate", str(self._rate), "-i", "pipe:0"]
        output = [*encoding, *_make_tags(self._comment), "-y", to_file_url(self._path)]
        return start_process(
            ["-loglevel", "error", *frames, *output], self._log, subprocess.PIPE, subprocess.DEVNULL
        )

    def _wait(self) -> int:
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(OSError):  # the last bytes cannot be written any more; the exit status says why
            self._process.stdin.close()
        return self._process.wait()

    def _failure(self) -> MediaError:
        code = self._wait()  # only then the log is complete
        reason = find_reason(read_log_tail(self._log), code)
        return MediaError(f"writing {self._target} stopped after {self.count} frames: {reason}")


def _make_yuv420(codec: str, pixels: str = "yuv420p") -> list[str]:
    """Return arguments for a codec with half-size chroma: colour tags, and the conversion that they name."""
    matrix = f"scale=in_range=full:out_range=limited:out_color_matrix=bt709:{SCALE_FLAGS},format={pixels}"
    tags = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=limited"
    return ["-vf", f"{matrix},{tags}", *codec.split()]


# Each frame has its own palette: for a common one all frames would have to be in memory before the first is
# written. Browsers slow down GIFs that are faster than 50 frames a second.
_GIF = (
    "fps=fps='min(source_fps,50)',split[frames][copy];"
    "[copy]palettegen=stats_mode=single[palette];[frames][palette]paletteuse=new=1"
)
_VP9 = "-c:v libvpx-vp9 -crf 24 -b:v 0 -row-mt 1 -cpu-used 4 -f webm"
# The size and quality of the preset "medium", in less than half of its time: most of what "medium" gains over
# "veryfast" comes from how far ahead it looks, and some from the share of bits for colour.
# Every fourth frame is one that others are predicted from. To choose their places by what the frames show
# takes time, and made results no smaller.
_H264 = "-c:v libx264 -crf 17.5 -preset veryfast -rc-lookahead 40 -trellis 1 -b_strategy 0"
_H264 += " -x264-params chroma-qp-offset=-2"
ENCODINGS = {
    "mp4": _make_yuv420(f"{_H264} -movflags +faststart -f mp4"),
    "webm": _make_yuv420(_VP9),
    "gif": ["-filter_complex", _GIF, "-f", "gif"],
}
_WEBM_WITH_ALPHA = _make_yuv420(_VP9, "yuva420p")
# For clips to train on: hardly any loss, and many key frames, so that single frames are found quickly.
TRAINING_ENCODING = _make_yuv420("-c:v libx264 -crf 10 -preset medium -g 16 -movflags +faststart -f mp4")
# ffmpeg's fast coder at 192 kb/s: a third of the time of its usual one at 160, and no further from the sound.
_AAC = ["-c:a", "aac", "-aac_coder", "fast", "-b:a", "192k"]
SOUND_ENCODINGS = {
    "mp4": [*_AAC, "-movflags", "+faststart", "-f", "mp4"],
    "webm": ["-c:a", "libopus", "-b:a", "128k", "-f", "webm"],
}


def add_sound(
    video: Path, sound: Sound, out: Path, target: Path, container: str, seconds: float, comment: str
) -> None:
    """Write ``video`` (of ``seconds``) with ``sound`` to ``out``; the sound is cut to the video's length.

    The pictures are copied as they are. The sound is added in a second pass because the length of the video
    is not known before its last frame has come. ``target`` is the name of ``out`` in messages. Raises
    ``MediaError`` when ffmpeg fails.
    """
    length = seconds if sound.duration is None else min(seconds, sound.duration)
    inputs = [*make_input_arguments(video), *make_input_arguments(sound.path, sound.start, length)]
    output = ["-map", "0:v", "-map", "1:a:0", "-c:v", "copy", "-af", "aformat=channel_layouts=stereo|mono"]
    output += [*SOUND_ENCODINGS[container], *_make_tags(comment)]
    output += ["-map_metadata:s:v", "0:s:v"]  # of our own video, whose "alpha_mode" browsers look for
    output += ["-y", to_file_url(out)]
    code, _, log = run(["-loglevel", "error", *inputs, *output])
    if code:
        raise MediaError(f"cannot add the sound of {sound.path} to {target}: {find_reason(log, code)}")


def _make_tags(comment: str) -> list[str]:
    """Return arguments that keep our comment alone.

    What the driving video says of place, device and owner does not go to the result.
    """
    return ["-map_metadata", "-1", "-map_chapters", "-1", "-metadata", f"comment={comment}"]
