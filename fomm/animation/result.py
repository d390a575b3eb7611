"""The result that is written, a video or a picture, with its marks of origin."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np

from fomm.animation.options import Marking
from fomm.atomic import check_is_no_input
from fomm.marks import Marker, Origin, Signer, write_sidecar
from fomm.media import VideoReader, VideoWriter, check_result, video_comment, write_image


class Result:
    """A video to be written, with its marks of origin. What keeps it from being written is told at once.

    Args:
        path: see ``VideoWriter``.
        marking: what the result says of its origin.
        photo, drivings: the files that it is made of.
        photo_is: what the first of them is to the user.

    Raises:
        MediaError: no video can be written there.
        InputError: it is one of the files that are read, or what signs cannot be used.
        MissingExtraError: what signs is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        marking: Marking,
        *,
        photo: str | os.PathLike[str],
        drivings: Sequence[str | os.PathLike[str]],
        photo_is: str = "photo",
    ) -> None:
        check_is_no_input(path, {photo_is: photo})
        for driving in drivings:
            check_is_no_input(path, {"driving video": driving})
        check_result(path)
        self._path, self._marking, self._photo, self._drivings = path, marking, photo, drivings
        self._sign = None if marking.credentials is None else Signer(marking.credentials, path)

    @contextmanager
    def open(
        self,
        fps: float,
        sound: VideoReader | None,
        *,
        weights: str | None,
        options: Sequence[Any],
        made_by: str = "",
    ) -> Iterator[VideoWriter]:
        """Open a ``VideoWriter`` that marks what it writes; where the block ends well, write the sidecar.

        Args:
            fps, sound: see ``VideoWriter``.
            weights: SHA-256 of the file that the networks are of; None if not known.
            options: ``Framing`` and its like, for the sidecar.
            made_by: for the comment, see ``video_comment``.

        Raises:
            MediaError, InputError: see ``VideoWriter`` and ``write_sidecar``.
        """
        marking, origin = self._marking, Origin.of(weights)
        with VideoWriter(
            self._path,
            fps=fps,
            audio=sound,
            weights_hash=weights,
            made_by=made_by,
            mark=Marker(origin) if marking.mark else None,
            sign=self._sign,
        ) as writer:
            yield writer
        if marking.sidecar:
            write_sidecar(
                self._path,
                weights=weights,
                photo=self._photo,
                drivings=self._drivings,
                origin=origin if marking.mark else None,
                options=_collect((*options, marking)),
            )


def write_picture(
    path: str | os.PathLike[str],
    frame: np.ndarray,
    marking: Marking,
    *,
    weights: str | None,
    photo: str | os.PathLike[str],
    options: Sequence[Any] = (),
    made_by: str = "",
) -> None:
    """Write a picture with its marks of origin, and the sidecar where ``marking`` asks for it.

    Args:
        path, frame: see ``write_image``.
        marking: what the picture says of its origin; content credentials are for videos.
        photo: the file that it is made of.
        weights, options, made_by: see ``Result.open``.

    Raises:
        MediaError, InputError: see ``write_image`` and ``write_sidecar``.
    """
    origin = Origin.of(weights) if marking.mark else None
    marked = frame if origin is None else Marker(origin)(frame)
    write_image(path, marked, comment=video_comment(weights, made_by))
    if marking.sidecar:
        told = _collect((*options, marking))
        write_sidecar(path, weights=weights, photo=photo, drivings=(), origin=origin, options=told)


def _collect(groups: Iterable[Any]) -> dict[str, Any]:
    """Return the fields of dataclasses, by name."""
    return {name: value for group in groups for name, value in asdict(group).items()}
