"""What keeps a GPU busy: batches of the right size, and copies to and from it while it computes.

On other devices an operation ends before its call returns, and nothing here has an effect.
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
_GPU_PIXELS = 32 * 256 * 256  # of a batch: enough to keep a large GPU busy
_BYTES_PER_PIXEL = 2048  # of a frame in a pass of the networks, at the widths of vox-256; a high estimate


def default_batch(device: torch.device, size: tuple[int, int]) -> int:
    """Return how many frames of a size (height, width) to give the networks in one pass."""
    if device.type != "cuda":
        return _CPU_BATCH
    free, _ = torch.cuda.mem_get_info(device)
    pixels = min(_GPU_PIXELS, free // 2 // _BYTES_PER_PIXEL)
    count = max(1, pixels // (size[0] * size[1]))
    return 2 ** (count.bit_length() - 1)  # a power of two: there are few of them, and each can be halved


@contextmanager
def explain_out_of_memory(device: torch.device, size: tuple[int, int]) -> Iterator[None]:
    """Raise ``memory_error`` where the device runs out of memory in the block; ``size``: of one frame."""
    try:
        yield
    except torch.OutOfMemoryError as reason:
        raise memory_error(device, size) from reason


def memory_error(device: torch.device, size: tuple[int, int]) -> InputError:
    """Return the error that says that the device cannot hold a single frame (height, width)."""
    return InputError(
        f"the memory of {device} does not hold one frame of {size[1]}x{size[0]}; "
        "end other programs that use it, or choose the device cpu"
    )


@cache
def _get_stream(device: torch.device, _purpose: str) -> torch.cuda.Stream:
    """Return the one stream for a purpose: memory that a stream has allocated can be reused only by it."""
    return torch.cuda.Stream(device)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the CPU to the device; to a GPU by a stream of its own, while the GPU computes."""
    if device.type != "cuda":
        return tensor.to(device)
    stream = _get_stream(device, "copies to the device")
    with torch.cuda.stream(stream):
        copied = tensor.pin_memory().to(device, non_blocking=True)
    current = torch.cuda.current_stream(device)
    current.wait_stream(stream)
    copied.record_stream(current)  # the memory is not given away while the current stream may still read it
    return copied


def record_event(device: torch.device) -> torch.cuda.Event | None:
    """Record the point in the device's queue behind all work so far; None where the work is done already."""
    return torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None


class SideStream:
    """A CUDA side stream for post-processing, which waits for the batch it works on and for none after it.

    On the main stream, post-processing of a batch would wait for all batches that were started meanwhile.
    """

    def __init__(self, device: torch.device) -> None:
        self.stream = _get_stream(device, "post-processing") if device.type == "cuda" else None

    @contextmanager
    def after(self, events: Iterable[torch.cuda.Event | None]) -> Iterator[None]:
        """Run the block's operations on the side stream, after the events of ``record_event``.

        The block has to copy to the CPU what it makes: other streams do not wait for this one.
        """
        if self.stream is None:
            yield
            return
        with torch.cuda.stream(self.stream):
            for event in events:
                if event is not None:
                    self.stream.wait_event(event)
            yield


def start_next_first(items: Iterator[T]) -> Iterator[T]:
    """Yield each item after starting the next, so that a GPU computes one while the other is used.

    Where an item fails, the ones before it are yielded first, and then its error is raised.
    """
    held: list[T] = []
    try:
        for item in items:
            yield from held
            held = [item]
    except Exception:
        yield from held
        raise
    yield from held
