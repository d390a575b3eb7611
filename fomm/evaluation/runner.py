"""Measure how well a checkpoint moves pictures, over a list of clips, with one clip in memory at a time.

There are two modes. In *reconstruction*, as published, a clip moves its own first frame with absolute key
points, and the result is compared with the clip. In *animation*, a clip moves the first frame of another
clip, with key points relative to those of its first frame. There is no true picture then, but the motion can
be compared with the driving clip's, and the person with the source's.

Other checkpoints can be measured on the same list. Two baselines set the scale: the source unchanged in every
frame, and the driving clip itself. ``docs/evaluation.md`` says what each number means.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch
from tqdm import tqdm

from fomm._version import __version__
from fomm.atomic import atomic_path
from fomm.bundled import sha256_of
from fomm.errors import InputError
from fomm.evaluation import summary
from fomm.evaluation.clips import hash_clips, list_clips
from fomm.evaluation.contestants import Contestant, load_contestants
from fomm.evaluation.faces import FACE_ALIGNMENT, find_landmarks
from fomm.evaluation.features import find_inception, find_perceptual
from fomm.evaluation.gallery import Gallery, draw_strips
from fomm.evaluation.measure import MetricNetworks
from fomm.evaluation.modes import MODES, ModeEvaluation
from fomm.evaluation.page import format_html
from fomm.evaluation.pairs import Pair, draw_pairs, pair_with_themselves, read_pairs
from fomm.media.paths import PathLike

MODE_CHOICES = (*MODES, "both")
NO_AED = "its network (OpenFace) has no weights that fomm can read; compare aed_dlib128 with itself alone"


def evaluate(
    checkpoint: PathLike | None,
    data: PathLike,
    *,
    mode: str = "reconstruction",
    against: Sequence[PathLike] = (),
    pairs: PathLike | None = None,
    limit: int | None = None,
    minutes: float | None = None,
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
        pairs: a list of pairs for animation, see ``pairs.read_pairs``; without it, they are drawn.
        limit: only the first so many clips in the order of their names, or pairs of the list.
        minutes: no clip, or pair, is begun after so long, but for the first; the report tells of those that
            were measured.
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

    Raises:
        InputError: options contradict each other, or the data set or the list of pairs cannot be used.
        MediaError: a clip cannot be read.
        CheckpointError: a file of weights cannot be read or does not fit.
        ConfigError: ``config`` cannot be read.
        MissingExtraError: a network that was asked for cannot be loaded.
    """
    if mode not in MODE_CHOICES:
        raise InputError(f"mode is one of {', '.join(MODE_CHOICES)}, not {mode!r}")
    if pairs is not None and mode == "reconstruction":
        raise InputError("a list of pairs is for animation; in reconstruction each clip moves itself")
    end = math.inf if minutes is None else time.monotonic() + 60 * minutes
    lists, absent_clips = _choose_pairs(mode, data, pairs, seed, limit)
    contestants = load_contestants(checkpoint, against, config, device)
    networks, absent = _load_networks(contestants[0].device, perceptual, fid_weights, landmarks)
    if out is not None:
        make_folder(Path(out))  # before the work, not after it
    report: dict[str, Any] = {
        "mode": mode,
        **_describe_checkpoints(contestants),
        "data": {},  # which are measured, is known at the end
        "pairs": None if pairs is None else _describe_pairs(Path(pairs), absent_clips),
        "seed": seed,
        "device": str(contestants[0].device),
        "versions": _versions(with_face_alignment=networks.landmarks is not None),
        "networks": {network.frechet_name: network.fingerprint() for network in networks.features},
        "absent": absent,
    }
    evaluations = {name: ModeEvaluation(name, contestants, networks) for name in lists}
    done: dict[str, list[Pair]] = {name: [] for name in lists}
    total = sum(len(items) for items in lists.values())
    with tqdm(total=total, disable=None if progress else True, unit="clip") as bar:
        for number in range(max(map(len, lists.values()))):
            if number and time.monotonic() > end:
                break
            for name, items in lists.items():
                for pair in items[number : number + 1]:
                    evaluations[name].measure_pair(pair)
                    done[name].append(pair)
                    bar.update()
    report["data"] = _describe_clips(done)
    galleries = {}
    for name, evaluation in evaluations.items():
        report[name], galleries[name] = evaluation.summarize(), evaluation.gallery
    report = summary.replace_nan(report)
    if out is not None:
        _write(Path(out), report, galleries)
    return report


def _choose_pairs(
    mode: str, data: PathLike, pairs: PathLike | None, seed: int, limit: int | None
) -> tuple[dict[str, list[Pair]], list[str]]:
    """Return the pairs of each mode that is asked for, and the names in the list that no clip has."""
    clips = list_clips(data, limit)
    lists: dict[str, list[Pair]] = {}
    absent: list[str] = []
    if mode != "animation":
        lists["reconstruction"] = pair_with_themselves(clips)
    if mode != "reconstruction" and pairs is None:
        lists["animation"] = draw_pairs(clips, seed)
    elif pairs is not None:
        listed, absent = read_pairs(pairs, list_clips(data))
        lists["animation"] = listed[:limit]
    return lists, absent


def _load_networks(
    device: torch.device,
    perceptual: PathLike | None,
    fid_weights: PathLike | None,
    landmarks_choice: str | None,
) -> tuple[MetricNetworks, dict[str, str]]:
    """Return the networks that measure, and for each number that cannot be measured the reason."""
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
    return MetricNetworks(face_device, tuple(features), landmarks), absent


def _describe_checkpoints(contestants: Sequence[Contestant]) -> dict[str, Any]:
    """Return what the report says of the checkpoints."""
    first, *others = [
        {"label": contestant.label, "file": contestant.file, "sha256": contestant.sha256}
        for contestant in contestants
    ]
    return {"checkpoint": first, "against": others, "size": list(contestants[0].size)}


def _describe_clips(lists: dict[str, list[Pair]]) -> dict[str, Any]:
    """Return what the report says of the clips: how many there are, and their hash."""
    used = {clip for items in lists.values() for pair in items for clip in (pair.source, pair.driving)}
    return {"clips": len(used), "sha256": hash_clips(sorted(used))}


def _describe_pairs(file: Path, absent_clips: list[str]) -> dict[str, Any]:
    """Return what the report says of a list of pairs."""
    return {"file": file.name, "sha256": sha256_of(file), "absent_clips": absent_clips}


def _versions(with_face_alignment: bool) -> dict[str, str]:
    """Return the versions of all that the numbers depend on."""
    versions = {
        "fomm": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-image": _version_of("scikit-image"),
        "python": platform.python_version(),
    }
    return versions | ({FACE_ALIGNMENT: _version_of(FACE_ALIGNMENT)} if with_face_alignment else {})


def _version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # on the path, and not installed
        return "unknown"


def make_folder(folder: Path) -> None:
    """Make a folder for a report, if it is not there. Raises InputError where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise InputError(
            f"cannot make the folder {folder}: {reason.strerror or reason}; choose another"
        ) from reason


def _write(folder: Path, report: dict[str, Any], galleries: dict[str, Gallery]) -> None:
    """Write ``report.json``, ``report.html`` and a picture of strips for each mode, whole or not at all."""
    with atomic_path(folder / "report.json", InputError) as temporary:
        temporary.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    with atomic_path(folder / "report.html", InputError) as temporary:
        temporary.write_text(format_html(report, galleries), encoding="utf-8")
    for mode, gallery in galleries.items():
        with atomic_path(folder / f"{mode}.png", InputError) as temporary:
            draw_strips(gallery.strips).save(temporary)
