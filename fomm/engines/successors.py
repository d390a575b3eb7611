"""MRAA and TPSMM for inference: what the source alone decides is computed once, and norms are folded.

Only TPSMM's painter and motion network keep theirs: instance norms, which no convolution can take in.
"""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fomm.engines.fused import Bottleneck, Convolution, Down, FusedHourglass, Same, Up, fold_norm, is_eager
from fomm.engines.inference import (
    NO_POINTS,
    EncodedSource,
    Final,
    InferenceNetworks,
    Networks,
    Rendered,
    copy_downsampling,
    join_outputs,
    sample_rows,
)
from fomm.errors import InputError
from fomm.model import Detector, Generator, Keypoints, KPDetector, OcclusionAwareGenerator
from fomm.model.blocks import run_all
from fomm.model.geometry import resize_deformation, resize_maps, warp_all
from fomm.successors import (
    ArticulatedDetector,
    ArticulatedGenerator,
    ThinPlateDetector,
    ThinPlateGenerator,
)
from fomm.successors.mraa import (
    ArticulatedPainter,
    PixelwiseFlowPredictor,
    RegionPredictor,
    blend,
    climb,
    find_regions,
    region_heatmaps,
    region_motions,
)
from fomm.successors.resnet import BasicBlock, ResNet18
from fomm.successors.tpsmm import match_maps, resize_between_corners, spread_points


def for_inference(
    generator: Generator, kp_detector: Detector, dtype: torch.dtype = torch.float32
) -> Networks:
    """Return the networks of any model for inference alone, with the weights that they have now.

    Args:
        generator, kp_detector: of one model, on one device. They stay as they are.
        dtype: see ``InferenceNetworks``.

    Raises:
        InputError: they are not of one model.
    """
    if isinstance(generator, OcclusionAwareGenerator) and isinstance(kp_detector, KPDetector):
        return InferenceNetworks(generator, kp_detector, dtype)
    if isinstance(generator, ThinPlateGenerator) and isinstance(kp_detector, ThinPlateDetector):
        return ThinPlateNetworks(generator, kp_detector, dtype)
    if isinstance(generator, ArticulatedGenerator) and isinstance(kp_detector, ArticulatedDetector):
        return ArticulatedNetworks(generator, kp_detector, dtype)
    raise InputError(
        f"a {type(generator).__name__} does not go with a {type(kp_detector).__name__}; "
        "take both from one load_checkpoints"
    )


