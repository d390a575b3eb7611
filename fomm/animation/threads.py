"""Threads beside each other: one draws the driving frames ahead, some paint, one writes what they have made.

Queues are bounded, so memory does not grow. An error of a thread is raised where its result is awaited.
Ctrl-C may interrupt the main thread anywhere in here: the threads end all the same.
"""

import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")

DEPTH = 8  # items that wait in a queue at most


class _End:
    """Follows the last item in a queue; holds the error that ended the items, if one did."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _BoundedQueue(Generic[T]):
    """A queue that holds at most a number of items, and that Ctrl-C cannot break.

    ``queue.Queue`` has a bound, but Ctrl-C between its change and its notice to a waiting thread leaves that
    thread waiting for ever. ``queue.SimpleQueue`` is safe, but has no bound. So two of them work together:
    one holds the items, the other a token for each free place.
    """

    def __init__(self, places: int) -> None:
        self._items: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
        self._tokens: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(places):
            self._tokens.put(None)

    def put(self, item: T) -> None:
        """Append an item, once there is a free place."""
        self._tokens.get()
        self._items.put(item)

    def get(self) -> "T | _End":
        """Remove the first item and return it, once there is one."""
        item = self._items.get()
        self._tokens.put(None)
        return item

    def end(self, error: BaseException | None = None) -> None:
        """Say that no items follow; this needs no free place."""
        self._items.put(_End(error))

    def add_place(self) -> None:
        """Let one ``put`` that waits go on."""
        self._tokens.put(None)


def _start(thread: threading.Thread) -> None:
    """Start a thread; raise Ctrl-C as itself where the locks of Python's ``start`` turn it into an error."""
    try:
        thread.start()
    except RuntimeError as error:
        raise error.__context__ or error from None


@contextmanager
def prefetch(items: Iterable[T], depth: int = DEPTH) -> Iterator[Iterator[T]]:
    """Draw the items in a thread, up to ``depth`` of them ahead of whoever takes them.

    The thread ends with the block. Nothing else may use ``items`` until then.
    """
    drawn: _BoundedQueue[T] = _BoundedQueue(depth)
    begin: queue.SimpleQueue[None] = queue.SimpleQueue()
    stopped = False

    def draw() -> None:
        begin.get()
        try:
            if stopped:
                return
            for item in items:
                drawn.put(item)
                if stopped:
                    return
            drawn.end()
        except BaseException as error:  # raised by whoever takes the items
            drawn.end(error)

    def take() -> Iterator[T]:
        while not isinstance(item := drawn.get(), _End):
            yield item
        if item.error is not None:
            raise item.error

    thread = threading.Thread(target=draw, daemon=True)
    _start(thread)  # it waits for ``begin``: Ctrl-C here leaves nothing to be undone
    try:
        begin.put(None)
        yield take()
    finally:
        stopped = True
        begin.put(None)
        drawn.add_place()
        thread.join()


@contextmanager
def leave_a_core() -> Iterator[None]:
    """Let PyTorch use one thread less in the block, where it makes many small operations.

    Its threads wait for each other after each of them, and actively. Where ffmpeg or another program has one
    of their cores, that can cost more time than the work itself.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(max(threads - 1, 1))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _limit_threads(count: int) -> None:
    """Let PyTorch use ``count`` threads where this thread computes.

    A thread that computes for the first time takes over the number that was last set in any thread. To ask
    for it counts as that first time, and what is set after it stays.
    """
    torch.get_num_threads()
    torch.set_num_threads(count)


@contextmanager
def share_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Give a pool of ``count`` threads, among which PyTorch's threads are shared out."""
    available = torch.get_num_threads()
    share = max(available // count, 1)
    try:
        with ThreadPoolExecutor(count, initializer=_limit_threads, initargs=(share,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(available)  # of threads that start from now on


def map_in_threads(function: Callable[[T], R], items: Iterator[T], threads: int = 2) -> Iterator[R]:
    """Yield the function's results for the items, in order, while other threads compute the next ones.

    The items are drawn by whoever takes the results. PyTorch's threads are shared out among all, and a single
    item gets all of them.
    """
    first = list(itertools.islice(items, threads))
    if len(first) < 2:
        yield from map(function, first)
        return
    available = torch.get_num_threads()

    def draw() -> list[T]:
        torch.set_num_threads(max(available // threads, 1))
        try:
            return list(itertools.islice(items, 1))
        finally:
            torch.set_num_threads(available)

    waiting: deque[Future[R]] = deque()
    with share_threads(threads) as pool:
        try:
            waiting.extend(pool.submit(function, item) for item in first)
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in draw())
                yield result
        finally:
            for future in waiting:
                future.cancel()


class BackgroundWorker(Generic[T]):
    """Calls a function with one item after the other, in a thread, which has half of PyTorch's threads.

    As a context it ends when all items are done. Where the block ends by an error, waiting items are dropped.
    """

    def __init__(self, function: Callable[[T], object], depth: int = DEPTH) -> None:
        self._function = function
        self._waiting: _BoundedQueue[T] = _BoundedQueue(depth)
        self._error: BaseException | None = None
        self._dropping = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def put(self, item: T) -> None:
        """Append an item, once fewer than ``depth`` wait; raise what an earlier item's call raised."""
        if self._error is not None:
            raise self._error
        self._waiting.put(item)

    def __enter__(self) -> "BackgroundWorker[T]":
        self._share = max(torch.get_num_threads() // 2, 1)
        _start(self._thread)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._dropping = error is not None
        self._waiting.end()
        self._thread.join()
        torch.set_num_threads(torch.get_num_threads())  # of threads that start from now on
        if error is None and self._error is not None:
            raise self._error

    def _run(self) -> None:
        _limit_threads(self._share)
        while not isinstance(item := self._waiting.get(), _End):
            if self._error is None and not self._dropping:
                try:
                    self._function(item)
                except BaseException as error:  # raised by the next ``put``, or at the end
                    self._error = error
