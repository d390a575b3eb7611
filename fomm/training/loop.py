"""The training loop, read from top to bottom.

    fomm train --config heads-128 --data data/heads-128 --out runs/heads-128
    torchrun --nproc-per-node 8 -m fomm train --config vox-256 --data data/vox --out runs/vox --in-memory

Every random choice of a step follows from the seed and the step's number. So a run that was stopped goes on
from ``OUT/state.pt`` with the numbers that it would have had without the stop, as long as the clips are the
same. A run writes into ``OUT``:
``weights.safetensors``, the weights for use; ``weights-0010.safetensors``, those of a kept epoch;
``log.jsonl``, lines of numbers; ``settings.json``; and ``pictures``, what the networks see.
"""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import torch

from fomm._version import __version__
from fomm.config import Config, TrainParams
from fomm.errors import ConfigError, InputError
from fomm.training.augmentation import augment
from fomm.training.dataset import Pairs, open_pairs
from fomm.training.distributed import Processes
from fomm.training.interruption import StopSignals
from fomm.training.logs import Logs, Meter
from fomm.training.needs import needs_flow, needs_truth
from fomm.training.schedule import Schedule, plan_schedule
from fomm.training.state import Run, remove_leftovers, resume_or_start, save_run, save_weights_for_use
from fomm.training.step import Step
from fomm.training.visualize import picture_grid

_PRECISIONS = ("float32", "bfloat16")


def train(
    config: Config,
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    init: str | os.PathLike[str] | None = None,
    perceptual: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
    precision: str | None = None,
    compile: bool = False,
    in_memory: bool = False,
    growing: bool = False,
    workers: int = 0,
    seed: int = 0,
    max_steps: int | None = None,
    minutes: float | None = None,
    tensorboard: bool = False,
    log_steps: int = 50,
    save_seconds: float = 300.0,
) -> Iterator[dict[str, float]]:
    """Train on ``data/train`` and yield a line of numbers every ``log_steps`` steps.

    A line has the step, the speed, the time left, the number of clips, and the mean of each loss over these
    steps.

    Under ``torchrun`` every process calls this function. The first one alone writes files and yields lines.
    SIGTERM and SIGINT finish the step and save the run. Then they end the process as they always do.

    Args:
        config: with ``train_params``.
        data: the folder that holds ``train/``.
        out: the folder of the run. If there is a ``state.pt`` in it, the run goes on from that.
        init: a checkpoint to start from, of any kind that ``load_checkpoints`` reads. It is of the same
            network, trained for pictures of this size or another. Its discriminator is taken where it fits.
        perceptual: see ``load_perceptual_network``.
        device: where to compute. None: CUDA where there is one, else the CPU. Under ``torchrun`` each
            process has its own CUDA device.
        precision: of the networks, ``"float32"`` or ``"bfloat16"`` (autocast: weights, key points, warps and
            losses stay in float32). None: bfloat16 on CUDA, else float32.
        compile: compile the networks with ``torch.compile``; the first steps take minutes.
        in_memory: decode the data once and keep them as uint8 on the device.
        growing: with ``in_memory``, in one process, train on the clips too that are written into
            ``data/train`` while the run goes on.
        workers: threads that read batches ahead, where the data are not in memory.
        seed: of the batches, the augmentation and the first weights.
        max_steps: stop after so many steps, if the last epoch does not end before.
        minutes: stop after so many minutes of training, counted over all starts of the run. The schedule of
            the learning rates is squeezed or stretched to it.
        tensorboard: write TensorBoard's files to ``OUT/tensorboard`` too.
        log_steps: steps between two lines of the log.
        save_seconds: seconds between two states on disk.

    Yields:
        The lines of ``log.jsonl``, each when it is written.

    Raises:
        ConfigError, InputError, MediaError, CheckpointError, MissingExtraError: something cannot be read,
            does not fit, or is not there.
        TrainingError: a loss or a gradient is not finite, in which case the weights stay as they were; or
            the disk is full.
    """
    params, out = check_settings(config, precision), Path(out)
    augmentation = config.dataset_params.augmentation_params
    with ExitStack() as stack:
        processes = stack.enter_context(Processes(device))
        stop = stack.enter_context(StopSignals())
        run = begin_run(config, params, processes, out, init, seed)
        pairs = open_training_pairs(config, params, processes, Path(data), seed, in_memory, growing, workers)
        schedule = plan_schedule(params, pairs.num_items, run.step, run.seconds, max_steps, minutes)
        step = Step(config, run, processes, perceptual, precision, compile)
        logs = None  # the other processes write nothing
        if processes.is_main:
            logs = stack.enter_context(closing(Logs(out, run.step, tensorboard=tensorboard)))
            logs.write_settings(collect_settings(config, run, processes, step, seed))
            if run.step >= schedule.last_step:
                # a run that was killed at its end may have left no weights, or older ones
                save_weights_for_use(run, config, out / "weights.safetensors")

        meter, saved = Meter(), time.monotonic()
        start = saved - run.seconds  # as if the starts before had been part of this one
        for batch in stack.enter_context(closing(pairs.stream(run.step, schedule.last_step))):
            rng = make_rng(seed, run.step, processes.rank)
            if augmentation is not None:
                batch = augment(batch, augmentation, rng)
            run.set_rate(schedule.epoch_at(run.step, run.seconds))
            losses, output = step(batch, rng)
            run.step += 1
            run.update_average()

            now = time.monotonic()
            stopping, run.seconds = agree(processes, stop.received is not None, now - start)
            last = stopping or schedule.is_over(run.step, run.seconds)
            logging, keeping = (run.step % every == 0 for every in (log_steps, schedule.steps_per_checkpoint))
            saving = last or now - saved > save_seconds
            if logging or keeping or saving:
                step.check()  # what is broken is not written
            if logs is not None:
                meter.add(losses)
                if logging:
                    line = summarize(run, schedule, meter, pairs.num_clips)
                    logs.write_line(line)
                    yield line
                if keeping:
                    # before the state: a run that is killed between the two writes this file again
                    epoch = schedule.epochs(run.step)
                    save_weights_for_use(run, config, out / f"weights-{epoch:04d}.safetensors")
                if saving:
                    save_run(run, config, out)
                    if output is not None:
                        logs.write_picture(run.step, picture_grid(batch, output))
            if saving:
                saved = time.monotonic()
            if last:
                break
        stop.raise_again()


