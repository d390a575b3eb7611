"""Convert a video or a picture: every frame with another person's face in place of the one that is there."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from fomm.animation.options import Marking
from fomm.animation.progress import Progress, report_progress
from fomm.animation.result import Result, write_picture
from fomm.animation.threads import BackgroundWorker, prefetch
from fomm.atomic import check_is_no_input
from fomm.bundled import sha256_of
from fomm.checkpoint import choose_device
from fomm.errors import InputError
from fomm.marks import Signer
from fomm.media import VideoReader, read_image
from fomm.media.images import check_image_name, is_still
from fomm.media.reader import FramesReader
from fomm.swap.align import cut_face, fit_similarity, move_points
from fomm.swap.blend import BLENDS, MASK_CHOICES, blend, choose_mask
from fomm.swap.checkpoint import load_swap
from fomm.swap.colour import COLOURS, draw_skin, match_colours
from fomm.swap.faces import MASKS
from fomm.swap.family import Family, check_side
from fomm.swap.masks import draw_masks
from fomm.swap.tracking import Detector, TrackedFace, find_identity, follow_face

BATCH = 8  # frames in one pass of the networks


@dataclass(frozen=True)
class Conversion:
    """Whose face comes out, and how it meets the frame.

    Attributes:
        side: ``"a"`` or ``"b"``: the person of the first or of the second file that was trained on.
        colour: how the face gets the light of the video, see ``match_colours``.
        mask: which part of it shows, see ``choose_mask``.
        blend: how it meets what surrounds it, see ``blend.blend``.
        detector: what finds faces in the video, see ``follow_face``.

    Raises:
        InputError: one of them is none of its choices.
    """

    side: str = "b"
    colour: str = "reinhard"
    mask: str = "learned"
    blend: str = "alpha"
    detector: Detector = "blazeface"

    def __post_init__(self) -> None:
        check_side(self.side)
        choices = {"colour": COLOURS, "mask": MASK_CHOICES, "blend": BLENDS}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise InputError(f"{name} is one of {', '.join(known)}, not {getattr(self, name)!r}")


class Converted(NamedTuple):
    """What became of the frames of a video."""

    frames: int
    unchanged: dict[str, int]  # how many frames have no face that was followed, by the reason

    @property
    def swapped(self) -> int:
        """How many frames show the other face."""
        return self.frames - sum(self.unchanged.values())


@dataclass(frozen=True)
class _Record:
    """What the sidecar says beside the conversion."""

    family: str
    steps: int
    checkpoint: str  # its name
    like: str | None


def convert_video(
    video: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    side: str = "b",
    colour: str = "reinhard",
    mask: str = "learned",
    blend: str = "alpha",
    detector: Detector = "blazeface",
    like: str | os.PathLike[str] | None = None,
    marking: Marking = Marking(),
    device: str | None = None,
    progress: Progress = True,
) -> Converted:
    """Put another person's face into a video or a picture, from file to file.

    Frames are read, changed and written one by one; frame rate and sound stay. Frames in which the person's
    face is not found stay as they are. The result says that it is a swap, by which family and with which
    weights, and is marked as ``marking`` says.

    Args:
        video: a video, see ``VideoReader``, or a picture, see ``read_image``.
        checkpoint: what ``fomm swap train`` wrote.
        out: .mp4, .webm or .gif, or a new folder for PNGs; for a picture .png, .jpg or .webp.
        side, colour, mask, blend, detector: see ``Conversion``.
        like: a picture of the person whose face is replaced, where others are in the video too; None takes
            the face that fills most.
        marking: what the result says of its origin.
        device: where the swapping network runs; None: where there is CUDA, there, else on the CPU.
        progress: see ``animate_file``.

    Returns:
        How many frames there are, and why some of them stayed as they are.

    Raises:
        InputError: an option cannot be used, ``out`` is a file that is read, or no frame shows the face.
        MediaError: a file cannot be read or written. CheckpointError: the checkpoint cannot be read.
        MissingExtraError: what signs, or the detector's package, is not installed.
    """
    how = Conversion(side, colour, mask, blend, detector)
    check_is_no_input(out, {"video": video, "checkpoint": checkpoint, "picture of the person": like})
    still = is_still(video)
    if still:
        check_image_name(out)
        if marking.credentials is not None:
            Signer(marking.credentials, out)  # which says that pictures hold none
    else:
        result = Result(out, marking, photo=video, drivings=(), photo_is="video")
    person = None if like is None else find_identity(like)
    family = load_swap(checkpoint).to(choose_device(False, device))
    weights = sha256_of(Path(checkpoint))
    record = _Record(
        family.name, family.card.steps, Path(checkpoint).name, None if like is None else Path(like).name
    )
    made_by = f"face swap by {family.name}"
    unchanged: Counter[str] = Counter()
    count = 0
    if still:
        reader: VideoReader = FramesReader([read_image(video)], 25.0, str(video))
    else:
        reader = VideoReader(video)

    def make() -> Iterator[np.ndarray]:
        nonlocal count
        faces = follow_face(reader, detector=detector, like=person)
        with prefetch(faces) as coming:
            swapped = swap_frames(coming, family, how)
            for frame, missing in report_progress(swapped, reader.num_frames, progress and not still):
                count += 1
                if missing:
                    unchanged[missing] += 1
                yield frame
        if count and sum(unchanged.values()) == count:
            whom = "the person" if like is not None else "a face"
            raise InputError(f"{video}: {whom} was found in none of its {count} frames; nothing was written")

    with reader:
        if still:
            (frame,) = make()
            write_picture(
                out, frame, marking, weights=weights, photo=video, options=(how, record), made_by=made_by
            )
        else:
            with (
                result.open(
                    reader.fps, reader, weights=weights, options=(how, record), made_by=made_by
                ) as writer,
                BackgroundWorker(writer.write) as background,
            ):
                for frame in make():
                    background.put(frame)
    return Converted(count, dict(unchanged))


def swap_frames(
    faces: Iterable[TrackedFace], family: Family, how: Conversion
) -> Iterator[tuple[np.ndarray, str]]:
    """Yield every frame with the other face in it, HxWx3 uint8, and "" or why it stayed as it is.

    Args:
        faces: what ``follow_face`` yields.
        family: the networks that swap; they run where they are.
        how: whose face comes out, and how it meets the frame.
    """
    coming = iter(faces)
    while chunk := list(itertools.islice(coming, BATCH)):
        found = [(face.picture, face.points) for face in chunk if face.points is not None]
        made = _swap_faces(found, family, how)
        for face in chunk:
            if face.points is None:
                yield face.picture, face.missing or "nobody"
            else:
                yield next(made), ""


@torch.no_grad()
def run_network(pictures: np.ndarray, family: Family, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the faces of a side, NxSxSx3 in [0, 1], and their masks, NxSxS; pictures are NxSxSx3 too."""
    device = next(family.parameters()).device
    batch = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(device)
    swapped, masks = family.swap(batch, side)
    return swapped.permute(0, 2, 3, 1).float().cpu().numpy(), masks[:, 0].float().cpu().numpy()


def _swap_faces(
    found: list[tuple[np.ndarray, np.ndarray]], family: Family, how: Conversion
) -> Iterator[np.ndarray]:
    """Yield frames, each of which has a face, with the other face in its place."""
    if not found:
        return
    size = family.size
    transforms = [fit_similarity(points, size) for _, points in found]
    cuts = [cut_face(frame, move, size) for (frame, _), move in zip(found, transforms, strict=True)]
    originals = np.stack(cuts).astype(np.float32) / 255
    pictures, learned = run_network(originals, family, how.side)
    parts = zip(found, transforms, originals, pictures, learned, strict=True)
    for (frame, points), transform, original, picture, seen in parts:
        points = move_points(points, transform)
        hull = draw_masks(points, size)[..., MASKS.index("face")]
        mask = choose_mask(how.mask, seen, hull)
        picture = match_colours(picture, original, draw_skin(points, size), how.colour)
        yield blend(frame, picture, mask, transform, how.blend)
