"""What a training run holds: networks, optimisers and the running average; on disk and back."""

import os
import pickle
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fomm.atomic import atomic_path
from fomm.checkpoint import (
    build_discriminator,
    build_networks,
    load_strictly,
    read_checkpoint,
    save_weights,
)
from fomm.config import Config, TrainParams
from fomm.errors import CheckpointError, ConfigError, TrainingError
from fomm.training.distributed import Processes
from fomm.training.objective import Networks

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.part\.[a-z]+")  # the names that ``atomic_path`` gives


class Run:
    """Networks, optimisers and the running average of one training; what ``state.pt`` holds.

    Attributes:
        freeze_norm: whether batch norms keep their statistics: as the configuration says, else as in the
            training of the weights that the run starts from.
        step: how many steps it has made.
        seconds: how long it took for them, over all its starts.
    """

    def __init__(self, config: Config, params: TrainParams, processes: Processes) -> None:
        self.params = params
        generator, kp_detector = build_networks(config)
        # as published: without an adversarial term for the generator there is no discriminator
        discriminator = build_discriminator(config) if params.loss_weights.generator_gan else None
        self.networks = Networks(generator, kp_detector, discriminator)
        for network in self.parts.values():
            processes.synchronise_norms(network)
            network.to(processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        rates = {
            "generator": params.lr_generator,
            "kp_detector": params.lr_kp_detector,
            "discriminator": params.lr_discriminator,
        }
        self.rates = {name: rates[name] for name in self.parts if rates[name] > 0}
        if not self.rates:
            raise ConfigError("all learning rates are 0: nothing would train; set lr_generator or another")
        fused = processes.device.type == "cuda"
        self.optimizers = {
            name: torch.optim.Adam(self.parts[name].parameters(), lr=rate, betas=(0.5, 0.999), fused=fused)
            for name, rate in self.rates.items()
        }
        for name, network in self.parts.items():
            network.requires_grad_(name in self.rates)
        self.average: dict[str, dict[str, Tensor]] = {}
        self.step, self.seconds = 0, 0.0
        self.freeze_norm = bool(params.freeze_norm)
        self.train_mode()
        self.start_average()

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The networks by name."""
        return {name: network for name, network in self.networks._asdict().items() if network is not None}

    def train_mode(self) -> None:
        """Training mode; frozen networks, and batch norms where asked, keep their statistics."""
        for name, network in self.parts.items():
            network.train(name in self.rates)
            if self.freeze_norm:
                for module in network.modules():
                    if isinstance(module, nn.modules.batchnorm._BatchNorm):
                        module.eval()
        if self.params.true_motion:  # only the painter trains
            self.networks.kp_detector.eval()
            self.networks.generator.dense_motion_network.eval()

    def inherit_freeze_norm(self, before: bool) -> None:
        """Freeze the norms, or not, as ``before``, unless the configuration tells what to do."""
        if self.params.freeze_norm is None:
            self.freeze_norm = before
            self.train_mode()

    def start_average(self) -> None:
        """The average begins at the present weights."""
        if self.params.ema_decay is not None:
            self.average = {
                name: {key: value.detach().clone() for key, value in self.parts[name].state_dict().items()}
                for name in ("generator", "kp_detector")
            }

    @torch.no_grad()
    def update_average(self) -> None:
        """Average = decay * average + (1 - decay) * weights; the decay grows from 0 over the first steps."""
        decay = min(self.params.ema_decay or 0, (1 + self.step) / (10 + self.step))
        for name, average in self.average.items():
            state = self.parts[name].state_dict()
            floats = [key for key, value in state.items() if value.is_floating_point()]
            torch._foreach_lerp_(
                [average[key] for key in floats], [state[key] for key in floats], 1 - decay
            )  # one launch for all of them on a GPU
            for key in state.keys() - set(floats):
                average[key].copy_(state[key])

    def set_rate(self, epoch: float) -> None:
        """The rates fall tenfold at each milestone; where ``warmup_steps`` asks, they climb from 0 first."""
        factor = 0.1 ** sum(epoch >= milestone for milestone in self.params.epoch_milestones)
        if self.params.warmup_steps:
            factor *= min(1.0, (self.step + 1) / self.params.warmup_steps)
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = self.rates[name] * factor

    def state(self) -> dict[str, Any]:
        """Everything that ``restore`` needs."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "freeze_norm": self.freeze_norm,
            "networks": {name: network.state_dict() for name, network in self.parts.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "average": self.average,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where ``state`` was taken."""
        for name, network in self.parts.items():
            network.load_state_dict(state["networks"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        for name, average in self.average.items():
            for key, value in average.items():
                value.copy_(state["average"][name][key])
        self.inherit_freeze_norm(state.get("freeze_norm", False))  # older states do not say: it was not asked
        self.step, self.seconds = state["step"], state["seconds"]

    def averaged(self, config: Config) -> Networks:
        """The networks for use: the running average where there is one, in eval mode."""
        generator, kp_detector = build_networks(config)
        chosen = self.average or {name: network.state_dict() for name, network in self.parts.items()}
        generator.load_state_dict(chosen["generator"])
        kp_detector.load_state_dict(chosen["kp_detector"])
        return Networks(generator.eval(), kp_detector.eval())


def remove_leftovers(out: Path) -> None:
    """What ``atomic_path`` was writing into the folder of a run when the run was killed.

    Raises:
        TrainingError: it cannot be removed.
    """
    for path in (*out.glob(".*.part.*"), *out.glob("pictures/.*.part.*")):
        if _TEMPORARY.fullmatch(path.name):
            try:
                path.unlink()
            except OSError as reason:
                raise TrainingError(f"cannot remove {path}: {reason.strerror or reason}; do it") from reason


def resume_or_start(run: Run, path: Path, init: str | os.PathLike | None, *, say: bool = True) -> None:
    """The state on disk if there is one, else the weights of ``init``, else the random ones.

    ``say`` is that of ``start_from``.
    """
    if path.exists():
        try:
            run.restore(torch.load(path, map_location="cpu", weights_only=True))
        except (RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise CheckpointError(
                f"{path} is no state of this run; use another folder, or delete it to begin anew"
            ) from error
    elif init is not None:
        start_from(run, init, say=say)
        run.start_average()


def start_from(run: Run, init: str | os.PathLike, *, say: bool) -> None:
    """The weights of ``init``, which may be of another size of picture, and need not tell its configuration.

    Norms that were frozen in their training stay so, unless the configuration tells what to do.

    The kernels that shrink the picture first are no weights: they follow from ``scale_factor``, and stay.

    Args:
        say: warn where the file's discriminator is not taken.

    Raises:
        CheckpointError: the file holds other networks, or cannot be read.
    """
    kernel = "down.weight"
    own = {
        f"{name}.{key}": value
        for name, network in run.parts.items()
        for key, value in network.state_dict().items()
        if key.endswith(kernel)
    }
    checkpoint = read_checkpoint(init)
    found = checkpoint.tensors
    tensors = own | {key: value for key, value in found.items() if not key.endswith(kernel)}
    networks = {name: network for name, network in run.parts.items() if name != "discriminator"}
    load_strictly(networks, tensors, str(init))
    run.inherit_freeze_norm(bool(checkpoint.resolve_freeze_norm()))
    if any(name.startswith("discriminator.") for name in found):
        reason = _load_discriminator(run, tensors, str(init))
        if reason and say:
            warnings.warn(f"the discriminator in {init} is not taken: {reason}", stacklevel=2)


def _load_discriminator(run: Run, tensors: dict[str, Tensor], where: str) -> str:
    """Takes the discriminator among the tensors if it fits; else why not, and the run's own stays random."""
    if run.networks.discriminator is None:
        return "this run has none (train_params.loss_weights.generator_gan is 0)"
    try:
        load_strictly({"discriminator": run.networks.discriminator}, tensors, where)
    except CheckpointError as reason:
        return f"{reason}; this run's begins anew"
    return ""


def save(run: Run, config: Config, out: Path) -> None:
    """The weights for use, then the state to go on from; each is whole at any moment.

    In this order: a run that is killed between the two goes on from the state before, and writes both again.

    Raises:
        TrainingError: the disk is full, or cannot be written; the state from before is untouched.
    """
    save_for_use(run, config, out / "weights.safetensors")
    with writing(out / "state.pt") as path:
        torch.save(run.state(), path)


def save_for_use(run: Run, config: Config, path: Path) -> None:
    """The averaged generator and key-point detector, as every other file of weights.

    Raises:
        TrainingError: the disk is full, or cannot be written, or a weight is not finite.
    """
    networks = run.averaged(config)
    try:
        save_weights(path, *networks[:2], config, freeze_norm=run.freeze_norm)
    except CheckpointError as reason:
        raise TrainingError(f"{reason}; started again, the run goes on from the state before") from reason


@contextmanager
def writing(target: Path) -> Iterator[Path]:
    """``atomic_path`` with one error for whatever goes wrong."""
    try:
        with atomic_path(target, TrainingError) as path:
            yield path
    except (OSError, RuntimeError) as reason:  # torch's writer raises the latter on a full disk
        raise TrainingError(
            f"cannot write {target}: {reason}; make room and start again, "
            "the run goes on from the state before"
        ) from reason
