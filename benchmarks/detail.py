"""How much detail a generator keeps: pictures moved by whole pixels with the exact motion, and painted again.

    python benchmarks/detail.py data/heads-heldout/test [WEIGHTS]

Features are moved by fractions of their cells then, as in any animation. But the motion is certain and
nothing is hidden, so whatever is lost, encoder and decoder lose. Detail is the difference between a mean of
3x3 and one of 7x7 pixels. The share that is kept is the part of it that is painted again in its place, from 0
to 1.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from fomm import load_checkpoints
from fomm.data.clips import find_clips, read_frames
from fomm.model import OcclusionAwareGenerator
from fomm.model.geometry import coordinate_grid, warp
from fomm.training.losses import details


def details_of_middle(image: Tensor) -> Tensor:
    """Return the details of the middle of a picture, which no shift moves beyond its border."""
    border = image.shape[-1] // 4
    return details(image)[..., border:-border, border:-border]


@torch.no_grad()
def measure_kept(generator: OcclusionAwareGenerator, image: Tensor, shift: int) -> float:
    """Move 1xCxHxW by ``shift`` pixels to the right, paint it, and return the share of details kept."""
    features = generator.encode(image)
    cell = image.shape[-1] // features.shape[-1]
    height, width = features.shape[2:]
    grid = coordinate_grid(height, width, image)
    grid[..., 0] -= 2 * shift / cell / (width - 1)
    moved = warp(features, grid[None], align_corners=generator.align_corners)
    wanted = details_of_middle(image.roll(shift, -1))
    return float((details_of_middle(generator.paint(moved)) * wanted).sum() / wanted.square().sum())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", type=Path)
    parser.add_argument("weights", nargs="?", help="default: those that ship")
    options = parser.parse_args()
    generator, _ = load_checkpoints(checkpoint_path=options.weights)
    assert generator.frame_shape is not None
    pictures = []
    for clip in find_clips(options.clips, 20):
        picture = torch.from_numpy(read_frames(clip)[:1]).permute(0, 3, 1, 2).float() / 255
        if picture.shape[2:] != generator.frame_shape[:2]:
            parser.error(f"{clip} is not of the {generator.frame_shape[:2]} pixels of the weights")
        pictures.append(picture)
    for shift in range(5):
        parts = torch.tensor([measure_kept(generator, picture, shift) for picture in pictures])
        print(f"moved by {shift} pixels: {parts.mean():.2f} kept, {parts.min():.2f} to {parts.max():.2f}")


if __name__ == "__main__":
    main()
