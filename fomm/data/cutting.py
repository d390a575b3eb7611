"""Cut many clips out of a video in one pass, each at its own place and time."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from fomm.atomic import atomic_path
from fomm.data.settings import FORMATS
from fomm.errors import InputError, MediaError
from fomm.face.crop import Rect
from fomm.media import VideoReader, VideoWriter
from fomm.media.resize import resize


class Piece(NamedTuple):
    """One clip to cut: the part of frames ``start`` to ``stop - 1`` that lies in ``box``."""

    name: str  # below the data set's folder, without a suffix: train/PERSON#CLIP
    start: int
    stop: int
    box: Rect  # inside the picture; stretched where it is no square


def clip_path(folder: Path, name: str, format: str) -> Path:
    """Return where a clip lies: ``NAME.mp4``, ``NAME.npz`` or, of PNGs, the folder ``NAME``."""
    return folder / (name if format == "png" else f"{name}.{format}")


def cut_pieces(video: Path, pieces: Sequence[Piece], out: Path, *, size: int, format: str) -> list[int]:
    """Write the pieces of ``video`` below ``out``, ``size`` x ``size`` pixels. Return each one's frames.

    Frames are numbered as VideoReader counts them. They are resized without aliasing, and written at the
    video's rate, near lossless (mp4) or lossless. The frames from the first to the last that is wanted are
    decoded once, and no others. A piece of which the video has no frame is not written. A clip replaces one
    that is there. Each is written whole or not at all.

    Raises ``MediaError`` when the video cannot be read or a clip cannot be written.
    """
    with VideoReader(video) as whole:
        fps, known = whole.fps, whole.num_frames
    waiting = [index for index, piece in enumerate(pieces) if known is None or piece.start < known]
    written = [0] * len(pieces)
    if not waiting:
        return written
    waiting.sort(key=lambda index: -pieces[index].start)  # the one that starts next is the last
    number, end = pieces[waiting[-1]].start, max(pieces[index].stop for index in waiting)
    running: dict[int, tuple[ExitStack, Callable[[np.ndarray], None]]] = {}
    with ExitStack() as everything:
        reader = VideoReader(video, start=number / fps, duration=(end - number) / fps)
        for frame in everything.enter_context(reader):
            picture = Image.fromarray(frame)
            while waiting and pieces[waiting[-1]].start <= number:
                index = waiting.pop()
                stack = everything.enter_context(ExitStack())
                target = clip_path(out, pieces[index].name, format)
                running[index] = stack, stack.enter_context(_writer(target, format, fps))
            for index, (stack, write) in list(running.items()):
                write(resize(picture, (size, size), box=pieces[index].box))
                written[index] += 1
                if number + 1 >= pieces[index].stop:
                    stack.close()  # the clip is complete
                    del running[index]
            number += 1
    return written


def _writer(target: Path, format: str, fps: float) -> AbstractContextManager[Callable[[np.ndarray], None]]:
    """Return a context that gives a function for frames, and names the clip when it ends without an error."""
    if format == "npz":
        return _npz_writer(target)
    if format not in FORMATS:
        raise InputError(f"format is one of {', '.join(FORMATS)}, not {format!r}")
    return _video_writer(target, format, fps)


@contextmanager
def _video_writer(target: Path, format: str, fps: float) -> Iterator[Callable[[np.ndarray], None]]:
    if format == "png":
        shutil.rmtree(target, ignore_errors=True)  # left by a run that was stopped before it noted the clip
    with VideoWriter(f"{target}/" if format == "png" else target, fps=fps, for_training=True) as writer:
        yield writer.write


@contextmanager
def _npz_writer(target: Path) -> Iterator[Callable[[np.ndarray], None]]:
    """Give a function for frames. They go to a file without a name first: memory may not hold the clip."""
    shape: tuple[int, ...] = ()
    count = 0
    with tempfile.TemporaryFile(dir=target.parent) as raw:

        def write(frame: np.ndarray) -> None:
            nonlocal shape, count
            raw.write(np.ascontiguousarray(frame).data)
            shape, count = frame.shape, count + 1

        yield write
        if not count:
            raise MediaError(f"cannot write {target}: no frames were given; give at least one")
        raw.flush()
        frames = np.memmap(raw, np.uint8, mode="r", shape=(count, *shape))
        with atomic_path(target, MediaError) as temporary:
            np.savez(temporary, frames=frames)  # uncompressed: single frames are read fast
