import json
import math
import resource
import shutil
import signal
import subprocess
import sys
import time
import warnings

import pytest
import torch
import yaml
from checkout import ROOT
from golden_data import GOLDEN
from PIL import Image
from training_case import SIZE, TRAIN, assert_same, state_of, training_config, write_clips

from fomm.checkpoint import build_networks, convert, load_checkpoints, read_checkpoint, save_weights
from fomm.cli import main
from fomm.commands.train import progress_line
from fomm.config import config_from_dict, load_config
from fomm.errors import CheckpointError, ConfigError, InputError, MissingExtraError, TrainingError
from fomm.model import OcclusionAwareGenerator
from fomm.training import loop, objective, state, step
from fomm.training.distributed import Processes
from fomm.training.loop import train
from fomm.training.perceptual import EfficientNetLite0Features
from fomm.training.schedule import plan_schedule
from fomm.training.step import Step


@pytest.fixture
def data(tmp_path):
    return write_clips(tmp_path / "data")


def test_a_run_writes_weights_state_pictures_and_log(data, tmp_path):
    out = tmp_path / "run"
    lines = list(train(training_config(), data, out, device="cpu", log_steps=4))
    assert [line["step"] for line in lines] == [4, 8, 12]  # 3 clips x 4 repeats / 2 = 6 steps an epoch
    names = {"generator_gan", "discriminator_gan", "feature_matching", "equivariance_value", "l1", "l1_face"}
    names |= {"equivariance_jacobian", "l1_keypoints", "l1_edges", "deformation", "keypoints"}
    assert names | {"keypoint_jacobians"} <= lines[0].keys()
    assert [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()] == [4, 8, 12]
    with Image.open(next((out / "pictures").iterdir())) as picture:
        assert picture.size == (5 * SIZE, 2 * SIZE)
    generator, _ = load_checkpoints(checkpoint_path=out / "weights.safetensors", cpu=True)
    assert generator.frame_shape == (SIZE, SIZE, 3)
    kept = sorted(path.name for path in out.glob("*.safetensors"))
    assert kept == ["weights-0001.safetensors", "weights-0002.safetensors", "weights.safetensors"]
    average = state_of(out)["average"]["generator"]
    assert_same(dict(generator.state_dict()), dict(average))
    assert not torch.equal(average["final.weight"], state_of(out)["networks"]["generator"]["final.weight"])


def test_stopping_and_going_on_gives_the_same_numbers(data, tmp_path):
    list(train(training_config(), data, tmp_path / "whole", device="cpu"))
    for steps in (3, 8, None):
        list(train(training_config(), data, tmp_path / "parts", device="cpu", max_steps=steps))
    assert_same(state_of(tmp_path / "whole"), state_of(tmp_path / "parts"))


# Clips of arrays need no package for videos: these processes have none.
PROCESS = """
import sys, json
sys.modules |= dict.fromkeys(["imageio", "imageio_ffmpeg", "skimage", "cv2"])
from fomm.config import config_from_dict
from fomm.training.loop import train
def run(out, save_seconds=0.0):
    config = config_from_dict(json.loads(sys.argv[1]))
    list(train(config, sys.argv[2], out, device="cpu", log_steps=1, save_seconds=save_seconds))
"""


def start(script: str, config, data, *arguments, **options) -> subprocess.Popen:
    """Start a process with the arguments configuration, data, and further ones."""
    command = [sys.executable, "-c", PROCESS + script, json.dumps(config.to_dict()), data, *arguments]
    return subprocess.Popen([str(item) for item in command], text=True, **options)


def wait_for(path, process) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Forks one life of the run after the other, and kills each at a random moment: every fourth soon after its
# start, the others after their first state is written.
KILLS = """
import os, random, signal, time
from pathlib import Path
import torch
whole, out, kills = Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5])
run(whole)
state, rng = out / "state.pt", random.Random(1)
def written():
    return state.stat().st_mtime_ns if state.exists() else 0
for kill in range(kills):
    before = written()
    if (child := os.fork()) == 0:
        run(out)
        os._exit(0)
    while kill % 4 != 3 and written() == before:
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.2))
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status), f"life {kill} ended by itself"
    print(torch.load(state, weights_only=True)["step"], flush=True)  # whole, whenever it was
run(out)
"""


