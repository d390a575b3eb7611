"""What keeps a GPU busy: batches of its size, sent beside its work, and results fetched beside it.

Everything here does nothing on other devices, whose operations end before the call returns.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor

from fomm.errors import InputError

T = TypeVar("T")

_CPU_BATCH = 4
_GPU_PIXELS = 32 * 256 * 256  # of a batch: enough to keep a large one busy
_BYTES_PER_PIXEL = 2048  # of a frame, while the passes over it run, at the widths of vox-256; rather too many


def default_batch(device: torch.device, size: tuple[int, int]) -> int:
    """Frames of so many pixels (height, width) in one pass of the networks."""
    if device.type != "cuda":
        return _CPU_BATCH
    free, _ = torch.cuda.mem_get_info(device)
    pixels = min(_GPU_PIXELS, free // 2 // _BYTES_PER_PIXEL)
    count = max(1, pixels // (size[0] * size[1]))
    return 2 ** (count.bit_length() - 1)  # a power of two: few sizes, and halves of others


@contextmanager
def enough_memory(device: torch.device, size: tuple[int, int]) -> Iterator[None]:
    """Makes an ``InputError`` of it where the device's memory ends in the block; ``size``: of one frame."""
    try:
        yield
    except torch.OutOfMemoryError as reason:
        raise memory_error(device, size) from reason


def memory_error(device: torch.device, size: tuple[int, int]) -> InputError:
    """What to say where the device cannot hold a single frame (height, width)."""
    return InputError(
        f"the memory of {device} does not hold one frame of {size[1]}x{size[0]}; "
        "end other programs that use it, or choose the device cpu"
    )


@cache
def _stream(device: torch.device, _purpose: str) -> torch.cuda.Stream:
    """One for each purpose: what a stream has allocated stays with it."""
    return torch.cuda.Stream(device)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on the device. A GPU gets it by a stream of its own, while it works on others."""
    if device.type != "cuda":
        return tensor.to(device)
    stream = _stream(device, "sending")
    with torch.cuda.stream(stream):
        there = tensor.pin_memory().to(device, non_blocking=True)
    working = torch.cuda.current_stream(device)
    working.wait_stream(stream)
    there.record_stream(working)  # its memory is not given away while that one may still read it
    return there


def mark(device: torch.device) -> torch.cuda.Event | None:
    """The point up to which the device has been given work; None where that is done already."""
    return torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None


class Beside:
    """The stream for what is made of results: it does not wait for work that the GPU was given after them."""

    def __init__(self, device: torch.device) -> None:
        self.stream = _stream(device, "finishing") if device.type == "cuda" else None

    @contextmanager
    def after(self, marks: Iterable[torch.cuda.Event | None]) -> Iterator[None]:
        """A block whose operations come after the marks; what it makes has to be on the CPU at its end."""
        if self.stream is None:
            yield
            return
        with torch.cuda.stream(self.stream):
            for each in marks:
                if each is not None:
                    self.stream.wait_event(each)
            yield


def begun_ahead(items: Iterator[T]) -> Iterator[T]:
    """The items, each given when the next one has been begun: that is what a GPU does meanwhile."""
    held: list[T] = []
    try:
        for item in items:
            yield from held
            held = [item]
    except Exception:
        yield from held  # what is done is given before the error
        raise
    yield from held
