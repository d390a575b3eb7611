"""Moves one picture: the source encoded once, the driving frames taken in batches."""

import itertools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fomm.engines import prepared
from fomm.errors import InputError
from fomm.frames import check_picture, iterate_frames, to_pictures, to_tensor
from fomm.model import Keypoints, KPDetector, OcclusionAwareGenerator, movement_scale, relative_motion
from fomm.model.inference import Rendered
from fomm.model.sizes import nearest_size


class Animator:
    """One source picture, ready to be moved by any number of frames.

    The source is encoded once. Memory does not grow with the number of frames.

    Args:
        source_image: HxWx3, uint8 or floats in [0, 1].
        generator, kp_detector: as ``load_checkpoints`` gives them, on one device, in eval mode.
        relative: move the source's key points as the driving ones move since the reference frame; else take
            the driving key points as they are, with the driving face's shape and place.
        adapt_movement_scale: with ``relative``, scale the movement by how much larger the source's face is.
        batch_size: frames in one pass of the networks; halved where the device's memory holds no more.
        precision: ``"float32"``, ``"bfloat16"``, ``"float16"``, ``"int8"``, or ``"auto"`` for the fastest the
            device has, int8 aside: that one is calibrated on the first frames, once for each generator.
        engine: ``"torch"``, ``"openvino"`` or ``"onnxruntime"``; None or ``"auto"`` for torch, or for an
            installed one that has int8. What was chosen stands in ``precision`` and ``engine``.

    Raises:
        InputError: the picture cannot be used, the device's memory does not even hold one frame, or there is
            no such engine or precision, or not together.
        MissingExtraError: the engine is not installed.
    """

    def __init__(
        self,
        source_image: Any,
        generator: OcclusionAwareGenerator,
        kp_detector: KPDetector,
        *,
        relative: bool = True,
        adapt_movement_scale: bool = True,
        batch_size: int = 4,
        precision: str = "float32",
        engine: str | None = None,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; expected 1 or more")
        picture = check_picture(source_image, "source_image")
        self.relative, self.adapt_movement_scale = relative, adapt_movement_scale
        self.batch_size = batch_size
        self.device = next(generator.parameters()).device
        # networks that were built by hand take the source's size
        height, width, _ = generator.frame_shape or picture.shape
        self.size = (height, width)
        _check_size(generator, kp_detector, self.size)
        with torch.inference_mode(), _enough_memory(self.device, self.size):
            self.networks, self.engine, self.precision = prepared(
                generator, kp_detector, self.size, engine=engine, precision=precision
            )
            self.source = to_tensor(picture, self.size, self.device)
            self.encoded = self.networks.encode(self.source)

    def reference(self, frame: Any) -> Keypoints:
        """The key points of a driving frame that relative motion starts from."""
        picture = check_picture(frame, "the reference frame")
        with torch.inference_mode(), _enough_memory(self.device, self.size):
            return self.networks.detect(to_tensor(picture, self.size, self.device))

    def animate(self, driving_video: Any, reference: Keypoints | None = None) -> Iterator[np.ndarray]:
        """The animated frames, HxWx3 float32 in [0, 1] at the network's size, one for each driving frame.

        Args:
            driving_video: an array TxHxWx3, a list or an iterator of frames HxWx3, uint8 or floats in [0, 1].
                Frames of another size than the network's are resized to it.
            reference: where relative motion starts, see ``reference``; by default the first frame.

        Raises:
            InputError: a frame cannot be used; frames before it have been given.
        """
        for step in self.steps(driving_video, reference):
            yield to_pictures(step.prediction)[0]

    def at_rest(self) -> Tensor:
        """The network's picture of the source while nothing moves, 1xCxHxW in [0, 1]."""
        with torch.inference_mode(), _enough_memory(self.device, self.size):
            return self.networks.render(self.encoded, self.encoded.keypoints).prediction

    def steps(self, driving_video: Any, reference: Keypoints | None = None) -> Iterator[Rendered]:
        """As ``animate``, but each frame comes as tensors, with the motion behind it."""
        frames = iterate_frames(driving_video)
        while chunk := list(itertools.islice(frames, self.batch_size)):
            while chunk:
                batch = chunk[: self.batch_size]
                try:
                    rendered, reference = self._animate_batch(batch, reference)
                except torch.OutOfMemoryError:
                    rendered = None
                if rendered is None:  # only here does Python forget what filled the memory
                    self._take_smaller_batches(len(batch))
                else:
                    for index in range(len(batch)):
                        yield rendered.frame(index)
                    chunk = chunk[len(batch) :]

    def _animate_batch(
        self, frames: list[np.ndarray], reference: Keypoints | None
    ) -> tuple[Rendered, Keypoints]:
        with torch.inference_mode():
            batch = torch.cat([to_tensor(frame, self.size, self.device) for frame in frames])
            kp_driving = self.networks.detect(batch)
            if reference is None:
                reference = kp_driving.map(lambda t: t[:1])
            return self._render(kp_driving, reference), reference

    def _take_smaller_batches(self, too_many: int) -> None:
        if too_many == 1:
            raise _memory_error(self.device, self.size)
        self.batch_size = too_many // 2
        warnings.warn(
            f"the memory of {self.device} does not hold {too_many} frames at once; "
            f"going on with {self.batch_size}",
            stacklevel=3,
        )
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _render(self, kp_driving: Keypoints, reference: Keypoints) -> Rendered:
        if self.relative:
            kp_source = self.encoded.keypoints
            scale = movement_scale(kp_source, reference) if self.adapt_movement_scale else 1.0
            kp_driving = relative_motion(kp_source, kp_driving, reference, scale)
        return self.networks.render(self.encoded, kp_driving)


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


@contextmanager
def _enough_memory(device: torch.device, size: tuple[int, int]) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as reason:
        raise _memory_error(device, size) from reason


def _memory_error(device: torch.device, size: tuple[int, int]) -> InputError:
    return InputError(
        f"the memory of {device} does not hold one frame of {size[1]}x{size[0]}; "
        "end other programs that use it, or choose the device cpu"
    )
