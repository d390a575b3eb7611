"""Write a file whole or not at all, so that no name ever leads to a file that is half-written."""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fomm.errors import FommError, InputError


@contextmanager
def atomic_path(path: str | os.PathLike[str], error: type[FommError] = FommError) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; the file there replaces ``path`` when the block ends well.

    The temporary name has the same suffix, since writers choose a format by it. The block creates the file,
    so that it gets the usual permissions. If an exception or an interrupt ends the block, a file that was
    under ``path`` before is untouched. In no case is a temporary file left behind.

    Args:
        path: the file to write.
        error: the class of what is raised here.

    Raises:
        FommError: of the class ``error``: the folder is missing, ``path`` is a folder, or the file cannot be
            moved to ``path``. Exceptions of the block pass through.
    """
    target = Path(path)
    check_place(target, error)
    stem = os.fsencode(target.stem)[:100].decode(errors="ignore")  # file systems count bytes
    temporary = target.with_name(f".{stem}.{secrets.token_hex(4)}.part{target.suffix}")
    try:
        yield temporary
        try:
            _flush_to_disk(temporary)
            os.replace(temporary, target)
        except OSError as reason:
            raise error(f"cannot write {target}: {reason.strerror or reason}") from reason
    finally:
        temporary.unlink(missing_ok=True)


def check_place(target: Path, error: type[FommError]) -> None:
    """Raise ``error`` if the folder of the file ``target`` is missing, or a folder has its name."""
    if not target.parent.is_dir():
        raise error(f"cannot write {target}: the folder {target.parent} does not exist; create it first")
    if target.is_dir():
        raise error(f"cannot write {target}: a folder of that name is there; choose the name of a file")


def check_is_no_input(
    result: str | os.PathLike[str], inputs: Mapping[str, str | os.PathLike[str] | None]
) -> None:
    """Raise InputError if a file to write is one of those that are read.

    Args:
        result: the file to write.
        inputs: the files that are read, by what they are to the user; None where none was given.
    """
    for what, given in inputs.items():
        if given is not None and os.path.realpath(result) == os.path.realpath(given):
            raise InputError(f"{result} is the {what} itself; choose another name for the result")


def _flush_to_disk(path: Path) -> None:
    """Wait until the contents are on the disk, so that a power cut after the rename leaves no empty file."""
    with open(path, "r+b") as file:
        os.fsync(file.fileno())
