"""The learning rate as it is."""

from __future__ import annotations

from dataclasses import dataclass

from lrscale.registry import schedules
from lrscale.schedules.warmup import Warmup, warm_up


@schedules.register("constant")
@dataclass(frozen=True)
class Constant:
    """Factor 1 throughout.

    Attributes:
        warmup: linear warm-up, a fraction of the run or a number of steps.
    """

    warmup: Warmup = 0.0

    def factor(self, step: int, total: int) -> float:
        ramp, _, _ = warm_up(self.warmup, step, total)
        return ramp
