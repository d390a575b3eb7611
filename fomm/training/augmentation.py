"""Random changes to a batch of pairs, drawn from a generator so that a seed means the same everywhere."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fomm.config import AugmentationParams, CameraParams, DegradeParams, JitterParams
from fomm.model import Keypoints
from fomm.model.geometry import inverse_2x2, warp
from fomm.training.dataset import Batch


def augment(batch: Batch, params: AugmentationParams, generator: torch.Generator) -> Batch:
    """The published flips and colour jitter, the same for both frames; camera and quality where asked.

    True key points know left from right, so pairs that have them are not mirrored.
    """
    images = torch.stack((batch.source, batch.driving))  # 2xBxCxHxW
    truth = _join(batch.truth_source, batch.truth_driving)
    if params.flip_param is not None:
        if params.flip_param.horizontal_flip and truth is None:
            images = torch.where(_coin(images, generator), images.flip(-1), images)
        # time_flip swaps the two frames; they are drawn in random order already
    if params.jitter_param is not None:
        images = jitter(images, params.jitter_param, generator)
    if params.camera_param is not None:
        images, truth = move_camera(images, truth, params.camera_param, generator)
    if params.degrade_param is not None:
        images = degrade(images, params.degrade_param, generator)
    source, driving = images.clamp(0, 1)
    if truth is None:
        return Batch(source, driving)
    return Batch(source, driving, truth.map(lambda t: t[0]), truth.map(lambda t: t[1]))


def jitter(images: Tensor, params: JitterParams, generator: torch.Generator) -> Tensor:
    """Brightness, contrast, saturation and hue by factors within 1 +- the parameter (hue: turns of +-)."""
    batch = images.shape[1]

    def around(centre: float, spread: float | None) -> Tensor:
        noise = torch.rand(1, batch, 1, 1, 1, generator=generator) * 2 - 1
        return (centre + (spread or 0) * noise).to(images.device)

    images = images * around(1, params.brightness)
    mean = images.mean((-3, -2, -1), keepdim=True)
    images = mean + (images - mean) * around(1, params.contrast)
    grey = images.mean(-3, keepdim=True)
    images = grey + (images - grey) * around(1, params.saturation)
    return turn_hue(images, around(0, params.hue)).clamp(0, 1)


def turn_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Colours ...x3xHxW rotated about the grey axis; ``turns`` ...x1x1x1, 1 is a full turn."""
    angle = 2 * torch.pi * turns[..., 0]
    cos, sin = angle.cos(), angle.sin() / 3**0.5
    same, left, right = (1 + 2 * cos) / 3, (1 - cos) / 3 - sin, (1 - cos) / 3 + sin  # Rodrigues' formula
    rows = [torch.cat(row, -1) for row in ((same, left, right), (right, same, left), (left, right, same))]
    matrix = torch.cat(rows, -2)  # ...x3x3
    return (matrix @ images.flatten(-2)).view_as(images)


def move_camera(
    images: Tensor, truth: Keypoints | None, params: CameraParams, generator: torch.Generator
) -> tuple[Tensor, Keypoints | None]:
    """Rolls, zooms and shifts each frame; a share of the pairs keeps one camera for both frames."""
    views, batch = images.shape[:2]
    angle = params.rotation * torch.randn(views, batch, generator=generator)
    low, high = params.zoom
    zoom = low + (high - low) * torch.rand(views, batch, generator=generator)
    shift = params.shift * torch.randn(views, batch, 2, generator=generator)
    shared = torch.rand(batch, generator=generator) < params.shared
    angle, zoom = (torch.where(shared, t[:1], t) for t in (angle, zoom))
    shift = torch.where(shared[:, None], shift[:1], shift)

    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    matrix = torch.stack((torch.stack((cos, -sin), -1), torch.stack((sin, cos), -1)), -2)  # VxBx2x2
    theta = torch.cat((matrix, shift[..., None]), -1).flatten(0, 1).to(images.device)
    flat = images.flatten(0, 1)
    grid = F.affine_grid(theta, list(flat.shape), align_corners=True)
    moved = warp(flat, grid, align_corners=True, padding_mode="reflection").view_as(images)
    if truth is None or truth.jacobian is None:
        return moved, truth
    back = inverse_2x2(matrix.to(images.device))[:, :, None]  # the warp looks up: points move by its inverse
    value = (back @ (truth.value - shift[:, :, None].to(images.device))[..., None])[..., 0]
    return moved, Keypoints(value, back @ truth.jacobian)


def degrade(images: Tensor, params: DegradeParams, generator: torch.Generator) -> Tensor:
    """A share of the batches loses resolution; gaussian noise of random strength lies over each pair."""
    if torch.rand((), generator=generator) < params.blur:
        flat = images.flatten(0, 1)
        scale = 0.4 + 0.5 * torch.rand((), generator=generator).item()
        small = F.interpolate(flat, scale_factor=scale, mode="bilinear", antialias=True, align_corners=False)
        images = F.interpolate(small, flat.shape[-2:], mode="bilinear", align_corners=False).view_as(images)
    strength = params.noise * torch.rand(1, images.shape[1], 1, 1, 1, generator=generator)
    noise = strength * torch.randn(images.shape, generator=generator)
    return images + noise.to(images.device)


def _coin(images: Tensor, generator: torch.Generator) -> Tensor:
    coin = torch.rand(1, images.shape[1], 1, 1, 1, generator=generator) < 0.5
    return coin.to(images.device)


def _join(source: Keypoints | None, driving: Keypoints | None) -> Keypoints | None:
    if source is None or driving is None or source.jacobian is None or driving.jacobian is None:
        return None
    return Keypoints(
        torch.stack((source.value, driving.value)), torch.stack((source.jacobian, driving.jacobian))
    )
