"""Make networks from a file of weights: read it safely, clean its names, build, check, load strictly."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from fomm._version import __version__
from fomm.atomic import atomic_path
from fomm.bundled import WEIGHTS, LazyFileHash, bundled, check_intact, sha256_of
from fomm.checkpoint.architecture import (
    COUNTER,
    NoDrawing,
    NoWeights,
    check_fit,
    load_strictly,
    skeletons,
)
from fomm.checkpoint.families import FAMILIES, Family, find_family
from fomm.checkpoint.files import read_file
from fomm.config import AnyConfig, Config, config_from_dict, load_any_config, load_config
from fomm.errors import CheckpointError, ConfigError, InputError, shown
from fomm.model import Detector, Generator

DEFAULT_WEIGHTS = "heads-256.safetensors"

_NETWORKS = frozenset(name for family in FAMILIES for name in (*family.networks, *family.others))
_NAME = re.compile(r"[A-Za-z0-9_.]{1,120}")  # of a tensor
_WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and torch.compile
_REAL_NUMBERS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_OTHER = "use another checkpoint"
# One key, with a JSON of "version", "config" and "freeze_norm": safetensors writes several in no fixed order.
_METADATA_KEY = "fomm"


@dataclass(frozen=True)
class Checkpoint:
    """What a file of weights holds, its names cleaned, not yet compared with a network."""

    path: Path
    tensors: dict[str, Tensor]  # of the networks of its family, such as generator.* and kp_detector.*
    config: Config | None  # from the file's own metadata
    rest: dict[str, Any]  # everything else: the optimisers' states, the epoch
    freeze_norm: bool | None = None  # from the file's own metadata
    family: Family = FAMILIES[0]

    def resolve_config(self) -> Config:
        """Return the configuration in the file, else the one inferred from its tensors' names and shapes.

        Raises CheckpointError where the tensors are those of another kind of network.
        """
        self.check_first_order()
        config = self.resolve_any_config()
        assert isinstance(config, Config)
        return config

    def check_first_order(self) -> None:
        """Raise CheckpointError where the file holds another kind of model, which can animate and no more."""
        if self.family is not FAMILIES[0]:
            raise CheckpointError(
                f"{self.path} holds a {self.family.name}, which can animate and no more; "
                f"give weights of the {FAMILIES[0].name}"
            )

    def resolve_any_config(self) -> AnyConfig:
        """Do as ``resolve_config``, of any kind of model."""
        config: AnyConfig = self.config or self.family.infer(self.tensors, self.path)
        return config

    def resolve_freeze_norm(self) -> bool | None:
        """Return whether batch norms kept their statistics when the weights were trained; None: not known.

        The weights that ship were written before files said so, and are known by their hash.
        """
        if self.freeze_norm is not None or self.config is None:
            return self.freeze_norm
        return True if sha256_of(self.path) == WEIGHTS[DEFAULT_WEIGHTS] else None


def load_checkpoints(
    config_path: str | os.PathLike[str] | None = None,
    checkpoint_path: str | os.PathLike[str] | None = None,
    cpu: bool = False,
    *,
    device: str | torch.device | None = None,
) -> tuple[Generator, Detector]:
    """Return the generator and the key-point detector with trained weights, in eval mode.

    Args:
        config_path: a YAML file or the name of a configuration that ships (``"vox-256"``). Without it, the
            configuration comes from the file of weights: its metadata, else its tensors' names and shapes.
        checkpoint_path: a published ``.pth.tar`` or a safetensors file; without it, the weights that ship.
            Files of the First Order Motion Model, of the Thin-Plate-Spline Motion Model (TPSMM) and of
            Articulated Animation (MRAA) are taken: the tensors tell which it is.
        cpu: stay on the CPU. Otherwise the device is CUDA where there is one, else MPS, else the CPU.
        device: a device of your choice.

    Returns:
        The two networks. The generator has ``frame_shape`` (height, width, channels) and ``weights_hash``,
        the SHA-256 of the file. It is computed when it is first asked for, and None if the file has changed
        by then.

    Raises:
        ConfigError: the configuration cannot be read.
        CheckpointError: the weights cannot be read safely, or do not fit the configuration.
        InputError: the device cannot be used.
    """
    place = choose_device(cpu, device)
    config = None if config_path is None else load_any_config(config_path)
    path = bundled("checkpoints", DEFAULT_WEIGHTS) if checkpoint_path is None else Path(checkpoint_path)
    weights_hash = LazyFileHash.of(path)
    checkpoint = _default_checkpoint(config) if checkpoint_path is None else read_checkpoint(path)
    generator, kp_detector = _networks_of(checkpoint, config)
    generator.hash_weights = weights_hash
    return generator.eval().to(place), kp_detector.eval().to(place)


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a ``.pth.tar`` file (either format) or a safetensors file; no code in it runs.

    Raises CheckpointError for a file that holds something else, or is damaged.
    """
    path = Path(path)
    content, metadata = read_file(path)
    tensors: dict[str, Tensor] = {}
    rest: dict[str, Any] = {}
    entries = _flatten(content)
    family = find_family(name.partition(".")[0] for name, _ in entries if "." in name)
    parts = tuple(f"{name}." for name in (*family.networks, *family.others))
    for name, value in entries:
        if not name.startswith(parts):
            rest[name] = value
        elif not _NAME.fullmatch(name):
            raise CheckpointError(f"{path} is refused: no network has the name {shown(name)}; {_OTHER}")
        elif name in tensors:
            raise CheckpointError(f"{path} holds {name} twice, with and without a prefix; keep one of them")
        else:
            tensors[name] = _check_tensor(name, value, path)
    _check_parts(path, family, tensors, content)
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) > path.stat().st_size:
        raise CheckpointError(f"{path} is refused: its tensors are larger than the file; get the file again")
    config, freeze_norm = _read_metadata(metadata, path)
    if config is not None:
        family.check_config(config, str(path))
    return Checkpoint(path, tensors, config, rest, freeze_norm, family)


