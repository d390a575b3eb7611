"""Articulated Animation (Siarohin et al., CVPR 2021): regions with principal axes, motion and painting."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

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
from fomm.model.geometry import (
    coordinate_grid,
    gaussian_maps,
    inverse_2x2,
    multiply_2x2,
    resize_deformation,
    resize_maps,
    warp,
    warp_all,
)
from fomm.model.sizes import downsample_length, fits_hourglass
from fomm.successors.background import ArticulatedBackground, background_grid
from fomm.successors.disentangle import AVDNetwork, same_axes

REGION_VARIANCE = 0.01  # of the Gaussians where regions are drawn all alike, in units of [-1, 1] squared


class ArticulatedMotion(NamedTuple):
    """Backward motion from the driving frame to the source, at the motion network's size hxw."""

    optical_flow: Tensor  # Bxhxwx2: for each driving pixel the source coordinates, xy in [-1, 1]
    occlusion_map: Tensor  # Bx1xhxw in [0, 1]: 1 where the source shows it
    heatmap: Tensor  # Bx(K+1)xhxw in [-1, 1]
    sparse_motions: Tensor  # Bx(K+1)xhxwx2: what the background and each region alone would do
    deformed_source: Tensor  # Bx(K+1)xCxhxw: the source, warped by each of these


class Regions(NamedTuple):
    """K regions of B images."""

    keypoints: Keypoints  # means, axes and covariances
    heatmap: Tensor  # BxKxhxw, how likely each pixel belongs to a region; each map sums to 1
    u: Tensor | None = None  # BxKx2x2: axes of length 1, as columns
    d: Tensor | None = None  # BxKx2x2: their lengths, on the diagonal; jacobian = u d


