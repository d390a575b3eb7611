"""``vae_gan``: a variational autoencoder that measures distance in the features of a discriminator.

Larsen et al., "Autoencoding beyond pixels using a learned similarity metric", 2016. Pixels that are a little
displaced are far from each other, so a ``vae`` blurs. Here pictures are near where a discriminator sees much
the same. For each person, x real, x~ = D(z) with z from q(z|x), and x_p = D(z_p) with z_p from N(0, 1):

    L_prior = KL(q(z|x) || N(0, 1))
    L_llike = -log N(Dis_l(x) | Dis_l(x~), I) = 1/2 sum (Dis_l(x) - Dis_l(x~))^2 + a constant
    L_GAN   = log Dis(x) + log(1 - Dis(x~)) + log(1 - Dis(x_p))

Dis_l is what the third convolution of the discriminator gives. The encoder minimises L_prior + L_llike, the
decoders gamma L_llike - L_GAN, the discriminator -L_GAN. The encoder gets no gradient of L_GAN, as in the
paper. L_prior and L_llike are divided by the number of features. The decoders' loss is divided by gamma,
which changes nothing for Adam: the weight ``adversary`` = 1 / gamma stands at L_GAN. The decoders maximise
log Dis(x~) + log Dis(x_p), whose gradient does not vanish when the discriminator wins, and not the
logarithm of what is left. ``prior`` weighs L_prior (1 in the paper), and ``pixels`` the mean difference of
pixels beside L_llike (0 in the paper): with few steps it keeps colours right. Masks are learned by their mean
difference.

In the first half of the training there are no discriminators: the losses are L_prior, pixels and masks alone.
A discriminator that judges from the first step on has features of no face, and decoder B broke up on some
latents of A.

The discriminator is skipped in a step where it wins: where its loss, the mean of the cross entropies of
real, decoded and drawn pictures, is below ``wins``. (2 log 2 / 2 = 0.69 means that it cannot tell.)

Shapes: encoder and decoders of ``vae``. Discriminators, one a person: convolutions 5x5 of stride 2 to
w x32x32 -> 2w x16x16 -> 4w x8x8 (Dis_l) -> 8w x4x4 at 64 pixels, batch norm but in the first, leaky ReLU,
dense to one number. The batch norms see real and made pictures in one batch and keep no statistics.
Encoder and decoders have no batch norm, unlike in the paper: in a swap, decoder B gets latents of A, and
statistics of B would not fit them.

Defaults: width 32 (quick, 10,585,802 parameters, the discriminators included) or 64 (full, 45,213,066),
latent 256, adversary 0.003, pixels 5, prior 3, wins 0.35, Adam of rate 5e-4, of the discriminators 2e-4, 4
faces of each person a step.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fomm.swap.batches import Batch, Side
from fomm.swap.families.blocks import (
    centre,
    cross_entropy,
    draw_latent,
    kl_divergence,
    mask_loss,
    picture_loss,
)
from fomm.swap.families.vae import Variational, build_dense
from fomm.swap.family import SIDES

_FEATURES = 3  # Dis_l: after so many convolutions


class FeatureDiscriminator(nn.Module):
    """Tell real from made, and give the features in which distance is measured; see the module.

    Args:
        size: of the pictures, pixels.
        width: channels of the first layer.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for level in range(4):
            out = width * 2**level
            norm = [nn.BatchNorm2d(out, track_running_stats=False)] if level else []
            layers.append(nn.Sequential(nn.Conv2d(channels, out, 5, 2, 2), *norm, nn.LeakyReLU(0.2)))
            channels = out
        self.features = width * 2 ** (_FEATURES - 1) * (size // 2**_FEATURES) ** 2  # how many of one picture
        self.first, self.last = nn.Sequential(*layers[:_FEATURES]), layers[_FEATURES]
        self.out = nn.Linear(channels * (size // 16) ** 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits B and the features Dis_l, both float32, of pictures Bx3xSxS in [0, 1]."""
        features = self.first(centre(x))
        return self.out(self.last(features).flatten(1)).float().flatten(), features.float()


class VAEGAN(Variational):
    """A variational autoencoder with two decoders and two discriminators, see the module.

    Args:
        size, width, latent: see ``VAE``.
        adversary: the weight of L_GAN for the decoders.
        prior: the weight of L_prior; 1 for the paper's loss.
        pixels: the weight of the mean difference of pixels; 0 for the paper's loss.
        wins: the discriminator is skipped where its loss is below.
    """

    name = "vae_gan"
    players = ("faces", "discriminator")
    rates: ClassVar = {"faces": 5e-4, "discriminator": 2e-4}
    unjudged = 0.5
    presets: ClassVar = {"quick": {"width": 32}, "full": {"width": 64}}

    def __init__(
        self,
        size: int = 64,
        width: int = 32,
        latent: int = 256,
        adversary: float = 0.003,
        pixels: float = 5.0,
        prior: float = 3.0,
        wins: float = 0.35,
    ) -> None:
        super().__init__(
            size, width=width, latent=latent, adversary=adversary, pixels=pixels, prior=prior, wins=wins
        )
        self.latent_shape = (latent,)
        self.adversary, self.pixels, self.prior, self.wins = adversary, pixels, prior, wins
        self.faces = build_dense(size, width, latent)
        self.discriminator = nn.ModuleDict({side: FeatureDiscriminator(size, width) for side in SIDES})

    def losses(self, batch: Batch, player: str) -> dict[str, Tensor]:
        if player == "faces":
            return self._measure_faces(batch)
        made = self.kept(batch)
        if made is None:
            with torch.no_grad():
                made = {side: self._make(faces, side)[0] for side, faces in batch._asdict().items()}
        losses = {}
        for side, faces in batch._asdict().items():
            logits, _ = self.discriminator[side](torch.cat([faces.target, made[side][len(faces.target) :]]))
            real, decoded, drawn = logits.chunk(3)
            terms = cross_entropy(real, 1), cross_entropy(decoded, 0), cross_entropy(drawn, 0)
            loss = (terms[0] + 0.5 * terms[1] + 0.5 * terms[2]) / 2
            losses[f"discriminator_{side}"] = loss.detach() if loss.item() < self.wins else loss
        return losses

    def _make(self, faces: Side, side: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the pictures that are made, mask, mu and log sigma^2.

        The pictures are 3B: decoded, decoded with no gradient for the encoder, and drawn from the prior.
        Where they are not judged, they are the first B alone.
        """
        mean, log_variance = self.find_posterior(faces.warped)
        z = draw_latent(mean, log_variance)
        shown = torch.cat([z, z.detach(), torch.randn_like(z)]) if self.judged else z
        pictures, masks = self.decode(shown, side)
        return pictures, masks[: len(z)], mean, log_variance

    def _measure_faces(self, batch: Batch) -> dict[str, Tensor]:
        losses, made = {}, {}
        for side, faces in batch._asdict().items():
            pictures, mask, mean, log_variance = self._make(faces, side)
            made[side] = pictures.detach()
            decoded, judged = pictures[: len(mask)], pictures[len(mask) :]
            discriminator = self.discriminator[side]
            assert isinstance(discriminator, FeatureDiscriminator)
            kl = kl_divergence(mean, log_variance).mean()
            losses[f"kl_{side}"] = self.prior * kl / discriminator.features
            losses[f"picture_{side}"] = self.pixels * picture_loss(decoded, faces)
            losses[f"mask_{side}"] = mask_loss(mask, faces)
            if not self.judged:
                continue
            _, features = discriminator(torch.cat([faces.target, decoded]))
            real_features, made_features = features.chunk(2)
            losses[f"features_{side}"] = 0.5 * (real_features - made_features).square().mean()
            # apart, since the norms of one batch would let the encoder see this gradient
            logits, _ = discriminator(torch.cat([faces.target, judged]))
            fooled = cross_entropy(logits[len(mask) :], 1)
            losses[f"adversary_{side}"] = self.adversary * fooled
        self.keep(batch, made)
        return losses
