"""The command line: parses, calls and exits honestly. The commands themselves are in ``fomm/commands``.

Exit status: 0 when all is well, 1 for an error (one line on stderr; a traceback with ``--debug``),
2 for wrong usage, 130 when interrupted, 143 when told to end (SIGTERM).
"""

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from fomm._version import __version__
from fomm.commands.animate import add_animate, add_demo
from fomm.commands.convert import add_convert
from fomm.commands.crop import add_crop
from fomm.commands.data import add_data
from fomm.commands.evaluate import add_evaluate
from fomm.commands.export import add_export
from fomm.commands.live import add_live
from fomm.commands.make_weights import add_make_weights
from fomm.commands.options import Help
from fomm.commands.train import add_train
from fomm.errors import FommError

COMMANDS: dict[str, tuple[Callable[[argparse.ArgumentParser], None], str]] = {
    "animate": (add_animate, "Move a photo as a driving video moves."),
    "demo": (add_demo, "Animate the bundled photo with the bundled video."),
    "live": (add_live, "Move a photo as the camera sees you move, at once."),
    "crop": (add_crop, "Cut heads out of photos and videos, and print where they were."),
    "convert": (add_convert, "Turn any checkpoint into safetensors: the two networks and the configuration."),
    "export": (add_export, "Turn the networks into ONNX for other programs, checked against torch."),
    "data": (add_data, "Make a data set."),
    "train": (add_train, "Train, or go on training."),
    "make-weights": (add_make_weights, "Draw data, train and measure, in so many minutes each."),
    "evaluate": (add_evaluate, "Measure a checkpoint on held-out clips."),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs ``fomm`` with the arguments (those of the process by default) and returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments  # before or after the command
    try:
        options = build_parser().parse_args([item for item in arguments if item != "--debug"])
    except SystemExit as stop:  # of --help and --version, and of wrong usage
        return int(stop.code or 0)
    try:
        with _tidy_end():
            options.run(options)
    except KeyboardInterrupt:
        print("fomm: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            raise
        print(f"fomm: {_one_line(error)}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _tidy_end() -> Iterator[None]:
    """A signal that ends the process unwinds it first, as Ctrl-C does: nothing half-written stays.

    One that is ignored, as ``nohup`` arranges, stays ignored. Only the main thread may set handlers.
    """
    names = ("SIGTERM", "SIGHUP") if threading.current_thread() is threading.main_thread() else ()
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    taken = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``fomm`` and of all its commands."""
    parser = argparse.ArgumentParser(
        prog="fomm", description="Animate one photo from a driving video (First Order Motion Model)."
    )
    parser.add_argument("--version", action="version", version=f"fomm {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (add, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary, formatter_class=Help)
        add(command)
    return parser


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, FommError):
        return text
    return f"{type(error).__name__}: {text or 'no further words'} (run again with --debug for the traceback)"
