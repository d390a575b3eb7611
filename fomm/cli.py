"""The command line: parses, calls and exits honestly. The commands themselves are in ``fomm/commands``.

Exit status: 0 when all is well, 1 for an error (one line on stderr; a traceback with ``--debug``), 2 for
wrong usage, 3 where ``fomm inspect`` finds nothing, 130 when interrupted, 143 when told to end (SIGTERM).

All that takes time to import is imported inside ``main``, where an interrupt is met.
"""

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import FrameType


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``fomm`` with the arguments (those of the process by default) and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments  # before or after the command
    interrupted = False
    try:
        with _interrupts_noted() as interrupts:
            try:
                return _run([item for item in arguments if item != "--debug"], debug)
            finally:
                interrupted = bool(interrupts)
    except KeyboardInterrupt:
        interrupted = True
    except Exception as error:
        # Ctrl-C while a module is imported can come out of it as any error
        if not interrupted:
            if debug:
                raise
            print(f"fomm: {_one_line(error)}", file=sys.stderr)
            return 1
    print("fomm: interrupted", file=sys.stderr)
    return 130


def _run(arguments: list[str], debug: bool) -> int:
    from fomm.commands.parser import build_parser
    from fomm.commands.plain_warnings import plain_warnings

    try:
        options = build_parser().parse_args(arguments)
    except SystemExit as stop:  # of --help and --version, and of wrong usage
        return int(stop.code or 0)
    options.debug = debug
    with _tidy_end(), nullcontext() if debug else plain_warnings():
        return options.run(options) or 0


@contextmanager
def _interrupts_noted() -> Iterator[list[int]]:
    """Give a list that grows with every Ctrl-C, which still raises ``KeyboardInterrupt``."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    main_thread = threading.current_thread() is threading.main_thread()
    ours = main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield came
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def _tidy_end() -> Iterator[None]:
    """Let a signal that ends the process unwind it first, as Ctrl-C does: nothing half-written stays.

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


def _one_line(error: Exception) -> str:
    from fomm.errors import FommError

    text = " ".join(str(error).split())
    if isinstance(error, FommError):
        return text
    return f"{type(error).__name__}: {text or 'no further words'} (run again with --debug for the traceback)"
