"""The blocks of the networks, rewritten for inference: fewer operations, fewer passes over memory.

Tensors are channels-last. Weights are buffers, since nothing here is trained.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fomm.engines.winograd import TILE, Scratch, Winograd
from fomm.model.blocks import DownBlock2d, Hourglass, ResBlock2d, SameBlock2d, UpBlock2d


def fold_norm(conv: nn.Conv2d, norm: nn.Module | None = None) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a convolution with the batch norm behind it, if any, as float32 copies."""
    weight = conv.weight.detach().float()
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach().float()
    if norm is None:
        return weight.clone(), bias.clone()
    scale, shift = affine_of(norm)
    return weight * scale[:, None, None, None], bias * scale + shift


def affine_of(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the scale and the shift of each channel that a batch norm applies in eval mode, float32."""
    if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None or norm.running_var is None:
        raise ValueError("a norm without running statistics cannot be folded")
    mean, variance = norm.running_mean, norm.running_var
    # on the CPU, since not every device has float64
    weight, bias, mean, variance = (
        tensor.detach().cpu().double() for tensor in (norm.weight, norm.bias, mean, variance)
    )
    scale = weight / (variance + norm.eps).sqrt()
    shift = bias - mean * scale
    return scale.to(norm.weight.device, torch.float32), shift.to(norm.weight.device, torch.float32)


_plain = ContextVar("plain", default=False)


@contextmanager
def run_plainly() -> Iterator[None]:
    """Call each convolution as a module in the block, so that hooks see what it reads; nothing is fused."""
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def is_eager() -> bool:
    """Return whether operations may be fused: they are not traced for another engine, nor run plainly."""
    traced = torch.jit.is_tracing() or torch.compiler.is_compiling()  # type: ignore[attr-defined]
    return not (traced or _plain.get())


@cache
def _can_fuse(dtype: torch.dtype) -> bool:
    """Return whether PyTorch can convolve, add and apply a ReLU in one pass over memory, on this CPU.

    These operations are those that ``torch.compile`` uses; a version of PyTorch may not have them.
    """
    library = torch.ops.mkldnn
    names = ("_convolution_pointwise", "_convolution_pointwise_", "_convolution_transpose_pointwise")
    if not (torch.backends.mkldnn.is_available() and all(hasattr(library, name) for name in names)):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and bool(library._is_mkldnn_bf16_supported()))


class Convolution(nn.Module):
    """A convolution, with a ReLU behind it if asked."""

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

    def forward(self, x: Tensor, total: Tensor | None = None) -> Tensor:
        """Convolve ``x``, and add ``total`` if it is given; the sum may be written over it."""
        on_cpu = is_eager() and x.device.type == "cpu"
        fuses = on_cpu and _can_fuse(self.weight.dtype)
        if on_cpu and self.stride == 1 and self._is_small(x):
            out = self._multiply(x)
        elif fuses and total is not None and not self.relu:
            return torch.ops.mkldnn._convolution_pointwise_.binary(
                total, x, self.weight, self.bias, *self._steps, "add", 1.0, None, [], None
            )
        elif fuses and total is None and self.relu:
            return torch.ops.mkldnn._convolution_pointwise(
                x, self.weight, self.bias, *self._steps, "relu", [], ""
            )
        else:
            out = F.conv2d(x, self.weight, self.bias, stride=self.stride, padding=self.padding)
        out = out.relu_() if self.relu else out
        return out if total is None else out.add_(total)

    @property
    def _steps(self) -> tuple[list[int], list[int], list[int], int]:
        """Padding, stride, dilation and groups, as oneDNN's operations take them."""
        return [self.padding] * 2, [self.stride] * 2, [1, 1], 1

    def _is_small(self, x: Tensor) -> bool:
        """Return whether there are so few pixels that most time would go to reordering the weights."""
        return x.shape[0] * x.shape[2] * x.shape[3] <= x.shape[1]

    def _multiply(self, x: Tensor) -> Tensor:
        """Convolve by one matrix product: a row for each pixel, with all that its kernel sees."""
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
    """``SameBlock2d``, its norm folded into its convolution."""

    def __init__(self, block: SameBlock2d, dtype: torch.dtype) -> None:
        padding = block.conv.weight.shape[-1] // 2
        super().__init__(*fold_norm(block.conv, block.norm), dtype, padding=padding, relu=True)


class Down(nn.Module):
    """``DownBlock2d``, its norm folded into its convolution."""

    def __init__(self, block: DownBlock2d, dtype: torch.dtype) -> None:
        super().__init__()
        self.conv = Convolution(*fold_norm(block.conv, block.norm), dtype, padding=1, relu=True)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.conv(x), 2)


