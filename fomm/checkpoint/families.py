"""Which model a file holds, told by the names of its networks, and how the networks of each are built."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fomm.bundled import sha256_of
from fomm.checkpoint.architecture import (
    FOMM,
    Shapes,
    build_networks,
    infer_config,
    infer_generator,
    infer_hourglass,
    infer_max_features,
    infer_scale_factor,
)
from fomm.config import (
    AnyConfig,
    ArticulatedConfig,
    Config,
    ThinPlateConfig,
    articulated_config,
    thin_plate_config,
    with_size,
)
from fomm.errors import CheckpointError, ConfigError
from fomm.model import Detector, Generator
from fomm.successors import mraa, tpsmm
from fomm.successors.background import ENTRIES, ArticulatedBackground, ThinPlateBackground
from fomm.successors.disentangle import AVDNetwork

_Tensors = Mapping[str, Tensor]
_MRAA, _TPSMM = "model of Articulated Animation (MRAA)", "Thin-Plate-Spline Motion Model (TPSMM)"
_SIDE = 256  # pixels, where nothing says another
# The files that MRAA's authors published: bytes, SHA-256, padding of the regions' head, side of the pictures.
# Padding and side cannot be told from tensors.
_PUBLISHED_MRAA = (
    (248256308, "58b796e31f763ccfbb240f959c9d92c2afe8a6e57da303e07d8fabd1f2921c68", 0, 256),  # mgif256
    (273409176, "6fd5ebb68953d6c7d02ff765986efa1c8a62d349817fe736a6069e07dc8c17af", 0, 256),  # taichi256
    (273409224, "5c88fb60718a64a8fd87043b0e95781b50e500457d03bf3b4fd26cca6b70c3f7", 0, 384),  # ted384
    (292943746, "75ce78089fc2f0b0a276346bf8f14c2043895845ed869bdbe9b2656d3feec13b", 0, 384),  # ted-youtube384
    (291747542, "a8c59e0b38f96195eac6414265dcf8e4b15e0675cea2622489b735edc61b3b66", 3, 256),  # vox256
)


@dataclass(frozen=True)
class Family:
    """One kind of model.

    Attributes:
        name: for errors.
        networks: what a file has to hold, by name.
        others: what it may hold beside these, and is checked too.
        config: the class of its configurations.
        infer: gives the configuration of a file at a path from its tensors.
        build: makes the networks for a configuration, of ``others`` those that the tensors name.
        parts: names the networks as a file does.
    """

    name: str
    networks: tuple[str, ...]
    others: tuple[str, ...]
    config: type
    infer: Callable[[_Tensors, Path], Any]
    build: Callable[[Any, _Tensors], tuple[Generator, Detector]]
    parts: Callable[[Generator, Detector], dict[str, nn.Module]]

    def check_config(self, config: AnyConfig, where: str) -> None:
        """Raise CheckpointError if the configuration is that of another kind of model."""
        if not isinstance(config, self.config):
            other = next(family for family in FAMILIES if isinstance(config, family.config))
            raise CheckpointError(
                f"{where} holds a {self.name}, but the configuration is of a {other.name}; "
                "give the one that belongs to it, or none"
            )


def find_family(networks: Iterable[str]) -> Family:
    """Return the kind of model of a file that holds tensors of some networks; FOMM where nothing tells."""
    held = set(networks)
    if held & {"inpainting_network", "dense_motion_network"}:
        return FAMILIES[1]
    return FAMILIES[2] if "region_predictor" in held and "kp_detector" not in held else FAMILIES[0]


def _named_children(*networks: nn.Module) -> dict[str, nn.Module]:
    return {name: child for network in networks for name, child in network.named_children()}


# -- TPSMM -------------------------------------------------------------------------------------------


def _infer_thin_plate(tensors: _Tensors, path: Path) -> AnyConfig:
    shapes = Shapes(tensors, str(path), _TPSMM)
    painter, motion = "inpainting_network", "dense_motion_network"
    model = {
        "common_params": {
            "num_tps": shapes[f"{motion}.maps.weight"][0] - 1,
            "num_channels": shapes[f"{painter}.first.conv.weight"][1],
            "multi_mask": shapes.count(motion + ".occlusion.{}.weight") > 1,
        },
        "generator_params": {
            key: value
            for key, value in infer_generator(shapes, painter).items()
            if key != "num_bottleneck_blocks"
        },
        "dense_motion_params": {
            **infer_hourglass(shapes, f"{motion}.hourglass"),
            "scale_factor": infer_scale_factor(shapes, motion),
        },
        **_infer_avd(tensors),
    }
    config = _checked(thin_plate_config, model, str(path))
    return with_size(config, _SIDE)


def _build_thin_plate(config: ThinPlateConfig, tensors: _Tensors) -> tuple[Generator, Detector]:
    model, held = config.model_params, _networks_in(tensors)
    common, painter = model.common_params, model.generator_params
    generator = tpsmm.ThinPlateGenerator(
        tpsmm.InpaintingNetwork(num_channels=common.num_channels, **asdict(painter)),
        tpsmm.ThinPlateMotionNetwork(
            num_tps=common.num_tps,
            num_channels=common.num_channels,
            multi_mask=common.multi_mask,
            levels=painter.num_down_blocks + 1,
            **asdict(model.dense_motion_params),
        ),
        ThinPlateBackground(common.num_channels) if "bg_predictor" in held else None,
    )
    generator.frame_shape = config.dataset_params.frame_shape
    avd = None
    if "avd_network" in held:
        points = tpsmm.POINTS * common.num_tps
        avd = AVDNetwork(num_kp=points, with_affine=False, **asdict(model.avd_network_params))
    resnet = tpsmm.KeypointResNet(common.num_tps, common.num_channels)
    return generator, tpsmm.ThinPlateDetector(resnet, avd)


# -- MRAA --------------------------------------------------------------------------------------------


def _infer_articulated(tensors: _Tensors, path: Path) -> AnyConfig:
    shapes = Shapes(tensors, str(path), _MRAA)
    flow = "generator.pixelwise_flow_predictor"
    pad, side = _published_settings(path)
    background = _infer_background(shapes, tensors)
    model = {
        "num_regions": shapes["region_predictor.regions.weight"][0],
        "num_channels": shapes["region_predictor.predictor.encoder.down_blocks.0.conv.weight"][1],
        "region_predictor_params": {
            **infer_hourglass(shapes, "region_predictor.predictor"),
            "temperature": 0.1,
            "scale_factor": infer_scale_factor(shapes, "region_predictor"),
            "pca_based": "region_predictor.jacobian.weight" not in shapes,
            "pad": pad,
        },
        "generator_params": {
            **infer_generator(shapes),
            "pixelwise_flow_predictor_params": {
                **infer_hourglass(shapes, f"{flow}.hourglass"),
                "scale_factor": infer_scale_factor(shapes, flow),
            },
        },
        **({"bg_predictor_params": background} if background else {}),
        **_infer_avd(tensors),
    }
    return with_size(_checked(articulated_config, model, str(path)), side)


def _published_settings(path: Path) -> tuple[int, int]:
    """Return padding and side of a published file, else the published code's defaults and a warning."""
    size = path.stat().st_size
    for bytes_of, sha256, pad, side in _PUBLISHED_MRAA:
        if size == bytes_of and sha256_of(path) == sha256:
            return pad, side
    warnings.warn(
        f"{path} is none of the published files, and its tensors do not tell the size of pictures nor "
        f"region_predictor_params.pad; taking {_SIDE}x{_SIDE} and 3, the defaults: give its configuration if "
        "it has others",
        stacklevel=6,
    )
    return 3, _SIDE