class ThinPlateNetworks(Networks):
    """A Thin-Plate-Spline Motion Model; ``dtype`` is of the convolutions of motion and painter."""

    def __init__(
        self, generator: ThinPlateGenerator, kp_detector: ThinPlateDetector, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.detector = _FusedResNet(kp_detector.kp_detector.fg_encoder)
        self.motion = copy.deepcopy(generator.dense_motion_network)
        self.shrink = copy_downsampling(generator.dense_motion_network.down)
        self.motion.down = None  # ``shrink`` is used, which stays in float32
        self.painter = copy.deepcopy(generator.inpainting_network)
        for network in (self.motion, self.painter):
            network.to(dtype)
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.dtype, self.num_channels = dtype, generator.inpainting_network.first.conv.in_channels
        self.num_skips = len(self.painter.down_blocks) + 1
        self.eval().requires_grad_(False)

    def detect(self, images: Tensor) -> Keypoints:
        """Find the key points of BxCxHxW in [0, 1]."""
        return spread_points(self.detector(images.contiguous(memory_format=torch.channels_last)))

    def encode_picture(self, picture: Tensor) -> EncodedSource:
        """Do as ``Networks.encode_picture``."""
        levels = [picture, *self.painter.encode(picture.to(self.dtype))]
        features, *skips = (_rows(level) for level in levels[::-1])
        return EncodedSource(features, self.shrink(picture), NO_POINTS, skips=tuple(skips))

    def render(self, source: EncodedSource, kp_driving: Keypoints) -> Rendered:
        """Do as ``Networks.render``."""
        motion = self.motion.estimate(source.small, source.keypoints, kp_driving)
        levels = [source.features, *source.skips]
        masks = match_maps(motion.occlusion_maps, levels[::-1])

        def paint(frames: slice) -> Tensor:
            grids = motion.deformation[frames].permute(0, 3, 1, 2)
            moved = [
                _sample(level, _last(resize_between_corners(grids, level.shape[2:])), mask[frames], True)
                for level, mask in zip(levels, [*masks, masks[-1]], strict=True)
            ]
            return self.painter.paint(moved, masks[-1][frames])

        painted = _one_by_one(paint, motion.deformation)
        return Rendered(painted, motion.deformation, motion.occlusion_maps[-1])


class ArticulatedNetworks(Networks):
    """An Articulated Animation model; ``dtype`` is of the convolutions of motion and painter."""

    def __init__(
        self, generator: ArticulatedGenerator, kp_detector: ArticulatedDetector, dtype: torch.dtype
    ) -> None:
        super().__init__()
        painter = generator.generator
        self.detector = _FusedRegions(kp_detector.region_predictor)
        self.encoder = nn.ModuleList([Same(painter.first, dtype)])
        self.encoder.extend(Down(block, dtype) for block in painter.down_blocks)  # type: ignore[arg-type]
        self.motion = _FusedFlow(painter.pixelwise_flow_predictor, dtype)
        self.decoder = _FusedPainter(painter, dtype)
        self.dtype, self.num_channels = dtype, painter.first.conv.in_channels
        self.num_skips = len(painter.down_blocks) + 1 if painter.skips else 0
        self.eval().requires_grad_(False)

    def detect(self, images: Tensor) -> Keypoints:
        """Find the regions of BxCxHxW in [0, 1]."""
        return self.detector(images)

    def encode_picture(self, picture: Tensor) -> EncodedSource:
        """Do as ``Networks.encode_picture``."""
        levels = [picture, *run_all(self.encoder, picture.to(self.dtype))[1:]]
        features, *skips = (_rows(level) for level in levels[::-1])
        small = self.motion.shrink(picture)
        return EncodedSource(features, small, NO_POINTS, skips=tuple(skips[: self.num_skips]))

    def render(self, source: EncodedSource, kp_driving: Keypoints) -> Rendered:
        """Do as ``Networks.render``."""
        flow, occlusion = self.motion(source.small, source.keypoints, kp_driving)
        levels = [source.features, *source.skips]

        def paint(frames: slice) -> Tensor:
            mask = occlusion[frames]
            moved = []
            for level in levels:
                size = level.shape[2:]
                grid = resize_deformation(flow[frames], size)
                moved.append(_sample(level, grid, resize_maps(mask, size), False))
            return self.decoder(moved, mask)

        return Rendered(_one_by_one(paint, flow), flow, occlusion)


class _FusedResNet(nn.Module):
    """``ResNet18``, its norms folded into its convolutions."""

    def __init__(self, network: ResNet18) -> None:
        super().__init__()
        self.first = _fold(network.conv1, network.bn1, relu=True)
        self.blocks = nn.Sequential(*(_FusedBlock(block) for block in network.blocks()))
        self.fc = copy.deepcopy(network.fc)

    def forward(self, x: Tensor) -> Tensor:
        out = F.max_pool2d(self.first(x), 3, stride=2, padding=1)
        return self.fc(self.blocks(out).mean(dim=(2, 3)))


class _FusedBlock(nn.Module):
    """``BasicBlock``, its norms folded into its convolutions."""

    def __init__(self, block: BasicBlock) -> None:
        super().__init__()
        self.conv1 = _fold(block.conv1, block.bn1, relu=True)
        self.conv2 = _fold(block.conv2, block.bn2)
        self.shortcut: nn.Module = nn.Identity()
        if block.downsample is not None:
            conv, norm = block.downsample
            self.shortcut = _fold(conv, norm)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(self.conv1(x)) + self.shortcut(x))


def _fold(conv: nn.Module, norm: nn.Module, *, relu: bool = False) -> Convolution:
    assert isinstance(conv, nn.Conv2d)
    padding, stride = int(conv.padding[0]), int(conv.stride[0])
    return Convolution(*fold_norm(conv, norm), torch.float32, padding=padding, stride=stride, relu=relu)


