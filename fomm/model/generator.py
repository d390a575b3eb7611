"""The occlusion-aware generator: encodes the source, warps its features by the motion, paints the rest."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fomm.model.base import Generator, Keypoints
from fomm.model.blocks import DownBlock2d, ResBlock2d, SameBlock2d, UpBlock2d
from fomm.model.dense_motion import DenseMotion, DenseMotionNetwork
from fomm.model.geometry import (
    enlarge_deformation,
    finest_details,
    resize_deformation,
    resize_maps,
    warp,
)
from fomm.model.sizes import downsample_length, fits_hourglass


class OcclusionAwareGenerator(Generator):
    """The network that paints the source with the motion of the driving frames (section 3.2).

    ``encode`` makes features of the source, once. ``decode`` makes a picture of them and a ``DenseMotion``.

    Args:
        num_kp, num_channels: number of key points, and of the image's channels.
        block_expansion, max_features: width at full size, and of the widest level.
        num_down_blocks: how often the source is halved before it is warped.
        num_bottleneck_blocks: residual blocks after the warp.
        dense_motion_params: keywords of ``DenseMotionNetwork``.
        estimate_occlusion_map: whether the motion network says what is hidden in the source.
        estimate_jacobian: published configurations give it to every network; not used here.
        align_corners: see ``geometry.warp``.
        bicubic: whether features are warped by cubics; see ``geometry.warp``.
        details: how much of the source's finest details ``decode`` adds to the painted picture, 0 to 1. They
            are warped at the picture's size, not at that of the features. Published networks add none.
            ``forward``, which training calls, adds none either: a network that is trained with them learns to
            subtract them.
    """

    def __init__(
        self,
        *,
        num_kp: int,
        num_channels: int,
        block_expansion: int,
        max_features: int,
        num_down_blocks: int,
        num_bottleneck_blocks: int,
        dense_motion_params: dict[str, Any],
        estimate_occlusion_map: bool = False,
        estimate_jacobian: bool = False,
        align_corners: bool = True,
        bicubic: bool = False,
        details: float = 0.0,
    ) -> None:
        super().__init__()
        self.align_corners, self.bicubic, self.details = align_corners, bicubic, details
        self.dense_motion_network = DenseMotionNetwork(
            num_kp=num_kp,
            num_channels=num_channels,
            estimate_occlusion_map=estimate_occlusion_map,
            align_corners=align_corners,
            **dense_motion_params,
        )
        widths = [min(max_features, block_expansion * 2**i) for i in range(num_down_blocks + 1)]
        self.first = SameBlock2d(num_channels, block_expansion, 7)
        self.down_blocks = nn.ModuleList(map(DownBlock2d, [block_expansion, *widths[1:-1]], widths[1:]))
        self.bottleneck = nn.Sequential()
        for i in range(num_bottleneck_blocks):
            self.bottleneck.add_module(f"r{i}", ResBlock2d(widths[-1]))
        self.up_blocks = nn.ModuleList(map(UpBlock2d, widths[:0:-1], widths[-2::-1]))
        self.final = nn.Conv2d(block_expansion, num_channels, 7, padding=3)

    def takes(self, pixels: int) -> bool:
        """Return whether a side of a picture may have so many pixels."""
        motion = self.dense_motion_network
        length = downsample_length(pixels, motion.down)
        return pixels % 2 ** len(self.down_blocks) == 0 and fits_hourglass(length, motion.hourglass)

    def encode(self, source: Tensor) -> Tensor:
        """Encode BxCxHxW in [0, 1] as features, BxFx(H/2^n)x(W/2^n), n = num_down_blocks."""
        out = self.first(source)
        for block in self.down_blocks:
            out = block(out)
        return out

    def decode(self, features: Tensor, motion: DenseMotion, source: Tensor | None = None) -> Tensor:
        """Warp the features, mask them by what the source shows, and paint the rest (equation 8).

        Args:
            features: from ``encode``; B of them, or one for B motions.
            motion: of B frames.
            source: BxCxHxW in [0, 1], B or one of them; needed only with ``details``.

        Returns:
            BxCxHxW in [0, 1].

        Raises:
            ValueError: the generator adds ``details``, and there is no source.
        """
        painted = self.paint(self.move(features, motion))
        if not self.details:
            return painted
        if source is None:
            raise ValueError("this generator moves details: decode needs the source too")
        details = self.details * finest_details(source)
        return add_details(painted, details, motion.deformation, motion.occlusion_map)

    def move(self, features: Tensor, motion: DenseMotion) -> Tensor:
        """Warp and mask the features, BxFxhxw: the first half of ``decode``."""
        out = self.deform(features, motion.deformation, bicubic=self.bicubic)
        if motion.occlusion_map is not None:
            out = out * resize_maps(motion.occlusion_map.to(out.dtype), out.shape[2:])
        return out

    def paint(self, moved: Tensor) -> Tensor:
        """Paint moved features BxFxhxw, or a window of them, in [0, 1]: the second half of ``decode``."""
        out = self.bottleneck(moved)
        for block in self.up_blocks:
            out = block(out)
        return torch.sigmoid(self.final(out))

    def deform(self, image: Tensor, deformation: Tensor, *, bicubic: bool = False) -> Tensor:
        """Warp B images (or one) of any size by a deformation Bxhxwx2, which is resized to theirs."""
        deformation = resize_deformation(deformation, image.shape[2:])
        image = image.expand(deformation.shape[0], -1, -1, -1)
        return warp(image, deformation, align_corners=self.align_corners, bicubic=bicubic)

    def forward(
        self,
        source: Tensor,
        kp_driving: Keypoints,
        kp_source: Keypoints,
        window: Callable[[Tensor], Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Compute everything that the training looks at.

        Args:
            source: BxCxHxW in [0, 1].
            kp_driving, kp_source: of B images each.
            window: cuts a window out of the moved features BxFxhxw, and only that is painted. None: all.

        Returns:
            ``prediction``, the painted picture BxCxHxW, or its window; ``deformed``, the source warped,
            BxCxHxW; and the fields of ``DenseMotion``, without ``occlusion_map`` where it is not estimated.
        """
        motion = self.dense_motion_network(source, kp_source, kp_driving)
        output = {name: value for name, value in motion._asdict().items() if value is not None}
        output["deformed"] = self.deform(source, motion.deformation)
        moved = self.move(self.encode(source), motion)
        output["prediction"] = self.paint(moved if window is None else window(moved))
        return output


def add_details(
    painted: Tensor, details: Tensor, deformation: Tensor, occlusion_map: Tensor | None
) -> Tensor:
    """Warp details of the source, mask them by what the source shows, and add them to painted pictures.

    Args:
        painted: BxCxHxW in [0, 1].
        details: BxCxHxW, or one for all.
        deformation, occlusion_map: Bxhxwx2 and Bx1xhxw, see ``DenseMotion``.

    Returns:
        BxCxHxW in [0, 1].
    """
    grid = enlarge_deformation(deformation, *details.shape[2:])
    moved = warp(details.expand(grid.shape[0], -1, -1, -1), grid, align_corners=False)
    if occlusion_map is not None:
        moved = moved * resize_maps(occlusion_map, details.shape[2:])
    return (painted + moved).clamp(0, 1)
