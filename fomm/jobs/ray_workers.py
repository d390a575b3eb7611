"""Work on a Ray cluster: actors prepare once and take one item after the other. Needs the extra ``ray``."""

import logging
import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from fomm.errors import FommError, InputError, MissingExtraError
from fomm.workers import WorkerDeath

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")

TRIES = 2  # of an item: its worker may be lost once, with its machine
PATIENCE = 600.0  # seconds in which the first worker, or the next after all were lost, has to be ready


class _Task(NamedTuple):
    """What an actor is asked for, whose answer is awaited."""

    actor: Any
    item: list[Any]  # one, or none while the actor prepares


def work_on_ray(
    prepare: Callable[[], S],
    work: Callable[[S, T], R],
    items: Sequence[T],
    count: int | None = None,
    device: str | None = None,
) -> Generator[tuple[T, R | WorkerDeath], None, None]:
    """Yield each item with ``work(prepare(), item)``, in the order in which they are finished.

    It is for Ray what ``fomm.workers.work_in_processes`` is for one machine. An item whose worker is lost is
    given to another, once. The cluster is the one of RAY_ADDRESS, or the one that runs on this machine; where
    there is none, one of this machine alone is started. fomm has to be installed on each of its machines.

    Args:
        prepare: called once in each worker; ``work`` gets what it returns.
        work: called for each item.
        items: what to work on.
        count: the number of workers, at most; None is one for each GPU, or CPU where there is no GPU.
        device: ``"cpu"`` leaves GPUs alone; else each worker has one for itself, if the cluster has any.

    Raises:
        MissingExtraError: Ray is not installed.
        InputError: ``device`` is a GPU and the cluster has none.
        FommError: every worker was lost while it prepared, or none was ready in ten minutes; or any that
            ``prepare`` or ``work`` raises.
        RuntimeError: they raised another exception, which is named.
    """
    ray = _connect()
    resources = ray.cluster_resources()
    gpus = 0 if device == "cpu" else int(resources.get("GPU", 0))
    if not gpus and device is not None and device != "cpu":
        raise InputError(f"the device is {device}, and the Ray cluster has no GPU; take the device cpu")
    count = min(count or gpus or max(1, int(resources.get("CPU", 1))), len(items))
    kind = ray.remote(num_cpus=1, num_gpus=min(gpus, 1), max_restarts=0)(_Worker)
    waiting, tries, tasks = deque(enumerate(items)), [0] * len(items), {}

    def start() -> None:
        actor = kind.remote(prepare, work, os.getcwd())
        tasks[actor.prepare.remote()] = _Task(actor, [])

    try:
        for _ in range(count):
            start()
        while waiting or any(task.item for task in tasks.values()):
            busy = any(task.item for task in tasks.values())
            ready, _ = ray.wait(list(tasks), timeout=None if busy else PATIENCE)
            if not ready:
                raise FommError(
                    f"no worker of the Ray cluster was ready in {PATIENCE:.0f} seconds; each needs one CPU"
                    f"{' and one GPU' if gpus else ''}, and the cluster has {ray.available_resources()} free"
                )
            actor, item = tasks.pop(ready[0])
            try:
                answer = ray.get(ready[0])
            except ray.exceptions.RayActorError:
                if not item and not tasks:
                    raise FommError(
                        "every worker of the Ray cluster was lost while it prepared for its work, "
                        "perhaps for want of memory"
                    ) from None
                if item:
                    start()
                    number = item[0]
                    tries[number] += 1
                    if tries[number] < TRIES:
                        waiting.appendleft((number, items[number]))
                    else:
                        yield items[number], WorkerDeath(f"its worker was lost {TRIES} times")
                continue
            except ray.exceptions.RayTaskError as error:  # any but fomm's own
                raise RuntimeError(f"{type(error.cause).__name__}: {error.cause}") from error
            if isinstance(answer, Exception):
                raise answer
            if waiting:
                number, next_item = waiting.popleft()
                tasks[actor.work.remote(next_item)] = _Task(actor, [number])
            if item:
                yield items[item[0]], answer
    finally:
        for task in tasks.values():
            ray.kill(task.actor)


def _connect() -> Any:
    """Return the module ``ray``, connected to its cluster."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that is started here tells nobody
    try:
        import ray
    except ImportError as reason:
        raise MissingExtraError("working on a Ray cluster needs the package ray: pip install ray") from reason
    if not ray.is_initialized():
        with suppress(RuntimeError):  # initialized meanwhile
            ray.init(logging_level=logging.ERROR)
    return ray


class _Worker:
    """The actor. It returns fomm's own errors, which may come from any of its steps."""

    def __init__(self, prepare: Callable[[], Any], work: Callable[[Any, Any], Any], folder: str) -> None:
        with suppress(OSError):  # it is not there on this machine
            os.chdir(folder)  # where relative paths begin
        self._prepare, self._work = prepare, work
        self._state: Any = None

    def prepare(self) -> FommError | None:
        try:
            self._state = self._prepare()
        except FommError as error:
            return error
        return None

    def work(self, item: Any) -> Any:
        try:
            return self._work(self._state, item)
        except FommError as error:
            return error
