"""Two small networks that look for changed areas of a face in different ways, and must agree on the area.

Each gives a heat map: for each cell of 4x4 pixels how likely it is that the cell was changed. What is flagged
is where both are high.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from fomm.bundled import check_intact
from fomm.detect.squares import SIZE
from fomm.errors import CheckpointError

WEIGHTS = Path(__file__).parent / "weights" / "traces.safetensors"
CELL = 4  # pixels: the side of a cell of the heat maps
CELLS = SIZE // CELL
BRANCHES = ("pixels", "encoding")
TOP = 0.1  # the score of a picture is the mean over this share of its cells, those that are flagged most
_BLOCK = 8  # pixels: side of the blocks whose frequencies are looked at
_CLIP = 16 / 255  # residuals beyond this are edges of the motif and no traces
_DROPPED = 0.1  # share of the channels that are left out at random in training
_LUMA = (0.299, 0.587, 0.114)


class Heats(NamedTuple):
    """Both heat maps of B pictures before the sigmoid, each BxCELLSxCELLS."""

    pixels: Tensor
    encoding: Tensor

    def agree(self) -> Tensor:
        """Return where both are high, BxCELLSxCELLS in [0, 1]: the smaller of both probabilities.

        A cell is flagged no more than the branch that doubts it more allows.
        """
        return torch.minimum(self.pixels, self.encoding).sigmoid()


def score(logits: Tensor) -> Tensor:
    """Return a number for each picture, B: the mean over the top tenth of its cells.

    It is no probability yet: ``Calibration`` makes one of it.

    Args:
        logits: of the cells, BxCELLSxCELLS.
    """
    cells = logits.flatten(1)
    return cells.topk(max(1, round(TOP * cells.shape[1])), dim=1).values.mean(dim=1)


class Calibration(NamedTuple):
    """From scores to probabilities: p = sigmoid(slope s + offset), after J. Platt, 1999."""

    slope: float
    offset: float

    def probability(self, score: np.ndarray | float) -> np.ndarray:
        """Return the probability, in [0, 1], that what has this score was changed.

        It holds where one in two was changed, by ways like those of the training, and nowhere else.
        """
        return 1 / (1 + np.exp(-np.clip(self.slope * np.asarray(score) + self.offset, -50, 50)))


def cosines(size: int = _BLOCK) -> Tensor:
    """Return the kernels of the two-dimensional DCT-II, orthonormal, size^2 x1xsizexsize.

    The kernel of the frequencies u (down) and v (across) has the number size u + v:
    c(u) c(v) cos(pi (2 y + 1) u / (2 size)) cos(pi (2 x + 1) v / (2 size)), with c(0) = sqrt(1 / size) and
    c(u) = sqrt(2 / size) else.
    """
    steps = torch.arange(size, dtype=torch.float64)
    rows = torch.cos(math.pi * (2 * steps + 1) * steps[:, None] / (2 * size)) * math.sqrt(2 / size)
    rows[0] /= math.sqrt(2)
    return torch.einsum("uy,vx->uvyx", rows, rows).reshape(-1, 1, size, size).float()


def _filter(picture: Tensor, gap: int, middle: float) -> Tensor:
    """Return sums of 3x3 pixels that lie ``gap`` apart, weighted (1 middle 1) down and across, BxCxHxW."""
    edged = F.pad(picture, (gap,) * 4, mode="replicate")  # sums of slices are faster than a convolution
    down = edged[..., : -2 * gap, :] + middle * edged[..., gap:-gap, :] + edged[..., 2 * gap :, :]
    return down[..., : -2 * gap] + middle * down[..., gap:-gap] + down[..., 2 * gap :]


def residuals(picture: Tensor) -> Tensor:
    """Return what is left of a picture without what is smooth, Bx4xHxW in [-1, 1].

    The first three are each colour less its mean over 3x3 pixels, weighted 1 2 1; the fourth is the second
    difference of the luma across and down, (1 -2 1) by (1 -2 1), over 4. Beyond ``_CLIP`` they are cut off.

    Args:
        picture: Bx3xHxW in [0, 1], RGB.
    """
    luma = (picture * picture.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)
    fine = _filter(luma, 1, -2.0) / 4
    return torch.cat([picture - _filter(picture, 1, 2.0) / 16, fine], 1).clamp(-_CLIP, _CLIP) / _CLIP


def bands(picture: Tensor) -> Tensor:
    """Return what a picture holds at three scales of detail, without its colours, Bx9xHxW in [-1, 1].

    Each band is the picture less its mean over an area, the second and third band the mean over a smaller
    area less that over a larger one: three colours each. Means are over 3x3 pixels weighted 1 2 1, 2 and 4
    pixels apart for the larger ones. Beyond ``_CLIP``, or twice and four times of it, they are cut off.

    Args:
        picture: Bx3xHxW in [0, 1], RGB.
    """
    found = []
    for gap in (1, 2, 4):
        smooth = _filter(picture, gap, 2.0) / 16
        limit = gap * _CLIP
        found.append((picture - smooth).clamp(-limit, limit) / limit)
        picture = smooth
    return torch.cat(found, 1)


def energies(details: Tensor) -> Tensor:
    """Return how strong details are around each cell, Bx2CxCELLSxCELLS: log(eps + mean of d^2), eps 1e-4.

    The first C means are over 4x4 pixels, those of the cell, the others over 12x12.

    Args:
        details: BxCxSIZExSIZE in [-1, 1].
    """
    near = F.avg_pool2d(details.square(), CELL)
    wide = F.avg_pool2d(F.pad(near, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return torch.log(torch.cat([near, wide], 1) + 1e-4)


def compare_with_mean(features: Tensor) -> Tensor:
    """Return features, BxCxHxW, and beside them how far each lies from its mean over the picture, Bx2CxHxW.

    Noise and sharpness differ between cameras, but little within a picture that nobody changed.
    """
    return torch.cat([features, features - features.mean((2, 3), keepdim=True)], 1)


def spectrum(picture: Tensor) -> Tensor:
    """Return how strong each frequency is around each cell, Bx63xCELLSxCELLS.

    They are log(1 + 255 |c|) of the DCT coefficients c of the luma, in blocks of 8x8 pixels that overlap by
    half; the mean brightness is left out.

    Args:
        picture: Bx3xSIZExSIZE in [0, 1], RGB.
    """
    luma = (picture * picture.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)
    around = (_BLOCK - CELL) // 2
    edged = F.pad(luma, (around,) * 4, mode="replicate")
    coefficients = F.conv2d(edged, cosines().to(picture)[1:], stride=CELL)
    return torch.log1p(255 * coefficients.abs())


def _layer(inputs: int, outputs: int, stride: int = 1, size: int = 3) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class PixelBranch(nn.Module):
    """Looks at traces alone: residuals and frequencies, in a neighbourhood of about 40 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.residuals = nn.Sequential(_layer(4, 16, 2), _layer(16, 24, 2))
        self.spectrum = _layer(63 + 2 * 4, 24, size=1)
        self.joined = nn.Sequential(_layer(96, 48, size=1), *(_layer(48, 48) for _ in range(3)))
        self.drop = nn.Dropout2d(_DROPPED)
        self.heat = nn.Conv2d(48, 1, 1)

    def forward(self, picture: Tensor) -> Tensor:  # Bx3xSIZExSIZE in [0, 1] -> BxCELLSxCELLS
        with torch.autocast(picture.device.type, enabled=False):
            fine = residuals(picture)
            strengths = torch.cat([spectrum(picture), energies(fine)], 1)
        traces = torch.cat([self.residuals(fine), self.spectrum(strengths)], 1)
        return self.heat(self.joined(self.drop(compare_with_mean(traces))))[:, 0]


