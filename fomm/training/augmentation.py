"""Random changes to a batch of pairs.

A few random numbers for each pair come from the caller's generator on the CPU, so that a seed means the same
on every device. They are moved to the device without waiting for it. Only noise, a number for each pixel, is
drawn on the device.

In this module ``images`` are 2xBxCxHxW in [0, 1]: the sources, then the driving frames.
"""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from fomm.config import AugmentationParams, CameraParams, DegradeParams, JitterParams, ResizeParams
from fomm.model import Keypoints
from fomm.model.geometry import inverse_2x2, mean_around, warp
from fomm.training.dataset import Batch, split_sides
from fomm.training.flow import Flow


def augment(batch: Batch, params: AugmentationParams, rng: Generator) -> Batch:
    """Change pictures at random, and true key points and flow with them.

    First come the published changes, alike for both frames of a pair: flip, resizing, crop, colour jitter.
    Then comes a camera for each frame, and then lower quality. True key points know left from right, so pairs
    that have them are not flipped. ``time_flip`` is not done here, but where the two frames are drawn, in
    ``fomm.training.sampler``. The same seed gives the same numbers, on a CPU bit for bit.

    Args:
        batch: the pairs.
        params: which changes, and how strong.
        rng: on the CPU.
    """
    images = torch.stack((batch.source, batch.driving))  # 2xBxCxHxW
    truth, flow = _join_points(batch), batch.flow
    count = 0 if batch.truth_source is None else batch.truth_source.value.shape[1]
    if params.flip_param is not None and params.flip_param.horizontal_flip and truth is None:
        images = torch.where(_draw_per_pair(images, rng) < 0.5, images.flip(-1), images)
    if params.crop_param is not None:
        images, truth = resize_and_crop(images, truth, params.resize_param, params.crop_param.size, rng)
    if params.jitter_param is not None:
        images = jitter(images, params.jitter_param, rng)
    if params.camera_param is not None:
        cameras = draw_cameras(images.shape[1], params.camera_param, rng)
        images, truth, flow = move_cameras(
            images, truth, flow, *(_to_device(part, images) for part in cameras)
        )
    if params.degrade_param is not None:
        images = degrade(images, params.degrade_param, rng)
    source, driving = images.clamp(0, 1)
    if truth is None:
        return Batch(source, driving, flow=flow)
    known = split_sides(truth.map(lambda t: t[:, :, :count]))
    others: tuple[Keypoints | None, Keypoints | None] = (None, None)
    if truth.value.shape[2] > count:
        others = split_sides(truth.map(lambda t: t[:, :, count:]))
    return Batch(source, driving, *known, flow, *others)


def resize_and_crop(
    images: Tensor,
    truth: Keypoints | None,
    params: ResizeParams | None,
    size: tuple[int, int],
    rng: Generator,
) -> tuple[Tensor, Keypoints | None]:
    """Resize each pair by a ratio of its own, and cut a rectangle of ``size`` (height, width) at random.

    A frame that became smaller than the rectangle stands in its middle, and its outer pixels are repeated
    around it. One bilinear look-up does both; ratios far below 1 alias.

    Args:
        images: 2xBxCxHxW.
        truth: true key points 2xBxKx2, in [-1, 1] from edge to edge.
        params: the range of the ratio; None: 1.
        size: of the result, pixels.
        rng: on the CPU.

    Returns:
        2xBxCxhxw of that size, and the key points in it.
    """
    views, batch, _, *old = images.shape
    low, high = params.ratio if params else (1.0, 1.0)
    ratio = low + (high - low) * torch.rand(batch, generator=rng)
    axes, scales, shifts = [], [], []
    for old_length, length in zip(old, size, strict=True):
        resized = (old_length * ratio).int().clamp(min=1)
        slack = resized - length
        place = (torch.rand(batch, generator=rng) * (slack + 1)).int()
        offset = torch.where(slack >= 0, place, -(-slack // 2))  # of the rectangle in the resized frame
        pixels = torch.arange(length) + offset[:, None]
        pixels = torch.minimum(pixels.clamp(min=0), resized[:, None] - 1)
        axes.append((2 * pixels + 1) / resized[:, None] - 1)  # Bxlength: centres, -1 and 1 being the edges
        scales.append(resized / length)
        shifts.append((resized - 2 * offset) / length - 1)
    y, x = (_to_device(axis, images) for axis in axes)
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), -1)  # BxhxwxXY
    grid = grid.expand(views, *grid.shape).flatten(0, 1)
    cropped = warp(images.flatten(0, 1), grid, align_corners=False, padding_mode="border")
    if truth is not None and truth.jacobian is not None:
        scale, shift = (_to_device(torch.stack(pair[::-1], -1), images)[:, None] for pair in (scales, shifts))
        truth = Keypoints(truth.value * scale + shift, truth.jacobian * scale[..., None])
    return cropped.view(*images.shape[:3], *size), truth


def jitter(images: Tensor, params: JitterParams, rng: Generator) -> Tensor:
    """Change brightness, contrast, saturation and hue, alike for both frames of a pair.

    The first three are multiplied by a factor within 1 +- the parameter; the hue is turned by +- the
    parameter, 1 being a full turn. Pictures with one channel have neither saturation nor hue.
    """

    def factor(spread: float) -> Tensor:
        return (1 + spread * (2 * _draw_per_pair(images, rng) - 1)).clamp(min=0)

    coloured = images.shape[-3] == 3
    if params.brightness:
        images = images * factor(params.brightness)
    if params.contrast:
        mean = images.mean((-3, -2, -1), keepdim=True)
        images = torch.lerp(mean, images, factor(params.contrast))
    if params.saturation and coloured:
        images = torch.lerp(images.mean(-3, keepdim=True), images, factor(params.saturation))
    if params.hue and coloured:
        images = turn_hue(images, params.hue * (2 * _draw_per_pair(images, rng) - 1))
    return images.clamp(0, 1)


