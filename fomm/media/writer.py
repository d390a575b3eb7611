"""Videos go out: ``VideoWriter`` streams uint8 RGB frames into a file or a folder, as they come.

What is written appears under the asked name only when it is complete.
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
from fomm.media.encode import ENCODINGS, SOUND_ENCODINGS, TRAINING_ENCODING, Encoder, Sound, add_sound
from fomm.media.ffmpeg import has_sound, to_exact_rate
from fomm.media.folder import check_new_folder, write_folder
from fomm.media.images import check_frame
from fomm.media.paths import PathLike, check_exists
from fomm.media.reader import VideoReader


class VideoWriter:
    """Writes HxWx3 uint8 frames, RGB, as a video; a context manager that ends the file when its block ends.

    Frames may be HxWx4, RGBA, for .webm and folders, which keep transparency: see ``keeps_alpha``.

    The suffix of ``path`` chooses the container: .mp4 (H.264, odd sizes padded to even), .webm (VP9), .gif,
    or none (or a slash at the end) for a new folder of PNGs. ``fps`` is kept as a ratio where it stands for
    one (29.97 -> 30000/1001).

    ``audio`` is a file whose first sound stream goes with the frames, from ``audio_start`` for
    ``audio_duration`` (seconds; None: to the end), cut to their length. It may be a ``VideoReader`` instead:
    then the sound is that of the reader's part of its video. A file without sound gives none, and gif files
    and folders have none.

    ``weights_hash`` (hexadecimal) goes into the comment that every result carries, and so does ``made_by``,
    see ``video_comment``. ``for_training`` makes an mp4 near lossless and quick to read at any frame. Its
    comment says that it was cut, not generated.

    ``mark`` is called with each frame and returns what is written in its place, of the same size: give a
    ``fomm.marks.Marker`` where the frames are synthetic. ``sign`` is called with the finished file before it
    gets its name, and may change it; not for folders.

    Nothing is under ``path`` before the block has ended without an exception. After an exception or an
    interrupt nothing is left, and a file that was there before is untouched. Raises ``MediaError`` when the
    file cannot be written, ``InputError`` for frames of another kind or size than the first.
    """

    def __init__(
        self,
        path: PathLike,
        *,
        fps: float | Fraction,
        audio: PathLike | VideoReader | None = None,
        audio_start: float = 0.0,
        audio_duration: float | None = None,
        weights_hash: str | None = None,
        made_by: str = "",
        for_training: bool = False,
        mark: Callable[[np.ndarray], np.ndarray] | None = None,
        sign: Callable[[Path], None] | None = None,
    ) -> None:
        if not (math.isfinite(fps) and 0.01 <= fps <= 1000):
            raise InputError(f"fps must be between 0.01 and 1000, not {fps}")
        container = _find_container(path)
        rate = fps if isinstance(fps, Fraction) else to_exact_rate(float(fps))
        if for_training and container not in ("mp4", "folder"):
            raise InputError(f"clips for training are .mp4 files or folders of PNGs, not {path}")
        comment = f"Cut out by fomm {__version__}." if for_training else video_comment(weights_hash, made_by)
        encoding = TRAINING_ENCODING if for_training else None
        sound = None
        if container in SOUND_ENCODINGS and audio is not None:
            sound = _find_sound(audio, audio_start, audio_duration)
        self._path, self._count, self._mark = path, 0, mark
        self._shape: tuple[int, ...] | None = None
        self._write: Callable[[np.ndarray], None] | None = None
        self._output: AbstractContextManager[Callable[[np.ndarray], None]]
        if container == "folder":
            self._output = write_folder(Path(path), rate, comment)
        else:
            self._output = _write_file(Path(path), container, rate, comment, sound, encoding, sign)

    def __enter__(self) -> "VideoWriter":
        self._write = self._output.__enter__()
        return self

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, HxWx3 uint8, or HxWx4 with alpha."""
        if self._write is None:
            raise InputError("VideoWriter writes inside a with block: with VideoWriter(...) as writer: ...")
        check_frame(frame, None if keeps_alpha(self._path) else self._path)
        if self._shape is not None and frame.shape != self._shape:
            now, first = (
                f"{shape[1]}x{shape[0]}{' with alpha' if shape[2] == 4 else ''}"
                for shape in (frame.shape, self._shape)
            )
            raise InputError(
                f"frame {self._count} of {self._path} is {now}, but the first is {first}; "
                "all frames of a video must have one size, and all have alpha or none"
            )
        self._shape = frame.shape
        self._write(frame if self._mark is None else self._mark(frame))
        self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._write = None
        self._output.__exit__(kind, error, traceback)


