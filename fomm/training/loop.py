"""The training loop, read from top to bottom.

    fomm train --config heads-128 --data data/heads-128 --out runs/heads-128
    torchrun --nproc-per-node 8 -m fomm train --config vox-256 --data data/vox --out runs/vox --in-memory

Everything a step needs is drawn from the seed and the step's number, so a run that was stopped goes on from
``OUT/state.pt`` with the numbers it would have had. ``OUT/weights.safetensors`` holds the weights for use,
``OUT/weights-0010.safetensors`` those of a kept epoch, ``OUT/log.jsonl`` one line of numbers every so
often, ``OUT/pictures`` what the networks see.
"""

import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import torch

from fomm._version import __version__
from fomm.config import Config
from fomm.errors import ConfigError, InputError
from fomm.training.augmentation import augment
from fomm.training.dataset import open_pairs
from fomm.training.distributed import Processes
from fomm.training.interruption import StopSignals
from fomm.training.logs import Logs
from fomm.training.needs import needs_flow, needs_truth
from fomm.training.state import Run, remove_leftovers, resume_or_start, save, save_for_use
from fomm.training.step import Step
from fomm.training.visualize import picture_grid

SAVE_SECONDS = 300.0  # between two states on disk
LOG_STEPS = 50
PRECISIONS = ("float32", "bfloat16")


