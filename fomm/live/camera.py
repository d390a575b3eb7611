"""Frames from a camera, an address or a file, by ffmpeg; only the newest of them is kept.

A camera or an address is opened because its name was given for just that. A file of this machine goes
through the same door as every other, with a white list of containers and of protocols, and an address is
never allowed to lead to files.
"""

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fomm.errors import InputError, MediaError
from fomm.media.ffmpeg import (
    SCALE_FLAGS,
    find_reason,
    make_input_arguments,
    probe,
    read_log_tail,
    run,
    start_process,
)
from fomm.media.images import get_max_pixels
from fomm.media.paths import check_exists

SHORTER_SIDE = 720  # pixels: larger frames are shrunk by ffmpeg; the networks see far fewer
# Protocols that an address may use, itself or through what lies behind it: no "file", "pipe" or "concat".
_PROTOCOLS = "http,https,httpproxy,tls,tcp,udp,udplite,rtp,srtp,rtmp,rtmps,rtmpt,rtmpts,srt,rist,crypto,data"
LINUX_CAMERAS = Path("/sys/class/video4linux")  # a folder for each, with its name in it
_SEE_INPUT = "--input takes any other source"


class Source(NamedTuple):
    """Where frames come from."""

    name: str  # in messages
    arguments: list[str]  # of ffmpeg, up to what -i names
    rate: Fraction | None = None  # frames a second, of a file


def camera_source(
    camera: str = "0", *, size: str | None = None, rate: float | None = None, platform: str = sys.platform
) -> Source:
    """Return a camera of this machine as a source of frames.

    Args:
        camera: its number from 0, or its name as the system shows it; on Linux a part of it, or the device.
        size: what to ask of it, such as ``"1280x720"``; None is the system's choice.
        rate: frames a second to ask of it; None as well.

    Raises:
        InputError: there is no such camera, or the system is unknown.
        MediaError: ffmpeg cannot be started.
    """
    if platform == "linux":
        arguments = ["-f", "v4l2", *_asked(size, rate), "-i", _linux_device(camera)]
    elif platform == "darwin":
        # its own default, 29.97, is a rate that most cameras do not have
        arguments = ["-f", "avfoundation", *_asked(size, rate or 30.0), "-i", f"{camera}:none"]
    elif platform == "win32":
        name = _windows_names(camera) if camera.isdigit() else camera
        arguments = ["-f", "dshow", "-rtbufsize", "100M", *_asked(size, rate), "-i", f"video={name}"]
    else:
        raise InputError(f"cameras of {platform} are not known; {_SEE_INPUT}")
    return Source(f"camera {camera}", ["-fflags", "nobuffer", *_room(), *arguments])


def stream_source(
    text: str, form: str | None = None, *, size: str | None = None, rate: float | None = None
) -> Source:
    """Return a file, which plays at its own rate, or an address or a device of ffmpeg's format ``form``.

    ``size`` and ``rate`` are asked of a device, see ``camera_source``.

    Raises:
        MediaError: there is no such file, or it is no video.
        InputError: a format, size or rate does not go with a file.
    """
    if os.path.exists(text) and os.path.isfile(text):
        if form or size or rate:
            raise InputError(
                f"{text} is a file, which tells its format, size and rate itself; leave them out"
            )
        return Source(text, make_input_arguments(Path(text)), probe(Path(text)).rate)
    if form is None and "://" not in text:
        check_exists(text)  # says what is wrong with the name
        raise MediaError(f"cannot read {text}: it is no video file; for a device name its --input-format too")
    given = ["-f", form] if form else []
    guarded = ["-fflags", "nobuffer", "-protocol_whitelist", _PROTOCOLS, *_room()]
    return Source(text, [*guarded, *given, *_asked(size, rate), "-i", text])


def _room() -> list[str]:
    return ["-max_pixels", str(min(get_max_pixels(), 2**31 - 1))]


def _asked(size: str | None, rate: float | None) -> list[str]:
    if size is not None and not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", size):
        raise InputError(f"the size of a camera's frames is {size!r}; expected pixels such as 1280x720")
    if rate is not None and not 0 < rate <= 1000:
        raise InputError(f"the rate of a camera is {rate:g}; expected 1 to 1000 frames a second")
    return [*(["-video_size", size] if size else []), *(["-framerate", f"{rate:g}"] if rate else [])]


def _linux_device(camera: str) -> str:
    names = {}
    for folder in sorted(LINUX_CAMERAS.glob("video*"), key=lambda folder: (len(folder.name), folder.name)):
        names[f"/dev/{folder.name}"] = (folder / "name").read_text(errors="replace").strip()
    if camera.isdigit():
        device = f"/dev/video{camera}"
    elif camera.startswith("/dev/"):
        device = camera
    else:
        device = next((path for path, name in names.items() if camera.casefold() in name.casefold()), "")
    if not os.path.exists(device):
        found = ", ".join(f"{path} ({name})" for path, name in names.items()) or "none"
        raise InputError(f"there is no camera {camera}; found: {found}; {_SEE_INPUT}")
    return device


