"""Choose which clip moves which picture: pairs from a published list, or drawn at random."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fomm.errors import InputError
from fomm.evaluation.clips import clip_name, person_of


@dataclass(frozen=True)
class Pair:
    """Two clips: ``driving`` moves the first frame of ``source``."""

    source: Path
    driving: Path


def pair_with_themselves(clips: Sequence[Path]) -> list[Pair]:
    """Return a pair for each clip, which moves its own first frame."""
    return [Pair(clip, clip) for clip in clips]


def draw_pairs(clips: Sequence[Path], seed: int) -> list[Pair]:
    """Return a pair for each clip, which moves a clip of another person, drawn at random by ``seed``.

    Raises InputError where all clips are of one person.
    """
    rng = np.random.default_rng(seed)
    people = [person_of(clip) for clip in clips]
    pairs = []
    for driving, person in zip(clips, people, strict=True):
        others = [clip for clip, other in zip(clips, people, strict=True) if other != person]
        if not others:
            raise InputError(
                f"animation needs clips of two people; all {len(clips)} are of {person}; add another person's"
            )
        pairs.append(Pair(others[rng.integers(len(others))], driving))
    return pairs


def read_pairs(file: str | os.PathLike[str], clips: Sequence[Path]) -> tuple[list[Pair], list[str]]:
    """Return the pairs of a list in the published form, and the names in it that no clip has.

    The form is that of first-order-model's ``data/*.csv``: a head line with the columns ``source`` and
    ``driving``, then names of files. Other columns (``distance``, ``frame``) are ignored, as the published
    code does. A name's suffix may differ from the clip's: ``a#1.mp4`` means ``a#1.npz`` too. Pairs of which a
    clip is missing are left out.

    Raises InputError for a file that has another form, or in which no pair is left.
    """
    by_name = {clip_name(clip): clip for clip in clips}
    try:
        with open(file, encoding="utf-8-sig", newline="") as lines:
            rows = [(row["source"], row["driving"]) for row in csv.DictReader(lines)]
        named = [(_clip_of(source, by_name), _clip_of(driving, by_name)) for source, driving in rows]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError) as reason:
        raise InputError(
            f"{file} is no list of pairs: {reason!r}; expected a CSV file with the columns source and driving"
        ) from reason
    pairs = [Pair(source, driving) for source, driving in named if source and driving]
    if not pairs:
        raise InputError(f"{file} names no pair of clips that are in the data set; is it another one's list?")
    absent = {name for row in rows for name in row if _clip_of(name, by_name) is None}
    return pairs, sorted(absent)


def _clip_of(name: str, by_name: dict[str, Path]) -> Path | None:
    """Return the clip of a file's name; None if there is none. A name with a dot in it may have no suffix."""
    return by_name.get(clip_name(Path(name))) or by_name.get(Path(name).stem)