def check_settings(config: Config, precision: str | None) -> TrainParams:
    """Return ``train_params``.

    Raises:
        ConfigError: there are none.
        InputError: the precision is unknown.
    """
    if config.train_params is None:
        raise ConfigError("the configuration has no train_params, which training needs")
    if precision not in (None, *_PRECISIONS):
        raise InputError(f"precision is one of {', '.join(_PRECISIONS)}, not {precision!r}")
    return config.train_params


def begin_run(
    config: Config,
    params: TrainParams,
    processes: Processes,
    out: Path,
    init: str | os.PathLike[str] | None,
    seed: int,
) -> Run:
    """Build the networks and optimisers, and load ``OUT/state.pt``, or ``init``, or nothing."""
    out.mkdir(parents=True, exist_ok=True)
    if processes.is_main:
        remove_leftovers(out)
    torch.manual_seed(seed)
    run = Run(config, params, processes)
    resume_or_start(run, out / "state.pt", init, warn=processes.is_main)
    return run


def open_training_pairs(
    config: Config,
    params: TrainParams,
    processes: Processes,
    data: Path,
    seed: int,
    in_memory: bool,
    growing: bool,
    workers: int,
) -> Pairs:
    """Open the clips of ``data/train``, with the truth that the weighted losses need."""
    return open_pairs(
        find_training_data(data),
        config.dataset_params,
        params.batch_size,
        seed,
        in_memory=in_memory,
        growing=growing,
        device=processes.device,
        rank=processes.rank,
        world_size=processes.world_size,
        workers=workers,
        with_truth=needs_truth(params),
        with_flow=needs_flow(params),
        with_others=bool(params.transfer),
    )


def find_training_data(data: Path) -> Path:
    """Return ``data/train``.

    Raises:
        InputError: it is not there.
    """
    train = data / "train"
    if data.is_dir() and not train.is_dir():
        raise InputError(
            f"{data} has no folder train: training data are {train}/PERSON#CLIP.npz or other clips, and "
            "test/ beside it for what is kept out; move the clips there"
        )
    return train


def collect_settings(
    config: Config, run: Run, processes: Processes, step: Step, seed: int
) -> dict[str, object]:
    """Return what decides the numbers of a run, for ``settings.json``."""
    return {
        "config": config.to_dict(),
        "seed": seed,
        "processes": processes.world_size,
        "device": str(processes.device),
        "freeze_norm": run.freeze_norm,
        "precision": step.precision,
        "perceptual": type(step.perceptual).__name__ if step.perceptual else None,
        "versions": {"fomm": __version__, "torch": torch.__version__},
    }


def make_rng(seed: int, step: int, rank: int) -> torch.Generator:
    """Return the generator of one step of one process, on the CPU."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) * 4096 + rank)


def agree(processes: Processes, stopping: bool, seconds: float) -> tuple[bool, float]:
    """Return whether any process was told to stop, and the mean of the processes' clocks.

    All processes get the same answer, because all have to end at the same step.
    """
    told, seconds = processes.mean(torch.tensor([stopping, seconds], dtype=torch.float64)).tolist()
    return bool(told), seconds


def summarize(run: Run, schedule: Schedule, meter: Meter, clips: int) -> dict[str, float]:
    """Return one line of the log, and begin the meter anew."""
    seconds_per_step, losses = meter.reset()
    left = (schedule.last_step - run.step) * seconds_per_step
    return {
        "step": run.step,
        "of": schedule.last_step,
        "seconds_per_step": seconds_per_step,
        "seconds_left": min(left, schedule.seconds_left(run.seconds)),
        "freeze_norm": run.freeze_norm,
        "clips": clips,
        **losses,
    }
