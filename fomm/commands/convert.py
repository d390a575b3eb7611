"""``fomm convert``."""

import argparse
from pathlib import Path

from fomm.commands.options import add_config


def add_convert(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fomm convert``, and what it calls."""
    parser.add_argument(
        "source", metavar="IN", type=Path, help="a published .pth.tar or any other file of weights"
    )
    parser.add_argument("target", metavar="OUT", type=Path, help="the .safetensors file to write")
    parser.add_argument("--half", action="store_true", help="store the convolutions in half precision")
    add_config(parser)
    parser.set_defaults(run=_convert)


def _convert(options: argparse.Namespace) -> None:
    from fomm.checkpoint import convert

    convert(options.source, options.target, half=options.half, config_path=options.config)
    print(f"{options.target}: {options.target.stat().st_size / 2**20:.1f} MiB")
