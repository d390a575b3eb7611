"""Animates a picture from a video: the source once, the driving frames streamed."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from fomm.animator import Animator
from fomm.errors import InputError
from fomm.face.best_frame import find_best_frame
from fomm.face.crop import Rect
from fomm.face.framing import Crop, cut, photo_squares, video_squares
from fomm.face.paste import Paste
from fomm.frames import iterate_frames, to_pictures, to_tensor, to_uint8
from fomm.media import VideoReader, VideoWriter, read_image
from fomm.model import Keypoints, KPDetector, OcclusionAwareGenerator
from fomm.model.inference import Rendered
from fomm.pipeline import Behind, ahead


def make_animation(
    source_image: Any,
    driving_video: Any,
    generator: OcclusionAwareGenerator,
    kp_detector: KPDetector,
    relative: bool = True,
    adapt_movement_scale: bool = True,
    cpu: bool = False,
    *,
    progress: bool = True,
    best_frame: int | None = None,
    batch_size: int = 4,
    precision: str = "float32",
    engine: str | None = None,
) -> list[np.ndarray]:
    """Moves the picture as the video moves.

    Args:
        source_image: HxWx3, uint8 or floats in [0, 1].
        driving_video: an array TxHxWx3, a list or an iterator of frames HxWx3, uint8 or floats in [0, 1].
            Pictures of another size than the network's are resized to it, those of that size pass untouched.
        generator, kp_detector: as ``load_checkpoints`` gives them.
        relative, adapt_movement_scale: see ``Animator``.
        cpu: move the networks to the CPU first; otherwise they run where they are.
        progress: show a progress bar, where the output is a terminal.
        best_frame: the driving frame, counted from 0, that resembles the source most; relative motion starts
            from it, forwards and backwards. By default the first.
        batch_size: frames in one pass of the networks.
        precision, engine: see ``Animator``.

    Returns:
        One HxWx3 float32 frame in [0, 1] for each driving frame, at the network's size.

    Raises:
        InputError: a picture, the video or another argument cannot be used.
        MissingExtraError: the engine is not installed.
    """
    if cpu:
        generator, kp_detector = generator.cpu(), kp_detector.cpu()
    animator = Animator(
        source_image,
        generator,
        kp_detector,
        relative=relative,
        adapt_movement_scale=adapt_movement_scale,
        batch_size=batch_size,
        precision=precision,
        engine=engine,
    )
    total = len(driving_video) if hasattr(driving_video, "__len__") else None
    frames, reference = _with_reference(animator, iterate_frames(driving_video), best_frame)
    animated = list(_bar(animator.animate(frames, reference), total, progress))
    if not animated:
        raise InputError("driving_video has no frames; expected at least one")
    return animated


def animate_file(
    photo: str | os.PathLike[str],
    driving: str | os.PathLike[str],
    result: str | os.PathLike[str],
    generator: OcclusionAwareGenerator,
    kp_detector: KPDetector,
    *,
    crop: Crop = "none",
    crop_driving: Crop | None = None,
    face: int | str | None = None,
    paste_back: bool = False,
    relative: bool = True,
    adapt_movement_scale: bool = True,
    best_frame: int | str | None = None,
    audio: bool = True,
    side_by_side: bool = False,
    start: float = 0.0,
    duration: float | None = None,
    batch_size: int = 4,
    precision: str = "float32",
    engine: str | None = None,
    progress: bool = True,
) -> int:
    """From file to file: frames are read, animated and written one by one; returns their number.

    Args:
        photo: a picture, see ``media.read_image``.
        driving: a video, see ``media.VideoReader``.
        result: .mp4, .webm or .gif, or a folder for PNGs; see ``media.VideoWriter``. It gets the driving
            video's frame rate.
        crop: the part of the photo that is animated: ``"none"`` is all of it, ``"auto"`` the square around a
            face, or (x, y, width, height) in pixels.
        crop_driving: the same for the driving video; None is "none" with a ``crop`` of "none", else "auto".
        face: with ``crop="auto"`` which face of the photo: its number from 0, left to right, or ``"all"``;
            None is the largest.
        paste_back: write the whole photo with the animated part in its place, else that part alone.
        audio: the driving video's sound goes to the result, where it has any.
        side_by_side: source, driving frame and result beside each other.
        start, duration: the part of the driving video to use, in seconds.
        best_frame: counted from ``start``, or ``"auto"`` for the one whose face is most like the photo's; see
            ``make_animation`` for it and the others.

    Raises:
        MediaError: a file cannot be read or written, or the video has no frames.
        MissingExtraError: the engine is not installed.
        InputError: an option cannot be used, or no face was found.
    """
    if side_by_side and paste_back:
        raise InputError("side_by_side shows the animated part alone; it does not go with paste_back")
    if face == "all" and not paste_back:
        raise InputError("face 'all' animates several parts of one picture; it needs paste_back")
    picture = read_image(photo)
    size = (generator.frame_shape or picture.shape)[:2]
    squares = photo_squares(picture, crop, face, str(photo), min(size))
    parts = video_squares(
        driving, crop_driving or ("none" if crop == "none" else "auto"), start=start, duration=duration
    )
    sources = [picture if crop == "none" else cut(picture, square, size) for square in squares]
    animators = [
        Animator(
            source,
            generator,
            kp_detector,
            relative=relative,
            adapt_movement_scale=adapt_movement_scale,
            batch_size=batch_size,
            precision=precision,
            engine=engine,
        )
        for source in sources
    ]
    pastes = [
        Paste(picture, square, animator.at_rest(), align_corners=generator.align_corners)
        for square, animator in zip(squares, animators, strict=True)
        if paste_back
    ]
    seen = partial(_driving_frames, driving, parts, size, start, duration)
    references = [
        _reference(animator, source, seen, best_frame)
        for animator, source in zip(animators, sources, strict=True)
    ]

    def finish(made: tuple[Rendered, ...], panel: np.ndarray | None) -> np.ndarray:
        if pastes:
            return _pasted(picture, pastes, made)
        shown = to_pictures(made[0].prediction)[0]
        return to_uint8(shown) if panel is None else _beside(animators[0], panel, shown)

    count = 0
    with seen() as (reader, frames), ahead(_at_size(frame, size) for frame in frames) as ready:
        writer = VideoWriter(
            result,
            fps=reader.fps,
            audio=driving if audio and reader.has_audio else None,
            audio_start=start,
            audio_duration=duration,
            weights_hash=generator.weights_hash,
        )
        with writer, Behind(lambda given: writer.write(finish(*given))) as written:
            first, *others = itertools.tee(ready, len(animators) + side_by_side)
            panels: Iterable[np.ndarray | None] = others.pop() if side_by_side else itertools.repeat(None)
            steps = [
                animator.steps(copy, reference)
                for animator, copy, reference in zip(animators, (first, *others), references, strict=True)
            ]
            bar = _bar(zip(*steps, strict=True), reader.num_frames, progress)
            for given in zip(bar, panels, strict=False):
                written.put(given)
                count += 1
    return count


def _at_size(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resized here, beside the networks, where it is of another size than theirs."""
    return frame if frame.shape[:2] == size else to_pictures(to_tensor(frame, size, torch.device("cpu")))[0]


