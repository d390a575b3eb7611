"""The losses of the paper, on a pyramid of sizes, and the random transform behind the equivariance terms."""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fomm.model.blocks import AntiAliasInterpolation2d
from fomm.model.geometry import (
    coordinate_grid,
    gaussian_maps,
    inverse_2x2,
    mean_around,
    multiply_2x2,
    warp,
)
from fomm.model.keypoints import Keypoints
from fomm.training.flow import Flow

_HIDDEN_SHARE = 0.3  # of a pixel that the source does not show, in the loss of the flow


class ImagePyramid(nn.Module):
    """An image at several scales, blurred before it is shrunk; keys are the scales, 1 is the image itself."""

    def __init__(self, scales: Sequence[float], num_channels: int) -> None:
        super().__init__()
        self.scales = tuple(scales)
        self.shrink = nn.ModuleList(AntiAliasInterpolation2d(num_channels, scale) for scale in scales)

    def forward(self, image: Tensor) -> dict[float, Tensor]:
        return {scale: shrink(image) for scale, shrink in zip(self.scales, self.shrink, strict=True)}


class RandomTransform:
    """A random affine map with a thin-plate spline on top, one for each of B images (section 3.1).

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
        generator: torch.Generator,
        device: torch.device,
        align_corners: bool = True,
    ) -> "RandomTransform":
        """Draws one on the generator's device, so that a seed means the same everywhere, then moves it."""
        theta = torch.eye(2, 3) + sigma_affine * torch.randn(batch, 2, 3, generator=generator)
        control = sigma_tps * torch.randn(batch, 1, points_tps**2, generator=generator)
        return cls(theta.to(device), control.to(device), align_corners=align_corners)

    def image(self, image: Tensor) -> Tensor:
        """BxCxHxW warped; what lies outside is mirrored."""
        height, width = image.shape[2:]
        grid = coordinate_grid(height, width, self.theta).view(1, -1, 2)
        moved = self.points(grid).view(image.shape[0], height, width, 2)
        return warp(image, moved, align_corners=self.align_corners, padding_mode="reflection")

    def points(self, points: Tensor) -> Tensor:
        """BxNx2 (or 1xNx2) moved, xy in [-1, 1]."""
        linear, shift = self.theta[:, None, :, :2], self.theta[:, None, :, 2]
        moved = multiply_2x2(linear, points[..., None])[..., 0] + shift
        distance = (points[:, :, None] - self.control_points).abs().sum(-1)  # BxNxP^2, as published: L1
        spline = distance.square() * torch.log(distance + 1e-6) * self.control_params
        return moved + spline.sum(-1, keepdim=True)  # the same bend for x and y

    def jacobian(self, points: Tensor) -> Tensor:
        """The derivative of ``points``, BxNx2x2, in closed form."""
        offset = points[:, :, None] - self.control_points  # BxNxP^2x2
        distance = offset.abs().sum(-1)
        slope = 2 * distance * torch.log(distance + 1e-6) + distance.square() / (distance + 1e-6)
        bend = ((slope * self.control_params)[..., None] * offset.sign()).sum(2)  # BxNx2, over x and y
        return self.theta[:, None, :, :2] + bend[:, :, None]


def reconstruction_loss(real: dict[float, Tensor], generated: dict[float, Tensor]) -> Tensor:
    """Mean absolute difference, summed over the pyramid."""
    return sum_terms((real[scale] - generated[scale]).abs().mean() for scale in real)


def weighted_l1(real: Tensor, generated: Tensor, weight: Tensor) -> Tensor:
    """Mean over all pixels of the absolute difference times ``weight`` Bx1xHxW."""
    return ((real - generated).abs() * weight).mean()


def edge_loss(real: Tensor, generated: Tensor) -> Tensor:
    """Mean absolute difference of the steps from pixel to pixel, down and across: blur counts fully."""
    error = real - generated
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


def contrast_loss(real: Tensor, generated: Tensor) -> Tensor:
    """Mean absolute difference of the local contrast of details: of how strong they are, not of their place.

    The contrast of ``details`` is the root of their mean square over 9x9 pixels. Where it is uncertain to a
    pixel or two what goes where, losses of single pixels are least for a blur; this one is not.
    """
    return (_contrast(real) - _contrast(generated)).abs().mean()


def _contrast(image: Tensor) -> Tensor:
    power = mean_around(details(image).square(), 9)
    return (power + 1e-5).sqrt()  # smooth at 0: what is fainter than 1/256 counts little


def source_detail_loss(generated: Tensor, moved: Tensor, shown: Tensor) -> Tensor:
    """Mean absolute difference of ``details`` from those of the source, where the motion puts them.

    Where the motion is off by a pixel, a loss against the driving frame asks for a blur; this one asks to
    keep what was moved. It says nothing of where that should be, which is for the losses of the motion.

    Args:
        generated, moved: BxCxHxW, what was painted, and the source as the motion moves it.
        shown: Bx1xHxW in [0, 1], how much of the source shows.
    """
    return weighted_l1(details(moved), details(generated), shown)


def details(image: Tensor) -> Tensor:
    """What lies between a mean of 3x3 and one of 7x7 pixels; finer, a camera's noise would count."""
    return mean_around(image, 3) - mean_around(image, 7)


