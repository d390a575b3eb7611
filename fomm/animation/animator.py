"""One picture that moves, by the driver's mesh or by the networks' own key points."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fomm.animation.frames import check_picture, iterate_frames, to_bytes, to_pictures, to_uint8
from fomm.animation.motion import FaceMotion, choose_reference, neutral_face, open_lids
from fomm.animation.options import EXACT, Compute, Edit, Motion
from fomm.animation.painter import AnimatedFrames, Painter
from fomm.animation.photo_face import PhotoFace, find_photo_face, free_inside, measure_rest
from fomm.animation.presence import ALWAYS, Presence
from fomm.animation.watch import watch_frames
from fomm.engines.gpu import SideStream, explain_out_of_memory
from fomm.errors import InputError
from fomm.model import (
    Detector,
    Generator,
    Keypoints,
    movement_scale,
    open_like,
    relative_motion,
)


class Animator:
    """One source picture, ready to be moved by any number of frames.

    The source is encoded once. Memory does not grow with the number of frames. The frames carry no mark;
    ``mark`` adds one.

    Args:
        source_image: HxWx3, uint8 or floats in [0, 1].
        generator, kp_detector: as ``load_checkpoints`` gives them, on one device, in eval mode.
        motion: how the driving frames move it. Where the networks' key points move it, ``best_frame`` is not
            looked at: give what ``find_reference`` returns to ``animate``.
        compute: what computes. The numbers are exact by default; ``Compute()`` chooses the fastest. What was
            chosen stands in ``engine`` and ``precision``.

    Attributes:
        face: the source's face, if the driver's mesh moves it; None: the networks' key points do.

    Raises:
        InputError: the picture cannot be used, the device's memory does not even hold one frame, or there is
            no such engine or precision, or not together; or the mesh was asked for and cannot be used.
        MissingExtraError: the engine is not installed.
    """

    def __init__(
        self,
        source_image: Any,
        generator: Generator,
        kp_detector: Detector,
        *,
        motion: Motion = Motion(),
        compute: Compute = EXACT,
    ) -> None:
        self.motion = motion
        watched = motion.uses_mesh(labelled=kp_detector.openings is not None)
        self.openings = kp_detector.openings if motion.relative and motion.openings else None
        motion.check_avd(has_avd=kp_detector.avd_network is not None)
        self.painter = Painter(source_image, generator, kp_detector, compute)
        self.avd_network = kp_detector.avd_network if motion.avd else None
        self.engine, self.precision = self.painter.engine, self.painter.precision
        self._detected = self.painter.encoded
        self.face = self._find_face() if watched else None

    @property
    def device(self) -> torch.device:
        """The device that the networks are on."""
        return self.painter.device

    @property
    def size(self) -> tuple[int, int]:
        """The networks' size: (height, width) of the animated frames."""
        return self.painter.size

    @property
    def keypoints(self) -> Keypoints:
        """The source's key points, at which it rests."""
        return self.painter.encoded.keypoints

    def _find_face(self) -> PhotoFace | None:
        """Find the source's face, and let its mesh tell the key points; None and a warning without a face."""
        picture = to_bytes(self.painter.source)[0]
        found = find_photo_face(picture)
        if found is None:
            if self.motion.needs_mesh:
                raise InputError(
                    "no face was found in the part of the photo that moves, and the driver 'mesh' needs one; "
                    "take the driver 'keypoints'"
                )
            warnings.warn(
                "no face was found in the part of the photo that moves; "
                "it is moved by the networks' own key points",
                stacklevel=4,
            )
            return None
        rest = measure_rest(picture, found)
        face = PhotoFace(rest, self._detected.keypoints.map(torch.Tensor.cpu))
        self.painter.encoded = self._detected._replace(
            keypoints=self._to_device(face.keypoints), freedom=free_inside(self._detected.small)
        )
        face.calibrate(lambda moved: self.painter.pictures(self._to_device(moved)), found)
        return face

    def forget_face(self) -> None:
        """From now on let the networks' own key points move the source."""
        self.face, self.painter.encoded = None, self._detected

    def _to_device(self, keypoints: Keypoints) -> Keypoints:
        return keypoints.map(lambda t: t.to(self.device))

    def find_reference(self, frame: Any) -> Keypoints:
        """Return the key points of a driving frame, for relative motion to start from."""
        with explain_out_of_memory(self.device, self.size):
            return self.painter.detect([check_picture(frame, "the reference frame")])

    def animate(self, driving_video: Any, reference: Keypoints | None = None) -> Iterator[np.ndarray]:
        """Yield an animated frame for each driving frame, HxWx3 float32 in [0, 1] at the network's size.

        Args:
            driving_video: an array TxHxWx3, a list or an iterator of frames HxWx3, uint8 or floats in [0, 1].
                Frames of another size than the network's are resized to it.
                Where the driver's mesh moves the source, all frames are looked at before the first is given.
            reference: where relative motion starts, see ``find_reference``; by default the first frame. Where
                the driver's mesh moves the source, ``Motion.best_frame`` says it.

        Raises:
            InputError: a frame cannot be used; those of the batches before it have been given. Or no face was
                found where one is needed.
        """
        yield from self._finish(self._make_batches(driving_video, reference))

    def animate_tensor(self, driving_video: Any, reference: Keypoints | None = None) -> Tensor:
        """Return the frames of ``animate`` as one tensor, TxHxWx3 float32 in [0, 1], on the networks' device.

        Args and errors are those of ``animate``. A video without frames is an InputError.
        """
        batches = [batch.rendered.prediction for batch in self._make_batches(driving_video, reference)]
        if not batches:
            raise InputError("driving_video has no frames; expected at least one")
        return torch.cat(batches).permute(0, 2, 3, 1)

    def _make_batches(self, driving_video: Any, reference: Keypoints | None) -> Iterator[AnimatedFrames]:
        if self.face is None:
            return self._render(driving_video, reference)
        if reference is not None:
            raise InputError("the driver's mesh moves the source; give Motion a best_frame, no key points")
        motion, presence = self._watch(list(iterate_frames(driving_video)))
        return self._render_motion(motion, self.find_start(motion, presence), presence)

    def animate_motion(self, motion: FaceMotion, presence: Presence = ALWAYS) -> Iterator[np.ndarray]:
        """Yield what ``animate`` does, for the motion of a face and when it is seen, measured before."""
        yield from self._finish(self._render_motion(motion, self.find_start(motion, presence), presence))

    def _finish(self, batches: Iterable[AnimatedFrames]) -> Iterator[np.ndarray]:
        """Yield the picture of each frame, HxWx3 float32 in [0, 1]."""
        beside = SideStream(self.device)
        for batch in batches:
            with beside.after([batch.done]):
                pictures = to_pictures(batch.rendered.prediction)
            yield from pictures

    def render(
        self, driving_video: Any, reference: Keypoints | None = None, presence: Presence = ALWAYS
    ) -> Iterator[AnimatedFrames]:
        """Yield what ``animate`` does, but each frame as tensors, with its motion.

        While ``presence`` says that no face is seen, the picture holds still and eases to rest. If the first
        frame shows none, a ``reference`` is needed.
        """
        for batch in self._render(driving_video, reference, presence):
            yield from batch.frames()

    def _render(
        self, driving_video: Any, reference: Keypoints | None, presence: Presence = ALWAYS
    ) -> Iterator[AnimatedFrames]:
        """Yield what ``render`` does, in batches."""
        start, held = (None if reference is None else self._start(reference)), reference

        def locate(numbered: Sequence[tuple[int, np.ndarray]]) -> Keypoints:
            nonlocal start, held
            numbers = [number for number, _ in numbered]
            kp_driving = self.painter.detect([frame for _, frame in numbered])
            start = start or self._start(kp_driving.map(lambda t: t[:1]))
            kp_driving = _hold(kp_driving, held or start.reference, [presence.is_seen(n) for n in numbers])
            held = kp_driving.map(lambda t: t[-1:])
            return self._ease(
                self._moved(kp_driving, start), [presence.strength(number) for number in numbers]
            )

        return self.painter.in_batches(enumerate(iterate_frames(driving_video)), locate)

    def _watch(self, frames: Sequence[np.ndarray]) -> tuple[FaceMotion, Presence]:
        watched = watch_frames([to_uint8(frame) for frame in frames])
        if watched is None:
            raise InputError(
                f"hardly any face was found in the {len(frames)} driving frames, and the driver 'mesh' needs "
                "one; take the driver 'keypoints'"
            )
        return watched

    def find_start(self, motion: FaceMotion, presence: Presence) -> FaceMotion:
        """Return the frame of a driver's motion in which the source is at rest, with the lids open.

        It is ``Motion.best_frame``, see there. Raises InputError where there is no such frame.
        """
        assert self.face is not None
        number = choose_reference(motion, self.face.rest, self.motion.best_frame, presence)
        seen = presence.seen_among(len(motion))
        if self.motion.best_frame is None and number != seen[0]:
            warnings.warn(
                "the driving face is turned away from the photo's pose at first; motion starts from frame "
                f"{number}, which is most like the photo (best_frame {seen[0]} is the first)",
                stacklevel=4,
            )
        return open_lids(motion.take(number), motion.take(seen))

    def render_motion(
        self, motion: FaceMotion, reference: FaceMotion, presence: Presence = ALWAYS
    ) -> Iterator[AnimatedFrames]:
        """Yield the source moved as another face moves, frame by frame; only where ``face`` was found.

        Args:
            motion: of the driver's face.
            reference: one frame of it, where the source is at rest.
            presence: while it says that no face is seen, the picture eases to rest.
        """
        for batch in self._render_motion(motion, reference, presence):
            yield from batch.frames()

    def _render_motion(
        self, motion: FaceMotion, reference: FaceMotion, presence: Presence
    ) -> Iterator[AnimatedFrames]:
        """Yield what ``render_motion`` does, in batches."""
        moved = self.move_by_motion(motion, reference)
        return self.painter.paint(
            self._ease(moved, [presence.strength(number) for number in range(len(motion))])
        )

    def move_by_motion(self, motion: FaceMotion, reference: FaceMotion) -> Keypoints:
        """Return where the source's key points go in each frame of a motion, see ``render_motion``."""
        assert self.face is not None
        return self._to_device(self.face.move(motion, reference, self.motion))

    def edit(self, edit: Edit, like: FaceMotion | None = None, *, relative: bool = True) -> Keypoints:
        """Return where the source's key points go when its face is changed; only where ``face`` was found.

        Args:
            edit: what is changed.
            like: another face, one frame, whose pose and expression the source takes first.
            relative: turn the source's head as the other one is turned away from the camera; otherwise it
                takes its very pose.
        """
        assert self.face is not None
        if like is None:
            rest = self.face.rest
            return self._to_device(self.face.move(rest, rest, Motion(parts=(), edit=edit)))
        neutral = replace(neutral_face(), centre=like.centre, size=like.size)
        if not relative:
            neutral = replace(neutral, rotation=self.face.rest.rotation)
        return self._to_device(self.face.move(like, neutral, Motion(edit=edit)))

    def move_by_frame(self, frame: np.ndarray, reference: Keypoints) -> Keypoints:
        """Return where the source's key points go by those that the networks find in a driving frame.

        Args:
            frame: HxWx3, uint8 or floats in [0, 1].
            reference: where relative motion starts, see ``find_reference``.
        """
        detected = self.find_reference(frame)
        with torch.inference_mode():
            return self._moved(detected, self._start(reference))

    def _start(self, reference: Keypoints) -> "_Start":
        """Return where relative motion starts; once for all frames, since a GPU has to stop for the scale."""
        scaled = self.motion.relative and self.motion.adapt_movement_scale and not self.motion.avd
        return _Start(reference, movement_scale(self.keypoints, reference) if scaled else 1.0)

    def _ease(self, moved: Keypoints, strengths: list[float]) -> Keypoints:
        """Return key points between those of the source, at a strength of 0, and ``moved``, at 1."""
        if min(strengths) == 1:
            return moved
        return blend(self.keypoints, moved, moved.value.new_tensor(strengths))

    def _moved(self, kp_driving: Keypoints, start: "_Start") -> Keypoints:
        kp_source = self.keypoints
        if self.avd_network is not None:
            with torch.inference_mode():
                return self.avd_network(kp_source, kp_driving)
        if not self.motion.relative:
            return kp_driving
        moved = relative_motion(kp_source, kp_driving, *start)
        if self.openings is None:
            return moved
        return open_like(moved, kp_source, kp_driving, start.reference, self.openings)


def blend(start: Keypoints, end: Keypoints, shares: Tensor) -> Keypoints:
    """Return key points between those of ``start``, at a share of 0, and ``end``, at 1; ``shares``: B."""
    return start.map(lambda one, other: torch.lerp(one, other, shares.view(-1, *[1] * (one.ndim - 1))), end)


def _hold(kp_driving: Keypoints, held: Keypoints, seen: list[bool]) -> Keypoints:
    """Return key points of B frames; a frame that shows no face gets those of the last one that does.

    Args:
        kp_driving: of B frames.
        held: of one frame, the last before them that shows the face.
        seen: which of the B frames show it.
    """
    if all(seen):
        return kp_driving
    last, rows = 0, []  # row 0 is ``held``
    for row, shows in enumerate(seen, 1):
        last = row if shows else last
        rows.append(last)
    return held.map(lambda one, others: torch.cat((one, others))[rows], kp_driving)


class _Start(NamedTuple):
    """Where relative motion starts."""

    reference: Keypoints
    scale: float  # of the movement
