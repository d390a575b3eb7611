"""What the networks see, as one picture."""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from fomm.model import Keypoints
from fomm.training.dataset import Batch
from fomm.training.terms import Output

ROWS = 4


@torch.no_grad()
def picture_grid(batch: Batch, output: Output) -> Image.Image:
    """Return a picture with a row for each of the first pairs, up to ``ROWS``.

    A row shows the source, the driving frame, the prediction, the source warped, and the occlusion map where
    there is one. Key points are drawn on the first two, each in its own colour. Where a window was painted,
    the driving frame is shown around it.

    Args:
        batch: the pairs.
        output: what was painted of them.
    """
    prediction = output.prediction
    if output.windows is not None:
        prediction = output.windows.fill(batch.driving, prediction)
    size = batch.source.shape[2:]
    rows = min(ROWS, batch.source.shape[0])
    columns = [
        _draw_points(batch.source[:rows], output.kp_source),
        _draw_points(batch.driving[:rows], output.kp_driving),
        _to_pixels(prediction[:rows]),
        _to_pixels(output.maps["deformed"][:rows]),
    ]
    if "occlusion_map" in output.maps:
        occlusion = F.interpolate(output.maps["occlusion_map"][:rows], size)
        columns.append(_to_pixels(occlusion.expand(-1, 3, -1, -1)))
    return Image.fromarray(np.concatenate([np.concatenate(list(column)) for column in columns], axis=1))


def _to_pixels(images: Tensor) -> np.ndarray:
    """Convert BxCxHxW in [0, 1] to BxHxWx3 uint8."""
    images = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images[:, :3]
    return (images.float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _draw_points(images: Tensor, kp: Keypoints) -> np.ndarray:
    """Draw the key points of BxCxHxW in [0, 1] on them: BxHxWx3 uint8."""
    pictures = []
    height, width = images.shape[2:]
    for pixels, points in zip(_to_pixels(images), kp.value.float().cpu(), strict=False):
        picture = Image.fromarray(pixels)
        draw = ImageDraw.Draw(picture)
        for index, (x, y) in enumerate(points.tolist()):
            centre = ((x + 1) / 2 * (width - 1), (y + 1) / 2 * (height - 1))
            draw.circle(centre, max(1.0, width / 85), fill=f"hsl({360 * index // len(points)}, 100%, 50%)")
        pictures.append(np.asarray(picture))
    return np.stack(pictures)
