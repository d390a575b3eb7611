"""The random choice of clips and frames for each batch, made before a pixel is read."""

from pathlib import Path

import numpy as np

from fomm.config import DatasetParams
from fomm.data.clips import sidecar_of
from fomm.errors import ConfigError, InputError
from fomm.training.extremes import (
    Changes,
    find_gap_changes,
    find_shutting_mouths,
    find_slight_changes,
    read_gaps,
    read_mouths,
)

_CHANGES = ("shut_eyes", "open_mouths", "shut_mouths", "slight_mouths")  # settings of ``dataset_params``


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
        growing: further clips will come, see ``add``. Pairs that no clip shows yet are then not asked for.

    Attributes:
        clips: the paths.
        groups: numbers of clips; an epoch goes through the groups, and each draw takes one first. With
            ``id_sampling`` a group is the clips of one person, else a single clip.
        without_truth: those of the clips that come without true key points.
        share: this process's part of a batch.

    Raises:
        InputError: pairs are asked for in which eyes shut or mouths move, and the clips do not tell which.
        MediaError: a file of key points is damaged.
    """

    def __init__(
        self,
        clips: list[Path],
        params: DatasetParams,
        batch_size: int,
        seed: int,
        rank: int,
        world_size: int,
        *,
        growing: bool = False,
    ) -> None:
        self.batch_size, self.seed = batch_size, seed
        share = batch_size // world_size
        self.share = slice(rank * share, (rank + 1) * share)
        augmentation = params.augmentation_params
        camera = augmentation.camera_param if augmentation else None
        flip = augmentation.flip_param if augmentation else None
        self.still = camera.still if camera else 0.0
        self.in_order = flip is None or not flip.time_flip  # as published: of two frames the earlier first
        self.clips: list[Path] = []
        self.without_truth: list[Path] = []
        self.groups: list[list[int]] = []
        self._id_sampling = params.id_sampling
        self._group_of: dict[str, list[int]] = {}  # by person, or by clip
        shares = {name: getattr(params, name) for name in _CHANGES}
        self._changes = {name: (share, Changes()) for name, share in shares.items() if share}
        self.add(clips, self.find_changes(clips))
        for name, (_, changes) in self._changes.items():
            if not len(changes) and not growing:
                raise InputError(f"no clip shows what dataset_params.{name} asks for; set it to 0")

    @property
    def has_truth(self) -> bool:
        """Whether all clips come with true key points."""
        return not self.without_truth

    def add(self, clips: list[Path], shown: dict[str, list[np.ndarray]]) -> None:
        """Take in further clips, from the next batch on.

        Args:
            clips: their paths.
            shown: what ``find_changes`` returns for them.
        """
        for number, clip in enumerate(clips, len(self.clips)):
            name = clip.name.split("#")[0] if self._id_sampling else clip.name
            if name not in self._group_of:
                self._group_of[name] = []
                self.groups.append(self._group_of[name])
            self._group_of[name].append(number)
        for name, (_, changes) in self._changes.items():
            for number, pairs in enumerate(shown[name], len(self.clips)):
                changes.add(number, pairs)
        self.clips += clips
        self.without_truth += [clip for clip in clips if not sidecar_of(clip).exists()]

    def find_changes(self, clips: list[Path]) -> dict[str, list[np.ndarray]]:
        """Return which pairs of frames show the changes that are asked for: by name, TxT bools for each clip.

        Raises:
            InputError: the clips do not tell.
            MediaError: a file of key points is damaged.
        """
        wanted = self._changes.keys()
        missing = [clip for clip in clips if wanted and not sidecar_of(clip).exists()]
        if missing:
            raise InputError(
                f"{missing[0]} has no {sidecar_of(missing[0]).name} beside it, which says where its lids and "
                f"lips are; set dataset_params.{', '.join(_CHANGES)} to 0 for other data than "
                "`fomm data heads` draws"
            )
        shown: dict[str, list[np.ndarray]] = {}
        if wanted & {"shut_eyes", "open_mouths"}:
            gaps = read_gaps(clips)
            shown["shut_eyes"] = [find_gap_changes(gap, opens=False) for gap in gaps.lids]
            shown["open_mouths"] = [find_gap_changes(gap, opens=True) for gap in gaps.lips]
        if wanted & {"shut_mouths", "slight_mouths"}:
            mouths = read_mouths(clips)
            shown["shut_mouths"] = [find_shutting_mouths(mouth) for mouth in mouths]
            shown["slight_mouths"] = [find_slight_changes(mouth) for mouth in mouths]
        return shown

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
        for share, changes in self._changes.values():
            if not len(changes):
                continue
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
