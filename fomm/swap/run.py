"""A run of the training of a family: its steps, and its state on disk."""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fomm.atomic import atomic_path
from fomm.errors import CheckpointError, TrainingError
from fomm.swap.batches import Batch
from fomm.swap.family import Family
from fomm.training.state import remove_leftovers

# What a file that is no state, or a damaged one, raises when it is read.
_DAMAGE = (RuntimeError, LookupError, ValueError, TypeError, AttributeError, EOFError, OSError)


class Run:
    """A family and its optimisers: what ``state.pt`` holds.

    Attributes:
        family: in training mode, on the device.
        optimizers: of each player.
        players: those that trained in the last step.
        step: how many steps the run has made.
        seconds: how long these steps took, over all starts of the run.
    """

    def __init__(self, family: Family, device: torch.device) -> None:
        self.family = family.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.optimizers = {
            player: torch.optim.Adam(
                family.find_parameters(player),
                lr=family.rates[player],
                betas=family.betas.get(player, (0.5, 0.999)),
                fused=True,
            )
            for player in family.players
        }
        self.players: tuple[str, ...] = ()
        self.step, self.seconds = 0, 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return everything that ``load_state_dict`` needs to go on."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "players": list(self.players),
            "family": self.family.state_dict(),
            "optimizers": {player: optimizer.state_dict() for player, optimizer in self.optimizers.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken by ``state_dict``."""
        self.family.load_state_dict(state["family"])
        for player, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][player])
        self.players = tuple(state["players"])
        self.step, self.seconds = int(state["step"]), float(state["seconds"])

    def make_step(self, batch: Batch, progress: float, precision: str) -> dict[str, Tensor]:
        """Let each player make one step, and return all losses.

        Raises:
            TrainingError: a loss is not finite; its player's weights are unchanged.
        """
        device = batch.a.target.device
        players = self.family.find_players(progress)
        for player in players:
            if player not in self.players:
                self.family.begin_stage(player)
        self.players = players
        self.family.judged = progress >= self.family.unjudged
        values: dict[str, Tensor] = {}
        for player in players:
            parameters = self.family.find_parameters(player)
            self.family.requires_grad_(False)
            for parameter in parameters:
                parameter.requires_grad_(True)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                losses = self.family.losses(batch, player)
            total = torch.stack(list(losses.values())).sum()
            if not math.isfinite(total.item()):
                raise TrainingError(
                    f"step {self.step}: the losses of {player} are not finite "
                    f"({', '.join(f'{name} {value.item():.3g}' for name, value in losses.items())}); started "
                    "again, the run goes on from its last state"
                )
            if total.requires_grad:
                optimizer = self.optimizers[player]
                for group in optimizer.param_groups:
                    group["lr"] = self.family.rates[player] * self.family.find_rate(progress)
                optimizer.zero_grad()
                total.backward()
                optimizer.step()
            values |= {name: value.detach() for name, value in losses.items()}
        self.step += 1
        return values


def read_seconds(out: Path) -> float:
    """Return how long a run that writes ``out`` trained so far; 0 where there is none that can be read."""
    try:
        state = torch.load(out.with_suffix(".run") / "state.pt", "cpu", mmap=True, weights_only=True)
        return float(state["run"]["seconds"])
    except (*_DAMAGE, pickle.UnpicklingError):
        return 0.0


def resume(run: Run, folder: Path, kind: Mapping[str, Any]) -> None:
    """Load the state of a run, if there is one, or make its folder.

    Raises:
        CheckpointError: the state is damaged, or of a run of another ``kind``.
        TrainingError: the folder cannot be made.
    """
    path = folder / "state.pt"
    anew = f"delete the folder {folder} to begin anew, or choose another -o"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as reason:
        raise TrainingError(f"cannot make {folder}: {reason.strerror or reason}") from reason
    remove_leftovers(folder)
    if not path.exists():
        return
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        before = state["kind"]
    except (*_DAMAGE, pickle.UnpicklingError) as reason:
        raise CheckpointError(f"{path} is damaged, or no state of a run; {anew}") from reason
    if before != dict(kind):
        known = before if isinstance(before, dict) else {}
        other = [name for name, value in kind.items() if known.get(name) != value]
        raise CheckpointError(f"{path} is of a run with other {' and '.join(other)}; {anew}")
    try:
        run.load_state_dict(state["run"])
    except _DAMAGE as reason:
        raise CheckpointError(f"{path} does not fit {kind['family']}; {anew}") from reason


def remove_unfinished(out: Path) -> None:
    """Remove what a run that was killed had written of the network ``out``.

    Raises:
        TrainingError: it cannot be removed.
    """
    name = re.compile(rf"\.{re.escape(out.stem)}\.[0-9a-f]{{8}}\.part\.safetensors")
    for path in out.parent.iterdir():
        if name.fullmatch(path.name):
            try:
                path.unlink()
            except OSError as reason:
                raise TrainingError(f"cannot remove {path}: {reason.strerror or reason}; do it") from reason


def save_state(run: Run, folder: Path, kind: Mapping[str, Any]) -> None:
    """Write the state of a run, whole or not at all. It comes last, after the network and the preview.

    Raises:
        TrainingError: the disk is full, or cannot be written; the state from before is untouched.
    """
    target = folder / "state.pt"
    try:
        with atomic_path(target, TrainingError) as path:
            torch.save({"kind": dict(kind), "run": run.state_dict()}, path)
    except (OSError, RuntimeError) as reason:  # torch's writer raises the latter on a full disk
        raise TrainingError(f"cannot write {target}: {reason}; make room and start again") from reason