def turn_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Rotate colours ...x3xHxW about the grey axis by ``turns`` (...x1x1x1), 1 being a full turn."""
    angle = 2 * torch.pi * turns[..., 0]
    cos, sin = angle.cos(), angle.sin() / 3**0.5
    same, left, right = (1 + 2 * cos) / 3, (1 - cos) / 3 - sin, (1 - cos) / 3 + sin  # Rodrigues' formula
    rows = [torch.cat(row, -1) for row in ((same, left, right), (right, same, left), (left, right, same))]
    matrix = torch.cat(rows, -2)  # ...x3x3
    return (matrix @ images.flatten(-2)).view_as(images)


def draw_cameras(batch: int, params: CameraParams, rng: Generator) -> tuple[Tensor, Tensor]:
    """Draw roll, zoom and shift of a camera for each frame; some pairs have one camera for both frames.

    What the new picture shows at z, the old one shows at matrix @ z + shift.

    Args:
        batch: B.
        params: the ranges, and the share of pairs with one camera.
        rng: on the CPU.

    Returns:
        The matrices, 2xBx2x2, and the shifts, 2xBx2.
    """
    angle = params.rotation * torch.randn(2, batch, generator=rng)
    low, high = params.zoom
    zoom = low + (high - low) * torch.rand(2, batch, generator=rng)
    shift = params.shift * torch.randn(2, batch, 2, generator=rng)
    shared = torch.rand(batch, generator=rng) < params.shared
    angle, zoom = (torch.where(shared, t[:1], t) for t in (angle, zoom))
    shift = torch.where(shared[:, None], shift[:1], shift)

    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    matrix = torch.stack((torch.stack((cos, -sin), -1), torch.stack((sin, cos), -1)), -2)  # 2xBx2x2
    return matrix, shift


def move_cameras(
    images: Tensor, truth: Keypoints | None, flow: Flow | None, matrix: Tensor, shift: Tensor
) -> tuple[Tensor, Keypoints | None, Flow | None]:
    """Show the frames as seen by other cameras; what lies outside of a frame is mirrored.

    Args:
        images: 2xBxCxHxW.
        truth: true key points 2xBxKx2, which move along.
        flow: the true motion, which changes along.
        matrix: 2xBx2x2, see ``draw_cameras``.
        shift: 2xBx2, see ``draw_cameras``.
    """
    theta = torch.cat((matrix, shift[..., None]), -1).flatten(0, 1)
    flat = images.flatten(0, 1)
    grid = F.affine_grid(theta, list(flat.shape), align_corners=True)
    moved = warp(flat, grid, align_corners=True, padding_mode="reflection").view_as(images)
    if flow is not None:
        flow = flow.move_cameras(matrix, shift)
    if truth is None or truth.jacobian is None:
        return moved, truth, flow
    back = inverse_2x2(matrix)[
        :, :, None
    ]  # a warp looks up where to take a pixel from, so points move by its inverse
    value = (back @ (truth.value - shift[:, :, None])[..., None])[..., 0]
    return moved, Keypoints(value, back @ truth.jacobian), flow


def degrade(images: Tensor, params: DegradeParams, rng: Generator) -> Tensor:
    """Sharpen details of each pair, blur some batches, and add gaussian noise, each at random strength.

    Args:
        images: 2xBxCxHxW.
        params: how strong at most, and the share of batches that is blurred.
        rng: on the CPU.
    """
    if params.sharpen:
        images = images + params.sharpen * _draw_per_pair(images, rng) * _finest_details(images)
    if torch.rand((), generator=rng) < params.blur:
        flat = images.flatten(0, 1)
        scale = 0.4 + 0.5 * torch.rand((), generator=rng).item()
        small = F.interpolate(flat, scale_factor=scale, mode="bilinear", antialias=True, align_corners=False)
        images = F.interpolate(small, flat.shape[-2:], mode="bilinear", align_corners=False).view_as(images)
    if params.noise:
        strength = params.noise * _draw_per_pair(images, rng)
        seed = int(torch.randint(2**62, (), generator=rng))
        local = Generator(images.device).manual_seed(seed)
        noise = torch.randn(images.shape, generator=local, device=images.device)
        images = torch.addcmul(images, noise, strength)
    return images


def _finest_details(images: Tensor) -> Tensor:
    """Return what pictures lose in three means of 3x3 pixels: nearly a gaussian, deviation 1.4 pixels."""
    blurred = images.flatten(0, 1)
    for _ in range(3):
        blurred = mean_around(blurred, 3)
    return images - blurred.view_as(images)


def _draw_per_pair(images: Tensor, rng: Generator) -> Tensor:
    """Draw a number in [0, 1) for each pair of 2xBxCxHxW, and move it to their device: 1xBx1x1x1."""
    return _to_device(torch.rand(1, images.shape[1], 1, 1, 1, generator=rng), images)


def _to_device(numbers: Tensor, images: Tensor) -> Tensor:
    """Move a few numbers to the device of the pictures; the CPU does not wait until they are there."""
    return numbers.to(images.device, non_blocking=True)


def _join_points(batch: Batch) -> Keypoints | None:
    """Join all true points, 2xBxPx2: those of the person, then those of another where there are any."""
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
    return known[0].map(lambda *tensors: torch.cat(tensors, 2), *known[1:]) if known else None
