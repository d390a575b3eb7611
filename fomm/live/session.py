"""A photo that moves while the camera looks. The newest frame wins; frames that come meanwhile are dropped.

``Live`` moves the photo, frame by frame; ``run`` takes frames to it and its results to screens.
"""

import os
import signal
import threading
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from math import prod
from time import monotonic
from typing import NamedTuple

import numpy as np

from fomm.animation.frames import check_picture, take_picture, to_uint8
from fomm.animation.options import Compute, Framing, Motion
from fomm.animation.photo import MovedPhoto
from fomm.animation.threads import share_threads
from fomm.errors import InputError, MediaError
from fomm.live.camera import Newest, Seen
from fomm.live.drivers import Driver, KeypointDriver, MeshDriver
from fomm.live.fitting import fit_to_rate
from fomm.live.screens import Screen, Status
from fomm.live.smoothing import Easing
from fomm.model import Detector, Generator

PATIENCE = 0.05  # seconds to wait for a frame before the user's wishes are looked at
RECENT = 2.0  # seconds that the shown rate is of


class Live:
    """A photo, moved by one frame after the other as they come.

    The driver's face moves it by its mesh, where ``MovedPhoto.is_watching``: the largest face drives, and is
    followed wherever it goes. Else the networks' key points do, of one square that stays where a face was
    found first, until ``reset``. While no face is seen, the photo holds still, and then rests. For one
    thread.

    Args:
        generator, kp_detector: as ``load_checkpoints`` gives them.
        framing, motion, compute: see ``animate_file``. Frames come one by one: ``best_frame`` and
            ``batch_size`` mean nothing here, and there is no ``side_by_side``.
        rate: frames a second to keep up with. Where ``framing`` gives no ``size``, each photo is shrunk to
            what does, by a measurement when it is set, and a warning tells its size. None shrinks nothing.

    Raises:
        InputError: ``side_by_side`` was asked for, or ``rate`` is not above 0.
    """

    def __init__(
        self,
        generator: Generator,
        kp_detector: Detector,
        *,
        framing: Framing = Framing(),
        motion: Motion = Motion(),
        compute: Compute = Compute(),
        rate: float | None = None,
    ) -> None:
        if rate is not None and not rate > 0:
            raise InputError(f"rate is {rate}; expected frames a second, or None")
        if framing.side_by_side:
            raise InputError("a live photo is shown alone; leave side_by_side out")
        self._networks = (generator, kp_detector)
        self._framing, self._motion, self._compute = framing, motion, replace(compute, batch_size=1)
        self._rate = rate
        self._photo: MovedPhoto | None = None
        self.reset()

    @property
    def at_a_time(self) -> int:
        """How many frames ``run`` has worked on at a time: 2 where PyTorch's threads can be shared out."""
        return 2 if self._photo is not None and self._photo.animators[0].painter.shares_threads else 1

    @property
    def waiting(self) -> bool:
        """Whether no face drives: none has been seen since the last ``reset``, or not for half a second."""
        return self._easing.resting

    def set_source(self, photo: str | os.PathLike[str] | np.ndarray) -> None:
        """Take another photo: a file, or HxWx3, uint8 or floats in [0, 1]. Who drives goes on as before.

        Raises:
            MediaError, InputError, MissingExtraError: it or an option cannot be used; the last photo stays.
        """
        name, picture = take_picture(photo, "the photo")
        moved = MovedPhoto(
            picture, name, *self._networks, framing=self._framing, motion=self._motion, compute=self._compute
        )
        if self._framing.size is None:
            if self._rate is not None:
                fit_to_rate(moved, name, self._rate)
        elif moved.pastes and prod(moved.size) < prod(moved.picture.shape[:2]):
            moved.scale_to(moved.size)
        self._photo = moved
        self._easing.forget()

    def reset(self) -> None:
        """Look for the face anew; the next frame that has one is where relative motion starts."""
        part = self._framing.part_of_video
        self._mesh, self._keypoints = MeshDriver(part), KeypointDriver(part)
        self._easing = Easing()

    def step(self, frame: np.ndarray, time: float | None = None) -> np.ndarray:
        """Return the photo, moved by ``frame``.

        Args:
            frame: HxWx3, uint8 or floats in [0, 1].
            time: when the camera saw it, in seconds from any moment; None: just now.

        Returns:
            HxWx3 uint8: the whole photo with ``paste_back``, else the network's picture, at its size or that
            of ``framing``. It carries no mark; ``fomm.marks.Marker`` adds one.

        Raises:
            InputError: the frame cannot be used, or there is no photo yet.
        """
        return self.prepare(frame, time)()

    def prepare(self, frame: np.ndarray, time: float | None = None) -> Callable[[], np.ndarray]:
        """Measure how ``frame`` moves the photo, and return what makes the picture that ``step`` returns.

        That function may be called in another thread, while the next frame is prepared in this one.
        """
        photo = self._photo
        if photo is None:
            raise InputError("there is no photo to move; call set_source first")
        frame, time = (
            to_uint8(check_picture(frame, "the driving frame")),
            monotonic() if time is None else time,
        )
        driver: Driver = self._mesh if photo.is_watching else self._keypoints
        rest = [animator.keypoints for animator in photo.animators]
        points = self._easing(driver.move(photo, frame, time), rest, time)
        return photo.at_rest if points is rest else partial(photo.show, points)


