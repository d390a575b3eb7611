"""Work side by side: what comes before the networks and what follows them, each in a thread of its own.

Queues are bounded, so memory does not grow; an error of a thread is raised where its result is awaited.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

DEPTH = 8  # items that wait at most


class _End:
    """Behind the last item; with the error that ended them, if one did."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


@contextmanager
def ahead(items: Iterable[T], depth: int = DEPTH) -> Iterator[Iterator[T]]:
    """The items, drawn in a thread that is up to ``depth`` of them ahead; it ends with the block.

    Nothing else may use ``items`` meanwhile.
    """
    waiting: queue.Queue[T | _End] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: T | _End) -> None:
        while not stopped.is_set():
            try:
                return waiting.put(item, timeout=0.1)
            except queue.Full:
                continue

    def draw() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
            put(_End())
        except BaseException as error:  # it is raised by the one who waits
            put(_End(error))

    def taken() -> Iterator[T]:
        while not isinstance(item := waiting.get(), _End):
            yield item
        if item.error is not None:
            raise item.error

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        stopped.set()
        thread.join()


class Behind:
    """Calls a function with one item after the other, in a thread; as a context, it ends when all are done.

    Where the block ends by an error, items that still wait are dropped.
    """

    def __init__(self, function: Callable[[Any], Any], depth: int = DEPTH) -> None:
        self.function = function
        self.waiting: queue.Queue[Any] = queue.Queue(depth)
        self.error: BaseException | None = None
        self.dropping = False
        self.thread = threading.Thread(target=self._run, daemon=True)

    def put(self, item: Any) -> None:
        """Waits while ``depth`` items do; raises what an earlier item's call raised."""
        if self.error is not None:
            raise self.error
        self.waiting.put(item)

    def __enter__(self) -> "Behind":
        self.thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.dropping = error is not None
        self.waiting.put(_End())
        self.thread.join()
        if error is None and self.error is not None:
            raise self.error

    def _run(self) -> None:
        while not isinstance(item := self.waiting.get(), _End):
            if self.error is None and not self.dropping:
                try:
                    self.function(item)
                except BaseException as error:  # raised by the next ``put``, or at the end
                    self.error = error