class EncodingBranch(nn.Module):
    """Looks at details of three scales: a small encoder, and each place in the context of the whole picture.

    It is not shown the colours of areas: by them it would learn the training's people by heart.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(_layer(9, 16, 2), _layer(16, 24, 2))  # 32x32
        self.second = nn.Sequential(_layer(24, 48, 2), _layer(48, 48))  # 16x16
        self.third = nn.Sequential(_layer(48, 64, 2), _layer(64, 64))  # 8x8
        self.drop = nn.Dropout2d(_DROPPED)
        self.context = nn.Linear(64, 64)
        self.up_third = _layer(64, 48, size=1)
        self.up_second = _layer(48, 24)
        self.last = _layer(48, 24)
        self.heat = nn.Conv2d(24, 1, 1)

    def forward(self, picture: Tensor) -> Tensor:  # Bx3xSIZExSIZE in [0, 1] -> BxCELLSxCELLS
        with torch.autocast(picture.device.type, enabled=False):
            details = bands(picture)
        fine = self.first(details)
        middle = self.second(fine)
        coarse = self.drop(self.third(middle))
        coarse = coarse + self.context(coarse.mean((2, 3)))[:, :, None, None]
        middle = middle + F.interpolate(self.up_third(coarse), scale_factor=2.0, mode="bilinear")
        fine = fine + F.interpolate(self.up_second(middle), scale_factor=2.0, mode="bilinear")
        return self.heat(self.last(compare_with_mean(fine)))[:, 0]


class TraceNetwork(nn.Module):
    """Both branches."""

    def __init__(self) -> None:
        super().__init__()
        self.pixels = PixelBranch()
        self.encoding = EncodingBranch()

    def forward(self, picture: Tensor) -> Heats:
        """Return both heat maps.

        Args:
            picture: Bx3xSIZExSIZE in [0, 1], RGB: squares around faces, see ``cut_square``.
        """
        return Heats(self.pixels(picture).float(), self.encoding(picture).float())


def to_batch(pictures: np.ndarray) -> Tensor:
    """Return pictures, BxSxSx3 uint8, as Bx3xSxS float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255


@lru_cache(maxsize=1)
def load_network() -> tuple[TraceNetwork, Calibration]:
    """Return the network with the weights that ship, frozen, and its calibration; loaded once.

    Raises CheckpointError: the file was changed or damaged.
    """
    check_intact(WEIGHTS)
    return read_network(WEIGHTS)


def read_network(path: Path) -> tuple[TraceNetwork, Calibration]:
    """Return the network and the calibration in a file that ``training.write_network`` wrote.

    Raises CheckpointError: it is none.
    """
    network = TraceNetwork()
    try:
        tensors = load_file(path)
        slope, offset = tensors.pop("calibration").tolist()
        counts = {key: value for key, value in network.state_dict().items() if not value.is_floating_point()}
        network.load_state_dict({key: value.float() for key, value in tensors.items()} | counts, strict=True)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as reason:
        raise CheckpointError(
            f"{path} does not hold the weights of the detector ({type(reason).__name__}); install fomm again"
        ) from reason
    return network.eval().requires_grad_(False), Calibration(slope, offset)
