"""Build the networks of a configuration, check and load their tensors, infer a configuration from tensors."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fomm.config import LABELS, Config, config_from_dict
from fomm.errors import CheckpointError, ConfigError, shown
from fomm.model import KPDetector, MultiScaleDiscriminator, OcclusionAwareGenerator, Openings

FOMM = "First Order Motion Model"
COUNTER = "num_batches_tracked"  # of batch norms; files from before PyTorch 0.4.1 lack it

# What cannot be inferred from tensors is set to the value that all published networks share.
_PUBLISHED_SIZE = (256, 256)  # height, width
_PUBLISHED_TEMPERATURE = 0.1
_PUBLISHED_MAX_FEATURES = {"hourglass": 1024, "generator": 512}


def build_networks(config: Config) -> tuple[OcclusionAwareGenerator, KPDetector]:
    """Build the generator and the key-point detector, with random weights, in training mode, on the CPU.

    The generator has ``frame_shape`` (height, width, channels) set, the key-point detector its ``openings``.
    """
    model = config.model_params
    common = asdict(model.common_params)
    generator = OcclusionAwareGenerator(**common, **asdict(model.generator_params))
    detector = asdict(model.kp_detector_params)
    openings = detector.pop("openings")  # no part of the network
    kp_detector = KPDetector(**common, **detector)
    generator.frame_shape = config.dataset_params.frame_shape
    kp_detector.openings = None if openings is None else Openings(**openings, labels=LABELS)
    return generator, kp_detector


def build_discriminator(config: Config) -> MultiScaleDiscriminator:
    """Build the discriminator, with random weights, in training mode, on the CPU.

    Raises ConfigError for a configuration without one.
    """
    if config.model_params.discriminator_params is None:
        raise ConfigError(
            "the configuration has no model_params.discriminator_params; add them to train adversarially"
        )
    common = asdict(config.model_params.common_params)
    return MultiScaleDiscriminator(**common, **asdict(config.model_params.discriminator_params))


def infer_config(tensors: Mapping[str, Tensor], where: str) -> Config:
    """Infer the configuration from the names and shapes of ``generator.*`` and ``kp_detector.*`` tensors.

    Where no level of a network reaches ``max_features``, several values give the same network: the published
    value is taken, or the widest level if that is larger. Size, temperature, padding and variance cannot be
    inferred, and are the published ones. ``where`` names the file in errors.

    Raises CheckpointError for tensors of another kind of network.
    """
    shapes = Shapes(tensors, where)
    num_kp, _ = shapes["kp_detector.kp.weight"][:2]
    jacobian_maps = shapes.get("kp_detector.jacobian.weight", (0,))[0] // 4
    num_channels = shapes["kp_detector.predictor.encoder.down_blocks.0.conv.weight"][1]
    motion = "generator.dense_motion_network"
    model = {
        "common_params": {
            "num_kp": num_kp,
            "num_channels": num_channels,
            "estimate_jacobian": jacobian_maps > 0,
        },
        "kp_detector_params": {
            **infer_hourglass(shapes, "kp_detector.predictor"),
            "temperature": _PUBLISHED_TEMPERATURE,
            "scale_factor": infer_scale_factor(shapes, "kp_detector"),
            "single_jacobian_map": jacobian_maps == 1 and num_kp > 1,
        },
        "generator_params": {
            **infer_generator(shapes),
            "estimate_occlusion_map": f"{motion}.occlusion.weight" in shapes,
            "dense_motion_params": {
                **infer_hourglass(shapes, f"{motion}.hourglass"),
                "scale_factor": infer_scale_factor(shapes, motion),
            },
        },
    }
    data = {"dataset_params": {"frame_shape": [*_PUBLISHED_SIZE, num_channels]}, "model_params": model}
    try:
        return config_from_dict(data, where)
    except ConfigError as reason:
        raise CheckpointError(
            f"{reason}, as inferred from the tensors' shapes; give a configuration"
        ) from reason


def skeletons(config: Config) -> dict[str, nn.Module]:
    """Build both networks without weights: names and shapes alone, which take no memory."""
    with NoWeights():
        generator, kp_detector = build_networks(config)
    return {"generator": generator, "kp_detector": kp_detector}


class NoDrawing(TorchFunctionMode):
    """Leaves parameters as their memory is, for weights that are loaded next: drawing takes half a second."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        drawing = func in (nn.init.kaiming_uniform_, nn.init.uniform_)
        return given["tensor"] if drawing else func(*args, **given)


