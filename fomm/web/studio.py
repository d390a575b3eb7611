"""What the page asks of the library: faces, still previews, jobs. One thing is computed at a time."""

from __future__ import annotations

import tempfile
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from fomm.animation.animate import animate_file
from fomm.animation.edit import edit, show_edit
from fomm.animation.frames import to_bytes
from fomm.animation.framing import photo_squares
from fomm.animation.motion import FaceMotion, join_motions, open_lids
from fomm.animation.option_table import group_options
from fomm.animation.options import Compute, Crop, Edit, Excerpt, Framing, Marking, Motion
from fomm.animation.photo import MovedPhoto
from fomm.animation.progress import Progress
from fomm.animation.result import write_picture
from fomm.animation.template import Template, is_template, read_template, watch_video
from fomm.animation.watch import measure_face
from fomm.errors import InputError
from fomm.face.crop import Rect, enlarged_square, published_box
from fomm.face.search import find_faces
from fomm.marks import describe_inspection, inspect_file
from fomm.media import VideoReader, read_image
from fomm.media.ffmpeg import stop_all
from fomm.media.resize import resize
from fomm.model import Detector, Generator, OcclusionAwareGenerator
from fomm.web.draw import SHOWN, draw_flow, draw_map, draw_points
from fomm.web.limits import Limits, check_driving, check_photo, check_size

T = TypeVar("T")

_KEPT = 3  # photos that are ready, and motions that were watched


class Part(NamedTuple):
    """A photo, and what of it moves."""

    photo: Path
    crop: Crop = "auto"
    face: int | str | None = None


class _Ready(NamedTuple):
    """A photo that can be moved, made small for previews."""

    moved: MovedPhoto
    view: tuple[slice, slice]  # rows and columns of it that a preview shows

    def show(self, picture: np.ndarray) -> np.ndarray:
        """Return the part of a result that a preview shows."""
        return picture[self.view]


class Done(NamedTuple):
    """What a job has made."""

    result: Path
    num_frames: int
    warnings: tuple[str, ...]


class _Kept(OrderedDict[Any, T]):
    """A few results by what they were made of; the one that was not asked for the longest goes."""

    def get_or_make(self, key: Any, make: Callable[[], T]) -> T:
        if key not in self:
            self[key] = make()
            while len(self) > _KEPT:
                self.popitem(last=False)
        self.move_to_end(key)
        return self[key]


