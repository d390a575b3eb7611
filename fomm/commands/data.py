"""``fomm data KIND``."""

import argparse
from pathlib import Path

from fomm.commands.options import Help


def add_data(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    summary = "Draw synthetic talking heads, with their exact landmarks and poses."
    heads = kinds.add_parser("heads", help=summary, description=summary, formatter_class=Help)
    heads.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="gets train/ and test/; may be a set half made"
    )
    heads.add_argument("--people", metavar="N", type=int, default=1000, help="different heads")
    heads.add_argument("--clips", metavar="N", type=int, default=1, help="clips of each")
    heads.add_argument("--frames", metavar="N", type=int, default=16, help="frames of a clip")
    heads.add_argument(
        "--step", metavar="N", type=int, default=6, help="25ths of a second between two frames"
    )
    heads.add_argument("--size", metavar="S", type=int, default=128, help="pixels along each side")
    heads.add_argument("--workers", metavar="W", type=int, default=1, help="processes")
    heads.add_argument("--format", choices=("npz", "mp4"), default="npz", help="of a clip's frames")
    heads.add_argument(
        "--test-fraction", metavar="F", type=float, default=0.05, help="of the people, for test/"
    )
    heads.add_argument("--seed", metavar="N", type=int, default=0, help="another seed, other people")
    heads.set_defaults(run=_data_heads)


def _data_heads(options: argparse.Namespace) -> None:
    from fomm.heads.dataset import make_dataset

    names = ("people", "clips", "frames", "step", "size", "workers", "format", "test_fraction", "seed")
    make_dataset(options.out, **{name: getattr(options, name) for name in names})
    print(f"{options.out}: {options.people * options.clips} clips")
