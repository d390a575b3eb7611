"""The training loop, read from top to bottom.

    fomm train --config heads-128 --data data/heads-128 --out runs/heads-128

Everything a step needs is drawn from the seed and the step's number, so a run that was stopped goes on from
``OUT/state.pt`` with the numbers it would have had. ``OUT/weights.safetensors`` holds the weights for use,
``OUT/weights-0010.safetensors`` those of a kept epoch, ``OUT/log.jsonl`` one line of numbers every so
often, ``OUT/pictures`` what the networks see.
"""

import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from fomm.config import Config
from fomm.errors import ConfigError, FommError
from fomm.model import Keypoints
from fomm.training.augmentation import augment
from fomm.training.dataset import Batch, PairSampler
from fomm.training.losses import ImagePyramid, RandomTransform
from fomm.training.objective import Output, discriminator_losses, generator_losses
from fomm.training.perceptual import perceptual_network
from fomm.training.state import Run, resume_or_start, save, save_for_use
from fomm.training.visualize import picture_grid

SAVE_SECONDS = 300.0  # between two states on disk
LOG_STEPS = 50


class TrainingError(FommError):
    """The training cannot go on; what is on disk stays as it was."""


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

    dataset = config.dataset_params
    augmentation = dataset.augmentation_params
    if augmentation and (augmentation.resize_param or augmentation.crop_param):
        raise ConfigError(
            "resize_param and crop_param are not applied yet; take them out of the configuration"
        )
    sampler = PairSampler(
        Path(data) / "train",
        dataset.frame_shape,
        params.batch_size,
        seed,
        still=augmentation.camera_param.still if augmentation and augmentation.camera_param else 0.0,
        id_sampling=dataset.id_sampling,
    )
    steps_per_epoch = math.ceil(len(sampler.clips) * params.num_repeats / params.batch_size)
    total = min(steps_per_epoch * params.num_epochs, max_steps or math.inf)
    channels = config.model_params.common_params.num_channels
    pyramid = ImagePyramid(params.scales, channels).to(device)
    weighted = any(params.loss_weights.perceptual)
    perceptual = perceptual_network(perceptual_weights).to(device) if weighted else None

    saved = logged = time.monotonic()
    sums: dict[str, float] = {}
    first = run.step  # of those in the sums
    while run.step < total:
        chance = torch.Generator().manual_seed(seed * 1_000_003 + run.step)
        batch = on_device(sampler.batch(run.step), device)
        if augmentation is not None:
            batch = augment(batch, augmentation, chance)
        run.set_rate(run.step / steps_per_epoch, run.step)

        terms, output = generator_step(run, batch, pyramid, draw_transform(config, batch, chance), perceptual)
        terms |= discriminator_step(run, output)
        run.step += 1
        run.update_average()
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + value

        if run.step % LOG_STEPS == 0:
            now = time.monotonic()
            count = run.step - first
            line = {"step": run.step, "of": total, "seconds_per_step": (now - logged) / count}
            line |= {name: value / count for name, value in sums.items()}
            logged, sums, first = now, {}, run.step
            with open(out / "log.jsonl", "a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
            yield line
        if time.monotonic() - saved > SAVE_SECONDS or run.step >= total:
            save(run, config, out)
            if output is not None:
                picture_grid(batch, output).save(out / "pictures" / f"{run.step:08d}.png")
            saved = time.monotonic()
        if run.step % (steps_per_epoch * params.checkpoint_freq) == 0:
            save_for_use(run, config, out / f"weights-{run.step // steps_per_epoch:04d}.safetensors")


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
