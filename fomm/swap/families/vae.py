"""``vae``: the autoencoder whose latent is a normal distribution (Kingma and Welling, 2014).

The encoder tells mean mu and log sigma^2 of q(z|x), and the latent is drawn: z = mu + sigma * eps, eps from
N(0, 1). Each person has a decoder. The loss is the negative evidence lower bound

    L = -E log p(x|z) + KL(q(z|x) || p(z)),    p(z) = N(0, 1)
    KL = -1/2 sum(1 + log sigma^2 - mu^2 - sigma^2)

One thesis on face swaps prints this KL without the minus in front of 1/2, so that its minimum would be at
infinity, and writes p(z|x) where the prior p(z) stands. Both are misprints: the prior does not see x.

p(x|z) is a Laplace distribution of width ``spread`` about the decoded picture: -log p = |x - D(z)| / spread
per number, and a constant. The loss is divided by the D = 3 S^2 numbers of a picture and multiplied by
``spread``, so that it does not depend on the size: mean |x - D(z)| + spread KL / D. The mean is the weighted
one of ``picture_loss``, which counts differences of neighbours, too. Masks are learned by their mean
difference.

Shapes: the convolutions of ``autoencoder`` to 8w x4x4 at 64 pixels, dense to mu and log sigma^2, ``latent``
numbers each. A decoder: dense to 8w x4x4, then ``Upscale`` to 4w x8x8 -> 2w x16x16 -> w x32x32 -> w/2 x64x64
-> 4x64x64, picture and mask.

``encode`` returns mu. ``sample`` decodes latents that are drawn from the prior: faces that nobody filmed.

Defaults: width 32 (quick, 8,419,656 parameters) or 64 (full, 36,530,824), latent 256, spread 0.02, Adam of
rate 5e-4, 4 faces of each person a step.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fomm.swap.batches import Batch
from fomm.swap.families.blocks import (
    UpStack,
    centre,
    down_stack,
    draw_latent,
    find_levels,
    init_weights,
    kl_divergence,
    mask_loss,
    picture_loss,
    split_output,
)
from fomm.swap.family import SIDES, Family, check_side


class Variational(Family):
    """Any encoder of distributions with two decoders, and the loss that is described in the module.

    Attributes:
        latent_shape: of the latent of one face.
        spread: the width of p(x|z), in units of the pictures, whose values go from 0 to 1.
    """

    rates: ClassVar = {"faces": 5e-4}
    latent_shape: tuple[int, ...]
    spread: float

    def find_posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and log sigma^2 of q(z|x), each Bx the latent's shape, of faces Bx3xSxS in [0, 1]."""
        mean, log_variance = self.faces["encoder"](centre(x)).float().chunk(2, dim=1)
        return mean, log_variance

    def encode(self, x: Tensor) -> Tensor:
        return self.find_posterior(x)[0]

    def decode(self, z: Tensor, side: str) -> tuple[Tensor, Tensor]:
        check_side(side)
        return split_output(self.faces[f"decoder_{side}"](z))

    def sample(self, n: int, side: str, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return ``n`` faces of a side, and their masks, whose latents are drawn from the prior.

        Args:
            n: how many.
            side: ``"a"`` or ``"b"``.
            rng: on the CPU; None: torch's own.
        """
        place = next(self.faces.parameters()).device
        return self.decode(torch.randn(n, *self.latent_shape, generator=rng).to(place), side)

    def losses(self, batch: Batch, player: str) -> dict[str, Tensor]:
        losses = {}
        for side, faces in batch._asdict().items():
            mean, log_variance = self.find_posterior(faces.warped)
            picture, mask = self.decode(draw_latent(mean, log_variance), side)
            losses[f"picture_{side}"] = picture_loss(picture, faces)
            losses[f"mask_{side}"] = mask_loss(mask, faces)
            kl = kl_divergence(mean, log_variance).mean()
            losses[f"kl_{side}"] = self.spread / faces.target[0].numel() * kl
        return losses


class VAE(Variational):
    """One encoder of distributions and two decoders, see the module.

    Args:
        size: see ``Family``.
        width: channels of the first layer.
        latent: numbers of the latent.
        spread: the width of p(x|z), in units of the pictures, whose values go from 0 to 1.
    """

    name = "vae"
    presets: ClassVar = {"quick": {"width": 32}, "full": {"width": 64}}

    def __init__(self, size: int = 64, width: int = 32, latent: int = 256, spread: float = 0.02) -> None:
        super().__init__(size, width=width, latent=latent, spread=spread)
        self.latent_shape, self.spread = (latent,), spread
        self.faces = build_dense(size, width, latent)


def build_dense(size: int, width: int, latent: int) -> nn.ModuleDict:
    """Build the encoder and the two decoders of ``vae``, see the module."""
    down, channels = down_stack(size, width)
    levels = find_levels(size)
    bottom = size >> levels
    inner = channels * bottom**2

    def build_decoder() -> nn.Module:
        rise = nn.Sequential(nn.Linear(latent, inner), nn.Unflatten(1, (channels, bottom, bottom)))
        return nn.Sequential(rise, UpStack(channels, width, levels))

    encoder = nn.Sequential(down, nn.Flatten(), nn.Linear(inner, 2 * latent))
    faces = nn.ModuleDict({"encoder": encoder, **{f"decoder_{side}": build_decoder() for side in SIDES}})
    init_weights(faces)
    return faces
