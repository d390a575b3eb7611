"""The settings of the models that came after, MRAA and TPSMM, under their published names.

Of a published YAML file, what says how the networks are built and the size of pictures is read and checked.
What says how they were trained is passed over: fomm does not train them.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fomm.config.reading import parse, read_yaml
from fomm.config.schema import Config, _between, _count, config_from_dict, find_config
from fomm.errors import ConfigError

_ELSEWHERE = (  # sections about training and scoring
    *("train_params", "train_avd_params", "reconstruction_params"),
    *("animate_params", "visualizer_params"),
)
_DATA = ("root_dir", "id_sampling", "pairs_list", "augmentation_params")
_SIDES = (256, 384)  # of the published models; their configurations tell theirs in the file's name alone


@dataclass(frozen=True)
class PictureParams:
    """Of the pictures."""

    frame_shape: tuple[int, int, int] | None = _between(1, 8192, default=None)  # height, width, channels


@dataclass(frozen=True)
class AVDParams:
    """The network for animation via disentanglement."""

    id_bottle_size: int = _count(65536)  # numbers that describe an identity
    pose_bottle_size: int = _count(65536)


@dataclass(frozen=True)
class ThinPlateCommonParams:
    """What all networks of TPSMM share."""

    num_tps: int = _count(1024)  # splines, of five key points each
    num_channels: int = _count(64)  # of an image
    bg: bool = False  # whether the background's motion was trained; the file's tensors decide
    multi_mask: bool = True  # an occlusion map for each level of the painter


@dataclass(frozen=True)
class InpaintingParams:
    """TPSMM's painter."""

    block_expansion: int = _count(4096)
    max_features: int = _count(65536)
    num_down_blocks: int = _between(1, 12)


@dataclass(frozen=True)
class ThinPlateMotionParams:
    """TPSMM's motion network."""

    block_expansion: int = _count(4096)
    max_features: int = _count(65536)
    num_blocks: int = _count(12)
    scale_factor: float = _between(1 / 64, 1, default=1)  # a power of 1/2


@dataclass(frozen=True)
class ThinPlateParams:
    """All networks of TPSMM."""

    common_params: ThinPlateCommonParams
    generator_params: InpaintingParams
    dense_motion_params: ThinPlateMotionParams
    avd_network_params: AVDParams = AVDParams(128, 128)


@dataclass(frozen=True)
class ThinPlateConfig:
    """How the networks of a Thin-Plate-Spline Motion Model are built."""

    model_params: ThinPlateParams
    dataset_params: PictureParams = PictureParams()


@dataclass(frozen=True)
class BackgroundParams:
    """MRAA's predictor of the background."""

    block_expansion: int = _count(4096)
    max_features: int = _count(65536)
    num_blocks: int = _count(12)
    bg_type: str = "affine"  # zero, shift, affine or perspective


@dataclass(frozen=True)
class RegionPredictorParams:
    """MRAA's region predictor."""

    block_expansion: int = _count(4096)
    max_features: int = _count(65536)
    num_blocks: int = _count(12)
    temperature: float = _between(1e-6, 1e6)  # of the softmax over a map; smaller is sharper
    scale_factor: float = _between(1 / 64, 1, default=1)
    pca_based: bool = True  # axes are the principal ones of each region
    pad: int = _between(0, 3, default=3)  # of the 7x7 heads
    fast_svd: bool = False  # how the published code computes the axes; not how they are


@dataclass(frozen=True)
class FlowParams:
    """MRAA's motion network."""

    block_expansion: int = _count(4096)
    max_features: int = _count(65536)
    num_blocks: int = _count(12)
    scale_factor: float = _between(1 / 64, 1, default=1)
    use_covar_heatmap: bool = True  # regions are drawn with their covariances, else as circles
    use_deformed_source: bool = True  # true alone is known here
    estimate_occlusion_map: bool = True  # true alone is known here


@dataclass(frozen=True)
class ArticulatedPainterParams:
    """MRAA's painter."""

    block_expansion: int = _count(4096)
    max_features: int = _count(65536)
    num_down_blocks: int = _between(0, 12)
    num_bottleneck_blocks: int = _between(0, 256)
    pixelwise_flow_predictor_params: FlowParams = field(kw_only=True)
    skips: bool = True  # every level of the source is blended in, and the source itself


@dataclass(frozen=True)
class ArticulatedParams:
    """All networks of MRAA."""

    num_regions: int = _count(1024)
    num_channels: int = _count(64)
    region_predictor_params: RegionPredictorParams = field(kw_only=True)
    generator_params: ArticulatedPainterParams = field(kw_only=True)
    estimate_affine: bool = True  # true alone is known here
    revert_axis_swap: bool = True  # the published animation takes true whatever stands here, and so does fomm
    bg_predictor_params: BackgroundParams | None = None
    avd_network_params: AVDParams = AVDParams(64, 64)


