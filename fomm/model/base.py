"""What every model of this kind gives to whoever animates with it: a generator and a key-point detector."""

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

from torch import Tensor, nn


class Keypoints(NamedTuple):
    """K key points of B images, and the local affine map around each."""

    value: Tensor  # BxKx2, xy in [-1, 1]
    jacobian: Tensor | None = None  # BxKx2x2; None where the network does not estimate it
    covariance: Tensor | None = None  # BxKx2x2: how far the region around each reaches; of regions alone

    def map(self, function: Callable[..., Tensor], *others: "Keypoints") -> "Keypoints":
        """Apply ``function`` to the tensors of one kind, of this and of ``others``, where all have them."""
        made = []
        for tensors in zip(self, *others, strict=True):
            made.append(None if any(tensor is None for tensor in tensors) else function(*tensors))
        value, *maps = made
        assert value is not None
        return Keypoints(value, *maps)


class Openings(NamedTuple):
    """How far mouth and eyes follow the driving ones, where it is known what each key point is.

    See ``open_like`` for what the gains mean.
    """

    mouth: float
    eyes: float
    labels: tuple[str, ...]  # what each of the K key points is, such as "upper lip"


class Generator(nn.Module):
    """What paints a source at other key points.

    Attributes:
        frame_shape: (height, width, channels) that it was trained at, where known.
        hash_weights: computes ``weights_hash``.
    """

    frame_shape: tuple[int, int, int] | None = None
    hash_weights: Callable[[], str | None] | None = None

    @cached_property
    def weights_hash(self) -> str | None:
        """The SHA-256 of the file that its weights came from, or None; computed when first read."""
        return None if self.hash_weights is None else self.hash_weights()

    def takes(self, pixels: int) -> bool:
        """Return whether a side of a picture may have so many pixels."""
        raise NotImplementedError


class Detector(nn.Module):
    """What finds the key points of images BxCxHxW in [0, 1].

    Attributes:
        openings: for key points that are labelled; None for those learned without labels.
        avd_network: takes the key points of a source and of B frames, and gives those of the source's shape
            in the frames' poses; None where there is none.
    """

    openings: Openings | None = None
    avd_network: Callable[[Keypoints, Keypoints], Keypoints] | None

    def __init__(self) -> None:
        super().__init__()
        self.avd_network = None

    def takes(self, pixels: int) -> bool:
        """Return whether a side of an image may have so many pixels."""
        raise NotImplementedError