class Studio:
    """The networks, and the photos that are ready to be moved.

    Args:
        generator, kp_detector: as ``load_checkpoints`` gives them.
        folder: where each request gets a folder of its own, for as long as it takes.
        limits: what is taken.
        compute: what computes, and how exactly.
    """

    def __init__(
        self,
        generator: Generator,
        kp_detector: Detector,
        folder: Path,
        *,
        limits: Limits = Limits(),
        compute: Compute = Compute(),
    ) -> None:
        self.limits, self.folder = limits, folder
        self._networks = (generator, kp_detector)
        self._compute = compute
        self._computing = threading.Lock()
        self._photos: _Kept[_Ready] = _Kept()
        self._templates: _Kept[Template] = _Kept()
        self._squares: _Kept[tuple[np.ndarray, list[Rect]]] = _Kept()
        self._moments: _Kept[tuple[FaceMotion, FaceMotion]] = _Kept()

    @contextmanager
    def new_folder(self) -> Iterator[Path]:
        """Give a folder for one request; it is deleted at the end."""
        with tempfile.TemporaryDirectory(dir=self.folder, prefix="request-") as folder:
            yield Path(folder)

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        """Compute something short, with a time limit for ffmpeg; raise InputError while a job is running.

        All ffmpegs of the page run while the lock is held, so that the end of a job ends no other's.
        """
        if not self._computing.acquire(timeout=5):
            raise InputError("a job is running; previews come back when it has ended")
        limit = threading.Timer(self.limits.still_seconds, stop_all)
        limit.start()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a preview is small, and warnings are about the result
                yield
        finally:
            limit.cancel()
            self._computing.release()

    # -- still pictures ------------------------------------------------------------------------------

    def find_squares(self, photo: Path) -> tuple[np.ndarray, list[Rect]]:
        """Return a photo, HxWx3 uint8, and the square around each face, in its pixels, from left to right."""

        def find() -> tuple[np.ndarray, list[Rect]]:
            picture = self._read(photo)
            return picture, [enlarged_square(published_box(face)) for face in find_faces(picture)]

        with self._at_once():
            return self._squares.get_or_make(photo, find)

    def preview_edit(self, part: Part, change: Edit, like: Path | None = None) -> np.ndarray:
        """Return a small picture of what ``edit`` makes; fast, once the photo has been met."""
        with self._at_once():
            other = None if like is None else measure_face(self._read(like), like.name)
            ready = self._prepare(part)
            return ready.show(show_edit(ready.moved, change, other))

    def preview(
        self, part: Part, driving: Path, excerpt: Excerpt, moment: float, motion: Motion
    ) -> np.ndarray:
        """Return a small picture of the photo as a driver moves it at one moment.

        Args:
            part: what moves.
            driving: a video or a motion template.
            excerpt: which part of it.
            moment: a share of its length, in [0, 1].
            motion: how it moves the photo.
        """
        with self._at_once():
            excerpt = check_driving(driving, excerpt, self.limits)
            ready = self._prepare(part)
            photo = ready.moved
            if is_template(driving):
                template = self._template(driving, excerpt)
                now = template.motion.take(round(moment * (template.num_frames - 1)))
                starts = [
                    animator.find_start(template.motion, template.presence) for animator in photo.animators
                ]
            else:
                start, now = self._moments.get_or_make(
                    (driving, excerpt, moment), lambda: _measure_moment(driving, excerpt, moment)
                )
                starts = [open_lids(start, join_motions([start, now]))] * len(photo.animators)
            points = []
            for animator, start in zip(photo.animators, starts, strict=True):
                assert animator.face is not None  # the mesh was asked for
                moved = animator.face.move(now, start, motion)
                points.append(moved.map(lambda tensor: tensor.to(photo.device)))
            return ready.show(photo.show(points))

    def _read(self, photo: Path) -> np.ndarray:
        check_photo(photo, self.limits)
        return read_image(photo, max_pixels=self.limits.photo_pixels)

    def _prepare(self, part: Part) -> _Ready:
        """Return the photo ready to be moved.

        It is made small, ``SHOWN`` pixels long, unless the head would have fewer than the networks' picture.
        """
        return self._photos.get_or_make(part, lambda: self._make_ready(part))

    def _make_ready(self, part: Part) -> _Ready:
        picture, crop = self._read(part.photo), part.crop
        squares = photo_squares(picture, crop, part.face, part.photo.name, 1)
        least = min(min(square.width, square.height) for square in squares)
        side = self._networks[0].frame_shape[0] if self._networks[0].frame_shape else 256
        scale = max(SHOWN / max(picture.shape[:2]), side / least)
        if scale < 0.8:
            height, width = (max(1, round(length * scale)) for length in picture.shape[:2])
            picture = resize(picture, (height, width))
            if isinstance(crop, tuple):
                x, y, across, down = (round(value * scale) for value in crop)
                crop = (x, y, max(across, 1), max(down, 1))
        else:
            scale = 1.0
        moved = MovedPhoto(
            picture,
            part.photo.name,
            *self._networks,
            framing=Framing(crop=crop, face=part.face),
            motion=Motion(driver="mesh"),
            compute=self._compute,
        )
        return _Ready(moved, _choose_view(squares, scale, moved.picture.shape))

    # -- what the networks see -----------------------------------------------------------------------

    def watch(self, driving: Path, excerpt: Excerpt, progress: Progress) -> int:
        """Look at a driving video or template once, and return how many frames it has."""
        with self._computing:
            excerpt = check_driving(driving, excerpt, self.limits)
            return self._template(driving, excerpt, progress).num_frames

    def look_inside(
        self, part: Part, driving: Path, excerpt: Excerpt, number: int
    ) -> list[tuple[str, np.ndarray]]:
        """Return pictures of each step to one frame, with what they show. ``watch`` comes first."""
        with self._at_once():
            excerpt = check_driving(driving, excerpt, self.limits)
            ready, template = self._prepare(part).moved, self._template(driving, excerpt)
            animator, source = ready.animators[0], ready.sources[0]
            starts = [one.find_start(template.motion, template.presence) for one in ready.animators]
            now = template.motion.take(min(number, template.num_frames - 1))
            points = [
                one.move_by_motion(now, start) for one, start in zip(ready.animators, starts, strict=True)
            ]
            frames = tuple(
                next(one.painter.paint(moved)) for one, moved in zip(ready.animators, points, strict=True)
            )
            painted, deformation, shown = frames[0].rendered
            generator = self._networks[0]
            assert isinstance(generator, OcclusionAwareGenerator)  # whose key points a mesh can move
            with torch.inference_mode():
                warped = generator.deform(animator.painter.source, deformation)
            rest, there = (_as_array(value.value[0]) for value in (animator.keypoints, points[0]))
            panels = [
                ("Key points: at rest (orange), now (blue)", draw_points(source, rest, there)),
                (
                    "Flow: the photo moved, nothing painted",
                    draw_flow(to_bytes(warped)[0], _as_array(deformation[0])),
                ),
            ]
            if shown is not None:
                panels.append(("Occlusion: dark has to be painted", draw_map(_as_array(shown[0, 0]))))
            panels.append(("Painted: the network's picture", to_bytes(painted)[0]))
            panels.append(
                ("Pasted: back in the photo, with its own detail", ready.finish_frame(None, frames))
            )
            return panels

    def _template(self, driving: Path, excerpt: Excerpt, progress: Progress = False) -> Template:
        def make() -> Template:
            if is_template(driving):
                return read_template(driving, excerpt)
            return watch_video(driving, excerpt, progress=progress)

        return self._templates.get_or_make((driving, excerpt), make)

    def describe_origin(self, file: Path) -> str:
        """Return what a file says of its origin, a list in Markdown."""
        check_size(file, self.limits)
        with self._at_once():
            return "\n".join(f"- {line}" for line in describe_inspection(inspect_file(file)))

    # -- jobs ----------------------------------------------------------------------------------------

    def animate(
        self, photo: Path, driving: Path, result: Path, values: Mapping[str, Any], progress: Progress
    ) -> Done:
        """Animate a photo from file to file, see ``animate_file``; ``values``: of options, by field."""
        options = group_options(values)
        options["compute"] = self._compute
        with self._computing, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            check_photo(photo, self.limits)
            options["excerpt"] = check_driving(driving, options["excerpt"], self.limits)
            count = animate_file(photo, driving, result, *self._networks, **options, progress=progress)
        return Done(result, count, tuple(dict.fromkeys(str(warning.message) for warning in caught)))

    def edit(self, part: Part, change: Edit, result: Path, like: Path | None = None) -> Done:
        """Change a face in a photo from file to file, at the photo's full size."""
        picture = self._read(part.photo)
        other = None if like is None else self._read(like)
        framing = Framing(crop=part.crop, face=part.face)
        with self._computing, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            frame = edit(picture, change, *self._networks, like=other, framing=framing, compute=self._compute)
        weights = self._networks[0].weights_hash
        write_picture(result, frame, Marking(), weights=weights, photo=part.photo)
        return Done(result, 1, tuple(dict.fromkeys(str(warning.message) for warning in caught)))


