"""Memory does not grow with the number of frames, and is kept from one to the next."""

import platform
import subprocess
import sys

import numpy as np
import pytest
from golden_data import GOLDEN

from fomm.animation.frames import to_uint8
from fomm.media import VideoWriter, write_image

SCRIPT = """
import resource, sys
from fomm import animate_file, load_checkpoints
from fomm.animation.options import Framing
golden, photo, driving, result = sys.argv[1:]
networks = load_checkpoints(golden + "/tiny.yaml", golden + "/tiny-cpk.pth.tar", cpu=True)
count = animate_file(photo, driving, result, *networks, framing=Framing(crop="none"))
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the resource module is for POSIX")
def test_3000_frames_take_no_more_memory_than_300(tmp_path):
    expected = np.load(GOLDEN / "tiny-expected.npz")
    write_image(tmp_path / "photo.png", to_uint8(expected["source"]))
    frames = [np.repeat(np.repeat(to_uint8(frame), 4, 0), 6, 1) for frame in expected["driving"]]  # 256x384
    peaks = {}
    for count in (300, 3000):
        driving = tmp_path / f"{count}.mp4"
        with VideoWriter(driving, fps=25) as writer:
            for index in range(count):
                writer.write(frames[index % len(frames)])
        arguments = [str(GOLDEN), str(tmp_path / "photo.png"), str(driving), str(tmp_path / "result.mp4")]
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True
        )
        animated, peak = map(int, run.stdout.split())
        assert animated == count
        peaks[count] = peak
    growth = peaks[3000] / peaks[300]
    assert growth <= 1.1, f"{peaks[3000]} against {peaks[300]}: {growth:.2f} times as much"


PAGES = """
import resource, torch
import numpy as np
from fomm import Animator, load_checkpoints
Animator(np.zeros((64, 64, 3), np.uint8), *load_checkpoints(CONFIG, CHECKPOINT, cpu=True))
def count_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        kept = [torch.ones(2**21) for _ in range(3)]  # 8 MiB each
        del kept
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 10
count_pages()
print(count_pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that gives memory back")
def test_freed_memory_is_kept_unless_the_environment_says_otherwise(monkeypatch):
    files = (repr(str(GOLDEN / name)) for name in ("tiny.yaml", "tiny-cpk.pth.tar"))
    script = PAGES.replace("CONFIG", next(files)).replace("CHECKPOINT", next(files))

    def count_cleared_pages():
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        return int(run.stdout)

    kept = count_cleared_pages()
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")  # what glibc starts with
    given_back = count_cleared_pages()
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_")
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=131072")
    assert min(given_back, count_cleared_pages()) > 5000 and kept < 0.01 * given_back, (kept, given_back)
