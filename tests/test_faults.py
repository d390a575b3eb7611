"""What breaks while the work goes on: memory, the disk, other programs, the user's patience."""

import itertools
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from doors import check_only, check_sentence
from golden_data import EXPECTED, GOLDEN, assert_near
from in_processes import Command, run_commands

from fomm import Animator, InputError, animate_file, make_animation
from fomm.animation.options import Compute, Framing
from fomm.bundled import bundled
from fomm.checkpoint import convert
from fomm.engines.inference import InferenceNetworks
from fomm.errors import CheckpointError, MediaError
from fomm.media import VideoReader, VideoWriter, save_video, write_image

WEIGHTS = ["--checkpoint", str(GOLDEN / "tiny-cpk.pth.tar"), "--config", str(GOLDEN / "tiny.yaml")]
TARGETS = ["a.mp4", "a.webm", "a.gif", "frames"]
NOISE = np.random.default_rng(0).integers(0, 256, (192, 192, 3), np.uint8)  # more than a pipe holds


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path]:
    """Write a photo and a driving video of 40 frames, each more than a pipe holds."""
    write_image(tmp_path / "photo.png", NOISE)
    save_video(tmp_path / "driving.mp4", [NOISE, NOISE[::-1]] * 20, 25)
    return tmp_path / "photo.png", tmp_path / "driving.mp4"


# -- the device's memory ---------------------------------------------------------------------------


@pytest.fixture
def before_rendering(monkeypatch):
    """Give a function whose argument is called with the number of frames before they are rendered."""

    def arrange(call: Callable[[int], None]) -> None:
        render = InferenceNetworks.render

        def watched(self, source, kp_driving):
            call(len(kp_driving.value))
            return render(self, source, kp_driving)

        monkeypatch.setattr(InferenceNetworks, "render", watched)

    return arrange


@pytest.fixture
def memory_for(before_rendering, set_threads):
    """Give a function that makes the generator run out of memory at more frames than it is told.

    PyTorch has one thread meanwhile, and takes one batch after the other, as on a GPU.
    """
    set_threads(1)

    def limit(frames: int) -> list[int]:
        tried = []

        def count(asked: int) -> None:
            tried.append(asked)
            if asked > frames:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        before_rendering(count)
        return tried

    return limit


@pytest.mark.parametrize(("room", "tries"), [(2, [8, 4, 2, 2, 2, 2, 1]), (1, [8, 4, 2] + 9 * [1])])
def test_batches_shrink_until_they_fit(tiny, memory_for, room, tries):
    driving = np.concatenate([EXPECTED["driving"], EXPECTED["driving"], EXPECTED["driving"][:1]])
    wanted = make_animation(EXPECTED["source"], driving, *tiny, progress=False)
    tried = memory_for(room)
    with pytest.warns(UserWarning, match="the memory of cpu does not hold 8 frames at once; going on with 4"):
        got = make_animation(EXPECTED["source"], driving, *tiny, progress=False, batch_size=8)
    assert tried == tries
    assert_near(np.stack(got), np.stack(wanted), 1e-5, f"room for {room}")