class _FusedRegions(nn.Module):
    """``RegionPredictor``, with one convolution for both heads."""

    def __init__(self, predictor: RegionPredictor) -> None:
        super().__init__()
        self.down = copy_downsampling(predictor.down)
        self.predictor = FusedHourglass(predictor.predictor, torch.float32)
        self.temperature, self.num_regions = predictor.temperature, len(predictor.regions.weight)
        self.with_axes = predictor.jacobian is not None
        heads = join_outputs(predictor.regions, predictor.jacobian)
        self.heads = Convolution(*heads, torch.float32, padding=int(predictor.regions.padding[0]))

    def forward(self, image: Tensor) -> Keypoints:
        image = image.contiguous(memory_format=torch.channels_last)
        maps = self.heads(self.predictor(self.down(image)))
        axes = maps[:, self.num_regions :] if self.with_axes else None
        return find_regions(maps[:, : self.num_regions], axes, self.temperature).keypoints


class _FusedFlow(nn.Module):
    """``PixelwiseFlowPredictor``, with one convolution for both heads."""

    def __init__(self, network: PixelwiseFlowPredictor, dtype: torch.dtype) -> None:
        super().__init__()
        self.shrink = copy_downsampling(network.down)
        self.hourglass = FusedHourglass(network.hourglass, dtype)
        self.use_covariance, self.dtype = network.use_covar_heatmap, dtype
        self.heads = Convolution(*join_outputs(network.mask, network.occlusion), dtype, padding=3)

    def forward(self, small: Tensor, kp_source: Keypoints, kp_driving: Keypoints) -> tuple[Tensor, Tensor]:
        """Estimate the flow Bxhxwx2, xy in [-1, 1], and the occlusion map Bx1xhxw in [0, 1]."""
        height, width = small.shape[2:]
        motions = region_motions(kp_source, kp_driving, height, width)
        deformed = warp_all(small, motions, align_corners=False)
        heat = region_heatmaps(kp_source, kp_driving, height, width, use_covariance=self.use_covariance)
        maps = torch.cat((heat[:, :, None], deformed), 2).flatten(1, 2)
        heads = self.heads(self.hourglass(maps.to(self.dtype, memory_format=torch.channels_last))).float()
        shares = F.softmax(heads[:, :-1], 1)
        return (motions * shares[..., None]).sum(1), torch.sigmoid(heads[:, -1:])


class _FusedPainter(nn.Module):
    """``ArticulatedPainter.paint``."""

    def __init__(self, painter: ArticulatedPainter, dtype: torch.dtype) -> None:
        super().__init__()
        self.skips, self.dtype = painter.skips, dtype
        self.bottleneck = Bottleneck(painter.bottleneck, dtype)  # type: ignore[arg-type]
        self.up_blocks = nn.ModuleList(Up(block, dtype) for block in painter.up_blocks)  # type: ignore[arg-type]
        self.final = Final(painter.final, dtype, even=len(self.up_blocks) > 0)

    def forward(self, moved: list[Tensor], occlusion: Tensor) -> Tensor:
        features = moved[: len(self.up_blocks) + 1]  # without the picture itself
        features = [each.to(self.dtype, memory_format=torch.channels_last) for each in features]
        mask = occlusion.to(self.dtype) if self.skips else None
        painted = self.final(climb(self.bottleneck, self.up_blocks, features, mask))
        return blend(painted, moved[-1], occlusion) if self.skips else painted


def _one_by_one(paint: Callable[[slice], Tensor], deformation: Tensor) -> Tensor:
    """Paint frames one after the other on a CPU, where the features of one picture just fit in the cache."""
    if is_eager() and deformation.device.type == "cpu":
        return torch.cat([paint(slice(number, number + 1)) for number in range(len(deformation))])
    return paint(slice(None))


def _sample(features: Tensor, grid: Tensor, mask: Tensor, align_corners: bool) -> Tensor:
    """Warp 1xFxhxw by Bxhxwx2 and multiply it by Bx1xhxw."""
    if is_eager() and features.device.type == "cpu":
        return sample_rows(features, grid, mask, align_corners=align_corners)
    return warp_all(features, grid[:, None], align_corners=align_corners)[:, 0] * mask


def _rows(level: Tensor) -> Tensor:
    """Return features in float32, channels-last, as ``sample_rows`` reads them."""
    return level.float().contiguous(memory_format=torch.channels_last)


def _last(maps: Tensor) -> Tensor:
    return maps.permute(0, 2, 3, 1)