class SessionSummary(NamedTuple):
    """What a session showed, and how late."""

    shown: int  # frames
    dropped: int
    rate: float  # frames shown in a second, on average
    median: float  # latency in seconds
    slow: float  # its 95th percentile
    error: MediaError | None = None  # what ended the frames, where some had been shown

    def __str__(self) -> str:
        return (
            f"{self.shown} frames shown, {self.dropped} dropped, {self.rate:.1f} a second; "
            f"latency {self.median * 1000:.0f} ms (median), {self.slow * 1000:.0f} ms (95th percentile)"
        )


class _Meter:
    """Counts what is shown, and how late."""

    def __init__(self) -> None:
        self.latencies = array("f")  # of a day: 10 MB
        self.recent: deque[float] = deque()
        self.first = self.last = 0.0

    def add(self, came: float, now: float) -> None:
        self.first = self.first if self.latencies else now
        self.last = now
        self.latencies.append(now - came)
        self.recent.append(now)
        while self.recent[0] < now - RECENT:
            self.recent.popleft()

    def status(self, dropped: int, waiting: bool) -> Status:
        span = self.recent[-1] - self.recent[0] if self.recent else 0.0
        rate = (len(self.recent) - 1) / span if span else 0.0
        latency = self.latencies[-1] if self.latencies else 0.0
        return Status(len(self.latencies), dropped, rate, latency, waiting)

    def summary(self, dropped: int) -> SessionSummary:
        count, span = len(self.latencies), self.last - self.first
        median, slow = np.percentile(self.latencies, (50, 95)).tolist() if count else (0.0, 0.0)
        return SessionSummary(count, dropped, (count - 1) / span if span else 0.0, median, slow)


class _Made(NamedTuple):
    """What was made of a frame."""

    seen: Seen
    picture: np.ndarray  # HxWx3 uint8
    waiting: bool  # see ``Live``, when the frame was looked at


def run(
    live: Live,
    frames: Newest,
    screens: Sequence[Screen],
    *,
    name: str = "the source",
    clock: Callable[[], float] = monotonic,
) -> SessionSummary:
    """Show the newest frame's result on all screens until frames end, a screen says so, or Ctrl-C comes.

    Other threads work on ``Live.at_a_time`` frames at a time; screens are called in this one.

    Args:
        frames: inside of its ``with`` block, and of the same ``clock``.
        name: of the source, for errors.

    Raises:
        MediaError: ffmpeg died before a frame was shown, with its reason; later, the summary has it.
        InputError: the frames ended, and none had a face.
    """
    meter, error, met, at_a_time = _Meter(), None, False, live.at_a_time
    turn = threading.Lock()  # frames are prepared one after the other

    def work() -> _Made | None:
        with turn:
            seen = frames.take(PATIENCE)
            if seen is None:
                return None
            make, waiting = live.prepare(seen.frame, seen.time), live.waiting
        return _Made(seen, make(), waiting)

    working: deque[Future[_Made | None]] = deque()
    with _ctrl_c() as interrupted, share_threads(at_a_time) as pool:
        while working or not frames.over:
            wishes = [screen.wish() for screen in screens]
            if interrupted() or "quit" in wishes:
                return meter.summary(frames.dropped)
            if "reset" in wishes:
                with turn:
                    live.reset()
            if len(working) < at_a_time and not frames.over:
                working.append(pool.submit(work))
            if not wait(list(working)[:1], PATIENCE).done:
                continue
            try:
                made = working.popleft().result()
            except MediaError as reason:
                if not meter.latencies:
                    raise
                error = reason
                break
            if made is None:
                continue
            met = met or not made.waiting
            status = meter.status(frames.dropped, made.waiting)
            for screen in screens:
                screen.show(made.picture, status)
            meter.add(made.seen.time, clock())
    if not met and error is None:
        raise InputError(
            f"{name}: no face was found; give the part by --crop-driving x,y,w,h, or take it as it is by "
            "--driver keypoints --crop-driving none"
        )
    return meter.summary(frames.dropped)._replace(error=error)


@contextmanager
def _ctrl_c() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C end the session after the current frame; a second one interrupts at once."""
    asked = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield asked.is_set
        return

    def ask(*_: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)
