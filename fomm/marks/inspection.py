"""What a file says of its origin: its comment, the invisible mark, content credentials, a sidecar."""

from typing import Any, NamedTuple

from fomm.errors import MissingExtraError
from fomm.marks.credentials import Credentials, read_credentials
from fomm.marks.reading import Reading, read_mark
from fomm.marks.sidecar import read_sidecar
from fomm.media import VideoReader, read_comment, read_image
from fomm.media.images import is_still
from fomm.media.paths import PathLike, check_exists


class Inspection(NamedTuple):
    """What a file says of its origin. Each may be missing from a file that fomm made, and each can be forged.

    Attributes:
        comment: of the container, "" where there is none.
        mark: the invisible mark, or None.
        credentials: those that were signed into it, or None; see ``looked_for_credentials``.
        sidecar: what the JSON file beside it says, or None. ``"matches"`` is whether it is of this very file.
        looked_for_credentials: whether the extra ``c2pa`` is installed.
    """

    comment: str
    mark: Reading | None
    credentials: Credentials | None
    sidecar: dict[str, Any] | None
    looked_for_credentials: bool

    @property
    def names_fomm(self) -> bool:
        """Whether anything says that fomm made the file."""
        return bool(
            self.mark
            or self.comment.startswith("Made with fomm ")
            or (self.credentials and self.credentials.made_by.startswith("fomm "))
            or (self.sidecar and self.sidecar["matches"])
        )


def inspect_file(path: PathLike) -> Inspection:
    """Return what a picture, a video or a folder of pictures says of its origin.

    Raises:
        MediaError: it is none of them, or its sidecar cannot be read.
    """
    file = check_exists(path)
    if is_still(file):
        mark = read_mark(read_image(file))
    else:
        with VideoReader(file) as frames:
            mark = read_mark(frames)
    credentials, looked = None, True
    try:
        credentials = None if file.is_dir() else read_credentials(file)
    except MissingExtraError:
        looked = False
    return Inspection(read_comment(file), mark, credentials, read_sidecar(file), looked)
