"""The multi-scale patch discriminator, used in training alone."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fomm.model.base import Keypoints
from fomm.model.geometry import gaussian_maps


class DownBlock2d(nn.Module):
    """A 4x4 convolution without padding, instance norm, leaky ReLU and, where asked, average pooling."""

    def __init__(self, in_features: int, out_features: int, *, norm: bool, pool: bool, sn: bool) -> None:
        super().__init__()
        self.conv = _make_convolution(in_features, out_features, 4, sn)
        self.norm = nn.InstanceNorm2d(out_features, affine=True) if norm else None
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv(x)
        if self.norm is not None:
            out = self.norm(out)
        out = F.leaky_relu(out, 0.2)
        return F.avg_pool2d(out, 2) if self.pool else out


class Discriminator(nn.Module):
    """The network that says for each patch of an image, at one scale, how real it looks."""

    def __init__(
        self,
        *,
        num_channels: int,
        block_expansion: int,
        num_blocks: int,
        max_features: int,
        sn: bool,
        use_kp: bool,
        num_kp: int,
        kp_variance: float,
        high_pass: bool,
    ) -> None:
        super().__init__()
        self.use_kp, self.kp_variance, self.high_pass = use_kp, kp_variance, high_pass
        widths = [min(max_features, block_expansion * 2**i) for i in range(1, num_blocks + 1)]
        inputs = [num_channels + num_kp * use_kp, *widths[:-1]]
        self.down_blocks = nn.ModuleList(
            DownBlock2d(a, b, norm=i > 0 and not high_pass, pool=i < num_blocks - 1, sn=sn)
            for i, (a, b) in enumerate(zip(inputs, widths, strict=True))
        )
        self.conv = _make_convolution(widths[-1], 1, 1, sn)

    def forward(self, image: Tensor, kp: Keypoints | None = None) -> tuple[list[Tensor], Tensor]:
        """Return the feature maps of every block, and the map of predictions Bx1xhxw (1 is real).

        Args:
            image: BxCxHxW in [0, 1].
            kp: of the images; needed with ``use_kp``.

        Raises:
            ValueError: there are no key points, and it needs some.
        """
        out = _high_pass(image) if self.high_pass else image
        if self.use_kp:
            if kp is None:
                raise ValueError("this discriminator was built with use_kp and needs key points")
            maps = gaussian_maps(kp.value, image.shape[2], image.shape[3], self.kp_variance)
            out = torch.cat((out, maps), dim=1)
        features = []
        for block in self.down_blocks:
            out = block(out)
            features.append(out)
        return features, self.conv(out)


class MultiScaleDiscriminator(nn.Module):
    """One discriminator for each scale of the image pyramid.

    Args:
        scales: as in the pyramid, 1 is the full size.
        num_channels: of the image.
        block_expansion, max_features, num_blocks: width, widest level and depth.
        sn: spectral normalisation.
        use_kp: whether it sees the key points, as Gaussians of ``kp_variance``.
        high_pass: it sees how pixels differ from those around them. It then has no instance norms, which
            would hide how much they differ. So it learns within a few hundred steps what a blur is.
        estimate_jacobian: published configurations give it to every network; not used here.
    """

    def __init__(
        self,
        *,
        num_kp: int,
        num_channels: int,
        block_expansion: int,
        max_features: int,
        num_blocks: int,
        scales: Sequence[float] = (1,),
        sn: bool = False,
        use_kp: bool = False,
        kp_variance: float = 0.01,
        high_pass: bool = False,
        estimate_jacobian: bool = False,
    ) -> None:
        super().__init__()
        self.scales = tuple(scales)
        self.discs = nn.ModuleDict(
            {
                str(scale).replace(".", "-"): Discriminator(
                    num_channels=num_channels,
                    block_expansion=block_expansion,
                    num_blocks=num_blocks,
                    max_features=max_features,
                    sn=sn,
                    use_kp=use_kp,
                    num_kp=num_kp,
                    kp_variance=kp_variance,
                    high_pass=high_pass,
                )
                for scale in scales
            }
        )

    def forward(
        self, pyramid: Mapping[float, Tensor], kp: Keypoints | None = None
    ) -> dict[float, tuple[list[Tensor], Tensor]]:
        """Return for each scale what ``Discriminator`` gives: the feature maps and the predictions.

        Args:
            pyramid: images BxCxhxw by scale.
            kp: of the images; needed with ``use_kp``.
        """
        return {scale: self.discs[str(scale).replace(".", "-")](pyramid[scale], kp) for scale in self.scales}


def _high_pass(image: Tensor) -> Tensor:
    """Subtract the mean of 15x15 pixels and multiply by 5, so that edges have a height of about 1."""
    around = F.avg_pool2d(F.pad(image, (7, 7, 7, 7), mode="replicate"), 15, 1)
    return 5 * (image - around)


def _make_convolution(in_features: int, out_features: int, kernel_size: int, sn: bool) -> nn.Module:
    conv = nn.Conv2d(in_features, out_features, kernel_size)
    # not nn.utils.parametrizations.spectral_norm: the published files have the names of this one
    return nn.utils.spectral_norm(conv) if sn else conv
