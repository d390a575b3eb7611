"""ONNX Runtime for browsers: one version of the npm package ``onnxruntime-web``, checked by its hash.

The package is downloaded once and kept in the user's cache. Nothing in it is run here, and no path in it is
used: four files are read out of it by their names.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tarfile
import urllib.request
from contextlib import suppress
from pathlib import Path

from fomm.atomic import atomic_path
from fomm.bundled import user_cache_folder
from fomm.errors import ExportError, InputError

VERSION = "1.30.0"
# npm's "integrity" of that version: SHA-512 in base64.
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
FILE = f"onnxruntime-web-{VERSION}.tgz"
FILES = (  # of the folder "dist": for processors, then for WebGPU
    "ort.wasm.bundle.min.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.bundle.min.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
_REGISTRY = "https://registry.npmjs.org"
_MOST_BYTES = 64 << 20  # of the package
_LARGEST = 64 << 20  # of a file in it
_SECONDS = 60.0  # without an answer


def read_runtime(package: str | os.PathLike[str] | None = None) -> dict[str, bytes]:
    """Return the contents of ``FILES``, by name.

    Args:
        package: the npm package as a file, ``FILE``. None: it is taken from the user's cache, or downloaded
            from npm's registry, or the one that the variable ``npm_config_registry`` names, and kept there.

    Raises:
        InputError: ``package`` is another file, or cannot be read.
        ExportError: the package could not be downloaded.
    """
    if package is not None:
        path = Path(package)
        try:
            with open(path, "rb") as file:
                content = file.read(_MOST_BYTES + 1)
        except OSError as reason:
            raise InputError(f"cannot read {path}: {reason.strerror or reason}") from reason
        if not _is_intact(content):
            raise InputError(
                f"{path} is not the package onnxruntime-web {VERSION} as npm gives it; "
                f"fetch it by: npm pack onnxruntime-web@{VERSION}"
            )
        return _unpack(content)
    return _unpack(_find_package())


def _find_package() -> bytes:
    with suppress(OSError, RuntimeError):  # it is not there yet, or the user has no home folder
        content = (user_cache_folder() / FILE).read_bytes()
        if _is_intact(content):
            return content
    content = _download()
    with suppress(OSError, RuntimeError, ExportError):  # it is downloaded again next time
        kept = user_cache_folder() / FILE
        kept.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(kept, ExportError) as temporary:
            temporary.write_bytes(content)
    return content


def _download() -> bytes:
    named = os.environ.get("npm_config_registry", "")  # noqa: SIM112, npm's own name for it
    registry = named.rstrip("/") or _REGISTRY
    advice = f"on another machine: npm pack onnxruntime-web@{VERSION}, and here: --runtime {FILE}"
    if not registry.startswith(("https://", "http://")):
        raise ExportError(f"npm_config_registry is {registry!r}; expected an address such as {_REGISTRY}")
    try:
        with urllib.request.urlopen(f"{registry}/onnxruntime-web/-/{FILE}", timeout=_SECONDS) as answer:
            content: bytes = answer.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as reason:  # urllib's errors are such
        told = getattr(reason, "reason", reason)
        raise ExportError(f"cannot download {FILE} from npm's registry ({told}); {advice}") from reason
    if not _is_intact(content):
        raise ExportError(f"what npm's registry gave as {FILE} is another file, its hash is wrong; {advice}")
    return content


def _is_intact(content: bytes) -> bool:
    return base64.b64encode(hashlib.sha512(content).digest()).decode() == INTEGRITY


def _unpack(content: bytes) -> dict[str, bytes]:
    """Return the files of an intact package."""
    files = {}
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        for name in FILES:
            member = archive.getmember(f"package/dist/{name}")
            file = archive.extractfile(member) if member.isfile() and member.size <= _LARGEST else None
            assert file is not None  # the hash is right, so the files are known
            files[name] = file.read()
    return files