def _windows_names(number: str) -> str:
    """Return the name of a numbered camera: DirectShow knows cameras by name alone."""
    _, _, log = run(["-list_devices", "true", "-f", "dshow", "-i", "dummy"])
    names = re.findall(r'^\[[^\]]*\] *"(.*)" \([^)]*video[^)]*\)', log, re.M)
    if int(number) >= len(names):
        raise InputError(
            f"there is no camera {number}; found, from 0: {', '.join(names) or 'none'}; {_SEE_INPUT}"
        )
    return names[int(number)]


class Reader:
    """One running ffmpeg; an iterator over its frames, HxWx3 uint8, RGB, as they come.

    ``stop`` ends it from another thread. Raises ``MediaError`` when ffmpeg dies or gives nothing.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.stopped = False
        # Pixels are made square, as in every video. A file is slowed to its rate by a filter: of "-re" the
        # first half second would come at once.
        shrink = f"min(1,{SHORTER_SIDE}/min(iw*sar,ih))".replace(",", r"\,")
        filters = f"scale=trunc(iw*sar*{shrink}):trunc(ih*{shrink}):{SCALE_FLAGS},setsar=1"
        filters = filters if source.rate is None else f"realtime,{filters}"
        # Decoders with a thread for each frame would hold back as many frames.
        threads = ["-thread_type", "slice"]
        output = ["-map", "0:V:0", "-vf", filters, "-pix_fmt", "rgb24", "-fps_mode", "passthrough"]
        output += ["-c:v", "ppm", "-f", "image2pipe", "-flush_packets", "1", "pipe:1"]
        self._log = tempfile.TemporaryFile()
        self._process = start_process(
            ["-loglevel", "error", *threads, *source.arguments, *output],
            self._log,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )

    def __iter__(self) -> Iterator[np.ndarray]:
        pipe = self._process.stdout
        assert pipe is not None  # asked for with PIPE
        count = 0
        while pipe.readline() == b"P6\n":
            width, height = map(int, pipe.readline().split())
            pipe.readline()  # the largest value, 255
            pixels = bytearray(height * width * 3)
            if pipe.readinto(pixels) < len(pixels):  # type: ignore[attr-defined]
                break
            count += 1
            yield np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
        code = self._process.wait()
        if not self.stopped and (code or not count):
            reason = find_reason(read_log_tail(self._log), code)
            what = f"stopped after {count} frames" if count else "gave no frame"
            raise MediaError(f"{self.source.name} {what}: {reason}")

    def stop(self) -> None:
        """End ffmpeg, and with it the frames."""
        self.stopped = True
        self._process.kill()

    def close(self) -> None:
        """After the last frame, or after ``stop`` when nobody reads any more."""
        self.stop()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()


class Seen(NamedTuple):
    """A frame, and when it came, in seconds of the clock."""

    frame: np.ndarray
    time: float


class Newest:
    """Draws frames in a thread and holds the newest alone; a context manager that ends both.

    Args:
        frames: drawn as fast as they come; a ``stop`` and a ``close`` that they have are called at the end.
        clock: seconds.

    Attributes: ``dropped``, how many gave way to a newer one.
    """

    def __init__(self, frames: Iterable[np.ndarray], clock: Callable[[], float] = time.monotonic) -> None:
        self.dropped = 0
        self._frames, self._clock = frames, clock
        self._changed = threading.Condition()
        self._newest: Seen | None = None
        self._ended, self._stopped = False, False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._draw, name="fomm live", daemon=True)

    @property
    def over(self) -> bool:
        """Whether no frame is left and none will come."""
        with self._changed:
            return self._ended and self._newest is None and self._error is None

    def take(self, timeout: float) -> Seen | None:
        """Return the newest frame that was not taken yet; wait up to ``timeout`` seconds for one.

        None says that none has come, or that the frames have ended. After the last frame it raises the error
        that ended them, if one did.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._ended, timeout)
            seen, self._newest = self._newest, None
            if seen is None and self._error is not None:
                raise self._error
            return seen

    def __enter__(self) -> "Newest":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        for name in ("stop", "close"):
            end = getattr(self._frames, name, None)
            if end is not None:
                end()
            if name == "stop":
                self._thread.join()

    def _draw(self) -> None:
        error: BaseException | None = None
        try:
            for frame in self._frames:
                with self._changed:
                    if self._stopped:
                        break
                    self.dropped += self._newest is not None
                    self._newest = Seen(frame, self._clock())
                    self._changed.notify_all()
        except BaseException as reason:  # raised by ``take``
            error = reason
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()
