"""Declare the settings of networks, data and training, each once, and read the YAML files that hold them."""

from fomm.config.schema import (
    LABELS,
    AugmentationParams,
    CameraParams,
    Config,
    CropParams,
    DatasetParams,
    DegradeParams,
    FlipParams,
    JitterParams,
    LossWeights,
    ResizeParams,
    TrainParams,
    config_from_dict,
    config_names,
    find_config,
    load_config,
)

__all__ = [
    "LABELS",
    "AugmentationParams",
    "CameraParams",
    "Config",
    "CropParams",
    "DatasetParams",
    "DegradeParams",
    "FlipParams",
    "JitterParams",
    "LossWeights",
    "ResizeParams",
    "TrainParams",
    "config_from_dict",
    "config_names",
    "find_config",
    "load_config",
]
