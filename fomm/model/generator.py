"""The occlusion-aware generator: encodes the source, warps its features by the motion, paints the rest."""

from collections.abc import Callable
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fomm.model.blocks import DownBlock2d, ResBlock2d, SameBlock2d, UpBlock2d
from fomm.model.dense_motion import DenseMotionNetwork, Motion
from fomm.model.geometry import enlarged, finest_details, warp
from fomm.model.keypoints import Keypoints


class OcclusionAwareGenerator(nn.Module):
    """Renders the source with the driving frames' motion (section 3.2).

    The source is encoded once by ``encode``; ``decode`` turns its features and a ``Motion`` into a picture.

    Args:
        num_kp, num_channels: number of key points, and of the image's channels.
        block_expansion, max_features: width at full size, and of the widest level.
        num_down_blocks: how often the source is halved before it is warped.
        num_bottleneck_blocks: residual blocks after the warp.
        dense_motion_params: keywords of ``DenseMotionNetwork``.
        estimate_occlusion_map: whether the motion network says what is hidden in the source.
        estimate_jacobian: published files give it to every network; not used here.
        align_corners, bicubic: see ``geometry.warp``; the latter of features alone.
        details: the share of the source's finest details that ``decode`` moves beside the features, at the
            picture's size, and adds to what is painted. Published networks add none; nor does ``forward``: a
            network that is trained with them learns to take them away again.

    Attributes:
        frame_shape: (height, width, channels) that it was trained at, where known.
        hash_weights: works out ``weights_hash``.
    """

    frame_shape: tuple[int, int, int] | None = None
    hash_weights: Callable[[], str | None] | None = None

    def __init__(
        self,
        *,
        num_kp: int,
        num_channels: int,
        block_expansion: int,
        max_features: int,
        num_down_blocks: int,
        num_bottleneck_blocks: int,
        dense_motion_params: dict,
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

    @cached_property
    def weights_hash(self) -> str | None:
        """sha256 of the file that its weights came from, where there was one: read when first asked for."""
        return None if self.hash_weights is None else self.hash_weights()

    def encode(self, source: Tensor) -> Tensor:
        """BxCxHxW in [0, 1] to features, BxFx(H/2^n)x(W/2^n), n = num_down_blocks."""
        out = self.first(source)
        for block in self.down_blocks:
            out = block(out)
        return out

    def decode(self, features: Tensor, motion: Motion, source: Tensor | None = None) -> Tensor:
        """Equation 8: the features, warped and masked by what the source shows, rendered.

        Args:
            features: of ``encode``; B of them, or one for B motions.
            source: BxCxHxW in [0, 1], B or one of them; needed with ``details`` alone.

        Returns:
            BxCxHxW in [0, 1].
        """
        painted = self.paint(self.move(features, motion))
        if not self.details:
            return painted
        if source is None:
            raise ValueError("this generator moves details: decode needs the source too")
        details = self.details * finest_details(source)
        return with_details(painted, details, motion.deformation, motion.occlusion_map)

    def move(self, features: Tensor, motion: Motion) -> Tensor:
        """The first half of ``decode``: the features warped and masked, BxFxhxw."""
        out = self.deform(features, motion.deformation, bicubic=self.bicubic)
        if motion.occlusion_map is not None:
            occlusion = motion.occlusion_map.to(out.dtype)
            if occlusion.shape[2:] != out.shape[2:]:
                occlusion = F.interpolate(occlusion, out.shape[2:], mode="bilinear", align_corners=False)
            out = out * occlusion
        return out

    def paint(self, moved: Tensor) -> Tensor:
        """The second half: moved features, all of them or a window, to a picture of them."""
        out = self.bottleneck(moved)
        for block in self.up_blocks:
            out = block(out)
        return torch.sigmoid(self.final(out))

    def deform(self, image: Tensor, deformation: Tensor, *, bicubic: bool = False) -> Tensor:
        """``image`` (B or 1, at any size) warped by a deformation Bxhxwx2, which is resized to it."""
        size = image.shape[2:]
        if deformation.shape[1:3] != size:
            deformation = F.interpolate(
                deformation.permute(0, 3, 1, 2), size, mode="bilinear", align_corners=False
            ).permute(0, 2, 3, 1)
        image = image.expand(deformation.shape[0], -1, -1, -1)
        return warp(image, deformation, align_corners=self.align_corners, bicubic=bicubic)

    def forward(
        self,
        source: Tensor,
        kp_driving: Keypoints,
        kp_source: Keypoints,
        window: Callable[[Tensor], Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Everything the training looks at.

        Args:
            window: what to keep of the moved features BxFxhxw; the rest is not painted.

        Returns:
            ``prediction`` BxCxHxW, or of the window alone; ``deformed``, the source itself warped, BxCxHxW;
            and of the ``Motion`` ``deformation``, ``mask``, ``sparse_deformed`` and, where estimated,
            ``occlusion_map``.
        """
        motion = self.dense_motion_network(source, kp_source, kp_driving)
        output = {name: value for name, value in motion._asdict().items() if value is not None}
        output["deformed"] = self.deform(source, motion.deformation)
        moved = self.move(self.encode(source), motion)
        output["prediction"] = self.paint(moved if window is None else window(moved))
        return output


def with_details(painted: Tensor, details: Tensor, deformation: Tensor, shown: Tensor | None) -> Tensor:
    """What is painted with details of the source added, where the motion puts them, as far as they are shown.

    Args:
        painted: BxCxHxW in [0, 1], and so is what is returned.
        details: BxCxHxW, or one for all.
        deformation, shown: Bxhxwx2 and Bx1xhxw, the deformation and the occlusion map of a ``Motion``.
    """
    grid = enlarged(deformation, *details.shape[2:])
    moved = warp(details.expand(grid.shape[0], -1, -1, -1), grid, align_corners=False)
    if shown is not None:
        moved = moved * F.interpolate(shown, details.shape[2:], mode="bilinear", align_corners=False)
    return (painted + moved).clamp(0, 1)
