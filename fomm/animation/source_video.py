"""A video whose face takes another one's expression: each of its frames is the photo.

Its head moves as it does in the video. What mouth, eyes and brows do there is taken back, and what those of
the driver do is put in its place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from fomm.animation.animator import blend
from fomm.animation.driving import grow_to_shape
from fomm.animation.framing import find_driver, follow, give_room
from fomm.animation.motion import FaceMotion, choose_reference, open_lids
from fomm.animation.options import PARTS, Compute, Excerpt, Framing, Marking, Motion
from fomm.animation.painter import Painter
from fomm.animation.paste import Paste
from fomm.animation.photo import ROOM, choose_size
from fomm.animation.photo_face import Gains, PhotoFace, find_photo_face, free_inside
from fomm.animation.presence import Presence
from fomm.animation.progress import Progress, report_progress
from fomm.animation.result import Result
from fomm.animation.template import Template, read_drivers
from fomm.animation.watch import watch_face
from fomm.errors import InputError
from fomm.face.crop import Rect, enlarged_square, published_box
from fomm.media import VideoReader
from fomm.media.resize import cut_out, resize
from fomm.model import Detector, Generator, Keypoints


def replace_expression(
    source: str | os.PathLike[str],
    driving: str | os.PathLike[str],
    result: str | os.PathLike[str],
    generator: Generator,
    kp_detector: Detector,
    *,
    framing: Framing = Framing(),
    excerpt: Excerpt = Excerpt(),
    motion: Motion = Motion(),
    marking: Marking = Marking(),
    compute: Compute = Compute(),
    progress: Progress = True,
) -> int:
    """Give the face in a video another one's expression, from file to file; return the number of frames.

    The result has the source's frames, size and frame rate, and as many seconds as the shorter of both; the
    driver's sound is heard. Where either shows no face, the source's frame stays as it is.

    Args:
        source: a video. The face that fills most of it is changed.
        driving: a video, or a motion template.
        result: see ``animate_file``.
        generator, kp_detector: as ``load_checkpoints`` gives them; weights that know lips and lids.
        framing: its ``crop_driving`` and ``size``. The whole frame is written.
        excerpt: which part of the driving video is used, and whether it is heard.
        motion: strengths and edits. The source's head keeps its own ``pose``.
        marking: what the result says of its origin.
        compute: what computes, and how exactly.
        progress: see ``animate_file``.

    Raises:
        MediaError: a file cannot be read or written.
        MissingExtraError: the engine is not installed.
        InputError: an option cannot be used, or no face was found in one of the videos.
    """
    written = Result(result, marking, photo=source, drivings=[driving], photo_is="source video")
    if not framing.pastes_back:
        raise InputError(
            "of a source video the whole frame is written; leave side_by_side and paste_back out"
        )
    if framing.crop != "auto" or framing.face is not None:
        raise InputError("of a source video the face that fills most is changed; leave crop and face out")
    motion = replace(
        motion, driver="mesh", parts=tuple(part for part in motion.parts or PARTS if part != "pose")
    )
    motion.uses_mesh(labelled=kp_detector.openings is not None)
    reader = VideoReader(source)
    (driver,), sound = read_drivers([driving], excerpt, framing.part_of_video, progress=progress)
    network_size = (generator.frame_shape or (256, 256, 3))[:2]
    painter = Painter(np.zeros((*network_size, 3), np.uint8), generator, kp_detector, compute)
    face = _SourceFace(reader, driver, painter, motion, progress=progress)
    size = choose_size(reader.size, framing.size)
    count = 0
    with (
        written.open(
            reader.fps,
            sound if excerpt.audio else None,
            weights=generator.weights_hash,
            options=(framing, excerpt, motion, compute),
        ) as writer,
        reader,
    ):
        for frame in report_progress(face.change(reader), face.num_frames, progress):
            writer.write(resize(frame, size))
            count += 1
    return count


class _SourceFace:
    """The face in a source video, which takes the expression of a driver.

    Args:
        reader: of the source video; it is opened again.
        driver: how the driver's face moves.
        painter: its picture does not matter; it gets every frame's.
        motion: strengths and edits.
        progress: show bars.
    """

    def __init__(
        self, reader: VideoReader, driver: Template, painter: Painter, motion: Motion, *, progress: Progress
    ) -> None:
        part = find_driver(reader, "auto", progress=progress)
        with reader.reopen() as frames:
            self.motion = watch_face(
                frames, part.faces, part.num_frames, reader.fps, part.presence, progress=progress
            )
        boxes = {number: published_box(face) for number, face in part.faces.items()}
        side = float(np.median([enlarged_square(box).width for box in boxes.values()]))
        self.squares = [
            grow_to_shape(give_room(square, *ROOM), painter.size)
            for square in follow(boxes, part.num_frames, reader.fps, side)
        ]
        self.presence: Presence = part.presence
        seen = self.motion.take(part.presence.seen_among(len(self.motion)))
        median = replace(seen.take(0), shape=np.median(seen.shape, axis=0)[None])
        self.usual = open_lids(median, seen)
        self.driver, self.painter, self.options = driver, painter, motion
        number = choose_reference(driver.motion, self.usual, motion.best_frame, driver.presence)
        awake = driver.motion.take(driver.presence.seen_among(driver.num_frames))
        self.reference = open_lids(driver.motion.take(number), awake)
        self.pace = driver.fps / reader.fps  # frames of the driver in one of the source
        self.num_frames = min(len(self.motion), max(round(driver.num_frames / self.pace), 1))
        self.gains: Gains | None = None

    def change(self, frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the source's frames, HxWx3 uint8, with the driver's expression."""
        for number, frame in zip(range(self.num_frames), frames, strict=False):
            now = min(int(number * self.pace), self.driver.num_frames - 1)
            strength = self.presence.strength(number) * self.driver.presence.strength(now)
            yield frame if strength == 0 else self._change(frame, number, now, strength)

    def _change(self, frame: np.ndarray, number: int, now: int, strength: float) -> np.ndarray:
        """Return a frame of the source with the expression of the driver's frame ``now``."""
        painter, square = self.painter, self.squares[number]
        picture = cut_out(frame, square, painter.size)
        painter.take(picture)
        rest = _place_in(self.motion.take(number), square)
        face = PhotoFace(rest, painter.encoded.keypoints.map(torch.Tensor.cpu), self.gains)
        painter.encoded = painter.encoded._replace(
            keypoints=self._to_device(face.keypoints), freedom=free_inside(painter.encoded.small)
        )
        if self.gains is None and (found := find_photo_face(picture)) is not None:
            face.calibrate(lambda moved: painter.pictures(self._to_device(moved)), found)
            self.gains = face.gains
        moved = self._to_device(
            face.move(self.driver.motion.take(now), self.reference, self.options, self.usual)
        )
        if strength < 1:
            moved = blend(painter.encoded.keypoints, moved, moved.value.new_tensor([strength]))
        (animated,) = painter.paint(moved)
        result = frame.copy()
        Paste(frame, square, painter.at_rest())(result, *animated.rendered)
        return result

    def _to_device(self, keypoints: Keypoints) -> Keypoints:
        return keypoints.map(lambda t: t.to(self.painter.device))


def _place_in(motion: FaceMotion, square: Rect) -> FaceMotion:
    """Return a motion in pixels of a frame in units of [-1, 1] of a square of it."""
    corner, unit = np.array([square.x0, square.y0]), 2 / np.array([square.width, square.height])
    return replace(motion, centre=(motion.centre - corner) * unit - 1, size=motion.size * unit[0])
