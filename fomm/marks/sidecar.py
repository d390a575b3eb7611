"""A JSON file beside a result: how it was made."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fomm._version import __version__
from fomm.atomic import atomic_path
from fomm.bundled import sha256_of
from fomm.errors import MediaError, shown
from fomm.marks.credentials import SOURCE_TYPE
from fomm.marks.payload import Origin
from fomm.media.paths import PathLike

_LARGEST = 1 << 20  # bytes


def sidecar_path(result: PathLike) -> Path:
    """Return where the sidecar of a result lies: ``talk.mp4.json`` beside ``talk.mp4``."""
    path = Path(result)
    return path.with_name(f"{path.name}.json")


def write_sidecar(
    result: PathLike,
    *,
    weights: str | None,
    photo: PathLike,
    drivings: Sequence[PathLike],
    origin: Origin | None,
    options: Mapping[str, Any],
) -> None:
    """Write the sidecar of a result, which is complete. Raise ``MediaError`` where it cannot be written.

    Args:
        weights: their SHA-256; None if not known.
        photo, drivings: what the result was made of. Their names and hashes are kept, not their folders.
        origin: what the invisible mark says; None without one.
        options: by their names.
    """
    facts = {
        "fomm": __version__,
        "digital_source_type": SOURCE_TYPE,
        "result": _describe(result),
        "weights_sha256": weights,
        "photo": _describe(photo),
        "driving": [_describe(driving) for driving in drivings],
        "mark": None if origin is None else {"weights": origin.weights, "number": origin.number},
        "options": {name: value for name, value in options.items() if name != "credentials"},
    }
    with atomic_path(sidecar_path(result), MediaError) as path:
        path.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_sidecar(result: PathLike) -> dict[str, Any] | None:
    """Return what the sidecar of a result says, None where there is none.

    ``"matches"`` is added: whether it is of this very file.

    Raises:
        MediaError: it is no JSON object, or larger than 1 MiB.
    """
    path = sidecar_path(result)
    if not path.is_file():
        return None
    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as reason:
        raise MediaError(f"cannot read {path}: {reason.strerror or reason}") from reason
    if len(content) > _LARGEST:
        raise MediaError(f"{path} is no sidecar of fomm: it has more than {_LARGEST} bytes")
    try:
        facts = json.loads(content)
    except (ValueError, RecursionError) as reason:
        raise MediaError(f"{path} is no sidecar of fomm: it is no JSON ({shown(reason)})") from reason
    if not isinstance(facts, dict):
        raise MediaError(f"{path} is no sidecar of fomm: it is JSON, but no object")
    told = facts.get("result")
    expected = told.get("sha256") if isinstance(told, dict) else None
    facts["matches"] = expected is not None and expected == _describe(result)["sha256"]
    return facts


def _describe(path: PathLike) -> dict[str, str | None]:
    """Return the name of a file and its SHA-256; None for that of a folder."""
    file = Path(path)
    return {"name": file.name, "sha256": None if file.is_dir() else sha256_of(file)}
