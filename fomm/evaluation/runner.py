"""How well a checkpoint moves a face: numbers over a list of clips with exact landmarks.

Two modes. *reconstruction*, as published: the first frame of a clip is the source, the clip itself drives
it, key points are taken as they are; the result is compared with the clip, and so is the unchanged source.
*animation*: another person's first frame is driven by the clip, key points moving relative to its first
frame; there is no true picture, but the motion of driving and result can be compared.

Motion is measured by one and the same face mesh on driving and result.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from fomm._version import __version__
from fomm.animate import Animator
from fomm.atomic import atomic_path
from fomm.checkpoint import load_checkpoints
from fomm.errors import InputError
from fomm.evaluation import metrics
from fomm.evaluation.clips import Clip, list_clips, list_hash, read_clip
from fomm.evaluation.traits import TRAITS, Traits, followed, mean_of, measure_traits
from fomm.frames import to_uint8
from fomm.model import KPDetector, OcclusionAwareGenerator

MODES = ("reconstruction", "animation")
CHUNK = 8  # frames in one pass of the networks


def evaluate(
    checkpoint: str | os.PathLike[str] | None,
    data: str | os.PathLike[str],
    *,
    limit: int | None = None,
    out: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
    progress: bool = True,
    mode: str = "reconstruction",
    config: str | os.PathLike[str] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure a checkpoint on the held-out clips of a heads data set.

    Args:
        checkpoint: a file of weights; None for those that ship.
        data: the data set; its ``test`` folder is read, or the folder itself where it has none.
        limit: only the first so many clips in the order of their names.
        out: a file to write the numbers to as JSON.
        device: where the networks run; the fastest there is when None.
        progress: show a progress bar on stderr.
        mode: ``"reconstruction"`` or ``"animation"``.
        config: the checkpoint's configuration, needed where its file does not tell.
        seed: of the pairs in animation.

    Returns:
        The numbers, ready for JSON (None where a number does not exist). L1 is in [0, 1], averaged over
        frames, the first included. ``ratio`` is that of the result over that of showing the source unchanged.
        Of each trait's correlation between driving and result there is ``pooled`` (all frames of all clips as
        one series), ``pooled_centred`` (the same, each clip less its own mean: motion alone), and the mean
        and median over the ``clips`` in which the trait moves. ``against_exact`` compares pose as measured on
        driving and result with the exact pose of the renderer: the first says how good the measure itself is.
        ``sharpness`` is the result's in the face over the truth's (in animation the source's).

    Raises InputError, MediaError, CheckpointError or ConfigError.
    """
    if mode not in MODES:
        raise InputError(f"mode is one of {', '.join(MODES)}, not {mode!r}.")
    paths = list_clips(data, limit)
    generator, kp_detector = load_checkpoints(config, checkpoint, device=device)
    networks = _Networks(generator, kp_detector)
    sources = paths if mode == "reconstruction" else pair_sources(paths, seed)
    rows = []
    for path, source_path in zip(
        tqdm(paths, disable=None if progress else True, unit="clip"), sources, strict=True
    ):
        clip = read_clip(path).resized(*networks.size)
        if mode == "reconstruction":
            rows.append(_reconstruction(networks, clip))
        else:
            rows.append(_animation(networks, read_clip(source_path).resized(*networks.size), clip))
    report = {
        "mode": mode,
        "checkpoint": {
            "file": "default" if checkpoint is None else Path(checkpoint).name,
            "sha256": generator.weights_hash,
        },
        "size": list(networks.size),
        "data": {"clips": len(paths), "frames": sum(row.frames for row in rows), "sha256": list_hash(paths)},
        "seed": seed,
        "device": str(networks.device),
        "versions": {
            "fomm": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        **_summary(rows),
        "clips": [_as_numbers(row) for row in rows],
    }
    report = _without_nan(report)
    if out is not None:
        with atomic_path(out) as temporary:
            temporary.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return report


def pair_sources(paths: Sequence[Path], seed: int) -> list[Path]:
    """For each driving clip, the clip of another person whose first frame it drives, drawn by ``seed``."""
    rng = np.random.default_rng(seed)
    people = [path.stem.split("#")[0] for path in paths]
    sources = []
    for person in people:
        others = [path for path, other in zip(paths, people, strict=True) if other != person]
        if not others:
            raise InputError(f"Animation needs clips of two people; all {len(paths)} are of {person}.")
        sources.append(others[rng.integers(len(others))])
    return sources


class _Networks:
    """The two networks, and where the face networks run beside them."""

    def __init__(self, generator: OcclusionAwareGenerator, kp_detector: KPDetector):
        if generator.frame_shape is None:
            raise InputError("the generator has no frame_shape; load it with load_checkpoints")
        self.generator, self.kp_detector = generator, kp_detector
        self.device = next(generator.parameters()).device
        self.size = generator.frame_shape[:2]
        self.face_device = self.device if self.device.type == "cuda" else torch.device("cpu")

    def animate(self, source: np.ndarray, driving: np.ndarray, relative: bool) -> np.ndarray:
        """HxWx3 uint8 moved like TxHxWx3 uint8: TxHxWx3 float32 in [0, 1]."""
        animator = Animator(source, self.generator, self.kp_detector, relative=relative, batch_size=CHUNK)
        return np.stack(list(animator.animate(driving)))


@dataclass(frozen=True)
class _Row:
    """What was measured on one clip."""

    name: str
    source: str
    frames: int
    driving: Traits
    result: Traits
    unchanged: Traits  # of the source, shown in every frame
    exact: np.ndarray | None  # Tx3, the pose that the result should have
    errors: dict[str, np.ndarray]  # each T numbers
    sharpness: np.ndarray  # T ratios


def _reconstruction(networks: _Networks, clip: Clip) -> _Row:
    """The clip from its own first frame."""
    source, truth = clip.frames[0], clip.frames / np.float32(255)
    result = networks.animate(source, clip.frames, relative=False)
    boxes = [metrics.face_box(points, networks.size) for points in clip.landmarks]
    driving = measure_traits(clip.frames, boxes, networks.face_device)
    errors: dict[str, list[float]] = {
        name: [] for name in ("l1_face", "l1_face_unchanged", "l1_frame", "l1_frame_unchanged")
    }
    sharpness = []
    for true, made, box in zip(truth, result, boxes, strict=True):
        errors["l1_face"].append(metrics.l1(made, true, box))
        errors["l1_face_unchanged"].append(metrics.l1(truth[0], true, box))
        errors["l1_frame"].append(metrics.l1(made, true))
        errors["l1_frame_unchanged"].append(metrics.l1(truth[0], true))
        sharpness.append(_ratio(metrics.sharpness(made, box), metrics.sharpness(true, box)))
    return _Row(
        name=clip.name,
        source=clip.name,
        frames=len(truth),
        driving=driving,
        result=measure_traits(to_uint8(result), boxes, networks.face_device),
        unchanged={name: np.full(len(truth), series[0]) for name, series in driving.items()},
        exact=clip.pose,
        errors={name: np.array(values) for name, values in errors.items()},
        sharpness=np.array(sharpness),
    )


def _animation(networks: _Networks, source: Clip, clip: Clip) -> _Row:
    """Another person's first frame, moved by the clip."""
    result = networks.animate(source.frames[0], clip.frames, relative=True)
    boxes = [metrics.face_box(points, networks.size) for points in clip.landmarks]
    box = metrics.face_box(source.landmarks[0], networks.size)
    still = metrics.sharpness(source.frames[0] / np.float32(255), box)
    start = measure_traits(source.frames[:1], [box], networks.face_device)
    return _Row(
        name=clip.name,
        source=source.name,
        frames=len(result),
        driving=measure_traits(clip.frames, boxes, networks.face_device),
        result=measure_traits(to_uint8(result), [box] * len(result), networks.face_device),
        unchanged={name: np.repeat(series, len(result)) for name, series in start.items()},
        exact=None,  # what a relative motion should lead to is not defined exactly
        errors={},
        sharpness=np.array([_ratio(metrics.sharpness(made, box), still) for made in result]),
    )


def _summary(rows: Sequence[_Row]) -> dict[str, Any]:
    """The numbers over the list."""
    summary: dict[str, Any] = {}
    for name in ("l1_face", "l1_frame"):
        if rows[0].errors:
            result, unchanged = (
                float(np.concatenate([row.errors[key] for row in rows]).mean())
                for key in (name, f"{name}_unchanged")
            )
            summary[name] = {"result": result, "unchanged": unchanged, "ratio": _ratio(result, unchanged)}
    summary["correlation"] = {
        trait: followed([row.driving[trait] for row in rows], [row.result[trait] for row in rows])
        for trait in TRAITS
    }
    summary["correlation_unchanged"] = {
        trait: followed([row.driving[trait] for row in rows], [row.unchanged[trait] for row in rows])
        for trait in TRAITS
    }
    exact = [row.exact for row in rows if row.exact is not None]
    if exact:
        summary["against_exact"] = {
            which: {
                trait: followed(
                    [pose[:, axis] for pose in exact], [getattr(row, which)[trait] for row in rows]
                )
                for axis, trait in enumerate(TRAITS[:3])
            }
            for which in ("driving", "result")
        }
    summary["sharpness"] = mean_of(np.concatenate([row.sharpness for row in rows]))
    summary["frames_without_face"] = {
        which: int(sum(np.isnan(getattr(row, which)["yaw"]).sum() for row in rows))
        for which in ("driving", "result")
    }
    return summary


def _as_numbers(row: _Row) -> dict[str, Any]:
    """One clip's numbers for the report, with its series over time."""
    numbers: dict[str, Any] = {"name": row.name, "source": row.source, "frames": row.frames}
    numbers |= {name: mean_of(values) for name, values in row.errors.items()}
    numbers["correlation"] = {t: metrics.correlation(row.driving[t], row.result[t]) for t in TRAITS}
    numbers["sharpness"] = mean_of(row.sharpness)
    numbers["frames_without_face"] = int(np.isnan(row.result["yaw"]).sum())
    for which in ("driving", "result"):
        series = getattr(row, which)
        numbers[which] = {trait: np.round(series[trait], 4).tolist() for trait in TRAITS}
    if row.exact is not None:
        numbers["exact"] = {t: np.round(row.exact[:, i], 4).tolist() for i, t in enumerate(TRAITS[:3])}
    return numbers


def _ratio(value: float, reference: float) -> float:
    return value / reference if reference > 0 else math.nan


def _without_nan(value: Any) -> Any:
    """JSON knows no nan: None in its place, at any depth."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
