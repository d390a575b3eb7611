"""What a file says of its origin: its comment, the invisible mark, content credentials, a sidecar."""

from typing import Any, NamedTuple

from fomm.bundled import WEIGHTS
from fomm.errors import MissingExtraError, shown
from fomm.marks.credentials import Credentials, read_credentials
from fomm.marks.reading import FALSE_ALARM, Reading, read_mark
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
        # also under transparent pixels, which hold their part of the mark
        mark = read_mark(read_image(file, alpha=True)[..., :3])
    else:
        with VideoReader(file) as frames:
            mark = read_mark(frames)
    credentials, looked = None, True
    try:
        credentials = None if file.is_dir() else read_credentials(file)
    except MissingExtraError:
        looked = False
    return Inspection(read_comment(file), mark, credentials, read_sidecar(file), looked)


def describe_inspection(found: Inspection) -> list[str]:
    """Return what a file says of its origin in words, a line for each way."""
    if found.mark is None:
        mark = "none found; that proves nothing, since a mark may be lost or removed"
    else:
        origin = found.mark.origin
        name = name_weights(origin.weights)
        weights = "unknown" if origin.weights == "000000" else origin.weights + (f" ({name})" if name else "")
        mark = (
            f"made with fomm, weights {weights}, number {origin.number}; "
            f"sure: without a mark this is read less than once in a million files ({FALSE_ALARM:.1g})"
        )
    if found.credentials is not None:
        state, signer, made_by, source = found.credentials
        meaning = {
            "Trusted": "signed, unchanged, by somebody trusted here",
            "Valid": "signed and unchanged, by somebody who is on no list of trust here",
        }.get(state, "NOT valid: changed since it was signed, or signed wrongly")
        credentials = f"{meaning}; signer {signer or 'unnamed'}; made by {made_by}; {source}"
    elif found.looked_for_credentials:
        credentials = "none"
    else:
        credentials = "not looked for; pip install 'fomm[c2pa]'"
    sidecar = "none"
    if found.sidecar is not None:
        sidecar = f"of fomm {shown(found.sidecar.get('fomm'))}, " + (
            "and of this very file"
            if found.sidecar["matches"]
            else "but of another file, or this one was changed"
        )
    return [
        f"comment:     {shown(found.comment, 300) or 'none'}",
        f"mark:        {mark}",
        f"credentials: {credentials}",
        f"sidecar:     {sidecar}",
    ]


def name_weights(digits: str) -> str | None:
    """Return the name of weights that ship, by the first digits of their hash."""
    return next((name for name, digest in WEIGHTS.items() if digest.startswith(digits)), None)
