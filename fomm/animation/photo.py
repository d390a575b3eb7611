"""A photo that moves: from its pixels and the driving frames to the frames that are written."""

import itertools
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from fomm.animation.animator import Animator
from fomm.animation.driving import DrivingVideo, grow_to_shape
from fomm.animation.frames import to_bytes, to_tensor, to_uint8
from fomm.animation.framing import photo_squares
from fomm.animation.options import EXACT, Compute, Framing, Motion, Size
from fomm.animation.painter import AnimatedFrames
from fomm.animation.paste import Paste, move_alpha
from fomm.animation.presence import ALWAYS, Presence
from fomm.animation.template import Template
from fomm.animation.threads import prefetch
from fomm.engines.gpu import SideStream, explain_out_of_memory
from fomm.errors import InputError
from fomm.face.crop import Rect
from fomm.media.images import fill_transparent, get_max_pixels
from fomm.media.resize import cut_out, resize
from fomm.model import Detector, Generator, Keypoints
from fomm.model.geometry import enlarge_deformation

ROOM = (0.2, 0.12)  # of a square's side: around the head that moves, and more above it, for hair and hats


class MovedPhoto:
    """A photo, and an ``Animator`` for each part of it that moves.

    Args:
        picture: HxWx3 uint8, or HxWx4 with alpha, which moves along.
        name: of the picture, for errors.
        generator, kp_detector, motion, compute: see ``Animator``.
        framing: which part moves, and what the result shows.

    Raises:
        InputError: an option cannot be used, or no face was found.

    Attributes:
        picture: as given; under transparent pixels the colours around them.
        network_size: (height, width) of the networks' pictures.
        sources: the parts that move, as the networks see them, HxWx3 uint8.
    """

    def __init__(
        self,
        picture: np.ndarray,
        name: str,
        generator: Generator,
        kp_detector: Detector,
        *,
        framing: Framing = Framing(),
        motion: Motion = Motion(),
        compute: Compute = EXACT,
    ) -> None:
        self.picture = picture if picture.shape[2] == 3 else _take_transparent(picture, name)
        self.network_size: tuple[int, int] = (generator.frame_shape or self.picture.shape)[:2]
        watched = motion.uses_mesh(labelled=kp_detector.openings is not None)
        motion.check_avd(has_avd=kp_detector.avd_network is not None)
        colours = np.ascontiguousarray(self.picture[..., :3])
        parts = photo_squares(
            colours,
            framing.crop,
            framing.face,
            name,
            min(self.network_size),
            room=ROOM if watched else (0.0, 0.0),
        )
        if framing.crop != "none":
            parts = [grow_to_shape(part, self.network_size) for part in parts]
        natural: tuple[int, int] = self.picture.shape[:2] if framing.pastes_back else self.network_size
        self.size = choose_size(natural, framing.size)
        if self.size[0] > natural[0] or self.size[1] > natural[1]:
            what = "the photo has" if framing.pastes_back else "the networks paint"
            warnings.warn(
                f"size is {self.size[1]}x{self.size[0]} pixels (width x height), more than the "
                f"{natural[1]}x{natural[0]} that {what}; enlarging adds no detail",
                stacklevel=3,
            )
        self.sources = [
            colours if framing.crop == "none" else cut_out(colours, part, self.network_size) for part in parts
        ]
        self.animators = [
            Animator(source, generator, kp_detector, motion=motion, compute=compute)
            for source in self.sources
        ]
        self.device = self.animators[0].device
        self.beside = SideStream(self.device)
        self._parts = parts if framing.pastes_back else []
        self._alpha: Tensor | None = (
            None  # 1x1xhxw in [0, 1], of the part that moves, if that alone is written
        )
        if self.picture.shape[2] == 4 and not framing.pastes_back:
            part = (
                self.picture if framing.crop == "none" else cut_out(self.picture, parts[0], self.network_size)
            )
            self._alpha = to_tensor(part[..., 3:], self.network_size, self.device)
        source = self._add_alpha(self.animators[0].painter.source)
        self.still = to_bytes(source)[0] if framing.side_by_side else None
        if self.is_watching:
            self._cut_pastes()
        else:
            self.forget_faces()  # then no part of the photo is moved by a mesh

    def forget_faces(self) -> None:
        """From now on let the networks' own key points move the photo."""
        for animator in self.animators:
            animator.forget_face()
        self._cut_pastes()

    def scale_to(self, size: tuple[int, int]) -> None:
        """Scale the whole photo to ``size`` (height, width), and put the parts into that one from now on.

        The networks go on to see the parts of the photo that was given.
        """
        down, across = (new / old for new, old in zip(size, self.picture.shape, strict=False))
        self._parts = [
            Rect(part.x0 * across, part.y0 * down, part.x1 * across, part.y1 * down) for part in self._parts
        ]
        self.picture, self.size = resize(self.picture, size), size
        self._cut_pastes()

    def _cut_pastes(self) -> None:
        with explain_out_of_memory(self.device, self.picture.shape[:2]):
            self.pastes = [
                Paste(self.picture, part, animator.painter.at_rest())
                for part, animator in zip(self._parts, self.animators, strict=bool(self._parts))
            ]

    def at_rest(self) -> np.ndarray:
        """Return the frame that is written while nothing moves, HxWx3 uint8, with alpha HxWx4."""
        if self.pastes:
            return resize(self.picture, self.size).copy()
        return resize(to_bytes(self._add_alpha(self.animators[0].painter.at_rest()))[0], self.size)

    def _add_alpha(self, painted: Tensor, deformation: Tensor | None = None) -> Tensor:
        """Return what the networks painted, 1x3xhxw, as 1x4xhxw with its alpha where the picture has some."""
        if self._alpha is None:
            return painted
        alpha = self._alpha
        if deformation is not None:
            alpha = move_alpha(alpha, enlarge_deformation(deformation, *self.network_size))
        return torch.cat((painted, alpha), 1)

    @property
    def is_watching(self) -> bool:
        """Whether the driver's mesh moves the photo; otherwise the networks' key points do."""
        return all(animator.face is not None for animator in self.animators)

    def find_references(self, video: DrivingVideo, best_frame: int | str | None) -> list[Keypoints | None]:
        """Return the key points that relative motion starts from, for each part; None is the first frame's.

        The video is read up to that frame, or to its end with a ``best_frame`` of ``"auto"``.
        """
        if best_frame is None and not video.presence.is_seen(0):
            best_frame = video.presence.gaps[0][1]  # the first that shows a face
        if best_frame is None:
            return [None] * len(self.animators)
        return [
            animator.find_reference(video.take_frame(source, best_frame))
            for animator, source in zip(self.animators, self.sources, strict=True)
        ]

    @contextmanager
    def follow(
        self, video: DrivingVideo | Sequence[Template], best_frame: int | str | None
    ) -> Iterator[Iterator[tuple[np.ndarray | None, tuple[AnimatedFrames, ...]]]]:
        """Open the driving video, or take templates; give what ``finish_frame`` takes for each frame.

        There is a template for each part, or one for all.

        The driving frames themselves are None where nothing needs them.
        """
        if not isinstance(video, DrivingVideo):
            drivers = video if len(video) > 1 else [video[0]] * len(self.animators)
            yield ((None, parts) for parts in self.animate_by_motion(drivers))
            return
        if video.motion is None:
            references = self.find_references(video, best_frame)
            with video.frames() as frames, prefetch(map(video.at_size, frames)) as ready:
                yield self.animate(ready, references, video.presence)
            return
        moved = self.animate_by_motion([Template(video.motion, video.presence)] * len(self.animators))
        if self.still is None:
            yield ((None, parts) for parts in moved)
            return
        with video.frames() as frames, prefetch(map(video.at_size, frames)) as ready:
            yield zip(ready, moved, strict=True)

    def animate_by_motion(self, drivers: Sequence[Template]) -> Iterator[tuple[AnimatedFrames, ...]]:
        """Yield what the networks make of every part in each frame of its driver's motion."""
        moved = [
            animator.render_motion(
                driver.motion, animator.find_start(driver.motion, driver.presence), driver.presence
            )
            for animator, driver in zip(self.animators, drivers, strict=True)
        ]
        yield from zip(*moved, strict=True)

    def animate(
        self,
        frames: Iterator[np.ndarray],
        references: Sequence[Keypoints | None],
        presence: Presence = ALWAYS,
    ) -> Iterator[tuple[np.ndarray, tuple[AnimatedFrames, ...]]]:
        """Yield each driving frame with what the networks make of every part by it, one frame each.

        Args:
            frames: HxWx3, uint8 or floats in [0, 1].
            references: for each part, see ``Animator``.
            presence: when a face is seen.
        """
        frames, *copies = itertools.tee(frames, len(self.animators) + 1)
        moved = [
            animator.render(copy, reference, presence)
            for animator, copy, reference in zip(self.animators, copies, references, strict=True)
        ]
        # the networks take whole batches: they draw before the frame itself is taken
        for made in zip(*moved, strict=True):
            yield next(frames), made

    def show(self, points: Sequence[Keypoints]) -> np.ndarray:
        """Return the frame that is written, of the key points of each part, one frame each.

        It is HxWx3 uint8, or HxWx4 where the picture has alpha.
        """
        pairs = zip(self.animators, points, strict=True)
        return self.finish_frame(None, tuple(next(animator.painter.paint(p)) for animator, p in pairs))

    def finish_frame(self, driving: np.ndarray | None, parts: tuple[AnimatedFrames, ...]) -> np.ndarray:
        """Return the frame that is written, of one driving frame and the parts moved by it.

        It is HxWx3 uint8, or HxWx4 where the picture has alpha. It may be made in another thread than
        ``animate`` runs in.
        """
        with (
            self.beside.after(part.done for part in parts),
            explain_out_of_memory(self.device, self.picture.shape[:2]),
        ):
            if self.pastes:
                frame = self.picture.copy()
                for paste, part in zip(self.pastes, parts, strict=True):
                    paste(frame, *part.rendered)
                return resize(frame, self.size)
            prediction, deformation, _ = parts[0].rendered
            panels = [to_bytes(self._add_alpha(prediction, deformation))[0]]
        if self.still is not None and driving is not None:
            shown = to_uint8(driving)
            if self._alpha is not None:
                shown = np.dstack((shown, np.full(shown.shape[:2], 255, np.uint8)))
            panels = [self.still, shown, *panels]
        return np.concatenate([resize(panel, self.size) for panel in panels], axis=1)


def _take_transparent(picture: np.ndarray, name: str) -> np.ndarray:
    """Return a picture with alpha, HxWx4 uint8, whose transparent pixels have colours that do no harm."""
    if not picture[..., 3].any():
        raise InputError(
            f"{name} is transparent everywhere, so no face is seen; give a picture that shows one"
        )
    return fill_transparent(picture)


def choose_size(natural: tuple[int, int], size: Size | None) -> tuple[int, int]:
    """Return (height, width) of a result: as asked, or of ``natural``'s shape with a longer side of ``size``.

    Raises:
        InputError: it would have no pixels, or more than a picture may have.
    """
    if size is None:
        return natural
    if isinstance(size, int):
        height, width = (max(min(1, size), round(side * size / max(natural))) for side in natural)
    else:
        height, width = size
    if min(height, width) < 1 or height * width > get_max_pixels():
        raise InputError(
            f"size is {width}x{height} (width x height); expected pixels, at most {get_max_pixels()} in all"
        )
    return height, width
