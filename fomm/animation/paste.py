"""Puts the animated square back into the photo: as sharp as the photo, and without a seam.

The network's picture is small and soft. The detail that it lacks is known while nothing moves: it is the
photo less the network's picture of the photo at rest. This detail is moved by the motion that the network
found, and added to each frame. Where nothing moves, the photo itself comes out, pixel for pixel. The alpha of
a photo that has some is moved by the same motion.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fomm.animation.frames import to_bytes
from fomm.face.crop import Rect
from fomm.media.resize import cut_out
from fomm.model.geometry import displacement, pixel_centres, warp

# Shares of the square's side, from its border: the photo alone; then the fade to what is animated
EDGE, BORDER = 0.03, 0.08
UNCHANGED, CHANGED = 0.015, 0.05  # differences of colour that count as none, and as whole
BAND = 128  # rows in one go on a CPU: what they need stays in its cache, and memory small for any photo


class Paste:
    """Puts animated frames of one part of a photo into the whole.

    Args:
        photo: HxWx3 uint8, or HxWx4 with alpha.
        part: the square that was animated; may leave the photo.
        rest: 1x3xhxw in [0, 1], the network's picture of the unmoved source.
    """

    def __init__(self, photo: np.ndarray, part: Rect, rest: Tensor) -> None:
        self.rest = rest.contiguous()
        x0, y0, x1, y1 = (round(value) for value in part)
        self.inner = (max(y0, 0), min(y1, photo.shape[0]), max(x0, 0), min(x1, photo.shape[1]))
        self.corner, self.size = (y0, x0), (y1 - y0, x1 - x0)
        pixels = cut_out(photo, Rect(x0, y0, x1, y1), self.size)
        exact = _to_planes(pixels, rest.device)
        whole = [(slice(0, self.size[0]), slice(0, self.size[1]))]
        self.detail = exact[:, :3] - Enlarged(rest, self.size, "bicubic", whole)[whole[0]]
        self.alpha = exact[:, 3:] if exact.shape[1] == 4 else None
        down, across = (_ramp(length).to(rest.device) for length in self.size)
        self.fade = torch.minimum(down[:, None], across)
        self.x = pixel_centres(1, self.size[1], rest)[0, :, 0]
        self.y = pixel_centres(self.size[0], 1, rest)[:, 0, 1]

    def __call__(
        self, frame: np.ndarray, prediction: Tensor, deformation: Tensor, occlusion_map: Tensor | None
    ) -> None:
        """Write one animated picture into ``frame``, the photo or a copy of it, of its shape, uint8.

        Args:
            prediction: 1x3xhxw in [0, 1].
            deformation: 1xhxwx2, where in the source each pixel comes from, xy in [-1, 1].
            occlusion_map: 1x1xhxw, 1 where the source shows it.
        """
        prediction = prediction.contiguous()
        change = (prediction - self.rest).abs()
        change = torch.maximum(torch.maximum(change[:, :1], change[:, 1:2]), change[:, 2:3])
        change = _average(change)
        parts = list(self._find_changes(change))
        if not parts:
            return
        painted = Enlarged(prediction, self.size, "bicubic", parts)
        flow = Enlarged(displacement(deformation), self.size, "bicubic", parts)
        # a bicubic filter would leave the range of these
        changed = Enlarged((change - UNCHANGED) / (CHANGED - UNCHANGED), self.size, "bilinear", parts)
        shown = None if occlusion_map is None else Enlarged(occlusion_map, self.size, "bilinear", parts)
        for rows, columns in parts:
            y, x = rows.start + self.corner[0], columns.start + self.corner[1]
            there = frame[y : y + rows.stop - rows.start, x : x + columns.stop - columns.start]
            grid = flow[rows, columns].permute(0, 2, 3, 1)
            grid[..., 0] += self.x[columns]
            grid[..., 1] += self.y[rows, None]
            moved = warp(self.detail, grid, align_corners=False)
            if shown is not None:
                moved *= shown[rows, columns]
            painted.add_to(moved, (rows, columns))
            fade = self.fade[rows, columns]
            weight = changed[rows, columns].clamp_(0, 1).mul_(fade)
            if self.alpha is not None:
                # an edge moves also where the colours on its two sides are alike; they move with it
                change_of_alpha = (move_alpha(self.alpha, grid) - self.alpha[:, :, rows, columns]) * fade
                weight = torch.maximum(weight, (change_of_alpha.abs() / CHANGED).clamp_(0, 1) * fade)
            # where two squares overlap, another face may have been written here already
            before = _to_planes(there, moved.device)
            pixels = before[:, :3].lerp_(moved, weight)
            if self.alpha is not None:
                pixels = torch.cat((pixels, before[:, 3:] + change_of_alpha), 1)
            there[:] = to_bytes(pixels)[0]

    def _find_changes(self, change: Tensor) -> Iterator[tuple[slice, slice]]:
        """Yield rows and columns of the square, inside of the photo, outside of which nothing changes.

        A GPU would have to stop to tell where that is, and alpha may change anywhere: then it is all.

        Args:
            change: 1x1xhxw, how much each pixel of the network's picture differs from the one at rest.
        """
        top, bottom, left, right = self.inner
        inside = slice(left - self.corner[1], right - self.corner[1])
        on_cpu = change.device.type == "cpu"
        cells = (change[0, 0] > UNCHANGED).numpy() if on_cpu and self.alpha is None else None
        height = BAND if on_cpu else bottom - top
        down, across = (
            _interpolation(old, new, "bilinear", change.device)
            for old, new in zip(change.shape[2:], self.size, strict=True)
        )
        for row in range(top, bottom, height):
            rows = slice(row - self.corner[0], min(row + height, bottom) - self.corner[0])
            columns = inside
            if cells is not None:
                here = np.flatnonzero(cells[down.inputs(rows)].any(0))
                if not len(here):
                    continue
                reached = across.outputs(int(here[0]), int(here[-1]))
                columns = slice(max(reached.start, inside.start), min(reached.stop, inside.stop))
            if columns.start < columns.stop:
                yield rows, columns


def move_alpha(alpha: Tensor, grid: Tensor) -> Tensor:
    """Move alpha, 1x1xHxW, as the colours of the picture: 1x1xhxw; what comes from outside is the border's.

    Args:
        alpha: in [0, 1].
        grid: 1xhxwx2, where each pixel comes from, -1 and 1 the picture's outer edges.
    """
    return warp(alpha, grid, align_corners=False, padding_mode="border")


def _to_planes(pixels: np.ndarray, device: torch.device) -> Tensor:
    """Convert HxWxC uint8 to 1xCxHxW in [0, 1]."""
    planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    return planes[None].to(device).float().div_(255)


def _average(plane: Tensor) -> Tensor:
    """Return the mean of the 5x5 pixels around each of 1x1xhxw; beyond the border lies zero.

    By sums of shifted planes, which is several times as fast as ``avg_pool2d`` on a CPU.
    """
    for axis, room in ((2, (0, 0, 2, 2)), (3, (2, 2))):
        padded, length = F.pad(plane, room), plane.shape[axis]
        plane = padded.narrow(axis, 0, length) + padded.narrow(axis, 1, length)
        for first in (2, 3, 4):
            plane += padded.narrow(axis, first, length)
    return plane / 25


class Enlarged:
    """Maps 1xCxhxw, enlarged to ``size`` as by ``F.interpolate``; only what is asked for is computed.

    Args:
        maps: 1xCxhxw.
        size: (height, width).
        mode: "bilinear" or "bicubic".
        parts: rows and columns, one or more, that will be asked for; each slice has a start and a stop.
    """

    def __init__(
        self, maps: Tensor, size: tuple[int, int], mode: str, parts: Sequence[tuple[slice, slice]]
    ) -> None:
        self._down, across = (
            _interpolation(old, new, mode, maps.device) for old, new in zip(maps.shape[2:], size, strict=True)
        )
        self._left = min(columns.start for _, columns in parts)
        columns = slice(self._left, max(columns.stop for _, columns in parts))
        needed = across.inputs(columns)
        self._wide = maps[0].float()[:, :, needed] @ across.matrix[columns, needed].T  # CxhxW

    def __getitem__(self, part: tuple[slice, slice]) -> Tensor:
        """Return some rows and columns, 1xCxrxc."""
        return torch.bmm(*self._factors(part))[None]

    def add_to(self, sums: Tensor, part: tuple[slice, slice]) -> None:
        """Add some rows and columns to ``sums``, 1xCxrxc."""
        sums[0].baddbmm_(*self._factors(part))

    def _factors(self, part: tuple[slice, slice]) -> tuple[Tensor, Tensor]:
        """Return Cxrxh' and Cxh'xc, whose product some rows and columns are."""
        rows, columns = part
        needed = self._down.inputs(rows)
        wide = self._wide[:, needed, columns.start - self._left : columns.stop - self._left]
        return self._down.matrix[rows, needed].expand(len(wide), -1, -1), wide


class _Interpolation:
    """Interpolates a row of ``length`` numbers to ``larger`` ones.

    Attributes:
        matrix: larger x length. A number is a sum of a few that lie side by side; the rest is zero.
    """

    def __init__(self, length: int, larger: int, mode: str, device: torch.device) -> None:
        unit = torch.eye(length)[None, :, :, None]
        matrix = F.interpolate(unit, (larger, 1), mode=mode, align_corners=False)[0, ..., 0].T
        used = matrix.numpy() != 0
        self._first, self._last = used.argmax(1), length - 1 - used[:, ::-1].argmax(1)  # both ascend
        self.matrix = matrix.to(device)

    def inputs(self, outputs: slice) -> slice:
        """Return which numbers some interpolated ones are made of."""
        return slice(int(self._first[outputs.start]), int(self._last[outputs.stop - 1]) + 1)

    def outputs(self, first: int, last: int) -> slice:
        """Return which interpolated numbers are made of some from ``first`` to ``last``."""
        return slice(
            int(np.searchsorted(self._last, first)), int(np.searchsorted(self._first, last, side="right"))
        )


_interpolation = lru_cache(maxsize=64)(_Interpolation)


def _ramp(length: int) -> Tensor:
    """Return ``length`` weights: 0 near both ends, 1 in the middle, smooth in between."""
    place = (torch.arange(length) + 0.5) / length
    share = ((torch.minimum(place, 1 - place) - EDGE) / (BORDER - EDGE)).clamp(0, 1)
    return share * share * (3 - 2 * share)
