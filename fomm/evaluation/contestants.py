"""What is measured against each other: checkpoints, and two that know no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from fomm.animation.animator import Animator
from fomm.animation.options import EXACT, Motion
from fomm.checkpoint import load_checkpoints
from fomm.errors import InputError
from fomm.evaluation.clips import resized_picture
from fomm.media.paths import PathLike
from fomm.model import KPDetector, OcclusionAwareGenerator

DRIVING = "driving clip"  # shown as if it were the result: what a perfect copy of the motion measures
UNCHANGED = "source unchanged"  # the source in every frame
CHUNK = 8  # frames in one pass of the networks


@dataclass(frozen=True)
class Contestant:
    """A checkpoint, ready to animate."""

    label: str
    file: str  # its name, or "default" for the weights that ship
    sha256: str
    generator: OcclusionAwareGenerator
    kp_detector: KPDetector

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of its pictures."""
        if self.generator.frame_shape is None:
            raise InputError("the generator has no frame_shape; load it with load_checkpoints")
        return self.generator.frame_shape[:2]

    @property
    def device(self) -> torch.device:
        return next(self.generator.parameters()).device

    def animate(
        self, source: np.ndarray, driving: np.ndarray, size: tuple[int, int], relative: bool
    ) -> Iterator[np.ndarray]:
        """HxWx3 uint8 moved like TxHxWx3 uint8: T frames HxWx3 float32 in [0, 1], of ``size``.

        The networks work at their own size; a result of another one is resized.
        """
        animator = Animator(
            source,
            self.generator,
            self.kp_detector,
            motion=Motion(relative=relative),
            compute=replace(EXACT, batch_size=CHUNK),
        )
        for frame in animator.animate(driving):
            yield resized_picture(frame, *size).clip(0, 1)


def load_contestants(
    checkpoint: PathLike | None,
    against: Sequence[PathLike],
    config: PathLike | None,
    device: str | torch.device | None,
) -> list[Contestant]:
    """The checkpoint that is measured, then the others; ``config`` is the first one's."""
    files = [checkpoint, *against]
    contestants = []
    for index, (file, label) in enumerate(zip(files, _labels(files), strict=True)):
        generator, kp_detector = load_checkpoints(None if index else config, file, device=device)
        name = "default" if file is None else Path(file).name
        contestants.append(Contestant(label, name, generator.weights_hash or "", generator, kp_detector))
    return contestants


def _labels(files: Sequence[PathLike | None]) -> list[str]:
    """File names without suffix; with the folder where two are equal, with a number where they still are."""
    paths = [Path("default" if file is None else file) for file in files]
    labels = [path.name.split(".")[0] or path.name for path in paths]
    labels = [
        f"{path.absolute().parent.name}/{label}" if labels.count(label) > 1 else label
        for path, label in zip(paths, labels, strict=True)
    ]
    return [
        f"{label} ({labels[: index + 1].count(label)})" if labels.count(label) > 1 else label
        for index, label in enumerate(labels)
    ]
