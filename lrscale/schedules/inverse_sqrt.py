"""Inverse square root decay."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lrscale.registry import schedules
from lrscale.schedules.warmup import Warmup, warm_up, warmup_steps


@schedules.register("inverse_sqrt")
@dataclass(frozen=True)
class InverseSqrt:
    """√(w/t) after w steps of warm-up (Vaswani et al. 2017, eq. 3, with its peak scaled to 1).

    The warm-up is the time scale of the decay too: four times its length halves the rate.

    Attributes:
        warmup: linear warm-up, a fraction of the run or a number of steps; without one, the
            decay begins at the first step.
    """

    warmup: Warmup = 0.1

    def factor(self, step: int, total: int) -> float:
        ramp, since, _ = warm_up(self.warmup, step, total)
        scale = warmup_steps(self.warmup, total) + 1
        return ramp * math.sqrt(scale / (scale + since))
