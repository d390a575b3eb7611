"""The trained networks rewritten for inference: the same numbers, in a fraction of the time.

    networks = InferenceNetworks(generator, kp_detector)
    source = networks.encode(picture)
    for frames in driving:
        result = networks.render(source, networks.detect(frames)).prediction

Batch norms are folded into convolutions, and convolutions of doubled pixels run on the pixels themselves. The
bottleneck goes by Winograd's filtering where that is faster. What the source alone decides is computed once.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fomm.engines.fused import (
    Bottleneck,
    Convolution,
    Down,
    FusedHourglass,
    Same,
    Up,
    fold_norm,
    is_eager,
)
from fomm.model.base import Keypoints, Openings
from fomm.model.blocks import AntiAliasInterpolation2d
from fomm.model.dense_motion import (
    DenseMotionNetwork,
    heatmap_differences,
    meet_face,
    sparse_motions,
)
from fomm.model.generator import OcclusionAwareGenerator, add_details
from fomm.model.geometry import (
    coordinate_grid,
    finest_details,
    resize_deformation,
    resize_maps,
    warp,
    warp_all,
)
from fomm.model.keypoints import KPDetector


class EncodedSource(NamedTuple):
    """All that one source picture decides, encoded once and rendered many times."""

    features: Tensor  # 1xFxhxw, float32: what the decoder warps
    small: Tensor  # 1xCxh'xw' in [0, 1]: the picture at the motion network's size
    keypoints: Keypoints
    details: Tensor | None = None  # 1xCxHxW: the finest details that are moved at full size, if any
    # 1xhxw in [0, 1]: how much of its motion each place makes. With it the flow is made exact on the face, if
    # key points are labelled, see ``meet_face``. None: the network's flow
    freedom: Tensor | None = None
    # of models that blend the source in: the features of its other levels, the smaller first, and itself
    skips: tuple[Tensor, ...] = ()


NO_POINTS = Keypoints(torch.empty(0))  # of a source whose key points are not detected yet


class Rendered(NamedTuple):
    """B frames of the moved source, as painted."""

    prediction: Tensor  # BxCxHxW float32 in [0, 1]
    deformation: Tensor  # Bxhxwx2: where in the source each pixel comes from, xy in [-1, 1]
    occlusion_map: Tensor | None = None  # Bx1xhxw in [0, 1]: 1 where the source shows it

    def frame(self, index: int) -> "Rendered":
        """Return one of the frames, as a batch of one."""
        here = slice(index, index + 1)
        shown = None if self.occlusion_map is None else self.occlusion_map[here]
        return Rendered(self.prediction[here], self.deformation[here], shown)


class Networks(nn.Module):
    """What every model gives for inference.

    Attributes:
        num_channels: of pictures.
        num_skips: how many ``skips`` an encoded source has.
        with_details: whether it has ``details``.
        with_occlusion: whether what is rendered has an occlusion map.
    """

    num_channels: int
    num_skips = 0
    with_details = False
    with_occlusion = True

    def detect(self, images: Tensor) -> Keypoints:
        """Find the key points of BxCxHxW in [0, 1]."""
        raise NotImplementedError

    def encode_picture(self, picture: Tensor) -> EncodedSource:
        """Compute all that 1xCxHxW in [0, 1] decides, but for the key points, which have no values yet."""
        raise NotImplementedError

    def encode(self, picture: Tensor) -> EncodedSource:
        """Compute all that the source decides, of 1xCxHxW in [0, 1]; once for each source."""
        picture = picture.contiguous(memory_format=torch.channels_last)
        return self.encode_picture(picture)._replace(keypoints=self.detect(picture))

    def render(self, source: EncodedSource, kp_driving: Keypoints) -> Rendered:
        """Paint the source, moved to the key points of B frames."""
        raise NotImplementedError

    def unpack(self, tensors: Sequence[Tensor]) -> tuple[EncodedSource, Keypoints]:
        """Undo ``pack_inputs``."""
        features, small, *rest = tensors
        skips, rest = tuple(rest[: self.num_skips]), rest[self.num_skips :]
        details = rest.pop(0) if self.with_details else None
        freedom = rest.pop(0) if len(rest) % 2 else None  # key points come in pairs
        half = len(rest) // 2
        source = EncodedSource(features, small, Keypoints(*rest[:half]), details, freedom, skips)
        return source, Keypoints(*rest[half:])


class InferenceNetworks(Networks):
    """A generator and a key-point detector for inference alone, with the weights that they have now.

    Args:
        generator, kp_detector: on one device. They stay as they are, and later changes of their weights have
            no effect here.
        dtype: of the generator's convolutions. Key points and the coordinates of pixels stay in float32: in
            16 bits they would be too coarse.
    """

    def __init__(
        self,
        generator: OcclusionAwareGenerator,
        kp_detector: KPDetector,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.detector = _FusedDetector(kp_detector)
        self.encoder = nn.Sequential(
            Same(generator.first, dtype),
            *(Down(block, dtype) for block in generator.down_blocks),  # type: ignore[arg-type]
        )
        self.motion = _FusedMotion(generator.dense_motion_network, kp_detector.openings, dtype)
        self.decoder = _FusedDecoder(generator, dtype)
        self.dtype, self.num_channels = dtype, generator.first.conv.in_channels
        self.share_of_details, self.with_details = generator.details, generator.details > 0
        self.with_occlusion = self.motion.with_occlusion
        self.eval().requires_grad_(False)

    def detect(self, images: Tensor) -> Keypoints:
        """Find the key points of BxCxHxW in [0, 1]."""
        return self.detector(images)

    def encode_picture(self, picture: Tensor) -> EncodedSource:
        """Compute all that 1xCxHxW in [0, 1] decides, but for the key points, which have no values yet."""
        features = self.encoder(picture.to(self.dtype)).float()
        details = self.share_of_details * finest_details(picture) if self.with_details else None
        return EncodedSource(features, self.motion.shrink(picture), NO_POINTS, details)

    def render(self, source: EncodedSource, kp_driving: Keypoints) -> Rendered:
        """Paint the source, moved to the key points of B frames."""
        motion = self.motion(source.small, source.keypoints, kp_driving, source.freedom)
        return finish_frames(self.decoder(source.features, *motion), source, *motion)


def finish_frames(
    painted: Tensor, source: EncodedSource, deformation: Tensor, occlusion_map: Tensor | None
) -> Rendered:
    """Add the source's details, if any, to what the decoder has painted."""
    if source.details is not None:
        painted = add_details(painted, source.details, deformation, occlusion_map)
    return Rendered(painted, deformation, occlusion_map)


