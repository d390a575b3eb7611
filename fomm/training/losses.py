"""The losses of the paper and our own, and the random transform behind the equivariance terms.

Pictures are BxCxHxW in [0, 1], points BxKx2 with xy in [-1, 1]. Each loss is a scalar tensor.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fomm.model.base import Keypoints
from fomm.model.blocks import AntiAliasInterpolation2d
from fomm.model.geometry import (
    coordinate_grid,
    gaussian_maps,
    inverse_2x2,
    mean_around,
    multiply_2x2,
    warp,
)
from fomm.training.flow import Flow

_HIDDEN_WEIGHT = 0.3  # of a pixel that the source does not show, in the loss of the flow

Pyramid = Mapping[float, Tensor]  # pictures by scale
DiscriminatorMaps = Mapping[float, tuple[list[Tensor], Tensor]]  # features and predictions by scale


class ImagePyramid(nn.Module):
    """Shrinks an image to several scales, and blurs it before; the result is keyed by scale.

    Args:
        scales: in (0, 1]; 1 is the image itself.
        num_channels: of the image.
    """

    def __init__(self, scales: Sequence[float], num_channels: int) -> None:
        super().__init__()
        self.scales = tuple(scales)
        self.shrink = nn.ModuleList(AntiAliasInterpolation2d(num_channels, scale) for scale in scales)

    def forward(self, image: Tensor) -> dict[float, Tensor]:
        """Shrink images BxCxHxW; the result is BxCxhxw by scale."""
        return {scale: shrink(image) for scale, shrink in zip(self.scales, self.shrink, strict=True)}


class RandomTransform:
    """A random affine map plus a thin-plate spline, one for each of B images (section 3.1).

    Args:
        theta: Bx2x3, the affine part.
        control_params: Bx1xP^2, the spline's weight at each point of a PxP grid over [-1, 1].
        align_corners: see ``geometry.warp``.
    """

    def __init__(self, theta: Tensor, control_params: Tensor, *, align_corners: bool = True) -> None:
        self.theta = theta
        self.control_params = control_params
        self.align_corners = align_corners
        side = round(control_params.shape[-1] ** 0.5)
        self.control_points = coordinate_grid(side, side, theta).view(1, 1, -1, 2)

    @classmethod
    def sample(
        cls,
        batch: int,
        *,
        sigma_affine: float,
        sigma_tps: float,
        points_tps: int,
        rng: torch.Generator,
        device: torch.device,
        align_corners: bool = True,
    ) -> "RandomTransform":
        """Draw a transform.

        Args:
            batch: B.
            sigma_affine: standard deviation of the affine part from the identity.
            sigma_tps: standard deviation of the spline's weights.
            points_tps: P, the points along a side of the spline's grid.
            rng: on the CPU, so that a seed means the same on every device.
            device: the transform is moved to it.
            align_corners: see ``geometry.warp``.
        """
        theta = torch.eye(2, 3) + sigma_affine * torch.randn(batch, 2, 3, generator=rng)
        control = sigma_tps * torch.randn(batch, 1, points_tps**2, generator=rng)
        theta, control = (numbers.to(device, non_blocking=True) for numbers in (theta, control))
        return cls(theta, control, align_corners=align_corners)

    def warp_image(self, image: Tensor) -> Tensor:
        """Warp images BxCxHxW; what lies outside of them is mirrored."""
        height, width = image.shape[2:]
        grid = coordinate_grid(height, width, self.theta).view(1, -1, 2)
        moved = self.map_points(grid).view(image.shape[0], height, width, 2)
        return warp(image, moved, align_corners=self.align_corners, padding_mode="reflection")

    def map_points(self, points: Tensor) -> Tensor:
        """Map points BxNx2 or 1xNx2, xy in [-1, 1], to BxNx2."""
        linear, shift = self.theta[:, None, :, :2], self.theta[:, None, :, 2]
        moved = multiply_2x2(linear, points[..., None])[..., 0] + shift
        distance = (points[:, :, None] - self.control_points).abs().sum(-1)  # BxNxP^2, as published: L1
        spline = distance.square() * torch.log(distance + 1e-6) * self.control_params
        return moved + spline.sum(-1, keepdim=True)  # the same bend for x and y

    def jacobian_at(self, points: Tensor) -> Tensor:
        """Return the derivative of ``map_points`` at points BxNx2, in closed form: BxNx2x2."""
        offset = points[:, :, None] - self.control_points  # BxNxP^2x2
        distance = offset.abs().sum(-1)
        slope = 2 * distance * torch.log(distance + 1e-6) + distance.square() / (distance + 1e-6)
        bend = ((slope * self.control_params)[..., None] * offset.sign()).sum(2)  # BxNx2, over x and y
        return self.theta[:, None, :, :2] + bend[:, :, None]


def reconstruction_loss(real: Pyramid, generated: Pyramid) -> Tensor:
    """Return the mean absolute difference, summed over the pyramid."""
    return sum_terms((real[scale] - generated[scale]).abs().mean() for scale in real)


def weighted_l1(real: Tensor, generated: Tensor, weight: Tensor) -> Tensor:
    """Return the mean over all pixels of the absolute difference times ``weight`` (Bx1xHxW)."""
    return ((real - generated).abs() * weight).mean()


def edge_loss(real: Tensor, generated: Tensor) -> Tensor:
    """Return the mean absolute difference of the steps between neighbouring pixels, down and across.

    A blur, which flattens these steps, costs more here than in a loss of the pixels themselves.
    """
    error = real - generated
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


def contrast_loss(real: Tensor, generated: Tensor) -> Tensor:
    """Return the mean absolute difference of the local contrast: of how strong details are, not where.

    The contrast is the root of the mean square of ``details`` over 9x9 pixels. Where the place of a detail
    is uncertain by a pixel or two, a loss of single pixels is smallest for a blur. This loss is not.
    """
    return (_contrast(real) - _contrast(generated)).abs().mean()


def _contrast(image: Tensor) -> Tensor:
    power = mean_around(details(image).square(), 9)
    return (power + 1e-5).sqrt()  # smooth at 0; details fainter than 1/256 count little


def source_detail_loss(generated: Tensor, moved: Tensor, shown: Tensor) -> Tensor:
    """Return the mean absolute difference of ``details`` from those of the source, moved by the motion.

    Where the motion is off by a pixel, a loss against the driving frame rewards a blur. This loss rewards
    keeping the details that were moved. Whether they were moved to the right place, it does not see: that is
    for the losses of the motion.

    Args:
        generated: BxCxHxW in [0, 1], what was painted.
        moved: BxCxHxW in [0, 1], the source as the motion moves it.
        shown: Bx1xHxW in [0, 1], how much of the source shows.
    """
    return weighted_l1(details(moved), details(generated), shown)


def details(image: Tensor) -> Tensor:
    """Return the mean of 3x3 pixels less that of 7x7: details, without the finest, which are camera noise."""
    return mean_around(image, 3) - mean_around(image, 7)


def deformation_loss(deformation: Tensor, source: Tensor, driving: Tensor) -> Tensor:
    """Return the mean distance of the deformation at the driving points from the source points.

    Points that lie outside of either picture do not count, since nothing is seen of them.

    Args:
        deformation: Bxhxwx2, source coordinates for each driving pixel, xy in [-1, 1].
        source: BxKx2, points in the source, xy in [-1, 1].
        driving: BxKx2, the same points in the driving frame.
    """
    flow = warp(deformation.permute(0, 3, 1, 2), driving[:, :, None], align_corners=True)  # Bx2xKx1
    inside = ((source.abs() <= 1) & (driving.abs() <= 1)).all(-1, keepdim=True)  # BxKx1
    distance = (flow[..., 0].transpose(1, 2) - source).abs() * inside
    return distance.sum() / (2 * inside.sum()).clamp(min=1)


def flow_loss(deformation: Tensor, flow: Flow, weight: Tensor | None = None) -> Tensor:
    """Return the mean distance of the deformation from the true flow.

    Pixels that the source hides keep a small weight. With none, nothing would constrain the deformation
    there, and the network would continue it from neighbouring pixels. That would show: the occlusion map
    never has the edge of the hidden area exactly, so the generator uses some of these pixels.

    Args:
        deformation: Bxhxwx2, source coordinates for each driving pixel, xy in [-1, 1].
        flow: the true one, on the same grid.
        weight: Bx1xhxw, a further weight of each pixel in the mean; None: all count alike.
    """
    distance = (deformation - flow.position).abs().mean(-1)
    by_sight = torch.where(flow.seen, 1.0, _HIDDEN_WEIGHT)[:, None]
    return _mean_where(distance, flow.known, by_sight if weight is None else by_sight * weight)


def occlusion_loss(occlusion_map: Tensor, flow: Flow, weight: Tensor | None = None) -> Tensor:
    """Return the mean cross entropy of the occlusion map against what the source shows.

    Args:
        occlusion_map: Bx1xhxw in [0, 1]; 1 says that the source shows this driving pixel.
        flow: the true one, on the same grid.
        weight: see ``flow_loss``.
    """
    shown = flow.seen.to(occlusion_map.dtype)
    loss = F.binary_cross_entropy(occlusion_map[:, 0], shown, reduction="none")
    return _mean_where(loss, flow.known, weight)


def _mean_where(values: Tensor, there: Tensor, weight: Tensor | None) -> Tensor:
    """Return the mean of ``values`` where ``there``, or 0 if that is nowhere.

    Args:
        values: Bxhxw.
        there: Bxhxw bool.
        weight: Bx1xhxw, of each value; None: all count alike.
    """
    share = there.to(values.dtype) if weight is None else there * weight[:, 0]
    return (values * share).sum() / share.sum().clamp(min=1e-6)


def box_map(points: Tensor, height: int, width: int) -> Tensor:
    """Return a map that is 1 within the box around each image's points (BxNx2), else 0: Bx1xHxW."""
    grid = coordinate_grid(height, width, points)
    least, most = points.amin(1)[:, None, None], points.amax(1)[:, None, None]
    return ((grid >= least) & (grid <= most)).all(-1)[:, None].to(points.dtype)


