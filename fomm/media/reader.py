"""Videos come in: ``VideoReader`` streams uint8 RGB frames, with one frame in memory at a time."""

import copy
import math
from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from fomm.errors import InputError, MediaError
from fomm.media.decode import Part, cut_part, decode
from fomm.media.ffmpeg import probe
from fomm.media.folder import list_pictures, read_pictures
from fomm.media.images import is_still
from fomm.media.paths import PathLike, check_exists


class VideoReader:
    """The frames of a video, from ``start`` for ``duration`` (seconds; None: to the end), one by one.

    An iterator over HxWx3 uint8 frames, RGB, upright, all of the same size, at the constant rate ``fps``: a
    variable rate is resampled and keeps its duration. A context manager; without it, ffmpeg ends with the
    last frame, with ``close`` or when the reader is forgotten. ``path`` is a video file, a GIF or a folder of
    numbered pictures. Pictures come in natural order, 2 before 10. Their rate is the one that ``VideoWriter``
    noted in them, else 25 frames a second.

    Attributes: ``path``; ``start``, ``duration`` (seconds, as given); ``fps`` (float); ``size`` (height,
    width); ``has_audio``; ``num_frames`` (an estimate from the container's duration, for progress bars; None
    when the container does not tell).

    Raises ``MediaError`` for a file that cannot be read, at once or while the frames come, and ``InputError``
    for a ``start`` or ``duration`` that cannot be used.
    """

    def __init__(self, path: PathLike, *, start: float = 0.0, duration: float | None = None) -> None:
        if not (math.isfinite(start) and start >= 0):
            raise InputError(f"start must be zero or more seconds, not {start}")
        if duration is not None and not (math.isfinite(duration) and duration > 0):
            raise InputError(f"duration must be more than zero seconds, not {duration}")
        self.path: Path = check_exists(path)
        self.start, self.duration = start, duration
        if self.path.is_dir():
            pictures, rate, self.size = list_pictures(self.path)
            seconds: float | None = float(len(pictures) / rate)
            self.has_audio = False
        else:
            info = probe(self.path)
            rate, self.size, seconds, self.has_audio = info.rate, info.size, info.seconds, info.has_audio
        if seconds is not None and start >= seconds:
            raise InputError(f"start is {start:g} s, but {path} lasts only {seconds:g} s")
        self.fps = float(rate)
        first = round(start * rate)
        limit = None if duration is None else max(1, round(duration * rate))
        left = None if seconds is None else max(1, round(seconds * rate) - first)
        self.num_frames = min((count for count in (limit, left) if count is not None), default=None)
        self._begin: Callable[[], Generator[np.ndarray, None, None]]
        if self.path.is_dir():
            self._begin = partial(read_pictures, pictures[min(first, len(pictures) - 1) :][:limit], self.size)
        else:
            self._begin = partial(decode, self.path, info, first, limit, self.num_frames)
        self._frames = self._begin()

    def reopen(self, part: Part | None = None, factor: int = 1) -> "VideoReader":
        """Return another reader of the same frames, from the first on. The file is not examined again.

        With ``part`` (x, y, width, height in pixels, inside of the frame) it gives that part of each. With a
        ``factor`` each pixel is the mean of so many by so many. Both are quicker where little is left. The
        part's numbers have to be multiples of the factor. Without a part, less than ``factor`` rows are left
        out below, and columns at the right.
        """
        other = copy.copy(self)
        if part is None and factor == 1:
            other._frames = self._begin()
            return other
        height, width = self.size
        part = part or (0, 0, width // factor * factor, height // factor * factor)
        other.size = part[3] // factor, part[2] // factor
        other._frames = self._begin_part(part, factor)
        return other

    def _begin_part(self, part: Part, factor: int) -> Generator[np.ndarray, None, None]:
        if isinstance(self._begin, partial) and self._begin.func is decode:
            return self._begin(part=part, factor=factor)  # type: ignore[call-arg]
        return (cut_part(frame, part, factor) for frame in self._begin())

    def __iter__(self) -> "VideoReader":
        return self

    def __next__(self) -> np.ndarray:
        return next(self._frames)

    def close(self) -> None:
        """Stop reading; the reader gives no more frames."""
        self._frames.close()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FramesReader(VideoReader):
    """Frames in memory, read as those of a video.

    Args:
        frames: HxWx3 uint8, one or more, all of the same size.
        fps: their rate.
        name: what errors call them.

    Raises ``InputError``: there are none, their sizes differ, or the rate is no number above 0.
    """

    def __init__(self, frames: Sequence[np.ndarray], fps: float, name: str) -> None:
        if not len(frames):
            raise InputError(f"{name} has no frames; expected at least one")
        if not (math.isfinite(fps) and fps > 0):
            raise InputError(f"fps is {fps:g}; expected more than 0 frames a second")
        for frame in frames:
            if frame.shape != frames[0].shape:
                sizes = " and ".join(f"{shape[1]}x{shape[0]}" for shape in (frames[0].shape, frame.shape))
                raise InputError(f"{name} has frames of {sizes} pixels (width x height); expected one size")
        self.path, self.start, self.duration = Path(name), 0.0, None
        self.fps, self.size, self.num_frames = fps, frames[0].shape[:2], len(frames)
        self.has_audio = False
        self._begin = lambda: (frame for frame in frames)
        self._frames = self._begin()


def check_not_swapped(photo: PathLike, driving: PathLike) -> None:
    """Raise ``MediaError`` if ``photo`` is a video and ``driving`` a picture."""
    if is_still(photo) or not is_still(driving):
        return
    try:
        VideoReader(photo).close()
    except MediaError:  # no video: the photo's own error says what it is
        return
    raise MediaError(
        f"the photo {photo} is a video and the driving video {driving} is a picture; they seem to be "
        "swapped: give the photo first, then the video"
    )
