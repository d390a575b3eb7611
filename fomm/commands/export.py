"""``fomm export``."""

import argparse
from pathlib import Path

from fomm.commands.options import add_weights


def add_export(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fomm export``, and what it calls."""
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", type=Path, required=True,
        help="gets keypoints.onnx, source.onnx, render.onnx and fomm.json",
    )  # fmt: skip
    add_weights(parser)
    parser.add_argument("--precision", choices=("float32", "int8"), default="float32")
    parser.add_argument(
        "--calibration", metavar="VIDEO", type=Path, nargs="+", default=[],
        help="for int8: clips like those to come; without them, synthetic heads",
    )  # fmt: skip
    parser.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> None:
    from fomm.checkpoint import load_checkpoints
    from fomm.export import export

    networks = load_checkpoints(options.config, options.checkpoint, cpu=True)
    written = export(options.output, *networks, precision=options.precision, calibration=options.calibration)
    for file in written:
        quality = "" if file.psnr is None else f", {file.psnr:.1f} dB"
        print(f"{file.path}: off by {file.largest_error:.1e} at most{quality}")
