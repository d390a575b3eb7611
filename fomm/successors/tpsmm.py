"""The Thin-Plate-Spline Motion Model (Zhao and Zhang, CVPR 2022): key points, motion and painting."""

from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fomm.model.base import Detector, Generator, Keypoints
from fomm.model.blocks import (
    AntiAliasInterpolation2d,
    DownBlock2d,
    Hourglass,
    ResBlock2d,
    SameBlock2d,
    UpBlock2d,
    run_all,
)
from fomm.model.dense_motion import heatmap_differences
from fomm.model.geometry import warp, warp_all
from fomm.model.sizes import downsample_length, fits_hourglass
from fomm.successors.background import ThinPlateBackground, background_grid
from fomm.successors.disentangle import AVDNetwork
from fomm.successors.resnet import ResNet18
from fomm.successors.thin_plate import spline_grids

POINTS = 5  # of each spline
VARIANCE = 0.01  # of the Gaussians drawn around key points, in units of [-1, 1] squared
# By picture, also in eval mode: it cannot be folded into a convolution.
instance_norm = partial(nn.InstanceNorm2d, affine=True)


class ThinPlateMotion(NamedTuple):
    """Backward motion from the driving frame to the source, at the motion network's size hxw."""

    deformation: Tensor  # Bxhxwx2: for each driving pixel the source coordinates, xy in [-1, 1]
    # Bx1x.. in [0, 1], coarse to fine, one for each level of the painter, or one for all:
    # 1 where the source shows it
    occlusion_maps: list[Tensor]
    heatmap: Tensor  # Bx(5K+1)xhxw in [-1, 1]
    transformations: Tensor  # Bx(K+1)xhxwx2: what the background and each spline alone would do
    deformed_source: Tensor  # Bx(K+1)xCxhxw: the source, warped by each of these
    contribution_maps: Tensor  # Bx(K+1)xhxw: their shares


class KeypointResNet(nn.Module):
    """ResNet-18 from images in [0, 1] to the points of K splines; row 5k + i is point i of spline k."""

    def __init__(self, num_tps: int, num_channels: int) -> None:
        super().__init__()
        self.fg_encoder = ResNet18(num_channels, 2 * POINTS * num_tps)

    def forward(self, image: Tensor) -> Keypoints:
        """Find the key points of BxCxHxW in [0, 1]: Bx5Kx2."""
        return spread_points(self.fg_encoder(image))


def spread_points(numbers: Tensor) -> Keypoints:
    """Return the key points, xy in [-1, 1], of the numbers that the network gives for them, Bx10K."""
    return Keypoints(2 * torch.sigmoid(numbers.float()).unflatten(1, (-1, 2)) - 1)


class ThinPlateDetector(Detector):
    """The key-point detector, and the AVD network where there is one; named as in a file."""

    def __init__(self, kp_detector: KeypointResNet, avd_network: AVDNetwork | None) -> None:
        super().__init__()
        self.kp_detector, self.avd_network = kp_detector, avd_network

    def forward(self, image: Tensor) -> Keypoints:
        """Find the key points of BxCxHxW in [0, 1]: Bx5Kx2, xy in [-1, 1]."""
        return self.kp_detector(image)

    def takes(self, pixels: int) -> bool:
        """Return whether a side of an image may have so many pixels: any number."""
        return pixels > 0