def save_weights(
    path: str | os.PathLike[str],
    generator: nn.Module,
    kp_detector: nn.Module,
    config: Config,
    half: bool = False,
    freeze_norm: bool | None = None,
) -> None:
    """Write the two networks and their configuration as safetensors, whole or not at all.

    Args:
        path: the file to write.
        generator: fits ``config``.
        kp_detector: fits ``config``.
        config: what goes into the file's metadata.
        half: write the convolutions' weights in float16; biases, norms and anti-alias kernels stay float32.
        freeze_norm: whether batch norms kept their statistics in the training; None: not known.

    Raises:
        CheckpointError: the networks do not fit, hold values that are not finite, or cannot be written.
    """
    networks = {"generator": generator, "kp_detector": kp_detector}
    tensors = {}
    for name, network in networks.items():
        for key, tensor in network.state_dict().items():
            tensors[_canonical(f"{name}.{key}")] = _to_store(key, tensor, half)
    check_fit(skeletons(config), tensors, str(path))
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(
                f"cannot write {path}: {key} holds values that are not finite in {tensor.dtype}"
            )
    needed = {"dataset_params": {"frame_shape": list(config.dataset_params.frame_shape)}}
    needed["model_params"] = config.to_dict()["model_params"]
    content: dict[str, Any] = {"version": __version__, "config": needed}
    if freeze_norm is not None:
        content["freeze_norm"] = freeze_norm
    metadata = {_METADATA_KEY: json.dumps(content)}
    with atomic_path(path, CheckpointError) as temporary:
        try:  # in two steps, since safetensors' own save_file makes files that only their owner can read
            temporary.write_bytes(save(tensors, metadata))
        except OSError as reason:
            raise CheckpointError(f"cannot write {path}: {reason}") from reason


def convert(
    in_path: str | os.PathLike[str],
    out_path: str | os.PathLike[str],
    half: bool = False,
    config_path: str | os.PathLike[str] | None = None,
) -> None:
    """Convert any checkpoint to safetensors: the two networks and the configuration, nothing else.

    Args:
        in_path: a file that ``read_checkpoint`` reads.
        out_path: a file that ends in ``.safetensors``.
        half: as in ``save_weights``.
        config_path: a YAML file or a name; without it, the configuration comes from the file of weights.

    Raises:
        ConfigError: the configuration cannot be read.
        CheckpointError: the file cannot be read, does not fit the configuration, or cannot be written.
    """
    if Path(out_path).suffix != ".safetensors":
        raise CheckpointError(f"cannot write {out_path}: the result is a safetensors file; name it so")
    checkpoint = read_checkpoint(in_path)
    checkpoint.check_first_order()
    config = checkpoint.resolve_config() if config_path is None else load_config(config_path)
    freeze_norm = checkpoint.resolve_freeze_norm()
    save_weights(out_path, *_networks_of(checkpoint, config), config, half, freeze_norm)


def _default_checkpoint(config: AnyConfig | None) -> Checkpoint:
    """Read the weights that ship.

    Raises CheckpointError if they are missing or changed, or if ``config`` is that of another network.
    """
    path = bundled("checkpoints", DEFAULT_WEIGHTS)
    if not path.is_file():
        raise CheckpointError(f"the weights that ship are not there ({path}); install fomm again")
    check_intact(path)
    checkpoint = read_checkpoint(path)
    fits = isinstance(config, Config) and _same_network(config, checkpoint.resolve_config())
    if config is not None and not fits:
        raise CheckpointError(
            f"a configuration alone has to be that of the weights that ship, {path.name}; "
            "give the checkpoint that belongs to it too"
        )
    return checkpoint


