"""3x3 convolutions with a quarter of the multiplications, exact but for rounding: Winograd's filtering.

A tile of 4x4 outputs takes 36 multiplications for each pair of channels instead of 144. Small constant
matrices transform inputs, weights and outputs (Lavin and Gray, 2016, "Fast algorithms for convolutional
neural networks"); between them stand plain matrix products, one for each place in the 6x6 tile.

Pictures here are HxWxC.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

TILE = 4  # outputs, each way
_SIDE = TILE + 2  # inputs, each way
_PLACES = _SIDE**2
_POINTS = (0.0, 1.0, -1.0, 2.0, -0.5)  # where polynomials are evaluated, beside infinity; they round little
_BAND = 128  # tiles that are computed together: what they need stays in the processor's cache


class Scratch:
    """Memory that many convolutions use in turn: to allocate it takes longer than the sums that it is for."""

    def __init__(self, like: Tensor) -> None:
        self.like = like
        self.held: dict[int, Tensor] = {}

    def take(self, slot: int, *shape: int) -> Tensor:
        """Return an uninitialised tensor, which is good until the next one is taken from the same slot."""
        size = math.prod(shape)
        if slot not in self.held or self.held[slot].numel() < size:
            self.held[slot] = self.like.new_empty(size)
        return self.held[slot][:size].view(shape)


class Winograd(nn.Module):
    """A 3x3 convolution of stride 1, with bias, of one padded picture.

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
        analysis, kernels, synthesis = (
            torch.kron(matrix, matrix).to(weight) for matrix in cook_toom_matrices()
        )
        transformed = kernels @ weight.permute(2, 3, 1, 0).reshape(9, -1)
        self.register_buffer("weight", transformed.view(_PLACES, inputs, outputs))
        self.register_buffer("bias", bias)
        self.register_buffer("to_tiles", analysis)
        self.register_buffer("from_tiles", synthesis)

    def bands(self, padded: Tensor, scratch: Scratch) -> Iterator[tuple[slice, Tensor]]:
        """Compute the output in bands, from top to bottom.

        Args:
            padded: (4h + 2)x(4w + 2)xC, dense.
            scratch: memory for what is computed on the way.

        Yields:
            A slice of r of the h rows of tiles, and their outputs, rx4xwx4xO: a view of ``scratch``, good
            until the next band is asked for.
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
            transformed = scratch.take(1, _PLACES, number, inputs)
            torch.mm(self.to_tiles, gathered, out=transformed.flatten(1))
            products = scratch.take(2, _PLACES, number, outputs)
            torch.bmm(transformed, self.weight, out=products)
            products[_SIDE + 1] += self.bias  # the point (1, 1): it adds the same to every output
            band = scratch.take(0, TILE**2, number * outputs)
            torch.mm(self.from_tiles, products.flatten(1), out=band)
            view = band.view(TILE, TILE, count, columns, outputs).permute(2, 0, 3, 1, 4)
            yield slice(top, top + count), view


def cook_toom_matrices() -> tuple[Tensor, Tensor, Tensor]:
    """Return B^T (6x6), G (6x3) and A^T (4x6) for 4 outputs of a kernel of 3, float64.

    A^T (G g * B^T d) is the correlation of six numbers d with the kernel g, where * multiplies elements.
    """
    analysis, kernels, synthesis = torch.zeros(3, _SIDE, _SIDE, dtype=torch.float64)
    for row, point in enumerate(_POINTS):
        coefficients = _coefficients([other for other in _POINTS if other != point])
        powers = torch.tensor([point**power for power in range(_SIDE)], dtype=torch.float64)
        analysis[row, :-1] = coefficients
        kernels[row] = powers / (coefficients @ powers[:-1])
        synthesis[:, row] = powers
    analysis[-1] = _coefficients(list(_POINTS))
    kernels[-1, 2] = synthesis[TILE - 1, -1] = 1  # infinity: the highest powers alone
    return analysis, kernels[:, :3], synthesis[:TILE]


def _coefficients(roots: list[float]) -> Tensor:
    """Return the coefficients of the polynomial with these roots, the constant one first, float64."""
    coefficients = torch.ones(1, dtype=torch.float64)
    for root in roots:
        zero = coefficients.new_zeros(1)
        coefficients = torch.cat((zero, coefficients)) - root * torch.cat((coefficients, zero))
    return coefficients
