"""Animates a picture from a video: the source once, the driving frames streamed."""

import itertools
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from fomm.animation.animator import Animator
from fomm.animation.driving import DrivingVideo, take_frame
from fomm.animation.frames import check_picture, iterate_frames, to_uint8
from fomm.animation.options import Compute, Excerpt, Framing, Marking, Motion
from fomm.animation.painter import AnimatedFrames
from fomm.animation.photo import MovedPhoto
from fomm.animation.progress import Progress, report_progress
from fomm.animation.result import Result
from fomm.animation.template import Template, is_template, read_drivers
from fomm.animation.threads import BackgroundWorker, leave_a_core
from fomm.animation.watch import watch_frames
from fomm.errors import InputError
from fomm.media import VideoReader, check_not_swapped, read_image
from fomm.media.images import warn_of_lost_alpha
from fomm.media.reader import FramesReader
from fomm.media.writer import keeps_alpha
from fomm.model import Detector, Generator, Keypoints

# Numbers in a generator: with fewer, putting back and encoding take as long as painting, and need a core.
_SMALL = 10_000_000
SQUEEZED = 1.2  # a picture whose shape is this far from the networks' looks squeezed: 4:3 is, 9:8 is not


def make_animation(
    source_image: Any,
    driving_video: Any,
    generator: Generator,
    kp_detector: Detector,
    relative: bool = True,
    adapt_movement_scale: bool = True,
    cpu: bool = False,
    *,
    openings: bool = True,
    avd: bool = False,
    progress: Progress = True,
    best_frame: int | None = None,
    driver: str | None = None,
    batch_size: int | None = None,
    precision: str = "float32",
    engine: str | None = None,
) -> list[np.ndarray]:
    """Move the picture as the video moves.

    Args:
        source_image: HxWx3, uint8 or floats in [0, 1].
        driving_video: an array TxHxWx3, a list or an iterator of frames HxWx3, uint8 or floats in [0, 1].
            Pictures of another size than the network's are resized to it, those of that size pass untouched.
            No face is looked for: a picture far from the network's shape is squeezed, with a warning.
        generator, kp_detector: as ``load_checkpoints`` gives them.
        relative, adapt_movement_scale, openings, avd: see ``Motion``.
        cpu: move the networks to the CPU first; otherwise they run where they are.
        progress: show a progress bar, where the output is a terminal; or a function, see ``animate_file``.
        best_frame: the driving frame, counted from 0, that resembles the source most; relative motion starts
            from it, forwards and backwards. By default the first, or with the mesh see ``Motion``.
        driver: ``"mesh"`` or ``"keypoints"``, see ``Motion``. By default the mesh where it can be used; all
            frames are looked at before the first is animated.
        batch_size: frames in one pass of the networks, see ``Animator``.
        precision, engine: see ``Animator``.

    Returns:
        One HxWx3 float32 frame in [0, 1] for each driving frame, at the network's size. They carry no mark;
        ``mark`` adds one.

    Raises:
        InputError: a picture, the video or another argument cannot be used.
        MissingExtraError: the engine is not installed.
    """
    motion = Motion(relative, adapt_movement_scale, openings, best_frame, driver, avd=avd)
    compute = Compute("cpu" if cpu else None, precision, engine or "auto", batch_size)
    animator = Animator(source_image, generator, kp_detector, motion=motion, compute=compute)
    total = len(driving_video) if hasattr(driving_video, "__len__") else None
    _warn_of_squeezing(np.shape(source_image), "source_image is", animator.size)
    frames, watched = iterate_frames(driving_video), None
    if animator.face is not None:
        listed = [to_uint8(frame) for frame in frames]
        frames, watched = iter(listed), watch_frames(listed)
        if watched is None and listed:
            _check_without_mesh(motion, "driving_video")
            animator.forget_face()
    if watched is None:
        checked = _watch_first(frames, animator.size)
        steps = animator.animate(*_with_reference(animator, checked, best_frame))
    else:
        steps = animator.animate_motion(*watched)
    animated = list(report_progress(steps, total, progress))
    if not animated:
        raise InputError("driving_video has no frames; expected at least one")
    return animated


