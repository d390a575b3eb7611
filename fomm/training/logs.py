"""What a run tells: ``settings.json``, ``log.jsonl``, pictures and, where asked, TensorBoard."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fomm.atomic import atomic_path
from fomm.errors import MissingExtraError, TrainingError


class Logs:
    """The log of a run in its folder.

    Args:
        out: the folder of the run; gets ``settings.json``, ``log.jsonl``, ``pictures`` and ``tensorboard``.
        step: where the run goes on: lines of later steps are from a run that was killed, and go.
        tensorboard: write its event files too.

    Raises:
        MissingExtraError: the package tensorboard is wanted and not installed.
    """

    def __init__(self, out: Path, step: int, *, tensorboard: bool = False) -> None:
        self.lines, self.pictures = out / "log.jsonl", out / "pictures"
        self.pictures.mkdir(parents=True, exist_ok=True)
        self._writer = _summary_writer(out / "tensorboard", step) if tensorboard else None
        if self.lines.exists():
            kept = [
                line for line in self.lines.read_text(encoding="utf-8").splitlines() if _is_of(line, step)
            ]
            with atomic_path(self.lines) as path:
                path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def settings(self, settings: dict[str, Any]) -> None:
        """What the run, or this start of it, was given."""
        with atomic_path(self.lines.with_name("settings.json"), TrainingError) as path:
            path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    def numbers(self, line: dict[str, float]) -> None:
        """One line of numbers, ``step`` among them."""
        with open(self.lines, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._writer is not None:
            for name, value in line.items():
                if name not in ("step", "of"):
                    self._writer.add_scalar(name, value, int(line["step"]))

    def picture(self, step: int, picture: Image.Image) -> None:
        """What the networks see at a step."""
        with atomic_path(self.pictures / f"{step:08d}.png", TrainingError) as path:
            picture.save(path)
        if self._writer is not None:
            self._writer.add_image("pictures", np.asarray(picture), step, dataformats="HWC")

    def close(self) -> None:
        """Nothing that was told is lost."""
        if self._writer is not None:
            self._writer.close()


def _is_of(line: str, step: int) -> bool:
    """Whether a line was written at or before ``step``; one that was cut short was not."""
    try:
        return json.loads(line)["step"] <= step
    except (ValueError, LookupError, TypeError):
        return False


def _summary_writer(folder: Path, step: int):  # type: ignore[no-untyped-def]  # its type is that of an extra
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtraError(
            "TensorBoard's files need the package tensorboard: pip install tensorboard, or train without them"
        ) from error
    return SummaryWriter(str(folder), purge_step=step)
