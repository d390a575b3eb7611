"""The numbers that the page shares with fomm, written out for it, so that tables stand in one place alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from fomm._version import __version__
from fomm.animation.motion import LABELLED_POINTS, neutral_face
from fomm.animation.photo import ROOM
from fomm.animation.units import BROWS, EXPRESSION, SMILE, WIDE_OPEN
from fomm.face.pose import FACE_AT_REST, STILL_POINTS
from fomm.marks import Origin
from fomm.marks.pattern import CODED, SHORTER_SIDE, SIGNS, TILE, X, Y
from fomm.media.writer import video_comment


def describe_constants(weights_hash: str | None, size: tuple[int, int]) -> dict[str, Any]:
    """Return what ``constants.json`` holds.

    Args:
        weights_hash: hexadecimal SHA-256 of the weights, or None if not known.
        size: (height, width) of the networks' pictures.
    """
    neutral = neutral_face()
    tables: dict[str, Any] = {
        "labelledPoints": LABELLED_POINTS,
        "stillPoints": STILL_POINTS,
        "faceAtRest": FACE_AT_REST,
        "smile": SMILE,
        "brows": BROWS,
        "neutralShape": neutral.shape[0],
        "waves": {"x": X, "y": Y, "coded": CODED, "signs": SIGNS},
    }
    return {
        "fomm": __version__,
        "comment": video_comment(weights_hash),
        "weights": Origin.of(weights_hash).weights,
        "size": list(size),
        "room": ROOM,
        "expression": EXPRESSION,
        "wideOpen": WIDE_OPEN,
        "tile": TILE,
        "shorterSide": SHORTER_SIDE,
        **_to_lists(tables),
    }


def _to_lists(tables: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _to_lists(table) if isinstance(table, dict) else np.asarray(table).tolist()
        for name, table in tables.items()
    }
