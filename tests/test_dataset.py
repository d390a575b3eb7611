"""Batches are the same wherever their frames are read, and by however many."""

import threading
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from surfaces import patch, surface_maps

from fomm.config import AugmentationParams, CameraParams, DatasetParams, FlipParams
from fomm.errors import ConfigError, InputError, MediaError
from fomm.media import save_video
from fomm.training import dataset
from fomm.training.dataset import Batch, open_pairs

SIZE = 32
EITHER_ORDER = AugmentationParams(flip_param=FlipParams(time_flip=True))
CPU = torch.device("cpu")


@pytest.fixture
def clips(tmp_path):
    """Three clips, of 5, 6 and 7 frames of noise; the first pixels of a frame tell the clip and the frame.

    The true key points of a frame are its number, in hundredths.
    """
    rng = np.random.default_rng(0)
    for clip, name in enumerate(("a#0", "b#0", "b#1")):
        count = 5 + clip
        frames = rng.integers(255, size=(count, SIZE, SIZE, 3), dtype=np.uint8)
        frames[:, 0, 0, 0], frames[:, 0, 0, 1] = clip, np.arange(count)
        np.savez(tmp_path / f"{name}.npz", frames=frames)
        number = np.arange(count, dtype="f4") / 100
        np.savez(
            tmp_path / f"{name}.landmarks.npz",
            keypoints=np.tile(number[:, None, None], (1, 3, 2)),
            jacobians=np.tile(number[:, None, None, None], (1, 3, 2, 2)),
        )
    return tmp_path


def open_on_cpu(folder: Path, batch_size: int = 4, seed: int = 7, *, shape=(SIZE, SIZE, 3), **options):
    params = DatasetParams(frame_shape=shape, augmentation_params=options.pop("augmentation", None))
    options.setdefault("in_memory", True)
    return open_pairs(folder, params, batch_size, seed, device=CPU, **options)


def numbers(images: torch.Tensor) -> torch.Tensor:
    """Return Bx2: the clip and the frame that the first pixels tell."""
    return (images[:, :2, 0, 0] * 255).round().long()


def assert_equal(one: Batch, other: Batch) -> None:
    for name, left, right in zip(Batch._fields, one, other, strict=True):
        if left is None or right is None:
            assert left is right, name
            continue
        pairs = zip(left, right, strict=True) if isinstance(left, tuple) else [(left, right)]
        pairs = [pair for pair in pairs if pair != (None, None)]  # what these key points do not have
        for a, b in pairs:
            assert (a.stride(), a.dtype) == (b.stride(), b.dtype), name
            assert torch.equal(a, b), f"{name} differs by {(a - b).abs().max()}"


@pytest.mark.parametrize("in_memory", [False, True])
def test_batches_depend_on_seed_and_step_alone(clips, in_memory):
    one, other = (open_on_cpu(clips, in_memory=in_memory) for _ in range(2))
    one.get_batch(0)
    assert_equal(one.get_batch(5), other.get_batch(5))
    assert not torch.equal(one.get_batch(5).source, one.get_batch(6).source)
    assert not torch.equal(one.get_batch(5).source, open_on_cpu(clips, seed=8).get_batch(5).source)
    assert one.num_items == 3  # or two people, with id_sampling
    params = DatasetParams(frame_shape=(SIZE, SIZE, 3), id_sampling=True)
    assert open_pairs(clips, params, 4, 7, in_memory=in_memory, device=CPU).num_items == 2
    source = one.get_batch(5).source
    assert source.shape == (4, 3, SIZE, SIZE)
    assert source.dtype == torch.float32
    assert 0 <= source.min() <= source.max() <= 1


def test_both_frames_are_of_one_clip_and_the_truth_is_theirs(clips):
    batch = open_on_cpu(clips, 256, augmentation=EITHER_ORDER).get_batch(0)
    source, driving = numbers(batch.source), numbers(batch.driving)
    assert torch.equal(source[:, 0], driving[:, 0])
    assert len(source.unique(dim=0)) == 5 + 6 + 7 == len(driving.unique(dim=0))  # every frame is drawn
    for frame, truth in ((source[:, 1], batch.truth_source), (driving[:, 1], batch.truth_driving)):
        assert truth.value.shape == (256, 3, 2)
        assert truth.jacobian.shape == (256, 3, 2, 2)
        assert torch.equal(truth.value, (frame.float() / 100).view(-1, 1, 1).expand(-1, 3, 2))
        assert torch.equal(truth.jacobian[:, 0, 0, 0], frame.float() / 100)


