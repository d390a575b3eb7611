"""The file of a trained family: safetensors, with what it is and what it was trained on as metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from fomm._version import __version__
from fomm.atomic import atomic_path
from fomm.checkpoint.files import read_file
from fomm.errors import CheckpointError, InputError, shown
from fomm.swap.families import build_family
from fomm.swap.family import Card, Family

FORMAT = 1  # goes up when the metadata change
KEY = "fomm.swap"  # of the metadata
_OTHER = "give a file that fomm swap train wrote"


def save_swap(path: str | os.PathLike[str], family: Family, card: Card) -> None:
    """Write the network that swaps, ``family.faces``, whole or not at all.

    Args:
        path: a file that ends in ``.safetensors``.
        family: its weights are written as they are, its settings into the metadata.
        card: what the weights were trained on.

    Raises:
        CheckpointError: a weight is not finite, or the place cannot be written.
    """
    check_name(path)
    tensors = {}
    for name, tensor in family.faces.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"cannot write {path}: {name} holds values that are not finite")
        tensors[name] = tensor.detach().cpu().contiguous()
    content = {
        "format": FORMAT,
        "version": __version__,
        "family": family.name,
        "settings": family.settings,
        "steps": card.steps,
        "trained_on": [list(side) for side in card.trained_on],
    }
    with atomic_path(path, CheckpointError) as temporary:
        try:
            temporary.write_bytes(save(tensors, {KEY: json.dumps(content)}))
        except OSError as reason:
            raise CheckpointError(f"cannot write {path}: {reason.strerror or reason}") from reason


def check_name(path: str | os.PathLike[str]) -> None:
    """Raise CheckpointError unless a file of that name is one of safetensors."""
    if Path(path).suffix != ".safetensors":
        raise CheckpointError(f"cannot write {path}: the result is a safetensors file; name it so")


def load_swap(path: str | os.PathLike[str]) -> Family:
    """Return the family of a checkpoint, in eval mode, on the CPU; its ``card`` tells what it learned from.

    Names and shapes are compared before memory is taken, and no code in the file runs. What only training
    needs, a discriminator, has random weights.

    Raises:
        CheckpointError: the file cannot be read, is damaged, or holds something else.
    """
    where = Path(path)
    tensors, metadata = read_file(where)
    content = _read_metadata(metadata, where)
    try:
        card = _read_card(content)
        with torch.device("meta"):
            plan = build_family(content["family"], content["settings"])
    except (InputError, LookupError, TypeError, ValueError, AttributeError, OverflowError) as reason:
        raise CheckpointError(
            f"{where} does not tell a family that fomm has ({shown(reason)}); {_OTHER}"
        ) from reason
    _check_fit(plan, tensors, where)
    family = build_family(content["family"], content["settings"])
    family.faces.load_state_dict(dict(tensors))
    family.card = card
    return family.eval().requires_grad_(False)


def _read_metadata(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    if KEY not in metadata:
        raise CheckpointError(f"{path} holds no networks that swap faces; {_OTHER}")
    try:
        content = json.loads(metadata[KEY])
        if not isinstance(content, dict):
            raise ValueError("no mapping")
        version = content["format"]
    except (ValueError, LookupError, RecursionError) as reason:
        raise CheckpointError(f"{path} has metadata that fomm did not write; {_OTHER}") from reason
    if version != FORMAT:
        raise CheckpointError(
            f"{path} has format {shown(version, 20)}, and this fomm reads {FORMAT}; train again, or use the "
            "fomm that wrote it"
        )
    return content


def _read_card(content: Mapping[str, Any]) -> Card:
    steps, sides = content["steps"], content["trained_on"]
    if type(steps) is not int or steps < 0:
        raise ValueError("steps is a whole number")
    if not isinstance(sides, list) or len(sides) > 2:
        raise ValueError("trained_on names two sides")
    trained_on = []
    for name, count in sides:
        if not isinstance(name, str) or type(count) is not int:
            raise ValueError("trained_on has names and numbers")
        trained_on.append((shown(name), count))
    return Card(steps, tuple(trained_on))


def _check_fit(plan: Family, tensors: Mapping[str, Any], path: Path) -> None:
    """Compare names, shapes and types with a family that has no weights, and see that all are finite."""
    expected = plan.faces.state_dict()
    missing = [name for name in expected if name not in tensors]
    unexpected = [shown(name) for name in tensors if name not in expected]
    for kind, names in (("lacks", missing), ("has more than the family:", unexpected)):
        if names:
            raise CheckpointError(f"{path} {kind} {', '.join(names[:3])}; {_OTHER}")
    for name, wanted in expected.items():
        tensor: Tensor = tensors[name]
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            raise CheckpointError(
                f"{path}: {name} is {tensor.dtype} {tuple(tensor.shape)} instead of "
                f"{wanted.dtype} {tuple(wanted.shape)}; {_OTHER}"
            )
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name} holds values that are not finite; {_OTHER}")
