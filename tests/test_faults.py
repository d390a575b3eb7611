"""What breaks while the work goes on: memory, the disk, other programs, the user's patience."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from golden_data import GOLDEN, assert_near

from fomm import Animator, InputError, load_checkpoints, make_animation

EXPECTED = np.load(GOLDEN / "tiny-expected.npz")


@pytest.fixture(scope="module")
def tiny():
    return load_checkpoints(GOLDEN / "tiny.yaml", GOLDEN / "tiny-cpk.pth.tar", cpu=True)


# -- the device's memory ---------------------------------------------------------------------------


@pytest.fixture
def memory_for(tiny):
    """Give a function that lets the generator's memory end at more than so many frames."""
    handles = []

    def limit(frames: int) -> list[int]:
        tried = []

        def count(module, arguments):
            tried.append(len(arguments[0]))
            if tried[-1] > frames:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        handles.append(tiny[0].final.register_forward_pre_hook(count))
        return tried

    yield limit
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize(("room", "tries"), [(2, [8, 4, 2, 2, 2, 2, 1]), (1, [8, 4, 2] + 9 * [1])])
def test_batches_shrink_until_they_fit(tiny, memory_for, room, tries):
    driving = np.concatenate([EXPECTED["driving"], EXPECTED["driving"], EXPECTED["driving"][:1]])
    wanted = make_animation(EXPECTED["source"], driving, *tiny, progress=False)
    tried = memory_for(room)
    with pytest.warns(UserWarning, match="the memory of cpu does not hold 8 frames at once; going on with 4"):
        got = make_animation(EXPECTED["source"], driving, *tiny, progress=False, batch_size=8)
    assert tried == tries
    assert_near(np.stack(got), np.stack(wanted), 1e-5, f"room for {room}")


def test_a_smaller_batch_is_kept(tiny, memory_for):
    tried = memory_for(2)
    animator = Animator(EXPECTED["source"], *tiny, batch_size=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(list(itertools.islice(animator.animate(itertools.cycle(EXPECTED["driving"])), 9))) == 9
    assert tried == [4, 2, 2, 2, 2, 2] and animator.batch_size == 2


def test_no_memory_for_one_frame(tiny, memory_for):
    memory_for(0)
    with (
        pytest.warns(UserWarning, match="going on with 1"),
        pytest.raises(InputError, match="the memory of cpu does not hold one frame of 64x64; end other"),
    ):
        make_animation(EXPECTED["source"], EXPECTED["driving"], *tiny, progress=False, batch_size=2)


def test_no_memory_for_the_source(tiny, monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(tiny[0], "encode", fail)
    with pytest.raises(InputError, match="does not hold one frame of 64x64"):
        Animator(EXPECTED["source"], *tiny)
