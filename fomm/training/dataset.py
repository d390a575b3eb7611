"""Random pairs of frames of one clip, with the truth that comes with them, from disk or from memory.

A batch depends on the seed and the step alone: not on the number of workers or processes, nor on where the
frames are kept. So a run that was stopped goes on with the same ones.
"""

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

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
from fomm.training.draws import Draws, check_params
from fomm.training.flow import Flow, true_flow
from fomm.training.truth import Truth, Wanted, join_truths, read_truth

_STRETCH = 0.02  # a deviation of the aspect up to this is a rounded size


class Batch(NamedTuple):
    """Pairs of frames."""

    source: Tensor  # BxCxHxW in [0, 1]
    driving: Tensor
    truth_source: Keypoints | None = None  # BxKx2 and BxKx2x2, xy in [-1, 1]
    truth_driving: Keypoints | None = None
    flow: Flow | None = None  # the true motion, where it is wanted
    other_source: Keypoints | None = None  # of another person who moves alike, where they are wanted
    other_driving: Keypoints | None = None


class Pairs(ABC):
    """This process's share of every batch.

    Attributes: ``num_clips`` in the data set; ``num_items``, what an epoch goes through, as published: the
    people with ``id_sampling``, else the clips; ``has_truth``, whether all clips come with key points.
    """

    num_clips: int
    num_items: int
    has_truth: bool

    @abstractmethod
    def batch(self, step: int) -> Batch:
        """The pairs of one step, on the device.

        Raises:
            MediaError, InputError: a clip is damaged or does not fit.
        """

    def stream(self, first_step: int, last_step: int) -> Generator[Batch, None, None]:
        """The batches of the steps from ``first_step`` up to but not including ``last_step``, read ahead.

        Raises as ``batch`` does, at the step that meets the clip.
        """
        for step in range(first_step, last_step):
            yield self.batch(step)


