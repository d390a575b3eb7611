"""How fast each engine and precision moves a photo, against a plain loop that does as the published code.

    python benchmarks/speed.py --json speed.json

The plain loop encodes the source again for every frame, one frame at a time, in float32. All take turns in
one process, so that other work of the machine slows all of them alike; a ratio is the median of the ratios
within each turn. Where others use the machine, run with ``--threads 1`` and read the processor's time.

Quality is measured with the weights that ship, on clips of synthetic heads that no training has seen. The
other network has random weights, which are as fast as trained ones.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe_machine, peak_memory, write_report
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fomm.checkpoint import build_networks, load_checkpoints
from fomm.config import load_config
from fomm.engines import PRECISIONS, Engine, prepare_engine
from fomm.engines.gpu import default_batch
from fomm.engines.inference import InferenceNetworks
from fomm.errors import InputError, MissingExtraError
from fomm.evaluation.metrics import psnr, squared_error, ssim
from fomm.heads.dataset import render_clip
from fomm.model import KPDetector, OcclusionAwareGenerator

SHIPPED = "shipped"
ALL_PRECISIONS = ["float32", "bfloat16", "float16", "int8"]
SEED = 4711  # of clips that no training and no test draws

Networks = tuple[OcclusionAwareGenerator, KPDetector]


@dataclass
class Contestant:
    """One way to compute the frames, and what was measured of it."""

    network: str
    device: str
    engine: str
    precision: str
    batch: int = 1
    run: Callable[[], Tensor] | None = None  # all frames once, TxCxHxW; None where it cannot run here
    missing: str = ""  # why not
    wall: list[float] = field(default_factory=list)  # seconds of each turn
    processor: list[float] = field(default_factory=list)
    psnr: float | None = None
    ssim: float | None = None
    largest_error: float | None = None


def open_networks(name: str, device: str) -> Networks:
    """Load the weights that ship, or build the networks of a configuration with random weights."""
    if name == SHIPPED:
        return load_checkpoints(device=device)
    generator, kp_detector = (network.eval() for network in build_networks(load_config(name)))
    for network in (generator, kp_detector):
        draw_weights(network)
    return generator.to(device), kp_detector.to(device)


def side_of(name: str, networks: Networks) -> int:
    """Return the side of the networks' square pictures, pixels."""
    return (networks[0].frame_shape or load_config(name).dataset_params.frame_shape)[0]


def draw_weights(network: nn.Module) -> None:
    """Draw weights that keep the signal's strength, so that every part shows in the picture."""
    random = torch.Generator().manual_seed(0)
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.3, generator=random)
            nn.init.normal_(module.bias, 0, 0.3, generator=random)
        elif isinstance(module, nn.Conv2d):
            # a head or a residual's second convolution of trained networks is calm
            gain = 0.3 if name.endswith(("conv2", "final", "kp", "jacobian")) else 1.0
            nn.init.normal_(module.weight, 0, gain * (2 / module.weight[0].numel()) ** 0.5, generator=random)
            if name == "jacobian":  # near the identity, which can be inverted
                module.weight.data.mul_(0.1)


def draw_frames(clip: int, count: int, size: int) -> Tensor:
    """Draw a source and ``count`` driving frames of one head, (1 + count)x3xHxW in [0, 1]."""
    drawn = render_clip(SEED, clip, 0, count + 1, size, step=1).frames
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).contiguous() / 255


def plain_loop(networks: Networks, frames: Tensor) -> Tensor:
    """Animate the first frame by the others as the published code does, TxCxHxW."""
    generator, kp_detector = networks
    source, results = frames[:1], []
    kp_source = kp_detector(source)
    for driving in frames[1:].split(1):
        motion = generator.dense_motion_network(source, kp_source, kp_detector(driving))
        results.append(generator.decode(generator.encode(source), motion, source))
    return torch.cat(results)


def engine_loop(engine: Engine, frames: Tensor, batch: int) -> Tensor:
    """Animate the first frame by the others with an engine, TxCxHxW."""
    source = engine.encode(frames[:1])
    return torch.cat(
        [engine.render(source, engine.detect(driving)).prediction for driving in frames[1:].split(batch)]
    )


