"""What a file says of its origin: for the page, the comment of its container."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from fomm.errors import MediaError, shown
from fomm.media.ffmpeg import make_input_arguments, run
from fomm.media.images import open_picture

_EXIF_DESCRIPTION = 0x010E


def read_comment(path: Path) -> str | None:
    """Return the comment in a picture's or a video's container; None where there is none.

    Raises:
        MediaError: it is neither a picture nor a video.
    """
    try:
        with open_picture(path) as image:
            return _comment_of_gif(path) if image.format == "GIF" else _comment_of_picture(image)
    except Exception:  # broken files make Pillow raise nearly anything; it may be a video
        pass
    _, _, log = run(make_input_arguments(path))  # it always fails: no output is asked for
    if "Input #0" not in log:
        raise MediaError(f"{path.name} is neither a picture nor a video that can be read")
    found = re.search(r"^    comment +: (.*)$", log, re.M | re.I)
    return shown(found[1], 300) if found else None


def _comment_of_picture(image: Image.Image) -> str | None:
    comment = image.info.get("Comment") or image.info.get("comment") or image.getexif().get(_EXIF_DESCRIPTION)
    if isinstance(comment, bytes):
        comment = comment.decode("utf-8", "replace")
    return shown(comment, 300) if comment else None


def _comment_of_gif(path: Path) -> str | None:
    """Return the comment at the end of a GIF, where ``VideoWriter`` puts it; Pillow sees earlier ones."""
    with open(path, "rb") as file:
        file.seek(max(path.stat().st_size - 300, 0))
        found = re.search(rb"\x21\xfe[\x01-\xff]([ -~]+)\x00\x3b\Z", file.read())
    return found[1].decode("ascii") if found else None


def describe_origin(path: Path) -> str:
    """Return in one sentence what a file says of its origin."""
    comment = read_comment(path)
    if comment is None:
        return f"{path.name} carries no comment. That does not tell whether it was generated."
    return f"{path.name} says: {comment}"
