"""Where the files that ship with fomm lie: in the installed package, or beside it in a bare checkout."""

from importlib import resources
from pathlib import Path

_FOLDERS = ("configs", "checkpoints", "examples")


def bundled(folder: str, name: str = "") -> Path:
    """Path of ``name`` in one of the folders ``configs``, ``checkpoints`` or ``examples``.

    Works from a wheel, from an editable install and from a bare checkout. The file need not exist.
    """
    if folder not in _FOLDERS:
        raise ValueError(f"folder is one of {_FOLDERS}, not {folder!r}")
    try:
        root = Path(str(resources.files(f"fomm.{folder}")))
    except ModuleNotFoundError:  # a bare checkout: the folders lie beside the package
        root = Path(__file__).resolve().parent.parent / folder
    return root / name
