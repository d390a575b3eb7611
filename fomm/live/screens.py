"""Where live results go beside a window: a file, or a device that other programs take for a camera."""

import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from fomm.errors import MediaError
from fomm.media import VideoWriter
from fomm.media.ffmpeg import find_reason, read_log_tail, start_process

FLUSH_SECONDS = 2.0  # how long a device may take for the last results


class Status(NamedTuple):
    """How a live session goes."""

    shown: int  # frames
    dropped: int  # frames that came while the networks worked
    rate: float  # frames shown in a second, over the last two
    latency: float  # seconds from a frame's arrival until its result was shown, the latest
    waiting: bool  # for a face to drive with


def title(status: Status) -> str:
    """Return the status as one line."""
    if status.waiting:
        return "fomm live: looking for a face"
    return f"fomm live: {status.rate:.1f} frames a second, {status.latency * 1000:.0f} ms late"


class Screen:
    """Takes results; by itself it does nothing with them."""

    def show(self, picture: np.ndarray, status: Status) -> None:
        """Take one result, HxWx3 uint8; ``status`` is of the frames before it."""

    def wish(self) -> str | None:
        """Return what the user wants: ``"reset"``, ``"quit"`` or nothing; called many times in a second."""
        return None


class Recording(Screen):
    """Writes a video of ``rate`` frames a second, in which every result lasts as long as it was seen.

    A context manager: at its end the last result is written.
    """

    def __init__(self, writer: VideoWriter, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._writer, self._rate, self._clock = writer, rate, clock
        self._start, self._count = 0.0, 0
        self._last: np.ndarray | None = None

    def show(self, picture: np.ndarray, status: Status) -> None:
        if self._last is None:
            self._start = self._clock()
        self._fill()
        self._last = picture

    def wish(self) -> str | None:
        self._fill()
        return None

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None and self._last is not None:
            self._fill()
            self._writer.write(self._last)

    def _fill(self) -> None:
        """Repeat the last result until now.

        A writer that is slower than the session would fall behind more and more: the time that such a one
        takes is left out of the video.
        """
        begun = self._clock()
        due = round((begun - self._start) * self._rate) - self._count
        if self._last is None or due <= 0:
            return
        for _ in range(due):
            self._writer.write(self._last)
        self._count += due
        taken = self._clock() - begun
        self._start += taken if taken > due / self._rate else 0.0


class VirtualCamera(Screen):
    """Writes results to a video device as they come: on Linux one of the module v4l2loopback.

    A context manager that ends ffmpeg, when it has written what it holds, and after ``FLUSH_SECONDS`` in
    any case. ``show`` raises ``MediaError`` when ffmpeg died.
    """

    form = "v4l2"  # of ffmpeg

    def __init__(self, device: str) -> None:
        self._device = device
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()
        self._count = 0

    def show(self, picture: np.ndarray, status: Status) -> None:
        height, width = (side - side % 2 for side in picture.shape[:2])  # chroma has half the size
        picture = np.ascontiguousarray(picture[:height, :width])
        if self._process is None:
            self._process = self._start(f"{width}x{height}")
        assert self._process.stdin is not None  # asked for with PIPE
        try:
            self._process.stdin.write(picture.data)
            self._process.stdin.flush()
        except OSError as reason:  # a broken pipe
            code = self._process.wait()
            words = find_reason(read_log_tail(self._log), code)
            raise MediaError(
                f"writing {self._device} stopped after {self._count} frames: {words}"
            ) from reason
        self._count += 1

    def _start(self, size: str) -> "subprocess.Popen[bytes]":
        frames = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", size, "-i", "pipe:0"]
        output = ["-fps_mode", "passthrough", "-pix_fmt", "yuv420p", "-f", self.form, "-y", self._device]
        arguments = ["-loglevel", "error", *frames, *output]
        return start_process(arguments, self._log, subprocess.PIPE, subprocess.DEVNULL)

    def __enter__(self) -> "VirtualCamera":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            with suppress(OSError):  # it has died already
                self._process.stdin.close()
            try:
                self._process.wait(FLUSH_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()