def train(
    config: Config,
    data: str | os.PathLike,
    out: str | os.PathLike,
    *,
    init: str | os.PathLike | None = None,
    perceptual: str | os.PathLike | None = None,
    device: str | torch.device | None = None,
    precision: str | None = None,
    compile: bool = False,
    in_memory: bool = False,
    workers: int = 0,
    seed: int = 0,
    max_steps: int | None = None,
    minutes: float | None = None,
    tensorboard: bool = False,
) -> Iterator[dict[str, float]]:
    """Trains on ``data/train`` and yields the mean losses of every ``LOG_STEPS`` steps.

    Under ``torchrun`` every process calls it; the first one writes, and it alone yields. SIGTERM and SIGINT
    end the step, save the run, and then end the process as they always do.

    Args:
        config: with ``train_params``.
        data: the folder that holds ``train/``.
        out: the folder of the run; goes on where it stopped if there is a ``state.pt`` in it.
        init: a checkpoint to start from, of any kind that ``load_checkpoints`` reads, of the same network,
            trained for pictures of this size or another. Its discriminator is taken where it fits.
        perceptual: see ``perceptual_network``.
        device: CUDA where there is one, else the CPU; under ``torchrun`` each process has its own.
        precision: of the networks, ``"float32"`` or ``"bfloat16"`` (autocast: weights, key points, warps and
            losses stay in float32). None: bfloat16 on CUDA, else float32.
        compile: compile the networks with ``torch.compile``; the first steps take minutes.
        in_memory: decode the data once and keep them as uint8 on the device.
        workers: threads that read batches ahead, where the data are not in memory.
        seed: of the batches, the augmentation and the first weights.
        max_steps: stop after so many, short of ``num_epochs``.
        minutes: stop after so long a training, all starts together; the epochs of the schedule are squeezed
            or stretched to it.
        tensorboard: write TensorBoard's files to ``OUT/tensorboard`` too.

    Raises:
        ConfigError, InputError, MediaError, CheckpointError, MissingExtraError: something cannot be read,
            does not fit, or is not there.
        TrainingError: a loss or a gradient is not finite, before the weights are touched by it; or the disk
            is full.
    """
    params = config.train_params
    if params is None:
        raise ConfigError("the configuration has no train_params, which training needs")
    if precision not in (None, *PRECISIONS):
        raise InputError(f"precision is one of {', '.join(PRECISIONS)}, not {precision!r}")
    out = Path(out)
    with ExitStack() as stack:
        processes = stack.enter_context(Processes(device))
        stop = stack.enter_context(StopSignals())
        out.mkdir(parents=True, exist_ok=True)
        if processes.first:
            remove_leftovers(out)
        torch.manual_seed(seed)
        run = Run(config, params, processes)
        resume_or_start(run, out / "state.pt", init, say=processes.first)
        pairs = open_pairs(
            find_training_data(Path(data)),
            config.dataset_params,
            params.batch_size,
            seed,
            in_memory=in_memory,
            device=processes.device,
            rank=processes.rank,
            world_size=processes.count,
            workers=workers,
            with_truth=needs_truth(params),
            with_flow=needs_flow(params),
            with_others=bool(params.transfer),
        )
        steps_per_epoch = math.ceil(pairs.num_items * params.num_repeats / params.batch_size)
        total = min(steps_per_epoch * params.num_epochs, max_steps or sys.maxsize)
        if left_of(minutes, run.seconds) <= 0:
            total = run.step
        step = Step(config, run, processes, perceptual, precision, compile)
        logs = Logs(out, run.step, tensorboard=tensorboard) if processes.first else None
        if logs is not None:
            stack.callback(logs.close)
            logs.settings(
                {
                    "config": config.to_dict(),
                    "seed": seed,
                    "processes": processes.count,
                    "device": str(processes.device),
                    "freeze_norm": run.freeze_norm,
                    **step.means(),
                    "versions": {"fomm": __version__, "torch": torch.__version__},
                }
            )
            if run.step >= total:  # a run that was killed at its end may have left no weights, or older ones
                save_for_use(run, config, out / "weights.safetensors")

        earlier = run.seconds
        begun = saved = logged = time.monotonic()
        sums: dict[str, float] = {}
        first = run.step  # of those in the sums
        for batch in stack.enter_context(closing(pairs.stream(run.step, total))):
            chance = torch.Generator().manual_seed((seed * 1_000_003 + run.step) * 4096 + processes.rank)
            if config.dataset_params.augmentation_params is not None:
                batch = augment(batch, config.dataset_params.augmentation_params, chance)
            done = (
                run.seconds / (60 * minutes) if minutes else run.step / (steps_per_epoch * params.num_epochs)
            )
            run.set_rate(done * params.num_epochs)

            terms, output = step(batch, chance)
            run.step += 1
            run.update_average()
            # one clock and one wish to stop for all processes, which have to end at the same step
            now = time.monotonic()
            told = torch.tensor([stop.received is not None, earlier + now - begun], dtype=torch.float64)
            asked, run.seconds = processes.mean(told).tolist()
            last = bool(asked) or run.step >= total or left_of(minutes, run.seconds) <= 0

            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value
            if logs is not None and run.step % LOG_STEPS == 0:
                count = run.step - first
                speed = (now - logged) / count
                line = {"step": run.step, "of": total, "seconds_per_step": speed}
                line["seconds_left"] = min((total - run.step) * speed, left_of(minutes, run.seconds))
                line["freeze_norm"] = run.freeze_norm
                line |= {name: value / count for name, value in sums.items()}
                logged, sums, first = now, {}, run.step
                logs.numbers(line)
                yield line
            if logs is not None and run.step % (steps_per_epoch * params.checkpoint_freq) == 0:
                # before the state: a run that is killed in between comes by here again
                save_for_use(run, config, out / f"weights-{run.step // steps_per_epoch:04d}.safetensors")
            if logs is not None and (last or now - saved > SAVE_SECONDS):
                save(run, config, out)
                if output is not None:
                    logs.picture(run.step, picture_grid(batch, output))
                saved = time.monotonic()
            if last:
                break
        stop.raise_again()


def find_training_data(data: Path) -> Path:
    """``data/train``. Raises ``InputError`` where it is not there."""
    train = data / "train"
    if data.is_dir() and not train.is_dir():
        raise InputError(
            f"{data} has no folder train: training data are {train}/PERSON#CLIP.npz or other clips, and "
            "test/ beside it for what is kept out; move the clips there"
        )
    return train


def left_of(minutes: float | None, seconds: float) -> float:
    """Seconds until so many minutes are over."""
    return math.inf if minutes is None else 60 * minutes - seconds
