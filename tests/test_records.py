import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from fomm.data.records import Record, claim, format_summary, read_records, run_tasks, summarize
from fomm.errors import FommError, InputError

pytestmark = pytest.mark.smoke


@dataclass(frozen=True)
class Task:
    key: str


def work(task: Task) -> Record:
    if task.key == "deadly":
        os._exit(9)
    if task.key == "bad":
        return Record("train/bad", problem="it is broken")
    clips = [
        {"file": f"train/{task.key}#0.mp4", "frames": 10},
        {"file": f"test/{task.key}#1.mp4", "frames": 5},
    ]
    return Record(f"train/{task.key}", clips, [{"reason": "too short", "frames": 3}], ["a note"])


@pytest.fixture
def root(tmp_path) -> Path:
    claim(tmp_path / "set", {"size": 64})
    return tmp_path / "set"


def test_only_what_is_not_done_is_done(root):
    seen = []

    def counted(task: Task) -> Record:
        seen.append(task.key)
        return work(task)

    tasks = [Task("b"), Task("bad"), Task("a")]
    first = run_tasks(root, tasks, counted, workers=1, progress=False)
    assert [record.video for record in first] == ["train/b", "train/bad", "train/a"]
    assert sorted(read_records(root)) == ["a", "b"]
    assert run_tasks(root, [*tasks, Task("c")], counted, workers=1, progress=False)[:3] == first
    assert seen == ["b", "bad", "a", "bad", "c"], "the one with a problem is tried again"


def test_a_worker_that_dies_ends_the_run_with_a_sentence(root):
    tasks = [Task("a"), Task("deadly"), Task("b")]
    with pytest.raises(FommError, match=r"the worker process died .* memory; .* stays: start again"):
        run_tasks(root, tasks, work, workers=2, progress=False)
    assert "deadly" not in read_records(root)


def test_counts_and_their_table(root):
    records = run_tasks(root, [Task("a"), Task("bad"), Task("b")], work, workers=1, progress=False)
    summary = summarize(root, records)
    assert summary["train"] == {"clips": 2, "people": 2, "frames": 20}
    assert summary["test"] == {"clips": 2, "people": 2, "frames": 10}
    assert summary["dropped"] == {"too short": {"clips": 2, "frames": 6}}
    assert summary["failed"] == {"train/bad": "it is broken"}
    assert summary["notes"] == {"train/a": ["a note"], "train/b": ["a note"]}
    lines = [line.split() for line in format_summary(summary).splitlines()]
    assert lines == [
        ["clips", "people", "frames"],
        ["train", "2", "2", "20"],
        ["test", "2", "2", "10"],
        ["dropped,", "too", "short", "2", "6"],
        ["failed:", "train/bad:", "it", "is", "broken"],
    ]


def test_long_lists_are_cut_in_print_alone(root):
    gone = [Record(f"v{number}", problem="gone", missing=True) for number in range(25)]
    summary = summarize(root, gone)
    assert len(summary["missing"]) == 25
    assert summary["failed"] == {}
    assert format_summary(summary).splitlines()[-1] == "missing: 15 more, see summary.json"


def test_half_written_files_are_removed_when_a_run_begins(root):
    (root / "train" / ".clip.1234abcd.part.mp4").write_bytes(b"half")
    (root / "test" / ".clip.1234abcd.part").mkdir()
    (root / "test" / ".clip.1234abcd.part" / "frame000001.png").write_bytes(b"half")
    (root / "train" / "clip.mp4").write_bytes(b"whole")
    claim(root, {"size": 64})
    assert [path.name for path in sorted(root.glob("t*/*"))] == ["clip.mp4"]


def test_a_folder_belongs_to_its_arguments(root):
    with pytest.raises(InputError, match="was begun with size=64, not 128"):
        claim(root, {"size": 128})
    (root / "dataset.json").write_text("no JSON")
    with pytest.raises(InputError, match=r"dataset\.json is not JSON"):
        claim(root, {"size": 64})


def test_a_record_of_something_else(root):
    (root / "records" / "a.json").write_text('{"frames": 3}')
    with pytest.raises(InputError, match=r"a\.json is no record of a video; delete it"):
        read_records(root)


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "set").write_text("")
    with pytest.raises(InputError, match="cannot write into"):
        claim(tmp_path / "set", {})