def _choose_view(squares: list[Rect], scale: float, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the rows and columns of a photo that a preview shows: all, unless a face is small in it."""
    square, (height, width) = squares[0], shape[:2]
    if len(squares) > 1 or max(height, width) <= 3 * scale * square.width:
        return slice(0, height), slice(0, width)
    x, y = scale * (square.x0 + square.x1) / 2, scale * (square.y0 + square.y1) / 2
    reach = 1.2 * scale * square.width
    rows, columns = (
        slice(max(round(middle - reach), 0), min(max(round(middle + reach), 1), most))
        for middle, most in ((y, height), (x, width))
    )
    return rows, columns


def _measure_moment(driving: Path, excerpt: Excerpt, moment: float) -> tuple[FaceMotion, FaceMotion]:
    """Return the face of a video in its first frame, and at a share of its length."""
    with VideoReader(driving, start=excerpt.start, duration=excerpt.duration) as reader:
        first, fps = next(reader), reader.fps
        last = max((reader.num_frames or 1) - 1, 0)
    start = measure_face(first, f"{driving.name}, its first frame")
    if round(moment * last) == 0:
        return start, start
    after = round(moment * last) / fps
    with VideoReader(driving, start=excerpt.start + after, duration=1 / fps) as reader:
        frame = next(reader)
    return start, measure_face(frame, f"{driving.name} after {after:.1f} s")


def _as_array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.float().cpu().numpy()
    return array
