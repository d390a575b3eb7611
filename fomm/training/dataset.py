"""Random pairs of frames of one clip, with the truth that comes with them, from disk or from memory.

A batch depends on the seed and the step alone: not on the number of workers or processes, nor on where the
frames are kept. So a run that was stopped goes on with the batches that it would have had. Where clips are
taken in while they are written, a batch depends on the clips that there are too.
"""

import os
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fomm.config import DatasetParams
from fomm.data.clip_files import ClipFile, open_clip
from fomm.data.clips import find_clips, read_frames, sidecar_of
from fomm.errors import InputError, MediaError
from fomm.media.resize import resize
from fomm.model import Keypoints
from fomm.training.flow import Flow, compute_true_flow
from fomm.training.sampler import PairSampler, check_params
from fomm.training.truth import Truth, Wanted, join_truths, read_truth

_STRETCH = 0.02  # sizes whose aspects differ by up to this share are the same but for rounding
# New clips are taken in together when there are at least so many for each that is there: each time all frames
# are copied once on the device.
_GROWTH = 1 / 64
_LOOK = 1.0  # seconds between two looks for new clips

Shape = tuple[int, int, int]  # height, width, channels
Result = TypeVar("Result")


class Batch(NamedTuple):
    """B pairs of frames."""

    source: Tensor  # BxCxHxW in [0, 1]
    driving: Tensor  # likewise
    truth_source: Keypoints | None = None  # true key points BxKx2 and BxKx2x2, xy in [-1, 1]
    truth_driving: Keypoints | None = None
    flow: Flow | None = None  # the true motion, where it is wanted
    other_source: Keypoints | None = None  # of another person who moves alike, where they are wanted
    other_driving: Keypoints | None = None


class Pairs(ABC):
    """This process's share of every batch."""

    def __init__(self, sampler: PairSampler, shape: Shape, device: torch.device, wanted: Wanted) -> None:
        self._sampler, self._shape, self._device, self._wanted = sampler, shape, device, wanted

    @property
    def num_clips(self) -> int:
        """The clips that pairs are drawn from."""
        return len(self._sampler.clips)

    @property
    def num_items(self) -> int:
        """What an epoch goes through, as published: people with ``id_sampling``, else clips."""
        return len(self._sampler.groups)

    @abstractmethod
    def get_batch(self, step: int) -> Batch:
        """Return the pairs of one step, on the device.

        Raises:
            MediaError, InputError: a clip is damaged or does not fit.
        """

    def stream(self, first_step: int, last_step: int) -> Generator[Batch, None, None]:
        """Yield the batches of the steps from ``first_step`` up to but not including ``last_step``.

        Where there are workers, they read ahead.

        Raises:
            MediaError, InputError: as ``get_batch``, at the step that needs the clip.
        """
        for step in range(first_step, last_step):
            yield self.get_batch(step)

    def _open(self, clip: Path) -> ClipFile:
        height, width, _ = self._shape
        return open_clip(clip, width / height)

    def _read_truth(self, clip: Path, count: int) -> Truth | None:
        """Read the truth of a clip of ``count`` frames, where all clips have it."""
        return read_truth(clip, count, self._wanted) if self._sampler.has_truth else None


