"""Linear decay."""

from __future__ import annotations

from dataclasses import dataclass

from lrscale.config import Probability
from lrscale.registry import schedules
from lrscale.schedules.warmup import Warmup, warm_up


@schedules.register("linear")
@dataclass(frozen=True)
class Linear:
    """A straight line from 1 to ``final``.

    Attributes:
        final: factor at the end of the run.
        warmup: linear warm-up, a fraction of the run or a number of steps; the decay takes what
            is left.
    """

    final: Probability = 0.0
    warmup: Warmup = 0.0

    def factor(self, step: int, total: int) -> float:
        ramp, step, total = warm_up(self.warmup, step, total)
        return ramp * (1 - (1 - self.final) * step / total)
