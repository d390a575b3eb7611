"""One picture that moves: the source is encoded once, the driving frames are taken in batches."""

import itertools
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fomm.animation.frames import (
    check_picture,
    iterate_frames,
    to_batch,
    to_bytes,
    to_pictures,
    to_tensor,
    to_uint8,
)
from fomm.animation.motion import FaceMotion, choose_reference, open_lids
from fomm.animation.options import EXACT, Compute, Motion
from fomm.animation.photo_face import PhotoFace, find_photo_face
from fomm.animation.presence import ALWAYS, Presence
from fomm.animation.watch import watch_frames
from fomm.checkpoint import choose_device
from fomm.engines import prepare_engine
from fomm.engines.gpu import (
    SideStream,
    default_batch,
    explain_out_of_memory,
    memory_error,
    record_event,
    start_next_first,
)
from fomm.engines.inference import Rendered
from fomm.errors import InputError
from fomm.model import (
    Keypoints,
    KPDetector,
    OcclusionAwareGenerator,
    movement_scale,
    open_like,
    relative_motion,
)
from fomm.model.sizes import nearest_size

STILL, FREE = 0.03, 0.16  # shares of a picture's side, from its border: nothing moves; everything does


class AnimatedFrames(NamedTuple):
    """What the networks make of some frames; a GPU may still be working on it."""

    rendered: Rendered
    done: torch.cuda.Event | None  # when the GPU has made it; None: it is made already

    def frame(self, index: int) -> "AnimatedFrames":
        """Return one of them, still with a batch's dimension in front."""
        return self._replace(rendered=self.rendered.frame(index))


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
        generator: OcclusionAwareGenerator,
        kp_detector: KPDetector,
        *,
        motion: Motion = Motion(),
        compute: Compute = EXACT,
    ) -> None:
        picture = check_picture(source_image, "source_image")
        if compute.device is not None:
            device = choose_device(False, compute.device)
            generator, kp_detector = generator.to(device), kp_detector.to(device)
        self.motion = motion
        self.openings = kp_detector.openings if motion.relative and motion.openings else None
        self.device = next(generator.parameters()).device
        # networks that were built by hand take the source's size
        height, width, _ = generator.frame_shape or picture.shape
        self.size = (height, width)
        _check_size(generator, kp_detector, self.size)
        self.batch_size = compute.batch_size or default_batch(self.device, self.size)
        with torch.inference_mode(), explain_out_of_memory(self.device, self.size):
            self.networks, self.engine, self.precision = prepare_engine(
                generator, kp_detector, self.size, engine=compute.engine, precision=compute.precision
            )
            self.source = to_tensor(picture, self.size, self.device)
            self.encoded = self.networks.encode(self.source)
        self.face = self._find_face() if is_watched(motion, kp_detector) else None

    def _find_face(self) -> PhotoFace | None:
        """Find the source's face, and let its mesh tell the key points; None and a warning without a face."""
        picture = to_bytes(self.source)[0]
        found = find_photo_face(picture)
        if found is None:
            if self.motion.driver is not None:
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
        face = PhotoFace(picture, found, self.encoded.keypoints.map(torch.Tensor.cpu))
        self.encoded = self.encoded._replace(
            keypoints=face.keypoints.map(lambda t: t.to(self.device)), freedom=free_inside(self.encoded.small)
        )

        def render(moved: Keypoints) -> np.ndarray:
            pictures = [to_bytes(step.rendered.prediction)[0] for step in self.render_points(moved)]
            return np.stack(pictures)

        face.calibrate(render)
        return face

    def find_reference(self, frame: Any) -> Keypoints:
        """Return the key points of a driving frame, for relative motion to start from."""
        picture = check_picture(frame, "the reference frame")
        with torch.inference_mode(), explain_out_of_memory(self.device, self.size):
            return self.networks.detect(to_tensor(picture, self.size, self.device))

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
        if self.face is None:
            yield from self._finish(self.render(driving_video, reference))
        elif reference is not None:
            raise InputError("the driver's mesh moves the source; give Motion a best_frame, no key points")
        else:
            yield from self.animate_motion(*self._watch(list(iterate_frames(driving_video))))

    def animate_motion(self, motion: FaceMotion, presence: Presence = ALWAYS) -> Iterator[np.ndarray]:
        """Yield what ``animate`` does, for the motion of a face and when it is seen, measured before."""
        yield from self._finish(self.render_motion(motion, self.find_start(motion, presence), presence))

    def _finish(self, steps: Iterable[AnimatedFrames]) -> Iterator[np.ndarray]:
        """Yield the picture of each step, HxWx3 float32 in [0, 1]."""
        beside = SideStream(self.device)
        for animated in steps:
            with beside.after([animated.done]):
                picture = to_pictures(animated.rendered.prediction)[0]
            yield picture

    def at_rest(self) -> Tensor:
        """Return the network's picture of the source while nothing moves, 1xCxHxW in [0, 1]."""
        with torch.inference_mode(), explain_out_of_memory(self.device, self.size):
            return self.networks.render(self.encoded, self.encoded.keypoints).prediction

    def render(
        self, driving_video: Any, reference: Keypoints | None = None, presence: Presence = ALWAYS
    ) -> Iterator[AnimatedFrames]:
        """Yield what ``animate`` does, but each frame as tensors, with its motion.

        While ``presence`` says that no face is seen, the picture holds still and eases to rest. If the first
        frame shows none, a ``reference`` is needed.
        """
        batches = self._batches(driving_video, reference, presence)
        if self.device.type == "cuda":
            batches = start_next_first(batches)
        for batch in batches:
            for index in range(len(batch.rendered.prediction)):
                yield batch.frame(index)

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
        seen = [number for number in range(len(motion)) if presence.is_seen(number)]
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
        moved = self.move_by_motion(motion, reference)
        yield from self.render_points(
            self._ease(moved, [presence.strength(number) for number in range(len(motion))])
        )

    def move_by_motion(self, motion: FaceMotion, reference: FaceMotion) -> Keypoints:
        """Return where the source's key points go in each frame of a motion, see ``render_motion``."""
        assert self.face is not None
        return self.face.move(motion, reference, self.motion.shift).map(lambda t: t.to(self.device))

    def move_by_frame(self, frame: np.ndarray, reference: Keypoints) -> Keypoints:
        """Return where the source's key points go by those that the networks find in a driving frame.

        Args:
            frame: HxWx3, uint8 or floats in [0, 1].
            reference: where relative motion starts, see ``find_reference``.
        """
        detected = self.find_reference(frame)
        with torch.inference_mode():
            return self._moved(detected, self._start(reference))

    def render_points(self, moved: Keypoints) -> Iterator[AnimatedFrames]:
        """Yield the source at the key points of T frames, frame by frame."""
        start, count = 0, len(moved.value)
        while start < count:
            batch = _take(moved, start, start + self.batch_size)
            rendered = None
            try:
                with torch.inference_mode():
                    rendered = self.networks.render(self.encoded, batch)
            except torch.OutOfMemoryError:
                pass
            if rendered is None:  # the error, which holds on to what filled the memory, is gone by here
                self._take_smaller_batches(min(self.batch_size, count - start))
                continue
            done = record_event(self.device)
            for index in range(len(rendered.prediction)):
                yield AnimatedFrames(rendered, done).frame(index)
            start += len(rendered.prediction)

    def _batches(
        self, driving_video: Any, reference: Keypoints | None, presence: Presence
    ) -> Iterator[AnimatedFrames]:
        frames, count = iterate_frames(driving_video), 0
        start, held = (None if reference is None else self._start(reference)), reference
        while chunk := list(itertools.islice(frames, self.batch_size)):
            while chunk:
                batch = chunk[: self.batch_size]
                try:
                    rendered, start, held = self._animate_batch(batch, start, held, presence, count)
                except torch.OutOfMemoryError:
                    rendered = None
                if rendered is None:  # the error, which holds on to what filled the memory, is gone by here
                    self._take_smaller_batches(len(batch))
                else:
                    yield AnimatedFrames(rendered, record_event(self.device))
                    chunk, count = chunk[len(batch) :], count + len(batch)

    def _start(self, reference: Keypoints) -> "_Start":
        """Return where relative motion starts; once for all frames, since a GPU has to stop for the scale."""
        scaled = self.motion.relative and self.motion.adapt_movement_scale
        return _Start(reference, movement_scale(self.encoded.keypoints, reference) if scaled else 1.0)

    def _animate_batch(
        self,
        frames: list[np.ndarray],
        start: "_Start | None",
        held: Keypoints | None,
        presence: Presence,
        first: int,
    ) -> tuple[Rendered, "_Start", Keypoints]:
        """Animate frames from number ``first`` on; return also where motion starts, and the last key points.

        ``held``: of the last frame before these that shows the driver's face.
        """
        numbers = range(first, first + len(frames))
        with torch.inference_mode():
            kp_driving = self.networks.detect(to_batch(frames, self.size, self.device))
            if start is None:
                start = self._start(kp_driving.map(lambda t: t[:1]))
            kp_driving = _hold(kp_driving, held or start.reference, [presence.is_seen(n) for n in numbers])
            moved = self._moved(kp_driving, start)
            moved = self._ease(moved, [presence.strength(number) for number in numbers])
            return self.networks.render(self.encoded, moved), start, kp_driving.map(lambda t: t[-1:])

    def _ease(self, moved: Keypoints, strengths: list[float]) -> Keypoints:
        """Return key points between those of the source, at a strength of 0, and ``moved``, at 1."""
        if min(strengths) == 1:
            return moved
        return blend(self.encoded.keypoints, moved, moved.value.new_tensor(strengths))

    def _moved(self, kp_driving: Keypoints, start: "_Start") -> Keypoints:
        if not self.motion.relative:
            return kp_driving
        kp_source = self.encoded.keypoints
        moved = relative_motion(kp_source, kp_driving, *start)
        if self.openings is None:
            return moved
        return open_like(moved, kp_source, kp_driving, start.reference, self.openings)

    def _take_smaller_batches(self, too_many: int) -> None:
        if too_many == 1:
            raise memory_error(self.device, self.size)
        self.batch_size = too_many // 2
        warnings.warn(
            f"the memory of {self.device} does not hold {too_many} frames at once; "
            f"going on with {self.batch_size}",
            stacklevel=4,
        )
        if self.device.type == "cuda":
            from fomm.engines.recording import RecordedNetworks

            assert isinstance(self.networks, RecordedNetworks)
            self.networks.forget()
            torch.cuda.empty_cache()