def deformation_loss(deformation: Tensor, source: Tensor, driving: Tensor) -> Tensor:
    """Mean distance of the flow at the driving points from the source points.

    Points that lie outside of either picture do not count: there is nothing to see at them.

    Args:
        deformation: Bxhxwx2, source coordinates for each driving pixel.
        source, driving: the same B x K points in both frames, xy in [-1, 1].
    """
    flow = warp(deformation.permute(0, 3, 1, 2), driving[:, :, None], align_corners=True)  # Bx2xKx1
    inside = ((source.abs() <= 1) & (driving.abs() <= 1)).all(-1, keepdim=True)  # BxKx1
    distance = (flow[..., 0].transpose(1, 2) - source).abs() * inside
    return distance.sum() / (2 * inside.sum()).clamp(min=1)


def flow_loss(deformation: Tensor, flow: Flow, weight: Tensor | None = None) -> Tensor:
    """Mean distance of the deformation from the true flow; what the source hides counts less.

    It counts at all so that what is beside it does not pull it anywhere: the edge of what is hidden is never
    found exactly, and there the painter sees what the deformation fetches.

    Args:
        deformation: Bxhxwx2, source coordinates for each driving pixel, xy in [-1, 1].
        weight: Bx1xhxw, of each pixel in the mean; None: all count alike.
    """
    distance = (deformation - flow.position).abs().mean(-1)
    share = torch.where(flow.seen, 1.0, _HIDDEN_SHARE)[:, None]
    return _mean_where(distance, flow.known, share if weight is None else share * weight)


def occlusion_loss(occlusion_map: Tensor, flow: Flow, weight: Tensor | None = None) -> Tensor:
    """Mean cross entropy of the occlusion map, Bx1xhxw, and of what the source shows.

    ``weight`` is that of ``flow_loss``.
    """
    shown = flow.seen.to(occlusion_map.dtype)
    loss = F.binary_cross_entropy(occlusion_map[:, 0], shown, reduction="none")
    return _mean_where(loss, flow.known, weight)


def _mean_where(values: Tensor, there: Tensor, weight: Tensor | None) -> Tensor:
    """The mean of Bxhxw ``values`` where ``there`` (bool), weighted by Bx1xhxw ``weight``; 0 if nowhere."""
    share = there.to(values.dtype) if weight is None else there * weight[:, 0]
    return (values * share).sum() / share.sum().clamp(min=1e-6)


def box_map(points: Tensor, height: int, width: int) -> Tensor:
    """1 within the box around each image's points (BxNx2, xy in [-1, 1]), else 0: Bx1xHxW."""
    grid = coordinate_grid(height, width, points)
    low, high = points.amin(1)[:, None, None], points.amax(1)[:, None, None]
    return ((grid >= low) & (grid <= high)).all(-1)[:, None].to(points.dtype)


def spot_map(
    points: Tensor, height: int, width: int, shares: Sequence[float] = (), variance: float = 0.01
) -> Tensor:
    """Bx1xHxW: the highest of the gaussians around each image's points (BxNx2, xy in [-1, 1]).

    ``shares`` are their N heights; without them all are 1.
    """
    spots = gaussian_maps(points, height, width, variance)
    if shares:
        spots = spots * torch.tensor(shares, device=spots.device)[:, None, None]
    return spots.amax(1, keepdim=True)


def perceptual_loss(
    network: nn.Module, real: dict[float, Tensor], generated: dict[float, Tensor], weights: Sequence[float]
) -> Tensor:
    """Equation 9: mean absolute difference of features, weighted by layer, summed over the pyramid."""
    total: list[Tensor] = []
    for scale in real:
        with torch.no_grad():
            wanted = network(real[scale])
        for weight, x, y in zip(weights, network(generated[scale]), wanted, strict=False):
            total.append(weight * (x.float() - y.float()).abs().mean())
    return sum_terms(total)


def equivariance_losses(driving: Keypoints, transformed: Keypoints, transform: RandomTransform) -> tuple:
    """Equations 10 and 11: a transformed image has the transformed key points; so with jacobians.

    Args:
        driving, transformed: key points of the frame and of the transformed frame.

    Returns:
        The loss of the values and that of the jacobians (None without jacobians).
    """
    value = (driving.value - transform.points(transformed.value)).abs().mean()
    if driving.jacobian is None or transformed.jacobian is None:
        return value, None
    mapped = multiply_2x2(transform.jacobian(transformed.value), transformed.jacobian)
    identity = torch.eye(2, device=mapped.device, dtype=mapped.dtype)
    return value, (identity - multiply_2x2(inverse_2x2(driving.jacobian), mapped)).abs().mean()


def generator_gan_loss(generated_maps: dict) -> Tensor:
    """Least squares: what the generator paints should count as real, summed over the scales."""
    return sum_terms((1 - prediction.float()).square().mean() for _, prediction in generated_maps.values())


def discriminator_gan_loss(real_maps: dict, generated_maps: dict) -> Tensor:
    """Least squares: 1 for real patches and 0 for painted ones, summed over the scales."""
    return sum_terms(
        ((1 - real_maps[scale][1].float()).square() + generated_maps[scale][1].float().square()).mean()
        for scale in real_maps
    )


def feature_matching_loss(real_maps: dict, generated_maps: dict, weights: Sequence[float]) -> Tensor:
    """Mean absolute difference of the discriminator's features, weighted by layer, summed over the scales."""
    return sum_terms(
        weight * (x.float() - y.float()).abs().mean()
        for scale in real_maps
        for weight, x, y in zip(weights, real_maps[scale][0], generated_maps[scale][0], strict=True)
        if weight
    )


def sum_terms(terms: Iterable[Tensor]) -> Tensor:
    """The sum of scalar tensors; there is at least one."""
    return torch.stack(list(terms)).sum()