def _infer_background(shapes: Shapes, tensors: _Tensors) -> dict[str, Any]:
    name = "bg_predictor"
    if name not in _networks_in(tensors):
        return {}
    num_blocks = max(1, shapes.count(name + ".encoder.down_blocks.{}.conv.weight"))
    block_expansion = shapes[f"{name}.encoder.down_blocks.0.conv.weight"][0] // 2
    widest = shapes[f"{name}.encoder.down_blocks.{num_blocks - 1}.conv.weight"][0]
    bias = tensors.get(f"{name}.fc.bias")
    kinds = {len(entries): kind for kind, entries in ENTRIES.items()}
    return {
        "num_blocks": num_blocks,
        "block_expansion": block_expansion,
        "max_features": infer_max_features(widest, block_expansion << num_blocks, "hourglass"),
        "bg_type": kinds.get(0 if bias is None else bias.numel(), "affine"),
    }


def _build_articulated(config: ArticulatedConfig, tensors: _Tensors) -> tuple[Generator, Detector]:
    model, held = config.model_params, _networks_in(tensors)
    common: dict[str, Any] = {"num_regions": model.num_regions, "num_channels": model.num_channels}
    painter = asdict(model.generator_params)
    for name in ("use_deformed_source", "estimate_occlusion_map"):  # always true
        del painter["pixelwise_flow_predictor_params"][name]
    background = None
    if model.bg_predictor_params and "bg_predictor" in held:
        background = ArticulatedBackground(
            num_channels=model.num_channels, **asdict(model.bg_predictor_params)
        )
    generator = mraa.ArticulatedGenerator(mraa.ArticulatedPainter(**common, **painter), background)
    generator.frame_shape = config.dataset_params.frame_shape
    regions = asdict(model.region_predictor_params)
    del regions["fast_svd"]
    avd = None
    if "avd_network" in held:
        avd = AVDNetwork(num_kp=model.num_regions, with_affine=True, **asdict(model.avd_network_params))
    return generator, mraa.ArticulatedDetector(mraa.RegionPredictor(**common, **regions), avd)


# -- both --------------------------------------------------------------------------------------------


def _infer_avd(tensors: _Tensors) -> dict[str, Any]:
    """Infer the settings of the AVD network, if there is one."""
    sizes = {}
    for name in ("id", "pose"):
        bias = tensors.get(f"avd_network.{name}_encoder.9.bias")
        if bias is not None:
            sizes[f"{name}_bottle_size"] = bias.numel()
    return {"avd_network_params": sizes} if len(sizes) == 2 else {}


def _checked(read: Callable[..., Any], model: dict[str, Any], where: str) -> Any:
    try:
        return read({"model_params": model}, where)
    except ConfigError as reason:
        raise CheckpointError(
            f"{reason}, as inferred from the tensors' shapes; give a configuration"
        ) from reason


def _networks_in(tensors: _Tensors) -> set[str]:
    return {name.partition(".")[0] for name in tensors}


FAMILIES = (
    Family(
        FOMM,
        ("generator", "kp_detector"),
        ("discriminator",),
        Config,
        lambda tensors, path: infer_config(tensors, str(path)),
        lambda config, _: build_networks(config),
        lambda generator, kp_detector: {"generator": generator, "kp_detector": kp_detector},
    ),
    Family(
        _TPSMM,
        ("inpainting_network", "dense_motion_network", "kp_detector"),
        ("bg_predictor", "avd_network"),
        ThinPlateConfig,
        _infer_thin_plate,
        _build_thin_plate,
        _named_children,
    ),
    Family(
        _MRAA,
        ("generator", "region_predictor"),
        ("bg_predictor", "avd_network"),
        ArticulatedConfig,
        _infer_articulated,
        _build_articulated,
        _named_children,
    ),
)
