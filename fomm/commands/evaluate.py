"""``fomm evaluate``."""

import argparse
from pathlib import Path

from fomm.commands.options import add_config


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a file of weights, or 'default' for those that ship"
    )
    parser.add_argument("data", metavar="DATA", type=Path, help="a set of heads; its test/ is used")
    parser.add_argument(
        "--mode", choices=("reconstruction", "animation"), default="reconstruction",
        help="each clip from its own first frame, or each from another person's",
    )  # fmt: skip
    parser.add_argument("--limit", metavar="N", type=int, help="only the first so many clips")
    parser.add_argument("--out", metavar="FILE", type=Path, help="write every number to a JSON file")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the pairs of animation")
    add_config(parser)
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps; without it, the fastest there is")
    parser.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    from fomm.evaluation.report import as_text
    from fomm.evaluation.runner import evaluate

    report = evaluate(
        None if options.checkpoint == "default" else options.checkpoint,
        options.data,
        limit=options.limit,
        out=options.out,
        device=options.device,
        mode=options.mode,
        config=options.config,
        seed=options.seed,
    )
    print(as_text(report))
