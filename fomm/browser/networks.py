"""The networks as ONNX files for the browser: one picture at a time, weights in half precision.

    keypoints   images (1x3xHxW) -> value, jacobian
    source      picture -> features, small[, details]
    render      features, small[, details], freedom, source_value, source_jacobian, value, jacobian
                -> prediction, deformation, occlusion_map
    detector    image (1x3x128x128 in [-1, 1]) -> scores (1x896), places (1x896x16)
    mesh        image (1x3x192x192 in [0, 1]) -> points (1x478x3, pixels of it), presence (1)

Everything is computed in float32: each weight in half precision is converted once, when a file is opened.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.onnx.utils import register_custom_op_symbolic, unregister_custom_op_symbolic

from fomm.browser.winograd import store_kernels, use_winograd
from fomm.engines.graphs import Graph, build_graphs
from fomm.engines.inference import InferenceNetworks, full_freedom, pack_inputs
from fomm.engines.onnx_format import to_onnx
from fomm.engines.onnxruntime import compile_onnx
from fomm.engines.winograd import TILE
from fomm.errors import ExportError
from fomm.face.blocks import DownConv, SeparableBlock
from fomm.face.detector import SIZE as DETECTOR_SIZE
from fomm.face.detector import load_detector as load_detector_network
from fomm.face.mesh import FACE_POINTS, IRIS_POINTS, LIDS, REGION_SIZE, FaceMesh, load_mesh_network
from fomm.face.mesh import SIZE as MESH_SIZE
from fomm.model import Detector, Generator

OPSET = 18  # its GridSample is the one of opset 16, which every engine of ONNX Runtime for browsers has
# How far a graph may be from torch in float32; of the mesh in pixels of its picture
MAX_ERRORS = {"keypoints": 0.02, "source": 0.02, "render": 0.02, "detector": 0.01, "mesh": 0.01}
_LEAST = 256  # numbers; smaller weights stay in float32


@dataclass(frozen=True)
class PageNetwork:
    """A network as the page gets it, and how far its outputs are from those of torch."""

    name: str
    content: bytes  # of an ONNX file
    largest_error: float


@torch.inference_mode()
def convert_networks(generator: Generator, kp_detector: Detector) -> list[PageNetwork]:
    """Convert all networks that the page needs, and compare each with torch.

    Args:
        generator, kp_detector: labelled ones, on the CPU.

    Raises:
        ExportError: a network differs from torch by more than ``MAX_ERRORS``.
    """
    assert generator.frame_shape is not None
    networks = InferenceNetworks(generator, kp_detector)  # type: ignore[arg-type]
    size = generator.frame_shape[:2]
    rng = torch.Generator().manual_seed(0)
    picture, other = (
        F.interpolate(torch.rand(2, 3, 8, 8, generator=rng), size, mode="bicubic").clamp(0, 1).split(1)
    )
    source = networks.encode(picture)
    source = source._replace(freedom=full_freedom(source))
    inputs = {
        "keypoints": [other],
        "source": [picture],
        "render": pack_inputs(source, networks.detect(other)),
    }
    # torch's own convolutions say what is right; the graph has Winograd's where the sizes allow it
    exact = build_graphs(networks, (size[0], size[1]), with_freedom=True)
    expected = {name: graph.module(*inputs[name]) for name, graph in exact.items()}
    if all(side % TILE == 0 for side in source.features.shape[2:]):
        use_winograd(networks)
    graphs = build_graphs(networks, (size[0], size[1]), with_freedom=True)
    for name, graph in _build_face_graphs().items():
        graphs[name] = graph
        inputs[name] = list(graph.inputs.values())
        expected[name] = graph.module(*inputs[name])
    with _missing_operations():
        return [_convert(graph, inputs[name], expected[name]) for name, graph in graphs.items()]


def _convert(graph: Graph, inputs: list[Tensor], expected: tuple[Tensor, ...]) -> PageNetwork:
    one = {name: value[:1] for name, value in graph.inputs.items()}
    graph = dataclasses.replace(graph, inputs=one, batched=frozenset())
    content = halve_weights(to_onnx(graph, OPSET))
    got = compile_onnx(content, graph)(inputs)
    error = max(float((one - other).abs().max()) for one, other in zip(got, expected, strict=True))
    if not error <= MAX_ERRORS[graph.name]:
        raise ExportError(
            f"{graph.name}.onnx is off by {error:.1e}; report this with the versions of torch and onnx"
        )
    return PageNetwork(graph.name, content, error)


def halve_weights(content: bytes) -> bytes:
    """Return an ONNX file whose large weights are stored in float16, each with a cast back to float32.

    Raises:
        ExportError: a weight is too large for float16.
    """
    import onnx

    model = onnx.load_from_string(content)
    store_kernels(model)
    casts = []
    for index, initializer in enumerate(model.graph.initializer):
        values = onnx.numpy_helper.to_array(initializer)
        if values.dtype != np.float32 or values.size < _LEAST:
            continue
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.isfinite(half).all():
            raise ExportError(f"the weight {initializer.name} is too large for half precision")
        name = initializer.name
        model.graph.initializer[index].CopyFrom(onnx.numpy_helper.from_array(half, f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    for place, cast in enumerate(casts):
        model.graph.node.insert(place, cast)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _build_face_graphs() -> dict[str, Graph]:
    cpu = torch.device("cpu")
    detector, mesh = load_detector_network(cpu), load_mesh_network(cpu)
    rng = torch.Generator().manual_seed(1)
    image = torch.rand(1, 3, DETECTOR_SIZE, DETECTOR_SIZE, generator=rng) * 2 - 1
    face = torch.rand(1, 3, MESH_SIZE, MESH_SIZE, generator=rng)
    return {
        "detector": Graph("detector", _Plain(detector), {"image": image}, ("scores", "places"), frozenset()),
        "mesh": Graph("mesh", _PlainMesh(mesh), {"image": face}, ("points", "presence"), frozenset()),
    }


class _Plain(nn.Module):
    """A face network without assignments to parts of tensors, which graphs hold badly; same weights."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = _plain_copy(network)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return self.network(image)


