"""``fomm make-weights``."""

import argparse
from dataclasses import fields
from pathlib import Path

from fomm.commands.train import progress_line


def add_make_weights(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fomm make-weights``, and what it calls."""
    parser.add_argument(
        "--config", metavar="FILE|NAME", default="heads-256-finetune",
        help="a YAML file, or the name of one that ships",
    )  # fmt: skip
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True,
        help="gets the data, the run and result/; goes on where it stopped",
    )  # fmt: skip
    parser.add_argument(
        "--init", metavar="default|none|FILE", default="default",
        help="weights to start from: those that ship (default), random ones (none), or a file's",
    )  # fmt: skip
    time = parser.add_argument_group("time")
    time.add_argument(
        "--minutes", metavar="M", type=float, default=10.0, help="for all of it, all starts together"
    )
    time.add_argument("--measure-minutes", metavar="M", type=float, default=1.0, help="of these, to measure")
    time.add_argument(
        "--held-out", metavar="N", type=int, default=100, help="people to measure on, as far as time allows"
    )
    time.add_argument(
        "--save-seconds", metavar="S", type=float, default=60.0, help="between two states on disk"
    )
    means = parser.add_argument_group("means")
    means.add_argument(
        "--workers", metavar="W", type=int,
        help="processes of low priority that draw; without it, three fewer than cores",
    )  # fmt: skip
    means.add_argument("--device", help="cpu, cuda, ...; without it, CUDA where there is one, else the CPU")
    means.add_argument(
        "--precision", choices=("float32", "bfloat16"),
        help="of the networks in training; without it, bfloat16 on CUDA and float32 elsewhere",
    )  # fmt: skip
    means.add_argument(
        "--perceptual", metavar="vgg19|efficientnet-lite0|FILE", help="the network of the perceptual loss"
    )
    means.add_argument("--seed", metavar="N", type=int, default=0, help="of the people and the training")
    parser.set_defaults(run=_make_weights)


def _make_weights(options: argparse.Namespace) -> None:
    from fomm.make_weights import SHIPPED, Plan, make_weights

    values = {field.name: getattr(options, field.name) for field in fields(Plan)}
    named = {"default": SHIPPED, "none": None}
    values["init"] = named[options.init] if options.init in named else Path(options.init)
    for line in make_weights(Plan(**values)):
        print(line["stage"] if "stage" in line else progress_line(line), flush=True)