def spot_map(
    points: Tensor, height: int, width: int, shares: Sequence[float] = (), variance: float = 0.01
) -> Tensor:
    """Return a map of gaussians around each image's points; where some overlap, the highest: Bx1xHxW.

    Args:
        points: BxNx2, xy in [-1, 1].
        height: of the map, pixels.
        width: of the map, pixels.
        shares: the N heights of the gaussians, in [0, 1]. Empty: all are 1.
        variance: of the gaussians, in the units of the points.
    """
    spots = gaussian_maps(points, height, width, variance)
    if shares:
        spots = spots * torch.tensor(shares).to(spots.device, non_blocking=True)[:, None, None]
    return spots.amax(1, keepdim=True)


def perceptual_loss(
    network: nn.Module, real: Pyramid, generated: Pyramid, weights: Sequence[float]
) -> Tensor:
    """Return equation 9: the mean absolute difference of features, weighted and summed over the pyramid.

    Args:
        network: gives a list of feature maps of a picture, see ``load_perceptual_network``.
        real: the driving frames by scale.
        generated: what was painted, by scale.
        weights: one for each feature map.
    """
    total: list[Tensor] = []
    for scale in real:
        with torch.no_grad():
            wanted = network(real[scale])
        for weight, x, y in zip(weights, network(generated[scale]), wanted, strict=False):
            total.append(weight * (x.float() - y.float()).abs().mean())
    return sum_terms(total)


