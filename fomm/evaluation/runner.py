"""How well a checkpoint moves pictures: numbers over a list of clips, one clip in memory at a time.

Two modes. *reconstruction*, as published: the first frame of a clip is the source, the clip itself drives
it, key points are taken as they are; the result is compared with the clip. *animation*: another clip's first
frame is driven, key points moving relative to the driving clip's first frame; there is no true picture, but
the motion of driving and result can be compared, and the person with the source.

Beside the checkpoint, other checkpoints are measured on the same list, and two that set the scale: the source
shown unchanged, and the driving clip itself. What each number means is in ``docs/evaluation.md``.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch
from tqdm import tqdm

from fomm._version import __version__
from fomm.atomic import atomic_path
from fomm.checkpoint import sha256_of
from fomm.errors import InputError
from fomm.evaluation import summary
from fomm.evaluation.clips import list_clips, list_hash
from fomm.evaluation.contestants import Contestant, load_contestants
from fomm.evaluation.course import Course
from fomm.evaluation.faces import FACE_ALIGNMENT, find_landmarks
from fomm.evaluation.features import find_inception, find_perceptual
from fomm.evaluation.gallery import Gallery, as_picture
from fomm.evaluation.measure import Tools
from fomm.evaluation.page import as_html
from fomm.evaluation.pairs import Pair, listed_pairs, random_pairs, reconstruction_pairs

MODES = ("reconstruction", "animation", "both")
NO_AED = "its network (OpenFace) has no weights that fomm can read; compare aed_dlib128 with itself alone"

PathLike = str | os.PathLike[str]


def evaluate(
    checkpoint: PathLike | None,
    data: PathLike,
    *,
    mode: str = "reconstruction",
    against: Sequence[PathLike] = (),
    pairs: PathLike | None = None,
    limit: int | None = None,
    out: PathLike | None = None,
    seed: int = 0,
    config: PathLike | None = None,
    perceptual: PathLike | None = None,
    fid_weights: PathLike | None = None,
    landmarks: str | None = None,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure a checkpoint on held-out clips.

    Args:
        checkpoint: a file of weights; None for those that ship.
        data: a folder of clips; its ``test`` folder is read, where it has one.
        mode: ``"reconstruction"``, ``"animation"`` or ``"both"``.
        against: other files of weights, measured on the same list. All results are compared at the size of
            ``checkpoint``.
        pairs: a list of pairs for animation, see ``pairs.listed_pairs``; without it, they are drawn.
        limit: only the first so many clips in the order of their names, or pairs of the list.
        out: a folder to write ``report.html``, ``report.json`` and pictures to; made if it is not there.
        seed: of the pairs that are drawn.
        config: the configuration of ``checkpoint``, needed where its file does not tell.
        perceptual: the network of the perceptual distance, as ``load_perceptual_network`` takes it.
        fid_weights: pytorch-fid's file for FID; without it, torch hub's cache is looked into.
        landmarks: ``"face-alignment"`` measures the published AKD even if the package has to download its
            weights first; without it, only where they are in torch hub's cache.
        device: where the networks run; the fastest there is when None.
        progress: show a progress bar on stderr.

    Returns:
        The numbers, ready for JSON (None where a number does not exist), as ``docs/evaluation.md`` describes.

    Raises InputError, MediaError, CheckpointError, ConfigError or MissingExtraError.
    """
    if mode not in MODES:
        raise InputError(f"mode is one of {', '.join(MODES)}, not {mode!r}.")
    if pairs is not None and mode == "reconstruction":
        raise InputError("A list of pairs is for animation; in reconstruction each clip moves itself.")
    lists, absent_clips = _lists(mode, data, pairs, seed, limit)
    used = sorted(
        {clip for items in lists.values() for pair in items for clip in (pair.source, pair.driving)}
    )
    contestants = load_contestants(checkpoint, against, config, device)
    tools, absent = _tools(contestants[0].device, perceptual, fid_weights, landmarks)
    if out is not None:
        _make_folder(Path(out))  # before the work, not after it
    report: dict[str, Any] = {
        "mode": mode,
        "checkpoint": _origin(contestants[0]),
        "against": [_origin(contestant) for contestant in contestants[1:]],
        "size": list(contestants[0].size),
        "data": {"clips": len(used), "sha256": list_hash(used)},
        "pairs": None if pairs is None else _origin_of_pairs(Path(pairs), absent_clips),
        "seed": seed,
        "device": str(contestants[0].device),
        "versions": _versions() | ({FACE_ALIGNMENT: _version_of(FACE_ALIGNMENT)} if tools.landmarks else {}),
        "networks": {network.frechet_name: network.fingerprint() for network in tools.features},
        "absent": absent,
    }
    galleries = {}
    total = sum(len(items) for items in lists.values())
    with tqdm(total=total, disable=None if progress else True, unit="clip") as bar:
        for name, items in lists.items():
            course = Course(name, contestants, tools)
            for pair in items:
                course.run(pair)
                bar.update()
            report[name], galleries[name] = course.result(), course.gallery
    report = summary.without_nan(report)
    if out is not None:
        _write(Path(out), report, galleries)
    return report


