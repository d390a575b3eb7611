"""Motion templates: files that keep how a face moves, and no picture of it.

A template is a safetensors file with these tensors, of T frames:

    turn    Tx3     rotation vector of the head, radians, from a face that looks into the camera
    place   Tx2     where the head is, xy from its usual place, in units of its usual size
    size    T       its size, of the usual one
    shape   Tx15x3  the labelled points of the face in the head's own axes, from their usual places, in units
                    of its size
    lips    T       the gap between the inner lips, in units of the head's size
    lids    Tx2     the gaps between the lids of the eye at the person's left, and right, of the usual ones

"Usual" is the median over the frames that show the face; of the lids the upper quarter, since eyes blink. So
the file does not tell whose face it was. The metadata are ``fomm_motion``, the version of this format;
``fps``, frames a second; and ``gaps``, the frames in which no face was seen, such as ``"10-25,40-60"``, each
end behind the last.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from scipy.spatial.transform import Rotation

from fomm.animation.driving import DrivingVideo
from fomm.animation.motion import USUAL_LIDS, FaceMotion, neutral_face
from fomm.animation.options import Crop, Excerpt
from fomm.animation.presence import Presence
from fomm.animation.progress import Progress
from fomm.atomic import atomic_path
from fomm.bundled import MOTIONS, bundled
from fomm.errors import InputError, shown
from fomm.media import VideoReader

SUFFIX = ".motion.safetensors"
_VERSION = "1"
_SHAPES = {"turn": (3,), "place": (2,), "size": (), "shape": (15, 3), "lips": (), "lids": (2,)}
_MOST_FRAMES, _MOST_BYTES = 1_000_000, 1 << 28
_LARGEST = 50.0  # of all numbers in a file: a head 50 times as large as usual is damage


@dataclass(frozen=True)
class Template:
    """A motion without a picture: how a face moves in T frames, and when it was seen."""

    motion: FaceMotion
    presence: Presence

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self.presence.fps

    @property
    def num_frames(self) -> int:
        """How many there are."""
        return len(self.motion)


def read_drivers(
    drivings: Sequence[str | os.PathLike[str]],
    excerpt: Excerpt = Excerpt(),
    crop: Crop = "auto",
    *,
    progress: Progress = False,
) -> tuple[list[Template], VideoReader | None]:
    """Return the motion of each template or video, all equally long, and a reader of the first video's sound.

    See ``watch_video`` for the arguments and errors.
    """
    templates, sound = [], None
    for driving in drivings:
        if is_template(driving):
            templates.append(read_template(driving, excerpt))
            continue
        templates.append(watch_video(driving, excerpt, crop, progress=progress))
        if sound is None:
            sound = VideoReader(driving, start=excerpt.start, duration=excerpt.duration)
    return match_lengths(templates), sound


def match_lengths(templates: Sequence[Template]) -> list[Template]:
    """Return templates with the frame rate of the first, all as long as the longest.

    One that ends earlier shows no face from there on, so that a photo eases to rest.
    """
    fps = templates[0].fps
    count = max(max(round(template.num_frames / template.fps * fps), 1) for template in templates)
    matched = []
    for template in templates:
        pace = template.fps / fps
        own = min(max(round(template.num_frames / pace), 1), count)
        frames = np.minimum((np.arange(count) * pace).astype(int), template.num_frames - 1)
        gaps = [(round(begin / pace), min(round(end / pace), own)) for begin, end in template.presence.gaps]
        gaps = [gap for gap in gaps if gap[0] < gap[1]]
        if own < count:
            last = gaps.pop()[0] if gaps and gaps[-1][1] == own else own
            gaps.append((last, count))
        matched.append(Template(template.motion.take(frames), Presence(tuple(gaps), fps)))
    return matched


def is_template(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is that of a template, by its name."""
    return Path(path).name.lower().endswith(SUFFIX)


