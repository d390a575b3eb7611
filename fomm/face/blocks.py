"""Building blocks of the face networks, and how their weights are loaded and their pictures checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from fomm.bundled import check_intact
from fomm.errors import InputError

WEIGHTS = Path(__file__).parent / "weights"
CHUNK = 32  # pictures in one pass of a face network


class DownConv(nn.Conv2d):
    """A convolution of stride 2 that pads as TensorFlow's "same" does: an odd pixel goes right and below."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, groups: int = 1):
        super().__init__(in_channels, out_channels, kernel_size, stride=2, groups=groups)

    def forward(self, x: Tensor) -> Tensor:  # BxCxHxW, H and W even -> BxDx(H/2)x(W/2)
        # One more row and column of zeros in the kernel spares a copy of x with its one more pixel.
        kernel = F.pad(self.weight, (1, 0, 1, 0))
        return F.conv2d(x, kernel, self.bias, 2, self.kernel_size[0] // 2, groups=self.groups)


class SeparableBlock(nn.Module):
    """A depthwise 3x3 and a pointwise 1x1 convolution, whose result is added to the input and activated.

    Where the block halves the size (``down``), the input is max-pooled before the sum. Where the result has
    more channels than the input, the input is padded with channels of zeros.
    """

    def __init__(self, in_channels: int, out_channels: int, activation: nn.Module, down: bool = False):
        super().__init__()
        self.depthwise: nn.Module = (
            DownConv(in_channels, in_channels, 3, groups=in_channels)
            if down
            else nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels)
        )
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1)
        self.activation = activation
        self.in_channels = in_channels
        self.down = down

    def forward(self, x: Tensor) -> Tensor:  # BxCxHxW -> BxDxHxW, or BxDx(H/2)x(W/2) with down
        out = self.pointwise(self.depthwise(x))
        out[:, : self.in_channels] += F.max_pool2d(x, 2) if self.down else x
        return self.activation(out)


def load_weights(network: nn.Module, name: str, device: torch.device) -> nn.Module:
    """Load ``weights/NAME.safetensors`` into ``network`` and return it on ``device``, frozen, in eval mode.

    The file holds half precision, the network gets float32. Raises CheckpointError for a changed file.
    """
    path = WEIGHTS / f"{name}.safetensors"
    check_intact(path)
    weights = load_file(path)
    network.load_state_dict({key: value.float() for key, value in weights.items()}, strict=True)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster by a third on a CPU
    return network.eval().requires_grad_(False).to(device)


def check_image(image: np.ndarray) -> None:
    """Raise InputError unless ``image`` is HxWx3 uint8."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"a face is looked for in a uint8 array of shape HxWx3 (RGB), not in {got}")
