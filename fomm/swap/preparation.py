"""Prepare a comparison: cut out both persons' faces, and train every family on them.

All of it lies in one folder: ``a.npz`` and ``b.npz``, the faces; of each family ``NAME.safetensors``, and
``NAME.run`` with its log and previews; and ``videos.json``, which tells what the faces were cut out of. What
is there already is not made again, so a preparation that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fomm.atomic import atomic_path
from fomm.errors import InputError
from fomm.media import VideoReader
from fomm.swap.batches import load_sides
from fomm.swap.extract import describe_job, extract_faces
from fomm.swap.families import FAMILIES, find_family
from fomm.swap.family import SIDES
from fomm.swap.run import read_seconds
from fomm.swap.training import PRESETS, check_length, format_line, train_swap

LOOKED_AT = 250  # frames of each video at least, where it has so many
RAREST = 10  # of a long video, every tenth frame is looked at
_TELL_SECONDS = 60.0  # between two lines of a training


def prepare_comparison(
    video: str | os.PathLike[str],
    other: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    families: Sequence[str] = tuple(FAMILIES),
    preset: str = "quick",
    minutes: float | None = None,
    steps: int | None = None,
    tell: Callable[[str], None] = print,
) -> list[Path]:
    """Cut both persons' faces out of their videos, train each family on them, and return the checkpoints.

    A video of 500 frames or less is looked at frame by frame, a longer one more rarely, down to every tenth
    frame, so that about 250 frames or more are looked at.

    Args:
        video: of A.
        other: of B.
        folder: gets everything; it is made if need be. See the module.
        families: names of ``FAMILIES``, in the order in which they train.
        preset: one of ``PRESETS``: the size of the faces, and how long each family trains unless told.
        minutes: how long each family trains, all starts together.
        steps: how many steps each family makes. Not both.
        tell: gets lines of words: how long all of it takes, and how far it is.

    Raises:
        InputError: an argument makes no sense, or the folder is of other videos.
        MediaError, CheckpointError, TrainingError: see ``extract_faces`` and ``train_swap``.
    """
    chosen = [find_family(name) for name in dict.fromkeys(families)]
    if not chosen:
        raise InputError(f"no family was named; choose of {', '.join(FAMILIES)}")
    if preset not in PRESETS:
        raise InputError(f"the preset is {' or '.join(PRESETS)}, not {preset!r}")
    plan = PRESETS[preset]
    if steps is None and minutes is None:
        steps, minutes = plan.steps, plan.minutes
    check_length(steps, minutes)
    root = Path(folder)
    videos = {"a": Path(video), "b": Path(other)}
    if videos["a"].resolve() == videos["b"].resolve():
        raise InputError(f"{video} is given for both persons; give videos of two")
    rarity = {side: _choose_rarity(videos[side]) for side in SIDES}
    jobs = {side: describe_job(videos[side], rarity[side], "blazeface", plan.size, None) for side in SIDES}
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise InputError(f"cannot make the folder {root}: {reason.strerror or reason}") from reason
    _check_folder(root, jobs)
    checkpoints = [root / f"{family.name}.safetensors" for family in chosen]
    tell(_describe_length(checkpoints, minutes, steps))

    faces = {side: root / f"{side}.npz" for side in SIDES}
    for side, path in faces.items():
        if not path.is_file():
            done = extract_faces(videos[side], path, every=rarity[side], size=plan.size, progress=True)
            tell(f"{path}: {done.kept} faces of {done.looked_at} frames looked at")
    a, b = load_sides(faces["a"], faces["b"], plan.size)
    for number, (family, path) in enumerate(zip(chosen, checkpoints, strict=True), 1):
        told = -_TELL_SECONDS
        lines = train_swap(
            a,
            b,
            path,
            family=family.name,
            settings=family.presets[preset],
            steps=steps,
            minutes=minutes,
        )
        for line in lines:
            if time.monotonic() - told >= _TELL_SECONDS:
                tell(f"{family.name}, {number} of {len(chosen)}: step {format_line(line)}")
                told = time.monotonic()
        tell(f"{path}: trained")
    return checkpoints


def _choose_rarity(video: Path) -> int:
    """Return n where every n-th frame of a video is looked at."""
    with VideoReader(video) as reader:
        return min(max((reader.num_frames or 0) // LOOKED_AT, 1), RAREST)


def _check_folder(root: Path, jobs: dict[str, str]) -> None:
    """Write which videos the folder is of, or raise InputError where it is of others."""
    path = root / "videos.json"
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = {} if any((root / f"{side}.npz").exists() for side in SIDES) else jobs
    except (OSError, ValueError):
        known = {}
    if known != jobs:
        raise InputError(
            f"{root} holds faces of other videos, of these before they were changed, or of another size; "
            "choose another -o, or delete it"
        )
    with atomic_path(path, InputError) as temporary:
        temporary.write_text(json.dumps(jobs, indent=1) + "\n", encoding="utf-8")


def _describe_length(checkpoints: Sequence[Path], minutes: float | None, steps: int | None) -> str:
    """Return how long the families train, as words."""
    count = len(checkpoints)
    each = f"{count} {'family' if count == 1 else 'families'}"
    stop = "after Ctrl-C the same command goes on"
    if minutes is None:
        return f"{each}, {steps:,} steps each; how long that takes is told with each family's steps; {stop}"
    left = sum(max(0.0, minutes - read_seconds(path) / 60) for path in checkpoints)
    return (
        f"{each}, {minutes:g} minutes each: {left:.0f} minutes of training are left, and some for the faces "
        f"before and the page after; {stop}"
    )
