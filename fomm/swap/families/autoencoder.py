"""``autoencoder``: one encoder, two decoders. A face of A, encoded, through the decoder of B, is the swap.

The first face swaps by networks were made so (the program "deepfakes", 2017; described in Nguyen et al.,
"Deep Learning for Deepfakes Creation and Detection", 2022). The encoder sees both persons, and each decoder
makes one of them alone. So the latent has to tell pose, expression and light, and the decoder who it is:

    L = |D_a(E(warp(x_a))) - x_a| + |D_b(E(warp(x_b))) - x_b|        the swap of x_a is D_b(E(x_a))

|.| is a weighted mean over pixels and differences of neighbours, see ``picture_loss``. Masks are learned
by their mean difference.

Shapes at 64 pixels with width w: 3x64x64 -> w x32x32 -> 2w x16x16 -> 4w x8x8 -> 8w x4x4 by convolutions 5x5
of stride 2. Dense to a bottleneck of 8w numbers, dense to 8w x4x4, ``Upscale`` to the latent of 4w x8x8.
A decoder: 2w x16x16 -> w x32x32 -> w/2 x64x64 -> 4x64x64, picture and mask. One level more at 128 pixels.

Both persons train jointly by default. ``staged`` trains in three stages. In the first half, the encoder and
one decoder for both persons. Then, a quarter each, decoder A and decoder B alone, from the weights of that
common decoder, while the encoder is frozen. For the swap the decoders are switched.

Defaults: width 32 (quick, 5,137,992 parameters) or 64 (full, 31,803,016), Adam of rate 5e-4, 4 faces of
each person a step.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from fomm.swap.batches import Batch
from fomm.swap.families.blocks import (
    UpStack,
    centre,
    down_stack,
    find_levels,
    init_weights,
    mask_loss,
    picture_loss,
    split_output,
    through_numbers,
)
from fomm.swap.family import SIDES, Family, check_side

_STAGES = ("encoder", "decoder_a", "decoder_b")
_ENDS = (0.5, 0.75, 1.0)  # of the stages, as shares of the training


class Autoencoder(Family):
    """One encoder and two decoders, see the module.

    Args:
        size: see ``Family``.
        width: channels of the first layer.
        staged: train the encoder first, then each decoder.
    """

    name = "autoencoder"
    rates: ClassVar = dict.fromkeys(("faces", *_STAGES), 5e-4)
    presets: ClassVar = {"quick": {"width": 32}, "full": {"width": 64}}

    def __init__(self, size: int = 64, width: int = 32, staged: bool = False) -> None:
        super().__init__(size, width=width, staged=staged)
        down, channels = down_stack(size, width)
        levels = find_levels(size)
        encoder = nn.Sequential(
            down,
            *through_numbers(channels, size >> levels),
        )
        decoders = {f"decoder_{side}": UpStack(channels // 2, width, levels - 1) for side in SIDES}
        self.faces = nn.ModuleDict({"encoder": encoder, **decoders})
        self.common = UpStack(channels // 2, width, levels - 1) if staged else None  # of both persons
        init_weights(self)
        if staged:
            self.players = _STAGES  # type: ignore[misc]

    def encode(self, x: Tensor) -> Tensor:
        return self.faces["encoder"](centre(x))

    def decode(self, z: Tensor, side: str) -> tuple[Tensor, Tensor]:
        check_side(side)
        return split_output(self.faces[f"decoder_{side}"](z))

    def losses(self, batch: Batch, player: str) -> dict[str, Tensor]:
        losses = {}
        for side, faces in batch._asdict().items():
            if player in ("faces", "encoder", f"decoder_{side}"):
                z = self.encode(faces.warped)
                decoder = (
                    self.common if player == "encoder" and self.common else self.faces[f"decoder_{side}"]
                )
                picture, mask = split_output(decoder(z))
                losses[f"picture_{side}"] = picture_loss(picture, faces)
                losses[f"mask_{side}"] = mask_loss(mask, faces)
        return losses

    def find_players(self, progress: float) -> tuple[str, ...]:
        return (_STAGES[_find_stage(progress)],) if self.common is not None else self.players

    def find_rate(self, progress: float) -> float:
        if self.common is None:
            return super().find_rate(progress)
        stage = _find_stage(progress)
        start = 0.0 if stage == 0 else _ENDS[stage - 1]
        return super().find_rate((progress - start) / (_ENDS[stage] - start))

    def find_parameters(self, player: str) -> list[nn.Parameter]:
        if player == "encoder" and self.common is not None:
            return [*self.faces["encoder"].parameters(), *self.common.parameters()]
        return list((self.faces if player == "faces" else self.faces[player]).parameters())

    def begin_stage(self, player: str) -> None:
        if player in ("decoder_a", "decoder_b") and self.common is not None:
            self.faces[player].load_state_dict(self.common.state_dict())


def _find_stage(progress: float) -> int:
    return next((number for number, end in enumerate(_ENDS) if progress < end), len(_ENDS) - 1)
