"""How the options of one animation are spelled, on the command line and in lists of jobs."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # it loads torch, which --help does not need
    from fomm.animation.framing import Crop


def crop_option(text: str) -> Crop:
    """``auto``, ``none``, or ``x,y,w,h`` in pixels."""
    if text == "auto":
        return "auto"
    if text == "none":
        return "none"
    numbers = re.fullmatch(",".join([r"\s*(-?\d{1,9})\s*"] * 4), text, re.ASCII)
    if numbers is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not auto, none or four whole numbers x,y,w,h")
    x, y, width, height = map(int, numbers.groups())
    return x, y, width, height


def frame_option(text: str) -> int | str:
    """A frame's number, from 0, or ``auto``."""
    if text != "auto" and not re.fullmatch(r"-?\d{1,9}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 or 'auto'")
    return text if text == "auto" else int(text)


def face_option(text: str) -> int | str:
    """A face's number, from 0, or ``all``."""
    if text != "all" and not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 or 'all'")
    return text if text == "all" else int(text)


def size_option(text: str) -> int | tuple[int, int]:
    """``N``, the longer side in pixels, or ``WxH``, which becomes (height, width)."""
    numbers = re.fullmatch(r"([1-9]\d{0,5})(?:x([1-9]\d{0,5}))?", text, re.ASCII)
    if numbers is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pixels N, nor two of them WxH")
    first, second = numbers.groups()
    return int(first) if second is None else (int(second), int(first))


def seconds_option(text: str) -> float:
    """Zero or more seconds."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def switch_option(text: str) -> bool:
    """``yes`` or ``no``, and what else people write for them."""
    words = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"{text!r} is not yes or no")
    return words[text.lower()]


def shard_option(text: str) -> tuple[int, int]:
    """``I/N``, I from 1 to N."""
    numbers = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    if numbers is None or not 1 <= int(numbers[1]) <= int(numbers[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N, the I-th of N parts, counted from 1")
    return int(numbers[1]), int(numbers[2])


class JobOption(NamedTuple):
    """An option of ``fomm animate`` that may differ from job to job."""

    keyword: str  # of animate_file
    parse: Callable[[str], Any]  # raises argparse.ArgumentTypeError


# By the long names of the command line, which are the columns of lists.
JOB_OPTIONS = {
    "crop": JobOption("crop", crop_option),
    "crop-driving": JobOption("crop_driving", crop_option),
    "face": JobOption("face", face_option),
    "paste-back": JobOption("paste_back", switch_option),
    "size": JobOption("size", size_option),
    "relative": JobOption("relative", switch_option),
    "adapt-scale": JobOption("adapt_movement_scale", switch_option),
    "openings": JobOption("openings", switch_option),
    "best-frame": JobOption("best_frame", frame_option),
    "start": JobOption("start", seconds_option),
    "duration": JobOption("duration", seconds_option),
    "audio": JobOption("audio", switch_option),
    "side-by-side": JobOption("side_by_side", switch_option),
}