class ThinPlateMotionNetwork(nn.Module):
    """The network that combines K thin-plate splines and the background into one flow.

    Args:
        num_tps, num_channels: K and C.
        block_expansion, max_features, num_blocks: width, widest level and depth of the hourglass.
        scale_factor: the source is shrunk by it first: a power of 1/2.
        multi_mask: whether there is an occlusion map for each of the painter's levels; else one for all.
        levels: how many levels the painter has.
    """

    def __init__(
        self,
        *,
        num_tps: int,
        num_channels: int,
        block_expansion: int,
        max_features: int,
        num_blocks: int,
        scale_factor: float,
        multi_mask: bool,
        levels: int,
    ) -> None:
        super().__init__()
        self.down = AntiAliasInterpolation2d(num_channels, scale_factor) if scale_factor != 1 else None
        inputs = (num_tps + 1) * num_channels + POINTS * num_tps + 1
        self.hourglass = Hourglass(block_expansion, inputs, num_blocks, max_features, instance_norm)
        features = self.hourglass.out_filters
        self.maps = nn.Conv2d(features, num_tps + 1, 7, padding=3)
        widths = [features]
        self.up = nn.ModuleList()
        if multi_mask:
            for _ in range(round(1 / scale_factor).bit_length() - 1):
                self.up.append(UpBlock2d(widths[-1], widths[-1] // 2, instance_norm))
                widths.append(widths[-1] // 2)
            coarse = levels - len(widths)  # from this many levels of the hourglass below its last
            # each is what came up, beside as much from the way down
            lower = [2 * min(max_features, block_expansion * 2**level) for level in range(coarse, 0, -1)]
            widths = [*lower, *widths]
        self.coarse = len(widths) - 1 - len(self.up)
        self.occlusion = nn.ModuleList(nn.Conv2d(width, 1, 7, padding=3) for width in widths)

    def forward(
        self, source: Tensor, kp_source: Keypoints, kp_driving: Keypoints, background: Tensor | None = None
    ) -> ThinPlateMotion:
        """Estimate the motion of B frames.

        Args:
            source: 1xCxHxW in [0, 1].
            kp_source: of the source.
            kp_driving: of B frames.
            background: Bx3x3, see ``background_grid``; None: it stands still.
        """
        small = source if self.down is None else self.down(source)
        return self.estimate(small, kp_source, kp_driving, background)

    def estimate(
        self, small: Tensor, kp_source: Keypoints, kp_driving: Keypoints, background: Tensor | None = None
    ) -> ThinPlateMotion:
        """Do as ``forward`` with a source that has been shrunk, 1xCxhxw."""
        height, width = small.shape[2:]
        source, driving = (kp.value.unflatten(1, (-1, POINTS)) for kp in (kp_source, kp_driving))
        splines = spline_grids(source, driving, height, width)
        still = background_grid(background, height, width, splines)
        motions = torch.cat((still[:, None].expand_as(splines[:, :1]), splines), 1)
        deformed = warp_all(small, motions, align_corners=True)
        heat = heatmap_differences(kp_source, kp_driving, height, width, VARIANCE)
        maps = torch.cat((heat, deformed.flatten(1, 2)), 1)
        dtype = self.maps.weight.dtype
        levels = self.hourglass.decoder.all_levels(self.hourglass.encoder(maps.to(dtype)))
        shares = F.softmax(self.maps(levels[-1]).float(), 1)
        deformation = (motions * shares[..., None]).sum(1)
        levels = levels[len(levels) - 1 - self.coarse :]
        for block in self.up:
            levels.append(block(levels[-1]))
        occlusion = [
            torch.sigmoid(head(level).float()) for head, level in zip(self.occlusion, levels, strict=True)
        ]
        return ThinPlateMotion(deformation, occlusion, heat, motions, deformed, shares)


class InpaintingNetwork(nn.Module):
    """The painter: the source's features of every level are warped, masked and joined on the way up.

    Args:
        num_channels: of the picture.
        block_expansion, max_features: width at full size, and of the widest level of the encoder.
        num_down_blocks: how often the source is halved.
    """

    def __init__(
        self, *, num_channels: int, block_expansion: int, max_features: int, num_down_blocks: int
    ) -> None:
        super().__init__()
        widths = [min(max_features, block_expansion * 2**i) for i in range(num_down_blocks + 1)]
        self.first = SameBlock2d(num_channels, widths[0], 7, instance_norm)
        self.down_blocks = nn.ModuleList(DownBlock2d(*pair, instance_norm) for pair in pairwise(widths))
        self.resblock = nn.ModuleList()
        self.up_blocks = nn.ModuleList()
        for level in range(num_down_blocks, 0, -1):
            joined = widths[level] * (1 if level == num_down_blocks else 2)
            self.resblock.extend(ResBlock2d(joined, instance_norm) for _ in range(2))
            self.up_blocks.append(UpBlock2d(joined, widths[level - 1], instance_norm))
        self.final = nn.Conv2d(widths[0], num_channels, 7, padding=3)

    def encode(self, source: Tensor) -> list[Tensor]:
        """Return the features of every level of BxCxHxW in [0, 1], the largest first."""
        return run_all(self.down_blocks, self.first(source))

    def move(self, levels: list[Tensor], deformation: Tensor, masks: list[Tensor]) -> list[Tensor]:
        """Warp all levels of the source by B deformations and mask them; the smallest level comes first.

        Args:
            levels: from ``encode``, the source itself before them: it is moved too.
            deformation: Bxhxwx2.
            masks: for each level from the smallest to the largest, the last one for the picture as well.
        """
        masks = [*masks, masks[-1]]
        return [
            move_features(level, deformation, mask) for level, mask in zip(levels[::-1], masks, strict=True)
        ]

    def paint(self, moved: list[Tensor], mask: Tensor) -> Tensor:
        """Paint what ``move`` gives, BxCxHxW in [0, 1]; ``mask``: Bx1xHxW, 1 where the source shows it."""
        dtype = self.final.weight.dtype
        bottom, *skips, picture = moved
        out = bottom.to(dtype)
        for number, (block, skip) in enumerate(zip(self.up_blocks, skips, strict=True)):
            for residual in self.resblock[2 * number : 2 * number + 2]:
                out = residual(out)
            out = block(out)
            if number < len(skips) - 1:
                out = torch.cat((out, skip.to(dtype)), 1)
            else:
                out = out * (1 - mask.to(dtype)) + skip.to(dtype)
        painted = torch.sigmoid(self.final(out).float())
        return painted * (1 - mask) + picture


class ThinPlateGenerator(Generator):
    """Motion and painting, and the background's motion where a file has it; named as in a file."""

    def __init__(
        self,
        inpainting_network: InpaintingNetwork,
        dense_motion_network: ThinPlateMotionNetwork,
        bg_predictor: ThinPlateBackground | None,
    ) -> None:
        super().__init__()
        self.inpainting_network, self.dense_motion_network = inpainting_network, dense_motion_network
        self.bg_predictor = bg_predictor

    def takes(self, pixels: int) -> bool:
        """Return whether a side of a picture may have so many pixels."""
        motion, halvings = self.dense_motion_network, len(self.inpainting_network.down_blocks)
        step = 1 if motion.down is None else motion.down.step
        length = downsample_length(pixels, motion.down)
        return pixels % 2**halvings == 0 and pixels % step == 0 and fits_hourglass(length, motion.hourglass)

    def forward(
        self, source: Tensor, kp_driving: Keypoints, kp_source: Keypoints, background: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compute the pictures and all that leads to them, of one source and B frames.

        Args:
            source: 1xCxHxW in [0, 1].
            kp_driving, kp_source: of B frames, and of the source.
            background: Bx3x3 from ``bg_predictor``; None: it stands still, as in every animation.

        Returns:
            ``prediction`` and ``deformed``, the source warped, BxCxHxW; the fields of ``ThinPlateMotion``, of
            the occlusion maps ``occlusion_map_0`` and so on.
        """
        motion = self.dense_motion_network(source, kp_source, kp_driving, background)
        output = motion._asdict()
        maps = output.pop("occlusion_maps")
        output |= {f"occlusion_map_{number}": each for number, each in enumerate(maps)}
        levels = [source, *self.inpainting_network.encode(source)]
        masks = match_maps(maps, levels)
        moved = self.inpainting_network.move(levels, motion.deformation, masks)
        output["prediction"] = self.inpainting_network.paint(moved, masks[-1])
        output["deformed"] = move_features(source, motion.deformation, None)
        return output


def resize_between_corners(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize BxCxhxw to a size (height, width), linearly, the corners' pixels onto the corners' pixels."""
    if maps.shape[2:] == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=True)


def match_maps(maps: list[Tensor], levels: list[Tensor]) -> list[Tensor]:
    """Return a map for each level, from the smallest to the largest, as large as it.

    Args:
        maps: one for each level, or one for all.
        levels: the picture itself and its features, the largest first.
    """
    sizes = [tuple(level.shape[2:]) for level in levels[:0:-1]]
    if len(maps) == 1:
        maps = maps * len(sizes)
    return [resize_between_corners(each, size) for each, size in zip(maps, sizes, strict=True)]


def move_features(features: Tensor, deformation: Tensor, mask: Tensor | None) -> Tensor:
    """Warp 1xCxHxW by B deformations, which are resized to its size, and mask it: BxCxHxW."""
    grid = resize_between_corners(deformation.permute(0, 3, 1, 2), features.shape[2:]).permute(0, 2, 3, 1)
    moved = warp(features.expand(grid.shape[0], -1, -1, -1), grid, align_corners=True)
    return moved if mask is None else moved * mask
