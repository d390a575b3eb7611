"""The Kalman filter: its equations by hand, noise that falls, motion that does not lag."""

import numpy as np
import pytest

from fomm.errors import InputError
from fomm.swap.kalman import KalmanFilter


def test_one_step_by_hand():
    """With r = 1, P = ((1, 0), (0, 4)), q = 9 and dt = 1.

    F P F' = ((5, 4), (4, 4)), Q = ((3, 4.5), (4.5, 9)), P- = ((8, 8.5), (8.5, 13)), K = (8, 8.5) / 9.
    From 10 a measurement of 19 gives 10 + 8 / 9 * 9 = 18, velocity 8.5, and
    P = ((8 - 64 / 9, 8.5 - 68 / 9), (8.5 - 68 / 9, 13 - 72.25 / 9)).
    """
    smooth = KalmanFilter(noise=1, acceleration=3, speed=2)
    assert smooth.update(np.array([10.0, 0.0]), 0.0).tolist() == [10, 0]
    assert smooth.update(np.array([19.0, 0.0]), 1.0) == pytest.approx([18, 0])
    assert smooth.state == pytest.approx(np.array([[18, 0], [8.5, 0]]))
    assert smooth.covariance == pytest.approx(np.array([[8 / 9, 8.5 / 9], [8.5 / 9, 13 - 72.25 / 9]]))
    assert smooth.predict(2.0) == pytest.approx([18 + 17, 0])
    assert smooth.state[0] == pytest.approx([18, 0]), "a prediction changes nothing"


def test_units_scale():
    """Numbers ten times as large, told in a unit ten times as large, come out ten times as large."""
    small = KalmanFilter(noise=0.3, acceleration=2, speed=1)
    large = KalmanFilter(noise=0.3, acceleration=2, speed=1)
    for value in (1.0, 1.4, 1.1, 2.0):
        one, ten = small.update(np.array([value]), 0.1), large.update(np.array([10 * value]), 0.1, 10)
        assert ten == pytest.approx(10 * one)


def test_noise_falls_and_constant_velocity_does_not_lag():
    rng = np.random.default_rng(0)
    truth = np.arange(400.0)[:, None] * np.linspace(-1, 1, 50)
    noise = rng.normal(0, 1, truth.shape)
    smooth = KalmanFilter(noise=1, acceleration=0.05, speed=1)
    left = np.stack([smooth.update(line, 1.0) for line in truth + noise])[100:] - truth[100:]
    assert left.std() < 0.6 * noise.std()
    exact = KalmanFilter(noise=1, acceleration=0.05, speed=1)
    last = [exact.update(line, 1.0) for line in truth][-1]
    assert np.abs(last - truth[-1]).max() < 1e-6, "it trails behind"


def test_rare_measurements_are_trusted():
    """The share of a jump that is taken over grows with the time since the last measurement."""
    shares = []
    for seconds in (0.04, 0.4, 4.0):
        smooth = KalmanFilter(noise=1, acceleration=10, speed=0.01)
        smooth.update(np.zeros(1), 0.0)
        shares.append(float(smooth.update(np.ones(1), seconds)[0]))
    assert shares == sorted(shares) and shares[0] < 0.6 and shares[-1] > 0.99


def test_reset_forgets():
    smooth = KalmanFilter(noise=1, acceleration=1, speed=1)
    for value in (0.0, 5.0, 10.0):
        smooth.update(np.array([value]), 1.0)
    smooth.reset()
    with pytest.raises(InputError, match="nothing was measured"):
        smooth.predict(1.0)
    assert smooth.update(np.array([100.0]), 1.0).tolist() == [100]
    assert smooth.predict(1.0).tolist() == [100]


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_numbers_that_cannot_be_used(value):
    with pytest.raises(InputError, match="noise is a number above 0"):
        KalmanFilter(noise=value, acceleration=1, speed=1)
