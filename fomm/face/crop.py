"""Choose the crop of a face: boxes, squares around them, and tubes of boxes over the frames of a video.

The recipe is that of the published data sets and of the published ``crop-video.py``: a face's boxes are
joined as long as they overlap the first of them enough, and the joined box is enlarged to a square.
Coordinates are pixels, x right, y down; pixel i covers [i, i + 1).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fomm.face.detector import Face

MIN_IOU = 0.25  # of a box with the first of its tube: iou_with_initial of the published script
INCREASE = 0.1  # of the box's width and height, on each side: increase of the published script
FOREHEAD = 1 / 3  # of our detector's box, added above it


class Rect(NamedTuple):
    """A rectangle, x in [x0, x1] and y in [y0, y1], in fractions of pixels; it may leave the picture."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        """Return x1 - x0, in pixels; negative for what is no rectangle."""
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        """Return y1 - y0, in pixels; negative for what is no rectangle."""
        return self.y1 - self.y0

    @property
    def area(self) -> float:
        """Return the area in square pixels, 0 for what is no rectangle."""
        return max(self.width, 0.0) * max(self.height, 0.0)

    def contains(self, other: Rect) -> bool:
        """Return whether ``other`` lies inside, borders included."""
        return union(self, other) == self

    def scaled(self, x: float, y: float) -> Rect:
        """Return the same rectangle in a picture ``x`` times as wide and ``y`` times as high."""
        return Rect(self.x0 * x, self.y0 * y, self.x1 * x, self.y1 * y)


def iou(one: Rect, other: Rect) -> float:
    """Return intersection over union, in [0, 1]; 0 where both are empty."""
    shared = intersection(one, other).area
    joined = one.area + other.area - shared
    return shared / joined if joined > 0 else 0.0


def union(one: Rect, other: Rect) -> Rect:
    """Return the smallest rectangle around both."""
    return Rect(min(one.x0, other.x0), min(one.y0, other.y0), max(one.x1, other.x1), max(one.y1, other.y1))


def intersection(one: Rect, other: Rect) -> Rect:
    """Return what both share; its width or height is negative where they lie apart."""
    return Rect(max(one.x0, other.x0), max(one.y0, other.y0), min(one.x1, other.x1), min(one.y1, other.y1))


def published_box(face: Face) -> Rect:
    """Return the box that the published recipe's detector would draw around ``face``.

    That detector (S3FD, in face-alignment) frames forehead, chin and cheeks: about three parts wide and four
    parts high for a face that looks at the camera. The boxes of the published VoxCeleb list have that shape
    where the head keeps still. Our detector frames a square from the brows to the chin and from cheek to
    cheek. So this keeps the sides and the lower edge of our box and raises the upper edge by a third of its
    height.
    """
    x0, y0, x1, y1 = (float(value) for value in face.box)
    return Rect(x0, y0 - FOREHEAD * (y1 - y0), x1, y1)


def enlarged_square(box: Rect, increase: float = INCREASE) -> Rect:
    """Return ``box`` enlarged by ``increase`` of its size on each side, then to a square.

    The published formula, for a box of width w and height h:

        width_increase  = max(increase, ((1 + 2 increase) h - w) / (2 w))
        height_increase = max(increase, ((1 + 2 increase) w - h) / (2 h))

    and the box grows by width_increase * w at the left and at the right and by height_increase * h above and
    below. The result is a square of (1 + 2 increase) max(w, h) around the box's centre, and may leave the
    picture. An empty box stays as it is.
    """
    width, height = box.width, box.height
    if width <= 0 or height <= 0:
        return box
    across = max(increase, ((1 + 2 * increase) * height - width) / (2 * width)) * width
    down = max(increase, ((1 + 2 * increase) * width - height) / (2 * height)) * height
    return Rect(box.x0 - across, box.y0 - down, box.x1 + across, box.y1 + down)


def published_square(box: Rect, size: tuple[int, int], increase: float = INCREASE) -> Rect:
    """Return ``enlarged_square``, cut at the border of a picture of ``size`` (height, width), as published.

    Where it is cut, the result is no square any more; ``square_inside`` keeps a square.
    """
    return intersection(enlarged_square(box, increase), Rect(0.0, 0.0, size[1], size[0]))


def square_inside(square: Rect, size: tuple[int, int]) -> Rect:
    """Return ``square`` moved into a picture of ``size`` (height, width), and shrunk where it is larger."""
    height, width = size
    side = min(square.width, width, height)
    x0 = min(max((square.x0 + square.x1 - side) / 2, 0.0), width - side)
    y0 = min(max((square.y0 + square.y1 - side) / 2, 0.0), height - side)
    return Rect(x0, y0, x0 + side, y0 + side)


class Tube(NamedTuple):
    """One face through the frames ``start`` to ``stop - 1`` of a shot."""

    start: int
    stop: int
    first: Rect  # its box in the first frame
    box: Rect  # around its boxes in all frames


@dataclass(eq=False)
class _Track:
    """A tube that further frames may still extend."""

    start: int
    first: Rect
    box: Rect
    last: int  # the frame in which it was seen last
    missed: int = 0  # detections since then

    def add(self, frame: int, box: Rect) -> None:
        """Extend the tube by a box seen in ``frame``."""
        self.box, self.last, self.missed = union(self.box, box), frame, 0

    def tube(self) -> Tube:
        return Tube(self.start, self.last + 1, self.first, self.box)


def tubes(
    seen: Iterable[tuple[int, Sequence[Rect]]],
    *,
    cuts: Collection[int] = (),
    min_iou: float = MIN_IOU,
    missed: int = 0,
    max_frames: int | None = None,
) -> list[Tube]:
    """Follow the faces of a video.

    A tube begins with a box that no other tube takes. It goes on with the box that overlaps its first box
    most, if their intersection over union is at least ``min_iou``. No box goes to two tubes. A tube ends with
    the frame in which its face was seen last.

    Args:
        seen: pairs of a frame's number, ascending, and the boxes found in it; frames may be left out.
        cuts: the first frames of new shots, where every tube ends.
        min_iou: the least overlap with the first box, in [0, 1].
        missed: in how many detections in a row a face may be missing before its tube ends.
        max_frames: a tube that would become longer ends, and another begins; None: any length.

    Returns:
        The tubes in the order of their first frame, then from left to right.
    """
    borders = sorted(cuts)
    open_tracks: list[_Track] = []
    done: list[Tube] = []

    def close(ended: list[_Track]) -> None:
        done.extend(track.tube() for track in ended)
        open_tracks[:] = [track for track in open_tracks if track not in ended]

    for frame, boxes in seen:
        if borders and borders[0] <= frame:
            close(open_tracks[:])
            borders = [border for border in borders if border > frame]
        if max_frames is not None:
            close([track for track in open_tracks if frame - track.start >= max_frames])
        left = list(range(len(boxes)))
        for track in open_tracks:
            track.missed += 1
        for _, track, box in _matches(open_tracks, boxes, min_iou):
            if track.missed and box in left:
                track.add(frame, boxes[box])
                left.remove(box)
        close([track for track in open_tracks if track.missed > missed])
        open_tracks += [_Track(frame, boxes[box], boxes[box], frame) for box in left]
    close(open_tracks[:])
    return sorted(done, key=lambda tube: (tube.start, tube.first))


def _matches(
    tracks: Sequence[_Track], boxes: Sequence[Rect], min_iou: float
) -> list[tuple[float, _Track, int]]:
    """Return overlap, track and number of the box for all pairs that overlap enough, the best first."""
    pairs = [(iou(track.first, box), track, number) for track in tracks for number, box in enumerate(boxes)]
    return sorted((pair for pair in pairs if pair[0] >= min_iou), key=lambda pair: -pair[0])
