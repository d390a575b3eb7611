"""3x3 convolutions with a quarter of the multiplications, exact but for rounding: Winograd's filtering.

A tile of 4x4 outputs takes 36 multiplications for each pair of channels instead of 144. Inputs, weights and
outputs pass through small constant matrices (Lavin and Gray, 2016, "Fast algorithms for convolutional neural
networks"); between them stand plain matrix products, one for each place in the 6x6 tile.

Pictures here are channels-last, HxWxC.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

TILE = 4  # outputs, each way
_SIDE = TILE + 2  # inputs, each way
_PLACES = _SIDE**2
_POINTS = (0.0, 1.0, -1.0, 2.0, -0.5)  # where polynomials are evaluated, beside infinity; these round little
_BAND = 128  # tiles in one go: what they need stays in the processor's cache


class Scratch:
    """Memory that many convolutions write to in turn: fresh memory costs more than the sums done in it."""

    def __init__(self, like: Tensor) -> None:
        self.like = like
        self.held: dict[int, Tensor] = {}

    def take(self, slot: int, *shape: int) -> Tensor:
        """A tensor of ``shape`` with any content, which the next one from the slot overwrites."""
        size = math.prod(shape)
        if slot not in self.held or self.held[slot].numel() < size:
            self.held[slot] = self.like.new_empty(size)
        return self.held[slot][:size].view(shape)


class Winograd(nn.Module):
    """A 3x3 convolution of stride 1, with bias, of one picture that is already padded.

    Args:
        weight: OxCx3x3.
        bias: O.
    """

    weight: Tensor
    bias: Tensor
    to_tiles: Tensor
    from_tiles: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        outputs, inputs = weight.shape[:2]
        analysis, kernels, synthesis = (torch.kron(matrix, matrix).to(weight) for matrix in transforms())
        moved = kernels @ weight.permute(2, 3, 1, 0).reshape(9, -1)
        self.register_buffer("weight", moved.view(_PLACES, inputs, outputs))
        self.register_buffer("bias", bias)
        self.register_buffer("to_tiles", analysis)
        self.register_buffer("from_tiles", synthesis)

    def bands(self, padded: Tensor, scratch: Scratch) -> Iterator[tuple[slice, Tensor]]:
        """The output from top to bottom: slices of r of the h rows of tiles, and views rx4xwx4xO on theirs.

        Args:
            padded: (4h + 2)x(4w + 2)xC, dense.
            scratch: where the steps write; each view is good until the next one is asked for.
        """
        inputs, outputs = self.weight.shape[1:]
        rows, columns = (length // TILE for length in padded.shape[:2])
        strides = padded.stride()
        step = max(1, _BAND // columns)
        for top in range(0, rows, step):
            count = min(step, rows - top)
            number = count * columns
            tiles = padded[TILE * top :].as_strided(
                (_SIDE, _SIDE, count, columns, inputs),
                (*strides[:2], TILE * strides[0], TILE * strides[1], 1),
            )
            gathered = scratch.take(0, _PLACES, number * inputs)
            gathered.view(tiles.shape).copy_(tiles)
            moved = scratch.take(1, _PLACES, number, inputs)
            torch.mm(self.to_tiles, gathered, out=moved.flatten(1))
            products = scratch.take(2, _PLACES, number, outputs)
            torch.bmm(moved, self.weight, out=products)
            products[_SIDE + 1] += self.bias  # the point 1, both ways: it adds the same to every output
            band = scratch.take(0, TILE**2, number * outputs)
            torch.mm(self.from_tiles, products.flatten(1), out=band)
            view = band.view(TILE, TILE, count, columns, outputs).permute(2, 0, 3, 1, 4)
            yield slice(top, top + count), view


def transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Toom and Cook's matrices for 4 outputs of a kernel of 3, float64: B' (6x6), G (6x3) and A' (4x6).

    A'(Gg * B'd) is the correlation of six numbers d with the kernel g.
    """
    analysis, kernels, synthesis = torch.zeros(3, _SIDE, _SIDE, dtype=torch.float64)
    for row, point in enumerate(_POINTS):
        factors = _with_roots([other for other in _POINTS if other != point])
        powers = torch.tensor([point**power for power in range(_SIDE)], dtype=torch.float64)
        analysis[row, :-1] = factors
        kernels[row] = powers / (factors @ powers[:-1])
        synthesis[:, row] = powers
    analysis[-1] = _with_roots(list(_POINTS))
    kernels[-1, 2] = synthesis[TILE - 1, -1] = 1  # infinity: the highest powers alone
    return analysis, kernels[:, :3], synthesis[:TILE]


def _with_roots(roots: list[float]) -> Tensor:
    """The factors of the polynomial with these roots, the constant one first, float64."""
    factors = torch.ones(1, dtype=torch.float64)
    for root in roots:
        zero = factors.new_zeros(1)
        factors = torch.cat((zero, factors)) - root * torch.cat((factors, zero))
    return factors
