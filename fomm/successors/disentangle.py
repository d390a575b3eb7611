"""Animation via disentanglement (AVD): the source's shape in the driving frame's pose, by a small network."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from fomm.model.base import Keypoints
from fomm.model.geometry import inverse_2x2, multiply_2x2

_WIDTHS = (256, 512, 1024)


class AVDNetwork(nn.Module):
    """The network that takes the identity from one set of key points and the pose from another.

    Args:
        num_kp: K.
        with_affine: whether the key points have jacobians, which are taken and given too.
        id_bottle_size, pose_bottle_size: numbers that describe an identity, and a pose.
    """

    def __init__(self, *, num_kp: int, with_affine: bool, id_bottle_size: int, pose_bottle_size: int) -> None:
        super().__init__()
        self.num_kp, self.with_affine = num_kp, with_affine
        numbers = num_kp * (6 if with_affine else 2)
        self.id_encoder = _layers(numbers, *_WIDTHS, id_bottle_size)
        self.pose_encoder = _layers(numbers, *_WIDTHS, pose_bottle_size)
        self.decoder = _layers(id_bottle_size + pose_bottle_size, *_WIDTHS[::-1], numbers)

    def forward(self, kp_source: Keypoints, kp_driving: Keypoints) -> Keypoints:
        """Return key points of the source's shape in the poses of B driving frames.

        Args:
            kp_source: of one image.
            kp_driving: of B frames.
        """
        batch = kp_driving.value.shape[0]
        identity = kp_source.map(lambda t: t.expand(batch, *t.shape[1:]))
        if identity.jacobian is not None and kp_driving.jacobian is not None:
            affine = same_axes(identity.jacobian, kp_driving.jacobian)
            identity = identity._replace(jacobian=affine)
        found = self.decoder(
            torch.cat((self.pose_encoder(_flat(kp_driving)), self.id_encoder(_flat(identity))), 1)
        )
        value, affine = found.unflatten(1, (self.num_kp, -1)).tensor_split((2,), dim=2)
        if not self.with_affine:
            return Keypoints(value)
        affine = affine.unflatten(2, (2, 2))
        return Keypoints(value, affine, multiply_2x2(affine, affine.transpose(-1, -2)))


def same_axes(affine: Tensor, driving: Tensor) -> Tensor:
    """Return ``affine``, ...x2x2, negated where its axes point the other way than those of ``driving``.

    An axis of a region has no direction of its own. The sign is that of the upper left entry of
    ``affine @ driving^-1``.
    """
    turned = multiply_2x2(affine, inverse_2x2(driving))[..., :1, :1]
    return affine * torch.where(turned < 0, -1.0, 1.0)


def _flat(keypoints: Keypoints) -> Tensor:
    """Return the numbers of one key point after the other, its place before its jacobian: Bx2K or Bx6K."""
    if keypoints.jacobian is None:
        return keypoints.value.flatten(1)
    return torch.cat((keypoints.value, keypoints.jacobian.flatten(2)), 2).flatten(1)


def _layers(*widths: int) -> nn.Sequential:
    """Return linear layers between the widths, with a batch norm and a ReLU behind each but the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-2])
