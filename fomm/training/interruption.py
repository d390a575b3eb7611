"""Signals that ask a training to stop: it finishes its step and saves the run before it ends."""

import signal
import threading
from types import FrameType, TracebackType


class StopSignals:
    """A block in which SIGTERM and SIGINT do not end the process, but are noted.

    A second SIGINT raises KeyboardInterrupt at once. Python allows no handlers outside of the main thread:
    there nothing is noted.

    Attributes:
        received: the signal that came last, or None.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    def __enter__(self) -> "StopSignals":
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def raise_again(self) -> None:
        """End the process as the noted signal would have; without one, return.

        Raises:
            KeyboardInterrupt: the signal was SIGINT.
            SystemExit: it was another; the status is 128 + its number.
        """
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is not None:
            raise SystemExit(128 + self.received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received == signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
