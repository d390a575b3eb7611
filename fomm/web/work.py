"""A job beside the page: it runs in a thread, says how far it is, can be cancelled, and has a time limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple, TypeVar

from fomm.errors import FommError
from fomm.media.ffmpeg import stop_all

T = TypeVar("T")

TICK = 0.25  # seconds between two looks at a job


class Stopped(FommError):
    """A job that was cancelled, or that took too long."""


class HowFar(NamedTuple):
    """How far a job is."""

    made: int  # frames; 0 while a face is looked for
    total: int | None
    seconds: float  # since the start
    left: float | None  # seconds until the end, as far as can be told

    def __str__(self) -> str:
        if not self.made:
            return f"looking at photo and driver · {self.seconds:.0f} s"
        share = f"{self.made} of {self.total} frames" if self.total else f"{self.made} frames"
        return share if self.left is None else f"{share} · about {_as_time(self.left)} left"


def _as_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


class Work(Generic[T]):
    """One job: ``function`` runs in a thread, and tells how far it is by the function that it gets.

    Args:
        function: gets what ``animate_file`` calls ``progress``; it is stopped by an exception from there.
        seconds: that it may take.
    """

    def __init__(self, function: Callable[[Callable[[int, int | None], None]], T], seconds: float) -> None:
        self._function, self._seconds = function, seconds
        self._made = 0
        self._total: int | None = None
        self._begun = self._first = time.monotonic()
        self._why: str | None = None  # it was stopped
        self._result: T | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def stop(self, why: str = "cancelled") -> None:
        """Stop it soon: at its next word about how far it is. What ffmpeg does for it ends at once."""
        if self._thread.is_alive():
            self._why = self._why or why
            stop_all()

    def watch(self) -> Iterator[HowFar]:
        """Start it, and yield how far it is until it ends. Left early, it is stopped, and waited for."""
        self._begun = time.monotonic()
        self._thread.start()
        try:
            while self._thread.is_alive():
                yield self._how_far()
                self._thread.join(TICK)
                if time.monotonic() - self._begun > self._seconds:
                    self.stop(f"it took longer than {self._seconds:g} seconds")
                elif self._why is not None:
                    self.stop()  # what ffmpeg has begun since
        finally:
            while self._thread.is_alive():
                self.stop()
                self._thread.join(TICK)

    def result(self) -> T:
        """Return what the function has returned, or raise what it has raised, or ``Stopped``."""
        if self._error is None:
            assert self._result is not None
            return self._result
        if self._why is not None:
            raise Stopped(self._why) from self._error
        raise self._error

    def _how_far(self) -> HowFar:
        now, made, total = time.monotonic(), self._made, self._total
        left: float | None = None
        if total and made > 1:
            left = max(total - made, 0) * (now - self._first) / (made - 1)
        return HowFar(made, total, now - self._begun, left)

    def _tell(self, made: int, total: int | None) -> None:
        if self._why is not None:
            raise Stopped(self._why)
        if made == 1:
            self._first = time.monotonic()
        self._made, self._total = made, total

    def _run(self) -> None:
        try:
            self._result = self._function(self._tell)
        except BaseException as error:  # raised by ``result``
            self._error = error
