"""The result that is written, with its marks of origin."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from fomm.animation.options import Compute, Excerpt, Framing, Marking, Motion
from fomm.marks import Marker, Origin, Signer, write_sidecar
from fomm.media import VideoReader, VideoWriter


@contextmanager
def open_result(
    result: str | os.PathLike[str],
    fps: float,
    sound: VideoReader | None,
    marking: Marking,
    *,
    weights: str | None,
    photo: str | os.PathLike[str],
    drivings: Sequence[str | os.PathLike[str]],
    options: Sequence[Framing | Excerpt | Motion | Compute],
) -> Iterator[VideoWriter]:
    """Open a ``VideoWriter`` that marks what it writes; where the block ends well, write the sidecar.

    Args:
        result, fps, sound: see ``VideoWriter``.
        marking: what the result says of its origin.
        weights: SHA-256 of the file that the networks are of; None if not known.
        photo, drivings: what the result is made of, for the sidecar.
        options: ``Framing`` and its like, for the sidecar.

    Raises:
        MediaError, InputError, MissingExtraError: see ``VideoWriter``, ``Signer`` and ``write_sidecar``.
    """
    sign = None if marking.credentials is None else Signer(marking.credentials, result)
    origin = Origin.of(weights)
    with VideoWriter(
        result,
        fps=fps,
        audio=sound,
        weights_hash=weights,
        mark=Marker(origin) if marking.mark else None,
        sign=sign,
    ) as writer:
        yield writer
    if marking.sidecar:
        write_sidecar(
            result,
            weights=weights,
            photo=photo,
            drivings=drivings,
            origin=origin if marking.mark else None,
            options={name: value for group in (*options, marking) for name, value in asdict(group).items()},
        )