def find_template(name: str) -> Path:
    """Return the path of a template: of one that ships, by its name, or ``name`` as a path.

    Raises:
        InputError: it is neither.
    """
    if name in MOTIONS:
        return bundled("examples", name + SUFFIX)
    if not is_template(name):
        raise InputError(
            f"there is no motion {shown(name)}; give a file NAME{SUFFIX}, or one of {', '.join(MOTIONS)}"
        )
    return Path(name)


def watch_video(
    driving: str | os.PathLike[str],
    excerpt: Excerpt = Excerpt(),
    crop: Crop = "auto",
    *,
    progress: Progress = False,
) -> Template:
    """Return how the face in a video moves.

    Args:
        driving: a video, see ``media.VideoReader``.
        excerpt: which part of it in time.
        crop: the part of each frame in which the face is looked for.
        progress: show bars, where the output is a terminal; or a function, see ``animate_file``.

    Raises:
        MediaError: the video cannot be read. InputError: no face was found, or an argument cannot be used.
    """
    reader = VideoReader(driving, start=excerpt.start, duration=excerpt.duration)
    video = DrivingVideo(reader, crop, (256, 256), watch=True, progress=progress)
    if video.motion is None:
        raise InputError(f"{driving}: hardly any face was found; give a video of a face")
    return Template(video.motion, replace(video.presence, fps=reader.fps))


def write_template(path: str | os.PathLike[str], template: Template) -> None:
    """Write a motion to a file, whole or not at all; the format is that of this module's description.

    Raises InputError: the name does not end with ``.motion.safetensors``, or the file cannot be written.
    """
    target, motion, presence = check_template_name(path), template.motion, template.presence
    seen = motion.take(presence.seen_among(len(motion)))
    size = np.median(seen.size)
    values = {
        "turn": Rotation.from_matrix(motion.rotation).as_rotvec(),
        "place": (motion.centre - np.median(seen.centre, axis=0)) / size,
        "size": motion.size / size,
        "shape": motion.shape - np.median(seen.shape, axis=0),
        "lips": motion.lips,
        "lids": motion.lids / np.maximum(np.percentile(seen.lids, USUAL_LIDS, axis=0), 1e-6),
    }
    tensors = {
        name: torch.from_numpy(value.clip(-_LARGEST, _LARGEST)).half().contiguous()
        for name, value in values.items()
    }
    gaps = ",".join(f"{begin}-{end}" for begin, end in presence.gaps)
    metadata = {"fomm_motion": _VERSION, "fps": f"{presence.fps:.6g}", "gaps": gaps}
    with atomic_path(target, InputError) as temporary:
        try:
            temporary.write_bytes(save(tensors, metadata))
        except OSError as reason:
            raise InputError(f"cannot write {target}: {reason.strerror or reason}") from reason


def check_template_name(path: str | os.PathLike[str]) -> Path:
    """Return the path of a template to write; raise InputError if its name ends otherwise."""
    if not is_template(path):
        raise InputError(f"cannot write {path}: the name of a motion template ends with {SUFFIX}")
    return Path(path)


def read_template(path: str | os.PathLike[str], excerpt: Excerpt = Excerpt()) -> Template:
    """Return the motion in a file; ``excerpt``: only a part of it in time.

    The face in it is a neutral one that moves so. Raises InputError.
    """
    tensors, metadata = _read_file(Path(path))
    version = metadata.get("fomm_motion")
    if version != _VERSION:
        what = "is no motion template" if version is None else f"has version {shown(version)} of the format"
        raise InputError(f"{path} {what}; expected one that fomm motion has written, version {_VERSION}")
    values = {name: _read_values(path, tensors.get(name), name, rest) for name, rest in _SHAPES.items()}
    count = len(values["size"])
    if any(len(value) != count for value in values.values()) or not 0 < count <= _MOST_FRAMES:
        raise InputError(
            f"{path} is damaged: its tensors have different numbers of frames, or none or too many"
        )
    if values["size"].min() <= 0:
        raise InputError(f"{path} is damaged: a head has no size")
    fps, gaps = _read_metadata(path, metadata, count)
    rest = neutral_face()
    motion = FaceMotion(
        Rotation.from_rotvec(values["turn"]).as_matrix(),
        values["place"],
        values["size"],
        rest.shape + values["shape"],
        np.maximum(values["lips"], 0),
        rest.lids * np.maximum(values["lids"], 0),
    )
    return _cut(path, Template(motion, Presence(gaps, fps)), excerpt)