def animate_file(
    photo: str | os.PathLike[str],
    driving: str | os.PathLike[str] | Mapping[int, str | os.PathLike[str]],
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
    """Animate a photo from file to file, and return the number of frames.

    Frames are read, animated and written one by one. The defaults are those of ``fomm animate``: a face is
    found in the photo and in the video, and the animated part is put back into the whole photo.

    Args:
        photo: a picture, see ``media.read_image``. If it is transparent in parts, its alpha moves along in a
            .webm or a folder of PNGs. For other results it is laid over white, with a warning.
        driving: a video, see ``media.VideoReader``, or a motion template, see ``animation.template``. With a
            mapping one for each face of the photo, by the face's number from 0, left to right. Then the
            result is as long as the longest, with the frame rate of the first, and the sound of the first
            video; who ends earlier comes to rest.
        result: .mp4, .webm or .gif, or a folder for PNGs; see ``media.VideoWriter``. It gets the driving
            video's frame rate.
        generator, kp_detector: as ``load_checkpoints`` gives them.
        framing: which part of the photo moves, and what the result shows.
        excerpt: which part of the driving video is used, and whether it is heard.
        motion: how it moves the photo; ``best_frame`` is counted from the excerpt's start.
        marking: what the result says of its origin.
        compute: what computes, and how exactly.
        progress: show a progress bar, where the output is a terminal. Or a function: it is called after each
            frame with how many are made, and how many there will be (None: the video does not tell). While
            a face is looked for in the driving frames, none is made yet. What it raises cancels the work, and
            comes out of ``animate_file``; then nothing of the result is left.

    Raises:
        MediaError: a file cannot be read or written, or the video has no frames.
        MissingExtraError: the engine, or what signs, is not installed.
        InputError: an option cannot be used, or no face was found.
    """
    drivings = list(driving.values()) if isinstance(driving, Mapping) else [driving]
    written = Result(result, marking, photo=photo, drivings=drivings)
    for path in drivings:
        check_not_swapped(photo, path)
    transparent = keeps_alpha(result)
    picture = read_image(photo, alpha=transparent)
    if not transparent:
        warn_of_lost_alpha(photo, result)
    by_motion = isinstance(driving, Mapping) or is_template(driving)
    if by_motion:
        _check_by_motion(driving, motion, framing)
        motion = replace(motion, driver="mesh")
    if isinstance(driving, Mapping):
        framing = replace(framing, face=tuple(driving))
    moved = MovedPhoto(
        picture, str(photo), generator, kp_detector, framing=framing, motion=motion, compute=compute
    )
    reader: VideoReader | None = None
    drivers: list[Template] = []
    if by_motion:
        drivers, sound = read_drivers(drivings, excerpt, framing.part_of_video, progress=progress)
    else:
        reader = sound = VideoReader(drivings[0], start=excerpt.start, duration=excerpt.duration)
    leader = reader or drivers[0]
    options = (framing, excerpt, motion, compute)
    count = 0
    with written.open(
        leader.fps, sound if excerpt.audio else None, weights=generator.weights_hash, options=options
    ) as writer:

        def write(animated: tuple[np.ndarray | None, tuple[AnimatedFrames, ...]]) -> None:
            writer.write(moved.finish_frame(*animated))

        video: DrivingVideo | list[Template] = drivers
        if reader is not None:
            video = _watch_driving(moved, reader, framing, motion, progress=progress)
        small = sum(weights.numel() for weights in generator.parameters()) < _SMALL
        leaves = small and torch.get_num_threads() > 2  # with two, each paints batches of its own
        with (
            BackgroundWorker(write) as background,
            moved.follow(video, motion.best_frame) as animated,
            leave_a_core() if leaves else nullcontext(),
        ):
            for step in report_progress(animated, leader.num_frames, progress):
                background.put(step)
                count += 1
    return count


def animate_frames(
    photo: Any,
    driving: Any,
    generator: Generator,
    kp_detector: Detector,
    *,
    fps: float = 25.0,
    framing: Framing = Framing(),
    motion: Motion = Motion(),
    compute: Compute = Compute(),
) -> Iterator[np.ndarray]:
    """Return what ``animate_file`` writes, frame by frame, of pictures in memory; without a mark.

    Args:
        photo: HxWx3, uint8 or floats in [0, 1].
        driving: an array TxHxWx3, a list or an iterator of frames HxWx3, uint8 or floats in [0, 1], all of
            one size; or a ``Template``.
        generator, kp_detector: as ``load_checkpoints`` gives them.
        fps: the rate of the driving frames; a template has its own.
        framing, motion, compute: see ``animate_file``.

    Returns:
        An iterator over the frames, HxWx3 uint8. Faces are found, and errors raised, before it is returned.

    Raises:
        InputError: a picture or an option cannot be used, or no face was found.
        MissingExtraError: the engine is not installed.
    """
    picture = to_uint8(check_picture(photo, "the photo"))
    video: DrivingVideo | list[Template]
    if isinstance(driving, Template):
        _check_by_motion("the driving video", motion, framing)
        motion = replace(motion, driver="mesh")
    else:
        reader = FramesReader([to_uint8(frame) for frame in iterate_frames(driving)], fps, "driving_video")
    moved = MovedPhoto(
        picture, "the photo", generator, kp_detector, framing=framing, motion=motion, compute=compute
    )
    if isinstance(driving, Template):
        video = [driving]
    else:
        video = _watch_driving(moved, reader, framing, motion, progress=False)

    def paint() -> Iterator[np.ndarray]:
        with moved.follow(video, motion.best_frame) as animated:
            for step in animated:
                yield moved.finish_frame(*step)

    return paint()


def _watch_driving(
    moved: MovedPhoto, reader: VideoReader, framing: Framing, motion: Motion, *, progress: Progress
) -> DrivingVideo:
    """Return the driving video, watched by the mesh if that moves the photo and finds a face.

    Where it finds none, the photo is moved by key points from now on.
    """
    watch = moved.is_watching
    video = DrivingVideo(reader, framing.part_of_video, moved.network_size, watch=watch, progress=progress)
    if watch and video.motion is None:
        _check_without_mesh(motion, reader.path, stacklevel=4)
        moved.forget_faces()
    return video


def _check_by_motion(driving: object, motion: Motion, framing: Framing) -> None:
    """Raise InputError if options do not go with motion templates, or with a driver for each face."""
    what = "a driver for each face" if isinstance(driving, Mapping) else f"{driving}, a motion of the mesh,"
    if isinstance(driving, Mapping) and framing.face is not None:
        raise InputError(f"{what} says which faces move; leave face out")
    if driving == {}:
        raise InputError("a driver for each face was asked for, and there is none; give one")
    if motion.driver == "keypoints":
        raise InputError(f"{what} does not go with the driver 'keypoints'; take the mesh")
    if framing.side_by_side:
        raise InputError(f"{what} has no one video to show; leave side_by_side out")


def _check_without_mesh(motion: Motion, name: object, *, stacklevel: int = 3) -> None:
    """Warn that key points move the photo, since the driving video ``name`` shows hardly any face.

    Raises InputError where the mesh was asked for.
    """
    if motion.needs_mesh:
        raise InputError(
            f"{name}: hardly any face was found, and the driver 'mesh' needs one; take the driver 'keypoints'"
        )
    warnings.warn(
        f"{name}: hardly any face was found; the photo is moved by the networks' own key points",
        stacklevel=stacklevel,
    )


def _watch_first(frames: Iterator[np.ndarray], size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Pass the frames on; warn if the first will be squeezed."""
    for number, frame in enumerate(frames):
        if number == 0:
            _warn_of_squeezing(frame.shape, "the frames of driving_video are", size)
        yield frame


def _warn_of_squeezing(shape: tuple[int, ...], what: str, size: tuple[int, int]) -> None:
    """Warn if a picture of ``shape`` (HxWx3) has to become much wider or higher to get the networks' size."""
    stretch = (shape[1] / shape[0]) / (size[1] / size[0])
    if max(stretch, 1 / stretch) > SQUEEZED:
        warnings.warn(
            f"{what} {shape[1]}x{shape[0]} pixels (width x height) and will be squeezed into the networks' "
            f"{size[1]}x{size[0]}, faces too; cut the head out first, or give files to animate_file, which "
            "finds it",
            stacklevel=3,
        )


def _with_reference(
    animator: Animator, frames: Iterator[np.ndarray], best_frame: int | None
) -> tuple[Iterable[np.ndarray], Keypoints | None]:
    """Return all frames, and the key points of the chosen one; the frames before it wait in memory."""
    if best_frame is None:
        return frames, None
    first: list[np.ndarray] = []

    def keep() -> Iterator[np.ndarray]:
        for frame in frames:
            first.append(frame)
            yield frame

    reference = animator.find_reference(take_frame(keep(), best_frame))
    return itertools.chain(first, frames), reference