def make_contestants(name: str, options: argparse.Namespace) -> list[Contestant]:
    """Return the plain loop, then every engine and precision on every device, runnable or not."""
    found = []
    for device in ("cpu", "cuda"):
        here = device == "cpu" or torch.cuda.is_available()
        networks = open_networks(name, device) if here else None
        engines = {"plain loop": frozenset({"float32"})} | PRECISIONS
        for engine, precisions in engines.items():
            if device == "cuda" and engine not in ("plain loop", "torch"):
                continue
            for precision in sorted(precisions, key=ALL_PRECISIONS.index):
                contestant = Contestant(name, device, engine, precision)
                found.append(contestant)
                if networks is None:
                    contestant.missing = "no such device"
                elif engine != "plain loop" and (
                    precision not in options.precisions or engine not in options.engines
                ):
                    contestant.missing = "not asked for"
                else:
                    make_runnable(contestant, networks, options)
    return found


def make_runnable(contestant: Contestant, networks: Networks, options: argparse.Namespace) -> None:
    """Fill in the contestant's ``run``, or why it is ``missing``, and its quality."""
    size = side_of(contestant.network, networks)
    frames = draw_frames(0, options.frames, size).to(contestant.device)
    if contestant.engine == "plain loop":
        contestant.run = lambda: plain_loop(networks, frames)
        return
    try:
        engine, *_ = prepare_engine(
            *networks, (size, size), engine=contestant.engine, precision=contestant.precision
        )
    except (InputError, MissingExtraError) as reason:
        contestant.missing = str(reason)
        return
    contestant.batch = options.batch or default_batch(torch.device(contestant.device), (size, size))
    contestant.run = lambda: engine_loop(engine, frames, contestant.batch)
    if contestant.network == SHIPPED:
        measure_quality(contestant, networks, engine, size, options.clips)


def measure_quality(
    contestant: Contestant, networks: Networks, engine: Engine, size: int, clips: int
) -> None:
    """Compare the contestant with the plain networks in float32, on clips of other people."""
    wanted, got = [], []
    for clip in range(1, clips + 1):
        frames = draw_frames(clip, 8, size).to(contestant.device)
        wanted.append(plain_loop(networks, frames))
        got.append(engine_loop(engine, frames, contestant.batch))
    expected, result = (
        torch.cat(parts).permute(0, 2, 3, 1).double().cpu().numpy() for parts in (wanted, got)
    )
    pairs = list(zip(result, expected, strict=True))
    contestant.psnr = float(np.mean([psnr(squared_error(a, b)) for a, b in pairs]))
    contestant.ssim = float(np.mean([ssim(a, b) for a, b in pairs]))


def take_turns(contestants: list[Contestant], rounds: int) -> None:
    """Run all contestants in turn, ``rounds`` times, and note the times and the largest errors."""
    running = [contestant for contestant in contestants if contestant.run is not None]
    for turn in range(rounds + 1):
        for contestant in running:
            assert contestant.run is not None
            begun, used = time.perf_counter(), time.process_time()
            result = contestant.run()
            if contestant.device == "cuda":
                torch.cuda.synchronize()
            if turn:  # the first one warms up
                contestant.wall.append(time.perf_counter() - begun)
                contestant.processor.append(time.process_time() - used)
            elif contestant.engine == "plain loop":
                plain = result
            else:
                contestant.largest_error = float((result - plain).abs().max())


def measure_product_rate(device: str, size: int = 1536) -> float:
    """Return the operations a second of a float32 matrix product, the fastest of a few."""
    left, right = torch.rand(2, size, size, device=device)
    taken = []
    for _ in range(5):
        begun = time.perf_counter()
        left @ right
        if device == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - begun)
    return 2 * size**3 / min(taken)


def count_operations(name: str) -> tuple[float, float]:
    """Count the plain networks' operations: for encoding a source, and for each frame after that."""
    generator, kp_detector = open_networks(name, "cpu")
    size = side_of(name, (generator, kp_detector))
    frames = torch.rand(2, 3, size, size)
    counts = []
    kp = kp_detector(frames[:1])
    with FlopCounterMode(display=False) as counter:
        features = generator.encode(frames[:1])
    counts.append(counter.get_total_flops())
    with FlopCounterMode(display=False) as counter:
        motion = generator.dense_motion_network(frames[:1], kp, kp_detector(frames[1:]))
        generator.decode(features, motion, frames[:1])
    return counts[0], counter.get_total_flops()


