"""``fomm evaluate``."""

import argparse
from pathlib import Path

from fomm.commands.options import add_config, add_options


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fomm evaluate``, and what it calls."""
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a file of weights, or 'default' for those that ship"
    )
    parser.add_argument(
        "data", metavar="DATA", type=Path, help="a folder of clips; its test/ is used, if there is one"
    )
    parser.add_argument(
        "--mode", choices=("reconstruction", "animation", "both"), default="reconstruction",
        help="move each clip's own first frame, or another clip's",
    )  # fmt: skip
    parser.add_argument(
        "--against", metavar="FILE", type=Path, nargs="+", default=[], action="extend",
        help="other weights, measured on the same clips",
    )  # fmt: skip
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="write report.html, with pictures, and report.json"
    )
    clips = parser.add_argument_group("clips")
    clips.add_argument(
        "--limit", metavar="N", type=int, help="only the first so many clips, or pairs of a list"
    )
    clips.add_argument(
        "--pairs", metavar="FILE", type=Path,
        help="for animation, a CSV file with the columns source and driving; without it, pairs are drawn",
    )  # fmt: skip
    clips.add_argument("--seed", metavar="N", type=int, default=0, help="of the pairs that are drawn")
    add_config(parser)
    add_options(parser, only=("device",))
    means = parser.add_argument_group("networks that measure")
    means.add_argument(
        "--perceptual", metavar="vgg19|efficientnet-lite0|FILE",
        help="the network of the perceptual distance, downloaded if it is vgg19 and not there yet; "
        "without it, what is at hand",
    )  # fmt: skip
    means.add_argument(
        "--fid-weights", metavar="FILE", type=Path,
        help="pytorch-fid's pt_inception-2015-12-05-6726825d.pth; without it, the one in torch hub's cache",
    )  # fmt: skip
    means.add_argument(
        "--landmarks", choices=("face-alignment",),
        help="measure the published AKD, with weights that the package downloads if they are not there yet; "
        "without it, AKD is measured where they are in torch hub's cache",
    )  # fmt: skip
    parser.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    from fomm.evaluation.report import format_text
    from fomm.evaluation.runner import evaluate

    names = (
        "mode",
        "against",
        "out",
        "limit",
        "pairs",
        "seed",
        "config",
        "perceptual",
        "fid_weights",
        "landmarks",
        "device",
    )
    report = evaluate(
        None if options.checkpoint == "default" else options.checkpoint,
        options.data,
        **{name: getattr(options, name) for name in names},
    )
    print(format_text(report))
    if options.out is not None:
        print(f"\n{options.out / 'report.html'}: the same with pictures")
