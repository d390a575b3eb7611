"""Find 478 points on a face with the attention mesh, the face-landmark network of MediaPipe.

The first 468 cover the face; 468 to 472 are the iris at the left of the picture (its middle, then four points
on its rim), 473 to 477 the other iris.

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
from fomm.face.blocks import CHUNK, DownConv, SeparableBlock, check_image, load_weights
from fomm.face.detector import Face

SIZE = 192  # the network's input is SIZE x SIZE
MARGIN = 1.5  # side of the crop over the longer side of the detector's box
FACE_POINTS = 468  # the points of a face without the irises
IRIS_POINTS = 5  # of one iris
POINTS = FACE_POINTS + 2 * IRIS_POINTS
LIDS = 16  # the first so many points of an eye lie on its lids
REGION_SIZE = 16  # a part of the face that is looked at closely has REGION_SIZE x REGION_SIZE features
REGION_MARGIN = 1.5  # its sides over those of the smallest rectangle around its points

# The parts of the face that the network looks at a second time, closely: the points that it finds anew there,
# in the order of its answers. Lips: four lines around the mouth (the outermost, the innermost, two between),
# each from the left corner along the lower lip, then along the upper one. Eyes: the lids, then rings around
# them, up to the brow.
LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409,
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415,
    76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306, 184, 74, 73, 72, 11, 302, 303, 304, 408,
    62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292, 183, 42, 41, 38, 12, 268, 271, 272, 407,
)  # fmt: skip
LEFT_EYE = (  # at the left of the picture
    33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173,
    130, 25, 110, 24, 23, 22, 26, 112, 243, 247, 30, 29, 27, 28, 56, 190,
    226, 31, 228, 229, 230, 231, 232, 233, 244, 113, 225, 224, 223, 222, 221, 189,
    35, 124, 46, 53, 52, 65, 143, 111, 117, 118, 119, 120, 121, 128, 245,
    156, 70, 63, 105, 66, 107, 55, 193,
)  # fmt: skip
RIGHT_EYE = (
    263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398,
    359, 255, 339, 254, 253, 252, 256, 341, 463, 467, 260, 259, 257, 258, 286, 414,
    446, 261, 448, 449, 450, 451, 452, 453, 464, 342, 445, 444, 443, 442, 441, 413,
    265, 353, 276, 283, 282, 295, 372, 340, 346, 347, 348, 349, 350, 357, 465,
    383, 300, 293, 334, 296, 336, 285, 417,
)  # fmt: skip


class Mesh(NamedTuple):
    """The points of one face."""

    points: np.ndarray  # 478x3 float32, pixels xyz
    presence: float  # in [0, 1]: how sure the network is that there is a face in the crop

    @property
    def is_sure(self) -> bool:
        """Whether the network takes it for a face."""
        return self.presence >= 0.5


class FaceMesh(nn.Module):
    """A convolutional network that finds 478 points on a face that is upright and in the middle.

    It finds 468 points on the whole face. Then it samples its own features around lips and eyes closely, and
    finds the points there once more, and the irises. Grishchenko et al., "Attention Mesh: High-fidelity Face
    Mesh Prediction in Real-time", 2020.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(DownConv(3, 16, 3), nn.PReLU(16))
        self.fine = nn.Sequential(_block(16), _block(16), _block(16, 32))  # 96x96, 96x96, 48x48
        self.coarse = nn.Sequential(
            *(_block(32), _block(32)),  # 48x48
            *(_block(32, 64), _block(64), _block(64)),  # 24x24
            *(_block(64, 128), _block(128), _block(128)),  # 12x12
            *(_block(128, down=True), _block(128), _block(128)),  # 6x6
            *(_block(128, down=True), _block(128), _block(128)),  # 3x3
            *(nn.Conv2d(128, 32, 1), nn.PReLU(32), _block(32)),
        )
        self.points = nn.Conv2d(32, FACE_POINTS * 3, 3)
        self.presence = nn.Conv2d(32, 1, 3)
        self.lips = Region(LIPS, (61, 291))
        self.left_eye = Region(LEFT_EYE, (33, 133), iris=True)
        self.right_eye = Region(RIGHT_EYE, (362, 263), iris=True)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return points (Bx478x3, in pixels of the crop) and presence before the sigmoid (B).

        Args:
            image: Bx3x192x192 in [0, 1], RGB.
        """
        fine = self.fine(self.stem(image))  # Bx32x48x48
        coarse = self.coarse(fine)  # Bx32x3x3
        points = self.points(coarse).reshape(-1, FACE_POINTS, 3)
        refined = points.clone()
        irises = []
        for region in (self.lips, self.left_eye, self.right_eye):
            places, iris = region(fine, points)
            refined[:, region.numbers, :2] = places
            if iris is not None:
                depth = points[:, region.numbers[:LIDS], 2:].mean(
                    1, keepdim=True
                )  # of an iris, that of its lids
                irises.append(torch.cat([iris, depth.expand(-1, IRIS_POINTS, 1)], 2))
        return torch.cat([refined, *irises], 1), self.presence(coarse).flatten()


class Region(nn.Module):
    """A network that looks closely at one part of the face, and finds the points there anew.

    Args:
        numbers: those of the part's points, in the order of the answers.
        corners: the numbers of two points; the part is turned so that the line between them is level.
        iris: whether to find the five points of an iris, too.
    """

    def __init__(self, numbers: tuple[int, ...], corners: tuple[int, int], iris: bool = False):
        super().__init__()
        self.numbers, self.corners = list(numbers), corners
        self.trunk = nn.Sequential(
            *(_block(32), _block(32)),  # 16x16
            *(_block(32, 64), _block(64), _block(64)),  # 8x8
            _block(64, 128),  # 4x4
        )
        self.points = _region_head(len(numbers))
        self.iris = _region_head(IRIS_POINTS) if iris else None

    def forward(self, features: Tensor, points: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the part's points (BxNx2, pixels of the crop) and those of the iris (Bx5x2), or None.

        Args:
            features: Bx32x48x48, of the whole crop.
            points: Bx468x3 in pixels of the crop.
        """
        frame = self._frame(points)
        closely = self.trunk(_sample_features(features, frame))
        iris = None if self.iris is None else _to_crop(self.iris(closely), frame)
        return _to_crop(self.points(closely), frame), iris

    def _frame(self, points: Tensor) -> Tensor:
        """Return the part's frame, Bx2x3: the affine map from its [-1, 1] to pixels of the crop.

        It is 1.5 times the smallest rectangle around the part's points that is level with its corners.
        """
        left, right = points[:, self.corners[0], :2], points[:, self.corners[1], :2]
        along = F.normalize(right - left, dim=1)  # Bx2
        axes = torch.stack([along, torch.stack([-along[:, 1], along[:, 0]], 1)], 2)  # Bx2x2, in its columns
        level = points[:, self.numbers, :2] @ axes  # BxNx2
        least, most = level.amin(1), level.amax(1)
        centre = axes @ ((least + most) / 2)[:, :, None]
        return torch.cat([axes * ((most - least) * (REGION_MARGIN / 2))[:, None], centre], 2)


