"""Find faces with BlazeFace, the short-range face detector of MediaPipe.

Coordinates are pixels of the image, x then y, x in [0, W]; pixel i covers [i, i + 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fomm.face.blocks import CHUNK, DownConv, SeparableBlock, check_image, load_weights

SIZE = 128  # the network's input is SIZE x SIZE
OVERLAP = 0.3  # answers whose intersection over union is larger are one face


class Face(NamedTuple):
    """One face in an image."""

    box: np.ndarray  # 4 float32: x0, y0, x1, y1 in pixels, from the brows to the chin
    score: float  # in [0, 1]
    points: np.ndarray  # 6x2 float32, pixels xy: the eye at the left of the image, the eye at the right,
    #                     nose tip, mouth, the ear at the left, the ear at the right


class BlazeFace(nn.Module):
    """A convolutional network that answers at 896 anchors: 2 on each cell of 16x16, 6 on each of 8x8.

    Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", 2019.
    """

    FINE = (24, 28, "down", 32, 36, 42, "down", 48, 56, 64, 72, 80, 88)  # 64x64 -> 16x16
    COARSE = ("down", 96, 96, 96, 96, 96)  # 16x16 -> 8x8

    def __init__(self) -> None:
        super().__init__()
        self.stem = DownConv(3, 24, 5)
        self.fine = _stage(24, self.FINE)
        self.coarse = _stage(88, self.COARSE)
        self.score_fine, self.score_coarse = nn.Conv2d(88, 2, 1), nn.Conv2d(96, 6, 1)
        self.place_fine, self.place_coarse = nn.Conv2d(88, 2 * 16, 1), nn.Conv2d(96, 6 * 16, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores and places of a face at each anchor.

        Args:
            image: Bx3x128x128 in [-1, 1], RGB.

        Returns:
            Scores before the sigmoid, Bx896, and places relative to the anchors in pixels of the 128x128
            image, Bx896x16: centre x, y, width, height, then six points x, y.
        """
        fine = self.fine(F.relu(self.stem(image)))  # Bx88x16x16
        coarse = self.coarse(fine)  # Bx96x8x8
        scores = [_per_anchor(self.score_fine(fine), 1), _per_anchor(self.score_coarse(coarse), 1)]
        places = [_per_anchor(self.place_fine(fine), 16), _per_anchor(self.place_coarse(coarse), 16)]
        return torch.cat(scores, 1)[..., 0], torch.cat(places, 1)


def _stage(channels: int, plan: Sequence[int | str]) -> nn.Sequential:
    """Return blocks with the channels of ``plan``; the block after a "down" halves the size."""
    blocks, down = [], False
    for item in plan:
        if item == "down":
            down = True
            continue
        blocks.append(SeparableBlock(channels, int(item), nn.ReLU(), down))
        channels, down = int(item), False
    return nn.Sequential(*blocks)


def _per_anchor(x: Tensor, values: int) -> Tensor:  # Bx(A*values)xHxW -> Bx(H*W*A)xvalues
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, values)


def anchors() -> np.ndarray:
    """Return the centres of the 896 anchors, 896x2 float32, xy in [0, 1], in the order of the answers."""
    grids = []
    for cells, repeats in ((16, 2), (8, 6)):
        centre = (np.arange(cells, dtype=np.float32) + 0.5) / cells
        x, y = np.meshgrid(centre, centre)  # rows of the picture first
        grids.append(np.repeat(np.stack([x.ravel(), y.ravel()], 1), repeats, axis=0))
    return np.concatenate(grids)


@lru_cache(maxsize=4)
def load_detector(device: torch.device) -> BlazeFace:
    """Return the network with its weights on ``device``, loaded once."""
    network = BlazeFace()
    load_weights(network, "detector", device)
    return network


def detect_faces(
    image: np.ndarray, *, min_score: float = 0.5, device: torch.device | str = "cpu"
) -> list[Face]:
    """Find the faces in ``image`` (HxWx3 uint8 RGB), the best score first; an empty list where there is none.

    The network sees the whole image in 128x128 pixels, so it overlooks faces smaller than a tenth of the
    image's longer side.

    Args:
        image: HxWx3 uint8 RGB.
        min_score: in [0, 1]; answers below it are left out.
        device: where the network runs.

    Raises:
        InputError: ``image`` is not HxWx3 uint8.
    """
    return detect_faces_in([image], min_score=min_score, device=device)[0]