def open_pairs(
    folder: Path,
    params: DatasetParams,
    batch_size: int,
    seed: int,
    *,
    in_memory: bool,
    device: torch.device,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    with_truth: bool = False,
    with_flow: bool = False,
    with_others: bool = False,
) -> Pairs:
    """The pairs of a folder of clips.

    Frames of another size than the network's are resized; true key points, being in [-1, 1], stay valid.

    Args:
        folder: of clips, see ``fomm.data.clips``.
        params: the size, the way of drawing, and of the augmentation what concerns the drawing.
        batch_size: pairs in a batch, over all processes.
        seed: of the choice.
        in_memory: read everything at once and keep it on the device, as uint8; else each frame when drawn.
        rank: of this process among the ``world_size`` that share each batch.
        workers: threads that read ahead, or that read everything at once; with 0 the caller's own reads what
            it asks for, and as many threads as there are cores read everything.
        with_truth: true key points are wanted: all clips come with them, or none.
        with_flow: the true motion between the frames comes with them, from the surface beside each clip.
        with_others: and the key points of another person who moves alike, from beside each clip too.

    Raises:
        ConfigError: the batch cannot be shared evenly, or the sizes in ``params`` do not fit each other.
        InputError: no clips, or one of another aspect, or of unknown points or motion where they are wanted.
        MediaError: a clip is damaged.
    """
    check_params(params, batch_size, world_size)
    draws = Draws(find_clips(folder), params, batch_size, seed, rank, world_size)
    if with_truth or with_flow or with_others:
        draws.check_truth()
    if (with_flow or with_others) and not draws.has_truth:
        needs = (
            ("the losses of the true motion need its surface", "weight them with 0")
            if with_flow
            else ("train_params.transfer needs its other_keypoints", "set it to 0")
        )
        raise InputError(
            f"{folder} has clips without {sidecar_of(Path('CLIP')).name} beside them: {needs[0]}, as "
            f"`fomm data heads` writes it; {needs[1]} for other data"
        )
    wanted = Wanted(with_flow, with_others)
    if in_memory:
        threads = workers or max(1, (os.cpu_count() or 1) // world_size)
        return _MemoryPairs(draws, params.frame_shape, device, threads, wanted, progress=rank == 0)
    return _DiskPairs(draws, params.frame_shape, device, workers, wanted)


def dataset_bytes(folder: Path, frame_shape: tuple[int, int, int]) -> int:
    """The memory that the clips of a folder take when all are kept; opens each of them."""
    height, width, channels = frame_shape
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counts = pool.map(lambda clip: open_clip(clip, width / height).count, find_clips(folder))
        return sum(counts) * height * width * channels


class _DiskPairs(Pairs):
    """Frames are read when they are drawn, by threads: the decoders do not hold Python's lock.

    What a clip's file says of itself, and its truth, are read when it is first drawn, and kept.
    """

    def __init__(
        self,
        draws: Draws,
        shape: tuple[int, int, int],
        device: torch.device,
        workers: int,
        wanted: Wanted,
    ) -> None:
        self.num_clips, self.num_items = len(draws.clips), len(draws.groups)
        self.has_truth = draws.has_truth
        self._draws, self._shape, self._device, self._workers = draws, shape, device, workers
        self._wanted = wanted
        self._opened: dict[int, tuple[ClipFile, Truth | None]] = {}

    def batch(self, step: int) -> Batch:
        clips, places = self._draws(step)
        pixels = self._buffer(len(clips))
        drawn = enumerate(zip(clips, places.T, strict=True))
        truths = [self._read(pixels, index, *pair) for index, pair in drawn]
        return self._finish(pixels, truths)

    def stream(self, first_step: int, last_step: int) -> Generator[Batch, None, None]:
        if not self._workers:
            yield from super().stream(first_step, last_step)
            return
        share = self._draws.share
        ahead = 1 + -(-2 * self._workers // (share.stop - share.start))  # steps that keep every worker busy
        begun: deque[tuple[Tensor, list[Future[Truth | None]]]] = deque()
        pool = ThreadPoolExecutor(self._workers, "reader")
        try:
            for step in range(first_step, last_step + ahead):
                if step < last_step:
                    clips, places = self._draws(step)
                    pixels = self._buffer(len(clips))
                    drawn = enumerate(zip(clips, places.T, strict=True))
                    begun.append((pixels, [pool.submit(self._read, pixels, i, *pair) for i, pair in drawn]))
                if step >= first_step + ahead and begun:
                    pixels, reading = begun.popleft()
                    yield self._finish(pixels, [future.result() for future in reading])
        finally:
            pool.shutdown(cancel_futures=True)

    def _buffer(self, size: int) -> Tensor:
        pinned = self._device.type == "cuda"
        return torch.empty((2, size, *self._shape), dtype=torch.uint8, pin_memory=pinned)

    def _read(self, pixels: Tensor, index: int, clip: int, places: np.ndarray) -> Truth | None:
        """Puts one pair into 2xBxHxWxC uint8 and returns its truth."""
        if clip not in self._opened:
            path = self._draws.clips[clip]
            file = open_clip(path, self._shape[1] / self._shape[0])
            truth = read_truth(path, file.count, self._wanted) if self.has_truth else None
            self._opened[clip] = file, truth
        file, truth = self._opened[clip]
        numbers = (places * file.count).astype(np.int64)
        pixels.numpy()[:, index] = _fit(file.path, file.read(numbers.tolist()), self._shape)
        return truth and truth.map(lambda t: t[numbers])

    def _finish(self, pixels: Tensor, truths: list[Truth | None]) -> Batch:
        truth = join_truths(truths, lambda tensors: torch.stack(tensors, 1))
        if truth is not None:
            truth = truth.map(lambda t: t.to(self._device, non_blocking=True))
        return _batch(pixels.to(self._device, non_blocking=True), truth)


class _MemoryPairs(Pairs):
    """All frames of all clips in one tensor on the device, where pairs are gathered.

    Each clip goes there as soon as it is decoded: the machine's own memory holds one for each thread.
    """

    def __init__(
        self,
        draws: Draws,
        shape: tuple[int, int, int],
        device: torch.device,
        threads: int,
        wanted: Wanted,
        progress: bool,
    ) -> None:
        from tqdm import tqdm

        self.num_clips, self.num_items = len(draws.clips), len(draws.groups)
        self.has_truth = draws.has_truth
        self._draws, self._device = draws, device
        aspect = shape[1] / shape[0]
        pool = ThreadPoolExecutor(threads, "reader")
        try:
            self._counts = np.array(list(pool.map(lambda clip: open_clip(clip, aspect).count, draws.clips)))
            self._starts = np.concatenate(([0], self._counts.cumsum()[:-1]))
            self._frames = torch.empty((int(self._counts.sum()), *shape), dtype=torch.uint8, device=device)

            def load(clip: Path, start: int, count: int) -> Truth | None:
                frames = _fit(clip, read_frames(clip, aspect), shape)
                if len(frames) != count:
                    raise MediaError(f"{clip} is damaged: it should have {count} frames, not {len(frames)}")
                self._frames[start : start + count] = torch.from_numpy(frames)
                return read_truth(clip, count, wanted) if draws.has_truth else None

            loading = pool.map(load, draws.clips, self._starts.tolist(), self._counts.tolist())
            silent = None if progress else True  # None: shown on a terminal alone
            truths = list(tqdm(loading, "reading", len(draws.clips), unit="clip", disable=silent))
        finally:
            pool.shutdown(cancel_futures=True)
        joined = join_truths(truths, torch.cat)
        self._truth = joined and joined.map(lambda t: t.to(device))

    def batch(self, step: int) -> Batch:
        clips, places = self._draws(step)
        numbers = self._starts[clips] + (places * self._counts[clips]).astype(np.int64)  # 2xB
        index = torch.from_numpy(numbers).to(self._device, non_blocking=True)
        return _batch(self._frames[index], self._truth and self._truth.map(lambda t: t[index]))


def _batch(pixels: Tensor, truth: Truth | None) -> Batch:
    """From 2xBxHxWxC uint8 and the truth of both sides."""
    source, driving = pixels.permute(0, 1, 4, 2, 3).contiguous().float() / 255
    if truth is None:
        return Batch(source, driving)
    flow = None
    if truth.surface is not None and truth.vertices is not None:
        flow = true_flow(truth.surface, truth.vertices)
    others = sides(truth.others) if truth.others else (None, None)
    return Batch(source, driving, *sides(truth.points), flow, *others)


def sides(points: Keypoints) -> tuple[Keypoints, Keypoints]:
    """The source's and the driving frame's, of 2xBxKx2."""
    return points.map(lambda t: t[0]), points.map(lambda t: t[1])


def _fit(clip: Path, frames: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """NxHxWxC uint8 of the network's size and channels, from those of a clip."""
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
