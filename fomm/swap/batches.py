"""Batches of aligned faces: normalised when they are loaded, and changed at random.

A face is moved as a whole (turned, zoomed, shifted, flipped), and its light is changed a little. What the
encoder sees is bent on top of that: the points of a grid of 5x5 are each moved at random, and what lies
between them follows. So an encoder sees faces that are a little wrong, and a decoder learns to make its
person's face of them. This is how the first autoencoders that swapped faces were trained (the program
"deepfakes" of 2017: 5x5 points, each moved by a normal distribution of 5 pixels where the face has 160).

Every random number of a batch comes from the generator that is given.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fomm.errors import InputError
from fomm.swap.faces import MASKS, FaceSet, read_faces

FEW = 50  # faces of a person
GRID = 5  # control points along a side of the random warp
WARP = 5 / 160  # how far a control point moves: standard deviation, as a share of the side
# Aligned faces lie alike already. With twice as much, the first minutes go into learning the moves.
TURN = 5.0  # degrees, at most
ZOOM = 0.03  # at most, as a share
SHIFT = 0.02  # at most, as a share of the side
LIGHT = 0.05  # brightness and contrast change by so much at most, as a share
TINT = 0.03  # each channel changes by so much at most, as a share
PICTURES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"))


class Side(NamedTuple):
    """B faces of one person."""

    warped: Tensor  # Bx3xSxS, RGB in [0, 1]: what an encoder sees, bent at random
    target: Tensor  # Bx3xSxS, RGB in [0, 1]: the same faces unbent, what a decoder is to make
    mask: Tensor  # Bx1xSxS, 0 or 1: 1 where the face is in the target
    eyes: Tensor  # Bx1xSxS, 0 or 1: 1 where the eyes are in the target


class Batch(NamedTuple):
    """B faces of each of the two persons."""

    a: Side
    b: Side


@dataclass(frozen=True)
class Pictures:
    """All pictures of one side, in memory, SxS pixels each."""

    name: str  # of the file or folder
    pictures: Tensor  # Nx3xSxS uint8, RGB
    masks: Tensor  # Nx2xSxS uint8, 0 or 1: face and eyes

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def size(self) -> int:
        """The side of the pictures in pixels."""
        return self.pictures.shape[-1]


def load_sides(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    size: int,
    *,
    plain: bool = False,
    paired: bool = False,
) -> tuple[Pictures, Pictures]:
    """Return what the two sides are trained on, as tensors of ``size`` pixels.

    Args:
        a, b: files that ``write_faces`` wrote, or with ``plain`` folders of pictures.
        size: pixels.
        plain: take any pictures of folders, see ``load_folder``.
        paired: with ``plain``, see ``load_pairs``.

    Warns of few faces.

    Raises:
        InputError: both are the same, their faces are not alike in size, or smaller than ``size``.
        MediaError: something cannot be read.
    """
    if Path(a).resolve() == Path(b).resolve():
        raise InputError(f"{a} is given for both persons; give the faces of two")
    if plain:
        return load_pairs(a, b, size) if paired else (load_folder(a, size), load_folder(b, size))
    for path in (a, b):
        if Path(path).is_dir():
            raise InputError(f"{path} is a folder; give faces of fomm swap extract, or --any for pictures")
    one, other = read_faces(a), read_faces(b)
    if one.size != other.size:
        raise InputError(
            f"{a} has faces of {one.size} pixels and {b} of {other.size}; extract both in one size"
        )
    for path, faces in ((a, one), (b, other)):
        if len(faces) < FEW:
            warnings.warn(
                f"{path} has {len(faces)} faces; with fewer than {FEW} networks learn them by heart: give a "
                "longer video, or extract more of its frames",
                stacklevel=2,
            )
    return load_faces(one, size, Path(a).stem), load_faces(other, size, Path(b).stem)


def load_faces(faces: FaceSet, size: int, name: str) -> Pictures:
    """Return faces as tensors of ``size`` pixels.

    Raises:
        InputError: the faces are smaller than that.
    """
    if faces.size < size:
        raise InputError(
            f"{name} has faces of {faces.size} pixels, and {size} are wanted; extract them with --size "
            f"{size} or larger, or choose a smaller preset"
        )
    pictures = torch.from_numpy(faces.pictures).permute(0, 3, 1, 2)
    chosen = [MASKS.index("face"), MASKS.index("eyes")]
    masks = torch.from_numpy(np.ascontiguousarray(faces.masks[..., chosen])).permute(0, 3, 1, 2).byte()
    if faces.size != size:
        pictures = _shrink(pictures, size).round().byte()
        masks = (_shrink(masks, size) >= 0.5).byte()
    return Pictures(name, pictures.contiguous(), masks.contiguous())


def load_folder(folder: str | os.PathLike[str], size: int) -> Pictures:
    """Return the pictures of a folder, in the order of their names: the middle square of each.

    The mask is 1 everywhere, and there are no eyes.

    Raises:
        InputError: it is no folder, or has no pictures.
        MediaError: a picture cannot be read.
    """
    return _load_files(Path(folder), list_files(Path(folder)), size)


def load_pairs(a: str | os.PathLike[str], b: str | os.PathLike[str], size: int) -> tuple[Pictures, Pictures]:
    """Return the pictures of two folders that have the same name in both but for its ending.

    Raises:
        InputError: a folder is none or has no pictures, or a picture has no partner.
        MediaError: a picture cannot be read.
    """
    found = [{path.stem: path for path in list_files(Path(folder))} for folder in (a, b)]
    alone = sorted(found[0].keys() ^ found[1].keys())
    if alone:
        raise InputError(
            f"{len(alone)} pictures of {a} and {b} have no partner of the same name, among them {alone[0]}; "
            "pictures that belong together have one name in both folders"
        )
    names = sorted(found[0])
    one, other = (
        _load_files(Path(folder), [files[name] for name in names], size)
        for folder, files in zip((a, b), found, strict=True)
    )
    return one, other


def list_files(folder: Path) -> list[Path]:
    """Return the pictures of a folder in the order of their names.

    Raises:
        InputError: it is no folder, or has no pictures.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give a folder of pictures")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    if not files:
        raise InputError(f"{folder} holds no pictures ({', '.join(sorted(PICTURES))}); give another folder")
    return files