def _take(keypoints: Keypoints, start: int, stop: int) -> Keypoints:
    return keypoints.map(lambda t: t[start:stop])


def blend(start: Keypoints, end: Keypoints, shares: Tensor) -> Keypoints:
    """Return key points between those of ``start``, at a share of 0, and ``end``, at 1; ``shares``: B."""
    value = torch.lerp(start.value, end.value, shares[:, None, None])
    if start.jacobian is None or end.jacobian is None:
        return Keypoints(value)
    return Keypoints(value, torch.lerp(start.jacobian, end.jacobian, shares[:, None, None, None]))


def is_watched(motion: Motion, kp_detector: KPDetector) -> bool:
    """Return whether the driver's mesh moves the photo, as far as the options and the weights decide it.

    Raises InputError where the mesh is asked for, and the weights do not know lips and lids.
    """
    labelled = kp_detector.openings is not None
    if motion.driver == "mesh" and not labelled:
        raise InputError(
            "the driver 'mesh' needs weights whose key points are labelled, as those that ship; "
            "take the driver 'keypoints'"
        )
    if motion.driver is None:
        return labelled and motion.relative and motion.openings
    return motion.driver == "mesh"


def free_inside(small: Tensor) -> Tensor:
    """Return how much of its motion each place of a picture (1xCxhxw) makes: 1xhxw, 0 at the border.

    So nothing that moves is cut off at the border: the motion ends softly before it.
    """
    rows, columns = (_rise_from_border(length).to(small) for length in small.shape[2:])
    return (rows[:, None] * columns)[None]