def open_pairs(
    folder: Path,
    params: DatasetParams,
    batch_size: int,
    seed: int,
    *,
    in_memory: bool,
    growing: bool = False,
    device: torch.device,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    with_truth: bool = False,
    with_flow: bool = False,
    with_others: bool = False,
) -> Pairs:
    """Open a folder of clips.

    Frames of another size than the network's are resized. True key points, being in [-1, 1], stay valid.

    Args:
        folder: of clips, see ``fomm.data.clips``.
        params: the size, how clips and frames are drawn, and of the augmentation what concerns that.
        batch_size: pairs in a batch, over all processes.
        seed: of the choice.
        in_memory: read everything at once and keep it on the device, as uint8. Else each frame is read when
            it is drawn.
        growing: with ``in_memory`` and one process, ``stream`` takes in the clips that are written into the
            folder while it goes on. A clip's truth is written before the clip.
        device: where batches are put.
        rank: of this process among the ``world_size`` that share each batch.
        world_size: how many processes there are.
        workers: threads that read. From disk, 0 means that the caller's own thread reads what it asks for;
            into memory, that as many threads read as there are cores.
        with_truth: true key points are wanted: all clips come with them, or none.
        with_flow: the true motion between the frames is wanted, from the surface beside each clip.
        with_others: the key points of another person who moves alike are wanted, from beside each clip.

    Raises:
        ConfigError: the batch cannot be shared evenly, or the sizes in ``params`` do not fit each other.
        InputError: there are no clips; or one has another aspect; or true points or motion are wanted and not
            known; or ``growing`` is asked for with several processes, or from disk.
        MediaError: a clip is damaged.
    """
    check_params(params, batch_size, world_size)
    if growing and (world_size > 1 or not in_memory):
        raise InputError("clips that are still being written are taken in by one process, into memory alone")
    sampler = PairSampler(find_clips(folder), params, batch_size, seed, rank, world_size, growing=growing)
    wanted = Wanted(with_flow, with_others)
    if with_truth or any(wanted):
        sampler.check_truth()
    if any(wanted) and not sampler.has_truth:
        raise InputError(_explain_missing_truth(folder, wanted))
    if in_memory:
        threads = workers or max(1, (os.cpu_count() or 1) // world_size)
        watched = folder if growing else None
        return _MemoryPairs(sampler, params.frame_shape, device, wanted, threads, watched, progress=rank == 0)
    return _DiskPairs(sampler, params.frame_shape, device, wanted, workers)


def _explain_missing_truth(folder: Path, wanted: Wanted) -> str:
    """Return what is missing beside the clips, which setting needs it, and what to do."""
    if wanted.flow:
        need, remedy = "the losses of the true motion need its surface", "weight them with 0"
    else:
        need, remedy = "train_params.transfer needs its other_keypoints", "set it to 0"
    return (
        f"{folder} has clips without {sidecar_of(Path('CLIP')).name} beside them: {need}, as "
        f"`fomm data heads` writes it; {remedy} for other data"
    )


class _DiskPairs(Pairs):
    """Pairs whose frames are read when they are drawn, by threads: the decoders do not hold Python's lock.

    A clip's index of frames and its truth are read when the clip is first drawn, and kept.
    """

    def __init__(
        self, sampler: PairSampler, shape: Shape, device: torch.device, wanted: Wanted, workers: int
    ) -> None:
        super().__init__(sampler, shape, device, wanted)
        self._workers = workers
        self._opened: dict[int, tuple[ClipFile, Truth | None]] = {}

    def get_batch(self, step: int) -> Batch:
        pixels, truths = self._start_reading(step, lambda read, *what: read(*what))
        return self._finish(pixels, truths)

    def stream(self, first_step: int, last_step: int) -> Generator[Batch, None, None]:
        if not self._workers:
            yield from super().stream(first_step, last_step)
            return
        share = self._sampler.share
        ahead = 1 + -(-2 * self._workers // (share.stop - share.start))  # steps that keep every worker busy
        prefetched: deque[tuple[Tensor, list[Future[Truth | None]]]] = deque()
        pool = ThreadPoolExecutor(self._workers, "reader")
        try:
            for step in range(first_step, last_step + ahead):
                if step < last_step:
                    prefetched.append(self._start_reading(step, pool.submit))
                if step >= first_step + ahead and prefetched:
                    pixels, reading = prefetched.popleft()
                    yield self._finish(pixels, [future.result() for future in reading])
        finally:
            pool.shutdown(cancel_futures=True)

    def _start_reading(self, step: int, call: Callable[..., Result]) -> tuple[Tensor, list[Result]]:
        """Draw the pairs of a step and begin to read them.

        Args:
            step: its number.
            call: called with ``_read`` and its arguments for each pair; it reads at once, or later.

        Returns:
            The pixels, 2xBxHxWxC uint8, which ``_read`` fills; and for each pair what ``call`` returned.
        """
        clips, places = self._sampler.draw(step)
        pinned = self._device.type == "cuda"
        pixels = torch.empty((2, len(clips), *self._shape), dtype=torch.uint8, pin_memory=pinned)
        pairs = enumerate(zip(clips, places.T, strict=True))
        return pixels, [call(self._read, pixels, index, clip, place) for index, (clip, place) in pairs]

    def _read(self, pixels: Tensor, index: int, clip: int, places: np.ndarray) -> Truth | None:
        """Read one pair into ``pixels``, 2xBxHxWxC uint8, and return its truth."""
        if clip not in self._opened:
            file = self._open(self._sampler.clips[clip])
            self._opened[clip] = file, self._read_truth(file.path, file.count)
        file, truth = self._opened[clip]
        numbers = (places * file.count).astype(np.int64)
        pixels.numpy()[:, index] = _fit(file.path, file.read(numbers.tolist()), self._shape)
        return truth and truth.map(lambda t: t[numbers])

    def _finish(self, pixels: Tensor, truths: list[Truth | None]) -> Batch:
        """Make a batch on the device of what was read."""
        truth = join_truths(truths, lambda tensors: torch.stack(tensors, 1))
        if truth is not None:
            truth = truth.map(lambda t: t.to(self._device, non_blocking=True))
        return _make_batch(pixels.to(self._device, non_blocking=True), truth)


class _Loaded(NamedTuple):
    """The frames of some clips on the device, one clip after the other."""

    counts: np.ndarray  # frames of each clip
    frames: Tensor  # NxHxWxC uint8
    truth: Truth | None  # of these frames


class _MemoryPairs(Pairs):
    """Pairs gathered from one tensor on the device, which holds all frames of all clips.

    Each clip goes there as soon as it is decoded, so the machine's own memory holds one clip for each thread.
    Where a folder is watched, a thread loads the clips that are written there while the batches go on.
    """

    def __init__(
        self,
        sampler: PairSampler,
        shape: Shape,
        device: torch.device,
        wanted: Wanted,
        threads: int,
        watched: Path | None,
        *,
        progress: bool,
    ) -> None:
        super().__init__(sampler, shape, device, wanted)
        self._watched = watched
        pool = ThreadPoolExecutor(threads, "reader")
        try:
            self._loaded = self._load_all(sampler.clips, pool.map, progress)
        finally:
            pool.shutdown(cancel_futures=True)

    def _load_all(self, clips: list[Path], call: Callable[..., Iterable[Any]], progress: bool) -> _Loaded:
        """Load clips onto the device.

        Args:
            clips: their paths.
            call: ``map``, or that of a pool of threads.
            progress: show a bar on a terminal.
        """
        from tqdm import tqdm

        counts = np.array(list(call(lambda clip: self._open(clip).count, clips)))
        frames = torch.empty((int(counts.sum()), *self._shape), dtype=torch.uint8, device=self._device)
        loading = call(self._load, clips, frames.split(counts.tolist()))
        disable = None if progress else True  # None: shown on a terminal alone
        truths = list(tqdm(loading, "reading", len(clips), unit="clip", disable=disable))
        joined = join_truths(truths, torch.cat)
        return _Loaded(counts, frames, joined and joined.map(lambda t: t.to(self._device)))

    def _load(self, clip: Path, room: Tensor) -> Truth | None:
        """Decode one clip into its part of the tensor, and return its truth."""
        height, width, _ = self._shape
        frames = _fit(clip, read_frames(clip, width / height), self._shape)
        if len(frames) != len(room):
            raise MediaError(f"{clip} is damaged: it should have {len(room)} frames, not {len(frames)}")
        room.copy_(torch.from_numpy(frames))
        return self._read_truth(clip, len(frames))

    def get_batch(self, step: int) -> Batch:
        clips, places = self._sampler.draw(step)
        counts, frames, truth = self._loaded
        starts = np.concatenate(([0], counts.cumsum()[:-1]))
        numbers = starts[clips] + (places * counts[clips]).astype(np.int64)  # 2xB
        index = torch.from_numpy(numbers).to(self._device, non_blocking=True)
        return _make_batch(frames[index], truth and truth.map(lambda t: t[index]))

    def stream(self, first_step: int, last_step: int) -> Generator[Batch, None, None]:
        if self._watched is None:
            yield from super().stream(first_step, last_step)
            return
        pool = ThreadPoolExecutor(1, "reader")
        try:
            new, looked = pool.submit(self._load_new), time.monotonic()
            for step in range(first_step, last_step):
                if new.done() and time.monotonic() - looked >= _LOOK:
                    self._take_in(*new.result())
                    new, looked = pool.submit(self._load_new), time.monotonic()
                yield self.get_batch(step)
        finally:
            pool.shutdown(cancel_futures=True)

    def _load_new(self) -> tuple[list[Path], dict[str, list[np.ndarray]], _Loaded | None]:
        """Load the clips that are new in the watched folder, if they are enough.

        Returns:
            Their paths, which changes they show (see ``PairSampler``), and the loaded clips. Without any, no
            paths.
        """
        assert self._watched is not None
        known = set(self._sampler.clips)
        new = [clip for clip in find_clips(self._watched) if clip not in known]
        if self._sampler.has_truth:  # then clips without it would be of no use
            new = [clip for clip in new if sidecar_of(clip).exists()]
        if not new or len(new) < _GROWTH * len(known):
            return [], {}, None
        return new, self._sampler.find_changes(new), self._load_all(new, map, progress=False)

    def _take_in(self, clips: list[Path], shown: dict[str, list[np.ndarray]], loaded: _Loaded | None) -> None:
        """Draw from further clips too, from the next batch on."""
        if loaded is None:
            return
        self._sampler.add(clips, shown)
        old = self._loaded
        self._loaded = _Loaded(
            np.concatenate((old.counts, loaded.counts)),
            torch.cat((old.frames, loaded.frames)),
            join_truths([old.truth, loaded.truth], torch.cat),
        )


def _make_batch(pixels: Tensor, truth: Truth | None) -> Batch:
    """Make a batch of 2xBxHxWxC uint8 and the truth of both sides."""
    source, driving = pixels.permute(0, 1, 4, 2, 3).contiguous().float() / 255
    if truth is None:
        return Batch(source, driving)
    flow = None
    if truth.surface is not None and truth.vertices is not None:
        flow = compute_true_flow(truth.surface, truth.vertices)
    others = split_sides(truth.others) if truth.others else (None, None)
    return Batch(source, driving, *split_sides(truth.points), flow, *others)


def split_sides(points: Keypoints) -> tuple[Keypoints, Keypoints]:
    """Split key points 2xBxKx2 into those of the sources and those of the driving frames."""
    return points.map(lambda t: t[0]), points.map(lambda t: t[1])


def _fit(clip: Path, frames: np.ndarray, shape: Shape) -> np.ndarray:
    """Convert the frames of a clip, uint8, to NxHxWxC of the network's size and channels.

    Raises:
        InputError: the frames have another aspect.
    """
    height, width, channels = shape
    found_height, found_width = frames.shape[1:3]
    if abs(found_width / found_height / (width / height) - 1) > _STRETCH:
        raise InputError(
            f"{clip} has frames of {found_width}x{found_height}, the network takes {width}x{height}: "
            "crop the clips to that aspect, or train another configuration"
        )
    if (found_height, found_width, 3) == (height, width, channels):
        return frames
    pictures = [Image.fromarray(frame) for frame in frames]
    if channels == 1:
        pictures = [picture.convert("L") for picture in pictures]
    resized = [resize(picture, (height, width), "bilinear") for picture in pictures]
    return np.stack(resized).reshape(-1, height, width, channels)
