import itertools
import threading
import time

import pytest

from fomm.pipeline import Behind, ahead


def threads() -> int:
    return threading.active_count()


def test_items_come_in_order_from_a_thread():
    places = []

    def items():
        for number in range(50):
            places.append(threading.current_thread())
            yield number

    with ahead(items(), depth=3) as drawn:
        assert list(drawn) == list(range(50))
    assert threading.current_thread() not in places


def test_it_is_no_further_ahead_than_asked():
    drawn = []

    def items():
        for number in itertools.count():
            drawn.append(number)
            yield number

    with ahead(items(), depth=3) as taken:
        assert next(taken) == 0
        time.sleep(0.1)
        assert 2 <= len(drawn) <= 5  # one taken, three waiting, one in hand


def test_an_error_comes_in_its_turn():
    def items():
        yield 1
        raise OSError("gone")

    before = threads()
    with ahead(items()) as taken:
        assert next(taken) == 1
        with pytest.raises(OSError, match="gone"):
            next(taken)
    assert threads() == before


def test_leaving_early_ends_the_thread():
    before = threads()
    with pytest.raises(KeyboardInterrupt), ahead(itertools.count(), depth=2) as taken:
        next(taken)
        raise KeyboardInterrupt
    assert threads() == before


def test_all_is_done_behind_in_order():
    done = []
    before = threads()
    with Behind(done.append, depth=2) as behind:
        for number in range(20):
            behind.put(number)
    assert done == list(range(20)) and threads() == before


def test_two_sides_work_at_the_same_time():
    """Each waits for the other: alone, neither would go on."""
    met = threading.Barrier(2, timeout=10)
    with Behind(lambda _: met.wait()) as behind:
        behind.put(1)
        met.wait()


def test_an_error_behind_is_raised_at_the_next_item_or_the_end():
    def fail(item):
        raise OSError(f"no room for {item}")

    with pytest.raises(OSError, match="no room for 1"), Behind(fail, depth=2) as behind:
        for number in itertools.count(1):
            behind.put(number)
    with pytest.raises(OSError, match="no room for 7"), Behind(fail) as behind:
        behind.put(7)


def test_an_error_in_front_drops_what_waits():
    started, go_on, done = threading.Event(), threading.Event(), []

    def slow(item):
        started.set()
        go_on.wait(10)
        done.append(item)

    with pytest.raises(KeyboardInterrupt), Behind(slow) as behind:
        behind.put(1)
        behind.put(2)
        started.wait(10)
        threading.Timer(0.1, go_on.set).start()
        raise KeyboardInterrupt
    assert done == [1]
