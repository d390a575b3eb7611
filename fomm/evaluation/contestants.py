"""Load the checkpoints that are compared; name the two baselines that need no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fomm.animation.animate import make_animation
from fomm.checkpoint import load_checkpoints
from fomm.errors import InputError
from fomm.evaluation.clips import resize_picture
from fomm.media.paths import PathLike
from fomm.model import Detector, Generator

DRIVING = "driving clip"  # a baseline: the driving clip itself, whose motion is right by definition
UNCHANGED = "source unchanged"  # a baseline: the source in every frame
CHUNK = 8  # frames in one pass of the networks


@dataclass(frozen=True)
class Contestant:
    """A checkpoint that is compared with others, its networks loaded."""

    label: str
    file: str  # its name, or "default" for the weights that ship
    sha256: str
    generator: Generator
    kp_detector: Detector

    @property
    def size(self) -> tuple[int, int]:
        """Return height and width of its pictures, in pixels."""
        if self.generator.frame_shape is None:
            raise InputError("the generator has no frame_shape; load it with load_checkpoints")
        return self.generator.frame_shape[:2]

    @property
    def device(self) -> torch.device:
        """Return where its networks run."""
        return next(self.generator.parameters()).device

    def animate(
        self, source: np.ndarray, driving: np.ndarray, size: tuple[int, int], relative: bool
    ) -> Iterator[np.ndarray]:
        """Yield ``source`` moved like ``driving``: T frames HxWx3 float32 in [0, 1], of ``size``.

        Args:
            source: HxWx3 uint8 RGB.
            driving: TxHxWx3 uint8 RGB.
            size: height and width of the results, to which they are resized where the networks have another.
            relative: move by how the driving key points differ from those of the first driving frame.
        """
        for frame in make_animation(
            source, driving, self.generator, self.kp_detector, relative, batch_size=CHUNK, progress=False
        ):
            yield resize_picture(frame, *size).clip(0, 1)


def load_contestants(
    checkpoint: PathLike | None,
    against: Sequence[PathLike],
    config: PathLike | None,
    device: str | torch.device | None,
) -> list[Contestant]:
    """Load ``checkpoint``, then those that it is compared with; ``config`` belongs to the first alone.

    Raises what ``load_checkpoints`` raises.
    """
    files = [checkpoint, *against]
    contestants = []
    for index, (file, label) in enumerate(zip(files, label_files(files), strict=True)):
        generator, kp_detector = load_checkpoints(None if index else config, file, device=device)
        name = "default" if file is None else Path(file).name
        contestants.append(Contestant(label, name, generator.weights_hash or "", generator, kp_detector))
    return contestants


def label_files(files: Sequence[PathLike | None]) -> list[str]:
    """Return a label for each file, no two alike; None stands for the weights that ship.

    It is the file's name without suffix, with the folder where two are equal, with a number where they still
    are.
    """
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