class _PlainMesh(_Plain):
    """``FaceMesh``, whose regions' points are put in place by one gather."""

    index: Tensor

    def __init__(self, network: FaceMesh) -> None:
        super().__init__(network)
        index, row = list(range(FACE_POINTS)), FACE_POINTS
        for region in (network.lips, network.left_eye, network.right_eye):
            for number in region.numbers:
                index[number], row = row, row + 1
        self.register_buffer("index", torch.tensor(index))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        network = self.network
        assert isinstance(network, FaceMesh)
        fine = network.fine(network.stem(image))
        coarse = network.coarse(fine)
        points = network.points(coarse).reshape(1, FACE_POINTS, 3)
        places, irises = [points[:, :, :2]], []
        for region in (network.lips, network.left_eye, network.right_eye):
            found, iris = region(fine, points)
            places.append(found)
            if iris is not None:
                depth = points[:, region.numbers[:LIDS], 2:].mean(1, keepdim=True)
                irises.append(torch.cat([iris, depth.expand(-1, IRIS_POINTS, 1)], 2))
        plane = torch.cat(places, 1)[:, self.index]
        return torch.cat([torch.cat([plane, points[:, :, 2:]], 2), *irises], 1), network.presence(
            coarse
        ).flatten()


class _PlainBlock(nn.Module):
    """``SeparableBlock`` with a padded input in place of a sum into the first channels."""

    def __init__(self, block: SeparableBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        block = self.block
        out = block.pointwise(block.depthwise(x))
        same = F.max_pool2d(x, 2) if block.down else x
        if out.shape[1] > same.shape[1]:
            same = F.pad(same, (0, 0, 0, 0, 0, out.shape[1] - same.shape[1]))
        return block.activation(out + same)


def _plain_copy(network: nn.Module) -> nn.Module:
    copied = copy.deepcopy(network)
    for name, module in list(copied.named_modules()):
        parent, _, child = name.rpartition(".")
        if isinstance(module, SeparableBlock):
            if isinstance(module.depthwise, DownConv):
                module.depthwise = _pad_kernel(module.depthwise)
            setattr(copied.get_submodule(parent), child, _PlainBlock(module))
        elif isinstance(module, DownConv) and not name.endswith(".depthwise"):
            setattr(copied.get_submodule(parent), child, _pad_kernel(module))
    return copied


def _pad_kernel(conv: DownConv) -> nn.Conv2d:
    """Return the convolution with the kernel that ``DownConv`` pads in each pass."""
    kernel = F.pad(conv.weight, (1, 0, 1, 0))
    outputs, _, side, _ = kernel.shape
    padded = nn.Conv2d(conv.in_channels, outputs, side, 2, conv.kernel_size[0] // 2, groups=conv.groups)
    padded.weight, padded.bias = nn.Parameter(kernel, False), conv.bias
    return padded


@contextmanager
def _missing_operations() -> Iterator[None]:
    """Teach torch's exporter two operations of the mesh that it cannot write in ``OPSET``."""
    writers: dict[str, Callable[..., Any]] = {
        "aten::affine_grid_generator": _write_affine_grid,
        "aten::mT": _write_transpose,
    }
    for name, writer in writers.items():
        register_custom_op_symbolic(name, writer, OPSET)
    try:
        yield
    finally:
        for name in writers:
            unregister_custom_op_symbolic(name, OPSET)


def _write_transpose(graph: Any, matrices: Any) -> Any:
    return graph.op("Transpose", matrices, perm_i=[0, 2, 1])


def _write_affine_grid(graph: Any, theta: Any, size: Any, align_corners: Any) -> Any:
    """Write the mesh's ``F.affine_grid`` as a product of matrices: opset 18 has no such operation.

    It has ``REGION_SIZE`` x ``REGION_SIZE`` places, and -1 and 1 are the outer edges.
    """
    centres = (torch.arange(REGION_SIZE) * 2 + 1) / REGION_SIZE - 1
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    places = torch.stack([x, y, torch.ones_like(x)], 2).flatten(0, 1)  # (hw)x3
    shape = torch.tensor([1, REGION_SIZE, REGION_SIZE, 2])
    moved = graph.op("MatMul", graph.op("Constant", value_t=places), _write_transpose(graph, theta))
    return graph.op("Reshape", moved, graph.op("Constant", value_t=shape))
