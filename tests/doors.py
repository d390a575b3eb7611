"""What has to hold of whatever bytes come to the doors: checked on every run, and by the fuzzers."""

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fomm.errors import CheckpointError, MediaError
from fomm.media import VideoReader, read_image

MOST_FRAMES = 50  # of a video are read


def knock_with_checkpoint(content: bytes, folder: Path) -> str:
    """Load ``content`` as weights; the error's sentence, or "" where they are good."""
    path = folder / "weights.pth.tar"
    path.write_bytes(content)
    return load_weights(path)


def load_weights(path: Path) -> str:
    """Load weights; the error's sentence, or "" for good ones. Nothing else is in the file's folder."""
    from fomm.checkpoint import load_checkpoints  # late: PyTorch is no part of the other doors

    return _said(path, CheckpointError, lambda: load_checkpoints(checkpoint_path=path, cpu=True))


def knock_with_image(content: bytes, folder: Path) -> str:
    """Read ``content`` as a picture; the error's sentence, or "" where it is one."""
    path = folder / "picture.png"
    path.write_bytes(content)
    return read_picture(path)


def read_picture(path: Path) -> str:
    def read() -> None:
        frame = read_image(path)
        assert frame.ndim == 3
        assert frame.shape[2] == 3
        assert frame.dtype == "uint8"
        assert frame.size

    return _said(path, MediaError, read)


def knock_with_video(content: bytes, folder: Path) -> str:
    """Read the first frames of ``content`` as a video; the error's sentence, or "" where it is one."""
    path = folder / "clip.mp4"
    path.write_bytes(content)
    return read_video(path)


def read_video(path: Path) -> str:
    def read() -> None:
        with VideoReader(path) as reader:
            for _, frame in zip(range(MOST_FRAMES), reader, strict=False):
                assert frame.shape == (*reader.size, 3)
                assert frame.dtype == "uint8"

    return _said(path, MediaError, read, _FORBIDDEN_BESIDE_FFMPEG)


# What no file may make Python do while it is read: the beginnings of events that Python reports.
_FORBIDDEN_BESIDE_FFMPEG = ("os.system", "socket.", "shutil.", "pickle.find_class", "urllib.", "webbrowser.")
_FORBIDDEN = (*_FORBIDDEN_BESIDE_FFMPEG, "os.", "subprocess.")
_HARMLESS = ("os.listdir", "os.scandir")
_happened: list[tuple[str, tuple]] | None = None


def _said(
    path: Path, kind: type[Exception], read: Callable[[], object], forbidden: tuple[str, ...] = _FORBIDDEN
) -> str:
    said = ""
    try:
        with warnings.catch_warnings(), _only_reading(forbidden):
            warnings.simplefilter("ignore")
            read()
    except kind as error:
        said = check_sentence(error, kind, path)
    check_only(path.parent, path)
    return said


@contextmanager
def _only_reading(forbidden: tuple[str, ...]) -> Iterator[None]:
    """Check that no process is started, no address asked, no file written, nothing unpickled as usual."""
    global _happened
    if not getattr(sys, "_doors_are_watched", False):  # such a hook cannot be taken away again
        sys.addaudithook(lambda *event: None if _happened is None else _happened.append(event))
        sys._doors_are_watched = True  # type: ignore[attr-defined]
    _happened = []
    try:
        yield
    finally:
        happened, _happened = _happened, None
        wrong = [event for event in happened if event[0].startswith(forbidden) and event[0] not in _HARMLESS]
        if forbidden == _FORBIDDEN:
            wrong += [event for event in happened if event[0] == "open" and _writes(event[1][2])]
        assert not wrong, f"while the file was read: {wrong}"


def _writes(flags: object) -> bool:
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))


def check_sentence(error: Exception, kind: type[Exception], path: Path) -> str:
    """Check that the error is of this very class and one printable line that names the file. Return it."""
    said = str(error)
    assert type(error) is kind, f"{type(error).__name__} instead of {kind.__name__}: {said}"
    assert str(path) in said, f"the file is not named: {said}"
    assert said.isprintable(), f"not one printable line: {said!r}"
    assert len(said) < 1500 + 2 * len(str(path)), f"{len(said)} characters: {said[:200]}..."
    assert len(said.replace(str(path), "")) > 15, f"no reason is given: {said}"
    assert "weights_only" not in f"{said}{error.__cause__}", "nobody is told to switch the safety off"
    return said


def check_only(folder: Path, *paths: Path) -> None:
    """Check that nothing else is in the folder."""
    left = sorted(set(os.listdir(folder)) - {path.name for path in paths})
    assert not left, f"left behind: {left}"
