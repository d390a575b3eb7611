"""Two drawn sides that are quick to learn: things at many places, of a shape and colour for each person."""

import numpy as np
import torch

from fomm.swap.batches import Pictures


def draw_side(name: str, count: int = 24, size: int = 32) -> Pictures:
    """Draw one thing at many places: a, a red disc on green; b, a blue square on grey."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    pictures, masks = [], []
    for _ in range(count):
        left, top = rng.uniform(0.4, 0.6, 2) * size
        if name == "a":
            inside, colour, ground = (
                (x - left) ** 2 + (y - top) ** 2 < (size / 4) ** 2,
                (220, 40, 30),
                (30, 120, 40),
            )
        else:
            inside = np.maximum(abs(x - left), abs(y - top)) < size / 5
            colour, ground = (30, 60, 220), (150, 150, 150)
        eyes = inside & (abs(y - top) < 2) & (abs(abs(x - left) - size / 8) < 2)
        picture = np.where(inside[..., None], colour, ground)
        pictures.append(np.where(eyes[..., None], 255, picture).astype(np.uint8))
        masks.append(np.stack([inside, eyes]))
    return Pictures(
        name,
        torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous(),
        torch.from_numpy(np.stack(masks)).to(torch.uint8),
    )
