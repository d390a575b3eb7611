"""The driving video, as the networks get to see it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from fomm.animation.best_frame import find_best_frame
from fomm.animation.frames import to_pictures, to_tensor
from fomm.animation.framing import find_driver
from fomm.animation.motion import FaceMotion
from fomm.animation.options import Crop
from fomm.animation.presence import ALWAYS
from fomm.animation.progress import Progress
from fomm.animation.threads import leave_a_core
from fomm.animation.watch import find_watched_part, watch_face
from fomm.errors import InputError
from fomm.face.crop import Rect
from fomm.media import VideoReader
from fomm.media.resize import cut_out


class DrivingVideo:
    """A video, or a part of it in place and time; it can be read several times, a frame in memory at a time.

    Args:
        reader: of the video, or of a part of it in time. It is not read itself, but opened again.
        crop: the part of each frame that the networks see.
        size: (height, width) of the networks' pictures.
        watch: find the driver's mesh in each frame.
        progress: whom to tell while faces are looked for.

    Attributes:
        presence: when a face is seen; always, where none was looked for.
        motion: of the driver's face; None without ``watch``, and where no face was found in a part that was
            given.

    Raises:
        MediaError: the video cannot be read. InputError: no face was found, or an argument cannot be used.
    """

    def __init__(
        self,
        reader: VideoReader,
        crop: Crop,
        size: tuple[int, int],
        *,
        watch: bool = False,
        progress: Progress = False,
    ) -> None:
        self.reader, self.size = reader, size
        self.parts: list[Rect] | None = None  # None: all of the picture; the last holds for all that follow
        self.presence = ALWAYS
        self.motion: FaceMotion | None = None
        if crop != "none" or watch:
            part = find_driver(reader, crop, look=watch, progress=progress)
            self.presence = part.presence
            if crop != "none":
                self.parts = [grow_to_shape(square, size) for square in part.squares]
            if watch and part.faces:
                watched = find_watched_part(list(part.faces.values()), reader.size)
                with reader.reopen(*watched) as frames, leave_a_core():
                    self.motion = watch_face(
                        frames,
                        part.faces,
                        part.num_frames,
                        reader.fps,
                        part.presence,
                        watched=watched,
                        progress=progress,
                    )

    @contextmanager
    def frames(self) -> Iterator[Iterator[np.ndarray]]:
        """Open the video again; give its frames, uint8: cut out at the networks' size, or whole."""
        with self.reader.reopen() as reader:
            yield reader if self.parts is None else self._cut_out(reader, self.parts)

    def at_size(self, frame: np.ndarray) -> np.ndarray:
        """Return a frame at the networks' size: unchanged where it has it, else floats in [0, 1]."""
        if frame.shape[:2] == self.size:
            return frame
        return to_pictures(to_tensor(frame, self.size, torch.device("cpu")))[0]

    def take_frame(self, source: np.ndarray, chosen: int | str) -> np.ndarray:
        """Return a frame: by its number, or with ``"auto"`` the one whose face is most like the source's."""
        if isinstance(chosen, str):
            if chosen != "auto":
                raise InputError(f"best_frame is {chosen!r}; expected a frame's number or 'auto'")
            with self.frames() as frames:
                chosen = find_best_frame(source, frames, name=str(self.reader.path))
        with self.frames() as frames:
            return take_frame(frames, chosen)

    def _cut_out(self, frames: Iterable[np.ndarray], parts: list[Rect]) -> Iterator[np.ndarray]:
        for number, frame in enumerate(frames):
            yield cut_out(frame, parts[min(number, len(parts) - 1)], self.size)


def take_frame(frames: Iterable[np.ndarray], number: int) -> np.ndarray:
    """Return the frame of that number, counted from 0. Raises ``InputError`` where there is none."""
    if number < 0:
        raise InputError(f"best_frame is {number}; expected a frame's number, counted from 0")
    count = 0
    for frame in frames:
        if count == number:
            return frame
        count += 1
    raise InputError(f"best_frame is {number}, but the driving video has only {count} frames")


def grow_to_shape(part: Rect, size: tuple[int, int]) -> Rect:
    """Return ``part``, grown about its centre until it has the shape of ``size`` (height, width).

    So nothing is stretched when it is resized to ``size``.
    """
    height, width = size
    across = max(0.0, part.height * width / height - part.width) / 2
    down = max(0.0, part.width * height / width - part.height) / 2
    return Rect(part.x0 - across, part.y0 - down, part.x1 + across, part.y1 + down)