def save_video(
    path: PathLike,
    frames: Iterable[np.ndarray],
    fps: float | Fraction,
    *,
    audio: PathLike | VideoReader | None = None,
    audio_start: float = 0.0,
    audio_duration: float | None = None,
    weights_hash: str | None = None,
    mark: Callable[[np.ndarray], np.ndarray] | None = None,
) -> None:
    """Write all of ``frames`` (HxWx3 uint8, RGB) to ``path``; the arguments are those of ``VideoWriter``."""
    with VideoWriter(
        path,
        fps=fps,
        audio=audio,
        audio_start=audio_start,
        audio_duration=audio_duration,
        weights_hash=weights_hash,
        mark=mark,
    ) as writer:
        for frame in frames:
            writer.write(frame)


def video_comment(weights_hash: str | None = None, made_by: str = "") -> str:
    """Return the comment of every written video: what made it, with which weights, and "AI-generated".

    ``made_by``: in a few words, what was done to a picture, where it is not an animation.
    """
    weights = f"weights {weights_hash[:12]}" if weights_hash else ""
    told = ", ".join(filter(None, (made_by, weights)))
    return f"Made with fomm {__version__}{f' ({told})' if told else ''}. AI-generated."


def keeps_alpha(path: PathLike) -> bool:
    """Return whether a video of that name keeps transparency; raise ``MediaError`` as ``check_result``."""
    return _find_container(path) in ("webm", "folder")


def check_result(path: PathLike) -> None:
    """Raise ``MediaError`` if no video can be written under ``path``, see ``VideoWriter``.

    Call it before long work begins. It creates a file in the folder of ``path``, and removes it at once.
    """
    target, container = Path(path), _find_container(path)
    try:
        with suppress(FileNotFoundError):
            target.lstat()  # raises for a name that is too long
        if container == "folder":
            check_new_folder(target)
        else:
            check_place(target, MediaError)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as reason:
        raise MediaError(f"cannot write {path}: {reason.strerror or reason}") from reason


def _find_container(path: PathLike) -> str:
    """Return the kind of result that the name asks for: a key of ENCODINGS, or "folder"."""
    name = os.fspath(path)
    suffix = Path(name).suffix.lower()
    if not suffix or name.endswith(("/", os.sep)):
        return "folder"
    if suffix[1:] not in ENCODINGS:
        known = ", ".join(f".{container}" for container in ENCODINGS)
        raise MediaError(
            f"cannot write {path}: the suffix must be one of {known}, or none for a folder of PNGs"
        )
    return suffix[1:]


def _find_sound(audio: PathLike | VideoReader, start: float, duration: float | None) -> Sound | None:
    """Return the sound to take from ``audio``; None when it has no sound."""
    if isinstance(audio, VideoReader):
        if start or duration is not None:
            raise InputError(
                "audio is a VideoReader, which has its own start and duration; "
                "leave out audio_start and audio_duration"
            )
        return Sound(audio.path, audio.start, audio.duration) if audio.has_audio else None
    if not (math.isfinite(start) and start >= 0):
        raise InputError(f"audio_start must be zero or more seconds, not {start}")
    if duration is not None and not (math.isfinite(duration) and duration > 0):
        raise InputError(f"audio_duration must be more than zero seconds, not {duration}")
    file = check_exists(audio)
    return Sound(file, start, duration) if file.is_file() and has_sound(file) else None


@contextmanager
def _write_file(
    target: Path,
    container: str,
    rate: Fraction,
    comment: str,
    sound: Sound | None,
    encoding: Sequence[str] | None,
    sign: Callable[[Path], None] | None,
) -> Iterator[Callable[[np.ndarray], None]]:
    """Give a function that takes frames and writes them to a file, which is complete when the block ends."""
    with atomic_path(target, MediaError) as temporary:
        with Encoder(temporary, target, container, rate, comment, encoding) as encoder:
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
                add_sound(temporary, sound, voiced, target, container, seconds, comment)
        if sign is not None:
            sign(temporary)


def _add_gif_comment(path: Path, comment: str) -> None:
    """Put a comment before the last byte of a GIF, the trailer. ffmpeg itself writes no comment there."""
    text = comment.encode("ascii")  # shorter than 256 bytes, so that one block holds it
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) == b"\x3b":
            file.seek(-1, os.SEEK_END)
            file.write(b"\x21\xfe" + bytes([len(text)]) + text + b"\x00\x3b")
