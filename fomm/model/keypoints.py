"""The key-point detector, and key points moved relative to a reference frame."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fomm.model.base import Detector, Keypoints
from fomm.model.blocks import AntiAliasInterpolation2d, Hourglass
from fomm.model.geometry import convex_hull_area, coordinate_grid, inverse_2x2, multiply_2x2
from fomm.model.sizes import downsample_length, fits_hourglass


class KPDetector(Detector):
    """The network that finds key points and, if asked, the jacobian of the motion at each (section 3.1).

    Args:
        num_kp: K.
        num_channels: of the image.
        block_expansion, max_features, num_blocks: width, widest level and depth of the hourglass.
        estimate_jacobian: whether it finds jacobians, 2x2 matrices, too.
        temperature: of the softmax that turns a heat map into a point.
        scale_factor: the image is shrunk by it first; 1 leaves it as it is.
        single_jacobian_map: one map of jacobians for all key points instead of one for each.
        pad: around the head's 7x7 convolutions: 0 as published (a 64x64 map becomes 58x58), 3 keeps the size.
    """

    def __init__(
        self,
        *,
        num_kp: int,
        num_channels: int,
        block_expansion: int,
        max_features: int,
        num_blocks: int,
        temperature: float,
        estimate_jacobian: bool = False,
        scale_factor: float = 1,
        single_jacobian_map: bool = False,
        pad: int = 0,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.predictor = Hourglass(block_expansion, num_channels, num_blocks, max_features)
        features = self.predictor.out_filters
        self.kp = nn.Conv2d(features, num_kp, 7, padding=pad)
        self.jacobian: nn.Conv2d | None = None
        if estimate_jacobian:
            maps = 1 if single_jacobian_map else num_kp
            self.jacobian = nn.Conv2d(features, 4 * maps, 7, padding=pad)
            nn.init.zeros_(self.jacobian.weight)  # training starts from the identity
            with torch.no_grad():
                torch.nn.init.zeros_(self.jacobian.bias).view(maps, 4)[:, [0, 3]] = 1  # type: ignore[arg-type]
        self.down = AntiAliasInterpolation2d(num_channels, scale_factor) if scale_factor != 1 else None

    def forward(self, image: Tensor) -> Keypoints:
        """Find the key points of BxCxHxW in [0, 1]."""
        if self.down is not None:
            image = self.down(image)
        features = self.predictor(image)
        logits = self.kp(features).float()  # BxKxhxw; points and jacobians are float32 also under autocast
        heat = F.softmax(logits.flatten(2) / self.temperature, dim=-1).view_as(logits)
        grid = coordinate_grid(heat.shape[2], heat.shape[3], heat)
        value = (heat[..., None] * grid).sum(dim=(2, 3))  # BxKx2
        if self.jacobian is None:
            return Keypoints(value)
        maps = self.jacobian(features).float().unflatten(1, (-1, 4))  # Bx(K or 1)x4xhxw
        jacobian = (heat[:, :, None] * maps).sum(dim=(3, 4)).unflatten(-1, (2, 2))  # BxKx2x2
        return Keypoints(value, jacobian)

    def takes(self, pixels: int) -> bool:
        """Return whether a side of an image may have so many pixels."""
        length = downsample_length(pixels, self.down)
        # the map has to be large enough for the convolution
        large = length + 2 * int(self.kp.padding[0]) >= self.kp.kernel_size[0]
        return large and fits_hourglass(length, self.predictor)


def movement_scale(kp_source: Keypoints, kp_driving_initial: Keypoints) -> float:
    """Return how much larger the source's face is than the driving one's.

    That is the root of the ratio of the areas of the key points' convex hulls. It is 1 where a hull has no
    area: of fewer than three points, or of points on a line.

    Args:
        kp_source, kp_driving_initial: of one image each.
    """
    source, driving = (convex_hull_area(kp.value[0]) for kp in (kp_source, kp_driving_initial))
    return (source / driving) ** 0.5 if source > 0 and driving > 0 else 1.0


def relative_motion(
    kp_source: Keypoints, kp_driving: Keypoints, kp_driving_initial: Keypoints, scale: float | Tensor = 1.0
) -> Keypoints:
    """Move the source's key points as the driving ones moved since the reference frame (section 3.3).

    Values: source + scale * (driving - initial). Jacobians, if there are any: driving @ initial^-1 @ source.
    Covariances stay those of the driving frames.

    Args:
        kp_source, kp_driving_initial: of one image each, or of B.
        kp_driving: of B frames.
        scale: of the movement, see ``movement_scale``; a number, or Bx1x1.
    """
    value = kp_source.value + scale * (kp_driving.value - kp_driving_initial.value)
    if kp_driving.jacobian is None or kp_source.jacobian is None or kp_driving_initial.jacobian is None:
        return Keypoints(value, None, kp_driving.covariance)
    change = multiply_2x2(kp_driving.jacobian, inverse_2x2(kp_driving_initial.jacobian))
    return Keypoints(value, multiply_2x2(change, kp_source.jacobian), kp_driving.covariance)