class NoWeights(TorchFunctionMode):
    """Puts parameters on the meta device, without the slow imports of ``torch.device("meta")``."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def check_fit(networks: Mapping[str, nn.Module], tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise CheckpointError, naming the first few misfits, unless names and shapes fit all the networks."""
    expected = {f"{name}.{key}": t for name, net in networks.items() for key, t in net.state_dict().items()}
    given = {name: tensor for name, tensor in tensors.items() if name.partition(".")[0] in networks}
    missing = [name for name in expected if name not in given and not name.endswith(COUNTER)]
    unexpected = [name for name in given if name not in expected]
    shapes = [
        f"{name} is {_shape(given[name])} instead of {_shape(expected[name])}"
        for name in expected
        if name in given and given[name].shape != expected[name].shape
    ]
    problems = [
        f"{kind} {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("mis-shaped", shapes))
        if names
    ]
    if problems:
        raise CheckpointError(
            f"{where} does not fit the network: {'; '.join(problems)}; give the configuration of its training"
        )


def _shape(tensor: Tensor) -> str:
    return shown("x".join(map(str, tensor.shape))) or "a single number"


def load_strictly(networks: Mapping[str, nn.Module], tensors: Mapping[str, Tensor], where: str) -> None:
    """Load ``{"generator": ..., "kp_detector": ...}`` from tensors named after them, all or nothing.

    Names, shapes and values are checked before anything is replaced. Tensors of other networks are ignored.
    ``where`` names the file in errors. Raises CheckpointError, which names what is wrong.
    """
    check_fit(networks, tensors, where)
    parts = {
        name: {key.removeprefix(f"{name}."): t for key, t in tensors.items() if key.startswith(f"{name}.")}
        for name in networks
    }
    for name, part in parts.items():
        for key, tensor in part.items():
            if not _is_finite(tensor):
                raise CheckpointError(
                    f"{where}: {name}.{key} holds values that are not finite; use another checkpoint"
                )
    for name, network in networks.items():
        counters = {key: t for key, t in network.state_dict().items() if key.endswith(COUNTER)}
        network.load_state_dict({**counters, **parts[name]})


def _is_finite(tensor: Tensor) -> bool:
    """Return whether all values are finite in float32, without making a second tensor of that size."""
    largest = torch.finfo(torch.float32).max
    if not tensor.numel():
        return True
    low, high = tensor.aminmax()
    return bool(low >= -largest) and bool(high <= largest)  # false for what is not a number


class Shapes(dict[str, tuple[int, ...]]):
    """The shapes of all 4-dimensional tensors by name; asking for a missing one raises CheckpointError."""

    def __init__(self, tensors: Mapping[str, Tensor], where: str, model: str = FOMM) -> None:
        super().__init__({name: tuple(tensor.shape) for name, tensor in tensors.items() if tensor.ndim == 4})
        self.where, self.model = where, model

    def __missing__(self, name: str) -> tuple[int, ...]:
        raise CheckpointError(
            f"{self.where} has no convolution {name}, which every {self.model} has; "
            "give weights of this model"
        )

    def count(self, pattern: str) -> int:
        """Return how many names there are of ``pattern``, whose ``{}`` counts from 0."""
        number = 0
        while pattern.format(number) in self:
            number += 1
        return number


def infer_hourglass(shapes: Shapes, name: str) -> dict[str, int]:
    """Infer the settings of the hourglass under a name."""
    num_blocks = max(1, shapes.count(name + ".encoder.down_blocks.{}.conv.weight"))
    block_expansion = shapes[f"{name}.decoder.up_blocks.{num_blocks - 1}.conv.weight"][0]
    widest = shapes[f"{name}.encoder.down_blocks.{num_blocks - 1}.conv.weight"][0]
    return {
        "num_blocks": num_blocks,
        "block_expansion": block_expansion,
        "max_features": infer_max_features(widest, block_expansion << num_blocks, "hourglass"),
    }


def infer_generator(shapes: Shapes, name: str = "generator") -> dict[str, int]:
    """Infer the settings of a painter under a name, without those of its motion network."""
    num_down_blocks = shapes.count(name + ".down_blocks.{}.conv.weight")
    block_expansion = shapes[f"{name}.first.conv.weight"][0]
    last = f"{name}.down_blocks.{num_down_blocks - 1}.conv.weight"
    widest = shapes[last][0] if num_down_blocks else block_expansion
    return {
        "num_down_blocks": num_down_blocks,
        "num_bottleneck_blocks": shapes.count(name + ".bottleneck.r{}.conv1.weight"),
        "block_expansion": block_expansion,
        "max_features": infer_max_features(widest, block_expansion << num_down_blocks, "generator"),
    }


def infer_max_features(widest: int, unlimited: int, kind: str) -> int:
    """Infer the bound of a network's widths from its widest level, and what that would be without bound."""
    return widest if widest < unlimited else max(widest, _PUBLISHED_MAX_FEATURES[kind])


def infer_scale_factor(shapes: Shapes, name: str) -> float:
    """Infer the scale factor from the anti-alias kernel, whose size is 2 round(2 (1 / scale - 1)) + 1."""
    if f"{name}.down.weight" not in shapes:
        return 1
    kernel = shapes[f"{name}.down.weight"][-1]
    return 1 / round(1 + (kernel - 1) / 4)
