"""Find 468 points on a face with FaceMesh, the face-landmark network of MediaPipe.

Coordinates are pixels of the image, x then y then z; x in [0, W], pixel i covers [i, i + 1). z has the scale
of x and y and grows away from the camera; only its differences mean anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fomm.errors import InputError
from fomm.face.blocks import CHUNK, DownConv, SeparableBlock, check_image, image_to_tensor, load_weights
from fomm.face.detector import Face

SIZE = 192  # the network's input is SIZE x SIZE
MARGIN = 1.5  # side of the crop over the longer side of the detector's box


class Mesh(NamedTuple):
    """The points of one face."""

    points: np.ndarray  # 468x3 float32, pixels xyz
    presence: float  # in [0, 1]: how sure the network is that there is a face in the crop


class FaceMesh(nn.Module):
    """A convolutional network that finds 468 points on a face that is upright and in the middle.

    Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs", 2019.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(DownConv(3, 16, 3), nn.PReLU(16))
        self.backbone = nn.Sequential(
            *(_block(16), _block(16)),  # 96x96
            *(_block(16, 32), _block(32), _block(32)),  # 48x48
            *(_block(32, 64), _block(64), _block(64)),  # 24x24
            *(_block(64, 128), _block(128), _block(128)),  # 12x12
            *(_block(128, 128, down=True), _block(128), _block(128)),  # 6x6
        )
        self.points = nn.Sequential(
            *(_block(128, 128, down=True), _block(128), _block(128)),  # 3x3
            *_head(468 * 3),
        )
        self.presence = nn.Sequential(_block(128, 128, down=True), *_head(1))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return points (Bx468x3, in pixels of the crop) and presence before the sigmoid (B).

        Args:
            image: Bx3x192x192 in [0, 1], RGB.
        """
        features = self.backbone(self.stem(image))  # Bx128x6x6
        return self.points(features).reshape(-1, 468, 3), self.presence(features).flatten()


def _block(channels: int, out_channels: int | None = None, down: bool | None = None) -> SeparableBlock:
    """Return a block; unless ``down`` says so, it halves the size where it changes the number of channels."""
    out_channels = out_channels or channels
    down = out_channels != channels if down is None else down
    return SeparableBlock(channels, out_channels, nn.PReLU(out_channels), down)


def _head(values: int) -> tuple[nn.Module, ...]:  # Bx128x3x3 -> Bx(values)x1x1
    return nn.Conv2d(128, 32, 1), nn.PReLU(32), _block(32), nn.Conv2d(32, values, 3)


@lru_cache(maxsize=4)
def load_mesh_network(device: torch.device) -> FaceMesh:
    """Return the network with its weights on ``device``, loaded once."""
    network = FaceMesh()
    load_weights(network, "mesh", device)
    return network


def face_mesh(image: np.ndarray, face: Face, *, device: torch.device | str = "cpu") -> Mesh:
    """Find the 468 points of ``face``, one of ``detect_faces(image)``, in ``image`` (HxWx3 uint8 RGB)."""
    return face_meshes([image], [face], device=device)[0]


@torch.no_grad()
def face_meshes(
    images: Sequence[np.ndarray], faces: Sequence[Face], *, device: torch.device | str = "cpu"
) -> list[Mesh]:
    """Find the points of one face in each of many images of any sizes, in batches.

    Raises InputError where there are not as many faces as images, or an image is not HxWx3 uint8.
    """
    if len(images) != len(faces):
        raise InputError(f"Each image needs its face: {len(images)} images and {len(faces)} faces came.")
    device = torch.device(device)
    meshes = []
    for start in range(0, len(images), CHUNK):
        crops = [crop_around(face) for face in faces[start : start + CHUNK]]
        batch = []
        for image, crop in zip(images[start : start + CHUNK], crops, strict=True):
            check_image(image)
            batch.append(sample_crop(image_to_tensor(image, device), crop))
        points, presence = load_mesh_network(device)(torch.cat(batch))
        for place, score, crop in zip(points.cpu().numpy(), presence.sigmoid().tolist(), crops, strict=True):
            meshes.append(Mesh(crop_to_image(place, crop), score))
    return meshes


class Crop(NamedTuple):
    """A square part of an image, turned so that the eyes are level in it."""

    centre: tuple[float, float]  # pixels xy
    side: float  # pixels
    angle: float  # radians, from the image's x axis towards its y axis


def crop_around(face: Face) -> Crop:
    """Return the square around ``face`` that the mesh network expects."""
    x0, y0, x1, y1 = (float(value) for value in face.box)
    (left_x, left_y), (right_x, right_y) = face.points[:2].tolist()
    angle = math.atan2(right_y - left_y, right_x - left_x)
    return Crop(((x0 + x1) / 2, (y0 + y1) / 2), max(x1 - x0, y1 - y0, 1.0) * MARGIN, angle)


def _crop_axes(crop: Crop) -> np.ndarray:
    """Return the directions of the crop's x and y axes in the image, as the columns of a 2x2 matrix."""
    cos, sin = math.cos(crop.angle), math.sin(crop.angle)
    return np.array([[cos, -sin], [sin, cos]])


def sample_crop(image: Tensor, crop: Crop, size: int = SIZE) -> Tensor:
    """Return ``crop`` of ``image`` (1x3xHxW) as 1x3x(size)x(size), sampled linearly.

    Beyond the image's border lies the colour of the border. Where the crop is much larger than ``size``, each
    pixel is the mean of several samples, which keeps fine patterns from aliasing.
    """
    fine = min(max(round(crop.side / size), 1), 8)
    extent = np.array([image.shape[-1], image.shape[-2]])  # width, height
    linear = _crop_axes(crop) * (crop.side / extent)[:, None]  # from the crop's [-1, 1] to the image's
    affine = np.concatenate([linear, (np.array(crop.centre) / extent * 2 - 1)[:, None]], axis=1)
    theta = torch.from_numpy(affine).float().to(image.device)
    grid = F.affine_grid(theta[None], [1, 3, size * fine, size * fine], align_corners=False)
    pixels = F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return F.avg_pool2d(pixels, fine)


def crop_to_image(points: np.ndarray, crop: Crop) -> np.ndarray:
    """Return points (468x3) in pixels of the crop as float32 in pixels of the image."""
    scaled = points.astype(np.float64) * (crop.side / SIZE)
    scaled[:, :2] = (scaled[:, :2] - crop.side / 2) @ _crop_axes(crop).T + np.array(crop.centre)
    return scaled.astype(np.float32)
