"""Processes that work side by side; the functions that they are given are looked up here by their names."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from fomm.errors import FommError, InputError
from fomm.workers import WorkerDeath, work_in_background, work_in_processes, work_on_all


def ten() -> int:
    return 10


def add(state: int, item: int) -> int:
    if item < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return state + item


def prepare_in(folder: Path) -> Path:
    (folder / f"prepared-{os.getpid()}").touch()
    return folder


def who(folder: Path, item: int) -> int:
    return os.getpid()


def refuse(kind: type[Exception]) -> int:
    raise kind("no such weights")


def hold(folder: Path, name: str) -> None:
    """Has a file as long as it works, which is for ever."""
    try:
        (folder / name).write_text(str(os.getpid()))
        time.sleep(600)
    finally:
        (folder / name).unlink()


pytestmark = [
    pytest.mark.smoke,
    pytest.mark.skipif(sys.platform == "win32", reason="signals are for POSIX"),
]


def test_all_items_come_back_and_a_death_costs_one():
    got = dict(work_in_processes(ten, add, [1, 2, -1, 3, 4], 2))
    died = got.pop(-1)
    assert got == {1: 11, 2: 12, 3: 13, 4: 14}
    assert isinstance(died, WorkerDeath) and "died (signal 9)" in died.reason and "--workers" in died.reason


def test_each_process_prepares_once(tmp_path):
    pids = {pid for _, pid in work_in_processes(partial(prepare_in, tmp_path), who, range(9), 2)}
    assert {f"prepared-{pid}" for pid in pids} <= {path.name for path in tmp_path.iterdir()}
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("kind", "raised", "words"),
    [(InputError, InputError, "no such weights"), (KeyError, RuntimeError, "KeyError: 'no such weights'")],
)
def test_what_preparing_raises_is_raised(kind, raised, words):
    with pytest.raises(raised, match=words):
        list(work_in_processes(partial(refuse, kind), add, [1, 2], 2))


def prepare_once(folder: Path) -> int:
    """Kill this process, unless it is one of the first two that prepare."""
    (folder / f"{os.getpid()}").touch()
    return add(10, -1 if len(list(folder.iterdir())) > 2 else 0)


def test_a_death_of_who_comes_later_leaves_the_work_to_the_others(tmp_path):
    items = [-1, *range(1, 9)]
    got = dict(work_in_processes(partial(prepare_once, tmp_path), add, items, 2))
    assert isinstance(got.pop(-1), WorkerDeath) and got == {item: item + 10 for item in items[1:]}


def test_a_death_while_preparing_ends_the_run():
    with pytest.raises(FommError, match=r"while it prepared for its work, the worker process died"):
        list(work_in_processes(partial(add, 0, -1), add, [1], 1))


def one_less(item: int) -> int:
    if not item:
        raise InputError("0 is the least")
    return item - 1


@pytest.mark.parametrize("count", [1, 2])
def test_work_on_all_gives_what_comes_and_raises_errors(count):
    assert sorted(work_on_all(one_less, [3, 1, 2], count)) == [(1, 0), (2, 1), (3, 2)]
    with pytest.raises(InputError, match="0 is the least"):
        list(work_on_all(one_less, [1, 0, 2], count))


def test_processes_unwind_when_their_parent_is_killed(tmp_path):
    code = (
        "from functools import partial; from pathlib import Path; from test_workers import *; "
        f"list(work_on_all(partial(hold, Path({str(tmp_path)!r})), ['a', 'b'], 2))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parent)
    limit = time.monotonic() + 60
    while len(pids := [path.read_text() for path in tmp_path.iterdir()]) < 2 or not all(pids):
        assert time.monotonic() < limit
        time.sleep(0.01)
    process.kill()
    process.wait()
    while any(map(_alive, map(int, pids))) and time.monotonic() < limit:
        time.sleep(0.01)
    assert not any(map(_alive, map(int, pids)))
    assert list(tmp_path.iterdir()) == []


def touch_and_hold(folder: Path) -> None:
    """Say in a file that the work has begun; hold in two processes of its own, and for ever."""
    list(work_on_all(partial(hold, folder), ["a", "b"], 2))


def fail(kind: str) -> None:
    if kind == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    raise InputError("no room")


def wait_until_done(is_done) -> bool:
    limit = time.monotonic() + 60
    while not is_done():
        assert time.monotonic() < limit
        time.sleep(0.01)
    return is_done()


def test_work_in_the_background_ends_with_its_block_and_so_do_the_processes_that_it_started(tmp_path):
    limit = time.monotonic() + 60
    with work_in_background(touch_and_hold, tmp_path) as is_done:
        while len(pids := [path.read_text() for path in tmp_path.iterdir()]) < 2 or not all(pids):
            assert time.monotonic() < limit
            time.sleep(0.01)
        assert not is_done()
    assert not any(map(_alive, map(int, pids)))
    assert list(tmp_path.iterdir()) == []  # they have unwound


def test_work_in_the_background_tells_when_it_is_done_and_why_it_is_not(tmp_path):
    with work_in_background(prepare_in, tmp_path) as is_done:
        assert wait_until_done(is_done)
    (file,) = tmp_path.iterdir()
    assert file.name != f"prepared-{os.getpid()}"
    for kind, error, words in (("raises", InputError, "no room"), ("dies", FommError, r"died \(signal 9\)")):
        with work_in_background(fail, kind) as is_done:
            with pytest.raises(error, match=words):
                wait_until_done(is_done)
            assert is_done()  # it is told once


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


def test_processes_unwind_when_the_iterator_is_closed(tmp_path):
    results = work_in_processes(partial(Path, tmp_path), hold, ["a", "b", "c"], 2)
    with closing(results), pytest.raises(KeyboardInterrupt):
        signal.signal(signal.SIGALRM, _interrupt_when(tmp_path, 2))
        signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
        next(results)
    assert list(tmp_path.iterdir()) == []


def _interrupt_when(folder: Path, files: int):
    def look(*_: object) -> None:
        if len(list(folder.iterdir())) == files:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    return look
