"""When a face is seen in a driving video, and how far the photo follows it.

Where no face is seen, the networks would take something else for it. So the photo holds the last key
points and eases to rest, and takes the motion up again when a face comes back.
"""

from collections.abc import Sequence
from dataclasses import dataclass

GAP = 0.5  # seconds: for so long the face may be missed, and the photo still follows what is seen
EASE = 0.5  # seconds from full motion to rest, and back


@dataclass(frozen=True)
class Presence:
    """The parts of a video without a face.

    Attributes:
        gaps: of each part the number of its first frame and that of the first frame behind it, ascending.
        fps: frames a second of the video.
    """

    gaps: tuple[tuple[int, int], ...]
    fps: float

    def is_seen(self, number: int) -> bool:
        """Return whether the frame shows a face; frames count from 0."""
        return not any(begin <= number < end for begin, end in self.gaps)

    def seen_among(self, count: int) -> list[int]:
        """Return the numbers of those of the first ``count`` frames that show a face."""
        return [number for number in range(count) if self.is_seen(number)]

    def strength(self, number: int) -> float:
        """Return how far the photo follows the driver in a frame: 1 is as ever, 0 is at rest."""
        return min((self._ease(number, begin, end) for begin, end in self.gaps), default=1.0)

    def _ease(self, number: int, begin: int, end: int) -> float:
        """Return the strength as one gap alone would have it."""
        if number < begin:
            return 1.0
        rest = 0.0 if begin == 0 else 1 - rise((min(number, end) - begin) / (EASE * self.fps))
        return rest if number < end else rest + (1 - rest) * rise((number - end) / (EASE * self.fps))


ALWAYS = Presence((), 1.0)  # a face is seen in every frame, or none was looked for


def find_gaps(seen: Sequence[int], every: int, count: int, fps: float) -> list[tuple[int, int]]:
    """Return the parts of a video in which a face is missing for ``GAP`` or longer: first frame, and end.

    Args:
        seen: numbers of the frames that show the face, ascending, of every ``every``-th frame.
        every: how many frames apart a face was looked for.
        count: frames of the video.
        fps: its rate.
    """
    begins = [0, *(number + every for number in seen)]
    ends = [*seen, count]
    return [
        (begin, end)
        for begin, end in zip(begins, ends, strict=True)
        if end > begin and end - begin >= GAP * fps
    ]


def rise(time: float) -> float:
    """Go smoothly from 0 to 1 while ``time`` goes from 0 to 1."""
    time = min(max(time, 0.0), 1.0)
    return time * time * (3 - 2 * time)
