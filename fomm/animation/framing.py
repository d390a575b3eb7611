"""Which square of a photo, and of a driving video, the networks get to see.

A square has the published margins around a face, see ``face.crop``. A video gets one square for all its
frames, so that the head moves in it as it does in the video. Where the head wanders too far for one square, a
square follows it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fomm.animation.options import Crop
from fomm.animation.presence import ALWAYS, Presence, find_gaps
from fomm.animation.progress import Progress, report_progress
from fomm.animation.threads import leave_a_core, prefetch
from fomm.errors import InputError
from fomm.face.crop import Rect, enlarged_square, iou, published_box, union
from fomm.face.detector import Face
from fomm.face.search import BATCH, FaceFinder, detection_factor, find_faces
from fomm.media import VideoReader
from fomm.media.images import get_max_pixels

WANDERS = 1.8  # a fixed square so many times as large as the face's own shows the head too small: follow it
SMOOTHING = 0.5  # seconds: standard deviation of the weights over time of a square that follows
SMALLEST_DRIVER = 64  # pixels
MUCH_SMALLER = 4  # a face whose box has less than such a part of the driver's area is not the driver's
EVERY = 3  # a face is looked for in every so many frames of a video
FEW = 0.1  # share of the frames that show a face: a video with fewer is refused
_ADVICE = "give the part by --crop x,y,w,h, or take it as it is by --crop none"


def photo_squares(
    picture: np.ndarray,
    crop: Crop,
    face: int | str | tuple[int, ...] | None,
    name: str,
    size: int,
    *,
    room: tuple[float, float] = (0.0, 0.0),
) -> list[Rect]:
    """Return the parts of a photo that are animated: one, or of several faces each one's.

    Args:
        picture: HxWx3 uint8.
        crop: ``"auto"``, the published square around a face; ``"none"``, all of it; or a rectangle.
        face: which one, from 0, left to right, or which ones; ``"all"``, or None for the largest.
        name: of the photo, for errors.
        size: of the networks' pictures: a face in fewer pixels is warned of. In a photo that is no larger
            itself only one in less than half of them is: it was prepared for the networks.
        room: for an ``"auto"`` square: by how much of its side it grows on each side, and moves up.

    Raises:
        InputError: there is no such face.
    """
    height, width = picture.shape[:2]
    if crop == "none":
        return [Rect(0.0, 0.0, float(width), float(height))]
    if not isinstance(crop, str):
        return [_given(crop, (height, width), name)]
    faces = find_faces(picture)
    if not faces:
        raise InputError(f"{name}: no face was found; {_ADVICE} (drawings, animals, whole bodies)")
    squares = [give_room(enlarged_square(published_box(item)), *room) for item in faces]
    if face == "all":
        chosen = squares
    elif face is None:
        chosen = [max(squares, key=lambda square: square.area)]
    else:
        wanted = face if isinstance(face, tuple) else (face,)
        for number in wanted:
            if not (isinstance(number, int) and 0 <= number < len(squares)):
                raise InputError(
                    f"{name}: there is no face {number}; {len(squares)} were found, counted from 0 at the "
                    "left"
                )
        chosen = [squares[number] for number in wanted if isinstance(number, int)]
    enough = size if max(height, width) > size else size / 2
    for square in chosen:
        if square.width < enough:
            warnings.warn(
                f"{name}: the head is {square.width:.0f} pixels wide, less than the {size} of the networks; "
                "a photo taken from nearer or with more pixels gives a better result",
                stacklevel=2,
            )
    return chosen


def give_room(square: Rect, around: float, above: float) -> Rect:
    """Return the square, grown on each side and moved up by shares of its side."""
    grown, up = around * square.width, above * square.width
    return Rect(square.x0 - grown, square.y0 - grown - up, square.x1 + grown, square.y1 + grown - up)


class DrivingPart(NamedTuple):
    """The part of a driving video that the networks see."""

    squares: list[Rect]  # one for all frames, or one for each
    presence: Presence = ALWAYS  # of a face
    faces: Mapping[int, Face] = {}  # the driver's, by number of frame, where they were looked for
    num_frames: int = 0  # of the video, where faces were looked for


def find_driver(
    video: VideoReader, crop: Crop, *, look: bool = False, progress: Progress = False
) -> DrivingPart:
    """Find the part of the driving frames that the networks see, and the driver's face in it.

    With ``"auto"`` the video is opened again and read once, a few frames at a time in memory. ``progress``
    is told meanwhile. A warning tells of the parts of the video in which
    no face is seen.

    With another ``crop`` a face is looked for only if ``look`` asks for it. If there is none, or hardly ever,
    ``faces`` are empty.

    Raises:
        InputError: no face was found, or in hardly any frame. MediaError: the video cannot be read.
    """
    size, name = video.size, video.path
    if crop != "auto":
        whole = Rect(0.0, 0.0, float(size[1]), float(size[0]))
        given = whole if isinstance(crop, str) else _given(crop, size, str(name))
        if not look:
            return DrivingPart([given])
        found, count = _look_for_faces(video, progress, None if crop == "none" else given)
        faces = driver_faces(found)
        if len(faces) < FEW * len(found):
            return DrivingPart([given])
        return DrivingPart([given], _check_presence(list(faces), count, video), faces, count)
    found, count = _look_for_faces(video, progress)
    track = {number: published_box(face) for number, face in main_face(found).items()}
    if not track:
        raise InputError(
            f"{name}: no face was found in any of its {count} frames; "
            f"{_ADVICE.replace('--crop', '--crop-driving')}"
        )
    faces = driver_faces(found)
    presence = _check_presence(list(faces), count, video)
    boxes = list(track.values())
    whole = boxes[0]
    for box in boxes[1:]:
        whole = union(whole, box)
    fixed = enlarged_square(whole)
    usual = float(np.median([enlarged_square(box).width for box in boxes]))
    if usual < SMALLEST_DRIVER:
        warnings.warn(
            f"{name}: the head is {usual:.0f} pixels wide, less than the {SMALLEST_DRIVER} in which the "
            "networks look for motion; a closer view moves the photo better",
            stacklevel=2,
        )
    squares = [fixed] if fixed.width <= WANDERS * usual else follow(track, count, video.fps, usual)
    return DrivingPart(squares, presence, faces, count)


def _look_for_faces(
    video: VideoReader, progress: Progress, part: Rect | None = None
) -> tuple[list[tuple[int, list[Face]]], int]:
    """Return the faces of every ``EVERY``-th frame, by its number, and how many frames the video has.

    ``part``: look there alone; whole pixels.
    """
    finder, count = FaceFinder(confirm=True, largest=part is None), 0
    factor = detection_factor(video.size)
    with video.reopen(factor=factor) as frames, leave_a_core():
        looked_at = (None if number % EVERY else frame for number, frame in enumerate(frames))
        with prefetch(looked_at, depth=EVERY * BATCH) as ready:
            for frame in report_progress(ready, video.num_frames, progress, "looking for the face"):
                if frame is not None:
                    finder.add(count, frame, factor)
                count += 1
    found = finder.results()
    if part is not None:
        found = [(number, [face for face in faces if _lies_in(face, part)]) for number, faces in found]
    return found, count


def _lies_in(face: Face, part: Rect) -> bool:
    """Return whether the middle of a face lies in a part of the picture."""
    x0, y0, x1, y1 = (float(value) for value in face.box)
    return part.x0 <= (x0 + x1) / 2 <= part.x1 and part.y0 <= (y0 + y1) / 2 <= part.y1


def _check_presence(seen: Sequence[int], count: int, video: VideoReader) -> Presence:
    """Return when a face is seen; warn where none is, and refuse a video that hardly shows one.

    ``seen``: the numbers of the frames that show one, of those that were looked at.
    """
    looked_at = -(-count // EVERY)
    if len(seen) < FEW * looked_at:
        raise InputError(
            f"{video.path}: a face was found in only {len(seen)} of the {looked_at} frames looked at; "
            f"give a video of a face, or {_ADVICE.removeprefix('give ').replace('--crop', '--crop-driving')}"
        )
    gaps = find_gaps(seen, EVERY, count, video.fps)
    if gaps:
        missing = sum(end - begin for begin, end in gaps)
        times = ", ".join(f"{begin / video.fps:.1f} to {end / video.fps:.1f} s" for begin, end in gaps[:3])
        more = f" and {len(gaps) - 3} more times" if len(gaps) > 3 else ""
        warnings.warn(
            f"{video.path}: no face in {missing} of {count} frames ({times}{more}); "
            "nothing is followed there",
            stacklevel=3,
        )
    return Presence(tuple(gaps), video.fps)


def main_face(found: Sequence[tuple[int, Sequence[Face]]]) -> dict[int, Face]:
    """Return the faces of the person who drives, by number of frame.

    Faces of consecutive frames that overlap most are taken for one person, and no face for two. The person
    whose faces fill most, over all frames, drives. So nobody is followed who just passes by, and nothing that
    the detector takes for a face in a single frame.
    """
    return _largest(_follow_faces(found))


def driver_faces(found: Sequence[tuple[int, Sequence[Face]]]) -> dict[int, Face]:
    """Return the faces of the person who drives, by number of frame.

    They are those of ``main_face``, and those that are seen only while that one is not: whoever was lost may
    come back at another place. Somebody who is seen beside the driver is another person, and what is much
    smaller is nobody.
    """
    tracks = _follow_faces(found)
    chosen = dict(_largest(tracks))
    while chosen:
        size = float(np.median([published_box(face).area for face in chosen.values()]))
        others = [
            track
            for track in tracks
            if not track.keys() & chosen.keys()
            and float(np.median([published_box(face).area for face in track.values()])) > size / MUCH_SMALLER
        ]
        if not others:
            break
        chosen |= _largest(others)
    return dict(sorted(chosen.items()))


def _follow_faces(found: Sequence[tuple[int, Sequence[Face]]]) -> list[dict[int, Face]]:
    """Return each person's faces by number of frame; faces that overlap most are one person's."""
    tracks: list[dict[int, Face]] = []
    for number, faces in found:
        boxes = [published_box(face) for face in faces]
        lasts = [published_box(next(reversed(track.values()))) for track in tracks]
        pairs = [(iou(last, box), t, b) for t, last in enumerate(lasts) for b, box in enumerate(boxes)]
        left = set(range(len(boxes)))
        for overlap, t, b in sorted(pairs, reverse=True):
            if overlap > 0 and b in left and number not in tracks[t]:
                tracks[t][number] = faces[b]
                left.remove(b)
        tracks += [{number: faces[b]} for b in sorted(left)]
    return tracks


def _largest(tracks: Sequence[dict[int, Face]]) -> dict[int, Face]:
    """Return the track whose faces fill most, over all frames."""
    return max(tracks, key=lambda track: sum(published_box(face).area for face in track.values()), default={})


def follow(track: dict[int, Rect], count: int, fps: float, side: float) -> list[Rect]:
    """Return a square for each of ``count`` frames, all of one size, that follows the face smoothly."""
    frames = np.arange(count)
    numbers = np.array(list(track))
    centres = np.array([((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2) for box in track.values()])
    path = np.stack([np.interp(frames, numbers, centres[:, axis]) for axis in range(2)], 1)
    reach = int(np.ceil(3 * SMOOTHING * fps))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(SMOOTHING * fps, 1e-6)) ** 2)
    padded = np.pad(path, ((reach, reach), (0, 0)), mode="edge")
    smooth = np.stack(
        [np.convolve(padded[:, axis], weights / weights.sum(), "valid") for axis in range(2)], 1
    )
    return [Rect(x - side / 2, y - side / 2, x + side / 2, y + side / 2) for x, y in smooth.tolist()]


def _given(crop: tuple[int, int, int, int], size: tuple[int, int], name: str) -> Rect:
    x, y, width, height = crop
    if min(width, height) < 1 or x >= size[1] or y >= size[0] or x + width <= 0 or y + height <= 0:
        raise InputError(
            f"{name} is {size[1]}x{size[0]} pixels; "
            f"the part {x},{y},{width},{height} (x,y,w,h) shows nothing of it"
        )
    if width * height > get_max_pixels():
        raise InputError(
            f"the part {x},{y},{width},{height} (x,y,w,h) of {name} has more than {get_max_pixels()} pixels; "
            "take a smaller one"
        )
    return Rect(float(x), float(y), float(x + width), float(y + height))