def equivariance_losses(
    driving: Keypoints, transformed: Keypoints, transform: RandomTransform
) -> tuple[Tensor, Tensor | None]:
    """Return equations 10 and 11: a transformed frame should have transformed key points and jacobians.

    Args:
        driving: key points of the frame.
        transformed: key points of the transformed frame.
        transform: leads from the latter to the former.

    Returns:
        The loss of the values, and that of the jacobians (None without jacobians).
    """
    value = (driving.value - transform.map_points(transformed.value)).abs().mean()
    if driving.jacobian is None or transformed.jacobian is None:
        return value, None
    mapped = multiply_2x2(transform.jacobian_at(transformed.value), transformed.jacobian)
    identity = torch.eye(2, device=mapped.device, dtype=mapped.dtype)
    return value, (identity - multiply_2x2(inverse_2x2(driving.jacobian), mapped)).abs().mean()


def generator_gan_loss(generated_maps: DiscriminatorMaps) -> Tensor:
    """Return the least-squares loss of the generator, summed over the scales: all patches should be 1."""
    return sum_terms((1 - prediction.float()).square().mean() for _, prediction in generated_maps.values())


def discriminator_gan_loss(real_maps: DiscriminatorMaps, generated_maps: DiscriminatorMaps) -> Tensor:
    """Return the least-squares loss of the discriminator: 1 for real patches, 0 for painted ones."""
    return sum_terms(
        ((1 - real_maps[scale][1].float()).square() + generated_maps[scale][1].float().square()).mean()
        for scale in real_maps
    )


def feature_matching_loss(
    real_maps: DiscriminatorMaps, generated_maps: DiscriminatorMaps, weights: Sequence[float]
) -> Tensor:
    """Return the mean absolute difference of the discriminator's features, summed over the scales.

    Args:
        real_maps: of the driving frames.
        generated_maps: of what was painted.
        weights: one for each layer of features.
    """
    return sum_terms(
        weight * (x.float() - y.float()).abs().mean()
        for scale in real_maps
        for weight, x, y in zip(weights, real_maps[scale][0], generated_maps[scale][0], strict=True)
        if weight
    )


def sum_terms(terms: Iterable[Tensor]) -> Tensor:
    """Return the sum of scalar tensors; there is at least one."""
    return torch.stack(list(terms)).sum()
