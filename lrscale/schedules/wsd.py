"""Warm-up, stable, decay."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lrscale.config import Probability
from lrscale.registry import schedules
from lrscale.schedules.warmup import Warmup, warm_up


@schedules.register("wsd")
@dataclass(frozen=True)
class WSD:
    """Constant, then cooled down along 1 − √u, with u from 0 to 1 over the cooldown.

    Hu et al. (2024, MiniCPM); the form of the cooldown is Hägele et al.'s (2024, eq. 3).

    Attributes:
        cooldown: fraction of the run, at its end.
        final: factor at the end of the run.
        warmup: linear warm-up, a fraction of the run or a number of steps; the cooldown is
            counted from the run's end, and begins after the warm-up at the earliest.
    """

    cooldown: Probability = 0.2
    final: Probability = 0.0
    warmup: Warmup = 0.0

    def factor(self, step: int, total: int) -> float:
        ramp, since, left = warm_up(self.warmup, step, total)
        length = min(round(self.cooldown * total), left)
        u = max(since - (left - length), 0) / max(length, 1)
        return ramp * (self.final + (1 - self.final) * (1 - math.sqrt(u)))
