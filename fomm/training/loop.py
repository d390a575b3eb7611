"""The training loop, read from top to bottom.

    fomm train --config heads-128 --data data/heads-128 --out runs/heads-128

Everything a step needs is drawn from the seed and the step's number, so a run that was stopped goes on from
``OUT/state.pt`` with the numbers it would have had. ``OUT/weights.safetensors`` holds the weights for use,
``OUT/log.jsonl`` one line of numbers every so often, ``OUT/pictures`` what the networks see.
"""

import contextlib
import json
import math
import os
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fomm.atomic import atomic_path
from fomm.checkpoint import build_discriminator, build_networks, load_checkpoints, save_weights
from fomm.config import Config, TrainParams
from fomm.errors import CheckpointError, ConfigError, FommError
from fomm.model import Keypoints
from fomm.training.augmentation import augment
from fomm.training.dataset import Batch, PairSampler
from fomm.training.losses import ImagePyramid, RandomTransform
from fomm.training.objective import Networks, Output, discriminator_losses, generator_losses
from fomm.training.perceptual import perceptual_network
from fomm.training.visualize import picture_grid

SAVE_SECONDS = 300.0  # between two states on disk
LOG_STEPS = 50


class TrainingError(FommError):
    """The training cannot go on; what is on disk stays as it was."""


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


def train(
    config: Config,
    data: str | os.PathLike,
    out: str | os.PathLike,
    *,
    init: str | os.PathLike | None = None,
    perceptual_weights: str | os.PathLike | None = None,
    device: str | torch.device | None = None,
    seed: int = 0,
    max_steps: int | None = None,
) -> Iterator[dict[str, float]]:
    """Trains on ``data/train`` and yields the mean losses of every ``LOG_STEPS`` steps.

    Args:
        config: with ``train_params``.
        data: the folder that holds ``train/``.
        out: the folder of the run; goes on where it stopped if there is a ``state.pt`` in it.
        init: a checkpoint to start from, read as ``load_checkpoints`` does, of the same network.
        perceptual_weights: see ``perceptual_network``.
        device: CUDA where there is one, else the CPU.
        seed: of the batches, the augmentation and the first weights.
        max_steps: stop after so many, short of ``num_epochs``.

    Raises:
        ConfigError, InputError, CheckpointError: something cannot be read or does not fit.
        TrainingError: a loss is not finite; the weights were not touched by it.
    """
    params = config.train_params
    if params is None:
        raise ConfigError("the configuration has no train_params, which training needs")
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    out = Path(out)
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    run = Run(config, params, device)
    resume_or_start(run, out / "state.pt", init)

    sampler = PairSampler(Path(data) / "train", config.dataset_params.frame_shape, params.batch_size, seed)
    steps_per_epoch = math.ceil(len(sampler.clips) * params.num_repeats / params.batch_size)
    total = min(steps_per_epoch * params.num_epochs, max_steps or math.inf)
    channels = config.model_params.common_params.num_channels
    pyramid = ImagePyramid(params.scales, channels).to(device)
    weighted = any(params.loss_weights.perceptual)
    perceptual = perceptual_network(perceptual_weights).to(device) if weighted else None

    saved = logged = time.monotonic()
    sums: dict[str, float] = {}
    while run.step < total:
        chance = torch.Generator().manual_seed(seed * 1_000_003 + run.step)
        batch = on_device(sampler.batch(run.step), device)
        if config.dataset_params.augmentation_params is not None:
            batch = augment(batch, config.dataset_params.augmentation_params, chance)
        run.set_rate(run.step / steps_per_epoch, run.step)

        terms, output = generator_step(run, batch, pyramid, draw_transform(config, batch, chance), perceptual)
        terms |= discriminator_step(run, output)
        run.step += 1
        run.update_average()
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + value

        if run.step % LOG_STEPS == 0:
            now = time.monotonic()
            line = {"step": run.step, "of": total, "seconds_per_step": (now - logged) / LOG_STEPS}
            line |= {name: value / LOG_STEPS for name, value in sums.items()}
            logged, sums = now, {}
            with open(out / "log.jsonl", "a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
            yield line
        if time.monotonic() - saved > SAVE_SECONDS or run.step >= total:
            save(run, config, out)
            if output is not None:
                picture_grid(batch, output).save(out / "pictures" / f"{run.step:08d}.png")
            saved = time.monotonic()


def generator_step(
    run: Run,
    batch: Batch,
    pyramid: ImagePyramid,
    transform: RandomTransform | None,
    perceptual: nn.Module | None,
) -> tuple[dict[str, float], Output | None]:
    """One step of the generator and the key-point detector; returns the weighted losses."""
    terms, output = generator_losses(
        run.networks, batch, run.params.loss_weights, pyramid, transform, perceptual
    )
    minimise(run, terms, ("generator", "kp_detector"))
    return {name: term.item() for name, term in terms.items()}, output


def discriminator_step(run: Run, output: Output | None) -> dict[str, float]:
    """One step of the discriminator, where there is one and something for it to look at."""
    discriminator = run.networks.discriminator
    if discriminator is None or output is None:
        return {}
    terms = discriminator_losses(discriminator, output, run.params.loss_weights)
    minimise(run, terms, ("discriminator",))
    return {name: term.item() for name, term in terms.items()}


def minimise(run: Run, terms: dict[str, Tensor], names: tuple[str, ...]) -> None:
    """A step of the named networks' optimisers down the sum of the terms.

    Raises:
        TrainingError: a term is not finite; no weight has been touched.
    """
    for name, term in terms.items():
        if not torch.isfinite(term):
            raise TrainingError(
                f"step {run.step}: the loss {name} is {term.item()}; the weights were not touched. "
                "Lower the learning rate, or look for broken clips"
            )
    optimizers = [run.optimizers[name] for name in names if name in run.optimizers]
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    torch.stack(list(terms.values())).sum().backward()
    if run.params.clip_norm is not None:
        weights = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(weights, run.params.clip_norm)
    for optimizer in optimizers:
        optimizer.step()


def draw_transform(config: Config, batch: Batch, chance: torch.Generator) -> RandomTransform | None:
    """The transform of the equivariance terms, where they are weighted."""
    params = config.train_params
    assert params is not None
    weights, shape = params.loss_weights, params.transform_params
    if not (weights.equivariance_value or weights.equivariance_jacobian):
        return None
    return RandomTransform.sample(
        batch.source.shape[0],
        sigma_affine=shape.sigma_affine,
        sigma_tps=shape.sigma_tps or 0.0,
        points_tps=shape.points_tps or 2,
        generator=chance,
        device=batch.source.device,
        align_corners=config.model_params.generator_params.align_corners,
    )


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch moved, truth included."""

    def truth(kp: Keypoints | None) -> Keypoints | None:
        return kp and kp.map(lambda t: t.to(device))

    source, driving = batch.source.to(device), batch.driving.to(device)
    return Batch(source, driving, truth(batch.truth_source), truth(batch.truth_driving))


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
    networks = run.averaged(config)
    save_weights(out / "weights.safetensors", networks.generator, networks.kp_detector, config)
    with contextlib.suppress(OSError):
        (out / "config.json").write_text(json.dumps(config.to_dict(), indent=2), encoding="utf-8")
