"""``conv_vae``: a variational autoencoder whose latent has places, as that of latent diffusion.

Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", 2022, encode a picture as
4 x S/8 x S/8 numbers, each a normal distribution. Here one such encoder has two decoders. The equations are
those of ``vae``: L = mean |x - D(z)| + spread KL / (3 S^2), z = mu + sigma * eps.

A latent with places keeps where things are, so pictures are sharper than those of ``vae``. It also keeps
more of the person that was encoded. The KL works against that, and the random warp of what the encoder sees.

Shapes at 64 pixels with width w: a convolution 3x3 to w x64x64, then three times a residual block and a
convolution of stride 2: 2w x32x32 -> 4w x16x16 -> 4w x8x8. A residual block there, and 1x1 to mu and
log sigma^2, each c x8x8. A decoder: 3x3 to 4w x8x8, a residual block, then three times nearest neighbour to
twice the side, a convolution 3x3 and a residual block: 4w x16x16 -> 2w x32x32 -> w x64x64, and 3x3 to
4x64x64, picture and mask. A residual block is x + conv(silu(norm(conv(silu(norm(x)))))) with group norm.

The modules are our own. ``AutoencoderKL`` of diffusers is the network of the paper: with one decoder, and
84 million parameters at its defaults.

Defaults: width 16 (quick, 701,808 parameters) or 48 (full, 6,252,592), c = 4, spread 0.02, Adam of rate
5e-4, 4 faces of each person a step.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from fomm.swap.families.vae import Variational
from fomm.swap.family import SIDES

FACTOR = 8  # a latent has so many times fewer places along a side than the picture
_WIDER = (1, 2, 4, 4)  # channels at each level, in widths


class ResidualBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), convolutions 3x3, group norm (Wu and He, 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [_norm(channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, 1, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _norm(channels: int) -> nn.Module:
    return nn.GroupNorm(8 if channels % 8 == 0 else 1, channels)


class ConvVAE(Variational):
    """One convolutional encoder of distributions and two decoders, see the module.

    Args:
        size: see ``Family``.
        width: channels of the first layer.
        channels: of the latent.
        spread: the width of p(x|z), in units of the pictures, whose values go from 0 to 1.
    """

    name = "conv_vae"
    presets: ClassVar = {"quick": {"width": 16}, "full": {"width": 48}}

    def __init__(self, size: int = 64, width: int = 16, channels: int = 4, spread: float = 0.02) -> None:
        super().__init__(size, width=width, channels=channels, spread=spread)
        self.latent_shape, self.spread = (channels, size // FACTOR, size // FACTOR), spread
        widths = [width * wider for wider in _WIDER]
        down: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, 1, 1)]
        for before, after in pairwise(widths):
            down += [ResidualBlock(before), nn.Conv2d(before, after, 3, 2, 1)]
        down += [ResidualBlock(widths[-1]), _norm(widths[-1]), nn.SiLU()]
        encoder = nn.Sequential(*down, nn.Conv2d(widths[-1], 2 * channels, 1))

        def build_decoder() -> nn.Module:
            up: list[nn.Module] = [nn.Conv2d(channels, widths[-1], 3, 1, 1), ResidualBlock(widths[-1])]
            for before, after in pairwise(widths[::-1]):
                up += [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, 1, 1), ResidualBlock(after)]
            return nn.Sequential(*up, _norm(widths[0]), nn.SiLU(), nn.Conv2d(widths[0], 4, 3, 1, 1))

        self.faces = nn.ModuleDict(
            {"encoder": encoder, **{f"decoder_{side}": build_decoder() for side in SIDES}}
        )
