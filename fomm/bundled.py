"""Where the files that ship with fomm lie: in the installed package, or beside it in a bare checkout."""

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from fomm.errors import CheckpointError

# The SHA-256 of the weights that ship: what a disk or a download has changed is found when they are loaded.
WEIGHTS = {
    "heads-256.safetensors": "fd8492f161e93551e4910f80c2d4f2853365a521fc3b9ccb7501401be27db1da",
    "detector.safetensors": "514f2c099111a9aa0bc2fd7a586ad7f3d55ea1bc3b6bb88a8b6151e46b216206",
    "mesh.safetensors": "a24772c857cd78bcb4715df7e7b0b1ee68d078184ec90a81957e2cf0d6672a75",
    "identity.safetensors": "bc1046f5804889b2a4ac30477aeca987761b536510cd8babe6959677c8805046",
}

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


def check_intact(path: Path) -> None:
    """Raise ``CheckpointError`` unless a file of weights that ships is as it was when fomm was released."""
    if sha256_of(path) != WEIGHTS[path.name]:
        raise CheckpointError(
            f"{path} is not the file that fomm came with, it was changed or damaged; install fomm again"
        )


def sha256_of(path: Path) -> str:
    """The SHA-256, hexadecimal, of a file: about a second for the largest published one, none for ours."""
    digest, piece = hashlib.sha256(), memoryview(bytearray(1 << 20))
    with open(path, "rb", buffering=0) as file:
        while length := file.readinto(piece):
            digest.update(piece[:length])
    return digest.hexdigest()


@dataclass(frozen=True)
class HashOfFile:
    """A file's SHA-256 for later: reading all of a published file takes longer than loading its networks."""

    path: Path
    state: tuple[int, int, int] | None  # number on its disk, size, time of change in ns; None without a file

    @classmethod
    def now(cls, path: Path) -> "HashOfFile":
        """Of the file as it is now."""
        return cls(path.absolute(), _state_of(path))

    def __call__(self) -> str | None:
        """None if the file is not as it was: then nobody can tell any more."""
        try:
            found = sha256_of(self.path) if self.state else None
        except OSError:
            return None
        return found if _state_of(self.path) == self.state else None


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns
