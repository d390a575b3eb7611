"""What holds for all tests, and fixtures that several files of tests share."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Small networks are as fast on one thread, and steadier where other work shares the machine. PyTorch reads
# this when it is imported, here and in the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
# The scripts there can be imported.
sys.path.append(str(Path(__file__).resolve().parent.parent / "tools"))

Processes = list[subprocess.Popen[bytes]]


@pytest.fixture
def ffmpegs(monkeypatch: pytest.MonkeyPatch) -> Processes:
    """Return a list that gets each ffmpeg process that the test starts; ``args`` is its command line."""
    return _record_ffmpegs(monkeypatch, lambda words: True)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    """Return a list that gets each ffmpeg process that the test starts with frames in a pipe."""
    return _record_ffmpegs(monkeypatch, lambda words: "rawvideo" in words and "framecrc" not in words)


def _record_ffmpegs(monkeypatch: pytest.MonkeyPatch, wanted: Callable[[list[str]], bool]) -> Processes:
    started: Processes = []

    class Recorded(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            if "ffmpeg" in os.path.basename(self.args[0]) and wanted(self.args):
                started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    return started
