"""The training of a family that swaps faces, read from top to bottom.

    fomm swap train a.npz b.npz --family autoencoder -o swap.safetensors

Every random choice of a step follows from the seed and the step's number. So a run that was stopped goes on
from its last state with the numbers that it would have had without the stop, where its length is told in
steps. Where it is told in minutes, the clock decides when the learning rate falls, and when the run ends.

A run writes ``swap.safetensors``, the network that swaps, and beside it the folder ``swap.run``: ``state.pt``
to go on from, ``log.jsonl`` with lines of numbers, ``settings.json``, and ``pictures``, what it makes.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from fomm._version import __version__
from fomm.atomic import check_place
from fomm.checkpoint import choose_device
from fomm.engines.choose import fastest_float
from fomm.errors import CheckpointError, InputError
from fomm.swap.batches import Batch, Pictures, Side, draw_batch, normalise
from fomm.swap.checkpoint import check_name, save_swap
from fomm.swap.families import build_family
from fomm.swap.family import OTHER, SIDES, Card, Family, count_parameters
from fomm.swap.run import Run, remove_unfinished, resume, save_state
from fomm.training.interruption import StopSignals
from fomm.training.logs import Logs, Meter

PREVIEWS = 8  # faces of each side in a preview


@dataclass(frozen=True)
class Preset:
    """How large the pictures are, and how long the training takes."""

    size: int  # pixels
    minutes: float | None
    steps: int | None


PRESETS = {
    "quick": Preset(64, minutes=15, steps=None),  # for two cores
    "full": Preset(128, minutes=None, steps=100_000),  # for a GPU
}


def train_swap(
    a: Pictures,
    b: Pictures,
    out: str | os.PathLike[str],
    *,
    family: str = "autoencoder",
    settings: Mapping[str, Any] | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    precision: str | None = None,
    log_steps: int = 50,
    save_seconds: float = 60.0,
) -> Iterator[dict[str, float]]:
    """Train a family on two persons' faces, and yield a line of numbers every ``log_steps`` steps.

    If there is a state of such a run beside ``out``, the run goes on from that. SIGTERM and SIGINT finish the
    step and save the run. Then they end the process as they always do.

    Args:
        a: the faces of side a.
        b: those of side b, of the same size.
        out: the file of the network, which ends in ``.safetensors``.
        family: one of ``fomm.swap.families.FAMILIES`` or ``PLAIN``.
        settings: the arguments of its constructor beside the size.
        steps: stop after so many.
        minutes: stop after so many, counted over all starts of the run. With neither, or both: an error.
        batch_size: pictures of each side in a step. None: what the family has.
        seed: of the first weights, the batches and all else that is drawn.
        device: where to compute. None: CUDA where there is one, else the CPU.
        precision: of the networks, ``"float32"`` or ``"bfloat16"`` (autocast: weights and losses stay in
            float32). None: bfloat16 on CUDA and on CPUs that multiply such matrices, else float32.
        log_steps: steps between two lines of the log.
        save_seconds: seconds between two states on disk.

    Yields:
        The lines of ``log.jsonl``, each when it is written.

    Raises:
        InputError: an argument makes no sense.
        CheckpointError: the state is damaged or of another run, or the result has no place.
        TrainingError: a loss is not finite, or the disk is full.
    """
    out = Path(out)
    check_name(out)
    check_place(out, CheckpointError)
    check_length(steps, minutes)
    if a.size != b.size:
        raise InputError(
            f"{a.name} has pictures of {a.size} pixels, and {b.name} of {b.size}; make them alike"
        )
    place = choose_device(False, device)
    precision = precision or choose_precision(place)
    if precision not in ("float32", "bfloat16"):
        raise InputError(f"precision is float32 or bfloat16, not {precision!r}")
    torch.manual_seed(seed)
    built = build_family(family, {"size": a.size, **(settings or {})})
    count = built.batch_size if batch_size is None else batch_size
    if count < 1:
        raise InputError(f"a batch has at least 1 picture of each side, not {count}")
    if built.paired and len(a) != len(b):
        raise InputError(f"{family} learns from pairs, and there are {len(a)} and {len(b)} pictures")
    run = Run(built, place)
    card = Card(0, tuple((side.name, len(side)) for side in (a, b)))
    kind = {
        "family": family,
        "settings": built.settings,
        "batch_size": count,
        "seed": seed,
        "precision": precision,
        "faces": [digest(a), digest(b)],
    }
    folder = out.with_suffix(".run")
    resume(run, folder, kind)
    remove_unfinished(out)

    with StopSignals() as stop, closing(Logs(folder, run.step)) as logs:
        logs.write_settings(
            {
                **kind,
                "trained_on": card.trained_on,
                "device": str(place),
                "parameters": count_parameters(built.parameters()),
                "versions": {"fomm": __version__, "torch": torch.__version__},
            }
        )
        meter, saved = Meter(), time.monotonic()
        start = saved - run.seconds  # as if the starts before had been part of this one
        over = find_progress(run, steps, minutes) >= 1
        if over:  # a run that was killed at its end may have left no network
            save_swap(out, run.family, Card(run.step, card.trained_on))
        while not over:
            progress = find_progress(run, steps, minutes)
            rng = make_rng(seed, run.step)
            batch = to_device(draw_batch(a, b, count, rng, paired=built.paired, warp=built.warp), place)
            torch.manual_seed(int(torch.randint(2**62, (), generator=rng)))  # for what the family draws
            meter.add(run.make_step(batch, progress, precision))
            run.seconds = time.monotonic() - start

            over = stop.received is not None or find_progress(run, steps, minutes) >= 1
            if run.step % log_steps == 0 or over:
                line = summarize(run, meter, steps, minutes)
                logs.write_line(line)
                yield line
            if over or time.monotonic() - saved > save_seconds:
                save_swap(out, run.family, Card(run.step, card.trained_on))
                logs.write_picture(run.step, draw_preview(run.family, a, b))
                save_state(run, folder, kind)
                saved = time.monotonic()
        stop.raise_again()


def describe(family: str, settings: Mapping[str, Any]) -> str:
    """Return how many parameters a family of these settings has, as words."""
    with torch.device("meta"):
        built = build_family(family, settings)
    faces, everything = (count_parameters(part.parameters()) for part in (built.faces, built))
    rest = f", and {everything - faces:,} in training alone" if everything > faces else ""
    return f"{family} at {built.size} pixels: {faces:,} parameters{rest}"


def check_length(steps: int | None, minutes: float | None) -> None:
    """Raise InputError unless one of the two is given, above 0 and finite."""
    if (steps is None) == (minutes is None):
        raise InputError("give steps or minutes, one of them")
    length = steps if minutes is None else minutes
    if not 0 < length < math.inf:  # type: ignore[operator]
        raise InputError(f"steps and minutes are finite numbers above 0, not {length}")


def find_progress(run: Run, steps: int | None, minutes: float | None) -> float:
    """Return how much of its length a run has done: by the clock where that is told in minutes."""
    return run.step / steps if steps is not None else run.seconds / (60 * (minutes or math.inf))


def make_rng(seed: int, step: int) -> torch.Generator:
    """Return the generator of one step, on the CPU."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return a batch on a device, the channels of its pictures last in memory."""
    return Batch(
        *(
            Side(*(part.to(device, memory_format=torch.channels_last) for part in side))
            for side in (batch.a, batch.b)
        )
    )


