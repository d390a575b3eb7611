"""Smooth numbers over time with a Kalman filter that expects constant velocity.

R. E. Kalman, "A New Approach to Linear Filtering and Prediction Problems", 1960; the model of motion is that
of white noise in the acceleration, as in Y. Bar-Shalom, X.-R. Li and T. Kirubarajan, "Estimation with
Applications to Tracking and Navigation", 2001, section 6.2.2.
"""

from __future__ import annotations

import math

import numpy as np

from fomm.errors import InputError


class KalmanFilter:
    """Smooths K numbers, each of which has a value and a velocity.

    For each number the state is x = (value, velocity), and only the value is measured: z = H x + noise of
    variance r, with H = (1, 0). Over dt seconds the state goes on by

        x- = F x                     F = ((1, dt), (0, 1))
        P- = F P F' + Q              Q = q ((dt^3 / 3, dt^2 / 2), (dt^2 / 2, dt))

    and a measurement z corrects it by

        K = P- H' / (H P- H' + r)
        x = x- + K (z - H x-)
        P = (I - K H) P-

    P, the covariance of the error, does not depend on what was measured, so all K numbers share one. Q grows
    with the time between two measurements: the rarer they are, the nearer the result is to what was measured.
    The first measurement is taken as it is, with velocity 0.

    Args:
        noise: standard deviation of a measurement.
        acceleration: the square root of q: after one second without a measurement the velocity is uncertain
            by so much, in units a second.
        speed: standard deviation of the velocity at the first measurement, in units a second.

    Attributes: ``state`` (2xK: values, velocities), None before the first measurement; ``covariance`` (2x2).

    Raises:
        InputError: one of them is not a finite number above 0.
    """

    def __init__(self, *, noise: float, acceleration: float, speed: float) -> None:
        for name, value in {"noise": noise, "acceleration": acceleration, "speed": speed}.items():
            if not 0 < value < math.inf:
                raise InputError(f"{name} is a number above 0, not {value}")
        self._noise, self._acceleration, self._speed = noise, acceleration, speed
        self.state: np.ndarray | None = None
        self.covariance = np.zeros((2, 2))

    def reset(self) -> None:
        """Forget everything: the next measurement is taken as the first."""
        self.state, self.covariance = None, np.zeros((2, 2))

    def predict(self, seconds: float) -> np.ndarray:
        """Return the K numbers expected so many seconds after the last measurement; nothing changes.

        Raises InputError before the first measurement.
        """
        if self.state is None:
            raise InputError("nothing was measured yet; call update first")
        return self.state[0] + seconds * self.state[1]

    def update(self, measured: np.ndarray, seconds: float, unit: float = 1.0) -> np.ndarray:
        """Take a measurement, and return the smoothed K numbers.

        Args:
            measured: K numbers.
            seconds: since the measurement before; the first one has none, and ignores it.
            unit: what noise, acceleration and speed are told in, as the size of a face in pixels.
        """
        measured = np.asarray(measured, np.float64)
        variance = (self._noise * unit) ** 2
        if self.state is None:
            self.state = np.stack([measured, np.zeros_like(measured)])
            self.covariance = np.diag([variance, (self._speed * unit) ** 2])
            return measured
        step = np.array([[1.0, seconds], [0.0, 1.0]])
        spread = np.array([[seconds**3 / 3, seconds**2 / 2], [seconds**2 / 2, seconds]])
        state = step @ self.state
        covariance = step @ self.covariance @ step.T + (self._acceleration * unit) ** 2 * spread
        gain = covariance[:, 0] / (covariance[0, 0] + variance)
        self.state = state + gain[:, None] * (measured - state[0])
        self.covariance = covariance - gain[:, None] * covariance[:1]
        return self.state[0]
