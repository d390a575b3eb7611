"""The numbers that say how good a detector is, against values worked out by hand."""

import math

import numpy as np
import pytest

from fomm.detect.measures import (
    Bin,
    area_under_curve,
    calibration_error,
    equal_error_rate,
    overlap,
    reliability,
)


def test_area_under_curve():
    changed = np.array([False, False, True, True])
    assert area_under_curve(np.array([1, 2, 3, 4.0]), changed) == 1
    assert area_under_curve(np.array([4, 3, 2, 1.0]), changed) == 0
    assert area_under_curve(np.array([1, 3, 2, 4.0]), changed) == 0.75  # three of four pairs
    assert area_under_curve(np.ones(4), changed) == 0.5
    assert math.isnan(area_under_curve(np.ones(4), np.ones(4, bool)))


def test_equal_error_rate():
    changed = np.array([False] * 4 + [True] * 4)
    assert equal_error_rate(np.arange(8.0), changed) == 0
    # one of four on the wrong side, both ways
    assert equal_error_rate(np.array([0, 1, 2, 5.5, 3.5, 6, 7, 8]), changed) == 0.25
    assert equal_error_rate(np.arange(8.0)[::-1], changed) == 1
    assert equal_error_rate(np.zeros(8), changed) == 0.5  # a threshold that tells nothing apart
    assert math.isnan(equal_error_rate(np.zeros(4), np.zeros(4, bool)))


def test_overlap():
    one, other = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert math.isnan(overlap(one, other))
    one[:2], other[1:3] = True, True
    assert overlap(one, other) == 1 / 3


def test_reliability_and_its_error():
    probabilities = np.array([0.1, 0.1, 0.9, 0.9])
    changed = np.array([False, False, True, True])
    assert reliability(probabilities, changed) == [
        Bin(pytest.approx(0.1), 0.0, 2),
        Bin(pytest.approx(0.9), 1.0, 2),
    ]
    assert calibration_error(probabilities, changed) == pytest.approx(0.1)
    # six untouched and two changed that got the same: one in two, since both classes weigh the same
    many = np.array([False] * 6 + [True] * 2)
    assert reliability(np.full(8, 0.5), many) == [Bin(pytest.approx(0.5), pytest.approx(0.5), 8)]
    assert calibration_error(np.full(8, 0.9), many) == pytest.approx(0.4)
    assert reliability(np.array([0.0, 1.0]), np.array([False, True]))[-1].stated == 1