def choose_precision(device: torch.device) -> str:
    """Return bfloat16 for CUDA devices, and for CPUs that have instructions for it, else float32."""
    return "bfloat16" if device.type == "cuda" else fastest_float(device)


def digest(side: Pictures) -> str:
    """Return what tells one set of pictures from another."""
    found = hashlib.sha256(repr(tuple(side.pictures.shape)).encode())
    for part in (side.pictures, side.masks):
        found.update(part.numpy().tobytes())
    return found.hexdigest()


@torch.no_grad()
def draw_preview(family: Family, a: Pictures, b: Pictures) -> Image.Image:
    """Return a picture with the rows A, A -> A, A -> B, B, B -> B, B -> A.

    The columns are faces, evenly spread over each set. The family is in training mode before and after.
    """
    family.eval()
    place = next(family.parameters()).device
    rows = []
    for side, pictures in zip(SIDES, (a, b), strict=True):
        chosen = np.linspace(0, len(pictures) - 1, PREVIEWS).round().astype(int)
        faces = normalise(pictures.pictures[torch.from_numpy(chosen)]).to(place)
        rows += [faces, family.swap(faces, side)[0], family.swap(faces, OTHER[side])[0]]
    family.train()
    pixels = [(row.clamp(0, 1) * 255).round().byte().cpu().permute(2, 0, 3, 1).flatten(1, 2) for row in rows]
    return Image.fromarray(torch.cat(pixels).numpy())


def summarize(run: Run, meter: Meter, steps: int | None, minutes: float | None) -> dict[str, float]:
    """Return one line of the log, and begin the meter anew."""
    seconds_per_step, losses = meter.reset()
    left = 60 * minutes - run.seconds if minutes is not None else (steps or 0) - run.step
    return {
        "step": run.step,
        "seconds_per_step": seconds_per_step,
        "seconds_left": max(0.0, left if minutes is not None else left * seconds_per_step),
        **losses,
    }


def format_line(line: Mapping[str, float]) -> str:
    """Return step, speed, time left and losses of one line of ``train_swap`` as words."""
    numbers = dict(line)
    step, seconds, left = (
        int(numbers.pop("step")),
        numbers.pop("seconds_per_step"),
        numbers.pop("seconds_left"),
    )
    parts = "  ".join(f"{name} {value:.4f}" for name, value in numbers.items())
    return f"{step}  {seconds:.2f} s a step, {left / 60:.1f} min left  {parts}"
