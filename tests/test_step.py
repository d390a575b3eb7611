"""A training step that never waits for its device, and that changes no weight by broken numbers even so."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from training_case import AUGMENTATION, SIZE, training_config, write_clips

from fomm.config import config_from_dict
from fomm.errors import TrainingError
from fomm.heads.dataset import make_dataset
from fomm.training import objective
from fomm.training.augmentation import augment
from fomm.training.dataset import open_pairs
from fomm.training.distributed import Processes
from fomm.training.logs import Meter
from fomm.training.perceptual import EfficientNetLite0Features
from fomm.training.state import Run
from fomm.training.step import Step

LOSSES = {  # beside those of ``training_case``
    "flow": 1,
    "occlusion": 1,
    "motion_keypoints": 1,
    "contrast": 1,
    "source_details": 1,
    "perceptual": [1, 1, 1, 1, 1],
    "keypoint_shares": [0.5] * 16,
}
FUSED = {"fused": True}
TRUE_MOTION = {"flow": 0, "occlusion": 0, "motion_keypoints": 0, "keypoint_shares": []}


def heads_config(augmentation=AUGMENTATION, loss_weights=LOSSES, **params):
    """Return the tiny configuration for drawn heads, which have 16 key points."""
    data = training_config(augmentation, loss_weights=loss_weights, **params).to_dict()
    data["model_params"]["common_params"]["num_kp"] = 16
    return config_from_dict(data)


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    make_dataset(folder, people=2, frames=3, size=SIZE, test_fraction=0, progress=False)
    return folder / "train"


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Return a file of weights for the perceptual loss."""
    path = tmp_path_factory.mktemp("network") / "network.pth"
    torch.save(EfficientNetLite0Features().state_dict(), path)
    return path


class BlockingCopies(TorchDispatchMode):
    """Notes what is copied from the CPU to the device "meta" in a way for which a GPU's CPU would wait."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.device.type == "meta":
            name = str(function)
            moved = "_to_copy" in name and args[0].device.type == "cpu"
            if "lift_fresh" in name or (moved and not (kwargs or {}).get("non_blocking")):
                self.found.append(f"{name} {tuple(result.shape)}")  # the first is ``torch.tensor``'s
        return result


class DistantAdam(torch.optim.Adam):
    """What Adam is to a step on CUDA: it is told there whether to leave the weights as they are."""

    def __init__(self, *args, fused, **options):
        super().__init__(*args, **options)
        self.defaults["fused"] = True
        self.steps = 0

    def step(self):
        assert self.found_inf.device.type == "meta"
        self.steps += 1


@pytest.mark.parametrize(
    "config",
    [
        heads_config(transfer=0.5),
        heads_config(freeze_norm=True, clip_norm=None),
        heads_config(loss_weights=LOSSES | TRUE_MOTION, true_motion=True, found_motion=0.5),
    ],
    ids=["all losses", "frozen norms", "true motion"],
)
def test_a_step_never_waits_for_its_device(config, heads, network, monkeypatch):
    """The device "meta" has shapes and no numbers: whoever asks it for one gets an error."""
    noiseless = replace(config.dataset_params.augmentation_params.degrade_param, noise=0.0, sharpen=1.0)
    augmentation = replace(config.dataset_params.augmentation_params, degrade_param=noiseless)
    monkeypatch.setattr(torch.optim, "Adam", DistantAdam)
    processes, params = Processes("meta"), config.train_params
    run = Run(config, params, processes)
    step = Step(config, run, processes, network, "float32", False)
    pairs = open_pairs(
        heads, config.dataset_params, 2, 0, in_memory=True, device=processes.device,
        with_truth=True, with_flow=True, with_others=bool(params.transfer),
    )  # fmt: skip
    meter = Meter()
    with BlockingCopies() as copies:
        for number in range(3):
            rng = torch.Generator().manual_seed(number)
            losses, _ = step(augment(pairs.get_batch(number), augmentation, rng), rng)
            meter.add(losses)
            run.step += 1
            run.update_average()
    assert not copies.found
    assert {optimizer.steps for optimizer in run.optimizers.values()} == {3}
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        meter.reset()  # the first to ask


@pytest.fixture
def fused(monkeypatch, tmp_path):
    """Return a run on the CPU whose optimisers work as on CUDA, its step, and a batch."""
    config = training_config(None, ema_decay=None)
    adam = torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", lambda *args, **options: adam(*args, **options | FUSED))
    processes = Processes("cpu")
    torch.manual_seed(0)
    run = Run(config, config.train_params, processes)
    step = Step(config, run, processes, None, "float32", False)
    folder = write_clips(tmp_path) / "train"
    pairs = open_pairs(
        folder, config.dataset_params, 2, 0, in_memory=True, device=processes.device, with_truth=True
    )
    return run, step, pairs.get_batch(0)


def weights_of(run):
    return {
        f"{part}.{name}": weight.detach().clone()
        for part, network in run.parts.items()
        for name, weight in network.named_parameters()
    }


@pytest.mark.parametrize("kind", ["a loss", "a gradient", "a gradient of the discriminator"])
def test_where_the_check_comes_later_a_broken_step_still_changes_no_weight(fused, monkeypatch, kind):
    run, step, batch = fused
    rng = torch.Generator().manual_seed(0)
    step(batch, rng)
    run.step += 1
    step.check()
    name = "discriminator_losses" if "discriminator" in kind else "generator_losses"
    losses = getattr(objective, name)

    def broken(network, *args):
        result = losses(network, *args)
        terms = result if "discriminator" in kind else result[0]
        weight = next(getattr(network, "generator", network).parameters()).sum()
        # the root of zero is finite, and its slope is not
        terms["broken"] = weight * float("inf") if kind == "a loss" else (0 * weight).sqrt()
        return result

    before, states = weights_of(run), [dict(o.state_dict()["state"][0]) for o in run.optimizers.values()]
    states = [{key: value.clone() for key, value in state.items()} for state in states]
    with monkeypatch.context() as patch:
        patch.setattr(objective, name, broken)
        step(batch, rng)
    run.step += 1
    for weight, value in weights_of(run).items():
        assert torch.equal(value, before[weight]), weight
    for optimizer, state in zip(run.optimizers.values(), states, strict=True):
        for key, value in optimizer.state_dict()["state"][0].items():
            assert torch.equal(value, state[key]), key
    step(batch, rng)  # the next one is whole, and trains
    assert any(not torch.equal(value, before[weight]) for weight, value in weights_of(run).items())
    words = "the loss broken is -?inf" if kind == "a loss" else "the gradients of .*(generator|discriminator)"
    with pytest.raises(TrainingError, match=rf"step 1: {words}.*no weight was changed"):
        step.check()
