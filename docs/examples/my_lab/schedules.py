"""Decay by the inverted square root."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lrscale.registry import schedules
from lrscale.schedules.warmup import Warmup, warm_up


@schedules.register("inverted_root")
@dataclass(frozen=True)
class InvertedRoot:
    """1 − √t, with t the part of the run done: the cool-down of Hägele et al. (2024), all along.

    Attributes:
        warmup: linear warm-up, a fraction of the run or a number of steps.
    """

    warmup: Warmup = 0.0

    def factor(self, step: int, total: int) -> float:
        ramp, step, total = warm_up(self.warmup, step, total)
        return ramp * (1 - math.sqrt(step / total))
