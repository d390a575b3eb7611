"""``fomm crop``."""

import argparse
import json
from pathlib import Path

from fomm.commands.options import add_options
from fomm.errors import FommError


def add_crop(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fomm crop``, and what it calls."""
    parser.add_argument(
        "inputs", metavar="FILE", type=Path, nargs="+", help="photos, videos, or folders of them"
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path,
        help="gets NAME.png of each photo and NAME.mp4 of each video; without it, boxes are printed alone",
    )  # fmt: skip
    parser.add_argument("--size", metavar="S", type=int, default=256, help="pixels along each side")
    add_options(parser, only=("crop", "face"))
    parser.set_defaults(run=_crop)


def _crop(options: argparse.Namespace) -> None:
    from fomm.animation.crop_files import crop_files

    failed = 0
    for line in crop_files(
        options.inputs, options.out, size=options.size, crop=options.crop, face=options.face
    ):
        failed += "error" in line
        print(json.dumps(line), flush=True)
    if failed:
        raise FommError(f"{failed} of the files could not be cropped; their lines above say why")