@dataclass(frozen=True)
class ArticulatedConfig:
    """How the networks of an Articulated Animation model are built."""

    model_params: ArticulatedParams
    dataset_params: PictureParams = PictureParams()


AnyConfig = Config | ThinPlateConfig | ArticulatedConfig


def load_any_config(path_or_name: str | os.PathLike[str]) -> AnyConfig:
    """Read the configuration of a model of any kind, as ``load_config`` does; its names tell which.

    Where a successor's ``frame_shape`` is null, as in all published files, pictures are 256x256, or 384x384
    for a file whose name ends in 384, as the published names do. Raises ConfigError.
    """
    path = find_config(path_or_name)
    config = any_config_from_dict(read_yaml(path), str(path))
    side = re.search(r"(\d+)$", path.stem)
    return with_size(config, int(side[1]) if side and int(side[1]) in _SIDES else _SIDES[0])


def any_config_from_dict(data: Mapping[str, Any], where: str) -> AnyConfig:
    """Return the configuration of a model of any kind from nested dicts. Raises ConfigError."""
    model = data.get("model_params")
    common = model.get("common_params") if isinstance(model, Mapping) else None
    if isinstance(common, Mapping) and "num_tps" in common:
        return thin_plate_config(_drop_training(data), where)
    if isinstance(model, Mapping) and "num_regions" in model:
        return articulated_config(_drop_training(data), where)
    return config_from_dict(data, where)


def with_size(config: AnyConfig, side: int) -> AnyConfig:
    """Return the configuration, with squares of ``side`` pixels where a successor's says no size."""
    if isinstance(config, Config) or config.dataset_params.frame_shape is not None:
        return config
    if isinstance(config, ThinPlateConfig):
        channels = config.model_params.common_params.num_channels
    else:
        channels = config.model_params.num_channels
    return replace(config, dataset_params=PictureParams((side, side, channels)))


def thin_plate_config(data: Mapping[str, Any], where: str) -> ThinPlateConfig:
    """Return the settings of a TPSMM model from nested dicts. Raises ConfigError."""
    config = parse(ThinPlateConfig, data, where)
    model = config.model_params
    _check_channels(config.dataset_params, model.common_params.num_channels, where)
    halvings = round(1 / model.dense_motion_params.scale_factor).bit_length() - 1
    if model.dense_motion_params.scale_factor != 1 / 2**halvings:
        raise ConfigError(
            f"{where}: model_params.dense_motion_params.scale_factor is "
            f"{model.dense_motion_params.scale_factor}; expected 1, 0.5, 0.25 or the like"
        )
    levels = model.generator_params.num_down_blocks + 1
    coarse = levels - 1 - halvings  # maps that come from below the hourglass's last level
    if model.common_params.multi_mask and not 0 <= coarse < model.dense_motion_params.num_blocks:
        raise ConfigError(
            f"{where}: model_params.common_params.multi_mask does not go with "
            f"{levels - 1} num_down_blocks and a scale_factor of {model.dense_motion_params.scale_factor}; "
            "give the configuration of its training"
        )
    return config


def articulated_config(data: Mapping[str, Any], where: str) -> ArticulatedConfig:
    """Return the settings of an MRAA model from nested dicts. Raises ConfigError."""
    config = parse(ArticulatedConfig, data, where)
    model = config.model_params
    _check_channels(config.dataset_params, model.num_channels, where)
    flow = model.generator_params.pixelwise_flow_predictor_params
    for name, value in (
        ("estimate_affine", model.estimate_affine),
        ("use_deformed_source", flow.use_deformed_source),
        ("estimate_occlusion_map", flow.estimate_occlusion_map),
    ):
        if not value:
            raise ConfigError(f"{where}: {name} is false; fomm reads such models with true alone")
    kind = model.bg_predictor_params.bg_type if model.bg_predictor_params else "zero"
    if kind not in ("zero", "shift", "affine", "perspective"):
        raise ConfigError(
            f"{where}: model_params.bg_predictor_params.bg_type should be zero, shift, affine or perspective"
        )
    return config


def _check_channels(pictures: PictureParams, channels: int, where: str) -> None:
    if pictures.frame_shape is not None and pictures.frame_shape[2] != channels:
        raise ConfigError(
            f"{where}: dataset_params.frame_shape has {pictures.frame_shape[2]} channels, "
            f"but num_channels is {channels}; make them equal"
        )


def _drop_training(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections that say how networks are built, without those on training."""
    kept = {key: value for key, value in data.items() if key not in _ELSEWHERE}
    pictures = kept.get("dataset_params")
    if isinstance(pictures, Mapping):
        kept["dataset_params"] = {key: value for key, value in pictures.items() if key not in _DATA}
    return kept
