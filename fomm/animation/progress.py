"""How far the work on a video is: a bar in a terminal, or a function that is told."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

# True: a bar, where the output is a terminal. A function gets how many frames are made, and how many there
# will be, or None if the video does not tell; while a face is looked for in them, none is made yet.
Progress = bool | Callable[[int, int | None], None]


def report_progress(
    frames: Iterable[T], total: int | None, progress: Progress, looking: str | None = None
) -> Iterator[T]:
    """Pass the frames on, and report after each how far the work is. What ``progress`` raises ends it.

    Args:
        frames: what is worked on.
        total: how many there are, if that is known.
        progress: whom to tell.
        looking: what is done, if frames are looked at only; None: they are made.
    """
    if not callable(progress):
        # disable=None: shown where the output is a terminal
        yield from tqdm(frames, looking, total, unit="frame", disable=None if progress else True)
        return
    for number, frame in enumerate(frames, 1):
        yield frame
        progress(0 if looking else number, total)
