"""The networks for inference as three graphs of plain tensors, which other engines can run.

    keypoints   images -> value[, jacobian][, covariance]
    source      picture -> features, small[, skip_0, ...][, details]
    render      features, small[, skip_0, ...][, details][, freedom], source_value[, source_jacobian]
                [, source_covariance], value[, jacobian][, covariance]
                -> prediction, deformation[, occlusion_map]

All are float32. The batch is the first dimension of images, of key points but the source's, and of what
``render`` gives. MRAA and TPSMM have skips, which blend the source in. ``freedom`` says how much of its
motion each place makes, see ``EncodedSource``. The last part of ``render`` is also a graph of its own, which
can run in 8 bits:

    paint       moved -> prediction
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fomm.engines.inference import (
    EncodedSource,
    InferenceNetworks,
    Networks,
    Rendered,
    drop_none,
    finish_frames,
    full_freedom,
    pack_inputs,
)
from fomm.engines.quantization import quantize
from fomm.model import Keypoints


@dataclass(frozen=True)
class Graph:
    """A module of plain tensors, and all that it takes to trace it."""

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]  # examples, by name, in order
    outputs: tuple[str, ...]  # names, in order
    batched: frozenset[str]  # names of the inputs and outputs whose first dimension is the batch


class _KeypointsGraph(nn.Module):
    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.networks = networks

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(drop_none(self.networks.detect(images)))


class _SourceGraph(nn.Module):
    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.networks = networks

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        source = self.networks.encode_picture(picture)
        return tuple(drop_none((source.features, source.small, *source.skips, source.details)))


class _RenderGraph(nn.Module):
    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.networks = networks

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(drop_none(self.networks.render(*self.networks.unpack(tensors))))


class _PaintGraph(nn.Module):
    def __init__(self, networks: InferenceNetworks) -> None:
        super().__init__()
        self.networks = networks

    def forward(self, moved: Tensor) -> Tensor:
        return self.networks.decoder.paint(moved.permute(0, 3, 1, 2))


def build_paint_graph(networks: InferenceNetworks, moved: Tensor) -> Graph:
    """Build the graph that paints moved features; ``moved``: an example of them, BxhxwxF float32."""
    names = frozenset({"moved", "prediction"})
    return Graph("paint", _PaintGraph(networks), {"moved": moved}, ("prediction",), names)


def build_graphs(
    networks: Networks, size: tuple[int, int], *, with_freedom: bool = False
) -> dict[str, Graph]:
    """Build the three graphs, by name, for pictures of one size (height, width) on the CPU.

    ``with_freedom``: the graph ``render`` takes it.
    """
    picture = torch.rand(1, networks.num_channels, *size)
    with torch.inference_mode():
        source = networks.encode(picture)
        images = picture.repeat(2, 1, 1, 1)
        points = networks.detect(images)
    names = ("value", "jacobian", "covariance")[: len(drop_none(points))]
    skips = tuple(f"skip_{number}" for number in range(len(source.skips)))
    of_source = ("features", "small", *skips, *(("details",) if networks.with_details else ()))
    freedom = ("freedom",) if with_freedom else ()
    if with_freedom:
        source = source._replace(freedom=full_freedom(source))
    of_render = (*of_source, *freedom, *(f"source_{name}" for name in names), *names)
    inputs = dict(zip(of_render, pack_inputs(source, points), strict=True))
    outputs = ("prediction", "deformation", "occlusion_map")[: 2 + networks.with_occlusion]
    graphs = (
        Graph(
            "keypoints", _KeypointsGraph(networks), {"images": images}, names, frozenset({"images", *names})
        ),
        Graph("source", _SourceGraph(networks), {"picture": picture}, of_source, frozenset()),
        Graph("render", _RenderGraph(networks), inputs, outputs, frozenset({*names, *outputs})),
    )
    return {graph.name: graph for graph in graphs}


Run = Callable[[Sequence[Tensor]], Sequence[Tensor]]  # runs a graph: from its inputs to its outputs, in order


class GraphEngine:
    """An engine that runs the graphs, each of them compiled when it is first needed.

    Args:
        networks: float32, on the CPU.
        size: of the pictures, height and width.
        motion: None to run the three graphs in float32. For 8 bits the motion network, which torch runs; then
            the paint graph runs in 8 bits, and is calibrated on the first frames.
        compile_graph: makes a graph ready to run.
    """

    def __init__(
        self,
        networks: Networks,
        size: tuple[int, int],
        motion: nn.Module | None,
        compile_graph: Callable[[Graph], Run],
    ) -> None:
        self.networks, self.size, self.motion, self.compile_graph = networks, size, motion, compile_graph
        self.runs: dict[str, Run] = {}

    def detect(self, images: Tensor) -> Keypoints:
        """Do as ``Networks.detect``."""
        return Keypoints(*self._run("keypoints")([images]))

    def encode(self, picture: Tensor) -> EncodedSource:
        """Do as ``Networks.encode``."""
        tensors = self._run("source")([picture])
        points = self.detect(picture)
        pairs = [point for point in points for _ in range(2) if point is not None]
        source, _ = self.networks.unpack([*tensors, *pairs])
        return source._replace(keypoints=points)

    def render(self, source: EncodedSource, kp_driving: Keypoints) -> Rendered:
        """Do as ``Networks.render``."""
        if self.motion is not None:
            assert isinstance(self.networks, InferenceNetworks)
            motion = self.motion(source.small, source.keypoints, kp_driving, source.freedom)
            moved = self.networks.decoder.move(source.features, *motion).permute(0, 2, 3, 1)
            if "paint" not in self.runs:
                networks = quantize(self.networks, [(source, kp_driving)])
                self.runs["paint"] = self.compile_graph(build_paint_graph(networks, moved))
            (prediction,) = self.runs["paint"]([moved])
            return finish_frames(prediction, source, *motion)
        run = self._run("render", with_freedom=source.freedom is not None)
        return Rendered(*run(pack_inputs(source, kp_driving)))

    def _run(self, name: str, with_freedom: bool = False) -> Run:
        key = f"{name} with freedom" if with_freedom else name
        if key not in self.runs:
            graphs = build_graphs(self.networks, self.size, with_freedom=with_freedom)
            self.runs[key] = self.compile_graph(graphs[name])
        return self.runs[key]
