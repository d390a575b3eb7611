"""The dense motion network: from sparse key points to a flow for every pixel, and what is hidden."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fomm.model.base import Keypoints
from fomm.model.blocks import AntiAliasInterpolation2d, Hourglass
from fomm.model.geometry import (
    coordinate_grid,
    gaussian_lines,
    gaussian_maps,
    inverse_2x2,
    multiply_2x2,
    solve_symmetric,
    warp,
)
from fomm.model.openings import FEATURES, LIDS

# Of ``meet_points``, where a picture's side is 2: the deviation of its Gaussians, and what is added to their
# diagonal, so that points that nearly coincide miss a little instead of overshooting. Lids that shut do
# coincide, and the brows above them are not to be dragged along.
REACH, RIDGE = 0.1, 1e-3
LIDS_REACH, LIDS_RIDGE = 0.05, 3e-2


class DenseMotion(NamedTuple):
    """Backward motion from the driving frame to the source, at the motion network's size hxw."""

    deformation: Tensor  # Bxhxwx2: for each driving pixel the source coordinates, xy in [-1, 1]
    occlusion_map: Tensor | None  # Bx1xhxw in [0, 1]: 1 where the source shows it, 0 where it must be painted
    mask: Tensor  # Bx(K+1)xhxw: the share of each key point's motion, background first
    sparse_deformed: Tensor  # Bx(K+1)xCxhxw: the source, warped by each motion alone


def heatmap_differences(
    kp_source: Keypoints, kp_driving: Keypoints, height: int, width: int, variance: float
) -> Tensor:
    """Draw Gaussians at the driving points and subtract those at the source's points (equation 6).

    Args:
        kp_source: of 1 image or B.
        kp_driving: of B frames.
        height, width: of the maps, pixels.
        variance: of the Gaussians, in units of [-1, 1] squared.

    Returns:
        Bx(K+1)xHxW in [-1, 1]; the first map is the background's and zero.
    """
    driving = gaussian_maps(kp_driving.value, height, width, variance)
    source = gaussian_maps(kp_source.value, height, width, variance)
    return F.pad(driving - source, (0, 0, 0, 0, 1, 0))


def sparse_motions(kp_source: Keypoints, kp_driving: Keypoints, height: int, width: int) -> Tensor:
    """Continue the motion at each key point to the whole picture as an affine map (equation 4).

    Of a driving pixel z it is T(z) = p_source + J_source J_driving^-1 (z - p_driving). Where
    either has no jacobians, J_source J_driving^-1 is the identity.

    Args:
        kp_source: of 1 image or B.
        kp_driving: of B frames.
        height, width: of the motions, pixels.

    Returns:
        Bx(K+1)xHxWx2, source coordinates xy; the first motion is the background's, which stands still.
    """
    grid = coordinate_grid(height, width, kp_driving.value)
    if kp_source.jacobian is not None and kp_driving.jacobian is not None:
        jacobian = multiply_2x2(kp_source.jacobian, inverse_2x2(kp_driving.jacobian))
        # each column of a picture shares one part of the result, each row the other
        across = grid[0, :, 0] - kp_driving.value[..., :1]  # BxKxW
        down = grid[:, 0, 1] - kp_driving.value[..., 1:]  # BxKxH
        columns = jacobian[:, :, None, :, 0] * across[..., None]
        rows = jacobian[:, :, None, :, 1] * down[..., None] + kp_source.value[:, :, None]
        motions = columns[:, :, None] + rows[:, :, :, None]
    else:
        shift = kp_source.value - kp_driving.value
        motions = grid + shift[:, :, None, None]
    return torch.cat((grid.expand(motions.shape[0], 1, -1, -1, -1), motions), dim=1)