def _read_file(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return the tensors of a file, and its metadata. No code in it is run."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {what}; give a motion template, a file that fomm motion has written")
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(f"{path} has more than {_MOST_BYTES} bytes; no motion template is so large")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except Exception as reason:  # whatever it is that is no safetensors file
        raise InputError(f"{path} is no motion template, or it is damaged ({shown(reason)})") from reason


def _read_values(
    path: str | os.PathLike[str], tensor: object, name: str, rest: tuple[int, ...]
) -> np.ndarray:
    expected = "x".join(["T", *map(str, rest)])
    if (
        not isinstance(tensor, torch.Tensor)
        or tuple(tensor.shape[1:]) != rest
        or tensor.ndim != len(rest) + 1
    ):
        raise InputError(
            f"{path} is no whole motion template: expected a tensor {name} of {expected} numbers"
        )
    if not tensor.is_floating_point():
        raise InputError(f"{path} is damaged: {name} holds no floating-point numbers")
    values = tensor.double().numpy()
    if not np.isfinite(values).all() or np.abs(values).max(initial=0) > _LARGEST:
        raise InputError(f"{path} is damaged: {name} holds numbers that are not finite, or too large")
    return values


def _read_metadata(
    path: str | os.PathLike[str], metadata: dict[str, str], count: int
) -> tuple[float, tuple[tuple[int, int], ...]]:
    """Return frames a second, and the gaps."""
    rate, gaps = metadata.get("fps", ""), metadata.get("gaps", "")
    if not re.fullmatch(r"\d{1,4}(\.\d{1,6})?", rate, re.ASCII) or not 0.1 <= float(rate) <= 1000:
        raise InputError(f"{path} is damaged: fps is {shown(rate)}; expected frames a second, 0.1 to 1000")
    if not re.fullmatch(r"(\d{1,7}-\d{1,7}(,\d{1,7}-\d{1,7})*)?", gaps, re.ASCII):
        raise InputError(f"{path} is damaged: gaps are {shown(gaps)}; expected such as 10-25,40-60")
    pairs = [tuple(map(int, gap.split("-"))) for gap in gaps.split(",") if gap]
    ends = [end for pair in pairs for end in pair]
    if ends != sorted(set(ends)) or (ends and ends[-1] > count) or ends == [0, count]:
        raise InputError(f"{path} is damaged: gaps are {shown(gaps)}, which do not lie in its {count} frames")
    return float(rate), tuple((begin, end) for begin, end in pairs)


def _cut(path: str | os.PathLike[str], template: Template, excerpt: Excerpt) -> Template:
    """Return the part of a template that an excerpt asks for."""
    fps, count = template.fps, template.num_frames
    first = round(excerpt.start * fps)
    end = count if excerpt.duration is None else min(count, first + max(round(excerpt.duration * fps), 1))
    if first >= end:
        raise InputError(
            f"{path} has {count / fps:.1f} seconds; nothing is left of it from {excerpt.start:g} seconds on"
        )
    if (first, end) == (0, count):
        return template
    gaps = [
        (max(begin, first) - first, min(stop, end) - first)
        for begin, stop in template.presence.gaps
        if begin < end and stop > first
    ]
    presence = replace(template.presence, gaps=tuple(gaps))
    return Template(template.motion.take(slice(first, end)), presence)
