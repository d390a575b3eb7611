"""The parser of ``fomm`` and of all its commands."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import NoReturn

from fomm._version import __version__
from fomm.commands.animate import add_animate, add_demo
from fomm.commands.completion import add_completion
from fomm.commands.convert import add_convert
from fomm.commands.crop import add_crop
from fomm.commands.data import add_data
from fomm.commands.detect import add_detect
from fomm.commands.edit import add_edit
from fomm.commands.evaluate import add_evaluate
from fomm.commands.export import add_export
from fomm.commands.inspect import add_inspect
from fomm.commands.live import add_live
from fomm.commands.make_weights import add_make_weights
from fomm.commands.motion import add_motion
from fomm.commands.options import Help
from fomm.commands.score import add_score
from fomm.commands.swap import add_swap
from fomm.commands.train import add_train
from fomm.commands.web import add_web

COMMANDS: dict[str, tuple[Callable[[argparse.ArgumentParser], None], str]] = {
    "animate": (add_animate, "Move a photo as a driving video moves."),
    "demo": (add_demo, "Animate the bundled photo with the bundled video."),
    "edit": (add_edit, "Change the face in a photo: turn it, open its mouth, let it smile."),
    "motion": (add_motion, "Keep how the face in a video moves, or print it as numbers."),
    "live": (add_live, "Move a photo as the camera sees you move, at once."),
    "web": (add_web, "Do all of this on a page in the browser, on this machine."),
    "crop": (add_crop, "Cut heads out of photos and videos, and print where they were."),
    "inspect": (add_inspect, "Say what a picture or video tells of its origin."),
    "detect": (add_detect, "Look for changes of a face: signs, heat maps, and no proof."),
    "convert": (add_convert, "Turn any checkpoint into safetensors: the two networks and the configuration."),
    "export": (add_export, "Turn the networks into ONNX for other programs, checked against torch."),
    "data": (add_data, "Make a data set."),
    "train": (add_train, "Train, or go on training."),
    "make-weights": (add_make_weights, "Draw data, train on them meanwhile and measure, in so many minutes."),
    "swap": (add_swap, "Put one person's face into another person's video."),
    "evaluate": (add_evaluate, "Measure a checkpoint on held-out clips."),
    "score": (add_score, "Measure how well a result follows the video that drove it."),
}


class Parser(argparse.ArgumentParser):
    """A parser that says in one line what is wrong; given nothing, one that has commands lists them."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        words = list(sys.argv[1:] if args is None else args)
        if self._subparsers is not None and not words:
            self.print_help(sys.stderr)
            self.exit(2)
        self._check_options(words)  # first: a mistyped option is the reason for one that is missing
        options, extra = super().parse_known_args(words, namespace)
        for word in extra:
            if word.startswith("-"):
                self._unknown(word)
        if extra:
            self.error(f"unexpected argument {extra[0]!r}")
        return options, extra

    def error(self, message: str) -> NoReturn:
        line = " ".join(message.split())
        self.exit(2, f"{self.prog}: {line}{' ' if line.endswith('?') else '; '}see {self.prog} --help\n")

    def _check_options(self, words: Iterable[str]) -> None:
        for word in words:
            if word == "--" or (self._subparsers is not None and not word.startswith("-")):
                return  # what follows are no options, or those of a command
            option = word.partition("=")[0]
            known = any(name.startswith(option) for name in self._names())  # they may be cut short
            if option.startswith("--") and " " not in option and not known:
                self._unknown(option)

    def _unknown(self, option: str) -> NoReturn:
        near = get_close_matches(option, self._names(), 1)
        self.error(f"unknown option {option}" + (f"; did you mean {near[0]}?" if near else ""))

    def _names(self) -> list[str]:
        return [name for action in self._actions for name in action.option_strings]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``fomm`` and of all its commands."""
    parser = Parser(
        prog="fomm", description="Animate one photo from a driving video (First Order Motion Model)."
    )
    parser.add_argument("--version", action="version", version=f"fomm {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    add_completion(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (add, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary, formatter_class=Help)
        add(command)
    return parser