def full_freedom(source: EncodedSource) -> Tensor:
    """Return the ``freedom`` with which every place makes all of its motion, 1xhxw."""
    return torch.ones_like(source.small[:, 0])


def pack_inputs(source: EncodedSource, kp_driving: Keypoints) -> list[Tensor]:
    """List the tensors that ``render`` takes.

    They are features, small, skips, details, freedom, and the key points of the source and of driving frames.

    Those that are None are left out. Jacobians are left out too unless both key points have them, because
    ``render`` uses them only together.
    """
    pairs = zip(source.keypoints, kp_driving, strict=True)
    points = [(one, other) for one, other in pairs if one is not None and other is not None]
    tensors = [source.features, source.small, *source.skips, *drop_none((source.details, source.freedom))]
    return tensors + [one for one, _ in points] + [other for _, other in points]


def drop_none(tensors: Iterable[Tensor | None]) -> list[Tensor]:
    """List the tensors that are there, as a recorded pass or a graph gives them."""
    return [tensor for tensor in tensors if tensor is not None]


class _FusedDetector(nn.Module):
    """``KPDetector``, with one convolution for both heads."""

    grid: Tensor

    def __init__(self, detector: KPDetector) -> None:
        super().__init__()
        self.down = copy_downsampling(detector.down)
        self.predictor = FusedHourglass(detector.predictor, torch.float32)
        self.temperature = detector.temperature
        self.num_kp = len(detector.kp.weight)
        self.with_jacobian = detector.jacobian is not None
        heads = join_outputs(detector.kp, detector.jacobian)
        self.heads = Convolution(*heads, torch.float32, padding=int(detector.kp.padding[0]))

    def forward(self, image: Tensor) -> Keypoints:
        image = image.contiguous(memory_format=torch.channels_last)
        maps = self.heads(self.predictor(self.down(image)))
        logits = maps[:, : self.num_kp]
        heat = F.softmax(logits.flatten(2) / self.temperature, dim=-1)  # BxKxhw
        grid = coordinate_grid(logits.shape[2], logits.shape[3], heat).flatten(0, 1)
        value = (heat[..., None] * grid).sum(dim=2)  # BxKx2
        if not self.with_jacobian:
            return Keypoints(value)
        jacobian = maps[:, self.num_kp :].flatten(2).unflatten(1, (-1, 4))  # Bx(K or 1)x4xhw
        return Keypoints(value, (heat[:, :, None] * jacobian).sum(dim=3).unflatten(-1, (2, 2)))


