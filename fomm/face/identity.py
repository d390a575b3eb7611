"""Tell people apart with dlib's network, which maps a face to 128 numbers.

The Euclidean distance of two faces of one person is usually below 0.6, that of two people above. fomm uses
the network to measure whether a result still shows the same person, and to follow the person whose faces are
taken from a video, and for nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from fomm.bundled import check_intact
from fomm.errors import InputError
from fomm.face.blocks import CHUNK, WEIGHTS, check_image
from fomm.face.mesh import Crop, Mesh, sample_crop

SIZE = 150  # the network's input is SIZE x SIZE

# Where dlib puts a face in the network's input: outer and inner corner of the eye at the picture's right, the
# same of the other eye, base of the nose; in [0, 1] of the part without the margin.
_CHIP_POINTS = np.array(
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ]
)
_CHIP_MARGIN = 0.25  # on each side, of the part without it
_MESH_POINTS = (263, 362, 33, 133, 2)  # the same five among the 478


class FaceIdentity(nn.Module):
    """dlib's ResNet with 29 convolutions (King, 2017), after He et al., "Deep Residual Learning", 2016."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([122.782, 117.001, 104.298]).view(1, 3, 1, 1), False)
        self.stem = ScaledConv(3, 32, 7, stride=2)
        self.blocks = nn.Sequential(
            *(Residual(32, 32), Residual(32, 32), Residual(32, 32)),  # 35x35
            *(Residual(32, 64, down=True), Residual(64, 64), Residual(64, 64), Residual(64, 64)),  # 17x17
            *(Residual(64, 128, down=True), Residual(128, 128), Residual(128, 128)),  # 8x8
            *(Residual(128, 256, down=True), Residual(256, 256), Residual(256, 256)),  # 4x4
            Residual(256, 256, down=True),  # 2x2
        )
        self.head = nn.Linear(256, 128, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return 128 numbers for each face, Bx128, with gradients.

        Args:
            image: Bx3x150x150 in [0, 1], RGB, the square that ``fit_chip`` finds.
        """
        features = F.relu(self.stem((255 * image - self.mean) / 256))  # Bx32x72x72
        return self.head(self.blocks(F.max_pool2d(features, 3, 2)).mean((2, 3)))


class ScaledConv(nn.Conv2d):
    """A convolution, then a factor and an offset for each channel: a batch norm as it is after training."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1):
        padding = kernel_size // 2 if stride == 1 else 0
        super().__init__(in_channels, out_channels, kernel_size, stride, padding)
        self.scale = nn.Parameter(torch.ones(out_channels))
        self.shift = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.scale[:, None, None] + self.shift[:, None, None]


class Residual(nn.Module):
    """Two convolutions, whose result is added to the input.

    Where ``down`` halves the size, the input is average-pooled; the smaller of the two is padded with zeros.
    """

    def __init__(self, in_channels: int, out_channels: int, down: bool = False):
        super().__init__()
        self.conv1 = ScaledConv(in_channels, out_channels, 3, stride=2 if down else 1)
        self.conv2 = ScaledConv(out_channels, out_channels, 3)
        self.down = down

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(F.relu(self.conv1(x)))
        if not self.down:
            return F.relu(out + x)
        skip = F.avg_pool2d(x, 2)
        height, width = (max(sizes) for sizes in zip(out.shape[2:], skip.shape[2:], strict=True))
        return F.relu(_pad_to(out, out.shape[1], height, width) + _pad_to(skip, out.shape[1], height, width))


def _pad_to(x: Tensor, channels: int, height: int, width: int) -> Tensor:
    """Return ``x`` (BxCxHxW) padded with zeros on the right, below and in more channels."""
    return F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2], 0, channels - x.shape[1]))


@lru_cache(maxsize=4)
def load_identity_network(device: torch.device) -> FaceIdentity:
    """Return the network with its weights on ``device``, frozen, loaded once."""
    path = WEIGHTS / "identity.safetensors"
    check_intact(path)
    with safe_open(path, framework="pt") as file:
        steps = json.loads(file.metadata()["fomm"])["steps"]
        # The file holds whole numbers, as the original does: a weight is step * number + offset.
        weights = {name: file.get_tensor(name) * steps[name][0] + steps[name][1] for name in file.keys()}
    network = FaceIdentity()
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False).to(device)


@torch.no_grad()
def face_identities(
    images: Sequence[np.ndarray], meshes: Sequence[Mesh], *, device: torch.device | str = "cpu"
) -> np.ndarray:
    """Return 128 numbers for each face, Nx128 float32, to be compared by Euclidean distance.

    Args:
        images: N pictures HxWx3 uint8 RGB, of any sizes.
        meshes: of the face in each, see ``face_meshes``.
        device: where the network runs.

    Raises:
        InputError: there are not as many meshes as images, or an image is not HxWx3 uint8.
    """
    if len(images) != len(meshes):
        raise InputError(f"Each image needs its mesh: {len(images)} images and {len(meshes)} meshes came.")
    device = torch.device(device)
    found = [np.empty((0, 128), np.float32)]
    for start in range(0, len(images), CHUNK):
        chips = []
        for image, mesh in zip(images[start : start + CHUNK], meshes[start : start + CHUNK], strict=True):
            check_image(image)
            chips.append(sample_crop(image, fit_chip(mesh), SIZE, device=device))
        found.append(load_identity_network(device)(torch.cat(chips)).cpu().numpy())
    return np.concatenate(found)


def fit_chip(mesh: Mesh) -> Crop:
    """Return the square of the picture that the network expects for a face.

    A similarity (scale, turn, shift) takes dlib's five places in the network's input to those of ``mesh``, by
    least squares. Raises InputError where these five points of the mesh coincide.
    """
    from skimage.transform import SimilarityTransform

    chip = (_CHIP_POINTS + _CHIP_MARGIN) / (1 + 2 * _CHIP_MARGIN) - 0.5  # from the middle, in sides
    here = mesh.points[list(_MESH_POINTS), :2].astype(np.float64)
    fit = SimilarityTransform.from_estimate(chip, here)
    if not fit:  # skimage answers with the reason instead
        raise InputError(
            f"the eyes and the nose of a face lie in one point, {here[0]}; detect the face again"
        )
    x, y = fit.translation.tolist()
    return Crop((x, y), float(fit.scale), float(fit.rotation))