def test_memory_disk_and_any_number_of_workers_give_the_same_batches(clips):
    memory = open_on_cpu(clips)
    for workers in (0, 1, 3):
        disk = open_on_cpu(clips, in_memory=False, workers=workers)
        read = list(disk.stream(2, 8))
        assert len(read) == 6
        for step, batch in enumerate(read, 2):
            assert_equal(batch, memory.get_batch(step))
            assert_equal(batch, disk.get_batch(step))
    for step, batch in enumerate(memory.stream(2, 8), 2):
        assert_equal(batch, memory.get_batch(step))


def test_processes_see_together_what_one_would(clips):
    whole = open_on_cpu(clips, 6).get_batch(3)
    parts = [
        open_on_cpu(clips, 6, rank=rank, world_size=3, in_memory=rank == 1).get_batch(3) for rank in range(3)
    ]
    assert torch.equal(torch.cat([part.driving for part in parts]), whole.driving)
    assert torch.equal(torch.cat([part.truth_source.value for part in parts]), whole.truth_source.value)


def test_still_pairs_are_one_frame_twice(clips):
    still = AugmentationParams(camera_param=CameraParams(still=0.5))
    batch = open_on_cpu(clips, 64, augmentation=still).get_batch(0)
    same = (batch.source == batch.driving).flatten(1).all(1)
    assert 0.5 < same.float().mean() < 0.85  # half, and of five frames some by chance
    assert torch.equal(batch.truth_source.value[same], batch.truth_driving.value[same])


@pytest.mark.parametrize("in_memory", [False, True])
def test_clips_without_truth_and_of_one_frame(tmp_path, in_memory):
    np.savez(tmp_path / "a#0.npz", frames=np.zeros((1, 8, 8, 3), np.uint8))
    pairs = open_on_cpu(tmp_path, 2, shape=(8, 8, 3), in_memory=in_memory)
    assert pairs.get_batch(0).truth_source is None


def test_truth_of_some_clips_alone_is_a_mistake_where_it_is_wanted(clips):
    (clips / "b#0.landmarks.npz").unlink()
    assert open_on_cpu(clips).get_batch(0).truth_source is None
    words = r"b#0\.npz has no b#0\.landmarks\.npz beside it, as 1 of the 3 clips; .*draw the clips again"
    for options in ({"with_truth": True}, {"with_flow": True}):
        with pytest.raises(InputError, match=words):
            open_on_cpu(clips, **options)
    for sidecar in clips.glob("*.landmarks.npz"):
        sidecar.unlink()
    assert open_on_cpu(clips, with_truth=True).get_batch(0).truth_source is None