def meet_points(
    deformation: Tensor, source: Tensor, driving: Tensor, reach: float = REACH, ridge: float = RIDGE
) -> Tensor:
    """Return the deformation, changed smoothly so that it takes each driving point to the source's.

    The network's flow misses the key points by some pixels, and small motions of lips and lids are no larger.
    What it misses by is spread around the driving points p by Gaussians G of deviation ``reach``:

        D'(z) = D(z) + sum_k G(z - p_driving,k) w_k,  with D'(p_driving,k) = p_source,k  for each k

    Args:
        deformation: Bxhxwx2, xy in [-1, 1].
        source: BxKx2 or 1xKx2, xy in [-1, 1].
        driving: BxKx2.
        reach, ridge: see ``REACH``.
    """
    places = driving
    planes = deformation.permute(0, 3, 1, 2)
    found = F.grid_sample(planes, places[:, :, None], align_corners=True)[..., 0].transpose(1, 2)
    height, width = deformation.shape[1:3]
    between = torch.exp((places[:, :, None] - places[:, None]).square().sum(-1) / (-2 * reach**2))  # BxKxK
    diagonal = ridge * torch.eye(places.shape[1], device=places.device, dtype=places.dtype)
    weights = solve_symmetric(between + diagonal, source - found)  # BxKx2
    rows, columns = gaussian_lines(places, height, width, reach**2)  # BxKxh, BxKxw
    weighed = columns[:, None] * weights.transpose(1, 2)[..., None]  # Bx2xKxw
    return deformation + (rows.transpose(1, 2)[:, None] @ weighed).permute(0, 2, 3, 1)


def meet_face(
    deformation: Tensor, kp_source: Keypoints, kp_driving: Keypoints, labels: Sequence[str]
) -> Tensor:
    """Return the deformation, changed so that it meets the face's ``FEATURES``, and then its lids.

    Args:
        deformation: Bxhxwx2, xy in [-1, 1].
        kp_source: of 1 image or B.
        kp_driving: of B frames.
        labels: what each key point is.
    """
    for names, reach, ridge in (
        (FEATURES, REACH, RIDGE),
        ((*LIDS[0], *LIDS[1]), LIDS_REACH, LIDS_RIDGE),
    ):
        points = [labels.index(name) for name in names]
        source, driving = kp_source.value[:, points], kp_driving.value[:, points]
        deformation = meet_points(deformation, source, driving, reach, ridge)
    return deformation


class DenseMotionNetwork(nn.Module):
    """The network that combines K local affine motions and the still background into one flow (section 3.2).

    Args:
        num_kp, num_channels: K and C.
        block_expansion, max_features, num_blocks: width, widest level and depth of the hourglass.
        estimate_occlusion_map: whether the network says what is hidden in the source.
        scale_factor: the source is shrunk by it first; 1 leaves it as it is.
        kp_variance: of the Gaussians drawn around key points.
        align_corners: see ``geometry.warp``.
    """

    def __init__(
        self,
        *,
        num_kp: int,
        num_channels: int,
        block_expansion: int,
        max_features: int,
        num_blocks: int,
        estimate_occlusion_map: bool = False,
        scale_factor: float = 1,
        kp_variance: float = 0.01,
        align_corners: bool = True,
    ) -> None:
        super().__init__()
        self.kp_variance = kp_variance
        self.align_corners = align_corners
        self.hourglass = Hourglass(
            block_expansion, (num_kp + 1) * (num_channels + 1), num_blocks, max_features
        )
        features = self.hourglass.out_filters
        self.mask = nn.Conv2d(features, num_kp + 1, 7, padding=3)
        self.occlusion = nn.Conv2d(features, 1, 7, padding=3) if estimate_occlusion_map else None
        self.down = AntiAliasInterpolation2d(num_channels, scale_factor) if scale_factor != 1 else None

    def forward(self, source: Tensor, kp_source: Keypoints, kp_driving: Keypoints) -> DenseMotion:
        """Estimate the motion of B frames.

        Args:
            source: BxCxHxW in [0, 1], or 1xCxHxW for one source and many frames.
            kp_source: of the source, B or 1 of them.
            kp_driving: B of them.
        """
        if self.down is not None:
            source = self.down(source)
        batch, (channels, height, width) = kp_driving.value.shape[0], source.shape[1:]
        heat = heatmap_differences(kp_source, kp_driving, height, width, self.kp_variance)
        motions = sparse_motions(kp_source, kp_driving, height, width)
        count = motions.shape[1]  # K + 1
        copies = source[:, None].expand(batch, count, -1, -1, -1).reshape(-1, channels, height, width)
        deformed = warp(copies, motions.flatten(0, 1), align_corners=self.align_corners)
        deformed = deformed.view(batch, count, channels, height, width)

        features = self.hourglass(torch.cat((heat[:, :, None], deformed), dim=2).flatten(1, 2))
        mask = F.softmax(self.mask(features).float(), dim=1)
        deformation = (motions * mask[..., None]).sum(dim=1)  # equation 7
        occlusion = None if self.occlusion is None else torch.sigmoid(self.occlusion(features).float())
        return DenseMotion(deformation, occlusion, mask, deformed)
