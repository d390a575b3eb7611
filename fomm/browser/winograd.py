"""Winograd's filtering as operations of a graph, for engines that have none of their own.

WebAssembly multiplies four numbers at once, so a 3x3 convolution with a quarter of the multiplications takes
half the time there, see ``fomm.engines.winograd``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fomm.engines.fused import Convolution
from fomm.engines.inference import InferenceNetworks
from fomm.engines.winograd import TILE, cook_toom_matrices

_SIDE = TILE + 2  # inputs of a tile, each way
_NAME = "transformed"  # of the buffer


class WinogradConvolution(nn.Module):
    """A 3x3 convolution of one picture, 1xCxHxW, H and W multiples of 4."""

    transformed: Tensor
    bias: Tensor
    to_tiles: Tensor
    from_tiles: Tensor

    def __init__(self, convolution: Convolution) -> None:
        super().__init__()
        analysis, kernels, synthesis = (torch.kron(matrix, matrix).float() for matrix in cook_toom_matrices())
        outputs, inputs = convolution.weight.shape[:2]
        columns = convolution.weight.permute(2, 3, 0, 1).reshape(9, -1)
        self.relu = convolution.relu
        self.register_buffer(_NAME, (kernels @ columns).view(_SIDE**2, outputs, inputs))
        self.register_buffer("bias", convolution.bias.clone())
        self.register_buffer("to_tiles", analysis)
        self.register_buffer("from_tiles", synthesis)

    def forward(self, x: Tensor, total: Tensor | None = None) -> Tensor:
        _, channels, height, width = x.shape
        rows, columns = height // TILE, width // TILE
        # tile t has the places 4 t to 4 t + 5: four of its own block, and two of the next
        blocks = F.pad(x, (1, TILE - 1, 1, TILE - 1)).view(channels, rows + 1, TILE, columns + 1, TILE)
        blocks = blocks.permute(2, 4, 0, 1, 3)  # 4x4xCx(r+1)x(c+1)
        blocks = torch.cat((blocks[:, :, :, :rows], blocks[:2, :, :, 1:]))
        blocks = torch.cat((blocks[..., :columns], blocks[:, :2, ..., 1:]), 1)  # 6x6xCxrxc
        tiles = self.to_tiles @ blocks.reshape(_SIDE**2, -1)
        products = self.transformed @ tiles.view(_SIDE**2, channels, rows * columns)  # 36xOxrc
        outputs = products.shape[1]
        made = self.from_tiles @ products.view(_SIDE**2, -1)
        made = made.view(TILE, TILE, outputs, rows, columns).permute(2, 3, 0, 4, 1)
        made = made.reshape(1, outputs, height, width) + self.bias[:, None, None]
        made = made.relu() if self.relu else made
        return made if total is None else made + total


def use_winograd(networks: InferenceNetworks) -> None:
    """Replace the 3x3 convolutions of the bottleneck, whose pictures must have sides of multiples of 4."""
    for block in networks.decoder.bottleneck.blocks:
        for name in ("conv1", "conv2"):
            setattr(block, name, WinogradConvolution(getattr(block, name)))


def store_kernels(model: Any) -> None:
    """Store the kernels of an ONNX model as they were, a quarter of the numbers; the graph transforms them.

    An engine does so once, when it opens the model.
    """
    import onnx

    _, kernels, _ = (torch.kron(matrix, matrix).float() for matrix in cook_toom_matrices())
    undo = np.linalg.pinv(kernels.double().numpy())
    nodes = []
    for initializer in model.graph.initializer:
        if not initializer.name.endswith(f".{_NAME}"):
            continue
        name, shape = initializer.name, list(initializer.dims)
        values = onnx.numpy_helper.to_array(initializer).reshape(shape[0], -1)
        columns = (undo @ values).astype(np.float32)  # 9xOC
        initializer.CopyFrom(onnx.numpy_helper.from_array(columns, f"{name}.kernels"))
        for suffix, constant in (("matrix", kernels.numpy()), ("shape", np.array(shape))):
            model.graph.initializer.append(onnx.numpy_helper.from_array(constant, f"{name}.{suffix}"))
        product = [f"{name}.matrix", f"{name}.kernels"]
        nodes.append(onnx.helper.make_node("MatMul", product, [f"{name}.flat"]))
        nodes.append(onnx.helper.make_node("Reshape", [f"{name}.flat", f"{name}.shape"], [name]))
    for place, node in enumerate(nodes):
        model.graph.node.insert(place, node)
