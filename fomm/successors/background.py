"""How the background moves between two frames, as one map of the plane; animation leaves it still."""

import torch
from torch import Tensor, nn

from fomm.model.blocks import Encoder
from fomm.model.geometry import coordinate_grid
from fomm.successors.resnet import ResNet18

# The entries of a 3x3 map that are found, in the order in which a network gives them.
ENTRIES = {
    "shift": ((0, 2), (1, 2)),
    "affine": ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)),
    "perspective": ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1)),
}


def background_map(numbers: Tensor, kind: str) -> Tensor:
    """Return Bx3x3 maps of (x, y, 1) from the numbers that a network gives for the ``ENTRIES`` of a kind."""
    found = torch.eye(3, device=numbers.device, dtype=numbers.dtype).repeat(len(numbers), 1, 1)
    for (row, column), number in zip(ENTRIES[kind], numbers.unbind(1), strict=True):
        found[:, row, column] = number
    return found


def background_grid(background: Tensor | None, height: int, width: int, like: Tensor) -> Tensor:
    """Return where in the source each pixel of the background comes from: 1xHxWx2 or BxHxWx2, xy in [-1, 1].

    Args:
        background: Bx3x3 from the driving frame to the source; None: it stands still.
        height, width: of the grid, pixels.
        like: its device and dtype.
    """
    grid = coordinate_grid(height, width, like)[None]
    if background is None:
        return grid
    x, y = grid[..., None, 0], grid[..., None, 1]
    columns = background[:, None, None].unbind(-1)  # three of Bx1x1x3
    moved = columns[0] * x + columns[1] * y + columns[2]  # BxHxWx3
    return moved[..., :2] / moved[..., 2:]


class ThinPlateBackground(nn.Module):
    """TPSMM's predictor: ResNet-18 on the source and the driving frame, to an affine map."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.bg_encoder = ResNet18(2 * num_channels, len(ENTRIES["affine"]))

    def forward(self, source: Tensor, driving: Tensor) -> Tensor:
        """Return Bx3x3 from driving frames BxCxHxW to the source, all in [0, 1]."""
        source = source.expand(len(driving), -1, -1, -1)
        return background_map(self.bg_encoder(torch.cat((source, driving), 1)), "affine")


class ArticulatedBackground(nn.Module):
    """MRAA's predictor: an encoder and the mean of its features, to a map of some kind."""

    def __init__(
        self, *, num_channels: int, block_expansion: int, max_features: int, num_blocks: int, bg_type: str
    ) -> None:
        super().__init__()
        self.bg_type = bg_type
        self.encoder = Encoder(block_expansion, 2 * num_channels, num_blocks, max_features)
        width = min(max_features, block_expansion * 2**num_blocks)
        self.fc = nn.Linear(width, len(ENTRIES[bg_type]))

    def forward(self, source: Tensor, driving: Tensor) -> Tensor:
        """Return Bx3x3 from driving frames BxCxHxW to the source, all in [0, 1]."""
        source = source.expand(len(driving), -1, -1, -1)
        features = self.encoder(torch.cat((source, driving), 1))[-1].mean(dim=(2, 3))
        return background_map(self.fc(features), self.bg_type)
