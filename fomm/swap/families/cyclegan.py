"""``cyclegan``: two generators that turn pictures of A into B and back, without pairs.

Zhu et al., "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks", 2017. G_b makes
B of A, G_a makes A of B, each with a discriminator of its target:

    generators:      (D_b(G_b(a)) - 1)^2 + (D_a(G_a(b)) - 1)^2                        least squares
                     + 10 (|G_a(G_b(a)) - a| + |G_b(G_a(b)) - b|)                     cycle
                     + 5 (|G_b(b) - b| + |G_a(a) - a|)                                identity
    discriminators:  1/2 ((D_b(b) - 1)^2 + D_b(G_b(a))^2), and so for a

All are means over pictures and places. Discriminators see pictures from a pool of the 50 made last
(Shrivastava et al. 2017): with probability 1/2 an older one takes the place of the one just made.

Discriminators, and generators on the way back, see pictures with ``noise`` added. Without it a generator
hides the picture that it was given in a fine pattern, for the way back to find (Chu et al., "CycleGAN, a
Master of Steganography", 2017), and in the first minutes that pattern covers the face. Noise for a
discriminator: Sonderby et al., "Amortised MAP Inference for Image Super-resolution", 2017.

Here is no latent that two decoders share: ``encode`` returns the picture itself and ``decode`` is the
generator of that side. Through its own side a face stays as it is, by the identity loss. A fourth channel
of each generator is the mask of its input. It is learned by its mean difference in all three passes.

A generator at 64 pixels with width w: 7x7 to w x64x64, stride 2 to 2w x32x32 and 4w x16x16, residual blocks,
nearest neighbour to twice the side and 3x3 to 2w x32x32 and w x64x64, 7x7 to 4x64x64 (in the paper
transposed convolutions, whose grid shows for long). Instance norm, ReLU, reflected
borders. The paper has 9 residual blocks at 256 pixels and 6 at 128, so the quick preset has 6.
Discriminators: PatchGAN of 70x70 pixels. Pictures are not warped.

Defaults: width 24 and 6 blocks (quick, 3,000,586 parameters, the discriminators included) or 64 and 9
(full, 28,292,106), noise 0.05, Adam of rate 5e-4, of the discriminators 2e-4 (in the paper 2e-4
for both), 2 pictures of each side a step (1 in the paper).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fomm.swap.batches import Batch
from fomm.swap.families.blocks import (
    PatchDiscriminator,
    centre,
    init_small,
    least_squares,
    mask_loss,
    split_output,
)
from fomm.swap.family import OTHER, SIDES, Family, check_side

CYCLE, IDENTITY = 10.0, 5.0  # weights of the losses
POOL = 50  # pictures made before that a discriminator may see again


class ResidualBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), convolutions 3x3 with reflected borders."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, padding_mode="reflect"),
            nn.InstanceNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 1, 1, padding_mode="reflect"),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Generator(nn.Sequential):
    """From pictures Bx3xSxS in [0, 1] to Bx4xSxS, see the module.

    Args:
        width: channels of the first layer.
        blocks: how many residual blocks.
    """

    def __init__(self, width: int, blocks: int) -> None:
        layers: list[nn.Module] = [nn.Conv2d(3, width, 7, 1, 3, padding_mode="reflect")]
        for before, after in ((width, 2 * width), (2 * width, 4 * width)):
            layers += [nn.InstanceNorm2d(before), nn.ReLU(), nn.Conv2d(before, after, 3, 2, 1)]
        layers += [
            nn.InstanceNorm2d(4 * width),
            nn.ReLU(),
            *(ResidualBlock(4 * width) for _ in range(blocks)),
        ]
        for before, after in ((4 * width, 2 * width), (2 * width, width)):
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, 1, 1)]
            layers += [nn.InstanceNorm2d(after), nn.ReLU()]
        super().__init__(*layers, nn.Conv2d(width, 4, 7, 1, 3, padding_mode="reflect"))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(centre(x))


class Pool(nn.Module):
    """The pictures that were made last, SxS pixels each. They are part of a run's state."""

    count: Tensor
    pictures: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("pictures", torch.zeros(POOL, 3, size, size))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def exchange(self, made: Tensor) -> Tensor:
        """Keep pictures Bx3xSxS, and return as many, of which about half are older ones.

        A picture is returned as it is while the pool is not full. Later, with probability 1/2, one of the
        pool is returned, and the new one takes its place. Random numbers come from torch's own generator.
        """
        result = []
        for picture in made:
            if self.count < POOL:
                self.pictures[self.count] = picture
                self.count += 1
            elif torch.rand(()) < 0.5:
                place = int(torch.randint(POOL, ()))
                picture, self.pictures[place] = self.pictures[place].clone(), picture
            result.append(picture)
        return torch.stack(result)


