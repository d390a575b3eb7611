"""Reads files, and runs commands, in processes of their own: they tell of time, memory and what is left."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import doors
import pytest

MEGABYTE = 1_000_000
Case = tuple[Callable[[], bytes], str]  # makes the file; a pattern that the error's sentence holds

_SCRIPT = """
import gc, json, os, resource, signal, sys, time, traceback
from pathlib import Path
import doors

door, paths = json.loads(sys.stdin.read())
if door == "load_weights":
    import fomm.checkpoint
gc.freeze()
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
    """Return what the function of ``doors`` says of each file, and the seconds and bytes that it took."""
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


@dataclass(frozen=True)
class Command:
    """A command line of ``fomm``, and what happens to it."""

    arguments: list[str]
    most_bytes: int | None = None  # of any file, as on a full disk
    interrupt_at: str | None = None  # a pattern: the signal comes when such a file is there
    delay: float = 0.0  # seconds, before the signal
    signal: int = signal.SIGINT


def run_commands(commands: list[Command], folder: Path) -> list[dict]:
    """Return the exit status of each, what it said on stderr, and whether a process of it lives on."""
    if sys.platform == "win32":
        pytest.skip("sessions and limits are for POSIX")
    done = subprocess.run(
        [sys.executable, "-c", _COMMANDS],
        input=json.dumps([asdict(command) for command in commands]),
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


_COMMANDS = """
import glob, json, os, resource, sys, time
import fomm.animation.animate, fomm.checkpoint
from fomm.cli import main

def arguments_of(process):  # those of ffmpeg hold whole paths
    try:
        with open(process + "/cmdline", "rb") as file:
            return file.read()
    except OSError:  # it has ended
        return b""

for command in json.loads(sys.stdin.read()):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.setsid()
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        if command["most_bytes"] is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (command["most_bytes"],) * 2)
        code = main(command["arguments"])
        sys.stderr.flush()
        os._exit(code)
    os.close(writing)
    if command["interrupt_at"]:
        ended = False
        while not (ended or glob.glob(command["interrupt_at"])):
            time.sleep(0.01)
            ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if not ended:
            time.sleep(command["delay"])
            os.killpg(child, command["signal"])
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    lives = any(os.getcwd().encode() in line for line in map(arguments_of, glob.glob("/proc/[0-9]*")))
    print(json.dumps({"code": os.waitstatus_to_exitcode(status), "said": said, "lives": lives}), flush=True)
"""
