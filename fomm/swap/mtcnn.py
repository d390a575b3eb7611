"""Find faces with MTCNN, three networks in a row, each of which looks closer at what the one before let pass.

K. Zhang, Z. Zhang, Z. Li and Y. Qiao, "Joint Face Detection and Alignment using Multi-task Cascaded
Convolutional Networks", 2016. P-net sees the whole picture at many sizes and proposes boxes, R-net refines
them, O-net refines them once more and finds five points. Between two networks boxes that overlap much are
thinned out, and the rest is moved by what the network answered.

Coordinates of the results are pixels of the picture, xy; pixel i covers [i, i + 1). Between the networks a
box is what it is in the authors' code, with which the weights were trained: the first and the last pixel,
counted from 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from fomm.bundled import check_intact
from fomm.face.blocks import check_image

WEIGHTS = Path(__file__).parent / "weights" / "mtcnn.safetensors"
P_SIZE, R_SIZE, O_SIZE = 12, 24, 48  # sides of what the networks see, in pixels
STEP = 2  # P-net answers at every second pixel
PYRAMID = 0.709  # a picture of the pyramid has so much of the side of the one before: about half of its area
THRESHOLDS = (0.6, 0.7, 0.7)  # of each network's score
SMALLEST = 20  # pixels: side of the smallest faces that are looked for
CHUNK = 512  # boxes in one pass of a network


class Detection(NamedTuple):
    """One face."""

    box: np.ndarray  # 4 float32: x0, y0, x1, y1 in pixels, from the forehead to the chin
    score: float  # in [0, 1]
    points: np.ndarray  # 5x2 float32, pixels xy: the eye at the left of the picture, the eye at the right,
    #                     nose tip, the corner of the mouth at the left, the corner at the right


class PNet(nn.Module):
    """The proposal network: convolutions alone, so that it slides over a picture of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            *(nn.Conv2d(3, 10, 3), nn.PReLU(10), _pool(2)),  # 12x12 -> 5x5
            *(nn.Conv2d(10, 16, 3), nn.PReLU(16)),  # 3x3
            *(nn.Conv2d(16, 32, 3), nn.PReLU(32)),  # 1x1
        )
        self.face, self.box = nn.Conv2d(32, 2, 1), nn.Conv2d(32, 4, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return how sure the network is of a face, BxHxW in [0, 1], and the moves of its box, Bx4xHxW.

        Args:
            image: Bx3xHxW in [-1, 1], RGB. Answer (i, j) is of the 12x12 pixels from (2i, 2j) on.
        """
        features = self.trunk(image)
        return self.face(features).softmax(1)[:, 1], self.box(features)


class RNet(nn.Module):
    """The refinement network."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            *(nn.Conv2d(3, 28, 3), nn.PReLU(28), _pool(3)),  # 24x24 -> 11x11
            *(nn.Conv2d(28, 48, 3), nn.PReLU(48), _pool(3)),  # 4x4
            *(nn.Conv2d(48, 64, 2), nn.PReLU(64), nn.Flatten()),  # 3x3
            *(nn.Linear(64 * 3 * 3, 128), nn.PReLU(128)),
        )
        self.face, self.box = nn.Linear(128, 2), nn.Linear(128, 4)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores, B in [0, 1], and by how much to move the boxes, Bx4; ``image``: Bx3x24x24."""
        features = self.trunk(image)
        return self.face(features).softmax(1)[:, 1], self.box(features)


class ONet(nn.Module):
    """The output network, which finds five points too."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            *(nn.Conv2d(3, 32, 3), nn.PReLU(32), _pool(3)),  # 48x48 -> 23x23
            *(nn.Conv2d(32, 64, 3), nn.PReLU(64), _pool(3)),  # 10x10
            *(nn.Conv2d(64, 64, 3), nn.PReLU(64), _pool(2)),  # 4x4
            *(nn.Conv2d(64, 128, 2), nn.PReLU(128), nn.Flatten()),  # 3x3
            *(nn.Linear(128 * 3 * 3, 256), nn.PReLU(256)),
        )
        self.face, self.box, self.points = nn.Linear(256, 2), nn.Linear(256, 4), nn.Linear(256, 10)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return scores, moves of the boxes (Bx4), and points (Bx2x5, xy in [0, 1] of the box).

        Args:
            image: Bx3x48x48 in [-1, 1], RGB.
        """
        features = self.trunk(image)
        points = self.points(features).reshape(-1, 2, 5)
        return self.face(features).softmax(1)[:, 1], self.box(features), points


def _pool(size: int) -> nn.MaxPool2d:
    return nn.MaxPool2d(size, 2, ceil_mode=True)


class Mtcnn(nn.Module):
    """The three networks."""

    def __init__(self) -> None:
        super().__init__()
        self.p, self.r, self.o = PNet(), RNet(), ONet()


@lru_cache(maxsize=4)
def load_mtcnn(device: torch.device) -> Mtcnn:
    """Return the networks with their weights on ``device``, loaded once. Raises CheckpointError."""
    check_intact(WEIGHTS)
    networks = Mtcnn()
    networks.load_state_dict(load_file(WEIGHTS), strict=True)
    return networks.eval().requires_grad_(False).to(device)


@torch.no_grad()
def detect_by_mtcnn(
    image: np.ndarray, *, smallest: float = SMALLEST, device: torch.device | str = "cpu"
) -> list[Detection]:
    """Find the faces of a picture, the best score first; an empty list where there is none.

    Args:
        image: HxWx3 uint8 RGB.
        smallest: side in pixels of the smallest faces that are looked for. Time grows as its inverse square.
        device: where the networks run.

    Raises:
        InputError: ``image`` is not HxWx3 uint8.
    """
    check_image(image)
    device = torch.device(device)
    networks = load_mtcnn(device)
    pixels = torch.tensor(image, device=device).permute(2, 0, 1)[None].float()  # 1x3xHxW in [0, 255]
    boxes = _propose(networks.p, pixels, smallest)
    boxes, scores, moves, _ = _look(networks.r, pixels, square(boxes), R_SIZE, THRESHOLDS[1])
    kept = suppress(boxes, scores, 0.7)
    boxes = square(regress(boxes[kept], moves[kept]))
    boxes, scores, moves, places = _look(networks.o, pixels, boxes, O_SIZE, THRESHOLDS[2])
    corner, sides = boxes[:, None, :2] - 1, (boxes[:, 2:] - boxes[:, :2] + 1)[:, None]
    points = (corner + places.swapaxes(1, 2) * sides).astype(np.float32)  # Nx5x2
    boxes = regress(boxes, moves)
    edges = (boxes - [1, 1, 0, 0]).astype(np.float32)
    return [
        Detection(edges[i], float(scores[i]), points[i])
        for i in suppress(boxes, scores, 0.7, of_smaller=True)
    ]


def pyramid_scales(size: tuple[int, int], smallest: float) -> list[float]:
    """Return the scales at which P-net sees a picture of ``size`` (height, width).

    At the first a face of ``smallest`` pixels is 12 pixels large, as P-net knows it. Each further one is
    0.709 times the one before, as long as the picture's shorter side has 12 pixels.
    """
    scales, scale = [], P_SIZE / smallest
    while min(size) * scale >= P_SIZE:
        scales.append(scale)
        scale *= PYRAMID
    return scales


def _propose(network: PNet, pixels: Tensor, smallest: float) -> np.ndarray:
    """Return the boxes, Nx4, in which P-net sees a face, moved as it says."""
    height, width = pixels.shape[-2:]
    found, moved, sure = [np.empty((0, 4))], [np.empty((0, 4))], [np.empty(0)]
    for scale in pyramid_scales((height, width), smallest):
        small = F.interpolate(pixels, (int(height * scale + 1), int(width * scale + 1)), mode="area")
        score, move = (answer[0].cpu().numpy() for answer in network(_normalise(small)))
        row, column = np.nonzero(score >= THRESHOLDS[0])
        corner = np.stack([column, row], 1) * STEP
        boxes = np.floor(np.concatenate([corner + 1, corner + P_SIZE], 1) / scale)
        scores = score[row, column]
        kept = suppress(boxes, scores, 0.5)
        found.append(boxes[kept])
        moved.append(move[:, row, column].T[kept])
        sure.append(scores[kept])
    boxes, moves, scores = np.concatenate(found), np.concatenate(moved), np.concatenate(sure)
    kept = suppress(boxes, scores, 0.7)
    return regress(boxes[kept], moves[kept], more=0)


def _look(
    network: nn.Module, pixels: Tensor, boxes: np.ndarray, size: int, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Let a network look at square boxes, and return those in which it sees a face.

    Returns:
        Boxes Nx4, their scores N, their moves Nx4, and points Nx2x5, of no use where the network has none.
    """
    scores, moves, places = [np.empty(0)], [np.empty((0, 4))], [np.empty((0, 2, 5))]
    for start in range(0, len(boxes), CHUNK):
        parts = [_cut(pixels, box, size) for box in boxes[start : start + CHUNK]]
        answers = [answer.cpu().numpy() for answer in network(_normalise(torch.cat(parts)))]
        scores.append(answers[0])
        moves.append(answers[1])
        places.append(answers[2] if len(answers) > 2 else np.zeros((len(parts), 2, 5)))
    score = np.concatenate(scores)
    kept = score > threshold
    return boxes[kept], score[kept], np.concatenate(moves)[kept], np.concatenate(places)[kept]


