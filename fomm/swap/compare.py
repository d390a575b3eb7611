"""Compare trained swaps on one video: a page with pictures and numbers, and the truth where it is known."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from fomm.animation.progress import Progress, report_progress
from fomm.atomic import atomic_path
from fomm.errors import InputError
from fomm.evaluation import metrics
from fomm.evaluation.faces import FaceTrack, face_in, mean_of_known, measure_faces
from fomm.evaluation.gallery import pick_frames
from fomm.evaluation.page import ARROWS, embed_frames, format_document
from fomm.evaluation.vocabulary import Metric, format_number
from fomm.face import Face
from fomm.face.search import FaceFinder
from fomm.media.resize import cut_out
from fomm.swap.align import cut_face, fit_similarity, move_points
from fomm.swap.checkpoint import load_swap
from fomm.swap.colour import fill_hull
from fomm.swap.convert import Conversion, run_network, swap_frames
from fomm.swap.family import Family
from fomm.swap.tracking import TrackedFace, follow_face

FRAMES = 100  # of the video that are compared, unless told otherwise
ALIGNED = 128  # pixels: faces are compared at this size, whatever the families' own
NOTHING, TRUTH = "nothing done", "truth"  # rows of the table beside the families
DENOISE = 1.0  # pixels: see ``metrics.sharpness``

METRICS = (
    Metric("identity_to_b", "identity to B", "low", 3, "Distance to B's mean; above 0.6 they count as two."),
    Metric("identity_to_a", "identity to A", "high", 3, "Distance to A's mean; it should not be A any more."),
    Metric("pose", "pose, degrees", "low", 2, "Mean difference of yaw, pitch and roll from A's frame."),
    Metric("mouth", "mouth", "low", 3, "Difference of the opening from A's, over the distance of the eyes."),
    Metric("eyes", "eyes", "low", 3, "Difference of the opening from A's, over the width of an eye."),
    Metric("missing", "no face", "low", 3, "Share of the frames in which no face is found any more."),
    Metric("reconstruction", "A to A, SSIM", "high", 3, "A's aligned faces, and what side a makes of them."),
    Metric("sharpness", "sharpness", "one", 3, "Variance of the face's Laplacian over that of A's frame."),
    Metric(
        "flicker", "flicker", "low", 2,
        "Second difference over time of the aligned face, grey levels; A's own row is its motion and noise.",
    ),
    Metric("l1", "L1 to truth", "low", 4, "Mean difference of the aligned faces in the mesh's hull."),
    Metric("ssim", "SSIM to truth", "high", 3, "Of the aligned faces in the mesh's hull."),
    Metric("identity_to_truth", "identity to truth", "low", 3, "Distance to the same frame of the truth."),
    Metric("steps", "steps", "", 0, "Of the training."),
    Metric("seconds_per_step", "seconds a step", "low", 3, "Of the training, as its log says."),
    Metric("parameters", "parameters, millions", "", 2, "Of the network that swaps, both sides together."),
)  # fmt: skip

# The truth has B's own skin, which matched colours would turn into A's.
UNMATCHED = Conversion(colour="none")


@dataclass(frozen=True)
class _Scene:
    """The frames in which A's face was found, and what is measured of them once."""

    faces: list[TrackedFace]
    points: np.ndarray  # Tx478x2
    track: FaceTrack  # of A
    b: np.ndarray  # 128: B's mean identity
    truth: np.ndarray | None = None  # TxHxWx3 uint8
    truth_track: FaceTrack | None = None
    truth_points: Sequence[np.ndarray | None] = ()  # T, each 478x2; None where the truth shows no face

    @property
    def frames(self) -> np.ndarray:
        """TxHxWx3 uint8: A's own."""
        return np.stack([face.picture for face in self.faces])


