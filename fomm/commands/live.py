"""``fomm live``."""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from fomm.animation.option_table import group_options, size_option
from fomm.commands.options import add_options, add_weights, choose_compute, given_options

if TYPE_CHECKING:  # they load torch or numpy, which --help does not need
    from fomm.live.camera import Source
    from fomm.live.screens import Screen

# Options that make no sense where frames come as they are seen, and --size, whose default is another here.
NOT_LIVE = (
    "best-frame", "start", "duration", "audio", "side-by-side", "size", "batch-size",
    "sidecar", "credentials",
)  # fmt: skip
USUAL_RATE = 25.0  # frames a second, where the source does not tell


def add_live(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fomm live``, and what it calls."""
    parser.add_argument("photo", metavar="PHOTO", type=Path, help="the picture to move")
    _add_source(parser)
    result = parser.add_argument_group("result")
    result.add_argument(
        "-o", "--output", metavar="FILE|DEVICE",
        help="a video as of fomm animate, or on Linux a v4l2loopback device; without it, a window",
    )  # fmt: skip
    result.add_argument(
        "--size", metavar="N|WxH", type=size_option,
        help="pixels of the longer side, or width and height; without it, what keeps up with the frames",
    )  # fmt: skip
    result.add_argument("--window", action="store_true", help="the window too, with --output")
    add_weights(parser)
    add_options(parser, but=NOT_LIVE)
    parser.set_defaults(run=_live)


def _add_source(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("who drives")
    either = group.add_mutually_exclusive_group()
    either.add_argument("--camera", metavar="N|NAME", default="0", help="its number, or its name")
    either.add_argument(
        "--input", metavar="FILE|ADDRESS", help="instead of a camera: a video, at its own rate, or a stream"
    )
    group.add_argument(
        "--input-format", metavar="NAME", help="ffmpeg's name for an --input that is a device: x11grab, lavfi"
    )
    group.add_argument(
        "--video-size", metavar="WxH", help="to ask of the camera, in pixels; without it, its own"
    )
    group.add_argument(
        "--framerate", metavar="FPS", type=float, help="to ask of the camera; without it, its own"
    )


def _live(options: argparse.Namespace) -> None:
    from fomm.checkpoint import load_checkpoints
    from fomm.live import Live, run
    from fomm.live.camera import Newest, Reader

    source = _source(options)
    networks = load_checkpoints(options.config, options.checkpoint, device=options.device)
    given = group_options(given_options(options))
    compute = choose_compute(networks, given["compute"])
    rate = float(source.rate or options.framerate or USUAL_RATE)
    live = Live(*networks, framing=given["framing"], motion=given["motion"], compute=compute, rate=rate)
    live.set_source(options.photo)
    with ExitStack() as stack:
        marked = given["marking"].mark
        screens = _screens(options, source.name, rate, networks[0].weights_hash, marked, stack)
        frames = stack.enter_context(Newest(Reader(source)))
        summary = run(live, frames, screens, name=source.name)
    print(f"{summary}, by {compute.engine} in {compute.precision}")
    if summary.error is not None:  # what was recorded before is kept
        raise summary.error


def _source(options: argparse.Namespace) -> "Source":
    from fomm.errors import InputError
    from fomm.live.camera import camera_source, stream_source

    asked = {"size": options.video_size, "rate": options.framerate}
    if options.input is not None:
        return stream_source(options.input, options.input_format, **asked)
    if options.input_format is not None:
        raise InputError("--input-format says what an --input is; give that too")
    return camera_source(options.camera, **asked)


def _screens(
    options: argparse.Namespace,
    source: str,
    rate: float,
    weights_hash: str | None,
    marked: bool,
    stack: ExitStack,
) -> "list[Screen]":
    from fomm.errors import MediaError
    from fomm.live.screens import Recording, Screen, VirtualCamera
    from fomm.live.window import Window
    from fomm.marks import Marker, Origin
    from fomm.media import VideoWriter

    screens: list[Screen] = []
    if options.output is not None and options.output.startswith("/dev/"):
        if not Path(options.output).exists():
            raise MediaError(
                f"there is no device {options.output}; docs/live.md tells how v4l2loopback makes one"
            )
        screens.append(stack.enter_context(VirtualCamera(options.output)))
    elif options.output is not None:
        mark = Marker(Origin.of(weights_hash)) if marked else None
        writer = stack.enter_context(
            VideoWriter(options.output, fps=rate, weights_hash=weights_hash, mark=mark)
        )
        screens.append(stack.enter_context(Recording(writer, rate)))
    if options.output is None or options.window:
        screens.append(stack.enter_context(Window(source)))
    elif sys.stderr.isatty():
        screens.append(_terminal())
    return screens


def _terminal() -> "Screen":
    """Return a screen that shows, where there is no window, how it goes, in one line of the terminal."""
    from fomm.live.screens import Screen, Status, title

    class Terminal(Screen):
        def show(self, picture: object, status: Status) -> None:
            print(f"\r{title(status)}\x1b[K", end="", file=sys.stderr, flush=True)

    return Terminal()