def _cut(pixels: Tensor, box: np.ndarray, size: int) -> Tensor:
    """Return the part of the picture in a box, 1x3x(size)x(size).

    What lies beyond the picture is left out, and the rest stretched: so the weights' publisher does it.
    """
    height, width = pixels.shape[-2:]
    x0, y0 = (np.trunc(box[:2]).astype(int) - 1).clip(0, [width - 1, height - 1])
    x1, y1 = np.trunc(box[2:]).astype(int).clip([x0 + 1, y0 + 1], [width, height])
    return F.interpolate(pixels[:, :, y0:y1, x0:x1], (size, size), mode="area")


def _normalise(pixels: Tensor) -> Tensor:  # [0, 255] -> [-1, 1)
    return (pixels - 127.5) / 128


def regress(boxes: np.ndarray, moves: np.ndarray, more: int = 1) -> np.ndarray:
    """Return boxes (Nx4), each side moved by ``moves`` (Nx4) in shares of the box's width and height.

    Width and height are the number of pixels, the last less the first and one ``more``; those of P-net's
    boxes are taken without.
    """
    sides = boxes[:, 2:] - boxes[:, :2] + more
    return boxes + moves * np.tile(sides, 2)


def square(boxes: np.ndarray) -> np.ndarray:
    """Return the squares (Nx4) around the middles of boxes (Nx4), as large as their longer sides."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.concatenate([middle - half, middle + half], 1)


def suppress(
    boxes: np.ndarray, scores: np.ndarray, overlap: float, *, of_smaller: bool = False
) -> Sequence[int]:
    """Return the numbers of the boxes that non-maximum suppression keeps, the best score first.

    A box is dropped if it overlaps a better one by more than ``overlap``: their intersection over their
    union, or, with ``of_smaller``, over the smaller of the two.

    Args:
        boxes: Nx4, x0, y0, x1, y1; their sides are the differences.
        scores: N numbers.
        overlap: in [0, 1].
        of_smaller: what the intersection is compared with.
    """
    areas = (boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(1)
    left = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(left):
        best, left = int(left[0]), left[1:]
        kept.append(best)
        shared = np.minimum(boxes[best, 2:], boxes[left, 2:]) - np.maximum(boxes[best, :2], boxes[left, :2])
        common = shared.clip(min=0).prod(1)
        whole = np.minimum(areas[best], areas[left]) if of_smaller else areas[best] + areas[left] - common
        left = left[common <= overlap * whole]
    return kept
