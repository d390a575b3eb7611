"""``fomm train``."""

import argparse
from pathlib import Path


def add_train(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fomm train``, and what it calls."""
    parser.add_argument(
        "--config", metavar="FILE|NAME", required=True, help="a YAML file, or the name of one that ships"
    )
    parser.add_argument(
        "--data", metavar="DIR", type=Path, required=True, help="holds train/, one clip per file"
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="of the run; goes on where it stopped"
    )
    parser.add_argument(
        "--init", metavar="FILE", type=Path,
        help="weights to start from, trained at this size or another; without it, random ones",
    )  # fmt: skip
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="of the first weights and every batch"
    )
    length = parser.add_argument_group("length")
    length.add_argument(
        "--max-steps", metavar="N", type=int, help="stop after so many; without it, after the last epoch"
    )
    length.add_argument(
        "--minutes", metavar="M", type=float,
        help="stop after so long, all starts together; the schedule is squeezed or stretched to it",
    )  # fmt: skip
    means = parser.add_argument_group("means")
    means.add_argument(
        "--device", help="cpu, cuda, cuda:1, ...; without it, CUDA where there is one, else the CPU"
    )
    means.add_argument(
        "--precision", choices=("float32", "bfloat16"),
        help="of the networks; without it, bfloat16 on CUDA and float32 elsewhere",
    )  # fmt: skip
    means.add_argument("--compile", action="store_true", help="compile the networks; the start takes minutes")
    means.add_argument(
        "--in-memory", action="store_true", help="decode the data once and keep them on the device, as bytes"
    )
    means.add_argument(
        "--workers", metavar="W", type=int, default=2, help="threads that read ahead from the disk"
    )
    means.add_argument(
        "--perceptual", metavar="vgg19|efficientnet-lite0|FILE",
        help="the network of the perceptual loss, downloaded if it is vgg19 and not there yet; "
        "without it, VGG-19 where it lies in torch hub's cache, else EfficientNet-lite0",
    )  # fmt: skip
    parser.add_argument("--tensorboard", action="store_true", help="write TensorBoard's files too")
    parser.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> None:
    from fomm.config import load_config
    from fomm.training.distributed import get_rank
    from fomm.training.loop import train

    names = [
        *("init", "seed", "max_steps", "minutes", "device", "precision", "compile", "in_memory", "workers"),
        *("perceptual", "tensorboard"),
    ]
    lines = train(
        load_config(options.config),
        options.data,
        options.out,
        **{name: getattr(options, name) for name in names},
    )
    for line in lines:
        print(progress_line(line), flush=True)
    if get_rank() == 0:  # which wrote them
        print(f"{options.out / 'weights.safetensors'}: the weights for use")


def progress_line(line: dict[str, float]) -> str:
    """Return step, speed, time left, clips and losses of one line of ``loop.train`` as words."""
    numbers = dict(line)
    step, total, seconds = int(numbers.pop("step")), int(numbers.pop("of")), numbers.pop("seconds_per_step")
    left = numbers.pop("seconds_left") / 3600
    clips = int(numbers.pop("clips"))
    norms = "  norms frozen" if numbers.pop("freeze_norm") else ""
    means = f"{seconds:.2f} s a step, {left:.1f} h left  {clips} clips{norms}"
    loss = sum(numbers.values())
    parts = "  ".join(f"{name} {value:.4f}" for name, value in numbers.items())
    return f"{step}/{total}  {means}  loss {loss:.4f}  {parts}"
