"""Polynomial decay."""

from __future__ import annotations

from dataclasses import dataclass

from lrscale.config import Positive, Probability
from lrscale.registry import schedules
from lrscale.schedules.warmup import Warmup, warm_up


@schedules.register("polynomial")
@dataclass(frozen=True)
class Polynomial:
    """final + (1 − final)(1 − t)^power, with t the part of the run done ("poly").

    Attributes:
        power: exponent; 2 is what LARS was published with (You, Gitman and Ginsburg 2017),
            1 the linear schedule.
        final: factor at the end of the run.
        warmup: linear warm-up, a fraction of the run or a number of steps; the decay takes what
            is left.
    """

    power: Positive = 2.0
    final: Probability = 0.0
    warmup: Warmup = 0.0

    def factor(self, step: int, total: int) -> float:
        ramp, step, total = warm_up(self.warmup, step, total)
        return float(ramp * (self.final + (1 - self.final) * (1 - step / total) ** self.power))
