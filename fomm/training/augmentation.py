"""Random changes to a batch of pairs.

A few random numbers for each pair come from the caller's generator on the CPU, so that a seed means the same
on every device; only the noise of all pixels is drawn where the pictures are. What goes to the device is
small, and nothing waits for it.
"""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from fomm.config import AugmentationParams, CameraParams, DegradeParams, JitterParams, ResizeParams
from fomm.model import Keypoints
from fomm.model.geometry import inverse_2x2, mean_around, warp
from fomm.training.dataset import Batch, sides
from fomm.training.flow import Flow


def augment(batch: Batch, params: AugmentationParams, generator: Generator) -> Batch:
    """The published flips, resizing, crop and colour jitter, alike for both frames; then camera and quality.

    True key points know left from right, so pairs that have them are not mirrored. ``time_flip`` is in the
    order in which ``fomm.training.dataset`` draws the two frames. The same generator gives the same numbers,
    on a CPU bit for bit.
    """
    images = torch.stack((batch.source, batch.driving))  # 2xBxCxHxW
    truth, flow = _join(batch), batch.flow
    count = 0 if batch.truth_source is None else batch.truth_source.value.shape[1]
    if params.flip_param is not None and params.flip_param.horizontal_flip and truth is None:
        images = torch.where(_rand(images, generator) < 0.5, images.flip(-1), images)
    if params.crop_param is not None:
        images, truth = resize_and_crop(images, truth, params.resize_param, params.crop_param.size, generator)
    if params.jitter_param is not None:
        images = jitter(images, params.jitter_param, generator)
    if params.camera_param is not None:
        cameras = draw_cameras(images.shape[1], params.camera_param, generator)
        images, truth, flow = move_cameras(images, truth, flow, *(_to(part, images) for part in cameras))
    if params.degrade_param is not None:
        images = degrade(images, params.degrade_param, generator)
    source, driving = images.clamp(0, 1)
    if truth is None:
        return Batch(source, driving, flow=flow)
    known = sides(truth.map(lambda t: t[:, :, :count]))
    others = sides(truth.map(lambda t: t[:, :, count:])) if truth.value.shape[2] > count else (None, None)
    return Batch(source, driving, *known, flow, *others)


def resize_and_crop(
    images: Tensor,
    truth: Keypoints | None,
    params: ResizeParams | None,
    size: tuple[int, int],
    generator: Generator,
) -> tuple[Tensor, Keypoints | None]:
    """Resizes each pair by a ratio of its own, and takes a window of ``size`` (height, width) at random.

    A frame that became smaller than the window stands in its middle, and its outer pixels are repeated. One
    bilinear look-up does both; ratios far below 1 alias. True points lie in [-1, 1] from edge to edge.
    """
    views, batch, _, *old = images.shape
    low, high = params.ratio if params else (1.0, 1.0)
    ratio = low + (high - low) * torch.rand(batch, generator=generator)
    axes, scales, shifts = [], [], []
    for old_length, length in zip(old, size, strict=True):
        resized = (old_length * ratio).int().clamp(min=1)
        slack = resized - length
        place = (torch.rand(batch, generator=generator) * (slack + 1)).int()
        offset = torch.where(slack >= 0, place, -(-slack // 2))  # of the window in the resized frame
        pixels = torch.arange(length) + offset[:, None]
        pixels = torch.minimum(pixels.clamp(min=0), resized[:, None] - 1)
        axes.append((2 * pixels + 1) / resized[:, None] - 1)  # Bxlength: centres, -1 and 1 being the edges
        scales.append(resized / length)
        shifts.append((resized - 2 * offset) / length - 1)
    y, x = (_to(axis, images) for axis in axes)
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), -1)  # BxhxwxXY
    grid = grid.expand(views, *grid.shape).flatten(0, 1)
    cropped = warp(images.flatten(0, 1), grid, align_corners=False, padding_mode="border")
    if truth is not None and truth.jacobian is not None:
        scale, shift = (_to(torch.stack(pair[::-1], -1), images)[:, None] for pair in (scales, shifts))
        truth = Keypoints(truth.value * scale + shift, truth.jacobian * scale[..., None])
    return cropped.view(*images.shape[:3], *size), truth


def jitter(images: Tensor, params: JitterParams, generator: Generator) -> Tensor:
    """Brightness, contrast, saturation and hue by factors within 1 +- the parameter (hue: turns of +-).

    Pictures with one channel have neither saturation nor hue.
    """

    def factor(spread: float) -> Tensor:
        return (1 + spread * (2 * _rand(images, generator) - 1)).clamp(min=0)

    coloured = images.shape[-3] == 3
    if params.brightness:
        images = images * factor(params.brightness)
    if params.contrast:
        mean = images.mean((-3, -2, -1), keepdim=True)
        images = torch.lerp(mean, images, factor(params.contrast))
    if params.saturation and coloured:
        images = torch.lerp(images.mean(-3, keepdim=True), images, factor(params.saturation))
    if params.hue and coloured:
        images = turn_hue(images, params.hue * (2 * _rand(images, generator) - 1))
    return images.clamp(0, 1)