def _load_files(folder: Path, files: list[Path], size: int) -> Pictures:
    from fomm.media import read_image
    from fomm.media.resize import resize

    pictures = []
    for file in files:
        picture = read_image(file)
        height, width = picture.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        pictures.append(resize(picture[top : top + side, left : left + side], (size, size)))
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    masks = torch.zeros(len(files), 2, size, size, dtype=torch.uint8)
    masks[:, 0] = 1
    return Pictures(folder.name, stacked, masks)


def _shrink(values: Tensor, size: int) -> Tensor:
    """Return BxCxTxT uint8 as BxCxsizexsize float32, averaged."""
    return torch.cat(
        [
            F.interpolate(part.float(), (size, size), mode="bilinear", antialias=True)
            for part in values.split(256)
        ]
    )


def normalise(pictures: Tensor) -> Tensor:
    """Return uint8 pictures as float32 in [0, 1]. The networks themselves map that to [-1, 1]."""
    return pictures.float().div_(255)


def draw_batch(
    a: Pictures, b: Pictures, count: int, rng: torch.Generator, *, paired: bool = False, warp: float = WARP
) -> Batch:
    """Draw ``count`` pictures of each side, with replacement, and change them at random.

    Args:
        a: the pictures of side a.
        b: those of side b, of the same size.
        count: pictures of each side.
        rng: on the CPU. It alone decides the batch.
        paired: picture i of a belongs to picture i of b: both come together and are moved alike. Their light
            stays as it is.
        warp: how far the control points move, see ``WARP``; 0 for pictures that are not bent.
    """
    if not paired:
        return Batch(_draw_side(a, count, rng, warp), _draw_side(b, count, rng, warp))
    chosen, moves = torch.randint(len(a), (count,), generator=rng), draw_moves(count, rng)
    sides = []
    for side in (a, b):
        pictures, masks = normalise(side.pictures[chosen]), side.masks[chosen].float()
        target, mask = _sample(pictures, masks, base_grid(side.size), moves)
        sides.append(Side(target, target, mask[:, :1], mask[:, 1:]))
    return Batch(*sides)


