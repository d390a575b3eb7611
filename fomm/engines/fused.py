"""The blocks of the networks, rewritten for inference: fewer operations, fewer passes over memory.

Tensors are channels-last. Weights are buffers: nothing here is trained.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fomm.engines.winograd import TILE, Scratch, Winograd
from fomm.model.blocks import DownBlock2d, Hourglass, ResBlock2d, SameBlock2d, UpBlock2d


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d | None = None) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with the batch norm behind it: float32, copies of their own."""
    weight = conv.weight.detach().float()
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach().float()
    if norm is None:
        return weight.clone(), bias.clone()
    scale, shift = scale_and_shift(norm)
    return weight * scale[:, None, None, None], bias * scale + shift


def scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """What a batch norm multiplies by and adds in eval mode, float32."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise ValueError("a batch norm without running statistics cannot be folded")
    # on the CPU, since not every device has float64
    weight, bias, mean, variance = (
        tensor.detach().cpu().double() for tensor in (norm.weight, norm.bias, mean, variance)
    )
    scale = weight / (variance + norm.eps).sqrt()
    shift = bias - mean * scale
    return scale.to(norm.weight.device, torch.float32), shift.to(norm.weight.device, torch.float32)


def is_plain_run() -> bool:
    """Whether operations run as they are written; else a tracer takes them down for another engine."""
    return not (torch.jit.is_tracing() or torch.compiler.is_compiling())  # type: ignore[attr-defined]


class Convolution(nn.Module):
    """A convolution with a ReLU behind it, where asked."""

    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        dtype: torch.dtype,
        *,
        padding: int,
        stride: int = 1,
        relu: bool = False,
    ) -> None:
        super().__init__()
        self.padding, self.stride, self.relu = padding, stride, relu
        self.register_buffer("weight", weight.to(dtype, memory_format=torch.channels_last))
        self.register_buffer("bias", bias.to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1 and is_plain_run() and x.device.type == "cpu" and self._is_small(x):
            out = self._as_product(x)
        else:
            out = F.conv2d(x, self.weight, self.bias, stride=self.stride, padding=self.padding)
        return out.relu_() if self.relu else out

    def _is_small(self, x: Tensor) -> bool:
        """Few positions and many weights: the library would spend its time on sorting the weights."""
        return x.shape[0] * x.shape[2] * x.shape[3] <= x.shape[1]

    def _as_product(self, x: Tensor) -> Tensor:
        kernel = self.weight.shape[-1]
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, *[self.padding] * 4))
        batch, height, width, channels = padded.shape
        steps = padded.stride()
        windows = padded.as_strided(
            (batch, height - kernel + 1, width - kernel + 1, kernel, kernel, channels),
            (*steps[:3], *steps[1:]),
        ).flatten(3)
        return F.linear(windows, self.weight.permute(0, 2, 3, 1).flatten(1), self.bias).permute(0, 3, 1, 2)


class Same(Convolution):
    """``SameBlock2d``."""

    def __init__(self, block: SameBlock2d, dtype: torch.dtype) -> None:
        padding = block.conv.weight.shape[-1] // 2
        super().__init__(*folded(block.conv, block.norm), dtype, padding=padding, relu=True)


class Down(nn.Module):
    """``DownBlock2d``."""

    def __init__(self, block: DownBlock2d, dtype: torch.dtype) -> None:
        super().__init__()
        self.conv = Convolution(*folded(block.conv, block.norm), dtype, padding=1, relu=True)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.conv(x), 2)


class Up(nn.Module):
    """``UpBlock2d``: its 3x3 convolution of doubled pixels is four 2x2 ones of the pixels themselves.

    Two of three taps fall on copies of one pixel, so their weights are added up. Which two, differs between
    the upper and the lower half of a pixel, and between left and right: four kernels, which run as one. They
    give one row and one column more than there are pixels. Put in reverse order into the pixels' halves,
    the last half first, all numbers come to their places, with a border of one around them.
    """

    def __init__(self, block: UpBlock2d, dtype: torch.dtype) -> None:
        super().__init__()
        weight, bias = folded(block.conv, block.norm)
        taps = weight.permute(0, 2, 3, 1).contiguous()  # Ox3x3xI
        outputs, inputs = len(bias), taps.shape[-1]
        kernels = weight.new_empty(outputs, 2, 2, 2, 2, inputs)  # for halves 1 - p and 1 - q: 2x2xI
        for p, rows in enumerate(_halves(taps.unbind(1))):
            for y, row in enumerate(rows):
                for q, columns in enumerate(_halves(row.unbind(1))):
                    for x, column in enumerate(columns):
                        kernels[:, 1 - p, 1 - q, y, x] = column
        kernels = kernels.flatten(0, 2).permute(0, 3, 1, 2)
        self.conv = Convolution(kernels, bias.repeat_interleave(4), dtype, padding=1, relu=True)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """BxCxHxW to twice the size; ``skip`` joins the channels at their end."""
        out = F.pixel_shuffle(self.conv(x), 2)[:, :, 1:-1, 1:-1]
        return out if skip is None else torch.cat((out, skip), dim=1)


class FusedHourglass(nn.Module):
    """``Hourglass``."""

    def __init__(self, hourglass: Hourglass, dtype: torch.dtype) -> None:
        super().__init__()
        self.down_blocks = nn.ModuleList(
            Down(block, dtype)  # type: ignore[arg-type]
            for block in hourglass.encoder.down_blocks
        )
        self.up_blocks = nn.ModuleList(
            Up(block, dtype)  # type: ignore[arg-type]
            for block in hourglass.decoder.up_blocks
        )

    def forward(self, x: Tensor) -> Tensor:
        levels = [x]
        for block in self.down_blocks:
            levels.append(block(levels[-1]))
        out = levels.pop()
        for block in self.up_blocks:
            out = block(out, levels.pop())
        return out


class Residual(nn.Module):
    """``ResBlock2d``. Its first norm stays: it stands behind a sum and in front of a ReLU."""

    scale: Tensor
    shift: Tensor

    def __init__(self, block: ResBlock2d, dtype: torch.dtype, tiled: bool) -> None:
        super().__init__()
        first, second = folded(block.conv1, block.norm2), folded(block.conv2)
        self.conv1 = Convolution(*first, dtype, padding=1, relu=True)
        self.conv2 = Convolution(*second, dtype, padding=1)
        for name, vector in zip(("scale", "shift"), scale_and_shift(block.norm1), strict=True):
            self.register_buffer(name, vector.to(dtype))
        self.tiled = (Winograd(*first), Winograd(*second)) if tiled else None

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = (vector[:, None, None] for vector in (self.scale, self.shift))
        return self.conv2(self.conv1(torch.addcmul(shift, x, scale).relu_())).add_(x)


class Bottleneck(nn.Module):
    """The residual blocks one after the other; by ``Winograd``'s tiles where that is quicker.

    That is in float32 on a CPU without AVX-512: with it, the usual convolution is as quick where it is wide,
    and quicker where it has less than 256 channels.
    """

    def __init__(self, blocks: Iterable[ResBlock2d], dtype: torch.dtype) -> None:
        super().__init__()
        blocks = list(blocks)
        on_cpu = all(block.conv1.weight.device.type == "cpu" for block in blocks)
        wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
        self.by_tiles = dtype == torch.float32 and on_cpu and not wide
        self.blocks = nn.Sequential(*(Residual(block, dtype, self.by_tiles) for block in blocks))

    def forward(self, x: Tensor) -> Tensor:
        if self.by_tiles and x.device.type == "cpu" and is_plain_run():  # tiles stay where they were made
            return torch.cat([self._by_tiles(picture) for picture in x])
        return self.blocks(x)

    def _by_tiles(self, picture: Tensor) -> Tensor:
        """CxHxW to 1xCxHxW. The borders of two buffers stay zero; all that is between is written in place."""
        features, height, width = picture.shape
        high, wide = (-(-length // TILE) * TILE for length in (height, width))
        stream = picture.new_zeros(high, wide, features)
        stream[:height, :width] = picture.permute(1, 2, 0)
        first, second = picture.new_zeros(2, high + 2, wide + 2, features)
        scratch = Scratch(picture)
        for block in self.blocks:
            assert isinstance(block, Residual) and block.tiled is not None
            torch.addcmul(block.shift, stream, block.scale, out=first[1:-1, 1:-1]).relu_()
            _clear(first, height, width)
            for rows, band in block.tiled[0].bands(first, scratch):
                torch.clamp_min(band, 0, out=_tiles(second[1:-1, 1:-1])[rows])
            _clear(second, height, width)
            for rows, band in block.tiled[1].bands(second, scratch):
                _tiles(stream)[rows] += band
        return stream[:height, :width].permute(2, 0, 1)[None]


def _tiles(picture: Tensor) -> Tensor:
    """4hx4wxC as hx4xwx4xC."""
    return picture.unflatten(1, (-1, TILE)).unflatten(0, (-1, TILE))


def _clear(padded: Tensor, height: int, width: int) -> None:
    """Zero beyond the picture, where its size is no multiple of the tile's."""
    padded[1 + height :] = 0
    padded[:, 1 + width :] = 0


def _halves(taps: tuple[Tensor, ...]) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Three taps on doubled pixels as two on the pixels, for a pixel's first and second half."""
    before, middle, behind = taps
    return (before, middle + behind), (before + middle, behind)
