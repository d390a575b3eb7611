"""Inception v3 in the form that the Fréchet inception distance (FID) needs, for pytorch-fid's weights.

Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2015, in the form of TensorFlow's
file of 2015-12-05: average pools leave the padding out of the mean, and the last block pools by maximum.
Names of parameters are those of ``pt_inception-2015-12-05-6726825d.pth``.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fomm.bundled import sha256_of
from fomm.errors import CheckpointError

WEIGHTS = "pt_inception-2015-12-05-6726825d.pth"  # the end of the name is the start of its sha256

_UNREADABLE = (
    *(OSError, EOFError, RuntimeError, KeyError, ValueError, TypeError, AttributeError),
    pickle.UnpicklingError,
)

Kernel = int | tuple[int, int]


class _Conv(nn.Module):
    """A convolution, then batch normalisation and ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: Kernel, stride: int = 1, padding: Kernel = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


def _conv_row(in_channels: int, out_channels: int, size: int = 7) -> _Conv:
    """Return a convolution of 1x(size)."""
    return _Conv(in_channels, out_channels, (1, size), padding=(0, size // 2))


def _conv_column(in_channels: int, out_channels: int, size: int = 7) -> _Conv:
    """Return a convolution of (size)x1."""
    return _Conv(in_channels, out_channels, (size, 1), padding=(size // 2, 0))


def _mean_pool(x: Tensor) -> Tensor:
    """Return the mean of 3x3 pixels around each, without those beyond the border."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class _BlockA(nn.Module):
    """A block at 35x35 whose output has 64 + 64 + 96 + ``pooled`` channels."""

    def __init__(self, channels: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = _Conv(channels, 64, 1)
        self.branch5x5_1, self.branch5x5_2 = _Conv(channels, 48, 1), _Conv(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = _Conv(channels, 64, 1)
        self.branch3x3dbl_2 = _Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = _Conv(96, 96, 3, padding=1)
        self.branch_pool = _Conv(channels, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        parts = [
            self.branch1x1(x),
            self.branch5x5_2(self.branch5x5_1(x)),
            double,
            self.branch_pool(_mean_pool(x)),
        ]
        return torch.cat(parts, 1)


class _BlockB(nn.Module):
    """A block that goes from 35x35 to 17x17."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch3x3 = _Conv(channels, 384, 3, stride=2)
        self.branch3x3dbl_1 = _Conv(channels, 64, 1)
        self.branch3x3dbl_2 = _Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = _Conv(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, 2)], 1)


class _BlockC(nn.Module):
    """A block at 17x17: convolutions of 7x7 in two steps, with ``width`` channels between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch1x1 = _Conv(768, 192, 1)
        self.branch7x7_1, self.branch7x7_2 = _Conv(768, width, 1), _conv_row(width, width)
        self.branch7x7_3 = _conv_column(width, 192)
        self.branch7x7dbl_1, self.branch7x7dbl_2 = _Conv(768, width, 1), _conv_column(width, width)
        self.branch7x7dbl_3, self.branch7x7dbl_4 = _conv_row(width, width), _conv_column(width, width)
        self.branch7x7dbl_5 = _conv_row(width, 192)
        self.branch_pool = _Conv(768, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), single, double, self.branch_pool(_mean_pool(x))], 1)


class _BlockD(nn.Module):
    """A block that goes from 17x17 to 8x8."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = _Conv(768, 192, 1), _Conv(192, 320, 3, stride=2)
        self.branch7x7x3_1, self.branch7x7x3_2 = _Conv(768, 192, 1), _conv_row(192, 192)
        self.branch7x7x3_3, self.branch7x7x3_4 = _conv_column(192, 192), _Conv(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch3x3_2(self.branch3x3_1(x))
        long = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([single, long, F.max_pool2d(x, 3, 2)], 1)


class _BlockE(nn.Module):
    """A block at 8x8; its pooling branch takes the maximum or the mean."""

    def __init__(self, channels: int, maximum: bool) -> None:
        super().__init__()
        self.branch1x1 = _Conv(channels, 320, 1)
        self.branch3x3_1 = _Conv(channels, 384, 1)
        self.branch3x3_2a, self.branch3x3_2b = _conv_row(384, 384, 3), _conv_column(384, 384, 3)
        self.branch3x3dbl_1 = _Conv(channels, 448, 1)
        self.branch3x3dbl_2 = _Conv(448, 384, 3, padding=1)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = _conv_row(384, 384, 3), _conv_column(384, 384, 3)
        self.branch_pool = _Conv(channels, 192, 1)
        self.maximum = maximum

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, stride=1, padding=1) if self.maximum else _mean_pool(x)
        parts = [self.branch1x1(x), self.branch3x3_2a(single), self.branch3x3_2b(single)]
        parts += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double), self.branch_pool(pooled)]
        return torch.cat(parts, 1)


class Inception(nn.Module):
    """The network: its last map, averaged over the picture, gives the 2048 features of FID."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Conv(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = _Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = _Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = _Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = _Conv(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _BlockA(192, 32), _BlockA(256, 64), _BlockA(288, 64)
        self.Mixed_6a = _BlockB(288)
        self.Mixed_6b, self.Mixed_6c = _BlockC(128), _BlockC(160)
        self.Mixed_6d, self.Mixed_6e = _BlockC(160), _BlockC(192)
        self.Mixed_7a = _BlockD()
        self.Mixed_7b, self.Mixed_7c = _BlockE(1280, maximum=False), _BlockE(2048, maximum=True)

    def forward(self, image: Tensor) -> Tensor:
        """Return the last map, Bx2048x8x8, of pictures Bx3xHxW in [0, 1]."""
        x = F.interpolate(image, (299, 299), mode="bilinear", align_corners=False) * 2 - 1
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # Bx64x147x147
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))  # Bx192x71x71
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))  # Bx288x35x35
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))  # Bx768x17x17
        x = self.Mixed_7a(self.Mixed_6e(self.Mixed_6d(x)))  # Bx1280x8x8
        return self.Mixed_7c(self.Mixed_7b(x))  # Bx2048x8x8


def cached_weights() -> Path | None:
    """Return the published file if it is in torch hub's cache; nothing is downloaded."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS
    return path if path.is_file() else None


def load_inception(weights: str | os.PathLike[str]) -> Inception:
    """Return the network, frozen, with the weights of a file.

    The file has the layout of ``pt_inception-2015-12-05-6726825d.pth``. Raises CheckpointError for another
    file.
    """
    with torch.device("meta"):  # drawing random weights would take seconds
        network = Inception()
    promise = WEIGHTS.removesuffix(".pth").rpartition("-")[2]
    if Path(weights).name == WEIGHTS and not sha256_of(Path(weights)).startswith(promise):
        raise CheckpointError(f"{weights} is not what its name promises; get the file again")
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        wanted = network.state_dict()
        counters = {name: torch.tensor(0) for name in wanted if name.endswith("num_batches_tracked")}
        floats = {name: state[name].float() for name in wanted.keys() - counters.keys()}
        network.load_state_dict(floats | counters, assign=True)
    except _UNREADABLE as reason:
        raise CheckpointError(
            f"{weights} holds no weights of FID's Inception network; give pytorch-fid's {WEIGHTS}"
        ) from reason
    return network.eval().requires_grad_(False)