def _draw_side(side: Pictures, count: int, rng: torch.Generator, warp: float) -> Side:
    chosen = torch.randint(len(side), (count,), generator=rng)
    pictures, masks = normalise(side.pictures[chosen]), side.masks[chosen].float()
    pictures = change_light(pictures, rng)
    moves, grid = draw_moves(count, rng), base_grid(side.size)
    bend = draw_warp(count, side.size, rng, warp)
    target, mask = _sample(pictures, masks, grid, moves)
    warped = target if not warp else _sample(pictures, masks[:, :0], grid + bend, moves)[0]
    return Side(warped, target, mask[:, :1], mask[:, 1:])


def base_grid(size: int) -> Tensor:
    """Return the centres of the pixels: 1xSxSx2, xy in [-1, 1] from edge to edge."""
    centres = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([x, y], dim=-1)[None]


def draw_moves(count: int, rng: torch.Generator) -> Tensor:
    """Draw how each face is turned, zoomed, shifted and, half of them, flipped: Bx2x3, xy in [-1, 1]."""
    spread = (torch.rand(count, 4, generator=rng) * 2 - 1) * torch.tensor(
        [TURN * np.pi / 180, ZOOM, 2 * SHIFT, 2 * SHIFT], dtype=torch.float32
    )
    flip = 1 - 2 * torch.randint(2, (count,), generator=rng).float()
    angle, zoom, x, y = spread.unbind(1)
    cos, sin = (1 + zoom) * angle.cos(), (1 + zoom) * angle.sin()
    return torch.stack([torch.stack([flip * cos, -flip * sin, x], 1), torch.stack([sin, cos, y], 1)], 1)


def draw_warp(count: int, size: int, rng: torch.Generator, spread: float = WARP) -> Tensor:
    """Draw how each pixel is bent: BxSxSx2, xy, where the side of the picture is 2.

    The points of a grid of 5x5, from corner to corner, move by a normal distribution of ``spread`` sides.
    Between them a bicubic surface tells.
    """
    points = torch.randn(count, 2, GRID, GRID, generator=rng) * (2 * spread)
    return F.interpolate(points, (size, size), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)


def change_light(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """Return pictures Bx3xSxS in [0, 1] of other brightness, contrast and tint."""

    def draw(channels: int) -> Tensor:
        return torch.rand(len(pictures), channels, 1, 1, generator=rng) * 2 - 1

    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
    contrast, brightness, tint = 1 + LIGHT * draw(1), 1 + LIGHT * draw(1), 1 + TINT * draw(3)
    return (((pictures - mean) * contrast + mean) * brightness * tint).clamp(0, 1)


def _sample(pictures: Tensor, masks: Tensor, grid: Tensor, moves: Tensor) -> tuple[Tensor, Tensor]:
    """Return pictures and masks, both BxCxSxS, at the places that a grid has after the moves."""
    places = grid @ moves[:, None, :, :2].transpose(-1, -2) + moves[:, None, None, :, 2]
    both = F.grid_sample(
        torch.cat([pictures, masks], 1), places, mode="bilinear", padding_mode="border", align_corners=False
    )
    return both[:, :3].clamp(0, 1), (both[:, 3:] >= 0.5).float()
