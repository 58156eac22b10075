"""Cosine annealing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lrscale.config import Probability
from lrscale.registry import schedules
from lrscale.schedules.warmup import Warmup, warm_up


@schedules.register("cosine")
@dataclass(frozen=True)
class Cosine:
    """Half a period of the cosine, from 1 to ``final`` (Loshchilov and Hutter 2017, eq. 5).

    Attributes:
        final: factor at the end of the run.
        warmup: linear warm-up, a fraction of the run or a number of steps; the annealing takes
            what is left.
    """

    final: Probability = 0.0
    warmup: Warmup = 0.0

    def factor(self, step: int, total: int) -> float:
        ramp, step, total = warm_up(self.warmup, step, total)
        return ramp * anneal(step / total, self.final)


def anneal(t: float, final: float) -> float:
    """From 1 at ``t`` = 0 to ``final`` at 1 along half a cosine."""
    return final + (1 - final) * (1 + math.cos(math.pi * t)) / 2
