"""The same work on many items, in processes that each prepare for it once and outlive what fails."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, TypeVar

from fomm.errors import FommError

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")

_PATIENCE = 30.0  # seconds that a process has to tidy up in


class Died(NamedTuple):
    """Instead of a result, where the process that worked on an item ended, by the system's hand mostly."""

    reason: str


def work_in_processes(
    prepare: Callable[[], S], work: Callable[[S, T], R], items: Sequence[T], count: int
) -> Generator[tuple[T, R | Died], None, None]:
    """Each item with ``work(prepare(), item)``, as they are finished.

    ``prepare`` is called once in each process, and what it raises is raised here. So are fomm's own errors
    that ``work`` raises; another ends its process. All that goes between the processes is pickled. They end
    with the iterator, by an interrupt too: each unwinds what it is at, as it would by Ctrl-C.

    Args:
        count: of processes, at most.
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
                if isinstance(answer, Died):
                    workers.remove(worker)
                    if waiting and done:
                        workers.append(_Worker(prepare, work))
                    elif waiting and not workers:  # with others left, those go on
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
            worker.process.join(_PATIENCE)
            worker.process.kill()


def work_on_all(
    work: Callable[[T], R], items: Sequence[T], count: int, begin: Callable[[], object] | None = None
) -> Generator[tuple[T, R], None, None]:
    """Each item with ``work(item)``, as they are finished: in this process where one is enough for them.

    As ``work_in_processes`` does it, but a process that dies ends the run, with a ``FommError``.

    Args:
        count: of processes, at most.
        begin: called once in each, unless it is this one.
    """
    if min(count, len(items)) < 2:
        for item in items:
            yield item, work(item)
        return
    with closing(work_in_processes(partial(_begin_with, work, begin), _call, items, count)) as results:
        for item, result in results:
            if isinstance(result, Died):
                raise FommError(f"{result.reason}; what is finished stays: start again")
            yield item, result


def _begin_with(work: Callable[[T], R], begin: Callable[[], object] | None) -> Callable[[T], R]:
    if begin is not None:
        begin()
    return work


def _call(work: Callable[[T], R], item: T) -> R:
    return work(item)


class _Worker:
    """A process, and what it works on: a list of one item, or of none while it prepares."""

    def __init__(self, prepare: Callable[[], Any], work: Callable[[Any, Any], Any]) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, prepare, work), daemon=True)
        self.item: list[Any] = []
        with _interrupts_kept_from_children():
            self.process.start()
        theirs.close()

    def give(self, item: Any) -> None:
        self.item = [item]
        try:
            self.pipe.send(item)
        except OSError:  # it has died: its answer tells
            pass

    def answer(self) -> Any:
        """What it sent: None when it is prepared, else the result. Raises what was raised there."""
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode or 0
            how = f"signal {-code}" if code < 0 else f"exit status {code}"
            return Died(f"the worker process died ({how}), perhaps for want of memory; use fewer --workers")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def dismiss(self) -> None:
        self.pipe.close()
        self.process.join()


def _serve(pipe: Connection, prepare: Callable[[], Any], work: Callable[[Any, Any], Any]) -> None:
    _end_tidily()
    try:
        state = prepare()
    except FommError as error:
        pipe.send(error)
        return
    except Exception as error:  # not every other class can be pickled
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


def _end_tidily() -> None:
    """A signal, or the end of the parent, unwinds what this process is at; once, to cut no unwinding short.

    Ctrl-C at the terminal goes to the parent alone, which then ends its processes.
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
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _interrupts_kept_from_children() -> Iterator[None]:
    """A process that is started here does not see Ctrl-C, not even before its first line has run."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
