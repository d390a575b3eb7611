"""Paints a source picture at other key points: it is encoded once, and painted in batches."""

import contextlib
import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from fomm.animation.frames import check_picture, to_batch, to_bytes, to_tensor
from fomm.animation.options import Compute
from fomm.animation.threads import map_in_threads
from fomm.checkpoint import choose_device
from fomm.engines import prepare_engine
from fomm.engines.gpu import (
    default_batch,
    explain_out_of_memory,
    memory_error,
    record_event,
    start_next_first,
)
from fomm.engines.inference import Rendered
from fomm.errors import InputError
from fomm.model import Detector, Generator, Keypoints
from fomm.model.sizes import nearest_size

T = TypeVar("T")
A = TypeVar("A")
R = TypeVar("R")


class AnimatedFrames(NamedTuple):
    """What the networks make of some frames; a GPU may still be working on it."""

    rendered: Rendered
    done: torch.cuda.Event | None  # when the GPU has made it; None: it is made already

    def frames(self) -> "Iterator[AnimatedFrames]":
        """Yield them one by one, each with a batch's dimension in front."""
        for index in range(len(self.rendered.prediction)):
            yield self._replace(rendered=self.rendered.frame(index))


class Painter:
    """The networks with one source picture, which they have encoded.

    Args:
        source_image: HxWx3, uint8 or floats in [0, 1].
        generator, kp_detector, compute: see ``Animator``.

    Attributes:
        size: (height, width) of what is painted.
        source: the picture at that size, 1xCxHxW in [0, 1].
        encoded: the picture's features and key points; while it rests, it is painted at these.

    Raises:
        InputError, MissingExtraError: see ``Animator``.
    """

    def __init__(
        self,
        source_image: Any,
        generator: Generator,
        kp_detector: Detector,
        compute: Compute,
    ) -> None:
        picture = check_picture(source_image, "source_image")
        if compute.device is not None:
            device = choose_device(False, compute.device)
            generator, kp_detector = generator.to(device), kp_detector.to(device)
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
        self.take(picture)

    @property
    def shares_threads(self) -> bool:
        """Whether two batches are best painted at a time, each by half of PyTorch's threads."""
        return self.device.type == "cpu" and self.engine == "torch" and torch.get_num_threads() > 1

    def take(self, picture: np.ndarray) -> None:
        """Paint this picture from now on: HxWx3, uint8 or floats in [0, 1]."""
        with torch.inference_mode(), explain_out_of_memory(self.device, self.size):
            self.source = to_tensor(picture, self.size, self.device)
            self.encoded = self.networks.encode(self.source)

    def detect(self, frames: list[np.ndarray]) -> Keypoints:
        """Return the key points that the networks find in frames, in one pass. It may run out of memory.

        Frames are HxWx3, uint8 or floats in [0, 1].
        """
        with torch.inference_mode():
            return self.networks.detect(to_batch(frames, self.size, self.device))

    def at_rest(self) -> Tensor:
        """Return the source as it is painted while nothing moves, 1xCxHxW in [0, 1]."""
        with torch.inference_mode(), explain_out_of_memory(self.device, self.size):
            return self.networks.render(self.encoded, self.encoded.keypoints).prediction

    def render(self, moved: Keypoints) -> Rendered:
        """Return the source at the key points of some frames, in one pass. It may run out of memory."""
        with torch.inference_mode():
            return self.networks.render(self.encoded, moved)

    def paint(self, moved: Keypoints) -> Iterator[AnimatedFrames]:
        """Yield the source at the key points of T frames, in batches."""
        return self.in_batches(
            range(len(moved.value)),
            lambda numbers: moved.map(lambda t: t[numbers[0] : numbers[-1] + 1]),
        )

    def pictures(self, moved: Keypoints) -> np.ndarray:
        """Return the source at the key points of T frames, TxHxWx3 uint8."""
        return np.concatenate([to_bytes(batch.rendered.prediction) for batch in self.paint(moved)])

    def in_batches(
        self, items: Iterable[T], locate: Callable[[Sequence[T]], Keypoints]
    ) -> Iterator[AnimatedFrames]:
        """Yield the source at the key points that ``locate`` returns for the items, which it gets in batches.

        Where ``shares_threads``, two batches are painted at a time, which takes less time than one after the
        other. Where the memory of a GPU does not hold a batch, smaller ones are made from there on.
        """
        items = iter(items)
        if self.shares_threads:
            chunks = iter(lambda: list(itertools.islice(items, self.batch_size)), [])
            rendered = map_in_threads(self.render, map(locate, chunks))
            return (AnimatedFrames(batch, None) for batch in rendered)
        batches = self._make_batches(items, locate)
        return start_next_first(batches) if self.device.type == "cuda" else batches

    def _make_batches(
        self, items: Iterator[T], locate: Callable[[Sequence[T]], Keypoints]
    ) -> Iterator[AnimatedFrames]:
        while chunk := list(itertools.islice(items, self.batch_size)):
            while chunk:
                batch = chunk[: self.batch_size]
                moved = self._try(locate, batch, len(batch))
                if moved is None:
                    continue
                chunk = chunk[len(batch) :]
                while len(moved.value):
                    part = moved.map(lambda t: t[: self.batch_size])
                    rendered = self._try(self.render, part, len(part.value))
                    if rendered is not None:
                        yield AnimatedFrames(rendered, record_event(self.device))
                        moved = moved.map(lambda t: t[self.batch_size :])

    def _try(self, function: Callable[[A], R], batch: A, count: int) -> R | None:
        """Return the function's result for ``count`` frames.

        None where the memory does not hold it; then batches are smaller from here on.
        """
        with contextlib.suppress(torch.OutOfMemoryError):
            return function(batch)
        # the error, which holds on to what filled the memory, is gone by here
        self._take_smaller_batches(count)
        return None

    def _take_smaller_batches(self, too_many: int) -> None:
        if too_many == 1:
            raise memory_error(self.device, self.size)
        self.batch_size = too_many // 2
        warnings.warn(
            f"the memory of {self.device} does not hold {too_many} frames at once; "
            f"going on with {self.batch_size}",
            stacklevel=5,
        )
        if self.device.type == "cuda":
            from fomm.engines.recording import RecordedNetworks

            assert isinstance(self.networks, RecordedNetworks)
            self.networks.forget()
            torch.cuda.empty_cache()


def _check_size(generator: Generator, kp_detector: Detector, size: tuple[int, int]) -> None:
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