_MANY = 256  # pixels from which on a transposed convolution is faster; below, weights are mostly reordered


class Up(nn.Module):
    """``UpBlock2d``: its 3x3 convolution of doubled pixels as one 2x2 convolution of the pixels themselves.

    Two of three taps fall on copies of one pixel, so their weights are added up. Which two these are depends
    on which half of the pixel is computed. So each half has a kernel, and each kernel is a channel. In one
    dimension, of the pixels a, b and c, where a1 and a2 are the two halves of a in the result:

        where the kernels lie       0,a   a,b   b,c   c,0
        channel 0, second halves     .    a2    b2    c2
        channel 1, first halves      a1   b1    c1    .
        pixel shuffle               . a1 a2 b1 b2 c1 c2 .
        crop                          a1 a2 b1 b2 c1 c2

    In two dimensions there are four kernels, and the crop takes a border of one pixel away. A transposed
    convolution of stride 2 with the same numbers in a 4x4 kernel does it in one pass.
    """

    _transposed: tuple[Tensor, Tensor] | None = None  # the 4x4 kernel and its bias, once they are needed

    def __init__(self, block: UpBlock2d, dtype: torch.dtype) -> None:
        super().__init__()
        weight, bias = fold_norm(block.conv, block.norm)
        taps = weight.permute(0, 2, 3, 1).contiguous()  # Ox3x3xI
        outputs, inputs = len(bias), taps.shape[-1]
        kernels = weight.new_empty(outputs, 2, 2, 2, 2, inputs)  # for halves 1 - p and 1 - q: 2x2xI
        for p, rows in enumerate(_add_shared_taps(taps.unbind(1))):
            for y, row in enumerate(rows):
                for q, columns in enumerate(_add_shared_taps(row.unbind(1))):
                    for x, column in enumerate(columns):
                        kernels[:, 1 - p, 1 - q, y, x] = column
        kernels = kernels.flatten(0, 2).permute(0, 3, 1, 2)
        self.conv = Convolution(kernels, bias.repeat_interleave(4), dtype, padding=1, relu=True)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """Double the size of BxCxHxW; ``skip``, BxC'x2Hx2W, is appended to the channels."""
        many = x.shape[2] * x.shape[3] >= _MANY
        exact = isinstance(self.conv, Convolution)  # not in 8 bits
        if exact and is_eager() and x.device.type == "cpu" and many and _can_fuse(self.conv.weight.dtype):
            out = self._convolve_transposed(x)
        else:
            out = F.pixel_shuffle(self.conv(x), 2)[:, :, 1:-1, 1:-1]
        return out if skip is None else torch.cat((out, skip), dim=1)

    def _convolve_transposed(self, x: Tensor) -> Tensor:
        if self._transposed is None:
            # in one dimension channel p, tap y is number p + 2 (1 - y) of the four
            kernels = self.conv.weight.unflatten(0, (-1, 2, 2)).flip(-2, -1)  # Ox2x2xIx2x2
            kernels = kernels.permute(3, 0, 4, 1, 5, 2).flatten(4).flatten(2, 3)  # IxOx4x4
            kernels = kernels.contiguous(memory_format=torch.channels_last)
            self._transposed = kernels, self.conv.bias[::4].contiguous()
        steps = [1, 1], [0, 0], [2, 2], [1, 1], 1  # padding, that of the result, stride, dilation, groups
        return torch.ops.mkldnn._convolution_transpose_pointwise(x, *self._transposed, *steps, "relu", [], "")


