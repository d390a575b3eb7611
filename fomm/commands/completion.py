"""``fomm --print-completion``: what a shell needs to complete commands and options."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SHELLS = ("bash", "zsh", "fish")


def add_completion(parser: argparse.ArgumentParser) -> None:
    """Add ``--print-completion`` to the parser of all commands."""
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        choices=SHELLS,
        help="print a shell's completion script",
    )


class _PrintCompletion(argparse.Action):
    """Print the script for one shell, and exit."""

    def __call__(
        self, parser: argparse.ArgumentParser, options: argparse.Namespace, value: Any, name: Any = None
    ) -> None:
        try:
            import shtab  # an extra
        except ImportError as reason:
            from fomm.errors import MissingExtraError

            raise MissingExtraError("completion needs the package shtab: pip install shtab") from reason
        for action in _list_actions(parser):
            if action.type is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        print(shtab.complete(parser, value))
        parser.exit()


def _list_actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield every option and argument, those of commands too."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _list_actions(command)
