"""Clips of drawn heads, in memory and on disk."""

import math
import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fomm.atomic import atomic_path
from fomm.data.clips import sidecar_of
from fomm.data.records import PARTS, claim
from fomm.errors import InputError
from fomm.heads.motion import FPS, HeadMotion, make_motion
from fomm.heads.scene import Scene, make_scene
from fomm.workers import work_on_all

VERSION = 5  # goes up when the same arguments give other files
_PERSON, _CLIP, _NOISE, _OTHER = range(4)  # each seeds a stream of random numbers of its own
# How differently another person's head is held: standard deviations of yaw, pitch and roll, radians.
_OTHER_POSE = (0.4, 0.2, 0.14)
_OTHER_REST = 0.3  # another person's face at rest shows so much of the actions of a random moment


@dataclass(frozen=True)
class Clip:
    """T frames of one person, and what is exactly known about them.

    Pixel i covers [i, i + 1). So x runs from 0 at the left edge to S at the right one, and y from the top to
    the bottom.
    """

    frames: np.ndarray  # TxSxSx3 uint8, RGB
    landmarks: np.ndarray  # Tx68x2 float32, xy in pixels; the iBUG order, see landmarks.py
    visible: np.ndarray  # Tx68 bool: in the picture and not hidden behind something
    pose: np.ndarray  # Tx3 float32, degrees: yaw, pitch, roll, see render_clip
    keypoints: np.ndarray  # Tx16x2 float32, xy in [-1, 1] from edge to edge
    jacobians: np.ndarray  # Tx16x2x2 float32: from the canonical plane to the picture around each key point
    surface: np.ndarray  # Tx64x64x8 uint16: the piece of surface in each cell, see surface.py
    vertices: np.ndarray  # TxUx2 float16, xy in [-1, 1]: the vertices that the surface names, seen or not
    other_keypoints: np.ndarray  # as keypoints, but of another person who moves in the same way
    other_jacobians: np.ndarray  # as jacobians, of that other person


def render_clip(seed: int, person: int, clip: int, frames: int, size: int, *, step: int = 1) -> Clip:
    """Draw one clip. The arguments alone decide every pixel.

    ``seed``, ``person`` and ``clip`` (all >= 0) name the clip: a person keeps face, hair and skin over clips,
    while light, clothes, camera and motion change. Motion runs at 25 frames a second and every ``step``-th of
    its frames is drawn, ``frames`` in all, at ``size`` x ``size`` pixels.

    Pose: positive yaw turns the nose to the right of the picture (to the person's own left), positive pitch
    lowers the nose, positive roll leans the top of the head to the right of the picture. Zero looks straight
    along the camera's axis. The rotation is first roll, then pitch, then yaw.
    """
    from fomm.heads import landmarks
    from fomm.heads.bust import find_angles
    from fomm.heads.people import make_person
    from fomm.heads.render import Renderer, pose
    from fomm.heads.surface import keep_shown_vertices, map_surface

    if min(seed, person, clip) < 0 or min(frames, size, step) < 1:
        raise InputError("a clip needs seed, person and clip >= 0, and frames, size and step >= 1")
    someone = make_person(np.random.default_rng([seed, _PERSON, person]))
    scene_rng, motion_rng = np.random.default_rng([seed, _CLIP, person, clip]).spawn(2)
    scene = make_scene(scene_rng, size)
    motion = make_motion(motion_rng, (frames - 1) * step + 1)[::step]
    renderer = Renderer(size)
    parts: list[tuple[np.ndarray, ...]] = []
    for frame in range(frames):
        view = pose(someone, scene, motion, frame)
        noise = np.random.default_rng([seed, _NOISE, person, clip, frame])
        picture = renderer.draw(someone, scene, view, noise)
        points = landmarks.pick_landmarks(view.points)
        parts.append(
            (
                picture,
                points[:, :2] * size,
                landmarks.find_visible(points, renderer.inverse_depth),
                np.degrees(find_angles(view.rotation)),
                landmarks.pick_keypoints(view.points[:, :2]),
                landmarks.fit_jacobians(view.points[:, :2]),
                map_surface(someone, renderer.face_ids, renderer.barycentric),
                2 * view.points[:, :2] - 1,
            )
        )
    pictures, points, seen, turned, values, maps, surfaces, vertices = map(np.stack, zip(*parts, strict=True))
    surfaces, vertices = keep_shown_vertices(surfaces, vertices)
    points, turned, values, maps = (array.astype(np.float32) for array in (points, turned, values, maps))
    others = _render_other_points(np.random.default_rng([seed, _OTHER, person, clip]), scene, motion)
    vertices = vertices.astype(np.float16)
    return Clip(pictures, points, seen, turned, values, maps, surfaces, vertices, *others)


def _render_other_points(
    rng: np.random.Generator, scene: Scene, motion: HeadMotion
) -> tuple[np.ndarray, np.ndarray]:
    """Return key points and jacobians of another head, in front of the same camera and with the same motion.

    This head is held in another way all the time, and its face at rest is another one. So one person drives
    the picture of another, which is what relative motion is for.
    """
    from fomm.heads import landmarks
    from fomm.heads.people import make_figure
    from fomm.heads.render import pose

    figure = make_figure(rng)
    angles = motion.angles + rng.normal(0, _OTHER_POSE)
    actions = np.clip(motion.actions + _OTHER_REST * make_motion(rng, 1).actions, 0, 1)
    motion = replace(motion, angles=angles, actions=actions)
    views = [pose(figure, scene, motion, frame).points[:, :2] for frame in range(len(angles))]
    return (
        np.stack([landmarks.pick_keypoints(view) for view in views]).astype(np.float32),
        np.stack([landmarks.fit_jacobians(view) for view in views]).astype(np.float32),
    )