def compare_swaps(
    video: str | os.PathLike[str],
    other: str | os.PathLike[str],
    checkpoints: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    truth: str | os.PathLike[str] | None = None,
    how: Conversion = UNMATCHED,
    frames: int = FRAMES,
    progress: Progress = True,
) -> dict[str, Any]:
    """Swap the first frames of a video by each checkpoint, measure, and write ``compare.html`` and ``.json``.

    Args:
        video: of A, whose face is replaced.
        other: a video of B.
        checkpoints: what ``fomm swap train`` wrote, side b of which is B.
        out: a folder; it is made if need be.
        truth: B in A's motion, frame by frame, see ``draw_pair``.
        how: as in ``convert_video``.
        frames: how many are compared, those without a face not counted.
        progress: whom to tell, of the checkpoints.

    Returns:
        What ``compare.json`` holds: for each row the numbers of ``METRICS``; None where there is none.

    Raises:
        InputError: there is no checkpoint or no face, or truth and video have other sizes.
        MediaError, CheckpointError: a file cannot be read.
    """
    if not checkpoints:
        raise InputError("no checkpoint was given; train some with fomm swap train")
    folder = Path(out)
    scene = _watch(video, other, truth, how, frames)
    rows: dict[str, dict[str, float | None]] = {}
    strips = {"A": scene.frames}
    if scene.truth is not None:
        rows[TRUTH] = _measure(scene, scene.truth, scene.truth_points)
        strips[TRUTH] = scene.truth
    rows[NOTHING] = _measure(scene, scene.frames)
    for path in report_progress(checkpoints, len(checkpoints), progress):
        family = load_swap(path)
        name = family.name if family.name not in rows else Path(path).stem
        made = np.stack([frame for frame, _ in swap_frames(scene.faces, family, how)])
        rows[name] = _measure(scene, made) | {
            "reconstruction": _measure_reconstruction(scene, family),
            "steps": family.card.steps,
            "seconds_per_step": _read_speed(Path(path)),
            "parameters": sum(weight.numel() for weight in family.faces.parameters()) / 1e6,
        }
        strips[name] = made
    report = {
        "video": Path(video).name,
        "other": Path(other).name,
        "frames": len(scene.faces),
        "how": {key: getattr(how, key) for key in ("side", "colour", "mask", "blend")},
        "results": {name: {key: _known(value) for key, value in row.items()} for name, row in rows.items()},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise InputError(f"cannot make the folder {folder}: {reason.strerror or reason}") from reason
    for name, text in (
        ("compare.json", json.dumps(report, indent=1, allow_nan=False) + "\n"),
        ("compare.html", _format_page(report, scene, strips)),
    ):
        with atomic_path(folder / name, InputError) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return report


def _known(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _watch(
    video: str | os.PathLike[str],
    other: str | os.PathLike[str],
    truth: str | os.PathLike[str] | None,
    how: Conversion,
    count: int,
) -> _Scene:
    """Read what is compared."""
    followed = follow_face(video, detector=how.detector)
    faces = list(islice((face for face in followed if face.points is not None), count))
    if not faces:
        raise InputError(f"{video}: no face was found in it")
    points = np.stack([face.points for face in faces if face.points is not None])
    frames = [face.picture for face in faces]
    track = _track(frames, points)
    shown = list(islice((face for face in follow_face(other, every=5) if face.points is not None), 40))
    if not shown:
        raise InputError(f"{other}: no face was found in it")
    known = _track([face.picture for face in shown], np.stack([face.points for face in shown]))  # type: ignore[misc]
    b = known.identities[known.found].mean(0)
    if truth is None:
        return _Scene(faces, points, track, b)
    last = max(face.frame for face in faces)
    wanted = {face.frame for face in faces}
    true = [face for face in islice(follow_face(truth), last + 1) if face.frame in wanted]
    if len(true) != len(frames) or true[0].picture.shape != frames[0].shape:
        raise InputError(f"{truth} has other frames than {video}; give the same clip with B in it")
    pictures = [face.picture for face in true]
    return _Scene(
        faces, points, track, b, np.stack(pictures), _track(pictures, points), [f.points for f in true]
    )


def _track(frames: Sequence[np.ndarray], points: np.ndarray) -> FaceTrack:
    """Find in each frame the face that lies where ``points``, Tx478x2, are, and measure it."""
    finder = FaceFinder(confirm=True)
    for number, frame in enumerate(frames):
        finder.add(number, frame)
    faces: list[Face | None] = []
    for (_, found), there, frame in zip(finder.results(), points, frames, strict=True):
        faces.append(face_in(found, metrics.face_box(there, frame.shape[:2], 0.0)))
    return measure_faces(frames, faces)


def _measure(
    scene: _Scene, made: np.ndarray, points: Sequence[np.ndarray | None] | None = None
) -> dict[str, float | None]:
    """Return the numbers of one row, of frames TxHxWx3 uint8; ``points`` of their faces, None: A's."""
    track = _track(list(made), scene.points)
    a = scene.track.identities[scene.track.found].mean(0)
    gaps = {name: np.abs(values - scene.track.traits[name]) for name, values in track.traits.items()}
    numbers: dict[str, float | None] = {
        "identity_to_b": mean_of_known(metrics.identity_distance(track.identities, scene.b)),
        "identity_to_a": mean_of_known(metrics.identity_distance(track.identities, a)),
        "pose": mean_of_known(np.stack([gaps[name] for name in ("yaw", "pitch", "roll")])),
        "mouth": mean_of_known(gaps["mouth"]),
        "eyes": mean_of_known(gaps["eyes"]),
        "missing": mean_of_known(metrics.mark_missing(scene.track.found, track.found)),
        "sharpness": _measure_sharpness(scene, made),
        "flicker": _measure_flicker(scene, made),
    }
    if scene.truth is None or scene.truth_track is None:
        return numbers
    distances = metrics.identity_distance(track.identities, scene.truth_track.identities)
    return (
        numbers
        | _measure_errors(scene, made, list(scene.points) if points is None else points)
        | {"identity_to_truth": mean_of_known(distances)}
    )


def _measure_errors(
    scene: _Scene, made: np.ndarray, points: Sequence[np.ndarray | None]
) -> dict[str, float | None]:
    """Return the difference of the aligned faces from the truth's, in the hull of the truth's mesh.

    Each face is aligned by its own points. A swap puts B's face where A's was, as large as A's was, for
    nothing tells it how large B is. The truth has B's own size, so that pixels of the frames do not meet.
    """
    assert scene.truth is not None
    errors, likeness, size = [], [], (ALIGNED, ALIGNED)
    for frame, here, true, there in zip(made, points, scene.truth, scene.truth_points, strict=True):
        if here is None or there is None:
            continue
        move = fit_similarity(there, ALIGNED)
        own = cut_face(true, move, ALIGNED) / np.float32(255)
        face = cut_face(frame, fit_similarity(here, ALIGNED), ALIGNED) / np.float32(255)
        hull = fill_hull(move_points(there, move), size)
        errors.append(float(np.abs(face - own)[hull].mean()))
        likeness.append(metrics.ssim(np.where(hull[..., None], face, own), own))
    return {"l1": mean_of_known(np.array(errors)), "ssim": mean_of_known(np.array(likeness))}


def _measure_sharpness(scene: _Scene, made: np.ndarray) -> float:
    """Return the sharpness of the faces over that of A's, the mean of the frames."""
    shares = []
    for face, frame, points in zip(scene.faces, made, scene.points, strict=True):
        box = metrics.face_box(points, frame.shape[:2], 0.0)
        own, new = (metrics.sharpness(box.cut(part) / 255, blur=DENOISE) for part in (face.picture, frame))
        shares.append(new / own if own else math.nan)
    return mean_of_known(np.array(shares))


def _measure_flicker(scene: _Scene, made: np.ndarray) -> float:
    """Return how much the aligned faces flicker where all of them show the face."""
    moves = [fit_similarity(points, ALIGNED) for points in scene.points]
    cuts = [cut_face(frame, move, ALIGNED) / 255 for frame, move in zip(made, moves, strict=True)]
    size = (ALIGNED, ALIGNED)
    hulls = [fill_hull(move_points(p, move), size) for p, move in zip(scene.points, moves, strict=True)]
    return metrics.flicker(cuts, np.logical_and.reduce(hulls))


def _measure_reconstruction(scene: _Scene, family: Family) -> float:
    """Return the structural similarity of A's aligned faces and what side a makes of them, in the hull."""
    size, found = family.size, []
    for face, points in zip(scene.faces, scene.points, strict=True):
        move = fit_similarity(points, size)
        own = cut_face(face.picture, move, size)[None].astype(np.float32) / 255
        made, _ = run_network(own, family, "a")
        hull = fill_hull(move_points(points, move), (size, size))[..., None]
        found.append(metrics.ssim(np.where(hull, made[0], own[0]), own[0]))
    return mean_of_known(np.array(found))


def _read_speed(checkpoint: Path) -> float | None:
    """Return the seconds a step in the last line of the log beside a checkpoint; None where there is none."""
    try:
        lines = (checkpoint.with_suffix(".run") / "log.jsonl").read_text(encoding="utf-8").splitlines()
        value = json.loads(lines[-1])["seconds_per_step"]
        return float(value)
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _format_page(report: dict[str, Any], scene: _Scene, strips: dict[str, np.ndarray]) -> str:
    """Return the page: how it was made, the table, the frames, what the numbers mean."""
    results = report["results"]
    shown = [item for item in METRICS if any(row.get(item.key) is not None for row in results.values())]
    head = "".join(f"<th>{escape(name)}</th>" for name in results)
    lines = [f"<tr><th></th>{head}</tr>"]
    for item in shown:  # a line a number, so that all families fit the width of a page
        cells = "".join(
            f"<td>{format_number(row.get(item.key), item.digits)}</td>" for row in results.values()
        )
        lines.append(f"<tr><td>{escape(item.label)} {ARROWS[item.better]}</td>{cells}</tr>")
    how = ", ".join(f"{key} {value}" for key, value in report["how"].items())
    box = metrics.face_box(scene.points.reshape(-1, 2), scene.faces[0].picture.shape[:2], 0.25)
    middle, side = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2), max(box.x1 - box.x0, box.y1 - box.y0) / 2
    square = (middle[0] - side, middle[1] - side, middle[0] + side, middle[1] + side)
    rows = []
    for name, frames in strips.items():
        cut = np.stack([cut_out(frame, square, (160, 160)) for frame in pick_frames(frames)])
        rows.append(f"<span>{escape(name)}</span>{embed_frames(cut)}")
    meanings = "".join(f"<dt>{escape(item.label)}</dt><dd>{escape(item.meaning)}</dd>" for item in shown)
    origin = (
        f"{escape(report['video'])} with the face of {escape(report['other'])}; {report['frames']} frames; "
        f"{escape(how)}. All faces here but A's and the truth's are synthetic."
    )
    return format_document(
        "Face swaps compared",
        f'<p class="dim origin">{origin}</p>'
        f'<p class="note">↓ lower is better, ↑ higher is better, →1 as in A\'s frame.</p>'
        f'<div class="wide"><table>{"".join(lines)}</table></div>'
        f'<figure><div class="wide"><div class="strip">{"".join(rows)}</div></div></figure>'
        f"<h2>What the numbers mean</h2><dl>{meanings}</dl>",
    )
