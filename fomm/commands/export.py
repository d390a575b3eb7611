"""``fomm export``."""

import argparse
from pathlib import Path

from fomm.commands.options import add_weights


def add_export(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fomm export``, and what it calls."""
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument(
        "-o", "--output", metavar="FOLDER", type=Path,
        help="gets keypoints.onnx, source.onnx, render.onnx and fomm.json",
    )  # fmt: skip
    place.add_argument(
        "--web", metavar="FOLDER", type=Path,
        help="gets a static page that moves a photo in the browser; pictures stay in it",
    )  # fmt: skip
    parser.add_argument(
        "--runtime", metavar="FILE", type=Path,
        help="for --web: the npm package onnxruntime-web as a file, where it cannot be downloaded",
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
    from fomm.errors import InputError

    if options.web is not None:
        if options.precision != "float32" or options.calibration:
            raise InputError("--precision and --calibration are for -o; the page has its own precision")
        from fomm.browser.page import write_page

        networks = load_checkpoints(options.config, options.checkpoint, cpu=True)
        for network in write_page(options.web, *networks, runtime=options.runtime):
            size = len(network.content) / 1e6
            print(f"{network.name}: {size:.1f} MB, off by {network.largest_error:.1e} at most")
        print(f"serve {options.web} by any web server, such as: python -m http.server -d {options.web}")
        return
    if options.runtime is not None:
        raise InputError("--runtime is for --web; leave it out")
    from fomm.export import export

    networks = load_checkpoints(options.config, options.checkpoint, cpu=True)
    written = export(options.output, *networks, precision=options.precision, calibration=options.calibration)
    for file in written:
        quality = "" if file.psnr is None else f", {file.psnr:.1f} dB"
        print(f"{file.path}: off by {file.largest_error:.1e} at most{quality}")