@dataclass(frozen=True)
class _Plan:
    """Everything that decides the files of a data set."""

    people: int
    clips: int
    frames: int
    size: int
    step: int
    format: str
    seed: int
    test_people: int

    def list_clips(self) -> Iterator[tuple[str, int, int]]:
        """Yield path without suffix, person and clip of every clip. The last people are the test people."""
        for person in range(self.people):
            part = "test" if person >= self.people - self.test_people else "train"
            for clip in range(self.clips):
                yield f"{part}/{person:06d}#{clip:03d}", person, clip


def make_dataset(
    out: str | os.PathLike[str],
    *,
    people: int = 1000,
    frames: int = 16,
    size: int = 128,
    workers: int = 1,
    format: str = "npz",
    seed: int = 0,
    test_fraction: float = 0.05,
    clips: int = 1,
    step: int = 6,
    minutes: float | None = None,
    progress: bool = True,
) -> int:
    """Draw clips of many people below the folder ``out``, and return how many clips are there.

    There are ``people`` x ``clips`` clips of ``frames`` frames of ``size`` x ``size`` pixels.
    ``out/train`` and ``out/test`` hold ``PERSON#CLIP.npz`` (array ``frames``, TxSxSx3 uint8) or
    ``PERSON#CLIP.mp4`` (25 frames a second), and beside each ``PERSON#CLIP.landmarks.npz`` with the other
    arrays of :class:`Clip`. ``test_fraction`` of the people, at least one where it is not 0, are in
    ``test`` alone. Successive frames lie ``step`` / 25 seconds apart: with 1 the clips play at natural
    speed, the default gives pairs that differ more.

    A person looks the same in any data set of the same ``seed``. Clips that exist are kept, so a run that was
    stopped goes on where it was. The set depends neither on ``workers``, the number of processes, nor on
    being stopped.

    With ``minutes``, no clip is begun after that time. The set then holds the first people, as many as there
    was time for.

    Raises:
        InputError: an argument makes no sense, or the folder was begun with other arguments.
    """
    if format not in ("npz", "mp4"):
        raise InputError(f"format is npz or mp4, not {format!r}")
    if min(people, frames, size, workers, clips, step) < 1 or seed < 0:
        raise InputError(
            "people, frames, size, workers, clips and step must be at least 1, and seed at least 0"
        )
    if not 0 <= test_fraction <= 1:
        raise InputError(f"test_fraction lies between 0 and 1, not {test_fraction}")
    test_people = max(1, round(people * test_fraction)) if test_fraction else 0
    plan = _Plan(people, clips, frames, size, step, format, seed, test_people)
    root = Path(out)
    claim(root, {"version": VERSION, "fps": FPS, **asdict(plan)}, PARTS)
    end = math.inf if minutes is None else time.time() + 60 * minutes
    missing = [
        (root / name, person, clip, plan, end)
        for name, person, clip in plan.list_clips()
        if not _is_written(root / name, format)
    ]
    done = people * clips - len(missing)
    return done + _write_clips(missing, workers, done, progress)


def draw_at_low_priority(options: dict[str, Any]) -> None:
    """Lower the priority of this process, and draw a data set in it and in processes of one thread each.

    Args:
        options: the arguments of ``make_dataset``, by name.
    """
    if hasattr(os, "nice"):  # Windows has none
        os.nice(19)
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    make_dataset(**options)


def _name_file(name: Path, format: str) -> Path:
    """Return the path of a clip from its path without suffix."""
    return name.with_name(f"{name.name}.{format}")


def _is_written(name: Path, format: str) -> bool:
    """Return whether both files of a clip are there."""
    clip = _name_file(name, format)
    return clip.exists() and sidecar_of(clip).exists()


_Job = tuple[Path, int, int, _Plan, float]


def _write_clip(job: _Job) -> bool:
    """Draw and write one clip, unless its time is over. Return whether it was written."""
    name, person, clip, plan, end = job
    if time.time() > end:
        return False
    drawn = render_clip(plan.seed, person, clip, plan.frames, plan.size, step=plan.step)
    target = _name_file(name, plan.format)
    rest = {key: value for key, value in drawn.__dict__.items() if key != "frames"}
    with atomic_path(sidecar_of(target)) as path:
        np.savez_compressed(path, **rest)
    if plan.format == "npz":
        with atomic_path(target) as path:
            # Not compressed: most of it is noise, and plain files are read faster.
            np.savez(path, frames=drawn.frames)
    else:
        from fomm.media import VideoWriter

        with VideoWriter(target, fps=FPS) as writer:  # leaves a whole file or none
            for frame in drawn.frames:
                writer.write(frame)
    return True


def _write_clips(jobs: list[_Job], workers: int, done: int, progress: bool) -> int:
    """Write the clips in processes, with a bar, and return how many were written."""
    from tqdm import tqdm

    written = 0
    bar = tqdm(total=done + len(jobs), initial=done, unit="clip", disable=None if progress else True)
    with bar, closing(work_on_all(_write_clip, jobs, workers)) as results:
        for _, was_written in results:
            written += was_written
            bar.update(was_written)
    return written
