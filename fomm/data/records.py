"""Note on the disk what a run has done: a stopped run goes on, and every dropped clip is counted."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from fomm.atomic import atomic_path
from fomm.errors import InputError
from fomm.workers import work_on_all

PARTS = ("train", "test")


@dataclass(frozen=True)
class Record:
    """What became of one video."""

    video: str  # its name in the data set's records
    clips: list[dict[str, Any]] = field(default_factory=list)  # file, frames, and where it was cut
    dropped: list[dict[str, Any]] = field(default_factory=list)  # reason, frames, and where that was
    notes: list[str] = field(default_factory=list)  # warnings of the reader
    problem: str | None = None  # why nothing could be done; such a video is tried again by the next run
    missing: bool = False  # the problem is that the video is not there


class Task(Protocol):
    """The work on one video."""

    @property
    def key(self) -> str:
        """A name for the video's record, no other's; fit for a file name."""


T = TypeVar("T", bound=Task)


def claim(root: Path, wanted: Mapping[str, Any], folders: Sequence[str] = (*PARTS, "records")) -> None:
    """Make the data set's folders and note the arguments there, or check that they are those noted before.

    Incomplete files that a killed run left are removed. Raises ``InputError`` for a folder that was begun
    with other arguments.
    """
    note = root / "dataset.json"
    if note.exists():
        found = read_json(note)
        other = [key for key in wanted if not isinstance(found, dict) or found.get(key) != wanted[key]]
        if other:
            was = found.get(other[0]) if isinstance(found, dict) else found
            raise InputError(
                f"{root} was begun with {other[0]}={was!r}, not {wanted[other[0]]!r}: "
                "use the same arguments, another folder, or delete this one"
            )
    try:
        for folder in folders:
            (root / folder).mkdir(parents=True, exist_ok=True)
            for path in (root / folder).glob(".*.part*"):
                _remove(path)
    except OSError as reason:
        raise InputError(f"cannot write into {root}: {reason.strerror or reason}") from reason
    if not note.exists():
        write_json(note, dict(wanted))


def read_records(root: Path) -> dict[str, Record]:
    """Return the records of the videos that are done, by their keys."""
    records = {}
    for path in sorted((root / "records").glob("[!.]*.json")):
        found = read_json(path)
        try:
            records[path.name[: -len(".json")]] = Record(**found)
        except TypeError as reason:
            raise InputError(
                f"{path} is no record of a video; delete it to have the video done again"
            ) from reason
    return records


def run_tasks(
    root: Path, tasks: Sequence[T], work: Callable[[T], Record], *, workers: int, progress: bool
) -> list[Record]:
    """Do the tasks that have no record yet, in ``workers`` processes. Return all records, in order.

    A record is written when all clips of its video are written. A video with a problem gets none.
    """
    from tqdm import tqdm

    records = read_records(root)
    left = [task for task in tasks if task.key not in records]
    done = len(tasks) - len(left)
    bar = tqdm(total=len(tasks), initial=done, unit="video", disable=None if progress else True)
    with bar, closing(work_on_all(work, left, workers, _use_one_core)) as results:
        for task, record in results:
            records[task.key] = record
            if record.problem is None:
                write_json(root / "records" / f"{task.key}.json", asdict(record))
            bar.update()
    return [records[task.key] for task in tasks]


def _use_one_core() -> None:
    import torch

    torch.set_num_threads(1)


def summarize(root: Path, records: Sequence[Record]) -> dict[str, Any]:
    """Count what was made and dropped, write it to ``summary.json``, and return it."""
    clips = [clip for record in records for clip in record.clips]
    bad = [record for record in records if record.problem is not None]
    drops = [drop for record in records for drop in record.dropped]
    reasons = Counter(str(drop["reason"]) for drop in drops)
    frames: Counter[str] = Counter()
    for drop in drops:
        frames[str(drop["reason"])] += int(drop["frames"])
    summary: dict[str, Any] = {
        "videos": len(records),
        **{
            part: {
                "clips": len(inside := [clip for clip in clips if clip["file"].startswith(f"{part}/")]),
                "people": len({_person(clip) for clip in inside}),
                "frames": sum(clip["frames"] for clip in inside),
            }
            for part in PARTS
        },
        "dropped": {
            reason: {"clips": count, "frames": frames[reason]} for reason, count in reasons.most_common()
        },
        "failed": {record.video: record.problem for record in bad if not record.missing},
        "missing": {record.video: record.problem for record in bad if record.missing},
        "notes": {record.video: record.notes for record in records if record.notes},
    }
    write_json(root / "summary.json", summary)
    return summary


def format_summary(summary: Mapping[str, Any]) -> str:
    """Format the counts of a summary as a small table, with the first of the videos that failed."""
    rows = [("", "clips", "people", "frames")]
    for part in PARTS:
        counts = summary[part]
        rows.append((part, str(counts["clips"]), str(counts["people"]), str(counts["frames"])))
    for reason, counts in summary["dropped"].items():
        rows.append((f"dropped, {reason}", str(counts["clips"]), "", str(counts["frames"])))
    width = max(len(row[0]) for row in rows)
    lines = [f"{row[0]:<{width}}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows]
    for title in ("failed", "missing"):
        found = summary.get(title, {})
        lines += [f"{title}: {video}: {reason}" for video, reason in list(found.items())[:10]]
        if len(found) > 10:
            lines.append(f"{title}: {len(found) - 10} more, see summary.json")
    return "\n".join(lines)


def _person(clip: Mapping[str, Any]) -> str:
    return str(clip["file"]).partition("/")[2].partition("#")[0]


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)  # the process that wrote it may remove it at the same time


def read_json(path: Path) -> Any:
    """Return what a JSON file of ours holds. Raise ``InputError`` where it is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as reason:
        raise InputError(f"{path} is not JSON; choose another folder or delete it") from reason


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file of ours, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
