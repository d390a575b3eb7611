"""The comment of a file, where ``VideoWriter`` says what made it."""

import re
from pathlib import Path

from fomm.errors import MediaError
from fomm.media.ffmpeg import make_input_arguments, run
from fomm.media.folder import list_pictures
from fomm.media.images import DESCRIPTION, is_still, open_picture
from fomm.media.paths import PathLike, check_exists


def read_comment(path: PathLike) -> str:
    """Return the comment of a picture or video, "" where it has none; of a folder, its first picture's.

    Raises ``MediaError`` for a file that is neither.
    """
    file = check_exists(path)
    if file.is_dir():
        file = list_pictures(file)[0][0]
    if is_still(file):
        return _read_picture_comment(file)
    code, tags, _ = run(["-loglevel", "error", *make_input_arguments(file), "-f", "ffmetadata", "pipe:1"])
    if code:
        raise MediaError(f"cannot read the tags of {path}; it is not a video")
    found = re.search(r"^comment=((?:\\.|[^\\\n])*)", tags, re.M | re.I | re.S)
    return re.sub(r"\\(.)", r"\1", found[1], flags=re.S) if found else ""


def _read_picture_comment(file: Path) -> str:
    with open_picture(file) as image:
        told = image.info.get("Comment") or image.info.get("comment") or image.getexif().get(DESCRIPTION, "")
    return told.decode(errors="replace") if isinstance(told, bytes) else str(told)