class _FusedMotion(nn.Module):
    """``DenseMotionNetwork``, with all warps as one and one convolution for both heads."""

    def __init__(self, network: DenseMotionNetwork, openings: Openings | None, dtype: torch.dtype) -> None:
        super().__init__()
        self.shrink = copy_downsampling(network.down)
        self.hourglass = FusedHourglass(network.hourglass, dtype)
        self.kp_variance, self.align_corners, self.dtype = network.kp_variance, network.align_corners, dtype
        self.num_motions = len(network.mask.weight)
        self.labels = None if openings is None else openings.labels
        self.with_occlusion = network.occlusion is not None
        self.heads = Convolution(*join_outputs(network.mask, network.occlusion), dtype, padding=3)

    def forward(
        self, small: Tensor, kp_source: Keypoints, kp_driving: Keypoints, freedom: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Estimate the deformation Bxhxwx2, xy in [-1, 1], and the occlusion map Bx1xhxw in [0, 1].

        ``freedom``: see ``EncodedSource``.
        """
        height, width = small.shape[2:]
        motions = sparse_motions(kp_source, kp_driving, height, width)  # Bx(K+1)xhxwx2
        deformed = warp_all(small, motions, align_corners=self.align_corners)  # Bx(K+1)xCxhxw
        heat = heatmap_differences(kp_source, kp_driving, height, width, self.kp_variance)
        maps = torch.cat((heat[:, :, None], deformed), dim=2).flatten(1, 2)
        maps = maps.to(self.dtype, memory_format=torch.channels_last)
        heads = self.heads(self.hourglass(maps)).float()
        mask = F.softmax(heads[:, : self.num_motions], dim=1)
        deformation = (motions * mask[..., None]).sum(dim=1)  # equation 7
        occlusion = torch.sigmoid(heads[:, self.num_motions :]) if self.with_occlusion else None
        if freedom is None:
            return deformation, occlusion
        if self.labels is not None:
            deformation = meet_face(deformation, kp_source, kp_driving, self.labels)
        still = coordinate_grid(height, width, deformation)
        deformation = still + freedom[..., None] * (deformation - still)
        # what does not move is not hidden either
        return deformation, None if occlusion is None else 1 - freedom[:, None] * (1 - occlusion)


class _FusedDecoder(nn.Module):
    """``OcclusionAwareGenerator.decode``, without the details."""

    def __init__(self, generator: OcclusionAwareGenerator, dtype: torch.dtype) -> None:
        super().__init__()
        self.align_corners, self.bicubic, self.dtype = generator.align_corners, generator.bicubic, dtype
        self.bottleneck = Bottleneck(generator.bottleneck, dtype)  # type: ignore[arg-type]
        self.up_blocks = nn.Sequential(
            *(Up(block, dtype) for block in generator.up_blocks)  # type: ignore[arg-type]
        )
        self.final = Final(generator.final, dtype, even=len(self.up_blocks) > 0)

    def forward(self, features: Tensor, deformation: Tensor, occlusion: Tensor | None) -> Tensor:
        moved = self.move(features, deformation, occlusion)
        if is_eager() and moved.device.type == "cpu":
            # one after the other: the features of one picture just fit in the cache
            return torch.cat([self.paint(picture) for picture in moved.split(1)])
        return self.paint(moved)

    def move(self, features: Tensor, deformation: Tensor, occlusion: Tensor | None) -> Tensor:
        """Warp and mask the source's features, 1xFxhxw, for B frames: BxFxhxw."""
        size = features.shape[2:]
        deformation = resize_deformation(deformation, size)
        occlusion = None if occlusion is None else resize_maps(occlusion, size)
        if is_eager() and features.device.type == "cpu":
            rows = features.to(self.dtype)
            return sample_rows(
                rows, deformation, occlusion, align_corners=self.align_corners, bicubic=self.bicubic
            )
        copies = features.expand(deformation.shape[0], -1, -1, -1)
        out = warp(copies, deformation, align_corners=self.align_corners, bicubic=self.bicubic)
        return out if occlusion is None else out * occlusion

    def paint(self, moved: Tensor) -> Tensor:
        """Paint features BxFxhxw as pictures BxCxHxW, float32 in [0, 1]."""
        moved = moved.to(self.dtype, memory_format=torch.channels_last)
        return self.final(self.up_blocks(self.bottleneck(moved)))


class Final(nn.Module):
    """The last convolution and its sigmoid: BxFxHxW to pictures BxCxHxW, float32 in [0, 1].

    Args:
        conv: 7x7.
        dtype: that it computes in.
        even: whether H and W are even, so that four pixels can be computed as one.
    """

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype, *, even: bool) -> None:
        super().__init__()
        weight, bias = fold_norm(conv)
        # oneDNN's bfloat16 convolution for AMX computes wrong numbers where an 8x8 kernel, the widened one,
        # meets 8 or 12 input channels
        narrow = dtype == torch.bfloat16 and weight.shape[1] < 16
        self.step = 2 if even and not narrow else 1
        self.conv = Convolution(*_widen(weight, bias, self.step), dtype, padding=3, stride=self.step)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(F.pixel_shuffle(self.conv(x), self.step).float())


