"""Two drawn people, and the truth of their swap: one person drawn in the other's motion and surroundings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fomm.animation.progress import Progress, report_progress
from fomm.errors import InputError
from fomm.heads.motion import FPS, HeadMotion, make_motion
from fomm.heads.scene import Scene, make_scene

CLIPS = ("a", "b", "truth")
_PEOPLE, _SCENE, _MOTIONS, _NOISE = range(4)  # each seeds a stream of random numbers of its own


class Pair(NamedTuple):
    """Frames of two drawn people, TxSxSx3 uint8 each."""

    a: np.ndarray  # person A in motion 1
    b: np.ndarray  # person B in motion 2, to train on
    truth: np.ndarray  # person B in motion 1: what a swap of ``a`` should look like


def render_pair(*, seed: int = 0, frames: int = 250, size: int = 256) -> Pair:
    """Draw two people. The arguments alone decide every pixel.

    Light, background, clothes, camera and the noise of its sensor are the same in all three clips. So ``a``
    and ``truth`` differ in who it is, and in nothing else; their hair, ears and neck differ too. The eyes of
    both are at the same height.

    Args:
        seed: another one, other people, 0 or more.
        frames: T, 25 a second, 1 or more.
        size: S, pixels.

    Raises:
        InputError: an argument is not in its range.
    """
    return Pair(*(np.stack(list(draw_clip(name, seed=seed, frames=frames, size=size))) for name in CLIPS))


def draw_clip(name: str, *, seed: int, frames: int, size: int) -> Iterator[np.ndarray]:
    """Yield the frames of one clip of a pair, SxSx3 uint8; ``name`` is one of ``CLIPS``."""
    from fomm.heads.people import make_person
    from fomm.heads.render import Renderer, pose

    if name not in CLIPS:
        raise InputError(f"the clips of a pair are {', '.join(CLIPS)}, not {name!r}")
    if seed < 0 or min(frames, size) < 1:
        raise InputError("a pair needs a seed of 0 or more, and frames and size of 1 or more")
    someone = make_person(np.random.default_rng([seed, _PEOPLE, int(name != "a")]))
    scene: Scene = make_scene(np.random.default_rng([seed, _SCENE]), size)
    moving = int(name == "b")
    motion: HeadMotion = make_motion(np.random.default_rng([seed, _MOTIONS, moving]), frames)
    renderer = Renderer(size)
    for frame in range(frames):
        noise = np.random.default_rng([seed, _NOISE, moving, frame])
        yield renderer.draw(someone, scene, pose(someone, scene, motion, frame), noise)


def draw_pair(
    folder: str | os.PathLike[str],
    *,
    seed: int = 0,
    frames: int = 250,
    size: int = 256,
    progress: Progress = True,
) -> list[Path]:
    """Draw ``a.mp4``, ``b.mp4`` and ``truth.mp4`` into a folder, and return their paths; see ``render_pair``.

    They are near lossless (H.264 at crf 10), so that a comparison measures the swap and not the codec.
    The folder is made if need be; files of those names are replaced.

    Raises:
        InputError: an argument is not in its range, or the folder cannot be made.
        MediaError: a file cannot be written.
    """
    from fomm.media import VideoWriter

    root = Path(folder)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise InputError(f"cannot make the folder {root}: {reason.strerror or reason}") from reason
    paths = [root / f"{name}.mp4" for name in CLIPS]

    def draw() -> Iterator[None]:
        for name, path in zip(CLIPS, paths, strict=True):
            with VideoWriter(path, fps=FPS, for_training=True) as writer:
                for frame in draw_clip(name, seed=seed, frames=frames, size=size):
                    writer.write(frame)
                    yield

    for _ in report_progress(draw(), len(CLIPS) * frames, progress):
        pass
    return paths
