"""Random pairs of frames of one clip, with the truth that comes with them."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fomm.clips import find_clips, read_arrays, read_frames, sidecar_of
from fomm.errors import InputError
from fomm.model import Keypoints


class Clip(NamedTuple):
    """The frames of one clip, and where the data set knows them, its exact key points."""

    name: str
    frames: np.ndarray  # TxHxWx3 uint8
    truth: Keypoints | None  # TxKx2 and TxKx2x2, xy in [-1, 1]


class Batch(NamedTuple):
    """Pairs of frames."""

    source: Tensor  # BxCxHxW in [0, 1]
    driving: Tensor
    truth_source: Keypoints | None = None
    truth_driving: Keypoints | None = None


def load_clip(path: Path) -> Clip:
    """Reads a whole clip, and its true key points where they lie beside it."""
    truth = None
    if sidecar_of(path).exists():
        arrays = read_arrays(sidecar_of(path), "keypoints", "jacobians")
        truth = Keypoints(torch.from_numpy(arrays["keypoints"]), torch.from_numpy(arrays["jacobians"]))
    return Clip(path.name, read_frames(path), truth)


class PairSampler:
    """Random pairs of frames from a folder of clips, held in memory as uint8.

    A batch depends on the seed and the step alone, so a run that was stopped goes on with the same ones.

    Args:
        folder: of clips, all of the network's size.
        frame_shape: (height, width, channels) of the network.
        batch_size: pairs in a batch.
        seed: of the choice.
        still: the share of pairs that are one frame twice.
        id_sampling: draw a person first, then one of the clips PERSON#CLIP; else every clip is as likely.

    Raises:
        InputError: no clips, or a clip of another size.
    """

    def __init__(
        self,
        folder: Path,
        frame_shape: tuple[int, int, int],
        batch_size: int,
        seed: int,
        *,
        still: float = 0.0,
        id_sampling: bool = False,
    ) -> None:
        self.clips = [load_clip(path) for path in find_clips(folder)]
        for clip in self.clips:
            if clip.frames.shape[1:] != tuple(frame_shape):
                raise InputError(
                    f"{folder / clip.name} has frames of {clip.frames.shape[1:]}, the network takes "
                    f"{tuple(frame_shape)}: make the data at that size or train another configuration"
                )
        self.has_truth = all(clip.truth is not None for clip in self.clips)
        self.batch_size = batch_size
        self.seed = seed
        self.still = still
        groups: dict[str, list[Clip]] = {}
        for clip in self.clips:
            groups.setdefault(clip.name.split("#")[0] if id_sampling else clip.name, []).append(clip)
        self.groups = list(groups.values())

    def batch(self, step: int) -> Batch:
        """The pairs of one step."""
        rng = np.random.default_rng((self.seed, step))
        groups = [self.groups[i] for i in rng.integers(len(self.groups), size=self.batch_size)]
        clips = [group[rng.integers(len(group))] for group in groups]
        sides = [rng.integers([len(clip.frames) for clip in clips]) for _ in range(2)]
        sides[1] = np.where(rng.random(self.batch_size) < self.still, sides[0], sides[1])
        source, driving = (self._images(clips, side) for side in sides)
        return Batch(source, driving, *(self._truth(clips, side) for side in sides))

    def _images(self, clips: list[Clip], indices: np.ndarray) -> Tensor:
        pixels = np.stack([clip.frames[i] for clip, i in zip(clips, indices, strict=True)])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255

    def _truth(self, clips: list[Clip], indices: np.ndarray) -> Keypoints | None:
        if not self.has_truth:
            return None
        truths: Iterator[Keypoints] = (
            clip.truth.map(lambda t, i=i: t[i])  # type: ignore[misc, union-attr]
            for clip, i in zip(clips, indices, strict=True)
        )
        values, jacobians = zip(*truths, strict=True)
        return Keypoints(torch.stack(values), torch.stack(jacobians))
