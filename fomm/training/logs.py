"""What a run tells: ``settings.json``, ``log.jsonl``, pictures and, where asked, TensorBoard."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fomm.atomic import atomic_path
from fomm.errors import MissingExtraError, TrainingError


class Meter:
    """Means of the losses, and the speed, over the steps since it was made or reset."""

    def __init__(self) -> None:
        self._steps: list[Mapping[str, Tensor]] = []
        self._begun = time.monotonic()

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Count one step with these losses, scalars that may still be computed: none is read here."""
        self._steps.append(losses)

    def reset(self) -> tuple[float, dict[str, float]]:
        """Return the seconds a step and the mean of each loss, and begin anew.

        There has been at least one step.
        """
        sums: dict[str, float] = {}
        for losses in self._steps:
            for name, value in zip(losses, torch.stack(list(losses.values())).tolist(), strict=True):
                sums[name] = sums.get(name, 0.0) + value
        now, count = time.monotonic(), len(self._steps)
        speed = (now - self._begun) / count
        self._steps, self._begun = [], now
        return speed, {name: value / count for name, value in sums.items()}


class Logs:
    """The log of a run in its folder.

    Args:
        out: the folder of the run. It gets ``settings.json``, ``log.jsonl``, ``pictures`` and
            ``tensorboard``.
        step: the step from which the run goes on. Lines of later steps are removed: they are from a run that
            was killed after its last state was saved, and are written again.
        tensorboard: write its event files too.

    Raises:
        MissingExtraError: the package tensorboard is wanted and not installed.
    """

    def __init__(self, out: Path, step: int, *, tensorboard: bool = False) -> None:
        self.lines, self.pictures = out / "log.jsonl", out / "pictures"
        self.pictures.mkdir(parents=True, exist_ok=True)
        self._writer = _open_summary_writer(out / "tensorboard", step) if tensorboard else None
        if self.lines.exists():
            lines = self.lines.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _was_written_by(line, step)]
            with atomic_path(self.lines) as path:
                path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def write_settings(self, settings: Mapping[str, object]) -> None:
        """Write what the run, or this start of it, was given.

        Raises:
            TrainingError: the disk is full, or cannot be written.
        """
        with atomic_path(self.lines.with_name("settings.json"), TrainingError) as path:
            path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    def write_line(self, line: Mapping[str, float]) -> None:
        """Append one line of numbers, ``step`` among them."""
        with open(self.lines, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._writer is not None:
            for name, value in line.items():
                if name not in ("step", "of"):
                    self._writer.add_scalar(name, value, int(line["step"]))

    def write_picture(self, step: int, picture: Image.Image) -> None:
        """Write what the networks see at a step.

        Raises:
            TrainingError: the disk is full, or cannot be written.
        """
        with atomic_path(self.pictures / f"{step:08d}.png", TrainingError) as path:
            picture.save(path)
        if self._writer is not None:
            self._writer.add_image("pictures", np.asarray(picture), step, dataformats="HWC")

    def close(self) -> None:
        """Write what TensorBoard's files still lack."""
        if self._writer is not None:
            self._writer.close()


def _was_written_by(line: str, step: int) -> bool:
    """Return whether a line was written at or before ``step``; a line that was cut short counts as not."""
    try:
        return json.loads(line)["step"] <= step
    except (ValueError, LookupError, TypeError):
        return False


def _open_summary_writer(folder: Path, step: int):  # type: ignore[no-untyped-def]  # its type is that of an extra
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtraError(
            "TensorBoard's files need the package tensorboard: pip install tensorboard, or train without them"
        ) from error
    return SummaryWriter(str(folder), purge_step=step)
