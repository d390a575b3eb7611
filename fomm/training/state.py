"""What a training run holds, networks, optimisers and the running average, and how it is saved and loaded."""

import math
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

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.part\.[a-z]+")  # the names of files that ``atomic_path`` writes


class Run:
    """Networks, optimisers and the running average of one training: what ``state.pt`` holds.

    Args:
        config: describes the networks.
        params: the configuration's ``train_params``.
        processes: where the networks are put, and how many processes their batch norms see.

    Attributes:
        networks: on the device, in training mode.
        rates: the learning rate of each network that trains, by name.
        optimizers: of each network that trains, by name.
        average: the running average of the weights, by network and name. Empty without ``ema_decay``.
        freeze_norm: whether batch norms keep their statistics. The configuration says so; if it does not, it
            is as in the training of the weights that the run starts from.
        step: how many steps the run has made.
        seconds: how long these steps took, over all starts of the run.

    Raises:
        ConfigError: all learning rates are 0.
    """

    def __init__(self, config: Config, params: TrainParams, processes: Processes) -> None:
        self.params = params
        generator, kp_detector = build_networks(config)
        # as published: there is a discriminator only where the generator has an adversarial term
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
        self.set_train_mode()
        self.start_average()

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The networks by name: ``generator``, ``kp_detector`` and, where there is one, ``discriminator``."""
        return {name: network for name, network in self.networks._asdict().items() if network is not None}

    def set_train_mode(self) -> None:
        """Put what trains in training mode; frozen networks and frozen batch norms keep their statistics."""
        for name, network in self.parts.items():
            network.train(name in self.rates)
            if self.freeze_norm:
                for module in network.modules():
                    if isinstance(module, nn.modules.batchnorm._BatchNorm):
                        module.eval()
        if self.params.true_motion:  # only the parts that encode and paint train
            self.networks.kp_detector.eval()
            self.networks.generator.dense_motion_network.eval()

    def inherit_freeze_norm(self, before: bool) -> None:
        """Freeze the batch norms if they were frozen ``before``, unless the configuration says what to do."""
        if self.params.freeze_norm is None:
            self.freeze_norm = before
            self.set_train_mode()

    def start_average(self) -> None:
        """Begin the running average at the present weights, where the configuration has ``ema_decay``."""
        if self.params.ema_decay is not None:
            self.average = {
                name: {key: value.detach().clone() for key, value in self.parts[name].state_dict().items()}
                for name in ("generator", "kp_detector")
            }

    @torch.no_grad()
    def update_average(self) -> None:
        """Set average = decay * average + (1 - decay) * weights.

        The decay grows over the first steps, so that the random first weights are soon forgotten.
        """
        decay = min(self.params.ema_decay or 0, (1 + self.step) / (10 + self.step))
        for name, average in self.average.items():
            state = self.parts[name].state_dict()
            floats = [key for key, value in state.items() if value.is_floating_point()]
            counts = [key for key, value in state.items() if not value.is_floating_point()]
            # one launch for all of them on a GPU
            torch._foreach_lerp_([average[key] for key in floats], [state[key] for key in floats], 1 - decay)
            if counts:
                torch._foreach_copy_([average[key] for key in counts], [state[key] for key in counts])

    def set_rate(self, epoch: float) -> None:
        """Set the learning rates for the next step.

        They fall tenfold at each milestone, or with ``cosine_end`` along half a cosine over all epochs. Over
        the first ``warmup_steps`` steps they climb from 0.

        Args:
            epoch: how far the run is, see ``Schedule.epoch_at``.
        """
        end = self.params.cosine_end
        if end is None:
            factor = 0.1 ** sum(epoch >= milestone for milestone in self.params.epoch_milestones)
        else:
            done = min(1.0, epoch / self.params.num_epochs)
            factor = end + (1 - end) * (1 + math.cos(math.pi * done)) / 2
        if self.params.warmup_steps:
            factor *= min(1.0, (self.step + 1) / self.params.warmup_steps)
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = self.rates[name] * factor

    def state_dict(self) -> dict[str, Any]:
        """Return everything that ``load_state_dict`` needs to go on."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "freeze_norm": self.freeze_norm,
            "networks": {name: network.state_dict() for name, network in self.parts.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "average": self.average,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken by ``state_dict``."""
        for name, network in self.parts.items():
            network.load_state_dict(state["networks"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        for name, average in self.average.items():
            for key, value in average.items():
                value.copy_(state["average"][name][key])
        self.inherit_freeze_norm(state.get("freeze_norm", False))  # older states lack it: nothing was frozen
        self.step, self.seconds = state["step"], state["seconds"]

    def build_averaged(self, config: Config) -> Networks:
        """Return copies for use, in eval mode: of the running average, else of the present weights."""
        generator, kp_detector = build_networks(config)
        chosen = self.average or {name: network.state_dict() for name, network in self.parts.items()}
        generator.load_state_dict(chosen["generator"])
        kp_detector.load_state_dict(chosen["kp_detector"])
        return Networks(generator.eval(), kp_detector.eval())


def remove_leftovers(out: Path) -> None:
    """Remove the files that ``atomic_path`` was writing when the run was killed.

    Args:
        out: the folder of the run.

    Raises:
        TrainingError: it cannot be removed.
    """
    for path in (*out.glob(".*.part.*"), *out.glob("pictures/.*.part.*")):
        if _TEMPORARY.fullmatch(path.name):
            try:
                path.unlink()
            except OSError as reason:
                raise TrainingError(f"cannot remove {path}: {reason.strerror or reason}; do it") from reason


def resume_or_start(run: Run, path: Path, init: str | os.PathLike[str] | None, *, warn: bool = True) -> None:
    """Load the state on disk if there is one, else the weights of ``init``, else keep the random ones.

    Args:
        run: gets the state or the weights.
        path: of ``state.pt``.
        init: see ``start_from``.
        warn: see ``start_from``.

    Raises:
        CheckpointError: a file is damaged, or of other networks.
    """
    if path.exists():
        try:
            run.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except (RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise CheckpointError(
                f"{path} is no state of this run; use another folder, or delete it to begin anew"
            ) from error
    elif init is not None:
        start_from(run, init, warn=warn)
        run.start_average()


def start_from(run: Run, init: str | os.PathLike[str], *, warn: bool) -> None:
    """Load the weights of ``init``.

    Batch norms that were frozen in the training of these weights are frozen in this run too, unless the
    configuration says what to do. The kernels that shrink the picture before the networks see it are not
    loaded: they are no weights, but follow from ``scale_factor``.

    Args:
        run: gets the weights.
        init: a checkpoint of the same networks. It may have been trained for pictures of another size, and
            need not hold its configuration.
        warn: warn where the file's discriminator is not taken.

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
    checkpoint.check_first_order()
    found = checkpoint.tensors
    tensors = own | {key: value for key, value in found.items() if not key.endswith(kernel)}
    networks = {name: network for name, network in run.parts.items() if name != "discriminator"}
    load_strictly(networks, tensors, str(init))
    run.inherit_freeze_norm(bool(checkpoint.resolve_freeze_norm()))
    if any(name.startswith("discriminator.") for name in found):
        reason = _load_discriminator(run, tensors, str(init))
        if reason and warn:
            warnings.warn(f"the discriminator in {init} is not taken: {reason}", stacklevel=2)


def _load_discriminator(run: Run, tensors: dict[str, Tensor], where: str) -> str:
    """Load the discriminator among the tensors, and return "", or why the run's own one stays as it is."""
    if run.networks.discriminator is None:
        return "this run has none (train_params.loss_weights.generator_gan is 0)"
    try:
        load_strictly({"discriminator": run.networks.discriminator}, tensors, where)
    except CheckpointError as reason:
        return f"{reason}; this run's begins anew"
    return ""


def save_run(run: Run, config: Config, out: Path) -> None:
    """Write the weights for use and then the state to go on from; each file is whole at any moment.

    The state comes last: a run that is killed between the two goes on from the state before, and writes both
    files again.

    Args:
        run: what is saved.
        config: is written into the file of the weights.
        out: the folder of the run.

    Raises:
        TrainingError: the disk is full, or cannot be written; the state from before is untouched.
    """
    save_weights_for_use(run, config, out / "weights.safetensors")
    with _write_whole(out / "state.pt") as path:
        torch.save(run.state_dict(), path)


def save_weights_for_use(run: Run, config: Config, path: Path) -> None:
    """Write generator and key-point detector, averaged where there is an average, to a file of weights.

    Raises:
        TrainingError: the disk is full, or cannot be written, or a weight is not finite.
    """
    networks = run.build_averaged(config)
    try:
        save_weights(path, networks.generator, networks.kp_detector, config, freeze_norm=run.freeze_norm)
    except CheckpointError as reason:
        raise TrainingError(f"{reason}; started again, the run goes on from the state before") from reason


@contextmanager
def _write_whole(target: Path) -> Iterator[Path]:
    """Give a path to write to, as ``atomic_path`` does, with one error for whatever goes wrong."""
    try:
        with atomic_path(target, TrainingError) as path:
            yield path
    except (OSError, RuntimeError) as reason:  # torch's writer raises the latter on a full disk
        raise TrainingError(
            f"cannot write {target}: {reason}; make room and start again, "
            "the run goes on from the state before"
        ) from reason
