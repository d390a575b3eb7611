"""Reads files in processes that do nothing else, which tell how long it took and how much memory."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import doors
import pytest

MEGABYTE = 1_000_000
Case = tuple[Callable[[], bytes], str]  # makes the file; a pattern that the error's sentence holds

_SCRIPT = """
import json, os, resource, signal, sys, time, traceback
from pathlib import Path
import doors

door, paths = json.loads(sys.stdin.read())
for path in map(Path, paths):
    reading, writing = os.pipe()
    if not os.fork():
        os.chdir(path.parent)
        signal.alarm(60)
        start = time.perf_counter()
        try:
            told = {"said": getattr(doors, door)(path)}
        except BaseException:
            told = {"failed": traceback.format_exc()[-3000:]}
        told["seconds"] = time.perf_counter() - start
        used = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        told["memory"], told["ffmpeg"] = (kilobytes * 1024 for kilobytes in used)
        os.write(writing, json.dumps(told).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        print(pipe.read() or '{"failed": "the process died"}', flush=True)
    os.wait()
"""


def write_each(cases: dict[str, Case], top: Path, name: str) -> dict[str, Path]:
    """Make the files, each under ``name`` in a folder of its own."""
    paths = {}
    for number, (case, (make, _)) in enumerate(cases.items()):
        paths[case] = top / f"{number:03}" / name
        paths[case].parent.mkdir()
        paths[case].write_bytes(make())
    return paths


def read_each(door: str, paths: dict[str, Path]) -> dict[str, dict]:
    """What the function of ``doors`` says of each file; how many seconds and bytes of memory that took."""
    if sys.platform == "win32":
        pytest.skip("the resource module is for POSIX")
    asked = json.dumps([door, [str(path) for path in paths.values()]])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], input=asked, capture_output=True, text=True, env=env
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(paths, map(json.loads, done.stdout.splitlines()), strict=True))


def check_refused(told: dict, path: Path, words: str) -> None:
    """One sentence with these words, little time and memory, and nothing beside the file, which goes now."""
    assert "failed" not in told, told["failed"]
    assert re.search(words, told["said"]), told["said"] or "it was taken"
    assert told["seconds"] < 10, f"{told['seconds']:.1f} s"
    allowed = 3 * path.stat().st_size + 300 * MEGABYTE
    for who in ("memory", "ffmpeg"):
        assert told[who] < allowed, f"{who}: {told[who] / MEGABYTE:.0f} MB of {allowed / MEGABYTE:.0f}"
    doors.check_only(path.parent, path)
    path.unlink()
