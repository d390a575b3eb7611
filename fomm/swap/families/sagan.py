"""``sagan``: the shared-encoder autoencoder as a generator with self-attention, against discriminators.

Zhang et al., "Self-Attention Generative Adversarial Networks", 2019, put attention into generator and
discriminator, use the spectral norm (Miyato et al. 2018), and the hinge loss. Face swaps take the generator
of ``autoencoder`` for it, whose output has an alpha mask. For each person, with x the face, w its warp, m
the binary mask of the face, and G_s(w) = (c, alpha):

    made:           y = alpha c + (1 - alpha) w
    picture:        |c - x|, weight 1 in the mask, 0.2 outside, and 3 more on the eyes
    composed:       |y - x|, weighted in the same way
    mask:           |alpha - m|, m being binary
    adversary:      - E D_s(m c), over the person's own faces and the swaps of the other's
    discriminator:  E max(0, 1 - D_s(m x)) + E max(0, 1 + D_s(m c)): 1 for real, -1 for made

The discriminator sees what is face alone, cut out by the binary mask. So hair and background of the other
clip do not give a swap away. Its judgement of swaps is the only loss that sees them.

In the first half of the training there are no discriminators and no swaps: they judge when there are faces to
be judged. From the first step on, they taught the generator patterns that please them, and no faces.

Attention is at two levels of the encoder and of each decoder, S/4 and S/8: y = x + gamma o, where gamma
begins at 0, see ``SelfAttention``. The discriminator has it at S/4 and S/8, too.

Shapes: those of ``autoencoder``. Discriminators, one a person: convolutions 4x4 of stride 2 to w x32x32 ->
2w x16x16 -> 4w x8x8 -> 8w x4x4 at 64 pixels, leaky ReLU of slope 0.1, dense to one number. The spectral norm
is on all layers of the discriminators, and on the generator's attention.

Defaults: width 32 (quick, 6,654,484 parameters, the discriminators included) or 64 (full, 37,893,652),
adversary 0.001, Adam of rate 4e-4 with betas (0, 0.9) for the discriminators as in the paper, of rate 5e-4
with betas (0.5, 0.999) for the generator, which has to reproduce faces (in the paper 1e-4 and as the others),
4 faces of each person a step.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from fomm.swap.batches import Batch
from fomm.swap.families.blocks import (
    SelfAttention,
    UpStack,
    centre,
    down_stack,
    find_levels,
    hinge,
    init_weights,
    mask_loss,
    picture_loss,
    split_output,
    through_numbers,
)
from fomm.swap.family import OTHER, SIDES, Family, check_side

EYES = 3.0  # how much more than the face the eyes weigh


class AttentiveDiscriminator(nn.Sequential):
    """Tell real faces from made ones with attention and the spectral norm, see the module."""

    def __init__(self, size: int, width: int) -> None:
        layers: list[nn.Module] = []
        channels = 3
        for level in range(4):
            out = width * 2**level
            layers += [spectral_norm(nn.Conv2d(channels, out, 4, 2, 1)), nn.LeakyReLU(0.1)]
            if level in (1, 2):
                layers.append(SelfAttention(out))
            channels = out
        dense = spectral_norm(nn.Linear(channels * (size // 16) ** 2, 1))
        super().__init__(*layers, nn.Flatten(), dense)

    def forward(self, x: Tensor) -> Tensor:
        """Return B numbers, float32, of faces Bx3xSxS in [0, 1]."""
        return super().forward(centre(x)).float().flatten()


class SAGAN(Family):
    """An autoencoder with attention and two discriminators, see the module.

    Args:
        size: see ``Family``.
        width: channels of the first layers.
        adversary: the weight of the adversarial loss.
    """

    name = "sagan"
    players = ("faces", "discriminator")
    rates: ClassVar = {"faces": 5e-4, "discriminator": 4e-4}
    betas: ClassVar = {"discriminator": (0.0, 0.9)}
    unjudged = 0.5
    presets: ClassVar = {"quick": {"width": 32}, "full": {"width": 64}}

    def __init__(self, size: int = 64, width: int = 32, adversary: float = 0.001) -> None:
        super().__init__(size, width=width, adversary=adversary)
        self.adversary = adversary
        down, channels = down_stack(size, width)
        levels = find_levels(size)
        first, second, rest = down[:4], down[4:6], down[6:]  # to S/4, S/8, and on
        encoder = nn.Sequential(
            first,
            SelfAttention(width * 2),
            second,
            SelfAttention(width * 4),
            rest,
            *through_numbers(channels, size >> levels),
        )

        def build_decoder() -> nn.Module:
            attention = nn.Identity() if levels > 4 else SelfAttention(channels // 2)  # the latent is S/8
            extra: dict[int, type[nn.Module]] = {2: SelfAttention, 3: SelfAttention}
            return nn.Sequential(attention, UpStack(channels // 2, width, levels - 1, extra))

        self.faces = nn.ModuleDict(
            {"encoder": encoder, **{f"decoder_{side}": build_decoder() for side in SIDES}}
        )
        init_weights(self.faces)
        self.discriminator = nn.ModuleDict({side: AttentiveDiscriminator(size, width) for side in SIDES})

    def encode(self, x: Tensor) -> Tensor:
        return self.faces["encoder"](centre(x))

    def decode(self, z: Tensor, side: str) -> tuple[Tensor, Tensor]:
        check_side(side)
        return split_output(self.faces[f"decoder_{side}"](z))

    def losses(self, batch: Batch, player: str) -> dict[str, Tensor]:
        return self._measure_faces(batch) if player == "faces" else self._measure_discriminators(batch)

    def _make(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        """Return what each decoder makes of its own person and then, where it is judged, of the other.

        By side: 2B pictures, 2B masks, and the 2B pictures cut by the binary masks of their inputs; B of each
        where it is not judged.
        """
        sides = batch._asdict()
        z = dict(zip(SIDES, self.encode(torch.cat([faces.warped for faces in batch])).chunk(2), strict=True))
        made = {}
        for side in SIDES:
            shown = (side, OTHER[side]) if self.judged else (side,)
            pictures, masks = self.decode(torch.cat([z[one] for one in shown]), side)
            made[side] = pictures, masks, pictures * torch.cat([sides[one].mask for one in shown])
        return made

    def _measure_faces(self, batch: Batch) -> dict[str, Tensor]:
        losses, made = {}, self._make(batch)
        for side, faces in batch._asdict().items():
            pictures, masks, cut = made[side]
            picture, alpha = pictures[: len(faces.target)], masks[: len(faces.target)]
            composed = alpha * picture + (1 - alpha) * faces.warped
            losses[f"picture_{side}"] = picture_loss(picture, faces, EYES)
            losses[f"composed_{side}"] = picture_loss(composed, faces, EYES)
            losses[f"mask_{side}"] = mask_loss(alpha, faces)
            if self.judged:
                losses[f"adversary_{side}"] = -self.adversary * self.discriminator[side](cut).mean()
        self.keep(batch, {side: cut.detach() for side, (_, _, cut) in made.items()})
        return losses

    def _measure_discriminators(self, batch: Batch) -> dict[str, Tensor]:
        cut = self.kept(batch)
        if cut is None:
            with torch.no_grad():
                cut = {side: cut for side, (_, _, cut) in self._make(batch).items()}
        losses = {}
        for side, faces in batch._asdict().items():
            discriminator = self.discriminator[side]
            real, made = discriminator(faces.target * faces.mask), discriminator(cut[side])
            losses[f"discriminator_{side}"] = hinge(real, made)
        return losses
