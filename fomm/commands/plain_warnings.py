"""Warnings as a person reads them: one line on stderr, without the place in the source that gave it."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO, TypeVar

T = TypeVar("T")

_shown: set[str] = set()


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Show the warnings of a block as lines, each text once."""
    _shown.clear()
    with warnings.catch_warnings():
        warnings.showwarning = _show
        yield


def call_with_plain_warnings(function: Callable[[], T]) -> T:
    """Call the function in a process that goes on to show its warnings as lines, each text once."""
    warnings.showwarning = _show
    return function()


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    text = " ".join(str(message).split())
    if text in _shown:
        return
    _shown.add(text)
    line = f"fomm: warning: {text}\n"  # written at once: other processes may write too
    if "tqdm" in sys.modules:  # a progress bar may stand in the line
        from tqdm import tqdm

        tqdm.write(line, file=sys.stderr, end="")
    else:
        sys.stderr.write(line)
