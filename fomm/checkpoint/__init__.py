"""Read weights safely in every published format, check them, load them strictly, write them."""

from fomm.checkpoint.architecture import build_discriminator, build_networks, infer_config, load_strictly
from fomm.checkpoint.load import (
    DEFAULT_WEIGHTS,
    choose_device,
    convert,
    load_checkpoints,
    read_checkpoint,
    save_weights,
)

__all__ = [
    "DEFAULT_WEIGHTS",
    "build_discriminator",
    "build_networks",
    "choose_device",
    "convert",
    "infer_config",
    "load_checkpoints",
    "load_strictly",
    "read_checkpoint",
    "save_weights",
]
