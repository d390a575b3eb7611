"""What several families are built of: convolutions down and up, attention, discriminators, losses.

Pictures are BxCxSxS. Networks get RGB in [0, 1] and map it to [-1, 1] themselves.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from fomm.swap.batches import Side

SLOPE = 0.1  # of leaky ReLUs below 0
OUTSIDE = 0.2  # weight of what is not face, where the face has 1
WIDEST = 8  # no layer has more than so many times the width


def centre(x: Tensor) -> Tensor:
    """Map values in [0, 1] to [-1, 1]."""
    return x * 2 - 1


def find_levels(size: int) -> int:
    """Return how often the side of a picture is halved: while it is even, and at least 8 pixels."""
    levels = 0
    while size % 2 == 0 and size >= 8:
        size, levels = size // 2, levels + 1
    return levels


def init_weights(module: nn.Module) -> None:
    """Draw the weights of convolutions and dense layers as He et al. 2015 do, biases 0.

    What an ``Upscale`` makes of one pixel begins as four alike (Aitken et al. 2017), so that pictures do not
    begin with a pattern of its random weights.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, SLOPE, nonlinearity="leaky_relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    for part in module.modules():
        if isinstance(part, Upscale):
            weight = part.convolution.weight
            with torch.no_grad():
                weight.copy_(weight[::4].repeat_interleave(4, 0))


def init_small(module: nn.Module) -> None:
    """Draw the weights of convolutions by a normal distribution of 0.02, as Isola et al. 2017 do."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(part.weight, 0.0, 0.02)


def down_stack(
    size: int, width: int, *, channels: int = 3, slope: float = SLOPE
) -> tuple[nn.Sequential, int]:
    """Build convolutions 5x5 that each halve the picture, and return them with the channels of the last.

    From ``channels`` they go to width, 2, 4 and 8 times the width, and stay there.
    """
    layers: list[nn.Module] = []
    for level in range(find_levels(size)):
        out = width * min(2**level, WIDEST)
        layers += [nn.Conv2d(channels, out, 5, 2, 2), nn.LeakyReLU(slope)]
        channels = out
    return nn.Sequential(*layers), channels


class Upscale(nn.Sequential):
    """Double the sides: a convolution 3x3 to four times the channels, PixelShuffle (Shi et al. 2016)."""

    def __init__(self, channels: int, out: int) -> None:
        convolution = nn.Conv2d(channels, 4 * out, 3, 1, 1)
        super().__init__(convolution, nn.LeakyReLU(SLOPE), nn.PixelShuffle(2))

    @property
    def convolution(self) -> nn.Conv2d:
        """The one layer that has weights."""
        layer = self[0]
        assert isinstance(layer, nn.Conv2d)
        return layer


def through_numbers(channels: int, bottom: int) -> list[nn.Module]:
    """Build the layers from features through ``channels`` numbers to features of twice the side.

    Args:
        channels: of the features, BxCxsxs; those that come out have half of them, BxC/2x2sx2s.
        bottom: s, their side in pixels.
    """
    inner = channels * bottom**2
    return [
        nn.Flatten(),
        nn.Linear(inner, channels),
        nn.Linear(channels, inner),
        nn.Unflatten(1, (channels, bottom, bottom)),
        Upscale(channels, channels // 2),
    ]


class UpStack(nn.Module):
    """From features to the four channels that ``split_output`` takes.

    Args:
        channels: of the features.
        width: channels of the last layer but one are half of it, and double per level before.
        levels: how often the sides are doubled.
        extra: a layer to put before the last doublings, by the number of doublings that follow it.
    """

    def __init__(
        self, channels: int, width: int, levels: int, extra: dict[int, type[nn.Module]] | None = None
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for left in reversed(range(levels)):
            out = min(max(width // 2, 4) * 2**left, WIDEST // 2 * width)
            layers.append(Upscale(channels, out))
            if extra and left in extra:
                layers.append(extra[left](out))
            channels = out
        self.up = nn.Sequential(*layers)
        self.out = nn.Conv2d(channels, 4, 5, 1, 2)

    def forward(self, z: Tensor) -> Tensor:
        return self.out(self.up(z))


def split_output(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return four channels of any numbers as a picture and a mask, float32 in [0, 1]."""
    both = values.float().sigmoid()
    return both[:, :3], both[:, 3:]


