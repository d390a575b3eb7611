"""What is exactly known of the frames of a drawn clip: read from the file beside it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fomm.data.clips import read_arrays, sidecar_of
from fomm.errors import InputError, MediaError
from fomm.model import Keypoints


class Wanted(NamedTuple):
    """What is read of the truth beside the key points."""

    flow: bool  # the surface, from which the true motion follows
    others: bool  # the key points of another person who moves alike


class Truth(NamedTuple):
    """What is known of the frames of a clip, or of some of them."""

    points: Keypoints  # TxKx2 and TxKx2x2
    others: Keypoints | None = None  # of another person who moves alike
    surface: Tensor | None = None  # Txhxwx8, see ``fomm.heads.surface``; the bits of uint16
    vertices: Tensor | None = None  # TxUx2, of the surface

    def map(self, function: Callable[[Tensor], Tensor]) -> "Truth":
        """Apply the same function to all tensors."""
        surface, vertices = (t if t is None else function(t) for t in self[2:])
        return Truth(self.points.map(function), self.others and self.others.map(function), surface, vertices)


def read_truth(clip: Path, count: int, wanted: Wanted) -> Truth:
    """Read what is known of a clip.

    Args:
        clip: its path.
        count: T, the number of its frames.
        wanted: what is read beside the key points.

    Raises:
        MediaError: the file beside the clip is damaged, or does not fit the clip.
    """
    path = sidecar_of(clip)
    owners = ("", "other_") if wanted.others else ("",)
    names = [f"{owner}{name}" for owner in owners for name in ("keypoints", "jacobians")]
    arrays = read_arrays(path, *names, *(["surface", "vertices"] if wanted.flow else []))
    value, jacobian, *other = (torch.from_numpy(arrays[name]).float() for name in names)
    shape = (count, *value.shape[1:2], 2)
    for what, v, j in zip(owners, (value, *other[:1]), (jacobian, *other[1:]), strict=True):
        if v.shape != shape or j.shape != (*shape, 2):
            raise MediaError(
                f"{path} holds {what.replace('_', ' ')}key points {tuple(v.shape)} and jacobians "
                f"{tuple(j.shape)}; for the {count} frames of {clip.name} ({count}, K, 2) and "
                f"({count}, K, 2, 2) are needed"
            )
    surface = vertices = None
    if wanted.flow:  # as signed numbers, because torch cannot gather unsigned ones on every device
        surface = torch.from_numpy(arrays["surface"].view(np.int16))
        vertices = torch.from_numpy(arrays["vertices"])
        if surface.ndim != 4 or (surface.shape[0], surface.shape[3]) != (count, 8):
            raise MediaError(f"{path} holds a surface {tuple(surface.shape)}; ({count}, h, w, 8) is needed")
        if vertices.ndim != 3 or vertices.shape[::2] != (count, 2):
            raise MediaError(f"{path} holds vertices {tuple(vertices.shape)}; ({count}, U, 2) is needed")
        if arrays["surface"][..., 4:7].max(initial=0) >= vertices.shape[1]:
            raise MediaError(f"{path} holds a surface that names more than its {vertices.shape[1]} vertices")
    return Truth(Keypoints(value, jacobian), Keypoints(*other) if other else None, surface, vertices)


def join_truths(truths: list[Truth | None], join: Callable[[list[Tensor]], Tensor]) -> Truth | None:
    """Join the truth of several clips; None where none of them has any.

    Args:
        truths: one for each clip.
        join: makes one tensor of those of all clips, such as ``torch.cat``.

    Raises:
        InputError: the clips come with different numbers of key points.
    """
    known = [truth for truth in truths if truth is not None]
    if not known:
        return None
    numbers = {truth.points.value.shape[1] for truth in known}
    if len(numbers) > 1:
        raise InputError(f"the clips come with different numbers of true key points: {sorted(numbers)}")

    def join_points(points: list[Keypoints]) -> Keypoints:
        return points[0].map(lambda *tensors: join(list(tensors)), *points[1:])

    others = [truth.others for truth in known if truth.others is not None]
    surfaces = [truth.surface for truth in known if truth.surface is not None]
    vertices = [truth.vertices for truth in known if truth.vertices is not None]
    # All get as many vertices as the longest list; no surface names those that are added.
    most = max((v.shape[1] for v in vertices), default=0)
    vertices = [F.pad(v, (0, 0, 0, most - v.shape[1])) for v in vertices]
    return Truth(
        join_points([truth.points for truth in known]),
        join_points(others) if others else None,
        join(surfaces) if surfaces else None,
        join(vertices) if vertices else None,
    )
