"""Work in other processes: on many items, each process preparing once, or on one in the background."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, TypeVar

from fomm.errors import FommError

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")

_PATIENCE = 30.0  # seconds that a process has to clean up before it is killed


class WorkerDeath(NamedTuple):
    """The result of an item whose process died, which the system killed for want of memory in most cases."""

    reason: str


def work_in_processes(
    prepare: Callable[[], S], work: Callable[[S, T], R], items: Sequence[T], count: int
) -> Generator[tuple[T, R | WorkerDeath], None, None]:
    """Yield each item with ``work(prepare(), item)``, in the order in which they are finished.

    Everything that goes between the processes is pickled. When the iterator is closed, by an interrupt too,
    the processes end: ``finally`` blocks in them run, as they would for Ctrl-C.

    Args:
        prepare: called once in each process; ``work`` gets what it returns.
        work: called for each item. If it raises another exception than fomm's own, its process dies.
        items: what to work on.
        count: the number of processes, at most.

    Raises:
        FommError: every process died while it prepared; or any that ``prepare`` or ``work`` raises.
        RuntimeError: ``prepare`` raised another exception, which is named.
    """
    waiting = deque(items)
    workers: list[_Worker] = []
    try:
        for _ in range(min(count, len(items))):
            workers.append(_Worker(prepare, work))
        while workers:
            ready = wait([worker.pipe for worker in workers])
            for worker in [worker for worker in workers if worker.pipe in ready]:
                done, answer = worker.item, worker.answer()
                if isinstance(answer, WorkerDeath):
                    workers.remove(worker)
                    if waiting and done:
                        workers.append(_Worker(prepare, work))
                    elif waiting and not workers:  # nobody is left who could go on
                        raise FommError(f"while it prepared for its work, {answer.reason}")
                elif waiting:
                    worker.give(waiting.popleft())
                else:
                    workers.remove(worker)
                    worker.dismiss()
                if done:
                    yield done[0], answer
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.wait_for_end()


def work_on_all(
    work: Callable[[T], R], items: Sequence[T], count: int, initializer: Callable[[], object] | None = None
) -> Generator[tuple[T, R], None, None]:
    """Yield each item with ``work(item)``, in the order in which they are finished.

    Where one process is enough, it is this one; else see ``work_in_processes``.

    Args:
        work: called for each item.
        items: what to work on.
        count: the number of processes, at most.
        initializer: called once in each new process.

    Raises:
        FommError: a process died; or any that ``work`` raises.
    """
    if min(count, len(items)) < 2:
        for item in items:
            yield item, work(item)
        return
    with closing(work_in_processes(partial(_initialize, work, initializer), _call, items, count)) as results:
        for item, result in results:
            if isinstance(result, WorkerDeath):
                raise FommError(f"{result.reason}; what is finished stays: start again")
            yield item, result


@contextmanager
def work_in_background(work: Callable[[T], object], item: T) -> Iterator[Callable[[], bool]]:
    """Work on one item in another process while the block runs; that process may start others.

    The end of the block ends the work if it still goes on: ``finally`` blocks in it run.

    Yields:
        A function that returns whether the work is done. It raises FommError if the process died, and what
        the work raised, if that is one of fomm's own exceptions.
    """
    worker = _Worker(partial(_initialize, work, None), _call, daemon=False)
    worker.give(item)
    awaited = 2  # answers: that it has prepared, and the result

    def is_done() -> bool:
        nonlocal awaited
        while awaited and worker.pipe.poll():
            awaited -= 1
            try:
                answer = worker.answer()
            except Exception:
                awaited = 0
                raise
            if isinstance(answer, WorkerDeath):
                awaited = 0
                raise FommError(answer.reason)
        return not awaited

    try:
        yield is_done
    finally:
        worker.process.terminate()
        worker.wait_for_end()


def _initialize(work: Callable[[T], R], initializer: Callable[[], object] | None) -> Callable[[T], R]:
    """Return ``work`` once ``initializer`` has been called: the preparation of a process."""
    if initializer is not None:
        initializer()
    return work


def _call(work: Callable[[T], R], item: T) -> R:
    return work(item)


class _Worker:
    """A process and the item that it works on.

    A daemon cannot start processes of its own.

    ``item`` is a list of one item, or of none while the process prepares: an item may itself be None.
    """

    def __init__(
        self, prepare: Callable[[], Any], work: Callable[[Any, Any], Any], *, daemon: bool = True
    ) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, prepare, work), daemon=daemon)
        self.item: list[Any] = []
        with _block_interrupts():
            self.process.start()
        theirs.close()

    def give(self, item: Any) -> None:
        """Send the next item to the process."""
        self.item = [item]
        with suppress(OSError):  # the process has died: ``answer`` will say so
            self.pipe.send(item)

    def answer(self) -> Any:
        """Return what the process sent: None when it has prepared, else a result. Raise what it raised."""
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode or 0
            how = f"signal {-code}" if code < 0 else f"exit status {code}"
            return WorkerDeath(
                f"the worker process died ({how}), perhaps for want of memory; use fewer --workers"
            )
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wait_for_end(self) -> None:
        """Wait for the process, which was told to end, and kill it if it takes long."""
        self.process.join(_PATIENCE)
        self.process.kill()

    def dismiss(self) -> None:
        """Let the process end and wait for it."""
        self.pipe.close()
        self.process.join()


def _serve(pipe: Connection, prepare: Callable[[], Any], work: Callable[[Any, Any], Any]) -> None:
    """Prepare, then answer each item with its result until the pipe is closed: the loop of a process."""
    _unwind_on_signals()
    try:
        state = prepare()
    except FommError as error:
        pipe.send(error)
        return
    except Exception as error:  # it may be of a class that cannot be pickled
        pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))
        return
    answer: Any = None
    while True:
        try:
            pipe.send(answer)
            item = pipe.recv()
        except (EOFError, OSError):  # dismissed
            return
        try:
            answer = work(state, item)
        except FommError as error:
            answer = error


def _unwind_on_signals() -> None:
    """Make a signal, or the end of the parent, raise SystemExit here, so that ``finally`` blocks run.

    Only the first signal does so; a second one would interrupt these blocks. Ctrl-C at the terminal is
    ignored here: the parent gets it too, and ends its processes.
    """
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]

    def end(number: int, _: object) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in numbers:
        signal.signal(number, end)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the end of the parent process, then send a signal to this one."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _block_interrupts() -> Iterator[None]:
    """Keep Ctrl-C from processes that the block starts, even before their first line has run."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
