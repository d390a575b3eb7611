"""The networks on a GPU: passes over batches of a size are recorded as CUDA graphs and then replayed.

Launching one kernel after the other can take a CPU longer than the GPU needs for them.
"""

import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

from fomm.engines.inference import InferenceNetworks, Rendered, Source, packed, unpacked
from fomm.model import Keypoints

Pass = Callable[..., Sequence[Tensor]]
Recorder = Callable[[Pass, Sequence[Tensor]], Pass]  # a pass for inputs like these, to be replayed

_MOST = 8  # records of a pass: each holds on to memory
_recording = threading.Lock()  # CUDA records one graph at a time in a process


class Recorded:
    """A function of tensors on one device that is recorded when inputs of the same shapes come again.

    It may depend on nothing but its inputs and on weights that stay. Where recording fails, it runs as it is.
    """

    def __init__(self, function: Pass, recorder: Recorder) -> None:
        self.function = function
        self.recorder: Recorder | None = recorder
        self.seen: set[tuple[torch.Size, ...]] = set()
        self.records: dict[tuple[torch.Size, ...], Pass] = {}

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        shapes = tuple(tensor.shape for tensor in inputs)
        if shapes not in self.records:
            known = shapes in self.seen  # once is no habit: the last batch of a video is a smaller one
            self.seen.add(shapes)
            if not known or self.recorder is None or len(self.records) == _MOST:
                return self.function(*inputs)
            try:
                with _recording:
                    self.records[shapes] = self.recorder(self.function, inputs)
            except RuntimeError as reason:  # of CUDA; the end of its memory is one, too
                self.recorder = None
                warnings.warn(f"going on without a CUDA graph: {reason}", stacklevel=2)
                return self.function(*inputs)
        return self.records[shapes](*inputs)


class CudaGraphs:
    """Records passes that are replayed one after the other: all share one stream and one pool of memory.

    What PyTorch is told globally, such as TF32 or not, stays in a record as it was.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream, self.pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()
        self.free = torch.cuda.Event()  # when the last replay's results have been copied out of the pool

    def __call__(self, function: Pass, inputs: Sequence[Tensor]) -> Pass:
        places = [tensor.clone() for tensor in inputs]
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.device(self.device), torch.cuda.stream(self.stream):
            function(*places)  # libraries set themselves up at a first call, which cannot be recorded
            graph = torch.cuda.CUDAGraph()
            # "thread_local": another thread may finish earlier results meanwhile
            with torch.cuda.graph(
                graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"
            ):
                results = function(*places)
        torch.cuda.current_stream(self.device).wait_stream(self.stream)

        def replay(*inputs: Tensor) -> list[Tensor]:
            stream = torch.cuda.current_stream(self.device)
            stream.wait_event(self.free)
            for place, tensor in zip(places, inputs, strict=True):
                place.copy_(tensor)
            graph.replay()
            copies = [result.clone() for result in results]
            self.free.record(stream)
            return copies

        return replay


class RecordedNetworks:
    """``InferenceNetworks`` on a GPU, as an engine."""

    def __init__(self, networks: InferenceNetworks, recorder: Recorder) -> None:
        self.encode = networks.encode
        self._passes = partial(_detect, networks), partial(_render, networks)
        self._recorder, self._lock = recorder, threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Give the memory of all records back."""
        self._detect, self._render = (Recorded(each, self._recorder) for each in self._passes)

    @torch.inference_mode()
    def detect(self, images: Tensor) -> Keypoints:
        """As ``InferenceNetworks.detect``."""
        with self._lock:
            return Keypoints(*self._detect(images))

    @torch.inference_mode()
    def render(self, source: Source, kp_driving: Keypoints) -> Rendered:
        """As ``InferenceNetworks.render``."""
        with self._lock:
            return Rendered(*self._render(*packed(source, kp_driving)))


def _detect(networks: InferenceNetworks, images: Tensor) -> list[Tensor]:
    return _plain(networks.detect(images))


def _render(networks: InferenceNetworks, *tensors: Tensor) -> list[Tensor]:
    return _plain(networks.render(*unpacked(tensors)))


def _plain(tensors: Iterable[Tensor | None]) -> list[Tensor]:
    return [tensor for tensor in tensors if tensor is not None]