def _sample_features(features: Tensor, frame: Tensor) -> Tensor:
    """Return the part of ``features`` (BxCxHxH, of the whole crop) inside ``frame`` (Bx2x3) as BxCx16x16.

    It is sampled linearly. A sample that is not between four pixels, as beyond the border, is 0.
    """
    middle = torch.zeros_like(frame)
    middle[:, :, 2] = 1
    size = [len(frame), features.shape[1], REGION_SIZE, REGION_SIZE]
    grid = F.affine_grid(frame / (SIZE / 2) - middle, size, align_corners=False)
    outside = (grid.abs() > 1 - 1 / features.shape[-1]).any(-1, keepdim=True)
    return F.grid_sample(features, grid.masked_fill(outside, 2.0), align_corners=False)


def _to_crop(answers: Tensor, frame: Tensor) -> Tensor:
    """Return points (BxNx2) in pixels of the crop.

    Args:
        answers: Bx(2N)x1x1, xy of each point in 64ths of the frame's sides, from its top left corner.
        frame: Bx2x3, from [-1, 1] to pixels of the crop.
    """
    places = answers.reshape(len(answers), -1, 2) / 32 - 1
    return places @ frame[:, :, :2].mT + frame[:, None, :, 2]


def _block(channels: int, out_channels: int | None = None, down: bool | None = None) -> SeparableBlock:
    """Return a block; unless ``down`` says so, it halves the size where it changes the number of channels."""
    out_channels = out_channels or channels
    down = out_channels != channels if down is None else down
    return SeparableBlock(channels, out_channels, nn.PReLU(out_channels), down)


