"""A photo, whole or in parts, that is moved: from its pixels to finished frames."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fomm.animation.animator import Animator, Step
from fomm.animation.driving import DrivingVideo, shaped
from fomm.animation.frames import to_bytes, to_uint8
from fomm.animation.framing import Crop, cut, photo_squares
from fomm.animation.paste import Paste
from fomm.engines.gpu import SideStream, explain_out_of_memory
from fomm.errors import InputError
from fomm.face.crop import Rect
from fomm.media.images import most_pixels
from fomm.model import Keypoints, KPDetector, OcclusionAwareGenerator

Size = int | tuple[int, int]  # of the longer side, or height and width; pixels


class MovedPhoto:
    """A photo with an ``Animator`` for each part of it that moves.

    Args:
        picture: HxWx3 uint8.
        name: of the picture, for errors.
        crop, face, paste_back, side_by_side, size: see ``animate.animate_file``.
        generator, kp_detector, moving: see ``Animator``.

    Raises:
        InputError: an option cannot be used, or no face was found.

    Attributes:
        seen: (height, width) of the networks' pictures.
        sources: the parts that move, HxWx3 uint8.
    """

    def __init__(
        self,
        picture: np.ndarray,
        name: str,
        generator: OcclusionAwareGenerator,
        kp_detector: KPDetector,
        *,
        crop: Crop,
        face: int | str | None,
        paste_back: bool | None,
        side_by_side: bool = False,
        size: Size | None = None,
        **moving: Any,
    ) -> None:
        if paste_back is None:
            paste_back = crop != "none" and not side_by_side
        if side_by_side and paste_back:
            raise InputError("side_by_side shows the animated part alone; it does not go with paste_back")
        if face == "all" and not paste_back:
            raise InputError("face 'all' animates several parts of one picture; it needs paste_back")
        self.picture = picture
        self.seen: tuple[int, int] = (generator.frame_shape or self.picture.shape)[:2]
        parts = photo_squares(self.picture, crop, face, name, min(self.seen))
        if crop != "none":
            parts = [shaped(part, self.seen) for part in parts]
        self.size = scaled(self.picture.shape[:2] if paste_back else self.seen, size)
        self.sources = [
            self.picture if crop == "none" else cut(self.picture, part, self.seen) for part in parts
        ]
        self.animators = [Animator(source, generator, kp_detector, **moving) for source in self.sources]
        self.device = self.animators[0].device
        with explain_out_of_memory(self.device, self.picture.shape[:2]):
            self.pastes = [
                Paste(self.picture, part, animator.at_rest())
                for part, animator in zip(parts, self.animators, strict=True)
                if paste_back
            ]
        self.beside = SideStream(self.device)
        self.still = to_bytes(self.animators[0].source)[0] if side_by_side else None

    def at_rest(self) -> np.ndarray:
        """The frame while nothing moves, HxWx3 uint8."""
        if self.pastes:
            return resized(self.picture, self.size).copy()
        return resized(to_bytes(self.animators[0].at_rest())[0], self.size)

    def references(self, video: DrivingVideo, best_frame: int | str | None) -> list[Keypoints | None]:
        """Where relative motion starts, for each part; the video is read up to that frame."""
        if best_frame is None:
            return [None] * len(self.animators)
        return [
            animator.reference(video.best_frame(source, best_frame))
            for animator, source in zip(self.animators, self.sources, strict=True)
        ]

    def steps(
        self, frames: Iterator[np.ndarray], references: Sequence[Keypoints | None]
    ) -> Iterator[tuple[np.ndarray, tuple[Step, ...]]]:
        """Each driving frame, and every part moved by it. ``references``: for each part, see ``Animator``."""
        frames, *copies = itertools.tee(frames, len(self.animators) + 1)
        moved = [
            animator.steps(copy, reference)
            for animator, copy, reference in zip(self.animators, copies, references, strict=True)
        ]
        # the networks draw first: they take whole batches
        for made in zip(*moved, strict=True):
            yield next(frames), made

    def finished(self, driving: np.ndarray, steps: tuple[Step, ...]) -> np.ndarray:
        """One step of each part as the frame that is written, HxWx3 uint8; for a thread of its own."""
        with (
            self.beside.after(step.made for step in steps),
            explain_out_of_memory(self.device, self.picture.shape[:2]),
        ):
            if self.pastes:
                frame = self.picture.copy()
                for paste, step in zip(self.pastes, steps, strict=True):
                    paste(frame, *step.rendered)
                return resized(frame, self.size)
            panels = [to_bytes(steps[0].rendered.prediction)[0]]
        if self.still is not None:
            panels = [self.still, to_uint8(driving), *panels]
        return np.concatenate([resized(panel, self.size) for panel in panels], axis=1)


def scaled(natural: tuple[int, int], size: Size | None) -> tuple[int, int]:
    """(height, width) of a result: as asked, or of ``natural``'s shape with a longer side of ``size``.

    Raises:
        InputError: it would have no pixels, or more than a picture may have.
    """
    if size is None:
        return natural
    if isinstance(size, int):
        height, width = (max(min(1, size), round(side * size / max(natural))) for side in natural)
    else:
        height, width = size
    if min(height, width) < 1 or height * width > most_pixels():
        raise InputError(
            f"size is {width}x{height} (width x height); expected pixels, at most {most_pixels()} in all"
        )
    return height, width


def resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """HxWx3 uint8 at another size (height, width), without aliasing."""
    height, width = picture.shape[:2]
    return picture if (height, width) == size else cut(picture, Rect(0, 0, width, height), size)
