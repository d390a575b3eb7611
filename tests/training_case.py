"""A tiny configuration and a tiny data set that the tests of the training share."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from fomm.config import Config, config_from_dict

SIZE = 32
TRAIN = {
    "num_epochs": 2,
    "num_repeats": 4,
    "epoch_milestones": [1],
    "lr_generator": 1e-3,
    "lr_discriminator": 1e-3,
    "lr_kp_detector": 1e-3,
    "batch_size": 2,
    "scales": [1, 0.5],
    "checkpoint_freq": 1,
    "transform_params": {"sigma_affine": 0.05, "sigma_tps": 0.005, "points_tps": 5},
    "loss_weights": {
        "generator_gan": 1,
        "discriminator_gan": 1,
        "feature_matching": [10, 10],
        "perceptual": [],
        "equivariance_value": 10,
        "equivariance_jacobian": 10,
        "l1": 10,
        "l1_face": 10,
        "l1_keypoints": 10,
        "l1_edges": 10,
        "deformation": 10,
        "keypoints": 10,
        "keypoint_jacobians": 1,
        "flow": 0,
        "occlusion": 0,
    },
    "ema_decay": 0.9,
    "clip_norm": 10,
}
MODEL = {
    "common_params": {"num_kp": 3, "num_channels": 3, "estimate_jacobian": True},
    "kp_detector_params": {
        "temperature": 0.1, "block_expansion": 4, "max_features": 8, "num_blocks": 2, "pad": 3
    },
    "generator_params": {
        "block_expansion": 4,
        "max_features": 8,
        "num_down_blocks": 1,
        "num_bottleneck_blocks": 1,
        "estimate_occlusion_map": True,
        "dense_motion_params": {"block_expansion": 4, "max_features": 8, "num_blocks": 2},
    },
    "discriminator_params": {"block_expansion": 4, "max_features": 8, "num_blocks": 2},
}  # fmt: skip
AUGMENTATION = {
    "jitter_param": {"brightness": 0.1, "hue": 0.1},
    "camera_param": {"rotation": 0.1, "zoom": [0.9, 1.1], "shift": 0.05, "shared": 0.5},
    "degrade_param": {"blur": 0.5, "noise": 0.05},
}


def training_config(augmentation: dict[str, Any] | None = AUGMENTATION, **train_params) -> Config:
    """Return the tiny configuration, with some of ``train_params`` changed."""
    weights = TRAIN["loss_weights"] | train_params.pop("loss_weights", {})
    return config_from_dict(
        {
            "dataset_params": {"frame_shape": [SIZE, SIZE, 3], "augmentation_params": augmentation},
            "model_params": MODEL,
            "train_params": TRAIN | train_params | {"loss_weights": weights},
        }
    )


def write_clips(folder: Path) -> Path:
    """Write three clips into ``folder/train``: a square that wanders, its corners true key points."""
    train = folder / "train"
    train.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a#0", "b#0", "b#1"):
        corner = rng.integers(2, 18, (5, 2))
        frames = np.full((5, SIZE, SIZE, 3), rng.integers(255, size=3), np.uint8)
        for frame, (x, y) in zip(frames, corner, strict=True):
            frame[y : y + 10, x : x + 10] = rng.integers(255, size=3)
        points = corner[:, None] + np.array([[0, 0], [10, 0], [0, 10]])
        np.savez(train / f"{name}.npz", frames=frames)
        np.savez(
            train / f"{name}.landmarks.npz",
            keypoints=(points / SIZE * 2 - 1).astype("f4"),
            jacobians=np.tile(np.eye(2, dtype="f4"), (5, 3, 1, 1)),
        )
    return folder


def state_of(folder: Path) -> dict[str, Any]:
    """Return what a run has on disk, but for the time that it took."""
    state = torch.load(folder / "state.pt", weights_only=True)
    assert state.pop("seconds") > 0
    return state


def assert_same(one, other, where="state"):
    """Assert that two nested states are equal bit for bit."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list):
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{where}[{index}]")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), f"{where} differs by {(one - other).abs().max()}"
    else:
        assert one == other, where