def turn_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Colours ...x3xHxW rotated about the grey axis; ``turns`` ...x1x1x1, 1 is a full turn."""
    angle = 2 * torch.pi * turns[..., 0]
    cos, sin = angle.cos(), angle.sin() / 3**0.5
    same, left, right = (1 + 2 * cos) / 3, (1 - cos) / 3 - sin, (1 - cos) / 3 + sin  # Rodrigues' formula
    rows = [torch.cat(row, -1) for row in ((same, left, right), (right, same, left), (left, right, same))]
    matrix = torch.cat(rows, -2)  # ...x3x3
    return (matrix @ images.flatten(-2)).view_as(images)


def draw_cameras(batch: int, params: CameraParams, generator: Generator) -> tuple[Tensor, Tensor]:
    """Roll, zoom and shift of each frame; a share of the pairs has one camera for both frames.

    Returns 2xBx2x2 and 2xBx2: what the new picture shows at z, the old one shows at matrix @ z + shift.
    """
    angle = params.rotation * torch.randn(2, batch, generator=generator)
    low, high = params.zoom
    zoom = low + (high - low) * torch.rand(2, batch, generator=generator)
    shift = params.shift * torch.randn(2, batch, 2, generator=generator)
    shared = torch.rand(batch, generator=generator) < params.shared
    angle, zoom = (torch.where(shared, t[:1], t) for t in (angle, zoom))
    shift = torch.where(shared[:, None], shift[:1], shift)

    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    matrix = torch.stack((torch.stack((cos, -sin), -1), torch.stack((sin, cos), -1)), -2)  # 2xBx2x2
    return matrix, shift


def move_cameras(
    images: Tensor, truth: Keypoints | None, flow: Flow | None, matrix: Tensor, shift: Tensor
) -> tuple[Tensor, Keypoints | None, Flow | None]:
    """The frames seen by the cameras of ``draw_cameras``; what lies outside is mirrored."""
    theta = torch.cat((matrix, shift[..., None]), -1).flatten(0, 1)
    flat = images.flatten(0, 1)
    grid = F.affine_grid(theta, list(flat.shape), align_corners=True)
    moved = warp(flat, grid, align_corners=True, padding_mode="reflection").view_as(images)
    if flow is not None:
        flow = flow.under_cameras(matrix, shift)
    if truth is None or truth.jacobian is None:
        return moved, truth, flow
    back = inverse_2x2(matrix)[:, :, None]  # the warp looks up: points move by its inverse
    value = (back @ (truth.value - shift[:, :, None])[..., None])[..., 0]
    return moved, Keypoints(value, back @ truth.jacobian), flow


def degrade(images: Tensor, params: DegradeParams, generator: Generator) -> Tensor:
    """Details of each pair are strengthened at random, a share of the batches loses resolution, and gaussian
    noise of random strength lies over each pair.
    """
    if params.sharpen:
        images = images + params.sharpen * _rand(images, generator) * _details(images)
    if torch.rand((), generator=generator) < params.blur:
        flat = images.flatten(0, 1)
        scale = 0.4 + 0.5 * torch.rand((), generator=generator).item()
        small = F.interpolate(flat, scale_factor=scale, mode="bilinear", antialias=True, align_corners=False)
        images = F.interpolate(small, flat.shape[-2:], mode="bilinear", align_corners=False).view_as(images)
    if params.noise:
        strength = params.noise * _rand(images, generator)
        seed = int(torch.randint(2**62, (), generator=generator))
        local = Generator(images.device).manual_seed(seed)
        noise = torch.randn(images.shape, generator=local, device=images.device)
        images = torch.addcmul(images, noise, strength)
    return images


def _details(images: Tensor) -> Tensor:
    """What pictures lose in three means of 3x3 pixels, nearly a gaussian whose deviation is 1.4 pixels."""
    blurred = images.flatten(0, 1)
    for _ in range(3):
        blurred = mean_around(blurred, 3)
    return images - blurred.view_as(images)


def _rand(images: Tensor, generator: Generator) -> Tensor:
    """A number in [0, 1) for each pair of 2xBxCxHxW, on its device: 1xBx1x1x1."""
    return _to(torch.rand(1, images.shape[1], 1, 1, 1, generator=generator), images)


def _to(numbers: Tensor, images: Tensor) -> Tensor:
    """A few numbers moved to where the pictures are; the CPU does not wait until the device has them."""
    return numbers.to(images.device, non_blocking=True)


def _join(batch: Batch) -> Keypoints | None:
    """All points that are known, 2xBxPx2: the person's, then another's where those come along."""
    known = [
        Keypoints(
            torch.stack((source.value, driving.value)), torch.stack((source.jacobian, driving.jacobian))
        )
        for source, driving in (
            (batch.truth_source, batch.truth_driving),
            (batch.other_source, batch.other_driving),
        )
        if source and driving and source.jacobian is not None and driving.jacobian is not None
    ]
    return Keypoints(*(torch.cat(tensors, 2) for tensors in zip(*known, strict=True))) if known else None
