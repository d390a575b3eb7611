"""Pictures and videos in and out: uint8 RGB arrays on one side, files on the other.

``VideoReader`` and ``VideoWriter`` are twins that stream: one frame is in memory at a time. A video is
whatever ffmpeg reads, a GIF, or a folder of numbered pictures; a result is an mp4, webm or gif file, or a
folder of PNGs. What is written appears under the asked name only when it is complete.
"""

import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np

from fomm._version import __version__
from fomm.atomic import atomic_path, check_place
from fomm.errors import InputError, MediaError
from fomm.media import ffmpeg, streams
from fomm.media.folder import check_new_folder, look_into_folder, read_folder, write_folder
from fomm.media.images import (
    PathLike,
    check_frame,
    existing,
    is_still,
    read_image,
    write_image,
)

__all__ = [
    "VideoReader",
    "VideoWriter",
    "check_not_swapped",
    "check_result",
    "read_image",
    "save_video",
    "video_comment",
    "write_image",
]


class VideoReader:
    """The frames of a video, from ``start`` for ``duration`` (seconds; None: to the end), one by one.

    An iterator over HxWx3 uint8 frames, RGB, upright, all of the same size, at the constant rate ``fps``: a
    variable rate is resampled and keeps its duration. A context manager; without it, ffmpeg ends with the
    last frame, with ``close`` or when the reader is forgotten. ``path`` is a video file, a GIF or a folder of
    numbered pictures (natural order: 2 before 10; at the rate that VideoWriter noted in them, else 25 frames
    a second).

    Attributes: ``fps`` (float), ``size`` (height, width), ``has_audio``, ``num_frames`` (an estimate from the
    container's duration, for progress bars; None when the container does not tell).

    Raises ``MediaError`` for a file that cannot be read, at once or while the frames come, and ``InputError``
    for a ``start`` or ``duration`` that cannot be used.
    """

    def __init__(self, path: PathLike, *, start: float = 0.0, duration: float | None = None) -> None:
        if not (math.isfinite(start) and start >= 0):
            raise InputError(f"start must be zero or more seconds, not {start}")
        if duration is not None and not (math.isfinite(duration) and duration > 0):
            raise InputError(f"duration must be more than zero seconds, not {duration}")
        file = existing(path)
        if file.is_dir():
            files, rate, self.size = look_into_folder(file)
            seconds: float | None = float(len(files) / rate)
            self.has_audio = False
        else:
            info = ffmpeg.probe(file)
            rate, self.size, seconds, self.has_audio = info.rate, info.size, info.seconds, info.has_audio
        if seconds is not None and start >= seconds:
            raise InputError(f"start is {start:g} s, but {path} lasts only {seconds:g} s")
        self.fps = float(rate)
        first = round(start * rate)
        limit = None if duration is None else max(1, round(duration * rate))
        left = None if seconds is None else max(1, round(seconds * rate) - first)
        self.num_frames = min((count for count in (limit, left) if count is not None), default=None)
        if file.is_dir():
            self._frames = read_folder(files[min(first, len(files) - 1) :][:limit], self.size)
        else:
            self._frames = streams.decode(file, info, first, limit, self.num_frames)

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