def time_stages(name: str, batch: int | None, rounds: int = 7) -> dict[str, float]:
    """Return the milliseconds a frame of each step on the CPU in float32, medians."""
    networks = open_networks(name, "cpu")
    size = side_of(name, networks)
    batch = batch or default_batch(torch.device("cpu"), (size, size))
    frames = draw_frames(0, batch, size)
    engine, *_ = prepare_engine(*networks, (size, size))
    assert isinstance(engine, InferenceNetworks)
    source = engine.encode(frames[:1])
    kp = engine.detect(frames[1:])
    motion = engine.motion(source.small, source.keypoints, kp)
    steps: dict[str, Callable[[], object]] = {
        "source, once": lambda: engine.encode(frames[:1]),
        "key points": lambda: engine.detect(frames[1:]),
        "motion": lambda: engine.motion(source.small, source.keypoints, kp),
        "decoder": lambda: engine.decoder(source.features, *motion),
    }
    taken: dict[str, list[float]] = {step: [] for step in steps}
    for _ in range(rounds):
        for step, run in steps.items():
            begun = time.perf_counter()
            run()
            frames_done = 1 if "once" in step else batch
            taken[step].append(1000 * (time.perf_counter() - begun) / frames_done)
    return {step: statistics.median(values) for step, values in taken.items()}


FIRST_FRAME = """
import sys, time
import torch
torch.set_num_threads(int(sys.argv[1]))
wall, used = time.perf_counter(), time.process_time()
from fomm.animation.animator import Animator
from fomm.bundled import bundled
from fomm.checkpoint import load_checkpoints
from fomm.media import VideoReader, read_image
animator = Animator(read_image(bundled("examples", "astronaut.png")), *load_checkpoints(cpu=True))
with VideoReader(bundled("examples", "driving.mp4")) as reader:
    next(animator.animate(reader))
print(time.perf_counter() - wall, time.process_time() - used)
"""


