"""The convolutional blocks that the networks are made of."""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Norm = Callable[[int], nn.Module]  # makes the norm for a number of channels; the paper's are batch norms


class ResBlock2d(nn.Module):
    """Pre-activation residual block: two 3x3 convolutions, BxCxHxW to BxCxHxW."""

    def __init__(self, features: int, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)
        self.norm1 = norm(features)
        self.norm2 = norm(features)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(F.relu(self.norm1(x)))
        out = self.conv2(F.relu(self.norm2(out)))
        return out + x


class UpBlock2d(nn.Module):
    """Nearest upsampling by two, then a 3x3 convolution: BxCxHxW to BxC'x2Hx2W."""

    def __init__(self, in_features: int, out_features: int, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_features, out_features, 3, padding=1)
        self.norm = norm(out_features)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))))


class DownBlock2d(nn.Module):
    """A 3x3 convolution, then average pooling by two: BxCxHxW to BxC'x(H/2)x(W/2)."""

    def __init__(self, in_features: int, out_features: int, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_features, out_features, 3, padding=1)
        self.norm = norm(out_features)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.relu(self.norm(self.conv(x))), 2)


class SameBlock2d(nn.Module):
    """A convolution that keeps the size, BxCxHxW to BxC'xHxW; ``kernel_size`` is odd."""

    def __init__(
        self, in_features: int, out_features: int, kernel_size: int, norm: Norm = nn.BatchNorm2d
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_features, out_features, kernel_size, padding=kernel_size // 2)
        self.norm = norm(out_features)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class Encoder(nn.Module):
    """The hourglass's way down: BxCxHxW to a list of itself and every level's output, each half as large."""

    def __init__(
        self,
        block_expansion: int,
        in_features: int,
        num_blocks: int,
        max_features: int,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        widths = [min(max_features, block_expansion * 2**i) for i in range(1, num_blocks + 1)]
        inputs = [in_features, *widths[:-1]]
        self.down_blocks = nn.ModuleList(
            DownBlock2d(*pair, norm) for pair in zip(inputs, widths, strict=True)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        return run_all(self.down_blocks, x)


def run_all(blocks: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
    """Run blocks one after the other, and return the input and the output of each."""
    levels = [x]
    for block in blocks:
        levels.append(block(levels[-1]))
    return levels


class Decoder(nn.Module):
    """The hourglass's way up: each level's output is joined with the encoder's of that size."""

    def __init__(
        self,
        block_expansion: int,
        in_features: int,
        num_blocks: int,
        max_features: int,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()

        def width(level: int) -> int:
            return min(max_features, block_expansion * 2**level)

        self.up_blocks = nn.ModuleList(
            UpBlock2d((1 if level == num_blocks else 2) * width(level), width(level - 1), norm)
            for level in range(num_blocks, 0, -1)
        )
        self.out_filters = block_expansion + in_features

    def forward(self, levels: list[Tensor]) -> Tensor:
        return self.all_levels(levels)[-1]

    def all_levels(self, levels: list[Tensor]) -> list[Tensor]:
        """Return the output of every level on the way up, the smallest first."""
        levels = list(levels)
        outputs = [levels.pop()]
        for block in self.up_blocks:
            outputs.append(torch.cat((block(outputs[-1]), levels.pop()), dim=1))
        return outputs


class Hourglass(nn.Module):
    """Encoder and decoder with skips: BxCxHxW to Bx(block_expansion + C)xHxW.

    H and W are multiples of 2**num_blocks.
    """

    def __init__(
        self,
        block_expansion: int,
        in_features: int,
        num_blocks: int,
        max_features: int,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(block_expansion, in_features, num_blocks, max_features, norm)
        self.decoder = Decoder(block_expansion, in_features, num_blocks, max_features, norm)
        self.out_filters = self.decoder.out_filters

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class AntiAliasInterpolation2d(nn.Module):
    """Downsampling by ``scale`` (1/n) without aliasing: a Gaussian blur, then every n-th pixel.

    The kernel is a buffer named ``weight``, because the published files hold it.
    """

    weight: Tensor

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.step = int(1 / scale)
        sigma = (1 / scale - 1) / 2
        radius = round(sigma * 4)
        offset = torch.arange(-radius, radius + 1, dtype=torch.float32)
        gaussian = torch.exp(-(offset**2) / (2 * sigma**2)) if sigma > 0 else torch.ones(1)
        kernel = gaussian[:, None] * gaussian
        self.register_buffer("weight", (kernel / kernel.sum()).expand(channels, 1, -1, -1).contiguous())

    def forward(self, x: Tensor) -> Tensor:
        if self.scale == 1:
            return x
        pad = self.weight.shape[-1] // 2
        return F.conv2d(x, self.weight, padding=pad, stride=self.step, groups=x.shape[1])