def test_a_smaller_batch_is_kept(tiny, memory_for):
    tried = memory_for(2)
    animator = Animator(EXPECTED["source"], *tiny, compute=Compute(precision="float32", batch_size=4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(list(itertools.islice(animator.animate(itertools.cycle(EXPECTED["driving"])), 9))) == 9
    assert tried == [4, 2, 2, 2, 2, 2]
    assert animator.painter.batch_size == 2


def test_no_memory_for_one_frame(tiny, memory_for):
    memory_for(0)
    with (
        pytest.warns(UserWarning, match="going on with 1"),
        pytest.raises(InputError, match="the memory of cpu does not hold one frame of 64x64; end other"),
    ):
        make_animation(EXPECTED["source"], EXPECTED["driving"], *tiny, progress=False, batch_size=2)


def test_no_memory_for_the_source(tiny, monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(InferenceNetworks, "encode", fail)
    with pytest.raises(InputError, match="does not hold one frame of 64x64"):
        Animator(EXPECTED["source"], *tiny)


# -- the user, and other programs --------------------------------------------------------------------


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("failure", [KeyboardInterrupt, FileNotFoundError])
def test_an_interrupted_run_leaves_nothing(tmp_path, name, failure, processes):
    def frames():
        yield from [NOISE] * 10
        assert not (tmp_path / name).exists()
        raise failure

    with pytest.raises(failure):
        save_video(tmp_path / name, frames(), 25)
    check_only(tmp_path)
    assert all(process.poll() is not None for process in processes)


def test_an_interrupt_while_ffmpeg_starts_leaves_nothing(tmp_path, monkeypatch, processes):
    """It comes when the process runs and no variable of the writer holds it yet."""

    class Interrupted(subprocess.Popen):  # of the class that records
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)  # time for the handler

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_video(tmp_path / "out.mp4", [NOISE] * 3, 25)
    [process] = processes
    assert process.poll() == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", TARGETS[:3])
def test_an_interrupted_run_keeps_the_old_file(tmp_path, name):
    (tmp_path / name).write_bytes(b"old")

    def frames():
        yield NOISE
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_video(tmp_path / name, frames(), 25)
    assert (tmp_path / name).read_bytes() == b"old"
    check_only(tmp_path, tmp_path / name)


@pytest.mark.parametrize("name", TARGETS[:3])
def test_ffmpeg_killed_in_the_middle(tmp_path, name, processes):
    def frames():
        yield NOISE
        processes[0].kill()
        yield from [NOISE] * 50

    with pytest.raises(MediaError, match=rf"writing .*{name} stopped after \d+ frames: ffmpeg"):
        save_video(tmp_path / name, frames(), 25)
    check_only(tmp_path)


def test_ffmpeg_killed_while_reading(tmp_path, processes):
    save_video(tmp_path / "a.mp4", [np.zeros((256, 256, 3), np.uint8)] * 50, 25)  # more than a pipe holds
    reader = VideoReader(tmp_path / "a.mp4")
    next(reader)
    processes[-1].kill()
    with pytest.raises(MediaError, match=r"reading .*a\.mp4 stopped after \d+ frames: ffmpeg"):
        list(reader)


@pytest.mark.parametrize("which", [0, 1])
def test_ffmpeg_killed_while_animating(tiny, files, processes, before_rendering, which):
    """The one that reads, or the one that writes: the other ends too."""
    photo, driving = files
    done = []

    def kill(*_):
        done.append(1)
        if len(done) == 3:
            while len(processes) <= which:  # a thread of its own starts the second one
                time.sleep(0.01)
            processes[which].kill()

    before_rendering(kill)
    named = [driving, photo.with_name("result.mp4")][which]
    words = rf"{['reading', 'writing'][which]} .*{named.name} stopped after \d+ frames: .* stopped: Killed"
    result = photo.with_name("result.mp4")
    with pytest.raises(MediaError, match=words) as caught:
        animate_file(
            photo,
            driving,
            result,
            *tiny,
            framing=Framing(crop="none"),
            compute=Compute(batch_size=1),
            progress=False,
        )
    check_sentence(caught.value, MediaError, named)
    check_only(photo.parent, photo, driving)
    assert len(processes) == 2
    assert all(process.poll() is not None for process in processes)


def test_a_picture_that_goes_away_while_a_folder_is_read(tiny, tmp_path):
    save_video(tmp_path / "driving", [NOISE] * 4, 25)
    write_image(tmp_path / "photo.png", NOISE)
    with VideoReader(tmp_path / "driving") as reader:
        next(reader)
        (tmp_path / "driving" / "frame000003.png").unlink()
        with pytest.raises(MediaError, match=r"cannot read .*frame000003\.png: there is no such file"):
            list(reader)


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """Run commands that are interrupted at several moments after the result was begun, or fill the disk."""
    folder = tmp_path_factory.mktemp("commands")
    write_image(folder / "photo.png", NOISE)
    save_video(folder / "long.mp4", [NOISE[:32, :32], NOISE[32:64, :32]] * 1000, 25)
    save_video(folder / "short.mp4", [NOISE[:64, :64], NOISE[64:128, :64]] * 7, 25)
    (folder / "old.mp4").write_bytes(b"old")
    convert(GOLDEN / "tiny-cpk.pth.tar", folder / "w.safetensors")
    given = sorted(folder.iterdir())
    animate = ["animate", "photo.png", *WEIGHTS, "--device", "cpu", "--side-by-side", "--crop", "none"]
    run = {
        ("interrupted", target): Command(
            [*animate, "long.mp4", "-o", target],
            interrupt_at=f".{Path(target).stem}.*.part*",
            delay=number * 0.15,
        )
        for number, target in enumerate([*TARGETS, "old.mp4"])
    }
    run["ended", "a.mp4"] = replace(run["interrupted", "a.mp4"], signal=signal.SIGTERM)
    for target in TARGETS:
        run["full", target] = Command([*animate, "short.mp4", "-o", target], most_bytes=8000)
    run["full", "a.safetensors"] = Command(["convert", "w.safetensors", "a.safetensors"], most_bytes=8000)
    return folder, given, dict(zip(run, run_commands(list(run.values()), folder), strict=True))


@pytest.mark.parametrize("target", [*TARGETS, "old.mp4"])
def test_ctrl_c_in_the_middle(commands, target):
    folder, given, told = commands
    got = told["interrupted", target]
    assert got["code"] == 130, got["said"]
    assert got["said"].splitlines()[-1:] == ["fomm: interrupted"]
    assert "Traceback" not in got["said"]
    assert not got["lives"], "a process goes on"
    check_only(folder, *given)
    assert (folder / "old.mp4").read_bytes() == b"old"


def test_told_to_end_in_the_middle(commands):
    folder, given, told = commands
    got = told["ended", "a.mp4"]
    assert (got["code"], got["said"], got["lives"]) == (128 + signal.SIGTERM, "", False)
    check_only(folder, *given)


# -- the disk ----------------------------------------------------------------------------------------


@pytest.fixture
def full_disk(tmp_path, monkeypatch):
    """Make the temporary name of a result a link to /dev/full, which has no room for anything."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    monkeypatch.setattr("secrets.token_hex", lambda _: "full")

    def prepare(name: str) -> Path:
        path = tmp_path / name
        path.with_name(f".{path.stem}.full.part{path.suffix}").symlink_to("/dev/full")
        return path

    return prepare


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.avif", "a.mp4", "a.webm", "a.gif"])
@pytest.mark.parametrize("old", [False, True], ids=["new", "replacing"])
def test_no_space_for_a_result(tmp_path, full_disk, name, old):
    path = full_disk(name)
    if old:
        path.write_bytes(b"old")
    is_picture = path.suffix in (".png", ".jpg", ".webp", ".avif")
    with pytest.raises(MediaError, match=f"writ.*{name}.*(No space left on device|encoder error)") as caught:
        write_image(path, NOISE) if is_picture else save_video(path, [NOISE] * 4, 25)
    check_sentence(caught.value, MediaError, path)
    check_only(tmp_path, path)
    assert path.exists() == old
    assert not old or path.read_bytes() == b"old"


def test_no_space_for_the_sound_of_a_result(tmp_path, monkeypatch):
    """The pictures are written; the second pass, which adds the sound, finds the disk full."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    sound, result = tmp_path / "sound.mp4", tmp_path / "result.mp4"
    with VideoWriter(sound, fps=25, audio=bundled("examples", "driving.mp4")) as writer:
        for _ in range(10):
            writer.write(NOISE)
    monkeypatch.setattr("secrets.token_hex", lambda _: "full")
    (tmp_path / "..result.full.part.full.part.mp4").symlink_to("/dev/full")
    with pytest.raises(
        MediaError, match=r"cannot add the sound .* to .*result\.mp4: .*No space left"
    ) as caught:
        save_video(result, [NOISE] * 4, 25, audio=sound)
    check_sentence(caught.value, MediaError, result)
    check_only(tmp_path, sound)


def test_no_space_for_weights(tmp_path, full_disk):
    path = full_disk("w.safetensors")
    with pytest.raises(CheckpointError, match=r"cannot write .*w\.safetensors.*No space left") as caught:
        convert(GOLDEN / "tiny-cpk.pth.tar", path)
    check_sentence(caught.value, CheckpointError, path)
    check_only(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on file sizes there")
@pytest.mark.parametrize("name", TARGETS[:3])
def test_a_disk_that_fills_up(tmp_path, name, processes):
    import resource

    def frames():
        yield NOISE
        resource.prlimit(processes[0].pid, resource.RLIMIT_FSIZE, (10_000, 10_000))
        yield from [NOISE] * 20

    with pytest.raises(MediaError, match=f"writing .*{name} stopped"):
        save_video(tmp_path / name, frames(), 25)
    check_only(tmp_path)


@pytest.mark.parametrize("target", [*TARGETS, "a.safetensors"])
def test_no_room_for_the_result_of_a_command(commands, target):
    folder, given, told = commands
    got = told["full", target]
    assert got["code"] == 1, got["said"]
    assert re.fullmatch(rf"fomm: .*{target}.*File (size limit exceeded|too large)\n", got["said"])
    assert not got["lives"]
    check_only(folder, *given)


@pytest.mark.parametrize("name", ["missing/a", "file/a", "folder"])
@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif", ".png", ".safetensors", "/"])
def test_where_nothing_can_be_written(tiny, tmp_path, name, suffix):
    """The folder is missing, is a file, or has the result's own name; told before the work begins."""
    (tmp_path / "file").write_text("a file")
    target = f"{tmp_path / name}{suffix}"
    if name == "folder":
        Path(target).mkdir()
        (Path(target) / "kept.txt").write_text("kept")
    before = sorted(tmp_path.rglob("*"))
    kind = CheckpointError if suffix == ".safetensors" else MediaError

    def write():
        if suffix == ".png":
            write_image(target, NOISE)
        elif suffix == ".safetensors":
            convert(GOLDEN / "tiny-cpk.pth.tar", target)
        else:
            with VideoWriter(target, fps=25):
                pytest.fail("the block must not run")

    with pytest.raises(kind, match=r"does not exist|a folder of that name|exists already") as caught:
        write()
    check_sentence(caught.value, kind, Path(target))
    assert sorted(tmp_path.rglob("*")) == before