def time_first_frame(threads: int, rounds: int = 3) -> dict[str, float]:
    """Return the seconds from the import of torch to the first frame of ``fomm demo``, in a fresh process."""
    taken = []
    for _ in range(rounds):
        command = [sys.executable, "-c", FIRST_FRAME, str(threads)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        taken.append([float(word) for word in output.split()])
    wall, processor = (statistics.median(values) for values in zip(*taken, strict=True))
    return {"wall": wall, "processor": processor}


def measure_peak_memory(contestant: Contestant, options: argparse.Namespace) -> float:
    """Return the peak memory of a process that only runs the contestant once, MB."""
    command = [
        sys.executable, __file__, "--alone", contestant.engine, "--networks", contestant.network,
        "--precisions", contestant.precision, "--frames", "8", "--batch", str(contestant.batch),
        "--threads", str(options.threads),
    ]  # fmt: skip
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run_alone(options: argparse.Namespace) -> None:
    """Run one contestant once and print MB: this is what ``measure_peak_memory`` starts."""
    (name,), (precision,) = options.networks, options.precisions
    contestant = Contestant(name, "cpu", options.alone, precision)
    options.clips = 1
    make_runnable(contestant, open_networks(name, "cpu"), options)
    assert contestant.run is not None, contestant.missing
    contestant.run()
    print(peak_memory())


def make_row(
    contestant: Contestant, plain: Contestant, frames: int, work: float, rate: float
) -> dict[str, Any]:
    """Return a contestant's numbers for the table and the file.

    Args:
        contestant, plain: of one network and device; the latter is the plain loop.
        frames: in a turn.
        work: operations of the plain networks for a frame.
        rate: operations a second of a matrix product.
    """
    row = {
        key: value
        for key, value in asdict(contestant).items()
        if key not in ("run", "wall", "processor") and value not in (None, "")
    }
    if not contestant.wall:
        return row
    seconds = statistics.median(contestant.wall)
    ratios = [a / b for a, b in zip(plain.wall, contestant.wall, strict=True)]
    processor = [a / b for a, b in zip(plain.processor, contestant.processor, strict=True)]
    return row | {
        "frames_per_second": frames / seconds,
        "times_the_plain_loop": statistics.median(ratios),
        "times_lowest": min(ratios),
        "times_highest": max(ratios),
        "times_in_processor_time": statistics.median(processor),
        "share_of_products": work * frames / seconds / rate,
    }


def measure(name: str, options: argparse.Namespace) -> dict[str, object]:
    """Measure all contestants of one network."""
    contestants = make_contestants(name, options)
    take_turns(contestants, options.rounds)
    once, work = count_operations(name)
    devices = ("cpu", "cuda")[: 1 + torch.cuda.is_available()]
    rates = {device: measure_product_rate(device) for device in devices}
    plain = {c.device: c for c in contestants if c.engine == "plain loop"}
    rows = [make_row(c, plain[c.device], options.frames, work, rates.get(c.device, 1.0)) for c in contestants]
    for row, contestant in zip(rows, contestants, strict=True):
        if contestant.run is not None and contestant.device == "cpu":
            row["peak_memory_mb"] = measure_peak_memory(contestant, options)
    return {
        "network": name,
        "operations_of_the_source": once,
        "operations_of_a_frame": work,
        "products_per_second": rates,
        "stages_ms": time_stages(name, options.batch),
        "rows": rows,
    }


COLUMNS = {  # title: (key, width, format)
    "frames/s": ("frames_per_second", 10, ".2f"),
    "times": ("times_the_plain_loop", 7, ".2f"),
    "low": ("times_lowest", 6, ".2f"),
    "high": ("times_highest", 6, ".2f"),
    "cpu times": ("times_in_processor_time", 10, ".2f"),
    "of peak": ("share_of_products", 9, ".0%"),
    "PSNR": ("psnr", 7, ".1f"),
    "SSIM": ("ssim", 8, ".4f"),
    "error": ("largest_error", 9, ".0e"),
    "MB": ("peak_memory_mb", 7, ".0f"),
}


def show(result: dict[str, Any]) -> None:
    """Print the result of ``measure``."""
    rates = ", ".join(f"{device} {rate / 1e9:.0f}" for device, rate in result["products_per_second"].items())
    print(
        f"\n{result['network']}: {result['operations_of_a_frame'] / 1e9:.1f} GFLOP a frame and "
        f"{result['operations_of_the_source'] / 1e9:.1f} for the source; products: {rates} GFLOP/s"
    )
    print(
        f"{'device':<6} {'engine':<12}{'precision':<10}"
        + "".join(f"{title:>{width}}" for title, (_, width, _) in COLUMNS.items())
    )
    for row in result["rows"]:
        if "frames_per_second" in row:
            cells = "".join(
                f"{row[key]:>{width}{form}}" if key in row else " " * width
                for key, width, form in COLUMNS.values()
            )
        else:
            cells = f"  not measured: {row['missing']}"
        print(f"{row['device']:<6} {row['engine']:<12}{row['precision']:<10}{cells}")
    steps = ", ".join(f"{step} {value:.1f}" for step, value in result["stages_ms"].items())
    print(f"milliseconds, torch float32 on the CPU: {steps}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--networks", nargs="+", default=["vox-256", SHIPPED],
        help="configurations, and 'shipped' for the weights that ship (default: vox-256 shipped)",
    )  # fmt: skip
    parser.add_argument("--engines", nargs="+", default=list(PRECISIONS), help="(default: all)")
    parser.add_argument("--precisions", nargs="+", default=ALL_PRECISIONS, help="(default: all)")
    parser.add_argument("--frames", type=int, default=24, help="in a turn (default: 24)")
    parser.add_argument("--rounds", type=int, default=5, help="turns (default: 5)")
    parser.add_argument("--batch", type=int, help="frames in one pass; without it, what suits the device")
    parser.add_argument("--clips", type=int, default=4, help="for the quality (default: 4)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="(default: torch's)")
    parser.add_argument("--json", type=Path, help="write the numbers to this file as well")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with torch.inference_mode():
        if options.alone:
            run_alone(options)
            return
        results = [measure(name, options) for name in options.networks]
    start = time_first_frame(options.threads)
    print(", ".join(f"{key} {value}" for key, value in describe_machine().items()))
    for result in results:
        show(result)
    print(
        f"\nfirst frame of the demo, after the import of torch: {start['wall']:.2f} s "
        f"({start['processor']:.2f} s of processor time)"
    )
    settings = {key: value for key, value in vars(options).items() if key not in ("json", "alone")}
    write_report(options.json, settings, results=results, first_frame_s=start)


if __name__ == "__main__":
    main()
