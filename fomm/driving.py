"""A driving video, as the networks get to see it."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from fomm.errors import InputError
from fomm.face.best_frame import find_best_frame
from fomm.face.crop import Rect
from fomm.face.framing import Crop, cut, video_squares
from fomm.frames import to_pictures, to_tensor
from fomm.media import VideoReader


class DrivingVideo:
    """A video, or a part of it in place and time; it can be read several times, a frame in memory at a time.

    Args:
        path, start, duration: see ``media.VideoReader``.
        crop: the part of each frame that the networks see.
        size: (height, width) of the networks' pictures.
        progress: show a bar while faces are looked for, where the output is a terminal.

    Raises:
        MediaError: the video cannot be read. InputError: no face was found, or an argument cannot be used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        crop: Crop,
        size: tuple[int, int],
        *,
        start: float = 0.0,
        duration: float | None = None,
        progress: bool = False,
    ) -> None:
        self.path, self.size, self.start, self.duration = path, size, start, duration
        self.parts: list[Rect] | None = None  # None: all of the picture; the last holds for all that follow
        if crop != "none":
            parts = video_squares(path, crop, start=start, duration=duration, progress=progress)
            self.parts = [shaped(part, size) for part in parts]

    @contextmanager
    def frames(self) -> Iterator[tuple[VideoReader, Iterator[np.ndarray]]]:
        """The video, open, and its frames: cut out at the networks' size, or whole as they are; uint8."""
        with VideoReader(self.path, start=self.start, duration=self.duration) as reader:
            yield reader, iter(reader) if self.parts is None else self._cut_out(reader, self.parts)

    def at_size(self, frame: np.ndarray) -> np.ndarray:
        """One of the frames at the networks' size: uint8, or floats in [0, 1] where it was another."""
        if frame.shape[:2] == self.size:
            return frame
        return to_pictures(to_tensor(frame, self.size, torch.device("cpu")))[0]

    def best_frame(self, source: np.ndarray, chosen: int | str) -> np.ndarray:
        """One frame: by its number, or with ``"auto"`` the one whose face is most like the source's."""
        if isinstance(chosen, str):
            if chosen != "auto":
                raise InputError(f"best_frame is {chosen!r}; expected a frame's number or 'auto'")
            with self.frames() as (_, frames):
                chosen = find_best_frame(source, frames, name=str(self.path))
        with self.frames() as (_, frames):
            return frame_at(frames, chosen)

    def _cut_out(self, frames: Iterable[np.ndarray], parts: list[Rect]) -> Iterator[np.ndarray]:
        for number, frame in enumerate(frames):
            yield cut(frame, parts[min(number, len(parts) - 1)], self.size)


def frame_at(frames: Iterable[np.ndarray], number: int) -> np.ndarray:
    """The frame of that number, counted from 0. Raises ``InputError`` where there is none."""
    if number < 0:
        raise InputError(f"best_frame is {number}; expected a frame's number, counted from 0")
    count = 0
    for frame in frames:
        if count == number:
            return frame
        count += 1
    raise InputError(f"best_frame is {number}, but the driving video has only {count} frames")


def shaped(part: Rect, size: tuple[int, int]) -> Rect:
    """``part`` grown about its centre to the shape of ``size`` (height, width): nothing is stretched then."""
    height, width = size
    across = max(0.0, part.height * width / height - part.width) / 2
    down = max(0.0, part.width * height / width - part.height) / 2
    return Rect(part.x0 - across, part.y0 - down, part.x1 + across, part.y1 + down)