def _rise_from_border(length: int) -> Tensor:
    place = (torch.arange(length) + 0.5) / length
    share = ((torch.minimum(place, 1 - place) - STILL) / (FREE - STILL)).clamp(0, 1)
    return share * share * (3 - 2 * share)


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
    jacobians = (held.jacobian, kp_driving.jacobian)
    value = torch.cat((held.value, kp_driving.value))[rows]
    if jacobians[0] is None or jacobians[1] is None:
        return Keypoints(value)
    return Keypoints(value, torch.cat((jacobians[0], jacobians[1]))[rows])


class _Start(NamedTuple):
    """Where relative motion starts."""

    reference: Keypoints
    scale: float  # of the movement


def _check_size(generator: OcclusionAwareGenerator, kp_detector: KPDetector, size: tuple[int, int]) -> None:
    height, width = nearest_size(generator, kp_detector, size)
    if (height, width) == size:
        return
    what, advice = "source_image is", "resize it to that"
    if generator.frame_shape:
        what = "dataset_params.frame_shape of the configuration asks for"
        advice = f"write [{height}, {width}, {generator.frame_shape[2]}] there"
    raise InputError(
        f"{what} {size[1]}x{size[0]} pixels (width x height), which these networks cannot take; "
        f"the nearest that they can is {width}x{height}: {advice}"
    )
