"""Pairs are drawn as the settings ask, the same for every process."""

from pathlib import Path

import numpy as np
import pytest

from fomm.config import (
    AugmentationParams,
    CameraParams,
    CropParams,
    DatasetParams,
    FlipParams,
    ResizeParams,
)
from fomm.errors import ConfigError
from fomm.training.sampler import PairSampler, check_params

CLIPS = [Path("a#0.npz"), Path("b#0.npz"), Path("b#1.npz")]


def params(augmentation: AugmentationParams | None = None, *, channels: int = 3, id_sampling: bool = False):
    return DatasetParams((32, 32, channels), id_sampling=id_sampling, augmentation_params=augmentation)


def draw(settings: DatasetParams, batch_size: int = 600, step: int = 0, **options):
    options = {"seed": 0, "rank": 0, "world_size": 1} | options
    return PairSampler(CLIPS, settings, batch_size, **options).draw(step)


def test_places_are_uniform_and_differ_between_steps_and_seeds():
    either = params(AugmentationParams(flip_param=FlipParams(time_flip=True)))
    clips, places = draw(either)
    assert clips.shape == (600,)
    assert places.shape == (2, 600)
    assert places.min() >= 0
    assert places.max() < 1
    for side in places:  # a tenth of 600 in each tenth, give or take three deviations of 7
        assert np.abs(np.histogram(side, 10, (0, 1))[0] - 60).max() < 25
    assert abs(np.corrcoef(places)[0, 1]) < 0.15
    assert np.array_equal(places, draw(either)[1])
    assert not np.array_equal(places, draw(either, step=1)[1])
    assert not np.array_equal(places, draw(either, seed=1)[1])
    assert np.array_equal(np.sort(places, axis=0), draw(params())[1])  # in order, of the same frames


@pytest.mark.parametrize(("id_sampling", "share"), [(False, 1 / 3), (True, 1 / 2)])
def test_people_are_as_likely_whatever_their_number_of_clips(id_sampling, share):
    """Of three clips two are b's: a third of the pairs are of a, or with id_sampling half."""
    counts = np.bincount(draw(params(id_sampling=id_sampling))[0], minlength=3) / 600
    assert counts == pytest.approx([share, (1 - share) / 2, (1 - share) / 2], abs=0.06)


def test_still_pairs_are_one_frame_twice():
    _, places = draw(params(AugmentationParams(camera_param=CameraParams(still=0.3))))
    assert (places[0] == places[1]).mean() == pytest.approx(0.3, abs=0.06)


@pytest.mark.parametrize(
    ("flip", "later"), [(None, 0.0), (FlipParams(time_flip=True), 0.5), (FlipParams(True, False), 0.0)]
)
def test_without_time_flip_the_source_comes_first(flip, later):
    _, places = draw(params(AugmentationParams(flip_param=flip)))
    assert (places[0] > places[1]).mean() == pytest.approx(later, abs=0.07 * (later > 0))


def test_processes_take_parts_of_one_batch():
    clips, places = draw(params(), 12)
    parts = [draw(params(), 12, rank=rank, world_size=3) for rank in range(3)]
    assert np.array_equal(np.concatenate([part[0] for part in parts]), clips)
    assert np.array_equal(np.concatenate([part[1] for part in parts], axis=1), places)


def test_settings_that_do_not_fit_each_other():
    check_params(params(AugmentationParams(None, ResizeParams((0.9, 1.1)), CropParams((32, 32)))), 4, 2)
    with pytest.raises(ConfigError, match="batch_size is 4, which 3 processes cannot share evenly"):
        check_params(params(), 4, 3)
    with pytest.raises(ConfigError, match="has 4 channels"):
        check_params(params(channels=4), 4, 1)
    crop = AugmentationParams(crop_param=CropParams((16, 32)))
    with pytest.raises(ConfigError, match=r"size is \[16, 32\], but the network takes \[32, 32\]"):
        check_params(params(crop), 4, 1)
    with pytest.raises(ConfigError, match="resize_param makes frames of many sizes; add crop_param"):
        check_params(params(AugmentationParams(resize_param=ResizeParams((0.9, 1.1)))), 4, 1)
