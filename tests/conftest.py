"""What holds for all tests, and the fixtures that several files of tests share.

The networks run on one thread, and the scripts in ``tools/`` can be imported. The package is imported in the
fixtures, not above: first the threads have to be counted.
"""

import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
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


@pytest.fixture
def set_threads():
    """Give a function that says how many threads PyTorch has until the test ends."""
    import torch

    available = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(available)


@pytest.fixture(scope="module")
def tiny():
    """Give the generator and the key-point detector with the golden weights, loaded as a user loads them.

    Each file of tests has its own.
    """
    from golden_data import TINY_FILES

    from fomm import load_checkpoints

    return load_checkpoints(*TINY_FILES, cpu=True)


@pytest.fixture
def files(tmp_path):
    """Give a folder with the golden source, ``photo.png``, and twice the golden frames, ``driving.mp4``.

    They are 64x64 pixels of noise; the video has 8 frames, 10 a second.
    """
    from golden_data import EXPECTED

    from fomm.animation.frames import to_uint8
    from fomm.media import save_video, write_image

    write_image(tmp_path / "photo.png", to_uint8(EXPECTED["source"]))
    save_video(tmp_path / "driving.mp4", [to_uint8(frame) for frame in EXPECTED["driving"]] * 2, fps=10)
    return tmp_path


@pytest.fixture
def portraits() -> list[np.ndarray]:
    """Give the two portraits that ship, 256x256x3 uint8: Eileen Collins and Grace Hopper."""
    return read_portraits()


@pytest.fixture(scope="module")
def many_faces():
    """Both portraits and 60 drawn heads, each 256x256x3 uint8, and what MediaPipe finds on them."""
    from golden_data import GOLDEN
    from PIL import Image

    sheet = np.asarray(Image.open(GOLDEN / "face" / "heads60.jpg"))
    heads = sheet.reshape(6, 256, 10, 256, 3).swapaxes(1, 2).reshape(60, 256, 256, 3)
    return read_portraits() + list(np.ascontiguousarray(heads)), np.load(GOLDEN / "face" / "faces.npz")


@pytest.fixture
def hub(monkeypatch, tmp_path_factory) -> Path:
    """Give an empty folder in the place of torch hub's cache, whatever this machine has in its own."""
    import torch

    folder = tmp_path_factory.mktemp("hub")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(folder))
    return folder


@pytest.fixture
def face_alignment_package(monkeypatch):
    """Give a module in the place of the package face-alignment; the test sets its ``FaceAlignment``."""
    from fomm.face import alignment

    module = types.ModuleType("face_alignment")
    module.LandmarksType = types.SimpleNamespace(TWO_D="2d")
    monkeypatch.setitem(sys.modules, "face_alignment", module)
    alignment.load_face_alignment.cache_clear()
    yield module
    alignment.load_face_alignment.cache_clear()


def read_portraits() -> list[np.ndarray]:
    from fomm.bundled import bundled
    from fomm.media import read_image

    return [read_image(bundled("examples", name)) for name in ("astronaut.png", "grace_hopper.jpg")]