def _networks_of(checkpoint: Checkpoint, config: AnyConfig | None) -> tuple[Generator, Detector]:
    """Build the networks and load the checkpoint into them; ``config`` overrides that of the file.

    Names and shapes are compared first, on networks without weights, so that a small file cannot make large
    networks be allocated.
    """
    family, where = checkpoint.family, str(checkpoint.path)
    if config is not None:
        family.check_config(config, where)
    config = config or checkpoint.resolve_any_config()
    with NoWeights():
        skeleton = family.build(config, checkpoint.tensors)
    check_fit(family.parts(*skeleton), checkpoint.tensors, where)
    with NoDrawing():
        networks = family.build(config, checkpoint.tensors)
    load_strictly(family.parts(*networks), checkpoint.tensors, where)
    return networks


def _flatten(content: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return every entry under its canonical name, those of a network's own dict as ``network.name``."""
    entries = []
    for key, value in content.items():
        name = _canonical(str(key))
        if name in _NETWORKS and isinstance(value, Mapping):
            entries += [(_canonical(f"{name}.{inner}"), tensor) for inner, tensor in value.items()]
        else:
            entries.append((name, value))
    return entries


def _canonical(name: str) -> str:
    """Return a name without the prefixes of wrappers, as in ``module.generator.module.first...``."""
    network, _, rest = _unwrap(name).partition(".")
    return f"{network}.{_unwrap(rest)}" if rest and network in _NETWORKS else _unwrap(name)


def _unwrap(name: str) -> str:
    while name.startswith(_WRAPPERS):
        name = name.partition(".")[2]
    return name


def _check_tensor(name: str, value: Any, path: Path) -> Tensor:
    if not isinstance(value, Tensor):
        raise CheckpointError(f"{path}: {name} is a {type(value).__name__} instead of a tensor; {_OTHER}")
    counter = name.endswith(COUNTER) and value.dtype == torch.int64
    if value.layout != torch.strided or not (value.dtype in _REAL_NUMBERS or counter):
        raise CheckpointError(
            f"{path}: {name} has the type {shown(value.dtype)}, not plain real numbers; {_OTHER}"
        )
    return value.detach()


def _check_parts(
    path: Path, family: Family, tensors: Mapping[str, Tensor], content: Mapping[str, Any]
) -> None:
    for part in family.networks:
        if not any(name.startswith(f"{part}.") for name in tensors):
            held = ", ".join(shown(key, 60) for key in list(content)[:4]) or "nothing"
            raise CheckpointError(
                f"{path} holds no '{part}' (it holds {held}{', ...' if len(content) > 4 else ''}); "
                f"give weights of a {family.name}"
            )


def _read_metadata(metadata: Mapping[str, str], path: Path) -> tuple[Config | None, bool | None]:
    """Return the configuration, and whether norms were frozen, each None where the file does not say."""
    if _METADATA_KEY not in metadata:
        return None, None
    try:
        content = json.loads(metadata[_METADATA_KEY])
        written_by, data = shown(content["version"], 20), content["config"]
        freeze_norm = content.get("freeze_norm")
        if not (freeze_norm is None or isinstance(freeze_norm, bool)):
            raise ValueError("freeze_norm is true or false")
    except (ValueError, LookupError, TypeError, RecursionError) as reason:
        raise CheckpointError(f"{path} has metadata that fomm did not write; convert it again") from reason
    try:
        return config_from_dict(data, f"the configuration in {path}"), freeze_norm
    except ConfigError as reason:
        raise CheckpointError(f"{reason} (written by fomm {written_by}; this is {__version__})") from reason


def _to_store(name: str, tensor: Tensor, half: bool) -> Tensor:
    """Return a tensor as it is written: on the CPU, contiguous, in float32, or float16 where ``half`` allows.

    With ``half``, what has four dimensions is in float16: the convolutions' weights. The anti-alias kernels
    (``down.weight``) have four, too, and stay float32.
    """
    tensor = tensor.detach().cpu()
    if not tensor.is_floating_point():
        return tensor.contiguous()
    narrow = half and tensor.ndim == 4 and not name.endswith("down.weight")
    return tensor.to(torch.float16 if narrow else torch.float32).contiguous()


def _same_network(one: Config, other: Config) -> bool:
    """Return whether the same weights fit both configurations and mean the same in both."""

    def essence(config: Config) -> tuple[Any, ...]:
        model = config.model_params
        return (
            config.dataset_params.frame_shape,
            model.common_params,
            # without how it is animated, which may differ
            replace(model.kp_detector_params, openings=None),
            replace(model.generator_params, details=0.0),
        )

    return essence(one) == essence(other)


def choose_device(cpu: bool, device: str | torch.device | None) -> torch.device:
    """Return the device to compute on: the one asked for, or the fastest there is.

    Raises:
        InputError: it cannot be used on this machine, or contradicts ``cpu``.
    """
    if device is None:
        if cpu:
            return torch.device("cpu")
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)  # only then is it known to be there
    except (RuntimeError, AssertionError, NotImplementedError) as reason:
        raise InputError(f"device {device!r} cannot be used on this machine; try device='cpu'") from reason
    if cpu and chosen.type != "cpu":
        raise InputError(f"cpu=True and device={device!r} contradict each other; give one of them")
    return chosen
