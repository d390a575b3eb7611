"""What a training run holds: networks, optimisers and the running average; on disk and back."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fomm.atomic import atomic_path
from fomm.checkpoint import build_discriminator, build_networks, load_checkpoints, save_weights
from fomm.config import Config, TrainParams
from fomm.errors import CheckpointError
from fomm.training.objective import Networks


class Run:
    """Networks, optimisers and the running average of one training; what ``state.pt`` holds."""

    def __init__(self, config: Config, params: TrainParams, device: torch.device) -> None:
        self.params = params
        generator, kp_detector = build_networks(config)
        # as published: without an adversarial term for the generator there is no discriminator
        discriminator = build_discriminator(config) if params.loss_weights.generator_gan else None
        self.networks = Networks(generator, kp_detector, discriminator)
        for network in self.parts.values():
            network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        rates = {
            "generator": params.lr_generator,
            "kp_detector": params.lr_kp_detector,
            "discriminator": params.lr_discriminator,
        }
        self.rates = {name: rates[name] for name in self.parts if rates[name] > 0}
        self.optimizers = {
            name: torch.optim.Adam(self.parts[name].parameters(), lr=rate, betas=(0.5, 0.999))
            for name, rate in self.rates.items()
        }
        for name, network in self.parts.items():
            network.requires_grad_(name in self.rates)
        self.average: dict[str, dict[str, Tensor]] = {}
        self.step = 0
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
            if self.params.freeze_norm:
                for module in network.modules():
                    if isinstance(module, nn.BatchNorm2d):
                        module.eval()

    def start_average(self) -> None:
        """The average begins at the present weights."""
        if self.params.ema_decay is not None:
            self.average = {
                name: {key: value.detach().clone() for key, value in self.parts[name].state_dict().items()}
                for name in ("generator", "kp_detector")
            }

    @torch.no_grad()
    def update_average(self) -> None:
        """average = decay * average + (1 - decay) * weights; the decay grows from 0 over the first steps."""
        decay = min(self.params.ema_decay or 0, (1 + self.step) / (10 + self.step))
        for name, average in self.average.items():
            for key, value in self.parts[name].state_dict().items():
                if value.is_floating_point():
                    average[key].lerp_(value, 1 - decay)
                else:
                    average[key].copy_(value)

    def set_rate(self, epoch: float, step: int) -> None:
        """The rates fall tenfold at each milestone; the first steps of a run climb to them."""
        factor = 0.1 ** sum(epoch >= milestone for milestone in self.params.epoch_milestones)
        factor *= min(1.0, (step + 1) / 100)
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = self.rates[name] * factor

    def state(self) -> dict[str, Any]:
        """Everything that ``restore`` needs."""
        return {
            "step": self.step,
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
        self.average = state["average"]
        self.step = state["step"]

    def averaged(self, config: Config) -> Networks:
        """The networks for use: the running average where there is one, in eval mode."""
        generator, kp_detector = build_networks(config)
        chosen = self.average or {name: network.state_dict() for name, network in self.parts.items()}
        generator.load_state_dict(chosen["generator"])
        kp_detector.load_state_dict(chosen["kp_detector"])
        return Networks(generator.eval(), kp_detector.eval())


def resume_or_start(run: Run, path: Path, init: str | os.PathLike | None) -> None:
    """The state on disk if there is one, else the weights of ``init``, else the random ones."""
    if path.exists():
        try:
            run.restore(torch.load(path, map_location="cpu", weights_only=True))
        except (RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise CheckpointError(
                f"{path} is no state of this run; use another folder, or delete it to begin anew"
            ) from error
    elif init is not None:
        generator, kp_detector = load_checkpoints(checkpoint_path=init, device="cpu")
        try:
            run.networks.generator.load_state_dict(generator.state_dict())
            run.networks.kp_detector.load_state_dict(kp_detector.state_dict())
        except RuntimeError as error:
            raise CheckpointError(f"{init} holds another network than the configuration: {error}") from error
        run.start_average()


def save(run: Run, config: Config, out: Path) -> None:
    """The state to go on from, and the weights for use; each is whole at any moment."""
    with atomic_path(out / "state.pt") as path:
        torch.save(run.state(), path)
    save_for_use(run, config, out / "weights.safetensors")
    with atomic_path(out / "config.json") as path:
        path.write_text(json.dumps(config.to_dict(), indent=2) + "\n", encoding="utf-8")


def save_for_use(run: Run, config: Config, path: Path) -> None:
    """The averaged generator and key-point detector, as every other file of weights."""
    networks = run.averaged(config)
    save_weights(path, networks.generator, networks.kp_detector, config)