def test_a_video_gives_the_same_from_disk_and_from_memory(tmp_path):
    frames = (
        np.random.default_rng(0).integers(255, size=(9, 4, 4, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    )
    save_video(tmp_path / "a#0.mp4", frames, 25)
    save_video(tmp_path / "b#0.gif", frames, 10)
    save_video(tmp_path / "c#0", frames, 25)
    Image.fromarray(np.concatenate(frames, 1)).save(tmp_path / "d#0.png")
    disk = open_on_cpu(tmp_path, 8, shape=(16, 16, 3), in_memory=False, workers=2)
    memory = open_on_cpu(tmp_path, 8, shape=(16, 16, 3))
    assert disk.num_items == memory.num_items == 4
    for step, batch in enumerate(disk.stream(0, 3)):
        assert_equal(batch, memory.get_batch(step))


@pytest.mark.parametrize("in_memory", [False, True])
def test_frames_are_made_smaller_without_aliasing_and_grey_where_asked(tmp_path, in_memory):
    """Lines one pixel wide become their mean; 0.299 red + 0.587 green + 0.114 blue is grey."""
    lines = np.zeros((2, 16, 32, 3), np.uint8)
    lines[:, :, ::2] = 200, 100, 40
    np.savez(tmp_path / "a#0.npz", frames=lines)
    coloured = open_on_cpu(tmp_path, 2, shape=(4, 8, 3), in_memory=in_memory).get_batch(0).source * 255
    assert coloured.shape == (2, 3, 4, 8)
    error = (coloured[..., 1:-1] - torch.tensor([100.0, 50, 20]).view(3, 1, 1)).abs().max()
    assert error < 8, error
    grey = open_on_cpu(tmp_path, 2, shape=(16, 32, 1), in_memory=in_memory).get_batch(0).source * 255
    assert grey.shape == (2, 1, 16, 32)
    assert grey[0, 0, 0, :2].tolist() == [pytest.approx(0.299 * 200 + 58.7 + 0.114 * 40, abs=0.6), 0]


def readers() -> list[str]:
    """Return the threads that read clips; others may begin at any time, as that of the progress bar does."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("reader")]


def damage(clips: Path, kind: str) -> None:
    if kind == "aspect":
        np.savez(clips / "c#0.npz", frames=np.zeros((5, 24, SIZE, 3), np.uint8))
        (clips / "c#0.landmarks.npz").write_bytes((clips / "a#0.landmarks.npz").read_bytes())
    elif kind == "pixels":
        path = clips / "b#1.npz"
        path.write_bytes(path.read_bytes()[:-100])
    else:
        count, points = (4, 3) if kind == "length" else (5, 2)
        np.savez(
            clips / "a#0.landmarks.npz",
            keypoints=np.zeros((count, points, 2), "f4"),
            jacobians=np.zeros((count, points, 2, 2), "f4"),
        )


@pytest.mark.parametrize("workers", [0, 2, None])
@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("aspect", InputError, r"c#0\.npz has frames of 32x24, the network takes 32x32"),
        ("pixels", MediaError, r"b#1\.npz cannot be read as an npz file"),
        ("length", MediaError, r"a#0\.landmarks\.npz holds key points \(4, 3, 2\)"),
        ("points", InputError, r"different numbers of true key points: \[2, 3\]"),
    ],
)
def test_a_clip_that_does_not_fit_is_named(clips, kind, error, words, workers):
    damage(clips, kind)
    with pytest.raises(error, match=words):
        list(open_on_cpu(clips, 16, in_memory=workers is None, workers=workers or 0).stream(0, 4))
    assert not readers()


def test_a_stream_that_is_not_read_to_its_end_ends_its_workers(clips):
    stream = open_on_cpu(clips, in_memory=False, workers=2).stream(0, 1000)
    next(stream)
    assert readers()
    stream.close()
    assert not readers()
    assert list(open_on_cpu(clips, in_memory=False, workers=2).stream(5, 5)) == []


def test_settings_are_checked_before_anything_is_read(tmp_path):
    with pytest.raises(ConfigError, match="batch_size is 4, which 3 processes cannot share evenly"):
        open_on_cpu(tmp_path, 4, world_size=3)


@pytest.mark.gpu
@pytest.mark.parametrize("in_memory", [False, True])
def test_a_gpu_gets_the_same_batches(clips, in_memory):
    params = DatasetParams(frame_shape=(SIZE, SIZE, 3))
    device = torch.device("cuda")
    pairs = open_pairs(clips, params, 4, 7, in_memory=in_memory, device=device, workers=2)
    for step, batch in enumerate(pairs.stream(0, 5)):
        expected = open_on_cpu(clips).get_batch(step)
        assert batch.source.is_cuda
        torch.testing.assert_close(batch.source.cpu(), expected.source, atol=1e-6, rtol=0)
        assert torch.equal(batch.truth_driving.value.cpu(), expected.truth_driving.value)


def test_the_true_motion_comes_from_the_surface_beside_a_clip(tmp_path):
    """A square that moves from the left half to the right one, before a background that stands still."""
    cells, places = patch(4, 60_000)  # beyond what int16 can hold
    surface, vertices = surface_maps(8, cells + np.array([[[0, 2]], [[4, 2]]]), places)
    known = {
        "keypoints": np.zeros((2, 1, 2), "f4"),
        "jacobians": np.tile(np.eye(2, dtype="f4"), (2, 1, 1, 1)),
    }
    np.savez(tmp_path / "a#0.npz", frames=np.stack([np.full((8, 8, 3), i, np.uint8) for i in range(2)]))
    np.savez(tmp_path / "a#0.landmarks.npz", **known, surface=surface, vertices=vertices)
    one, other = (
        open_on_cpu(
            tmp_path, shape=(8, 8, 3), in_memory=in_memory, with_flow=True, augmentation=EITHER_ORDER
        ).get_batch(0)
        for in_memory in (False, True)
    )
    assert_equal(one, other)
    assert all(torch.equal(a, b) for a, b in zip(one.flow, other.flow, strict=True))
    order = [(source[0, 0, 0] * 255).round().item() for source in one.source]
    target = [(driving[0, 0, 0] * 255).round().item() for driving in one.driving]
    assert set(zip(order, target, strict=True)) >= {(0, 1), (1, 0)}
    for i, (a, b) in enumerate(zip(order, target, strict=True)):
        moved = (a - b) * 4 * 2 / 7  # four cells to the right from the first frame to the second
        inside = one.flow.position[i, 3:5, (5 if b else 1) : (7 if b else 3), 0]
        columns = torch.linspace(-1, 1, 8)[(5 if b else 1) : (7 if b else 3)]
        assert torch.allclose(inside, columns + moved, atol=1e-4), f"pair {i}: {inside - columns}"

    (tmp_path / "a#0.landmarks.npz").unlink()
    with pytest.raises(InputError, match=r"clips without CLIP\.landmarks\.npz beside them"):
        open_on_cpu(tmp_path, shape=(8, 8, 3), with_flow=True)
    for motion, message in (
        ({}, "cannot be read .* surface"),
        ({"surface": surface[..., :4], "vertices": vertices}, r"holds a surface \(2, 8, 8, 4\); .*, 8\)"),
        ({"surface": surface, "vertices": vertices[:1]}, r"holds vertices \(1, 16, 2\); \(2, U, 2\)"),
        ({"surface": surface, "vertices": vertices[:, 1:]}, "holds .* names more than its 15 vertices"),
    ):
        np.savez(tmp_path / "a#0.landmarks.npz", **known, **motion)
        with pytest.raises(MediaError, match=rf"a#0\.landmarks\.npz {message}"):
            open_on_cpu(tmp_path, shape=(8, 8, 3), in_memory=True, with_flow=True)


def write_more(folder: Path, *names: str, first: int) -> None:
    """Write clips of 4 frames as ``clips`` does: each truth before its clip, no file half written."""
    for clip, name in enumerate(names, first):
        frames = np.zeros((4, SIZE, SIZE, 3), np.uint8)
        frames[:, 0, 0, 0], frames[:, 0, 0, 1] = clip, np.arange(4)
        number = np.arange(4, dtype="f4") / 100
        np.savez(
            folder / f"{name}.landmarks.npz",
            keypoints=np.tile(number[:, None, None], (1, 3, 2)),
            jacobians=np.tile(number[:, None, None, None], (1, 3, 2, 2)),
        )
        content = BytesIO()
        np.savez(content, frames=frames)
        put(folder / f"{name}.npz", content.getvalue())


def put(path: Path, content: bytes) -> None:
    """Write a file that others see whole or not at all."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(content)
    unfinished.rename(path)


def wait_between(stream):
    """Yield the batches, and leave the thread that reads some time between them."""
    limit = time.monotonic() + 60
    for batch in stream:
        yield batch
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_clips_that_are_written_meanwhile_are_drawn_from_too(clips, monkeypatch):
    monkeypatch.setattr(dataset, "_LOOK", 0.0)
    pairs = open_on_cpu(clips, 64, growing=True)
    stream = pairs.stream(0, 10**6)
    assert set(numbers(next(stream).source)[:, 0].tolist()) == {0, 1, 2} and pairs.num_clips == 3
    write_more(clips, "c#0", "a#1", first=3)
    put(clips / "d#0.npz", (clips / "c#0.npz").read_bytes())  # its truth is not there yet
    batch = next(batch for batch in wait_between(stream) if pairs.num_clips == 5)
    assert pairs.num_items == 5
    source, driving = numbers(batch.source), numbers(batch.driving)
    assert set(source[:, 0].tolist()) == {0, 1, 2, 3, 4}
    for frame, truth in ((source[:, 1], batch.truth_source), (driving[:, 1], batch.truth_driving)):
        assert torch.equal(truth.value, (frame.float() / 100).view(-1, 1, 1).expand(-1, 3, 2))
    put(clips / "d#0.landmarks.npz", (clips / "c#0.landmarks.npz").read_bytes())
    next(batch for batch in wait_between(stream) if pairs.num_clips == 6)
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reader")]
    assert open_on_cpu(clips).num_clips == 6  # a run that goes on reads all of them at its start


@pytest.mark.parametrize("options", [{"in_memory": False}, {"world_size": 2}])
def test_clips_are_taken_in_by_one_process_into_memory_alone(clips, options):
    with pytest.raises(InputError, match="by one process, into memory alone"):
        open_on_cpu(clips, growing=True, **options)


def test_a_clip_that_is_damaged_is_named_when_it_comes_too(clips, monkeypatch):
    monkeypatch.setattr(dataset, "_LOOK", 0.0)
    stream = open_on_cpu(clips, 4, growing=True).stream(0, 10**6)
    next(stream)
    put(clips / "c#0.landmarks.npz", (clips / "a#0.landmarks.npz").read_bytes())
    put(clips / "c#0.npz", b"no")
    with pytest.raises(MediaError, match=r"c#0\.npz"):
        list(wait_between(stream))
