"""How long a run lasts, in steps, epochs and minutes."""

import math
import sys
from typing import NamedTuple

from fomm.config import TrainParams


class Schedule(NamedTuple):
    """The length of a run; ``plan_schedule`` makes it."""

    steps_per_epoch: int
    steps_per_checkpoint: int  # between two epochs whose weights are kept
    num_epochs: int
    last_step: int  # the run ends when it has made so many steps
    minutes: float | None  # or when it has trained for so long

    def epoch_at(self, step: int, seconds: float) -> float:
        """Return the epoch that the learning rates follow.

        It goes from 0 to ``num_epochs``: by the clock where the run has a time, else by the steps.
        """
        if self.minutes:
            done = seconds / (60 * self.minutes)
        else:
            done = step / (self.steps_per_epoch * self.num_epochs)
        return done * self.num_epochs

    def epochs(self, step: int) -> int:
        """Return how many whole epochs so many steps are."""
        return step // self.steps_per_epoch

    def seconds_left(self, seconds: float) -> float:
        """Return the seconds until the run's time is over; infinity if it has none."""
        return math.inf if self.minutes is None else 60 * self.minutes - seconds

    def is_over(self, step: int, seconds: float) -> bool:
        """Return whether a run ends that has made so many steps in so many seconds."""
        return step >= self.last_step or self.seconds_left(seconds) <= 0


def plan_schedule(
    params: TrainParams,
    num_items: int,
    step: int,
    seconds: float,
    max_steps: int | None,
    minutes: float | None,
) -> Schedule:
    """Plan how long a run lasts that starts, or goes on.

    Args:
        params: with epochs, batch size and how often weights are kept.
        num_items: what an epoch goes through ``num_repeats`` times, see ``Pairs``.
        step: how many steps the run has made.
        seconds: how long it has trained.
        max_steps: the run ends after so many steps at the latest; None: after its last epoch.
        minutes: the run ends when it has trained for so long; None: it has no time.
    """
    steps_per_epoch = math.ceil(num_items * params.num_repeats / params.batch_size)
    last_step = min(steps_per_epoch * params.num_epochs, max_steps or sys.maxsize)
    schedule = Schedule(
        steps_per_epoch, steps_per_epoch * params.checkpoint_freq, params.num_epochs, last_step, minutes
    )
    return schedule._replace(last_step=step) if schedule.seconds_left(seconds) <= 0 else schedule