class CycleGAN(Family):
    """Two generators and two discriminators, see the module.

    Args:
        size: see ``Family``.
        width: channels of the generators' first layer.
        blocks: residual blocks of a generator.
        noise: standard deviation of what is added to pictures that a discriminator or the way back sees.
    """

    name = "cyclegan"
    players = ("faces", "discriminator")
    rates: ClassVar = {"faces": 5e-4, "discriminator": 2e-4}
    batch_size = 2
    presets: ClassVar = {"quick": {"width": 24, "blocks": 6}, "full": {"width": 64, "blocks": 9}}
    warp = 0.0

    def __init__(self, size: int = 64, width: int = 24, blocks: int = 6, noise: float = 0.05) -> None:
        super().__init__(size, width=width, blocks=blocks, noise=noise)
        self.noise = noise
        self.faces = nn.ModuleDict({side: Generator(width, blocks) for side in SIDES})
        self.discriminator = nn.ModuleDict({side: PatchDiscriminator(3, width) for side in SIDES})
        self.pools = nn.ModuleDict({side: Pool(size) for side in SIDES})
        init_small(self)

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, z: Tensor, side: str) -> tuple[Tensor, Tensor]:
        check_side(side)
        return split_output(self.faces[side](z))

    def losses(self, batch: Batch, player: str) -> dict[str, Tensor]:
        return self._measure_faces(batch) if player == "faces" else self._measure_discriminators(batch)

    def _add_noise(self, pictures: Tensor) -> Tensor:
        return pictures + self.noise * torch.randn_like(pictures) if self.noise else pictures

    def _judge(self, pictures: Tensor, side: str) -> Tensor:
        """Return what the discriminator of a side says of pictures, through noise."""
        return self.discriminator[side](self._add_noise(pictures))

    def _translate(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """Return what each generator makes of the other side and then of its own: 2B pictures and masks."""
        sides = batch._asdict()
        return {
            side: self.decode(torch.cat([sides[OTHER[side]].target, sides[side].target]), side)
            for side in SIDES
        }

    def _measure_faces(self, batch: Batch) -> dict[str, Tensor]:
        losses, count = {}, len(batch.a.target)
        made = self._translate(batch)
        for side, faces in batch._asdict().items():
            pictures, masks = made[side]
            losses[f"adversary_{side}"] = least_squares(self._judge(pictures[:count], side), 1)
            back, back_mask = self.decode(self._add_noise(made[OTHER[side]][0][:count]), side)
            losses[f"cycle_{side}"] = CYCLE * (back - faces.target).abs().mean()
            losses[f"identity_{side}"] = IDENTITY * (pictures[count:] - faces.target).abs().mean()
            other = batch._asdict()[OTHER[side]]
            losses[f"mask_{side}"] = (
                mask_loss(masks[:count], other)
                + mask_loss(masks[count:], faces)
                + mask_loss(back_mask, faces)
            )
        self.keep(batch, {side: pictures[:count].detach() for side, (pictures, _) in made.items()})
        return losses

    def _measure_discriminators(self, batch: Batch) -> dict[str, Tensor]:
        made = self.kept(batch)
        if made is None:
            with torch.no_grad():
                count = len(batch.a.target)
                made = {side: pictures[:count] for side, (pictures, _) in self._translate(batch).items()}
        losses = {}
        for side, faces in batch._asdict().items():
            pool = self.pools[side]
            assert isinstance(pool, Pool)
            seen = pool.exchange(made[side])
            real, fake = (self._judge(pictures, side) for pictures in (faces.target, seen))
            losses[f"discriminator_{side}"] = (least_squares(real, 1) + least_squares(fake, 0)) / 2
        return losses
