"""The networks on a GPU, each pass recorded as a CUDA graph, and replayed for batches of the same size.

To launch one kernel after the other can take the CPU longer than it takes the GPU to run them.
"""

import threading
import warnings
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from fomm.engines.inference import (
    EncodedSource,
    Networks,
    Rendered,
    drop_none,
    pack_inputs,
)
from fomm.model import Keypoints

Pass = Callable[..., Sequence[Tensor]]
Recorder = Callable[[Pass, Sequence[Tensor]], Pass]  # records a pass for inputs of these shapes

_MAX_RECORDS = 8  # records of a pass: each holds on to memory
_recording = threading.Lock()  # CUDA records one graph at a time in a process


class RecordedFunction:
    """A function of tensors on one device that is recorded when inputs of the same shapes come again.

    It may depend on nothing but its inputs and constant weights. Where recording fails, the function itself
    is called from then on, with a warning.
    """

    def __init__(self, function: Pass, recorder: Recorder) -> None:
        self.function = function
        self.recorder: Recorder | None = recorder
        self.seen: set[tuple[torch.Size, ...]] = set()
        self.records: dict[tuple[torch.Size, ...], Pass] = {}

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        shapes = tuple(tensor.shape for tensor in inputs)
        if shapes not in self.records:
            again = shapes in self.seen  # the last batch of a video is smaller, and comes once
            self.seen.add(shapes)
            if not again or self.recorder is None or len(self.records) == _MAX_RECORDS:
                return self.function(*inputs)
            try:
                with _recording:
                    self.records[shapes] = self.recorder(self.function, inputs)
            except RuntimeError as reason:  # from CUDA; running out of memory is one too
                self.recorder = None
                warnings.warn(f"going on without a CUDA graph: {reason}", stacklevel=2)
                return self.function(*inputs)
        return self.records[shapes](*inputs)


class CudaGraphRecorder:
    """A recorder of passes that are replayed one after the other, by one stream, in one pool of memory.

    Global settings of PyTorch, such as TF32, stay in a record as they were when it was made.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream, self.pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()
        self.free = torch.cuda.Event()  # when the last replay's results have been copied out of the pool

    def __call__(self, function: Pass, inputs: Sequence[Tensor]) -> Pass:
        places = [tensor.clone() for tensor in inputs]
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.device(self.device), torch.cuda.stream(self.stream):
            function(*places)  # the first call initialises libraries, which cannot be recorded
            graph = torch.cuda.CUDAGraph()
            # "thread_local": another thread may post-process earlier results meanwhile
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
    """``Networks`` on a GPU, as an engine."""

    def __init__(self, networks: Networks, recorder: Recorder) -> None:
        self.encode = networks.encode
        self._passes = partial(_detect, networks), partial(_render, networks)
        self._recorder, self._lock = recorder, threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Free the memory of all records."""
        self._detect, self._render = (RecordedFunction(each, self._recorder) for each in self._passes)

    @torch.inference_mode()
    def detect(self, images: Tensor) -> Keypoints:
        """Do as ``Networks.detect``."""
        with self._lock:
            return Keypoints(*self._detect(images))

    @torch.inference_mode()
    def render(self, source: EncodedSource, kp_driving: Keypoints) -> Rendered:
        """Do as ``Networks.render``."""
        with self._lock:
            return Rendered(*self._render(*pack_inputs(source, kp_driving)))


def _detect(networks: Networks, images: Tensor) -> list[Tensor]:
    return drop_none(networks.detect(images))


def _render(networks: Networks, *tensors: Tensor) -> list[Tensor]:
    return drop_none(networks.render(*networks.unpack(tensors)))
