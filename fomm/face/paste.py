"""The animated square back in the photo, as sharp as the photo, without a seam.

The network's picture is small and soft. What it lacks of the photo, the detail, is known while nothing moves:
the photo less the network's picture of it at rest. So the detail is moved along with the network's own motion
and added again. Where nothing moves, the photo itself comes out, pixel for pixel.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fomm.face.crop import Rect
from fomm.face.framing import cut
from fomm.model.geometry import warp

BORDER = 0.06  # of the square's side: so wide is the fade to the photo inside its border
UNCHANGED, CHANGED = 0.015, 0.05  # differences of colour that count as none, and as whole


class Paste:
    """Puts animated frames of one part of a photo into the whole.

    Args:
        photo: HxWx3 uint8.
        part: the square that was animated; may leave the photo.
        rest: 1xCxhxw in [0, 1], the network's picture of the unmoved source.
        align_corners: of the generator.
    """

    def __init__(self, photo: np.ndarray, part: Rect, rest: Tensor, *, align_corners: bool) -> None:
        self.align_corners, self.rest = align_corners, rest
        x0, y0, x1, y1 = (round(value) for value in part)
        self.inner = (max(y0, 0), min(y1, photo.shape[0]), max(x0, 0), min(x1, photo.shape[1]))
        self.offset = (self.inner[0] - y0, self.inner[2] - x0)
        size = (y1 - y0, x1 - x0)
        pixels = cut(photo, Rect(x0, y0, x1, y1), size)
        exact = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float().to(rest.device) / 255
        self.detail = exact - _enlarged(rest, size)
        ramp = [_ramp(length).to(rest.device) for length in size]
        self.fade = torch.minimum(ramp[0][:, None], ramp[1])  # hxw

    def __call__(
        self, frame: np.ndarray, prediction: Tensor, deformation: Tensor, occlusion_map: Tensor | None
    ) -> None:
        """Writes one animated picture into ``frame``, the photo or a copy of it, HxWx3 uint8.

        Args:
            prediction: 1xCxhxw in [0, 1].
            deformation: 1xhxwx2, where in the source each pixel comes from, xy in [-1, 1].
            occlusion_map: 1x1xhxw, 1 where the source shows it.
        """
        size = self.detail.shape[2:]
        flow = _enlarged(deformation.permute(0, 3, 1, 2), size).permute(0, 2, 3, 1)
        detail = warp(self.detail, flow, align_corners=self.align_corners)
        if occlusion_map is not None:
            detail = detail * _enlarged(occlusion_map, size, "bilinear")
        moved = _enlarged(prediction, size) + detail
        change = F.avg_pool2d((prediction - self.rest).abs().amax(1, keepdim=True), 5, 1, 2)
        weight = ((_enlarged(change, size, "bilinear") - UNCHANGED) / (CHANGED - UNCHANGED)).clamp(
            0, 1
        ) * self.fade
        top, bottom, left, right = self.inner
        y, x = self.offset
        inner = np.s_[..., y : y + bottom - top, x : x + right - left]
        # what is there may be another face that has moved, where two squares overlap
        there = torch.from_numpy(frame[top:bottom, left:right].copy()).to(moved.device)
        pixels = torch.lerp(there.permute(2, 0, 1)[None].float() / 255, moved[inner], weight[inner])
        frame[top:bottom, left:right] = _bytes(pixels.clamp(0, 1))


def _bytes(pixels: Tensor) -> np.ndarray:
    """1x3xhxw in [0, 1] to hxwx3 uint8."""
    return (pixels[0] * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def _enlarged(maps: Tensor, size: tuple[int, int] | torch.Size, mode: str = "bicubic") -> Tensor:
    """Pictures and motion by "bicubic", which is smooth; shares by "bilinear", which keeps them in [0, 1]."""
    return F.interpolate(maps.float(), tuple(size), mode=mode, align_corners=False)


def _ramp(length: int) -> Tensor:
    """0 at both ends, 1 in the middle, smooth in between."""
    place = (torch.arange(length) + 0.5) / length
    share = (torch.minimum(place, 1 - place) / BORDER).clamp(0, 1)
    return share * share * (3 - 2 * share)
