"""The checkout that the tests lie in, and the files that belong to it."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def tracked_files() -> list[Path] | None:
    """Return the tracked files that are there, as absolute paths; None where this is no git checkout."""
    if not (ROOT / ".git").exists():
        return None
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    paths = (ROOT / name for name in listed.decode("utf-8").split("\0") if name)
    return [path for path in paths if path.is_file()]
