"""What has to hold of whatever bytes come to the doors: checked on every run, and by the fuzzers."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fomm.checkpoint import load_checkpoints
from fomm.errors import CheckpointError, MediaError
from fomm.media import VideoReader, read_image

MOST_FRAMES = 50  # of a video are read


def knock_with_checkpoint(content: bytes, folder: Path) -> str:
    """Load ``content`` as weights; the error's sentence, or "" where they are good."""
    path = folder / "weights.pth.tar"
    path.write_bytes(content)
    try:
        with nothing_else_happens():
            load_checkpoints(checkpoint_path=path, cpu=True)
        said = ""
    except CheckpointError as error:
        said = check_sentence(error, CheckpointError, path)
    check_only(folder, path)
    return said


def knock_with_image(content: bytes, folder: Path) -> str:
    """Read ``content`` as a picture; the error's sentence, or "" where it is one."""
    path = folder / "picture.png"
    path.write_bytes(content)
    try:
        with warnings.catch_warnings(), nothing_else_happens():
            warnings.simplefilter("ignore")
            frame = read_image(path)
        assert frame.ndim == 3 and frame.shape[2] == 3 and frame.dtype == "uint8" and frame.size
        said = ""
    except MediaError as error:
        said = check_sentence(error, MediaError, path)
    check_only(folder, path)
    return said


def knock_with_video(content: bytes, folder: Path) -> str:
    """Read the first frames of ``content`` as a video; the error's sentence, or "" where it is one."""
    path = folder / "clip.mp4"
    path.write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with VideoReader(path) as reader:
                for _, frame in zip(range(MOST_FRAMES), reader, strict=False):
                    assert frame.shape == (*reader.size, 3) and frame.dtype == "uint8"
        said = ""
    except MediaError as error:
        said = check_sentence(error, MediaError, path)
    check_only(folder, path)
    return said


# What no file may make Python do while it is read: events that Python reports to those who audit it.
_FORBIDDEN = ("os.", "subprocess.", "socket.", "shutil.", "pickle.find_class", "urllib.", "webbrowser.")
_HARMLESS = ("os.listdir", "os.scandir")
_happened: list[str] | None = None


@contextmanager
def nothing_else_happens() -> Iterator[None]:
    """No process is started, no address asked, no file written, nothing unpickled in the usual way."""
    global _happened
    if not getattr(sys, "_doors_are_watched", False):  # such a hook cannot be taken away again
        sys.addaudithook(_note)
        sys._doors_are_watched = True  # type: ignore[attr-defined]
    _happened = []
    try:
        yield
    finally:
        happened, _happened = _happened, None
        assert not happened, f"while the file was read: {happened}"


def _note(event: str, arguments: tuple) -> None:
    if _happened is None:
        return
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if writes or (event.startswith(_FORBIDDEN) and event not in _HARMLESS):
        _happened.append(f"{event} {arguments}")


def check_sentence(error: Exception, kind: type[Exception], path: Path) -> str:
    """The error is of this very class, names the file, and is one printable line that one can read."""
    said = str(error)
    assert type(error) is kind, f"{type(error).__name__} instead of {kind.__name__}: {said}"
    assert str(path) in said, f"the file is not named: {said}"
    assert said.isprintable(), f"not one printable line: {said!r}"
    assert len(said) < 1500 + 2 * len(str(path)), f"{len(said)} characters: {said[:200]}..."
    assert len(said.replace(str(path), "")) > 15, f"no reason is given: {said}"
    assert "weights_only" not in f"{said}{error.__cause__}", "nobody is told to switch the safety off"
    return said


def check_only(folder: Path, *paths: Path) -> None:
    """Nothing else is in the folder."""
    left = sorted(set(os.listdir(folder)) - {path.name for path in paths})
    assert not left, f"left behind: {left}"
