"""Drops at given times."""

from __future__ import annotations

from dataclasses import dataclass

from lrscale.config import Probability
from lrscale.registry import schedules
from lrscale.schedules.warmup import Warmup, warm_up


@schedules.register("multi_step")
@dataclass(frozen=True)
class MultiStep:
    """Multiplied by ``gamma`` at each milestone.

    Attributes:
        milestones: fractions of the run, increasing. The default is epochs 30, 60 and 80 of 90
            (Goyal et al. 2017).
        gamma: factor of each drop.
        warmup: linear warm-up, a fraction of the run or a number of steps; the milestones are
            counted from the run's beginning.
    """

    milestones: tuple[Probability, ...] = (1 / 3, 2 / 3, 8 / 9)
    gamma: Probability = 0.1
    warmup: Warmup = 0.0

    def __post_init__(self) -> None:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError("milestones must increase")

    def factor(self, step: int, total: int) -> float:
        ramp, _, _ = warm_up(self.warmup, step, total)
        drops = sum(step + 0.5 >= milestone * total for milestone in self.milestones)
        return float(ramp * self.gamma**drops)