def principal_axes(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Return U and the square roots of S, both ...x2x2, of the decomposition U S U^T of symmetric matrices.

    An axis has two directions, and LAPACK's choice is part of what networks have learned. With the matrix
    [[a, b], [b, c]], the first column u0 is the unit eigenvector of the larger eigenvalue with a negative x,
    but with a positive x where b > 0 and ac > a^2 + 2 b^2. The second column is (u0.y, -u0.x). Where b is 0,
    U is the identity or exchanges the two axes.

    >>> u, d = principal_axes(torch.tensor([[2., 1.], [1., 2.]]))
    >>> u, d.square()
    (tensor([[-0.7071, -0.7071],
            [-0.7071,  0.7071]]), tensor([[3., 0.],
            [0., 1.]]))
    """
    a, b, c = covariance[..., 0, 0], covariance[..., 0, 1], covariance[..., 1, 1]
    half = (a - c) / 2
    root = (half.square() + b.square()).sqrt()
    larger, smaller = (a + c) / 2 + root, (a + c) / 2 - root
    # of two forms of the eigenvector the one whose numbers do not cancel
    x = torch.where(half >= 0, half + root, b)
    y = torch.where(half >= 0, b, root - half)
    x, y = torch.where(x > 0, -x, x), torch.where(x > 0, -y, y)
    turned = (b > 0) & (a * c > a.square() + 2 * b.square())
    x, y = torch.where(turned, -x, x), torch.where(turned, -y, y)
    length = (x.square() + y.square()).sqrt().clamp(min=1e-30)
    x, y = x / length, y / length
    u = torch.stack((torch.stack((x, y), -1), torch.stack((y, -x), -1)), -2)  # rows of U
    straight = (b == 0)[..., None, None]
    identity = torch.eye(2, device=u.device, dtype=u.dtype)
    u = torch.where(straight, torch.where((a >= c)[..., None, None], identity, identity.flip(0)), u)
    lengths = torch.stack((larger, smaller), -1).clamp(min=0).sqrt()
    return u, lengths[..., None] * identity


class RegionPredictor(nn.Module):
    """The network that finds regions, with their axes.

    Args:
        num_regions: K.
        num_channels: of the image.
        block_expansion, max_features, num_blocks: width, widest level and depth of the hourglass.
        temperature: of the softmax that turns a map into a region.
        scale_factor: the image is shrunk by it first; 1 leaves it as it is.
        pca_based: axes are the principal ones of each region; else the network estimates them.
        pad: around the head's 7x7 convolutions.
    """

    def __init__(
        self,
        *,
        num_regions: int,
        num_channels: int,
        block_expansion: int,
        max_features: int,
        num_blocks: int,
        temperature: float,
        scale_factor: float = 1,
        pca_based: bool = True,
        pad: int = 3,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.predictor = Hourglass(block_expansion, num_channels, num_blocks, max_features)
        features = self.predictor.out_filters
        self.regions = nn.Conv2d(features, num_regions, 7, padding=pad)
        self.jacobian = None if pca_based else nn.Conv2d(features, 4, 7, padding=pad)
        self.down = AntiAliasInterpolation2d(num_channels, scale_factor) if scale_factor != 1 else None

    def forward(self, image: Tensor) -> Regions:
        """Find the regions of BxCxHxW in [0, 1]."""
        if self.down is not None:
            image = self.down(image)
        features = self.predictor(image)
        axes = None if self.jacobian is None else self.jacobian(features).float()
        return find_regions(self.regions(features).float(), axes, self.temperature)


def find_regions(logits: Tensor, axes: Tensor | None, temperature: float) -> Regions:
    """Return regions from maps.

    Args:
        logits: BxKxhxw.
        axes: Bx4xhxw: entries of 2x2 matrices; None: the principal axes are taken.
        temperature: of the softmax.
    """
    heat = F.softmax(logits.flatten(2) / temperature, dim=-1)  # BxKxhw
    grid = coordinate_grid(logits.shape[2], logits.shape[3], heat).flatten(0, 1)  # hwx2
    mean = (heat[..., None] * grid).sum(2)  # BxKx2
    heatmap = heat.view_as(logits)
    if axes is not None:
        affine = (heat[:, :, None] * axes.flatten(2)[:, None]).sum(3).unflatten(-1, (2, 2))
        return Regions(Keypoints(mean, affine, multiply_2x2(affine, affine.transpose(-1, -2))), heatmap)
    x, y = (grid - mean[:, :, None]).unbind(-1)  # BxKxhw
    xx, xy, yy = ((heat * product).sum(2) for product in (x * x, x * y, y * y))
    covariance = torch.stack((torch.stack((xx, xy), -1), torch.stack((xy, yy), -1)), -2)
    u, d = principal_axes(covariance)
    return Regions(Keypoints(mean, multiply_2x2(u, d), covariance), heatmap, u, d)


class ArticulatedDetector(Detector):
    """The region predictor, and the AVD network where there is one; named as in a file."""

    def __init__(self, region_predictor: RegionPredictor, avd_network: AVDNetwork | None) -> None:
        super().__init__()
        self.region_predictor, self.avd_network = region_predictor, avd_network

    def forward(self, image: Tensor) -> Keypoints:
        """Find the regions of BxCxHxW in [0, 1]: means, axes and covariances."""
        regions: Regions = self.region_predictor(image)
        return regions.keypoints

    def takes(self, pixels: int) -> bool:
        """Return whether a side of an image may have so many pixels."""
        predictor = self.region_predictor
        length = downsample_length(pixels, predictor.down)
        large = length + 2 * int(predictor.regions.padding[0]) >= predictor.regions.kernel_size[0]
        return large and fits_hourglass(length, predictor.predictor)


def region_heatmaps(
    kp_source: Keypoints, kp_driving: Keypoints, height: int, width: int, *, use_covariance: bool = True
) -> Tensor:
    """Draw the driving regions and subtract the source's; the first map is the background's and zero.

    A region of mean m and covariance S is exp(-(z - m)^T S^-1 (z - m) / 2), or a circle of
    ``REGION_VARIANCE``.

    Returns:
        Bx(K+1)xHxW in [-1, 1].
    """

    def draw(regions: Keypoints) -> Tensor:
        if not use_covariance or regions.covariance is None:
            return gaussian_maps(regions.value, height, width, REGION_VARIANCE)
        offset = coordinate_grid(height, width, regions.value) - regions.value[:, :, None, None]
        inverse = inverse_2x2(regions.covariance)[:, :, None, None]
        turned = multiply_2x2(inverse, offset[..., None])[..., 0]
        return torch.exp(-0.5 * (offset * turned).sum(-1))

    return F.pad(draw(kp_driving) - draw(kp_source), (0, 0, 0, 0, 1, 0))


def region_motions(
    kp_source: Keypoints, kp_driving: Keypoints, height: int, width: int, background: Tensor | None = None
) -> Tensor:
    """Continue the motion of each region to the whole picture as an affine map.

    Of a driving pixel z it is T(z) = m_source + A_source A_driving^-1 (z - m_driving), its matrix negated
    where its upper left entry is negative.

    Args:
        kp_source: of the source.
        kp_driving: of B frames.
        height, width: of the motions, pixels.
        background: see ``background_grid``.

    Returns:
        Bx(K+1)xHxWx2, source coordinates xy; the first motion is the background's.
    """
    grid = coordinate_grid(height, width, kp_driving.value)
    offset = grid - kp_driving.value[:, :, None, None]  # BxKxHxWx2
    if kp_source.jacobian is not None and kp_driving.jacobian is not None:
        source = same_axes(kp_source.jacobian, kp_driving.jacobian)
        matrix = multiply_2x2(source, inverse_2x2(kp_driving.jacobian))
        offset = multiply_2x2(matrix[:, :, None, None], offset[..., None])[..., 0]
    motions = offset + kp_source.value[:, :, None, None]
    still = background_grid(background, height, width, motions)
    return torch.cat((still[:, None].expand_as(motions[:, :1]), motions), 1)


class PixelwiseFlowPredictor(nn.Module):
    """The network that combines K affine motions and the background into one flow.

    Args:
        num_regions, num_channels: K and C.
        block_expansion, max_features, num_blocks: width, widest level and depth of the hourglass.
        scale_factor: the source is shrunk by it first; 1 leaves it as it is.
        use_covar_heatmap: regions are drawn with their covariances, else as circles.
    """

    def __init__(
        self,
        *,
        num_regions: int,
        num_channels: int,
        block_expansion: int,
        max_features: int,
        num_blocks: int,
        scale_factor: float = 1,
        use_covar_heatmap: bool = True,
    ) -> None:
        super().__init__()
        self.use_covar_heatmap = use_covar_heatmap
        inputs = (num_regions + 1) * (num_channels + 1)
        self.hourglass = Hourglass(block_expansion, inputs, num_blocks, max_features)
        features = self.hourglass.out_filters
        self.mask = nn.Conv2d(features, num_regions + 1, 7, padding=3)
        self.occlusion = nn.Conv2d(features, 1, 7, padding=3)
        self.down = AntiAliasInterpolation2d(num_channels, scale_factor) if scale_factor != 1 else None

    def forward(
        self, source: Tensor, kp_source: Keypoints, kp_driving: Keypoints, background: Tensor | None = None
    ) -> ArticulatedMotion:
        """Estimate the motion of B frames.

        Args:
            source: 1xCxHxW in [0, 1].
            kp_source: of the source.
            kp_driving: of B frames.
            background: Bx3x3, see ``background_grid``; None: it stands still.
        """
        small = source if self.down is None else self.down(source)
        height, width = small.shape[2:]
        motions = region_motions(kp_source, kp_driving, height, width, background)
        deformed = warp_all(small, motions, align_corners=False)
        heat = region_heatmaps(kp_source, kp_driving, height, width, use_covariance=self.use_covar_heatmap)
        features = self.hourglass(torch.cat((heat[:, :, None], deformed), 2).flatten(1, 2))
        shares = F.softmax(self.mask(features).float(), 1)
        flow = (motions * shares[..., None]).sum(1)
        occlusion = torch.sigmoid(self.occlusion(features).float())
        return ArticulatedMotion(flow, occlusion, heat, motions, deformed)


class ArticulatedPainter(nn.Module):
    """The painter: the source's features of every level are warped and blended on the way up.

    Args:
        num_regions, num_channels: K and C.
        block_expansion, max_features: width at full size, and of the widest level.
        num_down_blocks: how often the source is halved before it is warped.
        num_bottleneck_blocks: residual blocks after the warp.
        pixelwise_flow_predictor_params: keywords of ``PixelwiseFlowPredictor``.
        skips: every level and the picture itself are blended in; else the smallest level alone is warped.
    """

    def __init__(
        self,
        *,
        num_regions: int,
        num_channels: int,
        block_expansion: int,
        max_features: int,
        num_down_blocks: int,
        num_bottleneck_blocks: int,
        pixelwise_flow_predictor_params: dict[str, Any],
        skips: bool = True,
    ) -> None:
        super().__init__()
        self.skips = skips
        self.pixelwise_flow_predictor = PixelwiseFlowPredictor(
            num_regions=num_regions,
            num_channels=num_channels,
            **pixelwise_flow_predictor_params,
        )
        widths = [min(max_features, block_expansion * 2**i) for i in range(num_down_blocks + 1)]
        self.first = SameBlock2d(num_channels, block_expansion, 7)
        self.down_blocks = nn.ModuleList(map(DownBlock2d, [block_expansion, *widths[1:-1]], widths[1:]))
        self.bottleneck = nn.Sequential()
        for i in range(num_bottleneck_blocks):
            self.bottleneck.add_module(f"r{i}", ResBlock2d(widths[-1]))
        self.up_blocks = nn.ModuleList(map(UpBlock2d, widths[:0:-1], widths[-2::-1]))
        self.final = nn.Conv2d(block_expansion, num_channels, 7, padding=3)

    def encode(self, source: Tensor) -> list[Tensor]:
        """Return the features of every level of BxCxHxW in [0, 1], the largest first."""
        return run_all(self.down_blocks, self.first(source))

    def paint(self, moved: list[Tensor], occlusion_map: Tensor) -> Tensor:
        """Paint what ``move_level`` gives for the levels, the smallest first, and for the picture itself.

        Args:
            moved: BxFxhxw each; without ``skips`` the smallest level alone.
            occlusion_map: Bx1xhxw.

        Returns:
            BxCxHxW in [0, 1].
        """
        mask = occlusion_map if self.skips else None
        painted = torch.sigmoid(self.final(climb(self.bottleneck, self.up_blocks, moved, mask)))
        return painted if mask is None else blend(painted, moved[-1], mask)


class ArticulatedGenerator(Generator):
    """Motion and painting, and the background's motion where a file has it; named as in a file."""

    def __init__(self, generator: ArticulatedPainter, bg_predictor: ArticulatedBackground | None) -> None:
        super().__init__()
        self.generator, self.bg_predictor = generator, bg_predictor

    def takes(self, pixels: int) -> bool:
        """Return whether a side of a picture may have so many pixels."""
        motion = self.generator.pixelwise_flow_predictor
        length = downsample_length(pixels, motion.down)
        return pixels % 2 ** len(self.generator.down_blocks) == 0 and fits_hourglass(length, motion.hourglass)

    def forward(
        self, source: Tensor, kp_driving: Keypoints, kp_source: Keypoints, background: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compute the pictures and all that leads to them, of one source and B frames.

        Args:
            source: 1xCxHxW in [0, 1].
            kp_driving, kp_source: of B frames, and of the source.
            background: Bx3x3 from ``bg_predictor``; None: it stands still, as in every animation.

        Returns:
            ``prediction`` and ``deformed``, the source warped, BxCxHxW; and the fields of
            ``ArticulatedMotion``.
        """
        motion = self.generator.pixelwise_flow_predictor(source, kp_source, kp_driving, background)
        output: dict[str, Tensor] = motion._asdict()
        levels = [source, *self.generator.encode(source)][::-1]
        moved = [move_level(level, motion.optical_flow, motion.occlusion_map) for level in levels]
        output["prediction"] = self.generator.paint(moved, motion.occlusion_map)
        output["deformed"] = move_level(source, motion.optical_flow, None)
        return output


def move_level(features: Tensor, flow: Tensor, occlusion_map: Tensor | None) -> Tensor:
    """Warp 1xCxHxW by B flows, which are resized to its size, and mask it: BxCxHxW."""
    grid = resize_deformation(flow, features.shape[2:])
    moved = warp(features.expand(grid.shape[0], -1, -1, -1), grid, align_corners=False)
    return moved if occlusion_map is None else moved * resize_maps(occlusion_map, features.shape[2:])


def climb(
    bottleneck: nn.Module,
    up_blocks: Iterable[nn.Module],
    moved: Sequence[Tensor],
    occlusion_map: Tensor | None,
) -> Tensor:
    """Return painted features at full size.

    Args:
        bottleneck, up_blocks: of the painter.
        moved: BxFxhxw each, see ``ArticulatedPainter.paint``.
        occlusion_map: Bx1xhxw: each level of the source is blended in; None: the smallest alone is used.
    """
    out = bottleneck(moved[0])
    if occlusion_map is not None:
        out = blend(out, moved[0], occlusion_map)
    for level, block in enumerate(up_blocks, 1):
        out = block(out)
        if occlusion_map is not None:
            out = blend(out, moved[level], occlusion_map)
    return out


def blend(painted: Tensor, moved: Tensor, occlusion_map: Tensor) -> Tensor:
    """Return painted features where the source does not show them, and moved ones, masked, where it does."""
    return painted * (1 - resize_maps(occlusion_map, painted.shape[2:])) + moved