def _region_head(points: int) -> nn.Sequential:  # Bx128x4x4 -> Bx(2 * points)x1x1
    return nn.Sequential(
        *(_block(128), _block(128)),  # 4x4
        *(_block(128, down=True), _block(128), _block(128)),  # 2x2
        *(nn.Conv2d(128, 32, 1), nn.PReLU(32), _block(32), nn.Conv2d(32, points * 2, 2)),
    )


@lru_cache(maxsize=4)
def load_mesh_network(device: torch.device) -> FaceMesh:
    """Return the network with its weights on ``device``, loaded once."""
    network = FaceMesh()
    load_weights(network, "mesh", device)
    return network


def face_mesh(image: np.ndarray, face: Face, *, device: torch.device | str = "cpu") -> Mesh:
    """Find the 478 points of ``face``, one of ``detect_faces(image)``, in ``image`` (HxWx3 uint8 RGB)."""
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
            batch.append(sample_crop(image, crop, device=device))
        meshes += crop_meshes(batch, crops)
    return meshes


@torch.no_grad()
def crop_meshes(pictures: Sequence[Tensor], crops: Sequence[Crop]) -> list[Mesh]:
    """Find the points of one face in each of some crops, in one pass.

    Args:
        pictures: one or more, 1x3x192x192 each, see ``sample_crop``.
        crops: where they were cut out.
    """
    batch = torch.cat(list(pictures))
    points, presence = load_mesh_network(batch.device)(batch)
    found = zip(points.cpu().numpy(), presence.sigmoid().tolist(), crops, strict=True)
    return [Mesh(crop_to_image(place, crop), score) for place, score, crop in found]


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


def sample_crop(
    image: np.ndarray, crop: Crop, size: int = SIZE, *, device: torch.device | str = "cpu"
) -> Tensor:
    """Return ``crop`` of ``image`` (HxWx3 uint8) as 1x3x(size)x(size) in [0, 1] on ``device``.

    It is sampled linearly. Beyond the image's border lies the colour of the border. Where the crop has twice
    the ``size`` or more, each pixel is the mean of several samples, which keeps fine patterns from aliasing.
    """
    fine = min(max(int(crop.side / size), 1), 8)
    axes, centre = _crop_axes(crop) * crop.side, np.array(crop.centre)
    reach = np.abs(axes).sum(axis=1) / 2 + 1  # from the centre; a sample needs the pixels on both sides of it
    end = np.array(image.shape[1::-1])  # width, height
    first = np.floor(centre - reach).clip(0, end - 1).astype(int)
    last = np.ceil(centre + reach).clip(first + 1, end).astype(int)
    part = image[first[1] : last[1], first[0] : last[0]].transpose(2, 0, 1)  # nothing else is needed
    planes = torch.from_numpy(part.astype(np.float32, order="C"))[None].to(device)
    extent = last - first
    # places as x + iy, in the part's [-1, 1]
    linear, start = axes / extent[:, None], (centre - first) / extent * 2 - 1
    right, below = (complex(*column) for column in linear.T)
    steps = (2 * np.arange(size * fine) + 1) / (size * fine) - 1
    steps = np.ascontiguousarray(steps.reshape(size, fine).T)  # the samples of a pixel lie fine apart
    rows = torch.from_numpy((steps * below + complex(*start)).astype(np.complex64)).to(device)
    columns = torch.from_numpy((steps * right).astype(np.complex64)).to(device)
    places = rows[:, None, :, None] + columns[None, :, None]  # fine x fine x size x size
    grid = torch.view_as_real(places).reshape(1, -1, size, 2)
    pixels = F.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return pixels.unflatten(2, (-1, size)).mean(2) / 255


def crop_to_image(points: np.ndarray, crop: Crop) -> np.ndarray:
    """Return points (478x3) in pixels of the crop as float32 in pixels of the image."""
    scaled = points.astype(np.float64) * (crop.side / SIZE)
    scaled[:, :2] = (scaled[:, :2] - crop.side / 2) @ _crop_axes(crop).T + np.array(crop.centre)
    return scaled.astype(np.float32)