def sample_rows(
    features: Tensor, grid: Tensor, factor: Tensor | None, *, align_corners: bool, bicubic: bool = False
) -> Tensor:
    """Do as ``warp`` of one picture, times ``factor``, on a CPU: each output pixel is a sum of 4 rows, or 16.

    The channels of a pixel lie together in memory, as a row. So a sampled pixel is a weighted sum of the rows
    of the pixels around it, which ``embedding_bag`` computes.

    Args:
        features: 1xCxHxW, channels-last, of any dtype.
        grid: BxhxwxXY float32 in [-1, 1]; points outside give zero.
        factor: Bx1xhxw; None: 1.
        align_corners, bicubic: as in ``warp``.

    Returns:
        BxCxhxw, channels-last, of the features' dtype.
    """
    height, width = features.shape[2:]
    size = grid.new_tensor([width, height])
    reach = 2 if bicubic else 1
    # in pixels; points further outside than ``reach`` are zero too, and are moved to there
    place = (grid + 1) * ((size - 1) / 2) if align_corners else ((grid + 1) * size - 1) / 2
    place = torch.minimum(place, size + (reach - 1)).clamp_min_(-reach)
    first = place.floor()
    share = place - first
    near = torch.stack([first + step for step in range(1 - reach, 1 + reach)])  # 2 or 4, xBxhxwx2
    shares = torch.stack(_cubic_weights(share) if bicubic else (1 - share, share))
    shares = shares * ((near >= 0) & (near < size))
    near = torch.minimum(near.clamp_min_(0), size - 1).int()
    rows = near[:, None, ..., 1] * width + near[None, ..., 0]  # 2x2xBxhxw or 4x4x..., y before x
    weights = shares[:, None, ..., 1] * shares[None, ..., 0]
    if factor is not None:
        weights = weights * factor[:, 0]
    count = len(near) ** 2
    sums = F.embedding_bag(
        rows.flatten(0, 1).permute(1, 2, 3, 0).reshape(-1, count),
        features.permute(0, 2, 3, 1).flatten(0, 2),
        per_sample_weights=weights.to(features.dtype).flatten(0, 1).permute(1, 2, 3, 0).reshape(-1, count),
        mode="sum",
    )
    return sums.view(*grid.shape[:3], -1).permute(0, 3, 1, 2)


def _cubic_weights(share: Tensor) -> list[Tensor]:
    """Return Keys' weights of the four pixels around a place, ``share`` of a pixel behind the second."""
    a = -0.75  # as in PyTorch

    def near(t: Tensor) -> Tensor:
        return ((a + 2) * t - (a + 3)) * t * t + 1

    def far(t: Tensor) -> Tensor:
        return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a

    return [far(1 + share), near(share), near(1 - share), far(2 - share)]


def join_outputs(*convolutions: nn.Conv2d | None) -> tuple[Tensor, Tensor]:
    """Return weight and bias of one convolution that gives the outputs of all that are there."""
    folded = [fold_norm(conv) for conv in convolutions if conv is not None]
    return torch.cat([weight for weight, _ in folded]), torch.cat([bias for _, bias in folded])


def copy_downsampling(down: AntiAliasInterpolation2d | None) -> nn.Module:
    """Copy what shrinks the picture; None leaves it as it is."""
    if down is None:
        return nn.Identity()
    weight = down.weight.detach().clone()
    copy = AntiAliasInterpolation2d(len(weight), down.scale)
    copy.weight = weight
    return copy


def _widen(weight: Tensor, bias: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """Widen a convolution to one of stride ``step`` that gives step x step neighbouring pixels as channels.

    A convolution to three channels leaves most lanes of the processor's vectors empty; this one fills them.
    """
    outputs, inputs, kernel, _ = weight.shape
    wide = weight.new_zeros(outputs, step, step, inputs, kernel + step - 1, kernel + step - 1)
    for row in range(step):
        for column in range(step):
            wide[:, row, column, :, row : row + kernel, column : column + kernel] = weight
    return wide.flatten(0, 2), bias.repeat_interleave(step**2)
