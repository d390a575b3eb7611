"""Make weights in one go and in a given time: draw people, train beside that, measure, write a card.

This is for machines that are lent for a short time. It needs no package beyond torch, numpy, scipy, numba,
scikit-image, Pillow, PyYAML, safetensors and tqdm, and no installed fomm: ``python -m fomm make-weights`` in
a checkout is enough. Where no network for the perceptual loss is installed, it trains without that loss, and
says so.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fomm.atomic import atomic_path
from fomm.bundled import bundled, sha256_of
from fomm.checkpoint import convert
from fomm.config import Config, load_config
from fomm.errors import ConfigError, FommError, InputError, MissingExtraError
from fomm.evaluation.report import format_text
from fomm.evaluation.runner import evaluate
from fomm.heads.dataset import draw_at_low_priority
from fomm.training.loop import check_settings, train
from fomm.training.perceptual import load_perceptual_network
from fomm.workers import work_in_background

FRAMES = 16  # of a clip
SHIPPED = bundled("checkpoints", "heads-256.safetensors")
_PEOPLE = 100_000  # to train on; more than any machine draws, so that time alone ends the drawing
_HELD_OUT_SEED = 1000  # added to the seed, so that the held-out people are others than those of the training
_FIRST_CLIPS = 300  # the training begins when so many are drawn,
_FIRST_SHARE = 0.2  # or when this share of the time is over
_COSINE_END = 0.01  # of the learning rates, where the configuration does not say
_MEASURE_SHARE = 0.8  # of the last minutes, in which clips are measured; the report takes the rest
_CORES_LEFT = 3  # for the training, in which one thread feeds the device, and for the readers of clips


@dataclass(frozen=True)
class Plan:
    """What to make, and in how much time."""

    config: str  # a YAML file, or the name of one that ships
    out: Path  # a folder for train data, held-out data, the run, and ``result``
    minutes: float = 10.0  # for all of it
    measure_minutes: float = 1.0  # of these, to measure
    held_out: int = 100  # people to measure on, one clip each, as far as the time allows
    init: Path | None = SHIPPED  # weights to start from; None: random ones
    perceptual: str | None = None  # see ``load_perceptual_network``; None: what is installed, if anything is
    device: str | None = None
    precision: str | None = None
    workers: int | None = None  # processes that draw people to train on; None: three fewer than cores
    save_seconds: float = 60.0  # between two states of the training on disk
    seed: int = 0

    @property
    def result(self) -> Path:
        """Return the folder with what was made: weights, card, report, strips."""
        return self.out / "result"


def make_weights(plan: Plan) -> Iterator[dict[str, Any]]:
    """Draw people, train on those that are there already, and measure.

    Processes of low priority draw from the first second until the training ends. It begins as soon as there
    are some hundred clips, and takes in the others as they come. Its learning rates fall along half a cosine
    to nearly 0. Batch norms are frozen if they were so in the training of the weights that it starts from, as
    in those that ship.

    A second call with the same plan goes on where the first was stopped, with the clips and the last state
    that are on disk. The minutes count over all calls, but for what follows the last state of a call that was
    killed. A training that is told to stop (SIGTERM) saves its state first.

    Yields:
        ``{"stage": words}`` at the start of each stage, and the lines of ``loop.train`` in between.

    Raises:
        ConfigError: the configuration cannot be read, has no train_params, or is not for square pictures.
        InputError: the plan has numbers out of range, or its time is too short.
        FommError: what ``load_perceptual_network``, ``make_dataset``, ``train`` and ``evaluate`` raise.
    """
    began = time.monotonic()
    config = load_config(plan.config)
    height, width, _ = config.dataset_params.frame_shape
    if height != width:
        raise ConfigError(f"{plan.config} is for pictures of {height}x{width}; heads are drawn in squares")
    if not 0 < plan.measure_minutes < plan.minutes or plan.held_out < 2:
        raise InputError(
            f"measure_minutes ({plan.measure_minutes:g}) must be above 0 and below minutes "
            f"({plan.minutes:g}), and held_out ({plan.held_out}) at least 2"
        )
    if plan.init is not None and not plan.init.is_file():
        raise InputError(f"{plan.init} is not there; give a file of weights, or leave it out")
    check_settings(config, plan.precision)
    config, problem = drop_missing_perceptual(config, plan.perceptual)
    plan.result.mkdir(parents=True, exist_ok=True)

    if problem:
        yield {"stage": f"without the perceptual loss: {problem}"}
    yield {"stage": "draw the people to train on, and others to measure on"}
    with ExitStack() as stack:
        drawings = [
            stack.enter_context(work_in_background(draw_at_low_priority, job))
            for job in _list_jobs(plan, height)
        ]
        begun = _wait_for_clips(plan, drawings, began)
        minutes = plan.minutes - plan.measure_minutes - begun["waited"] / 60
        if minutes <= 0:
            raise InputError(
                f"{plan.minutes:g} minutes are too short: the first clips took {begun['waited']:.0f} seconds "
                f"of them, and {plan.measure_minutes:g} minutes are for measuring; allow more"
            )
        left = 60 * (minutes + plan.measure_minutes) - _count_trained_seconds(plan)
        end = time.monotonic() + left  # of this call
        yield {"stage": f"train on {begun['clips']} clips, and on others as they are drawn"}
        yield from _train(plan, config, minutes, drawings)
    yield {"stage": "measure"}
    name = Path(plan.config).stem
    weights = plan.result / f"{name}.safetensors"
    convert(plan.out / "run" / "weights.safetensors", weights, half=True)
    report = evaluate(
        weights,
        plan.out / "held-out",
        mode="both",
        minutes=_MEASURE_SHARE * max(0.0, end - time.monotonic()) / 60,
        out=plan.result,
        seed=plan.seed,
        device=plan.device,
        perceptual=plan.perceptual,
    )
    with atomic_path(plan.result / f"{name}.md") as path:
        path.write_text(format_card(plan, config, weights, report), encoding="utf-8")
    yield {"stage": f"done: {plan.result}"}


def _train(
    plan: Plan, config: Config, minutes: float, drawings: list[Callable[[], bool]]
) -> Iterator[dict[str, Any]]:
    """Train for so many minutes over all calls, and say it if the drawing fails meanwhile."""
    params = check_settings(config, plan.precision)
    end = _COSINE_END if params.cosine_end is None else params.cosine_end
    # time alone ends the training: how many steps an epoch has changes while clips come
    config = replace(config, train_params=replace(params, cosine_end=end, num_epochs=10**6))
    for line in train(
        config,
        plan.out / "data",
        plan.out / "run",
        init=plan.init,
        perceptual=plan.perceptual,
        device=plan.device,
        precision=plan.precision,
        in_memory=True,
        growing=True,
        seed=plan.seed,
        minutes=minutes,
        save_seconds=plan.save_seconds,
    ):
        yield line
        for is_done in drawings:
            try:
                is_done()
            except FommError as reason:  # what is drawn is there
                yield {"stage": f"no more clips will come: {reason}"}


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


def _list_jobs(plan: Plan, size: int) -> list[dict[str, Any]]:
    """Return what two processes draw, each by the arguments of ``make_dataset``."""
    workers = plan.workers or max(1, (os.cpu_count() or 1) - _CORES_LEFT)
    options: dict[str, Any] = {"frames": FRAMES, "size": size, "progress": False}
    held_out = {"out": plan.out / "held-out", "people": plan.held_out, "seed": plan.seed + _HELD_OUT_SEED}
    data = {"out": plan.out / "data", "people": _PEOPLE, "seed": plan.seed}
    return [
        {**held_out, "test_fraction": 1, "workers": max(1, workers // 8), **options},
        {**data, "test_fraction": 0, "workers": workers, **options},
    ]


def _wait_for_clips(plan: Plan, drawings: list[Callable[[], bool]], began: float) -> dict[str, Any]:
    """Wait until there are clips enough for the training to begin.

    Returns:
        ``clips``, with how many the first call began, and ``waited``, after how many seconds.
    """
    note = plan.out / "begun.json"
    if not note.exists():
        while True:
            done = [is_done() for is_done in drawings]  # raises what went wrong
            waited = time.monotonic() - began
            clips = _count_clips(plan.out / "data" / "train")
            enough = clips >= _FIRST_CLIPS or (clips and waited >= _FIRST_SHARE * 60 * plan.minutes)
            if enough and _count_clips(plan.out / "held-out" / "test") >= 2:
                break
            if waited > 60 * (plan.minutes - plan.measure_minutes) or all(done):
                raise InputError(
                    f"{plan.minutes:g} minutes were too short to draw the first clips; allow more"
                )
            time.sleep(0.1)
        with atomic_path(note) as path:
            path.write_text(json.dumps({"waited": waited, "clips": clips}), encoding="utf-8")
    begun: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
    return begun


def _count_clips(folder: Path) -> int:
    """Return how many clips are completely written."""
    return sum("." not in path.stem for path in folder.glob("*.npz"))


def _count_trained_seconds(plan: Plan) -> float:
    """Return how long the calls before have trained, up to the last state on disk."""
    state = plan.out / "run" / "state.pt"
    return float(torch.load(state, map_location="cpu", mmap=True)["seconds"]) if state.exists() else 0.0


def _count_clips_in_use(plan: Plan) -> int:
    """Return how many clips the training had in the end, by its log, or at the start if it has none."""
    log = plan.out / "run" / "log.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    noted = plan.out / "begun.json"
    return int(json.loads(lines[-1] if lines else noted.read_text(encoding="utf-8"))["clips"])


def format_card(plan: Plan, config: Config, weights: Path, report: dict[str, Any]) -> str:
    """Return the card of the weights in Markdown: what they are, how they were made, and their numbers."""
    settings = json.loads((plan.out / "run" / "settings.json").read_text(encoding="utf-8"))
    state = torch.load(plan.out / "run" / "state.pt", map_location="cpu", mmap=True)
    steps, minutes, clips = state["step"], state["seconds"] / 60, _count_clips_in_use(plan)
    first = json.loads((plan.out / "begun.json").read_text(encoding="utf-8"))["clips"]
    batch = config.train_params.batch_size if config.train_params else 0
    start = f"the weights {sha256_of(plan.init)[:12]}" if plan.init else "random weights"
    command = f"fomm make-weights --config {plan.config} --out {plan.out.name} --seed {plan.seed}"
    command += f" --minutes {plan.minutes:g} --measure-minutes {plan.measure_minutes:g}"
    norms = "batch norms frozen" if settings["freeze_norm"] else "batch norms by the batch"
    judge = f"perceptual network {settings['perceptual']}"
    weighted = load_config(plan.config).train_params
    if settings["perceptual"] is None and weighted and any(weighted.loss_weights.perceptual):
        judge = "without the perceptual loss of the configuration: no network for it was at hand"
    height, width = report["size"]
    mebibytes, digest = weights.stat().st_size / 2**20, sha256_of(weights)
    people, held_out_seed = report["reconstruction"]["clips"], plan.seed + _HELD_OUT_SEED
    return f"""# {weights.stem}

`{weights.name}`: {mebibytes:.1f} MiB, convolutions in half precision; sha256
`{digest}`.
The network of `{Path(plan.config).stem}`, {width}x{height} pixels.

Trained on {clips} clips of {FRAMES} frames of heads that fomm draws, and nothing else. The
training began with {first} of them and took in the others as they were drawn: from
{start}, {steps} steps of {batch} pairs in {minutes:.3g} minutes
on {settings["device"]} in {settings["precision"]} (torch {settings["versions"]["torch"]}),
{norms}, {judge}.

    {command}

Measured on {people} people that were in no training set (seed {held_out_seed},
list {report["data"]["sha256"][:12]}). `report.html` has pictures, `docs/evaluation.md` says what
each number means.

```
{format_text(report)}
```
"""
