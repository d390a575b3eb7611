"""The networks for inference as three graphs of plain tensors, which other engines can run.

    keypoints   images -> value[, jacobian]
    source      picture -> features, small[, details]
    render      features, small[, details], source_value[, source_jacobian], value[, jacobian]
                -> prediction, deformation[, occlusion_map]

All are float32. Images, values, jacobians and what ``render`` gives have the batch in front. Its end alone is

    paint       moved -> prediction

which is what goes in 8 bits.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fomm.engines.inference import InferenceNetworks, Rendered, Source, finished, packed, unpacked
from fomm.engines.quantization import quantized
from fomm.model import Keypoints


@dataclass(frozen=True)
class Graph:
    """One of the three, with inputs to trace it with: their names, and which have a batch in front."""

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    batched: frozenset[str]


class _Keypoints(nn.Module):
    def __init__(self, networks: InferenceNetworks) -> None:
        super().__init__()
        self.networks = networks

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return _plain(self.networks.detect(images))


class _Source(nn.Module):
    def __init__(self, networks: InferenceNetworks) -> None:
        super().__init__()
        self.networks = networks

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        networks = self.networks
        return _plain(
            (networks.features(picture), networks.motion.shrink(picture), networks.details(picture))
        )


class _Render(nn.Module):
    def __init__(self, networks: InferenceNetworks) -> None:
        super().__init__()
        self.networks = networks

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return _plain(self.networks.render(*unpacked(tensors)))


class _Paint(nn.Module):
    def __init__(self, networks: InferenceNetworks) -> None:
        super().__init__()
        self.networks = networks

    def forward(self, moved: Tensor) -> Tensor:
        return self.networks.decoder.paint(moved.permute(0, 3, 1, 2))


def paint_graph(networks: InferenceNetworks, moved: Tensor) -> Graph:
    """What follows the motion; ``moved`` BxhxwxF float32, the source's features as the frames see them."""
    names = frozenset({"moved", "prediction"})
    return Graph("paint", _Paint(networks), {"moved": moved}, ("prediction",), names)


def graphs_of(networks: InferenceNetworks, size: tuple[int, int], batch: int = 2) -> dict[str, Graph]:
    """The three graphs, by name, for pictures of one size (height, width) on the CPU."""
    channels = networks.num_channels
    picture = torch.rand(1, channels, *size)
    with torch.inference_mode():
        source = networks.encode(picture)
        images = picture.repeat(batch, 1, 1, 1)
        points = networks.detect(images)
    names = ("value", "jacobian")[: len(_plain(points))]
    of_source = ("features", "small", "details")[: 2 if source.details is None else 3]
    of_render = (*of_source, *(f"source_{name}" for name in names), *names)
    inputs = dict(zip(of_render, packed(source, points), strict=True))
    outputs = ("prediction", "deformation", "occlusion_map")[: 2 + networks.motion.with_occlusion]
    graphs = (
        Graph("keypoints", _Keypoints(networks), {"images": images}, names, frozenset({"images", *names})),
        Graph("source", _Source(networks), {"picture": picture}, of_source, frozenset()),
        Graph("render", _Render(networks), inputs, outputs, frozenset({*names, *outputs})),
    )
    return {graph.name: graph for graph in graphs}


Run = Callable[[Sequence[Tensor]], Sequence[Tensor]]  # a graph's inputs to its outputs, in order


class GraphEngine:
    """Runs the graphs, each made when it is first needed.

    Args:
        networks: float32, on the CPU.
        size: of the pictures, height and width.
        motion: for 8 bits the motion network, which torch runs; the graph behind it paints in 8 bits, and is
            calibrated on the first frames it sees. None: all in float32, by the three graphs.
        compiled: makes a graph run.
    """

    def __init__(
        self,
        networks: InferenceNetworks,
        size: tuple[int, int],
        motion: nn.Module | None,
        compiled: Callable[[Graph], Run],
    ) -> None:
        self.networks, self.size, self.motion, self.compiled = networks, size, motion, compiled
        self.runs: dict[str, Run] = {}

    def detect(self, images: Tensor) -> Keypoints:
        """As ``InferenceNetworks.detect``."""
        return Keypoints(*self._run("keypoints")([images]))

    def encode(self, picture: Tensor) -> Source:
        """As ``InferenceNetworks.encode``."""
        features, small, *details = self._run("source")([picture])
        return Source(features, small, self.detect(picture), *details)

    def render(self, source: Source, kp_driving: Keypoints) -> Rendered:
        """As ``InferenceNetworks.render``."""
        if self.motion is not None:
            motion = self.motion(source.small, source.keypoints, kp_driving)
            moved = self.networks.decoder.moved(source.features, *motion).permute(0, 2, 3, 1)
            if "paint" not in self.runs:
                networks = quantized(self.networks, [(source, kp_driving)])
                self.runs["paint"] = self.compiled(paint_graph(networks, moved))
            (prediction,) = self.runs["paint"]([moved])
            return finished(prediction, source, *motion)
        return Rendered(*self._run("render")(packed(source, kp_driving)))

    def _run(self, name: str) -> Run:
        if name not in self.runs:
            self.runs[name] = self.compiled(graphs_of(self.networks, self.size)[name])
        return self.runs[name]


def _plain(tensors: Iterable[Tensor | None]) -> tuple[Tensor, ...]:
    return tuple(tensor for tensor in tensors if tensor is not None)
