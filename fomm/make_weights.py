"""Make weights in one go: draw data, train, measure, write a card.

This is for machines that are lent for a short time. It needs no package beyond torch, numpy, scipy, numba,
scikit-image, Pillow, PyYAML, safetensors and tqdm, and no installed fomm: ``python -m fomm make-weights`` in
a checkout is enough. Where no network for the perceptual loss is installed, it trains without that loss, and
says so.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fomm.atomic import atomic_path
from fomm.bundled import sha256_of
from fomm.checkpoint import convert
from fomm.config import Config, load_config
from fomm.errors import ConfigError, InputError, MissingExtraError
from fomm.evaluation.report import format_text
from fomm.evaluation.runner import evaluate
from fomm.heads.dataset import make_dataset
from fomm.training.loop import train
from fomm.training.perceptual import load_perceptual_network

FRAMES = 16  # of a clip
_CLIPS_A_MINUTE = 600  # of one process; more than any machine draws, so that time alone ends the drawing
_HELD_OUT_SEED = 1000  # added to the seed, so that the held-out people are others than those of the training


@dataclass(frozen=True)
class Plan:
    """What to make, and in how much time."""

    config: str  # a YAML file, or the name of one that ships
    out: Path  # a folder for train data, held-out data, the run, and ``result``
    data_minutes: float = 5.0
    train_minutes: float = 20.0
    held_out: int = 100  # people to measure on, one clip each
    init: Path | None = None  # weights to start from
    perceptual: str | None = None  # see ``load_perceptual_network``; None: what is installed, if anything is
    device: str | None = None
    precision: str | None = None
    workers: int | None = None  # processes that draw; None: one for each core
    seed: int = 0

    @property
    def result(self) -> Path:
        """Return the folder with what was made: weights, card, report, strips."""
        return self.out / "result"


def make_weights(plan: Plan) -> Iterator[dict[str, Any]]:
    """Draw data, train and measure. A second call with the same plan goes on where the first was stopped.

    If it is stopped while it draws, the next call draws for all of ``data_minutes`` again. The minutes of the
    training count over all calls, and a training that is told to stop (SIGTERM) saves its state first.

    Yields:
        ``{"stage": words}`` at the start of each stage, and the lines of ``loop.train`` in between.

    Raises:
        ConfigError: the configuration cannot be read, or is not for square pictures.
        InputError: the plan has numbers out of range.
        FommError: what ``load_perceptual_network``, ``make_dataset``, ``train`` and ``evaluate`` raise.
    """
    config = load_config(plan.config)
    height, width, _ = config.dataset_params.frame_shape
    if height != width:
        raise ConfigError(f"{plan.config} is for pictures of {height}x{width}; heads are drawn in squares")
    if min(plan.data_minutes, plan.train_minutes) <= 0 or plan.held_out < 2:
        raise InputError("data_minutes and train_minutes must be above 0, and held_out at least 2")
    config, problem = drop_missing_perceptual(config, plan.perceptual)
    plan.result.mkdir(parents=True, exist_ok=True)

    if problem:
        yield {"stage": f"without the perceptual loss: {problem}"}
    yield {"stage": "draw the people to train on, and others to measure on"}
    clips = draw_data(plan, size=height)
    yield {"stage": f"train on {clips} clips"}
    yield from train(
        config,
        plan.out / "data",
        plan.out / "run",
        init=plan.init,
        perceptual=plan.perceptual,
        device=plan.device,
        precision=plan.precision,
        in_memory=True,
        seed=plan.seed,
        minutes=plan.train_minutes,
    )
    yield {"stage": "measure"}
    name = Path(plan.config).stem
    weights = plan.result / f"{name}.safetensors"
    convert(plan.out / "run" / "weights.safetensors", weights, half=True)
    report = evaluate(
        weights,
        plan.out / "held-out",
        mode="both",
        out=plan.result,
        seed=plan.seed,
        device=plan.device,
        perceptual=plan.perceptual,
    )
    with atomic_path(plan.result / f"{name}.md") as path:
        path.write_text(format_card(plan, config, weights, clips, report), encoding="utf-8")
    yield {"stage": f"done: {plan.result}"}


def drop_missing_perceptual(config: Config, perceptual: str | None) -> tuple[Config, str]:
    """Return the configuration and "", or the one without the perceptual loss and the reason.

    The loss is dropped where ``perceptual`` is None and no network for it is installed. Weights that have to
    be downloaded are downloaded here, before anything is drawn. Where ``perceptual`` names a network, what
    ``load_perceptual_network`` raises is raised.
    """
    params = config.train_params
    if params is None or not any(params.loss_weights.perceptual):
        return config, ""
    try:
        load_perceptual_network(perceptual)
    except MissingExtraError as reason:
        if perceptual is not None:
            raise
        weights = replace(params.loss_weights, perceptual=())
        return replace(config, train_params=replace(params, loss_weights=weights)), str(reason)
    return config, ""


def draw_data(plan: Plan, size: int) -> int:
    """Draw the two data sets, unless they are there, and return the number of clips to train on."""
    workers = plan.workers or os.cpu_count() or 1
    note = plan.out / "drawn.json"
    if not note.exists():
        options: dict[str, Any] = {"frames": FRAMES, "size": size, "workers": workers}
        make_dataset(
            plan.out / "held-out",
            people=plan.held_out,
            seed=plan.seed + _HELD_OUT_SEED,
            test_fraction=1,
            **options,
        )
        clips = make_dataset(
            plan.out / "data",
            people=int(plan.data_minutes * workers * _CLIPS_A_MINUTE) + 1,
            seed=plan.seed,
            test_fraction=0,
            minutes=plan.data_minutes,
            **options,
        )
        if not clips:
            raise InputError(f"{plan.data_minutes} minutes were too short to draw a clip; allow more")
        with atomic_path(note) as path:
            path.write_text(json.dumps({"clips": clips}), encoding="utf-8")
    return int(json.loads(note.read_text(encoding="utf-8"))["clips"])


def format_card(plan: Plan, config: Config, weights: Path, clips: int, report: dict[str, Any]) -> str:
    """Return the card of the weights in Markdown: what they are, how they were made, and their numbers."""
    settings = json.loads((plan.out / "run" / "settings.json").read_text(encoding="utf-8"))
    steps = torch.load(plan.out / "run" / "state.pt", map_location="cpu", mmap=True)["step"]
    batch = config.train_params.batch_size if config.train_params else 0
    start = f"the weights {sha256_of(plan.init)[:12]}" if plan.init else "random weights"
    command = f"fomm make-weights --config {plan.config} --out {plan.out.name} --seed {plan.seed}"
    command += f" --data-minutes {plan.data_minutes:g} --train-minutes {plan.train_minutes:g}"
    judge = f"perceptual network {settings['perceptual']}"
    weighted = load_config(plan.config).train_params
    if settings["perceptual"] is None and weighted and any(weighted.loss_weights.perceptual):
        judge = "without the perceptual loss of the configuration: no network for it was at hand"
    height, width = report["size"]
    mebibytes, digest = weights.stat().st_size / 2**20, sha256_of(weights)
    people, held_out_seed = plan.held_out, plan.seed + _HELD_OUT_SEED
    return f"""# {weights.stem}

`{weights.name}`: {mebibytes:.1f} MiB, convolutions in half precision; sha256
`{digest}`.
The network of `{Path(plan.config).stem}`, {width}x{height} pixels.

Trained on {clips} clips of {FRAMES} frames of heads that fomm draws, and nothing else:
from {start}, {steps} steps of {batch} pairs in {plan.train_minutes:g} minutes
on {settings["device"]} in {settings["precision"]} (torch {settings["versions"]["torch"]}),
{judge}.

    {command}

Measured on {people} people that were in no training set (seed {held_out_seed},
list {report["data"]["sha256"][:12]}). `report.html` has pictures, `docs/evaluation.md` says what
each number means.

```
{format_text(report)}
```
"""