class VideoWriter:
    """Writes HxWx3 uint8 frames, RGB, as a video; a context manager that ends the file when its block ends.

    The suffix of ``path`` chooses the container: .mp4 (H.264, odd sizes padded to even), .webm (VP9), .gif,
    or none (or a slash at the end) for a new folder of PNGs. ``fps`` is kept as a ratio where it stands for
    one (29.97 -> 30000/1001). ``audio`` is a file whose first sound stream, from ``audio_start`` for
    ``audio_duration`` (seconds; None: to the end), goes with the frames, cut to their length; a file without
    sound gives none, and gif and folders have none. ``weights_hash`` (hexadecimal) goes into the comment that
    every result carries. ``for_training`` makes an mp4 near lossless and quick to read at any frame, and its
    comment, or a folder's, says that it was cut rather than generated.

    Nothing is under ``path`` before the block has ended well; after an exception or an interrupt nothing is
    left, and a file that was there before is untouched. Raises ``MediaError`` when the file cannot be
    written, ``InputError`` for frames of another kind or size than the first.
    """

    def __init__(
        self,
        path: PathLike,
        *,
        fps: float | Fraction,
        audio: PathLike | None = None,
        audio_start: float = 0.0,
        audio_duration: float | None = None,
        weights_hash: str | None = None,
        for_training: bool = False,
    ) -> None:
        if not (math.isfinite(fps) and 0.01 <= fps <= 1000):
            raise InputError(f"fps must be between 0.01 and 1000, not {fps}")
        container = _container(path)
        rate = fps if isinstance(fps, Fraction) else ffmpeg.exact_rate(float(fps))
        if for_training and container not in ("mp4", "folder"):
            raise InputError(f"clips for training are .mp4 files or folders of PNGs, not {path}")
        comment = f"Cut out by fomm {__version__}." if for_training else video_comment(weights_hash)
        encoding = streams.TRAINING_ENCODING if for_training else None
        sound = None
        if container in streams.SOUND_ENCODINGS and audio is not None:
            sound = _find_sound(audio, audio_start, audio_duration)
        self._path, self._count = path, 0
        self._shape: tuple[int, ...] | None = None
        self._write: Callable[[np.ndarray], None] | None = None
        self._output: AbstractContextManager[Callable[[np.ndarray], None]]
        if container == "folder":
            self._output = write_folder(Path(path), rate, comment)
        else:
            self._output = _write_file(Path(path), container, rate, comment, sound, encoding)

    def __enter__(self) -> "VideoWriter":
        self._write = self._output.__enter__()
        return self

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, HxWx3 uint8."""
        if self._write is None:
            raise InputError("VideoWriter writes inside a with block: with VideoWriter(...) as writer: ...")
        check_frame(frame)
        if self._shape is not None and frame.shape != self._shape:
            raise InputError(
                f"frame {self._count} of {self._path} is {frame.shape[1]}x{frame.shape[0]}, but the first is "
                f"{self._shape[1]}x{self._shape[0]}; all frames of a video must have one size"
            )
        self._shape = frame.shape
        self._write(frame)
        self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._write = None
        self._output.__exit__(kind, error, traceback)


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


def save_video(
    path: PathLike,
    frames: Iterable[np.ndarray],
    fps: float | Fraction,
    *,
    audio: PathLike | None = None,
    audio_start: float = 0.0,
    audio_duration: float | None = None,
    weights_hash: str | None = None,
) -> None:
    """Write all of ``frames`` (HxWx3 uint8, RGB) to ``path``; the arguments are those of ``VideoWriter``."""
    with VideoWriter(
        path,
        fps=fps,
        audio=audio,
        audio_start=audio_start,
        audio_duration=audio_duration,
        weights_hash=weights_hash,
    ) as writer:
        for frame in frames:
            writer.write(frame)


def video_comment(weights_hash: str | None = None) -> str:
    """The comment that every written video carries: what made it, with which weights; AI-generated."""
    weights = f" (weights {weights_hash[:12]})" if weights_hash else ""
    return f"Made with fomm {__version__}{weights}. AI-generated."


def check_result(path: PathLike) -> None:
    """Raise ``MediaError`` if no video can be written under ``path``, see ``VideoWriter``.

    For the time before long work begins. A file is created in the folder of ``path``, and removed at once.
    """
    target, container = Path(path), _container(path)
    try:
        with suppress(FileNotFoundError):
            target.lstat()  # fails for a name that is too long
        if container == "folder":
            check_new_folder(target)
        else:
            check_place(target, MediaError)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as reason:
        raise MediaError(f"cannot write {path}: {reason.strerror or reason}") from reason


def _container(path: PathLike) -> str:
    """The kind of result that the name asks for: a key of streams.ENCODINGS, or "folder"."""
    name = os.fspath(path)
    suffix = Path(name).suffix.lower()
    if not suffix or name.endswith(("/", os.sep)):
        return "folder"
    if suffix[1:] not in streams.ENCODINGS:
        known = ", ".join(f".{container}" for container in streams.ENCODINGS)
        raise MediaError(
            f"cannot write {path}: the suffix must be one of {known}, or none for a folder of PNGs"
        )
    return suffix[1:]


def _find_sound(audio: PathLike, start: float, duration: float | None) -> streams.Sound | None:
    """The sound to take from ``audio``; None when it has no sound to give."""
    if not (math.isfinite(start) and start >= 0):
        raise InputError(f"audio_start must be zero or more seconds, not {start}")
    if duration is not None and not (math.isfinite(duration) and duration > 0):
        raise InputError(f"audio_duration must be more than zero seconds, not {duration}")
    file = existing(audio)
    return streams.Sound(file, start, duration) if file.is_file() and ffmpeg.has_sound(file) else None


@contextmanager
def _write_file(
    target: Path,
    container: str,
    rate: Fraction,
    comment: str,
    sound: streams.Sound | None,
    encoding: Sequence[str] | None,
) -> Iterator[Callable[[np.ndarray], None]]:
    with atomic_path(target, MediaError) as temporary:
        with streams.Encoder(temporary, target, container, rate, comment, encoding) as encoder:
            yield encoder.write
            encoder.finish()
        if container == "gif":
            try:
                _add_gif_comment(temporary, comment)
            except OSError as reason:
                raise MediaError(f"cannot write {target}: {reason.strerror or reason}") from reason
        if sound is not None:
            with atomic_path(temporary, MediaError) as voiced:
                seconds = float(encoder.count / rate)
                streams.add_sound(temporary, sound, voiced, target, container, seconds, comment)


def _add_gif_comment(path: Path, comment: str) -> None:
    """Put a comment extension before the trailer, the last byte of a GIF: ffmpeg writes none itself."""
    text = comment.encode("ascii")  # shorter than 256 bytes: one block
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) == b"\x3b":
            file.seek(-1, os.SEEK_END)
            file.write(b"\x21\xfe" + bytes([len(text)]) + text + b"\x00\x3b")