def check_kills(kills: int, epochs: int, data, tmp_path) -> None:
    config = training_config(num_epochs=epochs, num_repeats=8, checkpoint_freq=epochs)
    folders = tmp_path / "whole", tmp_path / "killed"
    process = start(KILLS, config, data, *folders, kills, stdout=subprocess.PIPE)
    steps = [int(line) for line in process.communicate(timeout=600)[0].split()]
    total = epochs * 3 * 8 // 2
    assert process.returncode == 0
    assert len(steps) == kills
    assert steps == sorted(steps)
    assert steps[-1] < total
    assert_same(*map(state_of, folders))
    one, other = (
        load_checkpoints(checkpoint_path=path / "weights.safetensors", cpu=True) for path in folders
    )
    for network, again in zip(one, other, strict=True):
        assert_same(dict(network.state_dict()), dict(again.state_dict()))
    for folder in folders:
        lines = (folder / "log.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == list(range(1, total + 1))


def test_killed_three_times_the_run_goes_on_as_if_nothing_had_been(data, tmp_path):
    check_kills(3, 3, data, tmp_path)


@pytest.mark.slow
def test_killed_two_dozen_times_the_run_goes_on_as_if_nothing_had_been(data, tmp_path):
    check_kills(24, 12, data, tmp_path)


class Killed(BaseException):
    """In the place of SIGKILL: nothing catches it."""


@pytest.mark.parametrize("writes", range(3))
def test_killed_between_the_files_of_its_end_none_is_missing_or_old(data, tmp_path, monkeypatch, writes):
    """Its last step writes a kept epoch, the weights and the state: after some of them it dies."""
    config = training_config(num_epochs=1)
    list(train(config, data, tmp_path / "whole", device="cpu"))
    out, done = tmp_path / "killed", []
    list(train(config, data, out, device="cpu", max_steps=4))

    def dying(write):
        def call(*args, **options):
            if len(done) == writes:
                raise Killed
            done.append(write(*args, **options))

        return call

    with monkeypatch.context() as patch:
        patch.setattr(state, "save_weights", dying(state.save_weights))
        patch.setattr(torch, "save", dying(torch.save))
        with pytest.raises(Killed):
            list(train(config, data, out, device="cpu"))
    list(train(config, data, out, device="cpu"))
    for name in ("weights.safetensors", "weights-0001.safetensors"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_a_run_that_is_over_writes_its_weights_again(data, tmp_path):
    list(train(training_config(), data, tmp_path, device="cpu", max_steps=2))
    weights = tmp_path / "weights.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    assert not list(train(training_config(), data, tmp_path, device="cpu", max_steps=2))
    assert weights.read_bytes() == content


def test_what_a_kill_left_half_written_is_removed(data, tmp_path):
    out = tmp_path / "run"
    (out / "pictures").mkdir(parents=True)
    left = [
        ".state.0123abcd.part.pt",
        ".weights-0010.0123abcd.part.safetensors",
        "pictures/.1.0123abcd.part.png",
    ]
    for name in (*left, ".notes.part.txt", "part.pt"):
        (out / name).touch()
    list(train(training_config(), data, out, device="cpu", max_steps=1))
    assert {path.name for path in out.rglob("*part*")} == {".notes.part.txt", "part.pt"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_saves_first(data, tmp_path, number):
    config = training_config(num_epochs=100_000)
    process = start("run(sys.argv[3], save_seconds=1e9)", config, data, tmp_path, stderr=subprocess.PIPE)
    wait_for(tmp_path / "log.jsonl", process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    if number == signal.SIGTERM:
        assert process.returncode == 128 + signal.SIGTERM
        assert not errors
    else:
        assert process.returncode != 0
        assert "KeyboardInterrupt" in errors
    done = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert state_of(tmp_path)["step"] == done[-1]  # of the very step that it had made
    load_checkpoints(checkpoint_path=tmp_path / "weights.safetensors", cpu=True)


def test_on_a_full_disk_the_state_before_stays(data, tmp_path):
    config = training_config(checkpoint_freq=2)
    list(train(config, data, tmp_path / "run", device="cpu", max_steps=2))
    before = state_of(tmp_path / "run")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(TrainingError, match=r"cannot write .*: .*goes on from the state before"):
            list(train(config, data, tmp_path / "run", device="cpu"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_same(before, state_of(tmp_path / "run"))
    assert not list((tmp_path / "run").glob(".*"))
    list(train(config, data, tmp_path / "run", device="cpu"))
    assert state_of(tmp_path / "run")["step"] == 12


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched(data, tmp_path, monkeypatch):
    list(train(training_config(), data, tmp_path / "run", device="cpu", max_steps=2))
    before = state_of(tmp_path / "run")
    seen = {}
    losses = objective.generator_losses

    def broken(networks, *args):
        terms, output = losses(networks, *args)
        seen["weights"] = {
            k: v.clone() for k, v in networks.generator.state_dict().items() if "num_" not in k
        }
        seen["networks"] = networks
        return terms | {"l1": terms["l1"] * float("nan")}, output

    monkeypatch.setattr(objective, "generator_losses", broken)
    with pytest.raises(TrainingError, match="step 2: the loss l1 is nan"):
        list(train(training_config(), data, tmp_path / "run", device="cpu"))
    after = seen["networks"].generator.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in seen["weights"].items())
    assert_same(before, state_of(tmp_path / "run"))


@pytest.mark.parametrize("clip_norm", [10, None])
@pytest.mark.parametrize("name", ["generator", "kp_detector", "discriminator"])
def test_a_gradient_that_is_not_finite_changes_no_weight(data, tmp_path, monkeypatch, name, clip_norm):
    """The loss itself is finite: a root of zero, whose slope has no end."""
    list(train(training_config(clip_norm=clip_norm), data, tmp_path / "run", device="cpu", max_steps=2))
    before, seen = state_of(tmp_path / "run"), {}
    kind = "discriminator_losses" if name == "discriminator" else "generator_losses"
    losses = getattr(objective, kind)

    def broken(networks, *args):
        result = losses(networks, *args)
        terms = result if name == "discriminator" else result[0]
        parameters = dict(getattr(networks, name, networks).named_parameters())
        terms["broken"] = (0 * next(iter(parameters.values())).sum()).sqrt()
        return result

    def noted(self, *args):
        seen["parts"] = self.run.parts
        return call(self, *args)

    call = Step.__call__
    monkeypatch.setattr(objective, kind, broken)
    monkeypatch.setattr(Step, "__call__", noted)
    with pytest.raises(TrainingError, match=f"step 2: the gradients of {name} are not finite"):
        list(train(training_config(clip_norm=clip_norm), data, tmp_path / "run", device="cpu"))
    for part, network in seen["parts"].items():
        for key, value in network.named_parameters():
            assert torch.equal(value, before["networks"][part][key]), f"{part}.{key}"
    assert_same(before, state_of(tmp_path / "run"))


def test_losses_of_a_frozen_network_alone_are_a_mistake(data, tmp_path):
    weights = dict.fromkeys(TRAIN["loss_weights"], 0) | {"feature_matching": [], "perceptual": []}
    config = training_config(lr_kp_detector=0, loss_weights=weights | {"keypoints": 10})
    words = r"\(keypoints\) depends on a network that trains \(generator\); change a learning rate"
    with pytest.raises(ConfigError, match=words):
        list(train(config, data, tmp_path / "run", device="cpu"))


def test_a_missing_sidecar_is_named_where_a_loss_needs_it(data, tmp_path):
    (data / "train" / "b#1.landmarks.npz").unlink()
    weights = dict.fromkeys(("l1_face", "l1_keypoints", "deformation", "keypoints", "keypoint_jacobians"), 0)
    for name in weights:
        config = training_config(loss_weights=weights | {name: 1})
        with pytest.raises(InputError, match=r"b#1\.npz has no b#1\.landmarks\.npz"):
            list(train(config, data, tmp_path / "run", device="cpu"))
    list(train(training_config(loss_weights=weights), data, tmp_path / "run", device="cpu", max_steps=1))


def test_frozen_parts_stay(data, tmp_path):
    start = training_config()
    generator, kp_detector = build_networks(start)
    save_weights(tmp_path / "init.safetensors", generator, kp_detector, start)
    frozen = training_config(lr_kp_detector=0, freeze_norm=True)
    list(train(frozen, data, tmp_path / "run", device="cpu", init=tmp_path / "init.safetensors", max_steps=3))
    networks = state_of(tmp_path / "run")["networks"]
    assert_same(dict(networks["kp_detector"]), dict(kp_detector.state_dict()))
    for key, value in generator.state_dict().items():
        changed = not torch.equal(value, networks["generator"][key])
        if "running" in key or "num_batches" in key:
            assert not changed, key
    assert not torch.equal(generator.final.weight, networks["generator"]["final.weight"])


def begin(config, folder, init=None):
    """Return a run as it begins or goes on, before its first step."""
    run = state.Run(config, config.train_params, Processes("cpu"))
    state.resume_or_start(run, folder / "state.pt", init)
    return run


def frozen(run) -> set[bool]:
    """Return whether batch norms keep their statistics, of all that there are."""
    modules = [module for network in run.parts.values() for module in network.modules()]
    return {not norm.training for norm in modules if isinstance(norm, torch.nn.BatchNorm2d)}


@pytest.mark.parametrize("told", [None, True, False])
def test_norms_stay_as_they_were_in_the_start_unless_told_otherwise(data, tmp_path, told):
    config = training_config(freeze_norm=told)
    for before in (True, False):
        first, half = tmp_path / f"first-{before}", tmp_path / "half.safetensors"
        list(train(training_config(freeze_norm=before), data, first, device="cpu", max_steps=1))
        convert(first / "weights.safetensors", half, half=True)
        wanted = {before if told is None else told}
        for init in (first / "weights.safetensors", half):
            assert frozen(begin(config, tmp_path, init)) == wanted
        assert frozen(begin(config, first)) == wanted  # one that goes on
        list(train(config, data, tmp_path / f"{before}", device="cpu", init=half, max_steps=1))
        assert (
            frozen(begin(training_config(), tmp_path, tmp_path / f"{before}" / "weights.safetensors"))
            == wanted
        )


def test_from_nothing_and_from_files_that_do_not_say_no_norm_is_frozen(tmp_path):
    assert frozen(begin(training_config(), tmp_path)) == {False}
    run = begin(golden_config(), tmp_path, GOLDEN / "tiny-cpk.pth.tar")
    assert frozen(run) == {False}
    torch.save(
        {key: value for key, value in run.state_dict().items() if key != "freeze_norm"}, tmp_path / "state.pt"
    )
    assert frozen(begin(golden_config(), tmp_path)) == {False}


@pytest.mark.parametrize("name", ["heads-128", "heads-256"])
def test_the_weights_that_ship_begin_with_frozen_norms(tmp_path, name):
    shipped, again = ROOT / "checkpoints" / "heads-256.safetensors", tmp_path / "again.safetensors"
    convert(shipped, again)
    for init in (shipped, again):
        assert frozen(begin(load_config(name), tmp_path, init)) == {True}


def test_a_run_says_whether_its_norms_are_frozen(data, tmp_path):
    for told in (True, False):
        out = tmp_path / str(told)
        lines = list(
            train(training_config(freeze_norm=told), data, out, device="cpu", log_steps=1, max_steps=1)
        )
        assert json.loads((out / "settings.json").read_text())["freeze_norm"] is told
        assert json.loads((out / "log.jsonl").read_text())["freeze_norm"] == lines[0]["freeze_norm"] == told
        shown = progress_line(lines[0])
        assert ("  norms frozen  " in shown) == told
        assert "freeze_norm" not in shown


def test_key_points_alone_train_without_the_generator(data, tmp_path, monkeypatch):
    weights = dict.fromkeys(TRAIN["loss_weights"], 0) | {"feature_matching": [10], "perceptual": []}
    monkeypatch.setattr(OcclusionAwareGenerator, "forward", None)
    weights |= {
        "keypoints": 10,
        "keypoint_jacobians": 1,
    }  # feature matching alone, without a gan term, is none
    only = training_config(None, lr_generator=0, num_epochs=12, epoch_milestones=[12], loss_weights=weights)
    lines = list(train(only, data, tmp_path / "run", device="cpu", log_steps=24))
    assert lines[0].keys() >= {"keypoints", "keypoint_jacobians"}
    assert "l1" not in lines[0]
    assert lines[-1]["keypoints"] < 0.9 * lines[0]["keypoints"]


def test_mistakes_are_named(data, tmp_path):
    no_training = config_from_dict(
        {k: v for k, v in training_config().to_dict().items() if k != "train_params"}
    )
    with pytest.raises(ConfigError, match="train_params"):
        list(train(no_training, data, tmp_path / "run"))
    with pytest.raises(ConfigError, match="all learning rates are 0"):
        list(
            train(
                training_config(lr_generator=0, lr_discriminator=0, lr_kp_detector=0), data, tmp_path / "run"
            )
        )
    weights = dict.fromkeys(TRAIN["loss_weights"], 0) | {"feature_matching": [], "perceptual": []}
    with pytest.raises(ConfigError, match="none of the weighted losses"):
        list(train(training_config(loss_weights=weights), data, tmp_path / "run"))
    with pytest.raises(InputError, match="precision is one of float32, bfloat16, not 'half'"):
        list(train(training_config(), data, tmp_path / "run", precision="half"))
    with pytest.raises(InputError, match="is not a folder"):
        list(train(training_config(), tmp_path / "nothing", tmp_path / "run"))
    words = r"data/train has no folder train: training data are .*data/train/train/PERSON#CLIP\.npz"
    with pytest.raises(InputError, match=words):
        list(train(training_config(), data / "train", tmp_path / "run"))
    (tmp_path / "empty" / "train").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no clips"):
        list(train(training_config(), tmp_path / "empty", tmp_path / "run"))
    with pytest.raises(CheckpointError):
        list(train(training_config(), data, tmp_path / "run", init=GOLDEN / "tiny-cpk.pth.tar"))
    (tmp_path / "run" / "state.pt").write_bytes(b"no state")
    with pytest.raises(CheckpointError, match="is no state of this run"):
        list(train(training_config(), data, tmp_path / "run"))


def test_bfloat16_gives_nearly_the_same_losses(data, tmp_path):
    first = [
        next(
            train(
                training_config(), data, tmp_path / precision, device="cpu", log_steps=1, precision=precision
            )
        )
        for precision in ("float32", "bfloat16")
    ]
    names = first[0].keys() - {"step", "of", "seconds_per_step", "seconds_left"}
    for name in names:
        error = abs(first[0][name] - first[1][name])
        assert error <= 0.03 * abs(first[0][name]) + 1e-4, f"{name}: {first[0][name]} and {first[1][name]}"
    assert any(first[0][name] != first[1][name] for name in names)


def test_bfloat16_in_software_warns(data, tmp_path, monkeypatch):
    able = {"architecture": "x86_64", "avx2": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    with pytest.warns(UserWarning, match="no instructions for bfloat16"):
        list(train(training_config(), data, tmp_path, device="cpu", precision="bfloat16", max_steps=1))


def test_weights_are_a_start_at_another_size(data, tmp_path):
    list(train(training_config(), data, tmp_path / "small", device="cpu", max_steps=1))
    twice = training_config().to_dict()
    twice["dataset_params"]["frame_shape"] = [2 * SIZE, 2 * SIZE, 3]
    model = twice["model_params"]
    model["kp_detector_params"]["scale_factor"] = 0.5
    model["generator_params"]["dense_motion_params"]["scale_factor"] = 0.5
    init = tmp_path / "small" / "weights.safetensors"
    frozen = twice["train_params"] | {"lr_kp_detector": 0.0}
    large = config_from_dict(twice | {"train_params": frozen})
    list(train(large, data, tmp_path / "large", device="cpu", init=init, max_steps=1))
    generator, kp_detector = load_checkpoints(
        checkpoint_path=tmp_path / "large" / "weights.safetensors", cpu=True
    )
    assert generator.frame_shape == (2 * SIZE, 2 * SIZE, 3)
    assert kp_detector.down is not None
    _, before = load_checkpoints(checkpoint_path=init, cpu=True)
    after = {key: value for key, value in kp_detector.state_dict().items() if key != "down.weight"}
    assert_same(dict(before.state_dict()), after)


def golden_config(**discriminator):
    """Return the configuration of the golden checkpoint, with a schedule."""
    tiny = yaml.safe_load((GOLDEN / "tiny.yaml").read_text())
    tiny["model_params"]["discriminator_params"] |= discriminator
    own = training_config().to_dict()["train_params"]
    weights = own["loss_weights"] | {"feature_matching": [10, 10, 10]}
    return config_from_dict(tiny | {"train_params": own | {"loss_weights": weights}})


def test_the_discriminator_of_a_checkpoint_is_a_start_where_it_fits(tmp_path):
    file = GOLDEN / "tiny-cpk.pth.tar"
    held = read_checkpoint(file).tensors

    def first_discriminator(config):
        run = state.Run(config, config.train_params, Processes("cpu"))
        state.resume_or_start(run, tmp_path / "none.pt", file)
        assert torch.equal(run.networks.generator.final.weight, held["generator.final.weight"])
        assert_same(run.average["generator"], dict(run.networks.generator.state_dict()))
        return run.networks.discriminator

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        taken = first_discriminator(golden_config())
    for key, value in taken.state_dict().items():
        assert torch.equal(value, held[f"discriminator.{key}"]), key
    with pytest.warns(UserWarning, match=r"tiny-cpk.pth.tar is not taken: .*mis-shaped.*begins anew"):
        first_discriminator(golden_config(use_kp=False))
    alone = golden_config().to_dict()
    alone["train_params"]["loss_weights"]["generator_gan"] = 0.0
    with pytest.warns(UserWarning, match=r"is not taken: this run has none"):
        assert first_discriminator(config_from_dict(alone)) is None


def test_a_checkpoint_that_does_not_tell_its_network_is_a_start(data, tmp_path):
    """Its tensors cannot tell a scale of 0.4, and it has no configuration: the run's own is its."""
    own = training_config().to_dict()
    own["model_params"]["kp_detector_params"]["scale_factor"] = 0.4
    config = config_from_dict(own)
    generator, kp_detector = build_networks(config)
    file = tmp_path / "cpk.pth.tar"
    torch.save({"generator": generator.state_dict(), "kp_detector": kp_detector.state_dict()}, file)
    with pytest.raises(CheckpointError, match="give the configuration of its training"):
        load_checkpoints(checkpoint_path=file)
    frozen = config_from_dict(own | {"train_params": own["train_params"] | {"lr_kp_detector": 0.0}})
    list(train(frozen, data, tmp_path / "run", device="cpu", init=file, max_steps=1))
    assert_same(state_of(tmp_path / "run")["networks"]["kp_detector"], kp_detector.state_dict())


def test_rates_climb_for_as_many_steps_as_asked_and_fall_at_milestones():
    for warmup, wanted in ((0, [1, 1, 1, 0.1]), (4, [0.25, 0.5, 1, 0.1])):
        config = training_config(warmup_steps=warmup)
        run = state.Run(config, config.train_params, Processes("cpu"))
        for (run.step, epoch), share in zip([(0, 0), (1, 0.1), (3, 0.9), (9, 1)], wanted, strict=True):
            run.set_rate(epoch)
            rates = [group["lr"] for optimizer in run.optimizers.values() for group in optimizer.param_groups]
            assert rates == pytest.approx(3 * [1e-3 * share]), (warmup, epoch)


def test_rates_fall_along_half_a_cosine():
    config = training_config(num_epochs=8, cosine_end=0.1, epoch_milestones=[1], warmup_steps=4)
    run = state.Run(config, config.train_params, Processes("cpu"))
    run.step = 3  # the last of the warm-up
    for epoch, share in (
        (0, 1),
        (2, 0.55 + 0.45 / 2**0.5),
        (4, 0.55),
        (6, 0.55 - 0.45 / 2**0.5),
        (8, 0.1),
        (9, 0.1),
    ):
        run.set_rate(epoch)
        assert run.optimizers["generator"].param_groups[0]["lr"] == pytest.approx(1e-3 * share), epoch
    run.step = 0
    run.set_rate(4)
    assert run.optimizers["generator"].param_groups[0]["lr"] == pytest.approx(1e-3 * 0.55 / 4)


def test_a_run_of_so_many_minutes_follows_the_cosine_by_its_clock(data, tmp_path, monkeypatch):
    config, rates, set_rate = training_config(num_epochs=1000, cosine_end=0.01), [], state.Run.set_rate

    def noted(run, epoch):
        set_rate(run, epoch)
        rates.append((run.seconds / 6, run.optimizers["generator"].param_groups[0]["lr"] / 1e-3))

    monkeypatch.setattr(state.Run, "set_rate", noted)
    list(train(config, data, tmp_path / "run", device="cpu", minutes=0.1))
    assert len(rates) > 10
    for done, share in rates:
        assert share == pytest.approx(0.505 + 0.495 * math.cos(math.pi * done))
    assert rates[-1][1] < 0.03


def test_a_schedule_by_hand():
    """5 items x 4 repeats in batches of 3 are 7 steps; 2 epochs of them are 14."""
    params = training_config(num_epochs=2, num_repeats=4, batch_size=3, checkpoint_freq=2).train_params
    schedule = plan_schedule(params, 5, 0, 0.0, None, None)
    assert (schedule.steps_per_epoch, schedule.steps_per_checkpoint, schedule.last_step) == (7, 14, 14)
    assert [schedule.epoch_at(step, 99.0) for step in (0, 7, 14)] == [0, 1, 2]
    assert [schedule.is_over(step, 1e9) for step in (13, 14)] == [False, True]
    assert plan_schedule(params, 5, 3, 1e9, 10, None).last_step == 10
    timed = plan_schedule(params, 5, 3, 30.0, None, 1.0)
    assert (timed.last_step, timed.seconds_left(30.0), timed.epoch_at(3, 30.0)) == (14, 30, 1)
    assert [timed.is_over(3, seconds) for seconds in (59.0, 60.0)] == [False, True]
    assert plan_schedule(params, 5, 3, 60.0, None, 1.0).last_step == 3  # its time is over: no step more


def test_with_id_sampling_an_epoch_goes_through_people_as_published(data, tmp_path):
    """Three clips of two people: 2 x 4 repeats / 2 pairs are 4 steps of an epoch, and 2 epochs are 8."""
    people = training_config().to_dict()
    people["dataset_params"]["id_sampling"] = True
    list(train(config_from_dict(people), data, tmp_path, device="cpu"))
    assert state_of(tmp_path)["step"] == 8
    assert (tmp_path / "weights-0001.safetensors").exists()


def test_a_run_of_so_many_minutes_ends_in_time_and_lowers_its_rate(data, tmp_path):
    config = training_config(num_epochs=1000, epoch_milestones=[500])
    lines = list(train(config, data, tmp_path / "run", device="cpu", log_steps=1, minutes=0.05))
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert 3 <= state["seconds"] < 6
    assert state["step"] == lines[-1]["step"] < lines[-1]["of"]
    rate = state["optimizers"]["generator"]["param_groups"][0]["lr"]
    assert rate == pytest.approx(1e-4)  # a tenth: the milestone is behind
    assert not list(train(config, data, tmp_path / "run", device="cpu", minutes=0.05))  # it is over


def test_one_process_alone_prints(data, tmp_path, monkeypatch, capsys):
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump(training_config().to_dict()))
    monkeypatch.setattr(loop, "train", lambda *args, **options: iter(()))
    for rank, said in (("0", "run/weights.safetensors: the weights for use\n"), ("1", "")):
        monkeypatch.setenv("RANK", rank)
        assert main(["train", "--config", str(config), "--data", str(data), "--out", "run"]) == 0
        assert capsys.readouterr().out == said


@pytest.mark.parametrize(("choice", "said"), [(None, 1), ("efficientnet-lite0", 0)])
def test_a_stand_in_for_vgg_is_said_where_nobody_chose_it(data, tmp_path, monkeypatch, choice, said):
    monkeypatch.setattr(step, "load_perceptual_network", lambda choice: EfficientNetLite0Features())
    config = training_config(loss_weights={"perceptual": [10, 10, 10, 10, 10]})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        list(train(config, data, tmp_path, device="cpu", perceptual=choice, max_steps=1))
    assert sum("use --perceptual vgg19" in str(warning.message) for warning in caught) == said
    assert json.loads((tmp_path / "settings.json").read_text())["perceptual"] == "EfficientNetLite0Features"


@pytest.mark.slow
def test_compiled_networks_train_alike(data, tmp_path, monkeypatch):
    """All three networks, by all losses of the configuration."""
    if shutil.which("c++") is None:
        pytest.skip("torch.compile needs a C++ compiler on a CPU")
    compiled_parts, compile = [], torch.nn.Module.compile

    def noted(module):
        compiled_parts.append(type(module).__name__)
        compile(module)

    monkeypatch.setattr(torch.nn.Module, "compile", noted)
    lines = [
        list(train(training_config(), data, out, device="cpu", compile=compiled, max_steps=2, log_steps=2))
        for compiled, out in ((False, tmp_path / "plain"), (True, tmp_path / "compiled"))
    ]
    assert compiled_parts == ["OcclusionAwareGenerator", "KPDetector", "MultiScaleDiscriminator"]
    (plain,), (compiled,) = lines
    names = plain.keys() - {"seconds_per_step", "seconds_left"}
    assert {"l1", "generator_gan", "discriminator_gan", "keypoints", "deformation"} <= names
    for name in names:
        assert compiled[name] == pytest.approx(plain[name], rel=1e-2), name


@pytest.mark.slow
def test_tensorboard_gets_its_files(data, tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    list(train(training_config(), data, tmp_path / "run", device="cpu", log_steps=4, tensorboard=True))
    events = reader.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("l1")] == [4, 8, 12]
    assert events.Tags()["images"] == ["pictures"]


def test_tensorboard_is_an_extra(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with pytest.raises(MissingExtraError, match="pip install tensorboard"):
        list(train(training_config(), data, tmp_path / "run", device="cpu", tensorboard=True))


def test_motion_alone_trains_without_painting(data, tmp_path, monkeypatch):
    weights = dict.fromkeys(TRAIN["loss_weights"], 0) | {"feature_matching": [], "perceptual": []}
    monkeypatch.setattr(OcclusionAwareGenerator, "decode", None)
    only = training_config(
        None,
        lr_kp_detector=0,
        num_epochs=12,
        epoch_milestones=[12],
        loss_weights=weights | {"deformation": 10},
    )
    lines = list(train(only, data, tmp_path / "run", device="cpu", log_steps=24))
    assert lines[0].keys() >= {"deformation"}
    assert "l1" not in lines[0]
    assert lines[-1]["deformation"] < 0.9 * lines[0]["deformation"], lines
