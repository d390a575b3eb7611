"""How the functions that run per pixel are compiled, and where numba keeps the result.

Import this module late: it loads numba.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba

from fomm.bundled import user_cache_folder

# Small functions that are called for every pixel are as fast as one long one only if they are inlined and
# nothing in them can raise. So each is inlined, and a division by zero gives inf or nan instead of an error.
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "forceinline": True}


@cache
def _hash_sources() -> str:
    """Return a short hash of this room's code, whose types the compiled functions know."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def compile_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function compiled by numba, without fast-math and without threads.

    The machine code is kept for later processes in ``NUMBA_CACHE_DIR`` where that is set, else in
    ``user_cache_folder``. Where that folder cannot be written to, nothing is kept. Each state of this room's
    code has a folder of its own: numba reads what it has kept before it compares sources, and fails where a
    class that it names has gone since.

    By itself numba would write beside the source. In an installed package pip does not know such files, and
    leaves them behind when it uninstalls. The folder that is left then hides an editable installation.

    numba chooses the folder while it decorates, from one setting for the whole process. That setting is
    changed for this moment only, so that other packages keep theirs.
    """
    config: Any = numba.config  # its names are made at run time
    chosen = config.CACHE_DIR
    try:
        config.CACHE_DIR = folder = str(Path(chosen or user_cache_folder()) / _hash_sources())
        compiled: Any = numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no home folder, or no folder at all that numba can write to
        return numba.njit(**_OPTIONS)(function)
    finally:
        config.CACHE_DIR = chosen
    # with NUMBA_DISABLE_JIT numba returns the function itself
    if compiled is function or Path(compiled.stats.cache_path).is_relative_to(folder):
        return compiled
    return numba.njit(**_OPTIONS)(function)  # numba could not write there and chose another folder