def _lists(
    mode: str, data: PathLike, pairs: PathLike | None, seed: int, limit: int | None
) -> tuple[dict[str, list[Pair]], list[str]]:
    """What is measured in each mode, and the names in the list of pairs that no clip has."""
    clips = list_clips(data, limit)
    lists: dict[str, list[Pair]] = {}
    absent: list[str] = []
    if mode != "animation":
        lists["reconstruction"] = reconstruction_pairs(clips)
    if mode != "reconstruction" and pairs is None:
        lists["animation"] = random_pairs(clips, seed)
    elif pairs is not None:
        listed, absent = listed_pairs(pairs, list_clips(data))
        lists["animation"] = listed[:limit]
    return lists, absent


def _tools(
    device: torch.device,
    perceptual: PathLike | None,
    fid_weights: PathLike | None,
    landmarks_choice: str | None,
) -> tuple[Tools, dict[str, str]]:
    """The networks that measure, and why some are not there."""
    absent = {"aed": NO_AED}
    face_device = device if device.type == "cuda" else torch.device("cpu")
    landmarks, reason = find_landmarks(face_device, landmarks_choice)
    if landmarks is None:
        absent["akd"] = reason
    features = []
    for name, (network, reason) in {
        "perceptual": find_perceptual(perceptual, device),
        "fid": find_inception(fid_weights, device),
    }.items():
        if network is None:
            absent[name] = reason
        else:
            features.append(network)
    return Tools(face_device, tuple(features), landmarks), absent


def _origin(contestant: Contestant) -> dict[str, str]:
    return {"label": contestant.label, "file": contestant.file, "sha256": contestant.sha256}


def _origin_of_pairs(file: Path, absent_clips: list[str]) -> dict[str, Any]:
    return {"file": file.name, "sha256": sha256_of(file), "absent_clips": absent_clips}


def _versions() -> dict[str, str]:
    return {
        "fomm": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "python": platform.python_version(),
    }


def _version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # it was put on the path without being installed
        return "unknown"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise InputError(f"cannot make the folder {folder}: {reason.strerror or reason}") from reason


def _write(folder: Path, report: dict[str, Any], galleries: dict[str, Gallery]) -> None:
    """``report.json``, ``report.html`` and a picture of strips for each mode, each whole or not at all."""
    with atomic_path(folder / "report.json", InputError) as temporary:
        temporary.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    with atomic_path(folder / "report.html", InputError) as temporary:
        temporary.write_text(as_html(report, galleries), encoding="utf-8")
    for mode, gallery in galleries.items():
        with atomic_path(folder / f"{mode}.png", InputError) as temporary:
            as_picture(gallery.strips).save(temporary)