@torch.no_grad()
def detect_faces_in(
    images: Sequence[np.ndarray], *, min_score: float = 0.5, device: torch.device | str = "cpu"
) -> list[list[Face]]:
    """Find the faces in many images of any sizes, in batches: one list, as of ``detect_faces``, for each."""
    device = torch.device(device)
    found: list[list[Face]] = []
    for start in range(0, len(images), CHUNK):
        chunk = images[start : start + CHUNK]
        for image in chunk:
            check_image(image)
        batch = torch.stack([letterbox(image) for image in chunk]).to(device)
        scores, places = load_detector(device)(batch * 2 - 1)
        scores = scores.clamp(-100, 100).sigmoid().cpu().numpy()
        places = places.cpu().numpy() / SIZE
        for image, score, place in zip(chunk, scores, places, strict=True):
            found.append(faces_from_answers(score, place, image.shape[:2], min_score))
    return found


def letterbox(image: np.ndarray) -> Tensor:
    """Return the whole image (HxWx3 uint8) in the middle of a black square, 3x128x128 in [0, 1].

    As in MediaPipe, pixel i of the 128 is sampled at i times the scale, without a filter before it. Only so
    do the boxes agree with MediaPipe's.
    """
    side = max(image.shape[:2])
    rows, columns = (_sample_line(length, side) for length in image.shape[:2])
    # of each pixel the four around it are taken, and nothing else of the image is looked at
    near = torch.from_numpy(image.take(rows[0], 0).take(columns[0], 1)).permute(2, 0, 1).float() / 255
    wide = near[..., ::2] * columns[1] + near[..., 1::2] * columns[2]
    return wide[:, ::2] * rows[1][:, None] + wide[:, 1::2] * rows[2][:, None]


@lru_cache(maxsize=64)
def _sample_line(length: int, side: int) -> tuple[np.ndarray, Tensor, Tensor]:
    """Return which 256 pixels of a line of ``length`` 128 samples lie between, and the weights.

    These are 128 of the pixel before a sample, and 128 of the one behind. The line lies in the middle of one
    of ``side`` pixels. What is outside of it has no weight.
    """
    place = torch.arange(SIZE) * (side / SIZE) - (side - length) // 2
    first = place.floor()
    near = torch.stack((first, first + 1), 1)
    weights = torch.stack((1 - (place - first), place - first), 1) * ((near >= 0) & (near < length))
    before, behind = weights.T.contiguous()
    return near.flatten().clamp(0, length - 1).long().numpy(), before, behind


def faces_from_answers(
    scores: np.ndarray, places: np.ndarray, size: tuple[int, ...], min_score: float
) -> list[Face]:
    """Return the faces, in pixels of an image of ``size`` (height, width), from the network's answers.

    Args:
        scores: 896 numbers in [0, 1].
        places: 896x16, in fractions of the square's side, relative to the anchors.
        size: height and width of the image, pixels.
        min_score: answers below it are left out.
    """
    kept = np.flatnonzero(scores >= min_score)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    scores, places = scores[kept], places[kept].astype(np.float64)
    points = places.reshape(-1, 8, 2)  # centre, width and height, six points
    points[:, [0, 2, 3, 4, 5, 6, 7]] += anchors()[kept][:, None]
    half = points[:, 1] / 2
    points[:, 0], points[:, 1] = points[:, 0] - half, points[:, 0] + half  # the corners of the box

    height, width = size
    side = max(height, width)
    offset = np.array([(side - width) // 2, (side - height) // 2])
    faces = []
    for merged, score in merge_answers(points, scores):
        merged = (merged * side - offset).astype(np.float32)
        faces.append(Face(merged[:2].reshape(4), score, merged[2:]))
    return faces


def merge_answers(points: np.ndarray, scores: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """Merge overlapping answers into one, averaged with their scores as weights, the best score first.

    This is blended non-maximum suppression. ``points`` (Nx8x2) begin with two corners of the box, and are in
    the order of falling ``scores`` (N).
    """
    merged = []
    while len(points):
        same = _overlap(points[0, :2], points[:, :2]) > OVERLAP
        same[0] = True  # also where the box is empty
        merged.append((np.average(points[same], axis=0, weights=scores[same]), float(scores[0])))
        points, scores = points[~same], scores[~same]
    return merged


def _overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return intersection over union of a box (2x2, two corners xy) with each of ``boxes`` (Nx2x2): N."""
    shared = np.minimum(box[1], boxes[:, 1]) - np.maximum(box[0], boxes[:, 0])
    shared = shared.clip(min=0).prod(-1)
    areas = (boxes[:, 1] - boxes[:, 0]).clip(min=0).prod(-1)
    union = (box[1] - box[0]).clip(min=0).prod() + areas - shared
    return shared / np.maximum(union, 1e-12)