class SelfAttention(nn.Module):
    """Self-attention over all places of a picture (Zhang et al. 2019, equations 1 to 3).

    beta_ji = softmax over i of f(x_i)^T g(x_j);  o_j = v(sum_i beta_ji h(x_i));  y = gamma o + x.
    f and g have 1/8 of the channels, h has 1/2. gamma begins at 0, so that the layer begins as the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner, half = max(1, channels // 8), max(1, channels // 2)
        self.f, self.g = (spectral_norm(nn.Conv2d(channels, inner, 1, bias=False)) for _ in range(2))
        self.h = spectral_norm(nn.Conv2d(channels, half, 1, bias=False))
        self.v = spectral_norm(nn.Conv2d(half, channels, 1, bias=False))
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        f, g, h = (layer(x).flatten(2).transpose(1, 2) for layer in (self.f, self.g, self.h))  # BxNxC
        seen = F.scaled_dot_product_attention(g, f, h, scale=1.0)
        return x + self.gamma * self.v(seen.transpose(1, 2).unflatten(2, x.shape[2:]))


class PatchDiscriminator(nn.Sequential):
    """Tell real from made for each patch of 70x70 pixels (Isola et al. 2017): C64-C128-C256-C512.

    Convolutions 4x4, the first three of stride 2; instance norm but in the first; leaky ReLU of slope 0.2.
    The result is Bx1xhxw, no sigmoid.
    """

    def __init__(self, channels: int, width: int) -> None:
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for level, stride in ((1, 2), (2, 2), (3, 1)):
            before, after = width * 2 ** (level - 1), width * 2**level
            layers += [nn.Conv2d(before, after, 4, stride, 1), nn.InstanceNorm2d(after), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Conv2d(width * 8, 1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(centre(x)).float()


def picture_loss(picture: Tensor, side: Side, eyes: float = 0.0) -> Tensor:
    """Return the mean difference d = picture - target, and that of its differences between neighbours.

        (sum w |d| + sum w |d(x, y) - d(x - 1, y)| + sum w |d(x, y) - d(x, y - 1)|) / (3 sum w)

    Outlines count in the second and third sum more than in the first, so that eyes and lips are there before
    the blur of a mean face is learned to the end. The weight w is 0.2 for what is not face, and 1 for the
    face. The sum of the weights divides, so that the loss does not depend on how large the face is.

    Args:
        picture: Bx3xSxS in [0, 1].
        side: with target, mask and eyes.
        eyes: what the weight of eyes is more than that of the face.
    """
    weight = OUTSIDE + (1 - OUTSIDE) * side.mask + eyes * side.eyes
    difference = picture - side.target
    across, down = difference.diff(dim=3).abs(), difference.diff(dim=2).abs()
    total = (difference.abs() * weight).sum()
    total = total + (across * weight[..., 1:]).sum() + (down * weight[..., 1:, :]).sum()
    return total / (3 * weight.sum())


def mask_loss(mask: Tensor, side: Side) -> Tensor:
    """Return the mean difference of a mask Bx1xSxS in [0, 1] to the true one."""
    return (mask - side.mask).abs().mean()


def least_squares(logits: Tensor, target: float) -> Tensor:
    """Return the mean of (D - target)^2: the least-squares GAN of Mao et al. 2017; 1 is real, 0 made."""
    return (logits - target).square().mean()


def cross_entropy(logits: Tensor, target: float) -> Tensor:
    """Return the mean of -log D for target 1 and of -log(1 - D) for target 0, where D = sigmoid(logits)."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def hinge(real: Tensor, made: Tensor) -> Tensor:
    """Return the loss of a discriminator: E max(0, 1 - D(real)) + E max(0, 1 + D(made)).

    Lim and Ye 2017, as Zhang et al. 2019 use it: real is pushed above 1, made below -1.
    """
    return F.relu(1 - real).mean() + F.relu(1 + made).mean()


def draw_latent(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return z = mu + sigma * eps with eps from N(0, 1), by torch's own generator."""
    return mean + (0.5 * log_variance).exp() * torch.randn_like(mean)


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mu, sigma^2) || N(0, 1)) = -1/2 sum(1 + log sigma^2 - mu^2 - sigma^2), B numbers."""
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).flatten(1).sum(1)
