"""``pix2pix``: from a picture to the one that belongs to it, for folders of pairs.

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", 2017. The generator G makes
y of x, and the discriminator sees x beside what it is to judge:

    L = log D(x, y) + log(1 - D(x, G(x))) + 100 |G(x) - y|

G minimises -log D(x, G(x)) in place of log(1 - D(x, G(x))), and D's loss is halved, both as in the paper. The
paper goes one way. Here one generator makes B of A and another makes A of B, apart from each other, so that
``decode`` is defined for both sides. ``encode`` returns the picture itself. Masks are 1 where that of the
target is; for plain pictures everywhere.

The generator is a U-Net: convolutions 4x4 of stride 2 down to one pixel, w -> 2w -> 4w -> 8w -> 8w ..., leaky
ReLU, transposed ones back, ReLU, and each level gets the features of the same level on the way down. Instance
norm but in the first level and the innermost. Dropout of 1/2 in the innermost three levels on the way up: the
paper's noise. It is on in training alone here, so that a result is the same each time. Discriminator:
PatchGAN of 70x70 pixels.

Defaults: width 32 (quick, 16,020,810 parameters, the discriminators included) or 64 (full, 89,191,050),
Adam of rate 2e-4, 4 pairs a step.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fomm.swap.batches import Batch
from fomm.swap.families.blocks import (
    WIDEST,
    PatchDiscriminator,
    centre,
    cross_entropy,
    init_small,
    mask_loss,
    split_output,
)
from fomm.swap.family import OTHER, SIDES, Family, check_side

PIXELS = 100.0  # weight of the mean difference
_DROPPED = 3  # innermost levels with dropout


class UNet(nn.Module):
    """From pictures Bx3xSxS in [0, 1] to Bx4xSxS, see the module."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        levels = size.bit_length() - 1
        while size % 2**levels:
            levels -= 1
        widths = [width * min(2**level, WIDEST) for level in range(levels)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, out in enumerate(widths):
            before = widths[level - 1] if level else 3
            normed = 0 < level < levels - 1
            down = [nn.LeakyReLU(0.2)] * (level > 0) + [nn.Conv2d(before, out, 4, 2, 1)]
            self.down.append(nn.Sequential(*down, *[nn.InstanceNorm2d(out)] * normed))
            after = widths[level - 1] if level else 4
            inner = out if level == levels - 1 else 2 * out
            up: list[nn.Module] = [nn.ReLU(), nn.ConvTranspose2d(inner, after, 4, 2, 1)]
            if level:
                up.append(nn.InstanceNorm2d(after))
                if levels - 1 - _DROPPED <= level < levels - 1:
                    up.append(nn.Dropout(0.5))
            self.up.append(nn.Sequential(*up))

    def forward(self, x: Tensor) -> Tensor:
        seen, x = [], centre(x)
        for down in self.down:
            x = down(x)
            seen.append(x)
        for level in reversed(range(len(self.up))):
            x = self.up[level](x if level == len(self.up) - 1 else torch.cat([x, seen[level]], 1))
        return x


class Pix2Pix(Family):
    """Two generators of pairs and their discriminators, see the module.

    Args:
        size: see ``Family``.
        width: channels of the first layers.
    """

    name = "pix2pix"
    players = ("faces", "discriminator")
    rates: ClassVar = dict.fromkeys(players, 2e-4)
    batch_size = 4
    presets: ClassVar = {"quick": {"width": 32}, "full": {"width": 64}}
    warp, paired = 0.0, True

    def __init__(self, size: int = 64, width: int = 32) -> None:
        super().__init__(size, width=width)
        self.faces = nn.ModuleDict({side: UNet(size, width) for side in SIDES})
        self.discriminator = nn.ModuleDict({side: PatchDiscriminator(6, width) for side in SIDES})
        init_small(self)

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, z: Tensor, side: str) -> tuple[Tensor, Tensor]:
        check_side(side)
        return split_output(self.faces[side](z))

    def losses(self, batch: Batch, player: str) -> dict[str, Tensor]:
        sides = batch._asdict()
        losses, made = {}, self.kept(batch) if player == "discriminator" else None
        keeping = {}
        for side, faces in sides.items():
            x = sides[OTHER[side]].target
            discriminator = self.discriminator[side]
            if player == "faces":
                picture, mask = self.decode(x, side)
                keeping[side] = picture.detach()
                losses[f"adversary_{side}"] = cross_entropy(discriminator(torch.cat([x, picture], 1)), 1)
                losses[f"picture_{side}"] = PIXELS * (picture - faces.target).abs().mean()
                losses[f"mask_{side}"] = mask_loss(mask, faces)
            else:
                with torch.no_grad():
                    picture = self.decode(x, side)[0] if made is None else made[side]
                real, fake = (discriminator(torch.cat([x, y], 1)) for y in (faces.target, picture))
                losses[f"discriminator_{side}"] = (cross_entropy(real, 1) + cross_entropy(fake, 0)) / 2
        if player == "faces":
            self.keep(batch, keeping)
        return losses
