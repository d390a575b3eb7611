"""The random choice of clips and frames for each batch, made before a pixel is read."""

from pathlib import Path

import numpy as np

from fomm.config import DatasetParams
from fomm.data.clips import sidecar_of
from fomm.errors import ConfigError, InputError
from fomm.training.extremes import GapChanges, read_gaps


class PairSampler:
    """Draws the clips and frames of each batch.

    Every process draws the whole batch and keeps its own share. So the choice is the same for any number of
    processes.

    Args:
        clips: paths, see ``fomm.data.clips``.
        params: how clips and frames are drawn.
        batch_size: pairs in a batch, over all processes.
        seed: of the choice.
        rank: of this process.
        world_size: how many processes share each batch.

    Attributes:
        groups: numbers of clips; an epoch goes through the groups, and each draw takes one first. With
            ``id_sampling`` a group is the clips of one person, else a single clip.
        has_truth: whether all clips come with true key points.
        share: this process's part of a batch.

    Raises:
        InputError: pairs are asked for in which eyes shut or mouths open, and the clips do not tell which.
        MediaError: a file of key points is damaged.
    """

    def __init__(
        self, clips: list[Path], params: DatasetParams, batch_size: int, seed: int, rank: int, world_size: int
    ) -> None:
        self.clips = clips
        self.without_truth = [clip for clip in clips if not sidecar_of(clip).exists()]
        self.has_truth = not self.without_truth
        self.batch_size, self.seed = batch_size, seed
        share = batch_size // world_size
        self.share = slice(rank * share, (rank + 1) * share)
        augmentation = params.augmentation_params
        camera = augmentation.camera_param if augmentation else None
        flip = augmentation.flip_param if augmentation else None
        self.still = camera.still if camera else 0.0
        self.in_order = flip is None or not flip.time_flip  # as published: of two frames the earlier first
        self.changes = self._find_changes(params)
        groups: dict[str, list[int]] = {}
        for index, clip in enumerate(clips):
            name = clip.name.split("#")[0] if params.id_sampling else clip.name
            groups.setdefault(name, []).append(index)
        self.groups = list(groups.values())

    def _find_changes(self, params: DatasetParams) -> list[tuple[float, GapChanges]]:
        """Return the changes that are asked for, each with its share of the pairs."""
        if not (params.shut_eyes or params.open_mouths):
            return []
        if not self.has_truth:
            raise InputError(
                f"{self.without_truth[0]} has no {sidecar_of(self.without_truth[0]).name} beside it, which "
                "says where its lids and lips are; set dataset_params.shut_eyes and open_mouths to 0 for "
                "other data than `fomm data heads` draws"
            )
        gaps = read_gaps(self.clips)
        wanted = (
            ("shut_eyes", params.shut_eyes, GapChanges(gaps.lids, opens=False)),
            ("open_mouths", params.open_mouths, GapChanges(gaps.lips, opens=True)),
        )
        for name, share, changes in wanted:
            if share and not len(changes):
                raise InputError(f"no clip shows what dataset_params.{name} asks for; set it to 0")
        return [(share, changes) for _, share, changes in wanted if share]

    def check_truth(self) -> None:
        """Check that all clips come with true key points, or none.

        Raises:
            InputError: some do and others do not.
        """
        if 0 < len(self.without_truth) < len(self.clips):
            clip = self.without_truth[0]
            raise InputError(
                f"{clip} has no {sidecar_of(clip).name} beside it, as {len(self.without_truth)} of the "
                f"{len(self.clips)} clips; the losses of true key points and motion need one for each: draw "
                "the clips again, or weight those losses with 0"
            )

    def draw(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw this process's pairs of one step.

        Returns:
            B numbers of clips; and 2xB places in [0, 1) of the source and the driving frame, 0 being a clip's
            first frame.
        """
        rng = np.random.default_rng((self.seed, step))
        groups = [self.groups[index] for index in rng.integers(len(self.groups), size=self.batch_size)]
        members = rng.random(self.batch_size)
        clips = [group[int(place * len(group))] for group, place in zip(groups, members, strict=True)]
        places = rng.random((2, self.batch_size))
        if self.in_order:  # else either frame may come first
            places.sort(axis=0)
        places[1] = np.where(rng.random(self.batch_size) < self.still, places[0], places[1])
        numbers = np.array(clips)
        for share, changes in self.changes:
            here = np.flatnonzero(rng.random(self.batch_size) < share)
            numbers[here], places[:, here] = changes.draw(rng, len(here))
        return numbers[self.share], places[:, self.share]


def check_params(params: DatasetParams, batch_size: int, world_size: int) -> None:
    """Check that the settings fit each other and the number of processes.

    Raises:
        ConfigError: they do not.
    """
    if batch_size % world_size:
        raise ConfigError(
            f"train_params.batch_size is {batch_size}, which {world_size} processes cannot share evenly; "
            "give a multiple"
        )
    if params.frame_shape[2] not in (1, 3):
        raise ConfigError(
            f"dataset_params.frame_shape has {params.frame_shape[2]} channels; data are read with 3 or 1"
        )
    augmentation = params.augmentation_params
    crop = augmentation and augmentation.crop_param
    if crop and tuple(crop.size) != tuple(params.frame_shape[:2]):
        raise ConfigError(
            f"crop_param.size is {list(crop.size)}, but the network takes {list(params.frame_shape[:2])} "
            "(dataset_params.frame_shape); make them equal"
        )
    if augmentation and augmentation.resize_param and not crop:
        raise ConfigError(
            "resize_param makes frames of many sizes; "
            "add crop_param with the size of dataset_params.frame_shape"
        )
