"""Find files: those that ship with fomm, with their hashes, and the folder of what it keeps for a user."""

import hashlib
import os
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from fomm.errors import CheckpointError

# The SHA-256 of the weights that ship. It is compared when they are loaded, to find damaged files.
WEIGHTS = {
    "heads-256.safetensors": "fd8492f161e93551e4910f80c2d4f2853365a521fc3b9ccb7501401be27db1da",
    "detector.safetensors": "514f2c099111a9aa0bc2fd7a586ad7f3d55ea1bc3b6bb88a8b6151e46b216206",
    "mesh.safetensors": "28082867de76df852b886eb2549138e82124a98e09b1b052f9201bea47cbe765",
    "identity.safetensors": "bc1046f5804889b2a4ac30477aeca987761b536510cd8babe6959677c8805046",
    "mtcnn.safetensors": "6bf9617927a20013c9db898b8c6bb8dab656bf6228bbd554f6d953a741ff8206",
    "traces.safetensors": "4bfc96ffb346885df65ec0b4e09a93ba4ebd52b0834e039383b3681fe5f1c4f1",
}

# Motion templates that ship: NAME.motion.safetensors in examples/.
MOTIONS = ("talk", "nod", "look-around", "blink", "smile", "surprise")

_FOLDERS = ("configs", "checkpoints", "examples")


def bundled(folder: str, name: str = "") -> Path:
    """Return the path of ``name`` in one of the folders ``configs``, ``checkpoints`` or ``examples``.

    This works from a wheel, from an editable install and from a checkout that is not installed. The file need
    not exist. Raises ValueError for another folder.
    """
    if folder not in _FOLDERS:
        raise ValueError(f"folder is one of {_FOLDERS}, not {folder!r}")
    try:
        root = Path(str(resources.files(f"fomm.{folder}")))
    except ModuleNotFoundError:  # not installed: the folders lie beside the package
        root = Path(__file__).resolve().parent.parent / folder
    return root / name


def check_intact(path: Path) -> None:
    """Raise ``CheckpointError`` if a file of weights that ships is not as it was when fomm was released."""
    if sha256_of(path) != WEIGHTS[path.name]:
        raise CheckpointError(
            f"{path} is not the file that fomm came with, it was changed or damaged; install fomm again"
        )


def sha256_of(path: Path) -> str:
    """Return the SHA-256, hexadecimal, of a file. Raises OSError for one that cannot be read.

    This takes about a second for the largest published file.
    """
    digest, piece = hashlib.sha256(), memoryview(bytearray(1 << 20))
    with open(path, "rb", buffering=0) as file:
        while length := file.readinto(piece):
            digest.update(piece[:length])
    return digest.hexdigest()


@dataclass(frozen=True)
class LazyFileHash:
    """A file's SHA-256, computed when it is asked for: that takes longer than loading published networks."""

    path: Path
    state: tuple[int, int, int] | None  # inode, size, time of change in ns; None where there is no file

    @classmethod
    def of(cls, path: Path) -> "LazyFileHash":
        """Return the hash of the file as it is now."""
        return cls(path.absolute(), _state_of(path))

    def __call__(self) -> str | None:
        """Return the SHA-256, hexadecimal; None if the file has changed since, so that it cannot be known."""
        try:
            found = sha256_of(self.path) if self.state else None
        except OSError:
            return None
        return found if _state_of(self.path) == self.state else None


def _state_of(path: Path) -> tuple[int, int, int] | None:
    """Return inode, size and time of change of a file, which change with it; None where there is no file."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def user_cache_folder() -> Path:
    """Return ``fomm`` below the folder in which programs keep what they can make again for this user.

    Raises:
        RuntimeError: the user has no home folder.
    """
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        named = os.environ.get("XDG_CACHE_HOME", "")
        base = Path(named) if os.path.isabs(named) else Path.home() / ".cache"
    return base / "fomm"
