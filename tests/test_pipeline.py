import itertools
import subprocess
import sys
import threading
import time

import pytest
import torch

from fomm.animation.threads import BackgroundWorker, map_in_threads, prefetch, share_threads


def threads() -> int:
    return threading.active_count()


def test_items_come_in_order_from_a_thread():
    places = []

    def items():
        for number in range(50):
            places.append(threading.current_thread())
            yield number

    with prefetch(items(), depth=3) as drawn:
        assert list(drawn) == list(range(50))
    assert threading.current_thread() not in places


def test_it_is_no_further_ahead_than_asked():
    drawn = []

    def items():
        for number in itertools.count():
            drawn.append(number)
            yield number

    with prefetch(items(), depth=3) as taken:
        assert next(taken) == 0
        time.sleep(0.1)
        assert 2 <= len(drawn) <= 5  # one taken, three waiting, one in hand


def test_an_error_comes_in_its_turn():
    def items():
        yield 1
        raise OSError("gone")

    before = threads()
    with prefetch(items()) as taken:
        assert next(taken) == 1
        with pytest.raises(OSError, match="gone"):
            next(taken)
    assert threads() == before


def test_leaving_early_ends_the_thread():
    before = threads()
    with pytest.raises(KeyboardInterrupt), prefetch(itertools.count(), depth=2) as taken:
        next(taken)
        raise KeyboardInterrupt
    assert threads() == before


def test_all_is_done_behind_in_order():
    done = []
    before = threads()
    with BackgroundWorker(done.append, depth=2) as behind:
        for number in range(20):
            behind.put(number)
    assert done == list(range(20)) and threads() == before


def test_two_sides_work_at_the_same_time():
    """Each waits for the other: alone, neither would go on."""
    met = threading.Barrier(2, timeout=10)
    with BackgroundWorker(lambda _: met.wait()) as behind:
        behind.put(1)
        met.wait()


def test_an_error_behind_is_raised_at_the_next_item_or_the_end():
    def fail(item):
        raise OSError(f"no room for {item}")

    with pytest.raises(OSError, match="no room for 1"), BackgroundWorker(fail, depth=2) as behind:
        for number in itertools.count(1):
            behind.put(number)
    with pytest.raises(OSError, match="no room for 7"), BackgroundWorker(fail) as behind:
        behind.put(7)


def test_an_error_in_front_drops_what_waits():
    started, go_on, done = threading.Event(), threading.Event(), []

    def slow(item):
        started.set()
        go_on.wait(10)
        done.append(item)

    with pytest.raises(KeyboardInterrupt), BackgroundWorker(slow) as behind:
        behind.put(1)
        behind.put(2)
        started.wait(10)
        threading.Timer(0.1, go_on.set).start()
        raise KeyboardInterrupt
    assert done == [1]


INTERRUPTED = """
import random, signal
from fomm.animation.threads import BackgroundWorker, map_in_threads, prefetch

def interrupt(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
random.seed(0)
for _ in range(800):
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-6 + random.random() * 2e-3)
        with prefetch(range(5000), depth=2) as drawn, BackgroundWorker(str, depth=2) as behind:
            for item in drawn:
                behind.put(item)
    except KeyboardInterrupt:
        pass  # else Python had a moment, such as a weak reference's end, where it forgets an interrupt
    signal.setitimer(signal.ITIMER_REAL, 0)
print("through")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="timers are for POSIX")
def test_an_interrupt_at_any_moment_ends_both():
    """In a process of its own, since a thread that is waited for in vain would stop all tests."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0 and done.stdout == "through\n", done.stderr[-2000:]


def test_results_come_in_order_from_several_threads(set_threads):
    """Two items are computed at a time, by half of PyTorch's threads, and no more are drawn ahead."""
    both, drawn, places = threading.Barrier(2, timeout=10), [], set()

    def items():
        for number in range(6):
            drawn.append(number)
            yield number

    def compute(number):
        both.wait()  # breaks where they do not work side by side
        places.add(threading.current_thread())
        return number**2, torch.get_num_threads()

    before = threads()
    set_threads(4)
    results = map_in_threads(compute, items())
    assert next(results) == (0, 2) and len(drawn) == 3
    assert list(results) == [(number**2, 2) for number in range(1, 6)]
    assert torch.get_num_threads() == 4 and threads() == before
    assert len(places) == 2 and threading.current_thread() not in places


def test_a_thread_keeps_its_share_whatever_others_set_before_it_computes(set_threads):
    """PyTorch itself gives a thread, when it first computes, the number that was last set in any thread."""
    started, changed, shares = threading.Semaphore(0), threading.Semaphore(0), []

    def compute(_):
        started.release()
        assert changed.acquire(timeout=10)
        torch.ones(300, 300).sum()
        shares.append(torch.get_num_threads())

    def change():
        assert started.acquire(timeout=10)
        torch.set_num_threads(3)
        changed.release()

    set_threads(4)
    with BackgroundWorker(compute) as behind:
        behind.put(0)
        change()
    set_threads(4)
    with share_threads(2) as pool:
        future = pool.submit(compute, 0)
        change()
        future.result()
    assert shares == [2, 2]


def test_a_single_item_is_computed_at_once_by_all_threads():
    places = list(map_in_threads(lambda _: threading.current_thread(), iter([1])))
    assert places == [threading.current_thread()]
    assert list(map_in_threads(abs, iter([]))) == []


def test_an_error_of_one_of_several_threads_comes_in_its_turn():
    before, available = threads(), torch.get_num_threads()
    results = map_in_threads(lambda number: 1 // number, iter([1, 0, 1, 1]))
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert threads() == before and torch.get_num_threads() == available


def test_leaving_early_ends_several_threads():
    before = threads()
    results = map_in_threads(abs, itertools.count())
    assert next(results) == 0
    results.close()
    assert threads() == before
