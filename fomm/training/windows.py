"""Windows: one square of each picture. To paint and compare it alone is cheaper than the whole picture."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from fomm.config import Config
from fomm.errors import ConfigError
from fomm.training.flow import Flow


class Windows(NamedTuple):
    """One square for each of B pictures, on the grid of the generator's features."""

    corners: list[tuple[int, int]]  # top and left, in cells: pixels of the features
    side: int  # in cells
    cell: int  # side of a cell in pixels of the picture

    def cut(self, features: Tensor) -> Tensor:
        """Cut the windows out of features BxFxhxw."""
        return self._cut(features, 1)

    def cut_pictures(self, pictures: Tensor) -> Tensor:
        """Cut the windows out of pictures BxCxHxW."""
        return self._cut(pictures, self.cell)

    def cut_flow(self, flow: Flow) -> tuple[Tensor, Tensor]:
        """Cut a flow on the grid of all cells: positions Bxsxsx2, and what is seen, Bx1xsxs."""
        return self.cut(flow.position.permute(0, 3, 1, 2)).permute(0, 2, 3, 1), self.cut(flow.seen[:, None])

    def fill(self, pictures: Tensor, windows: Tensor) -> Tensor:
        """Return a copy of pictures BxCxHxW with ``windows`` (BxCxSxS) in their places."""
        filled, side = pictures.clone(), self.side * self.cell
        for picture, window, (top, left) in zip(filled, windows, self.corners, strict=True):
            top, left = top * self.cell, left * self.cell
            picture[:, top : top + side, left : left + side] = window
        return filled

    def follow(self, flow: Flow, side: int, *, align_corners: bool) -> tuple["Windows", Tensor, Tensor]:
        """Find windows of the sources around what these windows of the driving frames show.

        Args:
            flow: on the grid of all cells.
            side: of the new windows, in cells.
            align_corners: see ``geometry.warp``.

        Returns:
            The new windows. Then Bxsxsx2, for each cell of the old windows its place in the new one, xy in
            [-1, 1] from border to border. Then Bx1xsxs bool, whether the new window shows it.
        """
        cells = torch.tensor(flow.seen.shape[:0:-1], device=flow.position.device)  # width, height

        def length(count: Tensor | int) -> Tensor | int:
            return count - 1 if align_corners else count

        position, seen = self.cut_flow(flow)
        place = (position + 1) / 2 * length(cells)
        weight = seen[:, 0, :, :, None]
        middle = (place * weight).sum((1, 2)) / weight.sum((1, 2)).clamp(min=1)
        windows = _place_around(middle, cells, side, self.cell)
        corner = torch.tensor(windows.corners, device=place.device)[:, None, None].flip(-1)
        inside = (place - corner) / length(side) * 2 - 1
        return windows, inside, seen * (inside.abs() <= 1).all(-1)[:, None]

    def _cut(self, maps: Tensor, step: int) -> Tensor:
        side = self.side * step
        return torch.stack(
            [
                one[:, top * step : top * step + side, left * step : left * step + side]
                for one, (top, left) in zip(maps, self.corners, strict=True)
            ]
        )


def check_window(config: Config) -> None:
    """Check that ``train_params.window`` and ``source_window`` fit the pictures and the networks.

    Raises:
        ConfigError: they do not.
    """
    params, model = config.train_params, config.model_params
    if params is None:
        return
    if params.source_window is not None and (params.window is None or not params.true_motion):
        raise ConfigError(
            "train_params.source_window goes with window and true_motion alone: key points and motion are "
            "found in whole pictures; set both of them, or take it out"
        )
    cell = 2**model.generator_params.num_down_blocks
    smallest = min(config.dataset_params.frame_shape[:2])
    for name in ("window", "source_window"):
        side = getattr(params, name)
        if side is not None and (side % cell or side > smallest):
            raise ConfigError(
                f"train_params.{name} is {side} pixels; it is a multiple of {cell} (2^num_down_blocks), "
                f"and at most {smallest}, the smaller side of dataset_params.frame_shape"
            )
    if params.window is None:
        return
    if model.discriminator_params is not None and model.discriminator_params.use_kp:
        raise ConfigError(
            "train_params.window does not go with discriminator_params.use_kp, whose key points lie in the "
            "whole picture; take one of them out"
        )


def draw_windows(config: Config, points: Tensor | None, batch: int, rng: Generator) -> Windows | None:
    """Draw windows for B pictures; None where ``train_params.window`` asks for none.

    Args:
        config: with the side of a window.
        points: BxKx2, xy in [-1, 1]. A random one of them lies in the middle of each window, or as near to it
            as the picture's border allows. None: windows lie anywhere.
        batch: B.
        rng: on the CPU, so that a seed means the same on every device.
    """
    params = config.train_params
    if params is None or params.window is None:
        return None
    cell = 2**config.model_params.generator_params.num_down_blocks
    side = params.window // cell
    height, width = (length // cell for length in config.dataset_params.frame_shape[:2])
    if points is None:
        middle = 2 * torch.rand(batch, 2, generator=rng) - 1
    else:
        chosen = torch.randint(points.shape[1], (batch,), generator=rng)
        middle = points.cpu()[torch.arange(batch), chosen]
    size = torch.tensor([width, height])
    return _place_around((middle + 1) / 2 * size, size, side, cell)


def _place_around(middle: Tensor, size: Tensor, side: int, cell: int) -> Windows:
    """Return windows with points Bx2 in their middles, or as near to these as the pictures' borders allow.

    Args:
        middle: the points, xy in cells.
        size: width and height of the pictures, in cells.
        side: of the windows, in cells.
        cell: in pixels.
    """
    corner = (middle - side / 2).round()
    corner = corner.clamp(min=torch.zeros_like(corner[0]), max=(size - side).float()).long()
    return Windows([(int(top), int(left)) for left, top in corner.tolist()], side, cell)
