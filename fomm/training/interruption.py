"""Being asked to stop: a signal is noted, the step is finished, the run is saved, and only then it ends."""

import signal
import threading
from types import FrameType, TracebackType


class StopSignals:
    """Notes SIGTERM and SIGINT while the block lasts, instead of dying of them.

    A second SIGINT interrupts at once, as Ctrl-C does. Outside of the main thread, where Python allows no
    handlers, nothing is noted.

    Attributes:
        received: the signal that came, or None.
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
        """Ends as the signal would have: KeyboardInterrupt, or SystemExit with 128 + its number."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is not None:
            raise SystemExit(128 + self.received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received == signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