@contextmanager
def _driving_frames(
    driving: str | os.PathLike[str],
    parts: list[Rect],
    size: tuple[int, int],
    start: float,
    duration: float | None,
) -> Iterator[tuple[VideoReader, Iterator[np.ndarray]]]:
    """The driving video, open, and what the networks see of its frames."""
    with VideoReader(driving, start=start, duration=duration) as reader:
        whole = parts == [Rect(0.0, 0.0, float(reader.size[1]), float(reader.size[0]))]
        yield reader, iter(reader) if whole else _cut_out(reader, parts, size)


def _reference(
    animator: Animator,
    source: np.ndarray,
    seen: Callable[[], AbstractContextManager[tuple[VideoReader, Iterator[np.ndarray]]]],
    best_frame: int | str | None,
) -> Keypoints | None:
    """The key points of the chosen driving frame, for which the video is read up to it, frame by frame."""
    if best_frame is None:
        return None
    if isinstance(best_frame, str):
        if best_frame != "auto":
            raise InputError(f"best_frame is {best_frame!r}; expected a frame's number or 'auto'")
        with seen() as (_, frames):
            best_frame = find_best_frame(source, frames)
    with seen() as (_, frames):
        return animator.reference(_frame_at(frames, best_frame))


def _frame_at(frames: Iterator[np.ndarray], number: int) -> np.ndarray:
    if number < 0:
        raise InputError(f"best_frame is {number}; expected a frame's number, counted from 0")
    count = 0
    for frame in frames:
        if count == number:
            return frame
        count += 1
    raise InputError(f"best_frame is {number}, but the driving video has only {count} frames")


def _cut_out(frames: Iterable[np.ndarray], parts: list[Rect], size: tuple[int, int]) -> Iterator[np.ndarray]:
    """What the networks see of each frame; the last part holds for all that follow."""
    for number, frame in enumerate(frames):
        yield cut(frame, parts[min(number, len(parts) - 1)], size)


def _pasted(photo: np.ndarray, pastes: list[Paste], steps: tuple[Rendered, ...]) -> np.ndarray:
    """The photo with all animated parts in their places."""
    frame = photo.copy()
    for paste, step in zip(pastes, steps, strict=True):
        paste(frame, *step)
    return frame


def _with_reference(
    animator: Animator, frames: Iterator[np.ndarray], best_frame: int | None
) -> tuple[Iterable[np.ndarray], Keypoints | None]:
    """The frames again, and the key points of the chosen one; the frames before it wait in memory."""
    if best_frame is None:
        return frames, None
    first: list[np.ndarray] = []

    def kept() -> Iterator[np.ndarray]:
        for frame in frames:
            first.append(frame)
            yield frame

    reference = animator.reference(_frame_at(kept(), best_frame))
    return itertools.chain(first, frames), reference


def _beside(animator: Animator, frame: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Source, driving frame and result in a row, uint8."""
    driving = to_tensor(frame, animator.size, torch.device("cpu"))
    panels = [to_pictures(animator.source)[0], to_pictures(driving)[0], picture]
    return to_uint8(np.concatenate(panels, axis=1))


def _bar(frames: Iterable[Any], total: int | None, progress: bool) -> Iterable[Any]:
    # disable=None: shown where the output is a terminal
    return tqdm(frames, total=total, unit="frame", disable=None if progress else True)
