"""``fomm crop``."""

import argparse
import json
from pathlib import Path

from fomm.animation.options import crop_option, face_option
from fomm.errors import FommError


def add_crop(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs", metavar="FILE", type=Path, nargs="+", help="photos, videos, or folders of them"
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path,
        help="gets NAME.png of each photo and NAME.mp4 of each video; without it, boxes are printed alone",
    )  # fmt: skip
    parser.add_argument("--size", metavar="S", type=int, default=256, help="pixels along each side")
    parser.add_argument(
        "--crop", metavar="auto|none|X,Y,W,H", type=crop_option, default="auto",
        help="the square around a face, all of it, or a rectangle in pixels",
    )  # fmt: skip
    parser.add_argument(
        "--face", metavar="N|all", type=face_option,
        help="which face of a photo, from 0, left to right; without it, the largest",
    )  # fmt: skip
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
