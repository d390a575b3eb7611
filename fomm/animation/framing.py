"""Which square of a photo, and of a driving video, the networks get to see.

A square has the published margins around a face, see ``face.crop``. A video gets one square for all its
frames, so that the head moves in it as it does in the video. Where the head wanders too far for one square, a
square follows it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from fomm.animation.options import Crop
from fomm.animation.presence import ALWAYS, Presence, find_gaps
from fomm.errors import InputError
from fomm.face.crop import Rect, enlarged_square, iou, published_box, union
from fomm.face.detector import Face
from fomm.face.search import FaceFinder, find_faces
from fomm.media import VideoReader
from fomm.media.images import get_max_pixels

WANDERS = 1.8  # a fixed square so many times as large as the face's own shows the head too small: follow it
SMOOTHING = 0.5  # seconds: standard deviation of the weights over time of a square that follows
SMALLEST_DRIVER = 64  # pixels
EVERY = 3  # a face is looked for in every so many frames of a video
FEW = 0.1  # share of the frames that show a face: a video with fewer is refused
_ADVICE = "give the part by --crop x,y,w,h, or take it as it is by --crop none"


def photo_squares(
    picture: np.ndarray, crop: Crop, face: int | str | None, name: str, size: int
) -> list[Rect]:
    """Return the parts of a photo that are animated: one, or with a ``face`` of ``"all"`` each face's.

    Args:
        picture: HxWx3 uint8.
        crop: ``"auto"``, the published square around a face; ``"none"``, all of it; or a rectangle.
        face: which one, from 0, left to right; None is the largest.
        name: of the photo, for errors.
        size: of the networks' pictures: a face in fewer pixels is warned of. In a photo that is no larger
            itself only one in less than half of them is: it was prepared for the networks.

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
    squares = [enlarged_square(published_box(item)) for item in faces]
    if face == "all":
        chosen = squares
    elif face is None:
        chosen = [max(squares, key=lambda square: square.area)]
    elif isinstance(face, int) and 0 <= face < len(squares):
        chosen = [squares[face]]
    else:
        raise InputError(
            f"{name}: there is no face {face}; {len(squares)} were found, counted from 0 at the left"
        )
    enough = size if max(height, width) > size else size / 2
    for square in chosen:
        if square.width < enough:
            warnings.warn(
                f"{name}: the head is {square.width:.0f} pixels wide, less than the {size} of the networks; "
                "a photo taken from nearer or with more pixels gives a better result",
                stacklevel=2,
            )
    return chosen


class DrivingPart(NamedTuple):
    """The part of a driving video that the networks see."""

    squares: list[Rect]  # one for all frames, or one for each
    presence: Presence = ALWAYS  # of a face


def find_driver(video: VideoReader, crop: Crop, *, progress: bool = False) -> DrivingPart:
    """Find the part of the driving frames that the networks see.

    With ``"auto"`` the video is opened again and read once, a few frames at a time in memory. ``progress``
    shows a bar meanwhile, where the output is a terminal. A warning tells of the parts of the video in which
    no face is seen.

    Raises:
        InputError: no face was found, or in hardly any frame. MediaError: the video cannot be read.
    """
    size, name = video.size, video.path
    if crop == "none":
        return DrivingPart([Rect(0.0, 0.0, float(size[1]), float(size[0]))])
    if not isinstance(crop, str):
        return DrivingPart([_given(crop, size, str(name))])
    finder, count = FaceFinder(confirm=True), 0
    with video.reopen() as frames:
        # disable=None: shown where the output is a terminal
        bar = tqdm(frames, "looking for the face", video.num_frames, disable=None if progress else True)
        for frame in bar:
            if count % EVERY == 0:
                finder.add(count, frame)
            count += 1
    found = finder.results()
    track = main_face(found)
    if not track:
        raise InputError(
            f"{name}: no face was found in any of its {count} frames; "
            f"{_ADVICE.replace('--crop', '--crop-driving')}"
        )
    # whoever it is: the driver may come back at another place, and then counts as somebody else
    presence = _check_presence([number for number, faces in found if faces], count, video)
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
    return DrivingPart(squares, presence)


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


def main_face(found: Sequence[tuple[int, Sequence[Face]]]) -> dict[int, Rect]:
    """Return the boxes of the person who drives, by number of frame.

    Boxes of consecutive frames that overlap most are taken for one person, and no box for two. The person
    whose boxes fill most, over all frames, drives. So nobody is followed who just passes by, and nothing that
    the detector takes for a face in a single frame.
    """
    tracks: list[dict[int, Rect]] = []
    for number, faces in found:
        boxes = [published_box(face) for face in faces]
        lasts = [next(reversed(track.values())) for track in tracks]
        pairs = [(iou(last, box), t, b) for t, last in enumerate(lasts) for b, box in enumerate(boxes)]
        left = set(range(len(boxes)))
        for overlap, t, b in sorted(pairs, reverse=True):
            if overlap > 0 and b in left and number not in tracks[t]:
                tracks[t][number] = boxes[b]
                left.remove(b)
        tracks += [{number: boxes[b]} for b in sorted(left)]
    return max(tracks, key=lambda track: sum(box.area for box in track.values()), default={})


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
