"""The networks on a GPU: passes over batches of a size are recorded as CUDA graphs and then replayed.

Launching one kernel after the other can take a CPU longer than the GPU needs for them.
"""

import threading
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fomm.model import Keypoints
from fomm.model.inference import InferenceNetworks, Rendered, Source

Pass = Callable[..., Sequence[Tensor]]

_MOST = 8  # records of a pass; each holds on to its memory


class Recorded:
    """A function of tensors on one device that is recorded when inputs of the same shapes come again.

    It may depend on nothing but its inputs and on weights that stay. Where recording fails, it runs as it is.

    Args:
        function: takes tensors and gives some.
        record: makes a function of it that can be replayed, given example inputs: ``cuda_graph``.
    """

    def __init__(self, function: Pass, record: Callable[[Pass, Sequence[Tensor]], Pass]) -> None:
        self.function, self.record = function, record
        self.seen: set[tuple[torch.Size, ...]] = set()
        self.records: dict[tuple[torch.Size, ...], Pass] = {}
        self.lock = threading.Lock()  # a record has one set of inputs and outputs

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        shapes = tuple(tensor.shape for tensor in inputs)
        with self.lock:
            if shapes not in self.records:
                if shapes not in self.seen or len(self.records) == _MOST:
                    self.seen.add(shapes)  # once is no habit: the last batch of a video is a smaller one
                    return self.function(*inputs)
                self.records[shapes] = self._recorded(inputs)
            return self.records[shapes](*inputs)

    def _recorded(self, inputs: Sequence[Tensor]) -> Pass:
        try:
            return self.record(self.function, inputs)
        except RuntimeError as reason:  # of CUDA; the end of its memory is one, too
            warnings.warn(f"going on without a CUDA graph: {reason}", stacklevel=2)
            return self.function


def cuda_graph(function: Pass, inputs: Sequence[Tensor]) -> Pass:
    """``function`` for inputs of these shapes, recorded on their device."""
    device = inputs[0].device
    places = [tensor.clone() for tensor in inputs]
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):  # libraries set themselves up at a first call, which cannot be recorded
        function(*places)
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # "thread_local": another thread may finish earlier results meanwhile
    with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
        results = function(*places)

    def replay(*inputs: Tensor) -> list[Tensor]:
        for place, tensor in zip(places, inputs, strict=True):
            place.copy_(tensor)
        graph.replay()
        return [result.clone() for result in results]

    return replay


class RecordedNetworks:
    """``InferenceNetworks`` on a GPU, as an engine."""

    def __init__(
        self, networks: InferenceNetworks, record: Callable[[Pass, Sequence[Tensor]], Pass] = cuda_graph
    ) -> None:
        self.networks, self.encode = networks, networks.encode
        self._detect = Recorded(self._detect_plain, record)
        self._render = Recorded(self._render_plain, record)

    def detect(self, images: Tensor) -> Keypoints:
        """As ``InferenceNetworks.detect``."""
        return Keypoints(*self._detect(images))

    def render(self, source: Source, kp_driving: Keypoints) -> Rendered:
        """As ``InferenceNetworks.render``."""
        points = (*_plain(source.keypoints), *_plain(kp_driving))
        return Rendered(*self._render(source.features, source.small, *points))

    def _detect_plain(self, images: Tensor) -> list[Tensor]:
        return _plain(self.networks.detect(images))

    def _render_plain(self, features: Tensor, small: Tensor, *points: Tensor) -> list[Tensor]:
        half = len(points) // 2
        source = Source(features, small, Keypoints(*points[:half]))
        return _plain(self.networks.render(source, Keypoints(*points[half:])))


def _plain(tensors: Sequence[Tensor | None]) -> list[Tensor]:
    return [tensor for tensor in tensors if tensor is not None]