class FusedHourglass(nn.Module):
    """``Hourglass`` of ``Down`` and ``Up``."""

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
    """``ResBlock2d``, its second norm folded into its first convolution.

    The first norm stays, since it stands between a sum and a ReLU.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, block: ResBlock2d, dtype: torch.dtype, *, winograd: bool) -> None:
        super().__init__()
        first, second = fold_norm(block.conv1, block.norm2), fold_norm(block.conv2)
        self.conv1 = Convolution(*first, dtype, padding=1, relu=True)
        self.conv2 = Convolution(*second, dtype, padding=1)
        for name, vector in zip(("scale", "shift"), affine_of(block.norm1), strict=True):
            self.register_buffer(name, vector.to(dtype))
        # a plain tuple, so that ``to`` does not move them: they are for the CPU alone
        self.winograd = (Winograd(*first), Winograd(*second)) if winograd else None

    def forward(self, x: Tensor) -> Tensor:
        """Run the block on BxFxHxW; the result may be written over it."""
        scale, shift = (vector[:, None, None] for vector in (self.scale, self.shift))
        out = self.conv1(torch.addcmul(shift, x, scale).relu_())
        return self.conv2(out, x)


class Bottleneck(nn.Module):
    """The residual blocks one after the other, by ``Winograd`` where that is faster.

    It is faster in float32 on a CPU without AVX-512. With AVX-512 the usual convolution is as fast from 256
    channels on, and faster where there are fewer.
    """

    def __init__(self, blocks: Iterable[ResBlock2d], dtype: torch.dtype) -> None:
        super().__init__()
        blocks = list(blocks)
        on_cpu = all(block.conv1.weight.device.type == "cpu" for block in blocks)
        wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
        self.uses_winograd = dtype == torch.float32 and on_cpu and not wide
        self.blocks = nn.Sequential(
            *(Residual(block, dtype, winograd=self.uses_winograd) for block in blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        if not is_eager():
            return self.blocks(x)
        if self.uses_winograd and x.device.type == "cpu":
            return torch.cat([self._run_winograd(picture) for picture in x])
        return self.blocks(x.clone())  # the blocks write over what they get

    def _run_winograd(self, picture: Tensor) -> Tensor:
        """Run all blocks on CxHxW, to 1xCxHxW, in buffers that are written in place.

        ``first`` and ``second`` hold what the first and second convolutions of a block read. Their borders
        stay zero, as the convolutions' padding.
        """
        features, height, width = picture.shape
        high, wide = (-(-length // TILE) * TILE for length in (height, width))
        stream = picture.new_zeros(high, wide, features)
        stream[:height, :width] = picture.permute(1, 2, 0)
        first, second = picture.new_zeros(2, high + 2, wide + 2, features)
        scratch = Scratch(picture)
        for block in self.blocks:
            assert isinstance(block, Residual)
            assert block.winograd is not None
            before, after = block.winograd
            torch.addcmul(block.shift, stream, block.scale, out=first[1:-1, 1:-1]).relu_()
            _clear_beyond(first, height, width)
            for rows, band in before.bands(first, scratch):
                torch.clamp_min(band, 0, out=_view_tiles(second[1:-1, 1:-1])[rows])
            _clear_beyond(second, height, width)
            for rows, band in after.bands(second, scratch):
                _view_tiles(stream)[rows] += band
        return stream[:height, :width].permute(2, 0, 1)[None]


def _view_tiles(picture: Tensor) -> Tensor:
    """View 4hx4wxC as hx4xwx4xC."""
    return picture.unflatten(1, (-1, TILE)).unflatten(0, (-1, TILE))


def _clear_beyond(padded: Tensor, height: int, width: int) -> None:
    """Set to zero what lies beyond the picture, where its size is no multiple of the tile's."""
    padded[1 + height :] = 0
    padded[:, 1 + width :] = 0


def _add_shared_taps(taps: tuple[Tensor, ...]) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Turn three taps on doubled pixels into two on the pixels, for a pixel's first and second half."""
    before, middle, behind = taps
    return (before, middle + behind), (before + middle, behind)
