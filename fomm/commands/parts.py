"""How a part of a picture, and a face in it, are named on the command line."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it loads torch, which --help does not need
    from fomm.face.framing import Crop


def crop_option(text: str) -> Crop:
    """``auto``, ``none``, or ``x,y,w,h`` in pixels."""
    if text == "auto":
        return "auto"
    if text == "none":
        return "none"
    numbers = text.split(",")
    if len(numbers) != 4 or not all(number.strip().lstrip("-").isdigit() for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is not auto, none or four whole numbers x,y,w,h")
    x, y, width, height = map(int, numbers)
    return x, y, width, height


def frame_option(text: str) -> int | str:
    """A frame's number, from 0, or ``auto``."""
    if text != "auto" and not text.lstrip("-").isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 or 'auto'")
    return text if text == "auto" else int(text)


def face_option(text: str) -> int | str:
    """A face's number, from 0, or ``all``."""
    if text != "all" and not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 or 'all'")
    return text if text == "all" else int(text)
