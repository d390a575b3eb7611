"""Work side by side: what comes before the networks and what follows them, each in a thread of its own.

Queues are bounded, so memory does not grow; an error of a thread is raised where its result is awaited. An
interrupt (Ctrl-C) may strike the main thread anywhere in here: the threads end all the same.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

T = TypeVar("T")

DEPTH = 8  # items that wait at most


class _End:
    """Behind the last item; with the error that ended them, if one did."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _Line(Generic[T]):
    """A queue with a number of places.

    ``queue.Queue`` can be interrupted between a change and its notice to who waits for it, who then waits for
    ever. ``SimpleQueue`` cannot, but has no bound: here the places wait in a second one.
    """

    def __init__(self, places: int) -> None:
        self._items: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
        self._places: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(places):
            self._places.put(None)

    def put(self, item: T) -> None:
        """Waits for a place."""
        self._places.get()
        self._items.put(item)

    def get(self) -> "T | _End":
        item = self._items.get()
        self._places.put(None)
        return item

    def end(self, error: BaseException | None = None) -> None:
        """No items follow; needs no place."""
        self._items.put(_End(error))

    def let_pass(self) -> None:
        """Who waits for a place gets one."""
        self._places.put(None)


def _start(thread: threading.Thread) -> None:
    """An interrupt in the locks of Python's own ``start`` can come out as an error of theirs."""
    try:
        thread.start()
    except RuntimeError as error:
        raise error.__context__ or error from None


@contextmanager
def ahead(items: Iterable[T], depth: int = DEPTH) -> Iterator[Iterator[T]]:
    """The items, drawn in a thread that is up to ``depth`` of them ahead; it ends with the block.

    Nothing else may use ``items`` meanwhile.
    """
    line: _Line[T] = _Line(depth)
    begin: queue.SimpleQueue[None] = queue.SimpleQueue()
    stopped = False

    def draw() -> None:
        begin.get()
        try:
            if stopped:
                return
            for item in items:
                line.put(item)
                if stopped:
                    return
            line.end()
        except BaseException as error:  # it is raised by the one who waits
            line.end(error)

    def taken() -> Iterator[T]:
        while not isinstance(item := line.get(), _End):
            yield item
        if item.error is not None:
            raise item.error

    thread = threading.Thread(target=draw, daemon=True)
    _start(thread)  # it has not begun yet: an interrupt here leaves nothing to be undone
    try:
        begin.put(None)
        yield taken()
    finally:
        stopped = True
        begin.put(None)
        line.let_pass()
        thread.join()


class Behind:
    """Calls a function with one item after the other, in a thread; as a context, it ends when all are done.

    Where the block ends by an error, items that still wait are dropped.
    """

    def __init__(self, function: Callable[[Any], Any], depth: int = DEPTH) -> None:
        self.function = function
        self.line: _Line[Any] = _Line(depth)
        self.error: BaseException | None = None
        self.dropping = False
        self.thread = threading.Thread(target=self._run, daemon=True)

    def put(self, item: Any) -> None:
        """Waits while ``depth`` items do; raises what an earlier item's call raised."""
        if self.error is not None:
            raise self.error
        self.line.put(item)

    def __enter__(self) -> "Behind":
        _start(self.thread)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.dropping = error is not None
        self.line.end()
        self.thread.join()
        if error is None and self.error is not None:
            raise self.error

    def _run(self) -> None:
        while not isinstance(item := self.line.get(), _End):
            if self.error is None and not self.dropping:
                try:
                    self.function(item)
                except BaseException as error:  # raised by the next ``put``, or at the end
                    self.error = error
